"""What the owner takes back, or time ends, between a yes and the switch holds back the switch.

The attacker has the server: he may be silent from now on, and the machine may lose its power at any
moment. So what the machine was told, and what it knows by itself, has to be enough.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.adversary.release_repository import signer
from tests.adversary.update_watch import (
    data_of,
    direct,
    kept_versions,
    lie,
    machine_with_a_release,
    names_rule,
    nothing_changes,
)
from tests.keys_world import hand_over
from tests.trust_world import NOW_MS
from tests.update_world import DAY_MS, PRODUCT, UpdateGuard, make_bundle
from tuf.api.metadata import Metadata, Root

from fleetward.device.updates.bundled import Bundled
from fleetward.device.updates.memory import MOST_WITHDRAWN
from fleetward.trust.envelope import seal
from fleetward.trust.release_approval import make_withdrawal_payload
from fleetward.trust.roster import RETIRED
from fleetward.trust.selector import Selector
from fleetward.trust.update_windows import Window
from fleetward.wire.updates import UpdateAnswer, UpdateQuestion

SATURDAY = (Window("UTC", (5,), 0, 60),)
PHASES = ("fetching", "waiting", "writing", "switching")


@pytest.fixture
def guard() -> Iterator[UpdateGuard]:
    with machine_with_a_release() as guard:
        yield guard


def phase(guard: UpdateGuard) -> str:
    attempt = guard.core.updates.memory.attempt
    return attempt.phase if attempt is not None else ""


def runs(guard: UpdateGuard) -> str:
    """Return the version that was committed last."""
    return guard.core.updates.memory.held[PRODUCT].version


def go_to(guard: UpdateGuard, wanted: str) -> None:
    """Let a release go as far as this phase, whose word has not been said, and pull the plug."""
    guard.look()
    for _ in range(60):
        working = guard.core.updates._working
        assert working is not None
        attempt = guard.core.updates.memory.attempt
        assert attempt is not None
        if attempt.phase == wanted and (wanted != "fetching" or attempt.surveyed):
            break
        guard.installer.dies_at = {"switching": "switch"}.get(wanted, "")
        guard.core.tick()
        if working._link.busy:
            guard._let_the_installer_answer()
        guard.carry()
        guard.clock.pass_ms(1000)
    assert phase(guard) == wanted
    guard.crash()
    guard.installer.dies_at = ""
    assert phase(guard) == wanted


def publish(guard: UpdateGuard, **changes: object) -> None:
    """Have the owner change the policy's roots, and the machine told."""
    world = guard.fleet.world
    roots = world.next_payload()["roots"]
    assert isinstance(roots, dict)
    world.next_policy({"roots": {**roots, **changes}})  # type: ignore[dict-item]
    guard.confirm(groups=("ward",))


def silence(guard: UpdateGuard) -> None:
    """From now on the server says that nothing is there."""
    for what in ("root", "director", "image", "manifest", "approvals", "blob"):
        guard.server.lies[what] = lambda _question, _honest: UpdateAnswer(found=False)


# --- what an owner changes


def another_maker(guard: UpdateGuard) -> None:
    publish(guard, makers={PRODUCT: hashlib.sha256(b"another root").hexdigest()})


def no_maker(guard: UpdateGuard) -> None:
    publish(guard, makers={"pump": "ab" * 32})


def sold(guard: UpdateGuard) -> None:
    hand_over(guard.fleet.world)
    guard.confirm()


def retired(guard: UpdateGuard) -> None:
    guard.fleet.world.publish([replace(guard._entry((), "P7"), state=RETIRED)])
    guard.core.updates.bundled._on_documents(guard.fleet.world.bundle(guard.device).to_bytes())


def moved(guard: UpdateGuard) -> None:
    guard.confirm(groups=("trial",))


def of_another_model(guard: UpdateGuard) -> None:
    guard.confirm(groups=("ward",), model="P8")


def over(guard: UpdateGuard) -> None:
    guard.clock.wall += 40 * DAY_MS


def lease_over(guard: UpdateGuard) -> None:
    guard.clock.pass_ms(2 * DAY_MS)


