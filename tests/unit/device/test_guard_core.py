"""A machine from joining to proven evidence, and what it remembers over restarts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.device.device_world import (
    DAY_MS,
    Fleet,
    Guarded,
    SmallServer,
    make_inventory,
    pushed,
)

from fleetward.device.audit.segments import Chain
from fleetward.device.audit.verify import verify_journal
from fleetward.device.port import GetBatch, TakePushed
from fleetward.device.status import is_running, lock_folder
from fleetward.trust.errors import Refused


@pytest.fixture
def fleet() -> Fleet:
    return Fleet.make()


@pytest.fixture
def machine(tmp_path: Path, fleet: Fleet) -> Guarded:
    return Guarded(tmp_path / "guard", fleet)


@pytest.fixture
def server(machine: Guarded, fleet: Fleet) -> SmallServer:
    return SmallServer(fleet, machine.core.signer.public)


def test_all_evidence_gets_stored_handed_over_and_proven(
    machine: Guarded, server: SmallServer
) -> None:
    machine.document = lambda: make_inventory(22)
    machine.tick()
    server.wanted = [machine.core.state.inventory]
    assert not machine.core.report().settled
    server.serve(machine.core)
    kinds = [e.kind for b in server.batches for e in b.entries]
    assert kinds == ["agent.joined", "agent.started", "posture.inventory"]
    assert list(server.documents) == [machine.core.state.inventory]
    assert machine.core.report().settled
    assert machine.core.outbox.checkpoint.size == len(server.leaves)


def test_the_next_batch_says_which_checkpoint_the_machine_had_seen(
    machine: Guarded, server: SmallServer
) -> None:
    machine.tick()
    server.serve(machine.core)
    size = len(server.leaves)
    machine.core.diary.evidence("posture.changed", {"words": "something"})
    machine.tick()
    server.serve(machine.core)
    assert server.batches[0].header.checkpoint.size == 0
    assert server.batches[-1].header.checkpoint.size == size


def test_a_port_that_opens_becomes_an_event_in_words(machine: Guarded, server: SmallServer) -> None:
    machine.tick()
    machine.document = lambda: make_inventory(23)
    machine.core.looking.ask()
    machine.tick()
    (change,) = machine.bodies("posture.changed")
    assert str(change["words"]).startswith("port 23 opened by busybox, reachable from")
    machine.document = lambda: make_inventory()
    machine.clock.pass_ms(61_000)
    assert machine.core.looking.ask()
    machine.tick()
    assert machine.bodies("posture.changed")[-1]["words"] == "port 23 closed"
    assert len(machine.bodies("posture.inventory")) == 3


def test_batches_are_the_same_bytes_after_a_crash(machine: Guarded, server: SmallServer) -> None:
    machine.tick()
    server.greet(machine.core)
    first = machine.core.handle(GetBatch(), b"").body
    core = machine.crash()
    server.greet(core)
    assert core.handle(GetBatch(), b"").body == first


def test_a_restart_remembers_proofs_lease_and_lineage(
    machine: Guarded, server: SmallServer
) -> None:
    machine.tick()
    server.serve(machine.core)
    left = machine.core.lease_seconds_left
    machine.clock.pass_ms(3_600_000)
    core = machine.restart()
    assert core.lease_seconds_left == left - 3_600
    assert core.state.lineage == 1
    machine.tick()
    server.serve(core)
    assert machine.core.outbox.unproven == 0


def test_a_lease_counts_powered_on_time_over_a_reboot(machine: Guarded) -> None:
    machine.tick()
    left = machine.core.lease_seconds_left
    machine.core.close()
    # Two days in a cupboard: the wall clock moves, the machine was off, boot time starts again.
    machine.clock.wall += 2 * DAY_MS
    machine.clock.since_boot = 5_000
    machine.boot = "boot-2"
    core = machine.start()
    assert left - 10 <= core.lease_seconds_left <= left
    assert not machine.entries("clock.jumped")


@pytest.mark.parametrize("wall", [0, -5, 1_795_000_000_000 + 10 * 365 * DAY_MS])
def test_a_clock_of_1970_or_in_ten_years_breaks_nothing(
    machine: Guarded, server: SmallServer, wall: int
) -> None:
    machine.tick()
    left = machine.core.lease_seconds_left
    machine.clock.wall = wall
    machine.tick()
    (jump,) = machine.bodies("clock.jumped")
    assert jump["after"] == max(0, wall)
    assert machine.core.lease_seconds_left >= left - 5
    assert not machine.core.renew_due
    server.serve(machine.core)
    assert machine.core.outbox.unproven == 0


def test_a_small_correction_of_the_clock_is_no_event(machine: Guarded) -> None:
    machine.tick()
    machine.clock.wall += 20_000
    machine.tick()
    assert not machine.entries("clock.jumped")


def test_renewal_is_due_at_half_of_the_certificates_life(machine: Guarded) -> None:
    assert not machine.core.renew_due
    machine.clock.pass_ms(DAY_MS // 2)
    assert machine.core.renew_due


def test_the_owners_confirmation_arrives_and_is_journalled(machine: Guarded) -> None:
    core, world = machine.core, machine.fleet.world
    assert core.report().state == "unconfirmed"
    twin = world.machine("pump 7")
    twin.identity = core.signer
    world.confirm(twin)
    assert core.handle(TakePushed(), pushed(world.bundle(machine.device))).hint == "again"
    assert core.view.confirmed
    (accepted,) = machine.bodies("gate.accepted")
    assert "The owner confirmed this machine as pump 7" in str(accepted["words"])
    status = core.report()
    assert (status.name, status.site, status.state) == ("pump 7", "Plant", "active")
    core = machine.crash()
    assert core.view.confirmed
    # The same again is nothing new.
    assert core.handle(TakePushed(), pushed(world.bundle(machine.device))).hint == ""
    assert len(machine.bodies("gate.accepted")) == 1
    # Another machine is let in: that is an entry too, but of another kind.
    world.confirm(world.machine("pump 8"))
    assert core.handle(TakePushed(), pushed(world.bundle(machine.device))).hint == "again"
    assert len(machine.bodies("gate.accepted")) == 1
    (refreshed,) = machine.bodies("gate.refreshed")
    assert refreshed["words"] == "Newer documents of the owner were taken over."


def test_proven_batches_are_kept_seven_days_and_then_dropped(
    machine: Guarded, server: SmallServer
) -> None:
    machine.tick()
    filler = {"words": "x" * 20_000}
    for _ in range(120):
        machine.core.diary.evidence("posture.changed", filler)
    machine.tick()
    server.serve(machine.core)
    folder = machine.folder / "journal"
    before = sorted(folder.glob("*.entries"))
    assert len(before) >= 3
    machine.clock.pass_ms(7 * DAY_MS - 60_000)
    assert machine.core.outbox.drop_old() == 0
    machine.clock.pass_ms(2 * 60_000)
    assert machine.core.outbox.drop_old() == len(before) - 1
    core = machine.restart()
    machine.tick()
    server.serve(core)
    assert core.outbox.unproven == 0
    chain = Chain(core.signer.public, machine.fleet.world.owner)
    verdict = verify_journal(folder, chain, None)
    assert verdict.ok
    assert verdict.first > 1


def test_what_is_not_proven_is_never_dropped(machine: Guarded, server: SmallServer) -> None:
    machine.tick()
    for _ in range(120):
        machine.core.diary.evidence("posture.changed", {"words": "x" * 20_000})
    machine.tick()
    server.greet(machine.core)
    server.take_all(machine.core)
    machine.clock.pass_ms(400 * DAY_MS)
    assert machine.core.outbox.drop_old() == 0


def test_two_guards_do_not_share_a_folder(machine: Guarded) -> None:
    with lock_folder(machine.folder):
        assert is_running(machine.folder)
        with (
            pytest.raises(Refused, match="runs on this folder already"),
            lock_folder(machine.folder),
        ):
            pass
    assert not is_running(machine.folder)
