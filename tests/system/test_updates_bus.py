"""Updates over a real broker: machines are told to look, not all at once, and are answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

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
from fleetward.server.bus_side import LOOKS_A_SECOND, BusSide
from fleetward.trust.canonical import from_base64url
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