CHANGES: dict[Callable[[UpdateGuard], None], str] = {
    another_maker: "another_maker",
    no_maker: "unknown_maker",
    sold: "not_approved",
    retired: "not_confirmed",
    moved: "approved_for_others",
    of_another_model: "wrong_hardware",
    over: "approval_over",
    lease_over: "lease_expired",
}


@pytest.mark.parametrize("wanted", PHASES)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_changes_before_the_switch_holds_it_back(
    guard: UpdateGuard, change: Callable[[UpdateGuard], None], wanted: str
) -> None:
    guard.confirm(groups=("ward",))
    guard.release("1.1", 11, hardware=("P7",))
    guard.approve(
        not_after_ms=NOW_MS + 30 * DAY_MS, selector=Selector(groups=("ward",), models=("P7", "P8"))
    )
    go_to(guard, wanted)
    before = dict(guard.installer.active)
    floors = dict(guard.core.updates.memory.floors)
    change(guard)
    if wanted != "fetching":
        silence(guard)
    guard.go_on()
    assert guard.outcomes()[-1] == ("rolled_back" if wanted == "switching" else "refused")
    assert guard.reports()[-1].rule == CHANGES[change]
    assert guard.installer.active == before
    assert guard.core.updates.memory.floors == floors
    assert "switch" not in guard.installer.words[guard.installer.words.index("commit") + 1 :] or (
        wanted == "switching"
    )


