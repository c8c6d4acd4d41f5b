"""Recalls on the server: whom they find, what counts as done, and what people do of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient
from tests.recall_world import again, open_recall, runs, standings, two_releases, wish
from tests.trust_world import DAY_MS, Machine, refused
from tests.unit.web.floor import HOST, Names
from tests.updates_world import OPERATOR, UpdatesWorld, failed, updates_world

from fleetward.runtime.database import Database
from fleetward.runtime.http.hosts import HostPolicy
from fleetward.server.update_cards import recall_cards
from fleetward.server.updates.decide_recall import (
    MAX_VERSION_WORDS,
    MAX_VERSIONS,
    Tally,
    say_about,
    write_versions,
)
from fleetward.server.updates.recall_routes import RecallRooms, make_recall_handlers
from fleetward.server.updates.recall_store import MembersWanted
from fleetward.server.updates.recalls import CLOSED_MS, MAX_OPEN
from fleetward.server.updates.rollout_course import Wish
from fleetward.server.web.app import Services, create_app
from fleetward.server.web.coverage import find_gaps
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.selector import Selector

MACHINES = 4


@pytest.fixture
def there(database: Database, tmp_path: Path) -> Iterator[UpdatesWorld]:
    with updates_world(database, tmp_path, machines=MACHINES) as made:
        yield made


def detail(there: UpdatesWorld, row: Any, **wanted: Any) -> Any:
    return there.slice.recalls_shown.detail(row, MembersWanted(**wanted), (0, 50), 1)


def test_found_followed_and_done_by_signed_reports_alone(there: UpdatesWorld) -> None:
    old, new = two_releases(there)
    first, second, third, _ = there.pumps
    there.say(first, old, "committed")
    there.say(second, old, "committed")
    there.say(third, new, "committed")
    row = open_recall(there)
    # The third was never affected; of the fourth nobody knows what it runs.
    assert standings(there, row) == ["affected", "affected", "-", "unknown"]
    shown = there.slice.recalls_shown.recall(row)
    assert shown.headline == (
        "It is not over: 2 machines run a recalled version and 1 has not said what it runs."
    )
    there.say(first, new, "accepted", "installed", **runs(old))
    assert again(there, row) == Tally(affected=2, unknown=1)  # on trial is not done
    there.say(first, new, "committed")
    there.say(second, new, "rolled_back", rule="health", findings=failed("http"), **runs(old))
    assert again(there, row) == Tally(affected=1, unknown=1, updated=1)
    there.world.trust.retire(second)
    there.world.publish()
    there.say(there.pumps[3], new, "committed")
    assert again(there, row) == Tally(updated=2, retired=1)
    shown = there.slice.recalls_shown.recall(row)
    assert shown.headline == "It is over: all 3 machines it found are proven to be done."
    items = {item.name: item for item in detail(there, row).items}
    assert items["pump 0"].proof == "It signed that it runs kiosk 1.1 for good."
    assert items["pump 0"].found_version == "1.0" and items["pump 0"].done_at is not None
    assert items["pump 1"].proof == "The owner's signed roster has it retired."
    assert there.slice.recalls.close(row.recall_id, "", OPERATOR).state == "closed"


def test_who_joins_later_is_found_also_after_it_was_closed(there: UpdatesWorld) -> None:
    old, new = two_releases(there)
    for each in there.pumps:
        there.say(each, new, "committed")
    row = open_recall(there)
    assert there.slice.recalls_shown.recall(row).headline == ("No machine is known to be affected.")
    there.slice.recalls.close(row.recall_id, "", OPERATOR)
    late = there.world.join("pump late", preapproved=True)
    there.world.confirm(late)
    there.world.clock.now += CLOSED_MS
    assert again(there, row) == Tally(unknown=1)
    there.world.clock.now += CLOSED_MS
    there.say(late, old, "committed")
    assert again(there, row) == Tally(affected=1)
    [card] = recall_cards(there.slice.recalls)
    assert "found 1 machine more after it was closed" in card.why
    row = there.slice.recalls.reopen(row.recall_id, "one came late", OPERATOR)
    assert (row.state, row.acknowledged_at) == ("open", 0)
    assert len(recall_cards(there.slice.recalls)) == 1


def test_who_falls_back_after_it_was_closed_is_named(there: UpdatesWorld) -> None:
    old, new = two_releases(there)
    for each in there.pumps:
        there.say(each, old, "committed")
    row = open_recall(there)
    for each in there.pumps:
        there.say(each, new, "committed")
    assert again(there, row) == Tally(updated=MACHINES)
    row = there.slice.recalls.close(row.recall_id, "", OPERATOR)
    assert there.slice.recalls.count_late(row) == (0, 0)
    there.world.clock.now += CLOSED_MS
    there.say(there.pumps[1], old, "committed")
    assert again(there, row) == Tally(affected=1, updated=MACHINES - 1)
    assert there.slice.recalls.count_late(row) == (1, there.world.clock.now)
    [card] = recall_cards(there.slice.recalls)
    assert "found 1 machine more after it was closed" in card.why


def test_who_was_found_outside_of_the_machines_that_were_meant_stays_and_is_done(
    there: UpdatesWorld,
) -> None:
    old, new = two_releases(there)
    outside, meant = there.pumps[0], there.pumps[1]
    there.say(outside, old, "committed")
    there.say(there.pumps[2], new, "committed")
    row = open_recall(there, machines=Selector(devices=(meant.device,)))
    assert standings(there, row) == ["affected", "unknown", "-", "-"]
    there.slice.recalls.note(row.recall_id, [outside.device], "in the cellar", OPERATOR)
    there.say(outside, new, "committed")
    assert again(there, row) == Tally(unknown=1, updated=1)
    item = next(e for e in detail(there, row).items if e.device_id == outside.device)
    assert (item.note, item.found_version, item.version) == ("in the cellar", "1.0", "1.1")
    there.world.trust.retire(outside)
    there.world.publish()
    assert again(there, row) == Tally(unknown=1, retired=1)


def test_closing_what_is_not_over_needs_words_and_counts_nobody_as_done(
    there: UpdatesWorld,
) -> None:
    old, _ = two_releases(there)
    there.say(there.pumps[0], old, "committed")
    row = open_recall(there)
    recalls = there.slice.recalls
    with refused(Refused, "recall_not_over"):
        recalls.close(row.recall_id, " ", OPERATOR)
    closed = recalls.close(row.recall_id, "three are scrapped", OPERATOR)
    assert (closed.state, closed.words) == ("closed", "three are scrapped")
    assert recalls.tally(row) == Tally(affected=1, unknown=3)
    with refused(Refused, "recall_state"):
        recalls.close(row.recall_id, "again", OPERATOR)
    with refused(Refused, "no_reason"):
        recalls.cancel(row.recall_id, "", OPERATOR)
    assert recalls.cancel(row.recall_id, "a mistake", OPERATOR).state == "cancelled"
    deeds = [deed.kind for deed in detail(there, row).deeds]
    assert deeds == ["recall.cancelled", "recall.closed", "recall.opened"]


def test_only_so_many_are_open_at_once_also_when_one_is_opened_again(there: UpdatesWorld) -> None:
    two_releases(there)
    recalls = there.slice.recalls
    closed = open_recall(there)
    recalls.close(closed.recall_id, "so", OPERATOR)
    rows = [open_recall(there, title=f"Fault {number}") for number in range(MAX_OPEN)]
    with refused(Refused, "too_many_recalls"):
        recalls.reopen(closed.recall_id, "again", OPERATOR)
    with refused(Refused, "too_many_recalls"):
        open_recall(there)
    assert recalls.find(closed.recall_id).state == "closed"
    recalls.cancel(rows[0].recall_id, "a mistake", OPERATOR)
    assert recalls.reopen(closed.recall_id, "again", OPERATOR).state == "open"


def test_what_somebody_says_of_a_machine_is_shown_and_proves_nothing(there: UpdatesWorld) -> None:
    two_releases(there)
    row = open_recall(there)
    device = there.pumps[1].device
    there.slice.recalls.note(row.recall_id, [device], "It lies in the cellar.", OPERATOR)
    assert again(there, row) == Tally(unknown=MACHINES)
    item = next(each for each in detail(there, row).items if each.device_id == device)
    assert (item.note, item.note_by, item.proof) == ("It lies in the cellar.", "Otto", "")
    with refused(Refused, "not_recalled"):
        there.slice.recalls.note(row.recall_id, ["nobody"], "x", OPERATOR)


def test_versions_are_named_by_name_by_range_and_by_counter(there: UpdatesWorld) -> None:
    for version, counter in (("1.0", 10), ("1.1", 11), ("1.2", 12), ("1.3", 13)):
        there.release(version, counter)
    recalls, shown = there.slice.recalls, there.slice.recalls_shown
    for versions, meant in (
        ((), ["1.0", "1.1", "1.2", "1.3"]), (("1.1",), ["1.1"]), ((":1.1",), ["1.0", "1.1"]),
        (("1.2:",), ["1.2", "1.3"]), (("1.0:1.2",), ["1.0", "1.1", "1.2"]),
        (("#10", "#13"), ["1.0", "1.3"]), (("#11:#12",), ["1.1", "1.2"]),
    ):  # fmt: skip
        found = recalls.preview(wish(versions=versions, remedy="stop", fix_version=""))
        assert shown.forecast(found).versions == meant, versions
    for bad, reason in (
        (("9.9",), "release_not_found"), ((":",), "bad_versions"),
        (("1.2:1.0",), "bad_versions"), (("#x",), "release_not_found"),
    ):  # fmt: skip
        with pytest.raises((Malformed, Refused)) as e:
            recalls.preview(wish(versions=bad))
        assert e.value.reason == reason
    with refused(Refused, "fix_is_recalled"):
        recalls.preview(wish(versions=(":1.1",)))
    assert there.world.count("updates_recall") == 0


def test_a_cure_that_is_not_published_yet_wants_an_end_of_what_is_recalled(
    there: UpdatesWorld,
) -> None:
    old = there.release("1.0", 10)
    there.approve(old)
    for versions in ((), ("1.0:",), ("1.0", "#12:")):
        with refused(Refused, "fix_not_published"):
            there.slice.recalls.preview(wish(versions=versions))
    there.slice.recalls.preview(wish(versions=(), remedy="stop", fix_version=""))
    row = open_recall(there, versions=(":#10",))
    new = there.release("1.1", 11)
    there.approve(new)
    for each in there.pumps:
        there.say(each, new, "committed")
    assert again(there, row) == Tally(updated=MACHINES)


def test_what_is_recalled_is_said_as_a_person_says_it() -> None:
    assert say_about("", "") == "machines"
    assert say_about("kiosk", "") == "kiosk all versions"
    said = say_about("kiosk", "1.1, 1.3:1.5, :1.0, 2.0:")
    assert said == "kiosk 1.1, 1.3 to 1.5, up to 1.0, 2.0 and later"


def test_a_long_list_of_versions_is_cut_between_two_and_says_how_many_more() -> None:
    assert write_versions(()) == ""
    assert write_versions(("1.0", "1.2:")) == "1.0, 1.2:"
    names = [f"20{number}.1:20{number}.99" for number in range(10, 10 + MAX_VERSIONS)]
    *kept, rest = write_versions(names).split(", ")
    assert kept == names[: len(kept)] and rest == f"and {MAX_VERSIONS - len(kept)} more"
    assert MAX_VERSION_WORDS - 20 < len(write_versions(names)) <= MAX_VERSION_WORDS
    assert say_about("kiosk", write_versions(names)).endswith(f" to 20{len(kept) + 9}.99, {rest}")
    assert write_versions(["x" * 130] * 9) == ", ".join([*["x" * 130] * 2, "and 7 more"])


def test_a_recall_of_machines_without_a_product_ends_by_the_roster_alone(
    there: UpdatesWorld,
) -> None:
    _, new = two_releases(there)
    machines = Selector(devices=(there.pumps[0].device,))
    asked = {"product": "", "versions": (), "remedy": "stop", "fix_version": ""}
    row = open_recall(there, **asked, machines=machines)
    there.say(there.pumps[0], new, "committed")
    assert again(there, row) == Tally(affected=1)
    there.world.trust.retire(there.pumps[0])
    there.world.publish()
    assert again(there, row) == Tally(retired=1)
    with pytest.raises(Malformed):
        open_recall(there, **asked, machines=Selector())


def test_the_steps_lead_from_the_maker_to_the_owner_to_the_stick(there: UpdatesWorld) -> None:
    old = there.release("1.0", 10)
    there.approve(old)
    there.say(there.pumps[0], old, "committed")
    row = open_recall(there)

    def steps() -> list[str]:
        return [f"{step.who} {step.command.split(' ')[1:3]}" for step in detail(there, row).steps]

    acknowledge = "operator ['recall', 'acknowledge']"
    assert steps() == [acknowledge, "maker ['release', 'publish']"]
    row = there.slice.recalls.acknowledge(row.recall_id, "we look", OPERATOR)
    there.release("1.1", 11)
    assert steps()[:2] == ["operator ['rollout', 'create']", "owner ['owner', 'approve']"]
    there.approve(there.manifests[-1])
    assert "owner ['owner', 'approve']" not in steps()
    assert "technician ['release', 'bundle']" in steps()


def test_a_rollout_for_others_leaves_the_step_to_make_one(there: UpdatesWorld) -> None:
    old, new = two_releases(there)
    for each in there.pumps:
        there.say(each, old, "committed")
    row = open_recall(there)

    def steps() -> list[str]:
        found = [step for step in detail(there, row).steps if " rollout " in step.command]
        return [f"{step.command.split(' ')[2]}: {step.words}" for step in found]

    def roll_out(*machines: Machine) -> str:
        selector = Selector(devices=tuple(each.device for each in machines))
        asked = Wish(new.product, new.version, selector, None, ("100%",), 0, 0, 0)
        return str(there.slice.rollouts.create(asked, OPERATOR).row.rollout_id)

    assert [each.partition(":")[0] for each in steps()] == ["create"]
    first = roll_out(there.pumps[0])
    going, another = steps()
    assert going.startswith("show: Its rollout goes on by itself")
    assert "none is for 3 machines of these." in another and "has to be over first" in another
    there.slice.rollouts.cancel(first, "one is too few", OPERATOR)
    assert "Make a rollout of kiosk 1.1: in waves" in steps()[0] and len(steps()) == 1
    roll_out(there.pumps[0])
    there.say(there.pumps[0], new, "committed")
    there.world.clock.now += DAY_MS
    there.slice.motion.advance()
    assert again(there, row) == Tally(affected=3, updated=1)
    [another] = steps()
    assert another.startswith("create: Make another rollout of kiosk 1.1: none is for 3 machines")
    assert "has to be over" not in another
    roll_out(*there.pumps[1:])
    assert [each.partition(":")[0] for each in steps()] == ["show"]


def test_a_proof_names_where_in_the_record_each_word_stands(there: UpdatesWorld) -> None:
    old, new = two_releases(there)
    there.say(there.pumps[0], old, "committed")
    row = open_recall(there)
    there.say(there.pumps[0], new, "committed")
    proof = there.slice.recalls_shown.proof(row)
    line = next(each for each in proof.lines if each.device == there.pumps[0].device)
    assert (line.standing, line.version, line.counter) == ("updated", "1.1", 11)
    assert line.report is not None and line.report.generation == proof.generation == 1
    assert line.report.entry < proof.entries
    assert [e.report for e in proof.lines if e.standing == "unknown"] == [None] * (MACHINES - 1)
    assert (proof.tally.updated, proof.tally.unknown) == (1, MACHINES - 1)


def test_over_http_with_permissions_pages_csv_and_deeds(
    there: UpdatesWorld, tmp_path: Path
) -> None:
    old, _ = two_releases(there)
    there.say(there.pumps[0], old, "committed")
    app = create_app(
        Services(
            handlers=make_recall_handlers(
                RecallRooms(there.slice.recalls, there.slice.recalls_shown)
            ),
            authenticator=Names(),
            hosts=HostPolicy(frozenset({"console.localhost"})),
            static=tmp_path / "static",
        )
    )
    assert find_gaps(app) == []
    base = "/api/v1/updates"
    body: dict[str, Any] = {
        "title": "=1+1", "why": "<b>x</b>\nsecond line", "remedy": "patch", "product": "kiosk",
        "versions": [":1.0"], "fix_version": "1.1", "advisories": ["CVE-2026-1234"],
        "until": "2031-01-01T00:00:00.000Z",
    }  # fmt: skip
    with TestClient(app, base_url=f"http://{HOST}") as client:

        def bearer(who: str = "operator") -> dict[str, str]:
            return {"authorization": f"Bearer {who}"}

        seen = client.post(f"{base}/recall-forecasts", json=body, headers=bearer("viewer"))
        assert (seen.status_code, seen.json()["tally"]["affected"]) == (200, 1), seen.text
        assert (
            client.post(f"{base}/recalls", json=body, headers=bearer("viewer")).status_code == 403
        )
        made = client.post(f"{base}/recalls", json=body, headers=bearer())
        assert made.status_code == 201, made.text
        place = f"{base}/recalls/{made.json()['id'][:8]}"
        assert client.get(f"{base}/recalls", headers=bearer("viewer")).json()["items"] == [
            made.json()
        ]
        for query, total in (
            ("", 4), ("?standing=affected", 1), ("?standing=affected,unknown", 4),
            ("?q=PUMP 0", 1), ("?q=100%", 0), ("?silent=true", 4), ("?standing=updated", 0),
        ):  # fmt: skip
            found = client.get(place + query, headers=bearer("viewer")).json()
            assert (found["total"], len(found["items"])) == (total, total), query
        note = {"devices": [there.pumps[0].device], "words": "=HYPERLINK(1)"}
        assert client.post(f"{place}/notes", json=note, headers=bearer()).status_code == 200
        table = client.get(f"{place}/machines.csv", headers=bearer("viewer"))
        assert table.headers["content-type"].startswith("text/csv")
        assert "'=HYPERLINK(1)" in table.text and ",=HYPERLINK" not in table.text
        assert len(table.text.splitlines()) == 1 + MACHINES
        proof = client.get(f"{place}/proof", headers=bearer("viewer")).json()
        assert proof["scope"]["ranges"] == [{"first": 1, "last": 10}]
        for verb, state in (("acknowledge", "open"), ("close", "closed"), ("reopen", "open"),
                            ("cancel", "cancelled")):  # fmt: skip
            answer = client.post(f"{place}/{verb}", json={"reason": "so"}, headers=bearer())
            assert (answer.status_code, answer.json()["state"]) == (200, state), answer.text
            no = client.post(f"{place}/{verb}", json={"reason": "so"}, headers=bearer("viewer"))
            assert no.status_code == 403
        for bad in (
            {"title": "a\u202eb"}, {"why": "a\x1b[31m"}, {"advisories": ["a b"]}, {"title": " "},
            {"remedy": "burn"}, {"versions": ["x" * 200]}, {"product": "No Such"},
        ):  # fmt: skip
            answer = client.post(f"{base}/recalls", json=body | bad, headers=bearer())
            assert answer.status_code in {400, 422}, (bad, answer.text)


def test_days_and_a_card_until_it_is_over(there: UpdatesWorld) -> None:
    old, new = two_releases(there)
    for each in there.pumps:
        there.say(each, old, "committed")
    row = open_recall(there)
    [card] = recall_cards(there.slice.recalls)
    assert (card.title, card.label) == ("Recall: Open debug port", "See what to do next")
    there.world.clock.now += DAY_MS
    for each in there.pumps:
        there.say(each, new, "committed")
    assert again(there, row) == Tally(updated=MACHINES)
    [card] = recall_cards(there.slice.recalls)
    assert card.label == "Keep the proof, and close it"
    days = [(day.affected, day.done) for day in detail(there, row).history]
    assert days == [(MACHINES, 0), (0, MACHINES)]
    there.slice.recalls.close(row.recall_id, "", OPERATOR)
    assert recall_cards(there.slice.recalls) == []
