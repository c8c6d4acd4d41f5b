"""Updates over a real broker: machines are told to look, not all at once, and are answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.access_server import AccessServer, access_server
from tests.attack.test_access_bus import Scene, hear, run, until
from tests.system.broker_world import now_ms
from tests.trust_world import Machine

from fleetward.runtime.broker import Account
from fleetward.runtime.bus import serve_devices
from fleetward.runtime.database import Database
from fleetward.runtime.files import make_private_directory
from fleetward.server.bus_side import (
    LONGEST_BREATH_SECONDS,
    LOOKS_A_SECOND,
    MOST_ASKING,
    BusSide,
)
from fleetward.trust.canonical import from_base64url
from fleetward.trust.documents import Bundle
from fleetward.wire.audit import ProofRequest
from fleetward.wire.orders import Reduce
from fleetward.wire.subjects import Up, down, up
from fleetward.wire.unsigned import decode_pushed, decode_reply
from fleetward.wire.updates import UpdateAnswer, UpdateQuestion


@pytest.fixture
def there(tmp_path: Path) -> Iterator[AccessServer]:
    database = Database.open(f"sqlite:///{tmp_path / 'state.db'}")
    with access_server(database, make_private_directory(tmp_path / "ca")) as made:
        made.world.clock.now = now_ms()
        yield made
    database.close()


def greet(there: AccessServer, machine: Machine) -> None:
    nonce = there.world.nonce(machine)
    there.world.send(machine, Up.HELLO, machine.hello(nonce))


def test_machines_are_told_to_look_a_bounded_number_a_second(
    there: AccessServer, tmp_path: Path
) -> None:
    async def play(scene: Scene) -> None:
        house = there.world.house
        buses = {
            account: await scene.world.connect_internal(account)
            for account in (Account.SYS, Account.DEVICES, Account.QUARANTINE)
        }
        side = BusSide(
            scene.world.broker, buses, house.directory, house.devices,
            asyncio.get_running_loop(), house.waiting,
        )  # fmt: skip
        house.updates.book.on_look(side.look_for_updates)
        machine = await scene.connect(await asyncio.to_thread(scene.machine_endpoint, there.pump))
        heard = await hear(machine, down(there.pump.device, "reduce"))
        # One that has not greeted is not told: it looks when it has.
        side.look_for_updates([there.pump.device])
        assert not await until(lambda: len(heard) > 0, 0.5)
        await asyncio.to_thread(greet, there, there.pump)
        before = [f"{letter * 32}" for letter in "abcdefghijklmnopqrstuvwxyz"]
        began = time.monotonic()
        await asyncio.to_thread(house.updates.book.look, [*before, there.pump.device])
        await asyncio.to_thread(house.updates.book.look, [there.pump.device])
        assert await until(lambda: len(heard) > 0)
        assert time.monotonic() - began >= len(before) / LOOKS_A_SECOND
        assert decode_pushed(heard[0]) == Reduce(what="look_for_updates")
        assert not await until(lambda: len(heard) > 1, 0.5)

    run(there, tmp_path, play)


class _Fleet:
    """Three machines, one of which there is."""

    def __init__(self, device: str) -> None:
        self.devices = [device, "a" * 32, "b" * 32]
        self.asked = 0

    def active_ids(self) -> list[str]:
        self.asked += 1
        return list(self.devices)


class _Notes(BusSide):
    """Notes what it would say, and when, as far as it is let."""

    said: list[tuple[float, str]]
    let: asyncio.Event

    async def push(self, device: str, word: str, payload: bytes) -> None:
        self.said.append((time.monotonic(), f"{word} {device}"))
        await self.let.wait()


def test_a_fleet_is_told_at_the_pace_at_which_it_is_answered(
    there: AccessServer, tmp_path: Path
) -> None:
    """Else a fleet asks faster than it is answered, takes silence for a lost connection, connects
    anew, and asks the more."""

    async def play(scene: Scene) -> None:
        house, pump = there.world.house, there.pump.device

        class Bundles:
            def bundle(self, device: str, policy_version: int = 0) -> Bundle:
                return house.directory.bundle(pump, policy_version)

            issuing_chain = house.directory.issuing_chain
            announced_bundles = house.directory.announced_bundles

        fleet = _Fleet(pump)
        side = _Notes(
            # Of the machines nothing is asked here but who there is.
            scene.world.broker, {}, Bundles(), fleet,  # type: ignore[arg-type]
            asyncio.get_running_loop(), house.waiting,
        )  # fmt: skip
        side.said, side.let = [], asyncio.Event()
        side.let.set()
        documents = house.directory.documents
        assert documents is not None
        waiting = [MOST_ASKING + 1]
        side.watch_asking(lambda: waiting[0])
        # Each is waited with, but no longer than so: nobody keeps documents from a fleet.
        await asyncio.to_thread(side.documents_changed, documents)
        assert await until(lambda: len(side.said) == 3)
        times = [at for at, _ in side.said]
        assert all(b - a >= LONGEST_BREATH_SECONDS for a, b in pairwise(times))
        # Changes on the way: who had his turn has one more, and nobody has two.
        waiting[0] = MOST_ASKING
        await asyncio.sleep(2 * LONGEST_BREATH_SECONDS)
        side.said.clear()
        side.let.clear()
        await asyncio.to_thread(side.documents_changed, documents)
        assert await until(lambda: len(side.said) == 1)
        for _ in range(5):
            await asyncio.to_thread(side.documents_changed, documents)
        assert await until(lambda: fleet.asked == 7)
        await asyncio.sleep(0.5)
        side.let.set()
        first, second, third = (f"documents {each}" for each in fleet.devices)
        assert await until(lambda: len(side.said) >= 4)
        assert not await until(lambda: len(side.said) > 4, 0.5)
        assert [words for _, words in side.said] == [first, second, third, first]

    run(there, tmp_path, play)


def test_who_asks_much_counts_as_one(there: AccessServer, tmp_path: Path) -> None:
    async def play(scene: Scene) -> None:
        intake = there.world.house.intake
        asked = msgspec.json.encode(ProofRequest(generation=0, size=0, batches=[]))
        tasks = [
            asyncio.create_task(intake.handle(device, Up.PROOF, asked))
            for device in [there.pump.device] * 5 + ["a" * 32]
        ]
        await asyncio.sleep(0)
        assert intake.asking == 2
        await asyncio.gather(*tasks)
        assert intake.asking == 0
        # One that downloads at its pace is no reason to make others wait.
        desk: Any = intake._rooms.updates
        desk.pace = lambda _device, _question: 3600.0
        blob = msgspec.json.encode(UpdateQuestion(what="blob", name="0" * 64, length=10))
        slow = asyncio.create_task(intake.handle(there.pump.device, Up.UPDATE, blob))
        await asyncio.sleep(0)
        assert (intake.asking, slow.done()) == (0, False)
        slow.cancel()
        await asyncio.wait([slow])
        assert intake.asking == 0

    run(there, tmp_path, play)


def test_a_machine_is_answered_over_its_one_connection(there: AccessServer, tmp_path: Path) -> None:
    async def play(scene: Scene) -> None:
        house, device = there.world.house, there.pump.device
        problems: list[object] = []
        inner = await scene.world.connect_internal(Account.DEVICES)
        await serve_devices(inner, house.intake.handle, concurrency=8, on_problem=problems.append)
        await inner.flush()
        machine = await scene.connect(await asyncio.to_thread(scene.machine_endpoint, there.pump))

        async def ask(**asked: object) -> UpdateAnswer:
            question = msgspec.json.encode(msgspec.convert(asked, UpdateQuestion))
            reply = await machine.request(up(device, Up.UPDATE), question, timeout_seconds=10)
            answer = decode_reply(reply)
            assert isinstance(answer, UpdateAnswer), answer
            return answer

        director = house.updates.book.director
        root = await ask(what="director", name="root", version=1)
        assert from_base64url(root.data) == director.root
        assert not (await ask(what="director", name="root", version=2)).found
        word = await ask(what="director", name="targets")
        assert device.encode() in from_base64url(word.data)
        assert (await ask(what="approvals")).envelopes == ()
        assert not (await ask(what="blob", name="0" * 64, length=10)).found
        assert problems == []

    run(there, tmp_path, play)
