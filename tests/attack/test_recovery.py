"""Stolen recovery keys, an owner who says no, and a server that helps the thief.

Every machine is a whole guard with clocks in the test's hand. What must not be seen: a recovered
policy in force before its delay, after a veto, or with anything changed but people.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.keys_world import name_recovery, recovered, take_recovered
from tests.trust_world import DAY_MS, World, key_row, payload_of, refused, resign
from tests.unit.device.device_world import Fleet, Guarded, SmallServer, pushed

from fleetward.device.gate_recovery import ANNOUNCED, COUNTING, ENDED, MOST_ANNOUNCED, READY
from fleetward.device.port import TakePushed
from fleetward.runtime.keys import make_key
from fleetward.trust.canonical import Json
from fleetward.trust.documents import Anchor, Bundle, advance, first_view, restore_view
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Untrusted
from fleetward.trust.keys import ED25519, Signer
from fleetward.trust.policy import verify_following_policy, verify_recovered_policy
from fleetward.trust.recovery import MAX_DELAY_SECONDS, MIN_DELAY_SECONDS, make_recovery

DAYS = 7


@dataclass
class Scene:
    """A machine, its owner with recovery keys, and a server."""

    machine: Guarded
    world: World
    keepers: list[Signer]
    server: SmallServer

    def push(self, bundle: Bundle) -> None:
        """Hand a bundle to the machine as any server can."""
        with contextlib.suppress(FleetwardError):
            self.machine.core.handle(TakePushed(), pushed(bundle))

    def announce(self, raw: bytes) -> None:
        self.push(Bundle(root=b"", policies=(raw,)))

    def finished(self, raw: bytes, people: dict[str, Signer]) -> Bundle:
        """Return the documents under a recovered policy; the owner's history is as before."""
        world = self.world
        kept = (list(world.policies), list(world.rosters), list(world.heads), list(world.leases))
        held = (world.people, world.lease_signer)
        take_recovered(world, raw, people)
        world.publish()
        bundle = world.bundle(self.machine.device)
        world.policies, world.rosters, world.heads, world.leases = kept
        world.people, world.lease_signer = held
        return bundle

    def pass_days(self, days: float, step_ms: int = DAY_MS // 4) -> None:
        left = int(days * DAY_MS)
        while left > 0:
            self.machine.clock.pass_ms(min(step_ms, left))
            left -= step_ms
            self.machine.core.gate.tick()
            self.machine.core.time.observe()

    def prove(self) -> None:
        """Let the machine's notice reach the record, and the proof come back."""
        self.machine.tick()
        self.server.serve(self.machine.core)
        self.machine.core.gate.tick()

    @property
    def version(self) -> int:
        return self.machine.core.view.policy.version


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    fleet = Fleet.make()
    keepers = name_recovery(fleet.world, days=DAYS)
    fleet.world.publish()
    machine = Guarded(tmp_path / "guard", fleet)
    yield Scene(machine, fleet.world, keepers, SmallServer(fleet, machine.core.signer.public))
    machine.core.close()


def test_a_recovery_holds_after_the_delay_and_not_before(scene: Scene) -> None:
    raw, people = recovered(scene.world, scene.keepers)
    bundle = scene.finished(raw, people)
    scene.announce(raw)
    scene.announce(raw)
    said = scene.machine.bodies(ANNOUNCED)
    assert len(said) == 1
    assert "RECOVERY ANNOUNCED" in str(said[0]["words"])
    scene.prove()
    scene.pass_days(DAYS - 0.01)
    scene.push(bundle)
    assert scene.version == 3
    assert "left to refuse it" in scene.machine.core.report().recovery
    scene.pass_days(0.02)
    assert len(scene.machine.bodies(READY)) == 1
    scene.push(bundle)
    assert scene.version == 4
    assert scene.machine.core.view.policy.recovered
    assert scene.machine.bodies(ENDED)[0]["held"] is True
    assert scene.machine.core.report().recovery == ""
    # It is read back from the disk, and an ordinary policy of that version is a fork now.
    scene.machine.restart()
    assert scene.version == 4
    veto = seal(scene.world.next_payload(), scene.world.signers)
    with refused(Untrusted, "forked_policy"):
        advance(scene.machine.core.view, Bundle(root=b"", policies=(veto,)))


def test_stolen_recovery_keys_with_an_owner_who_says_no(scene: Scene) -> None:
    raw, people = recovered(scene.world, scene.keepers)
    bundle = scene.finished(raw, people)
    scene.announce(raw)
    scene.prove()
    scene.pass_days(DAYS - 1)
    rows: list[Json] = [
        r for r in _rows(scene.world) if isinstance(r, dict) and r["person"] not in ("rita", "rob")
    ]
    payload = scene.world.next_payload({"keys": rows})
    del payload["recovery"]
    scene.world.policies.append(
        verify_following_policy(seal(payload, scene.world.signers), scene.world.policy)
    )
    scene.world.publish()
    scene.push(scene.world.bundle(scene.machine.device))
    assert scene.version == 4
    assert scene.machine.bodies(ENDED)[0]["held"] is False
    scene.pass_days(DAYS * 2)
    scene.push(bundle)
    assert not scene.machine.core.view.policy.recovered
    # And the keys are no recovery keys any more.
    with refused(Untrusted, "too_few_signatures"):
        recovered(scene.world, scene.keepers)
        again = resign(raw, {"version": 5}, scene.keepers)
        verify_following_policy(again, scene.world.policy)


def _rows(world: World) -> list[Json]:
    rows = payload_of(world.policy.raw)["keys"]
    assert isinstance(rows, list)
    return rows


def test_a_server_that_keeps_the_notice_to_itself_starts_no_delay(scene: Scene) -> None:
    """It cuts the machine off, announces, waits for ever: the record must have the notice first."""
    raw, people = recovered(scene.world, scene.keepers)
    bundle = scene.finished(raw, people)
    scene.announce(raw)
    scene.pass_days(DAYS * 10)
    scene.push(bundle)
    assert scene.version == 3
    assert scene.machine.bodies(COUNTING) == []
    # Once it lets the record have it, the whole delay begins.
    scene.prove()
    assert len(scene.machine.bodies(COUNTING)) == 1
    scene.pass_days(DAYS - 1)
    scene.push(bundle)
    assert scene.version == 3


def test_a_server_that_withholds_the_veto_after_the_notice(scene: Scene) -> None:
    """What is promised then is the notice: a leaf of the record, which nobody takes out again."""
    raw, people = recovered(scene.world, scene.keepers)
    scene.announce(raw)
    scene.prove()
    announced = [
        entry
        for batch in scene.server.batches
        for entry in batch.entries
        if entry.kind == ANNOUNCED and batch.header.raw in scene.server.leaves
    ]
    assert len(announced) == 1
    scene.pass_days(DAYS + 1)
    scene.push(scene.finished(raw, people))
    assert scene.version == 4


def test_a_record_that_contradicts_itself_starts_no_delay(scene: Scene) -> None:
    raw, people = recovered(scene.world, scene.keepers)
    scene.announce(raw)
    scene.machine.core.state.record = "contradicted"
    scene.prove()
    scene.pass_days(DAYS * 2)
    scene.push(scene.finished(raw, people))
    assert scene.version == 3


@pytest.mark.parametrize("how", ["clock", "reboot", "state_lost", "crash"])
def test_nothing_makes_a_delay_shorter(scene: Scene, how: str) -> None:
    raw, people = recovered(scene.world, scene.keepers)
    bundle = scene.finished(raw, people)
    scene.announce(raw)
    scene.prove()
    machine = scene.machine
    scene.pass_days(1)
    if how == "clock":
        machine.clock.wall += 365 * DAY_MS
    elif how == "reboot":
        machine.core.close()
        machine.boot, machine.clock.since_boot = "boot-2", 5_000
        machine.clock.wall += 30 * DAY_MS  # It was off for a month.
        machine.start()
    elif how == "crash":
        machine.crash()
    else:
        machine.core.close()
        machine.core.files.state.unlink()
        machine.start()
        scene.announce(raw)
    scene.pass_days(DAYS - 2)
    scene.push(bundle)
    assert scene.version == 3
    if how == "state_lost":  # The wait began anew, with a notice of its own.
        assert len(machine.bodies(ANNOUNCED)) == 2
        return
    scene.pass_days(1.1)
    scene.push(bundle)
    assert scene.version == 4


def test_two_recoveries_at_once(scene: Scene) -> None:
    one, people_one = recovered(scene.world, scene.keepers, label="one")
    two, people_two = recovered(scene.world, scene.keepers, label="two")
    bundles = [scene.finished(one, people_one), scene.finished(two, people_two)]
    scene.announce(one)
    scene.prove()
    scene.pass_days(3)
    scene.announce(two)
    scene.prove()
    scene.pass_days(DAYS - 2)
    scene.push(bundles[1])  # Each waits for itself.
    assert scene.version == 3
    scene.push(bundles[0])
    assert scene.version == 4
    scene.pass_days(DAYS)
    scene.push(bundles[1])
    assert (
        scene.machine.core.view.policies[-1].hash
        == verify_recovered_policy(one, scene.world.policy).hash
    )
    assert scene.machine.core.state.recoveries == []


def test_a_flood_of_recoveries(scene: Scene) -> None:
    for number in range(MOST_ANNOUNCED + 3):
        scene.announce(recovered(scene.world, scene.keepers, label=f"no {number}")[0])
    assert len(scene.machine.core.state.recoveries) == MOST_ANNOUNCED
    assert len(scene.machine.bodies(ANNOUNCED)) == MOST_ANNOUNCED


def _touching(world: World) -> list[tuple[str, Json]]:
    payload = payload_of(world.policy.raw)
    roots = payload["roots"]
    assert isinstance(roots, dict)
    recovery = payload["recovery"]
    assert isinstance(recovery, dict)
    access: dict[str, Json] = {"requesters": [], "root": _rule(), "walls": "any"}
    return [
        *[(f"roots.{n}", {**roots, n: "ab" * 32}) for n in ("server_ca", "fleet_ca")],
        ("roots.log_key", {**roots, "log_key": make_key(ED25519).public.to_json()}),
        ("roots.recording_key", {**roots, "recording_key": "es256:AAAA"}),
        ("roots.makers", {**roots, "makers": {"pump": "ab" * 32}}),
        ("roots.download_origins", {**roots, "download_origins": ["https://a.example"]}),
        ("never_ports", []),
        ("lease_seconds", 400 * 86_400),
        ("name", "Somebody"),
        ("recovery", {**recovery, "delay_seconds": MIN_DELAY_SECONDS}),
        ("access", access),
    ]


def _rule() -> dict[str, Json]:
    return {"seconds": 60, "threshold": 1, "watched": False}


def test_a_recovery_that_touches_what_it_must_not(scene: Scene) -> None:
    for name, value in _touching(scene.world):
        raw, _ = recovered(scene.world, scene.keepers, {name.partition(".")[0]: value})
        with refused(Untrusted, "recovery_too_wide"):
            verify_recovered_policy(raw, scene.world.policy)
        scene.announce(raw)
    later, _ = recovered(scene.world, scene.keepers, {"epoch": 2, "name": "Thief"})
    with refused(Untrusted, "recovery_too_wide"):
        verify_recovered_policy(later, scene.world.policy)
    unknown, _ = recovered(scene.world, scene.keepers, {"shell": True})
    with refused(Malformed, "unknown_field"):
        verify_recovered_policy(unknown, scene.world.policy)
    assert scene.machine.bodies(ANNOUNCED) == []


def test_a_recovery_takes_rules_out_and_puts_none_in(scene: Scene) -> None:
    world, tom = scene.world, make_key(ED25519)
    asking: dict[str, Json] = {
        "requesters": [tom.public.key_id], "root": _rule(), "walls": "sandbox",
    }  # fmt: skip
    world.next_policy(
        {"access": asking, "keys": [*_rows(world), key_row(tom.public, "tom", "Makers")]}
    )
    without: dict[str, Json] = {k: v for k, v in asking.items() if k != "root"}
    verify_recovered_policy(recovered(world, scene.keepers, {"access": without})[0], world.policy)
    nobody: dict[str, Json] = {**asking, "requesters": []}
    verify_recovered_policy(recovered(world, scene.keepers, {"access": nobody})[0], world.policy)
    loose: list[dict[str, Json]] = [
        {**asking, "walls": "any"},
        {**asking, "root": {**_rule(), "seconds": 61}},
        {**asking, "logs": {**_rule(), "units": ["*"]}},
        {**asking, "requesters": [tom.public.key_id, world.signers[0].public.key_id]},
    ]
    for access in loose:
        raw, _ = recovered(
            world, scene.keepers, {"access": access, "keys": [*_rows(world)]}, label="loose"
        )
        with pytest.raises((Malformed, Untrusted)):
            verify_recovered_policy(raw, world.policy)


def test_too_few_keepers_and_strangers(scene: Scene) -> None:
    world = scene.world
    keepers: Sequence[Sequence[Signer]] = (
        scene.keepers[:1],
        [scene.keepers[0], make_key(ED25519)],
        world.signers[:0],
    )
    for signers in keepers:
        raw, _ = recovered(world, signers)
        with refused(Untrusted, "too_few_signatures"):
            verify_following_policy(raw, world.policy)
        scene.announce(raw)
    assert scene.machine.bodies(ANNOUNCED) == []
    # The new people must hold their keys, or the machines would be lost for good.
    raw, _ = recovered(world, scene.keepers)
    with refused(Untrusted, "too_few_signatures"):
        verify_recovered_policy(resign(raw, {}, scene.keepers), world.policy)


def test_recovery_keys_do_nothing_else(scene: Scene) -> None:
    world = scene.world
    ids = [k.public.key_id for k in scene.keepers]
    roles = payload_of(world.policy.raw)["roles"]
    assert isinstance(roles, dict)
    bad: list[dict[str, Json]] = [
        {"roles": {**roles, "approve": {"keys": [ids[0]], "threshold": 1}}},
        {"access": {"requesters": [ids[0]], "walls": "any"}},
        {"recovery": make_recovery((*ids, "a" * 32), 1, MIN_DELAY_SECONDS)},
    ]
    for changes in bad:
        with refused(Malformed, "bad_role"):
            world.next_policy(changes)
    for delay in (0, MIN_DELAY_SECONDS - 1, MAX_DELAY_SECONDS + 1):
        with refused(Malformed, "bad_field"):
            world.next_policy({"recovery": make_recovery(tuple(ids), 2, delay)})
    for threshold in (0, 3):
        with refused(Malformed, "bad_threshold"):
            world.next_policy({"recovery": make_recovery(tuple(ids), threshold, DAY_MS // 1000)})


def test_a_machine_that_joins_takes_what_its_join_string_vouches_for(scene: Scene) -> None:
    world, device = scene.world, scene.machine.device
    before = world.policy
    raw, people = recovered(world, scene.keepers)
    take_recovered(world, raw, people)
    world.publish()
    bundle = world.bundle(device)
    assert first_view(world.anchor(device), bundle).policy.recovered
    with refused(Refused, "recovery_waits"):
        first_view(Anchor(world.owner, device, before.version, before.hash), bundle)
    view = first_view(world.anchor(device), bundle)
    again = restore_view(view.anchor, view.to_bundle(), view.lease_serial)
    assert again == view


def test_a_machine_that_was_away_waits_all_the_same(scene: Scene) -> None:
    """It hears of the recovery only when it is finished: that is its announcement."""
    raw, people = recovered(scene.world, scene.keepers)
    bundle = scene.finished(raw, people)
    scene.push(bundle)
    assert scene.version == 3
    assert len(scene.machine.bodies(ANNOUNCED)) == 1
    scene.prove()
    scene.pass_days(DAYS)
    scene.push(bundle)
    assert scene.version == 4


def test_a_wait_counts_under_the_policy_that_demanded_it(scene: Scene) -> None:
    """A machine that is behind hears of a recovery upon one policy, and then takes another."""
    world = scene.world
    short = payload_of(world.policy.raw)["recovery"]
    assert isinstance(short, dict)
    one = seal(world.next_payload({"recovery": {**short, "delay_seconds": 86_400}}), world.signers)
    world.policies.append(verify_following_policy(one, world.policy))
    raw, _ = recovered(world, scene.keepers)
    ahead = Bundle(root=b"", policies=(one, raw))
    scene.push(ahead)
    assert len(scene.machine.bodies(ANNOUNCED)) == 1
    scene.prove()
    scene.pass_days(2)
    world.policies.pop()
    world.next_policy({"never_ports": [22, 99]})  # The owner contradicts himself.
    world.publish()
    scene.push(world.bundle(scene.machine.device))
    assert scene.version == 4
    assert scene.machine.core.state.recoveries == []
    scene.announce(raw)
    scene.pass_days(2)
    scene.announce(raw)
    assert scene.version == 4
