"""The drill's attacks against trust itself: all that a thief of the server has is not enough."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from tests.access_server import access_server
from tests.server_world import ServerWorld
from tests.trust_world import Machine

from fleetward.runtime.database import Database
from fleetward.server.drill.act import Drill, Drills
from fleetward.server.drill.attacks import make_attacks
from fleetward.server.drill.session_attacks import Papers
from fleetward.server.drill.store import select_heard, select_papers
from fleetward.trust.canonical import from_base64url
from fleetward.trust.documents import OwnerView, advance, first_view, read_bundle
from fleetward.trust.errors import FleetwardError, Refused, Unreachable
from fleetward.trust.keys import Signer
from fleetward.wire.orders import Documents
from fleetward.wire.subjects import Up


def stolen(world: ServerWorld) -> list[Signer]:
    return [world.trust.log, world.authorities.issuing_signer]


def view_of(world: ServerWorld, machine: Machine) -> OwnerView:
    bundle = read_bundle(world.house.directory.bundle(machine.device).to_bytes())
    return first_view(world.trust.anchor(machine.device), bundle)


def test_no_attack_moves_a_machine(world: ServerWorld) -> None:
    machine = world.join("pump")
    world.confirm(machine)
    view = view_of(world, machine)
    attacks = make_attacks(
        world.house.directory.require(), Papers(machine.device), stolen(world), world.clock.now
    )
    assert [a.id for a in attacks] == [
        "another-owner", "another-policy", "false-roster", "signed-code", "plain-code",
        "session-alone", "grant-another-key", "signed-otherwise",
    ]  # fmt: skip
    reasons = {}
    for attack in attacks:
        if attack.channel != "documents":
            continue
        bundle = msgspec.json.decode(attack.payloads[0], type=Documents).bundle
        with pytest.raises(FleetwardError) as caught:
            advance(view, read_bundle(from_base64url(bundle)))
        reasons[attack.id] = caught.value.reason
    assert reasons == {
        "another-owner": "another_owner",
        "another-policy": "too_few_signatures",
        "false-roster": "too_few_signatures",
    }


class Bus:
    """Pushes to a machine that answers by its journal, or not at all."""

    def __init__(self, world: ServerWorld, machine: Machine, *, answers: str) -> None:
        self.world, self.machine, self.answers, self.pushed = world, machine, answers, 0
        self.carries = threading.Event()

    async def push(self, device: str, word: str, payload: bytes) -> None:
        self.pushed += 1
        await asyncio.to_thread(self.carries.wait, 20)
        if self.answers == "gone":
            raise Unreachable("the bus is gone", reason="bus_closed")
        if self.answers:
            self.machine.write(self.answers, {"reason": "too_few_signatures", "words": "No."})
            await self.world.house.intake.handle(device, Up.BATCH, self.machine.cut())


@contextmanager
def drills(world: ServerWorld, bus: Bus) -> Iterator[tuple[Drills, threading.Event]]:
    loop, ended = asyncio.new_event_loop(), threading.Event()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    made: list[Drills] = []

    def announce(drill: str) -> None:
        if made[0].get(drill).state != "running":
            ended.set()

    house = world.house
    made.append(
        Drills(
            database=world.database, clock=world.clock, deeds=house.deeds,
            documents=house.directory.require, stolen=lambda: stolen(world),
            robbery=house.updates.desk, pusher=lambda: bus,
            is_connected=lambda _: True, loop=loop, announce=announce, answer_seconds=1.0,
        )
    )  # fmt: skip
    try:
        yield made[0], ended
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def run(world: ServerWorld, answers: str) -> Drill:
    machine = world.join("pump")
    world.confirm(machine)
    bus = Bus(world, machine, answers=answers)
    with drills(world, bus) as (made, ended):
        drill = made.start(machine.device, "person:ada")
        with pytest.raises(Refused) as caught:
            made.start(machine.device, "person:ada")
        assert caught.value.reason == "drill_running"
        bus.carries.set()
        assert ended.wait(20)
        assert len(world.deeds("drill.started")) == 1
        return made.get(drill.id)


def test_a_machine_that_refuses_everything_passes(world: ServerWorld) -> None:
    drill = run(world, "gate.refused")
    assert drill.state == "passed"
    tried = [s for s in drill.steps if s.outcome != "skipped"]
    assert {(s.outcome, s.reason) for s in tried} == {("refused", "too_few_signatures")}
    # The owner's policy names no director here, so the machine asks for no release.
    (releases,) = [s for s in drill.steps if s.outcome == "skipped"]
    assert "director" in releases.answer


@pytest.mark.parametrize("kind", ["gate.accepted", "gate.refreshed"])
def test_a_machine_that_accepts_fails(world: ServerWorld, kind: str) -> None:
    assert run(world, kind).state == "failed"


@pytest.mark.parametrize("answers", ["", "gone"])
def test_no_answer_is_no_pass(world: ServerWorld, answers: str) -> None:
    drill = run(world, answers)
    assert drill.state == "unanswered"
    assert {s.outcome for s in drill.steps} == {"unanswered", "skipped"}


def test_the_thief_has_the_papers_of_true_sessions(tmp_path: Path, database: Database) -> None:
    with access_server(database, tmp_path) as there:
        device = there.pump.device

        def look() -> Papers:
            with there.world.database.read() as conn:
                return select_papers(conn, device)

        assert look() == Papers(device)
        used, grant = there.live()
        there.open(grant)
        assert look() == Papers(device, grant=grant.raw, granted=used.raw)
        waiting = there.ask()
        offer = there.note_offer(waiting)
        assert look() == Papers(device, waiting.raw, offer.raw, grant.raw, used.raw)


def test_only_an_opening_for_what_an_attack_pushed_is_a_defeat(world: ServerWorld) -> None:
    machine = world.join("pump")
    world.confirm(machine)
    machine.write("session.offered", {"request": "a" * 64, "words": "Tom asks."})
    machine.write("session.opened", {"session": "b" * 64, "words": "Tom is inside."})
    world.send(machine, Up.BATCH, machine.cut())

    def hear(*subjects: str) -> str:
        with world.database.read() as conn:
            heard = select_heard(conn, machine.device, 0, frozenset(subjects))
        return heard.kind if heard else ""

    assert hear() == hear("c" * 64) == ""
    assert hear("a" * 64) == "session.offered"
    assert hear("b" * 64) == "session.opened"
