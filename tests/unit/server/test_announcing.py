"""Who is told of recalls and of support that ends, when, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.recall_world import open_recall, tell, two_releases
from tests.trust_world import DAY_MS
from tests.updates_world import OPERATOR, UpdatesWorld, updates_world

from fleetward.runtime.database import Database
from fleetward.server.access.notice_plan import Recipient
from fleetward.server.announcing import MOST_AN_HOUR, Announcer
from fleetward.server.updates import recall_store
from fleetward.server.updates.decide_recall import REMIND_MS
from fleetward.server.updates.decide_support import SupportEnd, decide_due, months_before
from fleetward.server.updates.recall_store import MembersWanted
from fleetward.server.updates.recalls import MAX_OPEN
from fleetward.trust.errors import Unreachable

MINUTE = 60_000
PLAN = """
[[step]]
after = "0m"
to = [{ name = "Ada", url = "jsons://one.example/secret" }]
[[step]]
after = "10m"
to = [{ name = "Night shift", url = "mailtos://u:secret@mail.example?to=n@plant.example" }]
"""


class Post:
    """Takes messages in the place of the network."""

    def __init__(self, there: UpdatesWorld, folder: Path) -> None:
        path = folder / "notices.toml"
        path.write_text(PLAN)
        path.chmod(0o600)
        self.there = there
        self.sent: list[tuple[str, str, str]] = []
        self.fails = False
        self.announcer = Announcer(there.slice, path, self._take)

    def _take(self, to: Recipient, title: str, body: str) -> bool:
        if self.fails:
            raise OSError("no network")
        self.sent.append((to.name, title, body))
        return True

    def after(self, ms: int) -> list[tuple[str, str]]:
        """Let time pass and a round run; return who was told what."""
        self.there.world.clock.now += ms
        self.sent.clear()
        self.announcer.run_round()
        return [(name, title) for name, title, _ in self.sent]


@pytest.fixture
def there(tmp_path: Path) -> Iterator[UpdatesWorld]:
    database = Database.open(f"sqlite:///{tmp_path / 'state.db'}")
    with updates_world(database, tmp_path, machines=2) as made:
        yield made
    database.close()


@pytest.fixture
def post(there: UpdatesWorld, tmp_path: Path) -> Post:
    return Post(there, tmp_path)


def test_a_recall_is_told_escalated_and_told_again_until_somebody_answers(
    there: UpdatesWorld, post: Post
) -> None:
    old, new = two_releases(there)
    tell(there, there.pumps[0], old, "committed")
    until = there.world.clock.now + 3 * REMIND_MS
    row = open_recall(there, until_ms=until)
    title = "Recall: Open debug port"
    assert post.after(MINUTE) == [("Ada", title)]
    [(_, _, text)] = post.sent
    assert "It is not over: 1 machine runs a recalled version and 1 has not said" in text
    assert "CVE-2026-1234" in text and "secret" not in text
    assert post.after(MINUTE) == []
    assert post.after(10 * MINUTE) == [("Night shift", title)]
    assert post.after(REMIND_MS) == [
        ("Ada", f"Still open: {title}"), ("Night shift", f"Still open: {title}")
    ]  # fmt: skip
    there.slice.recalls.acknowledge(row.recall_id, "on Monday", OPERATOR)
    assert post.after(REMIND_MS) == []
    # The day that was named has passed: that is told, whoever has answered.
    assert post.after(REMIND_MS) == [("Ada", f"Overdue: {title}"),
                                     ("Night shift", f"Overdue: {title}")]  # fmt: skip
    shown = there.slice.recalls_shown.detail(row, MembersWanted(), (0, 9), 1)
    assert len(shown.notices) == 6 and shown.recall.overdue
    assert {notice.channel for notice in shown.notices} == {"webhook", "e-mail"}
    for each in there.pumps:
        tell(there, each, new, "committed")
    there.slice.recalls.look(there.slice.recalls.all()[0])
    assert post.after(REMIND_MS) == []  # it is over


def test_a_try_that_fails_is_made_again_and_shown(there: UpdatesWorld, post: Post) -> None:
    two_releases(there)
    row = open_recall(there)
    post.fails = True
    for _ in range(9):
        post.after(2 * MINUTE)
    shown = there.slice.recalls_shown.detail(row, MembersWanted(), (0, 9), 1)
    assert [notice.good for notice in shown.notices if notice.name == "Ada"] == [False] * 3
    post.fails = False
    there.slice.recalls.close(row.recall_id, "so", OPERATOR)
    assert post.after(MINUTE) == []


def test_who_opens_recalls_without_end_fills_no_mailbox(there: UpdatesWorld, post: Post) -> None:
    two_releases(there)
    told = 0
    for start in range(0, MOST_AN_HOUR + 6, MAX_OPEN - 4):
        for row in there.slice.recalls.all(("open",)):
            there.slice.recalls.cancel(row.recall_id, "a mistake", OPERATOR)
        for number in range(MAX_OPEN - 4):
            open_recall(there, title=f"Fault {start + number}")
        told += len(post.after(MINUTE))
    assert told == MOST_AN_HOUR


def test_a_store_that_refuses_has_nobody_told_the_same_again(
    there: UpdatesWorld, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_releases(there)
    row = open_recall(there)
    told: list[str] = []

    def run(minutes: int) -> None:
        for _ in range(minutes):
            with suppress(Unreachable):
                post.after(MINUTE)
            told.extend(name for name, _, _ in post.sent)

    def refuse(*_: object) -> None:
        raise Unreachable("The disk is full.", reason="store")

    with monkeypatch.context() as broken:
        broken.setattr(recall_store, "insert_notice", refuse)
        run(5)
        assert told == ["Ada"]
        post.fails = True
        run(20)  # the next step fails, as often as it is tried where tries are written
        post.fails = False
        run(5)
        assert told == ["Ada"]
    # What was told or tried while it was broken is not told again once it is not.
    run(5)
    assert told == ["Ada"]
    there.slice.recalls.close(row.recall_id, "so", OPERATOR)
    there.slice.recalls.reopen(row.recall_id, "again", OPERATOR)
    run(2)
    assert told == ["Ada", "Ada"]


def test_without_an_owner_or_a_file_nobody_is_told(there: UpdatesWorld, tmp_path: Path) -> None:
    two_releases(there)
    open_recall(there)
    announcer = Announcer(there.slice, tmp_path / "none.toml", lambda *_: True)
    assert announcer.run_round() == 0


def day(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def test_the_end_of_support_is_announced_at_twelve_six_and_one_month_once_each(
    there: UpdatesWorld, post: Post
) -> None:
    clock = there.world.clock
    ends = clock.now + 400 * DAY_MS
    there.release("1.0", 10, support_ends_at_ms=ends)
    support = there.slice.support
    assert (support.advance(), post.after(MINUTE)) == (0, [])
    said = []
    while clock.now < ends + 10 * DAY_MS:
        support.advance()
        support.advance()
        said += [(round((ends - clock.now) / DAY_MS), title) for _, title in post.after(0)]
        clock.now += DAY_MS
    last = datetime.fromtimestamp((ends - 1) / 1000, UTC).date().isoformat()
    assert [title for _, title in said] == [
        f"Support of kiosk ends on {last}, within 12 months",
        f"Support of kiosk ends on {last}, within 6 months",
        f"Support of kiosk ends on {last}, within a month",
        f"Support of kiosk ended on {last}",
    ]
    assert [ahead for ahead, _ in said] == pytest.approx([365, 183, 30, 0], abs=3)
    deeds = there.world.count("updates_support")
    assert deeds == 4
    # A newer release that is mended for longer begins anew.
    there.release("1.1", 11, support_ends_at_ms=clock.now + 20 * DAY_MS)
    assert support.advance() == 1
    assert [title.partition(" within ")[2] for _, title in post.after(MINUTE)] == ["a month"]
    assert support.advance() == 0


def test_months_are_those_of_the_calendar() -> None:
    assert months_before(day("2027-03-31"), 1) == day("2027-02-28")
    assert months_before(day("2028-03-31"), 1) == day("2028-02-29")
    assert months_before(day("2027-01-15"), 12) == day("2026-01-15")
    assert months_before(day("2027-01-15"), 1) == day("2026-12-15")
    assert months_before(2**53, 12) > 0  # a maker may write any number


def test_who_learns_of_it_late_is_told_the_nearest_alone() -> None:
    end = SupportEnd("kiosk", "1.0", ("*",), day("2027-01-01"))
    assert decide_due(end, (), day("2026-11-27")) == (6, [12, 6])
    assert decide_due(end, (12, 6), day("2026-11-28")) == (-1, [])
    assert decide_due(end, (12, 6), day("2026-12-01")) == (1, [1])
    assert decide_due(end, (), day("2027-02-01")) == (0, [12, 6, 1, 0])
    assert decide_due(end, (), day("2025-01-01")) == (-1, [])