def test_what_is_on_trial_when_the_machine_is_sold_comes_to_its_end(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.approve()
    guard.installer.healthy = lambda: False
    guard.run(5)
    assert phase(guard) == "trying"
    sold(guard)
    guard.installer.healthy = lambda: True
    guard.go_on()
    assert runs(guard) == guard.newest.version


def test_a_window_that_closes_while_it_is_written_is_waited_for(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.approve(windows=(Window("UTC", (2,), 0, 24 * 60),))
    go_to(guard, "writing")
    guard.clock.wall += DAY_MS
    silence(guard)
    guard.go_on(30)
    assert phase(guard) == "waiting"
    assert "switch" not in guard.installer.words[guard.installer.words.index("commit") :]
    guard.clock.wall += 6 * DAY_MS
    guard.go_on(30)
    assert runs(guard) == guard.newest.version


# --- withdrawals


@pytest.mark.parametrize("how", ["silence", "crash"])
def test_a_withdrawal_is_remembered_though_the_look_that_brought_it_failed(
    guard: UpdateGuard, how: str
) -> None:
    guard.release("1.1", 11)
    approval = guard.approve()
    guard.withdraw(approval)
    guard.server.lies["image"] = lambda _q, _a: UpdateAnswer(found=False)
    guard.look()
    if how == "crash":
        guard.crash()
    guard.server.lies.clear()
    guard.server.approvals.pop()
    with nothing_changes(guard):
        guard.run()
    assert "not_approved" in names_rule(guard)


def test_no_crowd_of_withdrawals_brings_an_approval_back(guard: UpdateGuard) -> None:
    """One approver withdraws whatever he likes, so often that the machine has to forget."""
    guard.release("1.1", 11)
    guard.withdraw(guard.approve())
    guard.run()
    assert "not_approved" in names_rule(guard)
    world = guard.fleet.world
    approval, honest = guard.server.approvals[-2:]
    dates = (0, NOW_MS, 2**53 - 1)
    for first in range(0, MOST_WITHDRAWN + 120, 60):
        guard.server.approvals = [
            seal(
                make_withdrawal_payload(world.policy, f"{n:064x}", "", dates[n % 3]),
                world.signers[:1],
            )
            for n in range(first, first + 60)
        ]
        guard.look()
    assert "too_many_withdrawals" in names_rule(guard)
    guard.crash()
    guard.server.approvals = [approval]
    with nothing_changes(guard):
        guard.run()
    assert honest not in guard.server.approvals
    # What the owner approves after that holds, once the machine's time is past it.
    guard.clock.wall += 8 * DAY_MS
    payload_time = guard.clock.wall
    guard.server.approvals = []
    guard.approve(not_before_ms=payload_time - 1000, at_ms=payload_time)
    guard.run()
    assert runs(guard) == guard.newest.version


# --- time


def test_no_clock_shortens_the_wait_of_a_standing_approval(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.allow_all(wait_seconds=7200)
    guard.run(60)
    assert guard.outcomes()[-1] == "accepted"
    guard.clock.wall += DAY_MS
    guard.run(60)
    assert guard.outcomes()[-1] == "accepted"
    assert "write" not in guard.installer.words[guard.installer.words.index("commit") :]
    guard.clock.wall -= DAY_MS
    guard.go_on(8000, 60_000)
    assert runs(guard) == guard.newest.version


def test_a_release_that_was_seen_in_1970_waits_as_long(guard: UpdateGuard) -> None:
    """The wrong clock is set right: a wait that began at its time would be over at once."""
    now = guard.clock.wall
    guard.clock.wall += 10 * DAY_MS
    guard.fleet.world.lease(at_ms=guard.clock.wall)
    guard.clock.wall = 0
    guard.server.now_ms = lambda: now
    guard.release("1.1", 11)
    guard.allow_all(wait_seconds=7200)
    guard.run(60)
    guard.clock.wall = now + 10 * DAY_MS
    guard.server.now_ms = guard.clock.wall_ms
    guard.run(60)
    assert guard.outcomes()[-1] == "accepted"


def test_a_zone_that_nobody_knows_is_refused_once(guard: UpdateGuard) -> None:
    """Else the machine would begin and give up for ever, as fast as it can."""
    guard.release("1.1", 11)
    guard.approve(windows=(Window("Mars/Olympus", (5,), 0, 60),))
    with nothing_changes(guard):
        guard.run()
        for _ in range(50):
            guard.go_on(5)
    assert guard.reports()[-1].rule == "unknown_time_zone"
    assert guard.outcomes()[3:] == ["refused"]


# --- metadata


def test_what_was_verified_is_kept_though_the_power_goes(guard: UpdateGuard) -> None:
    """The server shows the newest, is silent, and the power goes: an older state is refused."""
    old = dict(guard.repository.files)
    guard.release("1.1", 11)
    guard.approve()

    def stop(question: UpdateQuestion, honest: UpdateAnswer) -> UpdateAnswer:
        return honest if question.name in ("root", "timestamp") else data_of(None)

    updates = guard.core.updates
    updates.talk.look_now()
    for _ in range(20):
        question = updates.next_question()
        assert question is not None
        if question.what == "image" and question.name == "snapshot":
            break
        updates.take_answer(
            stop(question, guard.server.answer(question))
            if question.what == "image"
            else guard.server.answer(question)
        )
    kept = kept_versions(guard)
    guard.crash()
    assert any(name.endswith("timestamp.json") for name in kept)
    guard.repository.files.clear()
    guard.repository.files.update(old)
    with nothing_changes(guard):
        guard.run()
    assert "rollback_timestamp" in names_rule(guard)


@pytest.mark.parametrize("whose", ["maker", "director"])
@pytest.mark.parametrize("damage", [b"", b"{}", b'{"signatures":[],"signed":{}}'])
def test_a_kept_root_that_is_damaged_is_asked_for_again(
    guard: UpdateGuard, whose: str, damage: bytes
) -> None:
    roots = guard.fleet.world.policy.roots
    anchor = roots.director if whose == "director" else roots.makers[PRODUCT]
    (guard.folder / "updates" / "metadata" / anchor / "root.json").write_bytes(damage)
    guard.release("1.1", 11)
    guard.approve()
    guard.run()
    assert runs(guard) == guard.newest.version


def test_a_stolen_directors_key_that_raised_its_version_is_taken_away(guard: UpdateGuard) -> None:
    """The director's root names another key: what the thief said last no longer stands in the way,
    though the power went in between."""
    lie(guard, "director", "targets", direct(guard, version=2**52))
    guard.look()
    guard.server.lies.clear()
    fresh = signer(903)
    metadata: Metadata[Root] = Metadata.from_bytes(guard.director.root)
    root = metadata.signed
    root.version = 2
    root.revoke_key(guard.director.key.public_key.keyid, "targets")
    root.add_key(fresh.public_key, "targets")
    metadata.sign(guard.director.key)
    guard.release("1.1", 11)
    guard.approve()

    def serve(question: UpdateQuestion, honest: UpdateAnswer) -> UpdateAnswer:
        if question.name == "root":
            return data_of(metadata.to_bytes() if question.version == 2 else None)
        word = guard.director.direct(
            guard.device, guard.fleet.world.owner, guard.server.directed, by=fresh
        )
        return honest if question.name != "targets" else data_of(word)

    guard.server.lies["director"] = lambda q, a: serve(q, a) if q.name == "root" else data_of(None)
    guard.look()
    guard.crash()
    guard.server.lies["director"] = serve
    guard.run()
    assert runs(guard) == guard.newest.version
    # And the stolen key says nothing any more.
    guard.server.lies["director"] = lambda q, a: (
        serve(q, a) if q.name == "root" else data_of(direct(guard, version=2**52 + 1))
    )
    guard.look()
    assert "director_threshold" in names_rule(guard)


def test_after_damage_no_release_is_left_out(guard: UpdateGuard) -> None:
    """What the machine holds was forgotten, but its counter is known: it is not a new machine."""
    (guard.folder / "updates" / "memory.json").write_bytes(b"{")
    guard.crash()
    guard.release("1.2", 12, least_before=11)
    guard.approve()
    guard.run()
    assert guard.reports()[-1].rule == "must_pass_through"


def test_a_bundle_is_not_ended_by_what_the_server_sent(guard: UpdateGuard) -> None:
    """A person's bundle lies there while a release of the server's is under way."""
    guard.release("1.1", 11)
    guard.approve()
    guard.installer.healthy = lambda: False
    guard.run(5)
    assert phase(guard) == "trying"
    manifest = guard.release("1.2", 12)
    guard.approve()
    guard.server.directed = []
    bundled: Bundled = guard.core.updates.bundled
    bundled._path.parent.mkdir(exist_ok=True)
    bundled._path.write_bytes(make_bundle(guard, manifest))
    guard.installer.healthy = lambda: True
    for _ in range(3):
        guard.go_on(30)
    assert [r.version for r in guard.reports() if r.outcome == "committed"] == ["1.0", "1.1", "1.2"]
    assert not bundled.waits


def test_who_holds_the_server_does_not_keep_a_bundle_away(guard: UpdateGuard) -> None:
    """He names a release and never hands its parts over."""
    guard.release("1.1", 11)
    guard.approve()
    guard.server.lies["blob"] = lambda _q, _a: UpdateAnswer(found=False)
    guard.run(30)
    assert phase(guard) == "fetching"
    bundled: Bundled = guard.core.updates.bundled
    bundled._path.parent.mkdir(exist_ok=True)
    bundled._path.write_bytes(make_bundle(guard, guard.newest))
    guard.server.lies["director"] = lambda _q, _a: UpdateAnswer(found=False)
    guard.go_on(30)
    guard.go_on(30)
    assert runs(guard) == guard.newest.version


def test_a_look_that_is_drawn_out_is_judged_by_no_time_of_yesterday(guard: UpdateGuard) -> None:
    """One time holds for a whole look. The server lets the machine wait until what it shows has
    ended, and the machine would still take it for fresh."""
    guard.release("1.1", 11)
    guard.approve()
    guard.repository.timestamp.expires = Metadata.from_bytes(
        guard.repository.files["timestamp.json"]
    ).signed.expires - timedelta(days=364)
    guard.repository.publish("timestamp")
    updates = guard.core.updates
    updates.talk.look_now()
    question = updates.next_question()
    while question is not None and question.name != "timestamp":
        updates.take_answer(guard.server.answer(question))
        question = updates.next_question()
    assert question is not None
    guard.clock.pass_ms(DAY_MS + 3_600_000)
    guard.fleet.world.lease(at_ms=guard.clock.wall)
    guard.core.updates.bundled._on_documents(guard.fleet.world.bundle(guard.device).to_bytes())
    with nothing_changes(guard):
        updates.take_answer(guard.server.answer(question))
        guard.run()
        guard.run()
    assert "timestamp_expired" in names_rule(guard)
