"""The real broker, the real callout: a device comes in, works, is moved, is kicked, comes back."""

import asyncio
import os
import signal
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.system.broker_world import DAY_MS, NOT_LET_IN, OpenJudge, World, broker_world, make_fleet

from fleetward.runtime.broker import Account
from fleetward.runtime.broker_log import BrokerLogFollower, BrokerRefusal, RefusalKind, RefusalTally
from fleetward.runtime.bus import Bus, Inbound, serve_devices, stay_connected
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.x509 import write_certificates
from fleetward.server.callout import Decision, kick_device
from fleetward.trust.errors import FleetwardError, Refused, Unreachable
from fleetward.wire.subjects import Up, up


def run(tmp_path: Path, scenario: Callable[[World, OpenJudge], Awaitable[None]]) -> None:
    """Run a scenario in a world whose callout decides by a table."""

    async def main() -> None:
        async with broker_world(tmp_path / "world") as world:
            judge = OpenJudge()
            await world.start_callout(judge)
            await scenario(world, judge)

    asyncio.run(asyncio.wait_for(main(), 60))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.02)


async def serve(world: World, account: Account = Account.DEVICES) -> Bus:
    """An intake that answers with the account, the device and what it said."""
    bus = await world.connect_internal(account)

    async def handler(device_id: str, word: Up, payload: bytes) -> bytes | None:
        return f"{account.value} {device_id} {word.value} ".encode() + payload

    await serve_devices(bus, handler, concurrency=4, on_problem=world.problems.append)
    await bus.flush()
    return bus


async def ask(bus: Bus, device_id: str, payload: bytes = b"x") -> bytes:
    return await bus.request(up(device_id, Up.HELLO), payload, timeout_seconds=2)


def test_a_device_comes_in_by_its_certificate_and_is_answered(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        await serve(world)
        device = world.make_device()
        bus = await world.connect(device)
        assert await ask(bus, device.device_id) == f"DEVICES {device.device_id} hello x".encode()
        (peer,) = judge.seen
        assert peer.device_id == device.device_id
        assert peer.owner_id == world.fleet.owner_id
        assert peer.serial == device.certificate.serial_number
        assert peer.remote == "127.0.0.1"
        assert len(peer.chain) == 2
        assert world.verdicts[0].admission.decision is Decision.DEVICES

    run(tmp_path, scenario)


def test_the_server_speaks_down_to_one_device(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        intake = await serve(world)
        first, second = world.make_device(), world.make_device()
        got: list[tuple[str, bytes]] = []
        for device in (first, second):
            bus = await world.connect(device)

            async def take(message: Inbound, name: str = device.device_id) -> None:
                got.append((name, message.payload))

            await bus.subscribe(f"fw.{device.device_id}.down.>", take)
            await ask(bus, device.device_id)
        await intake.publish(f"fw.{first.device_id}.down.reduce", b"hello")
        await until(lambda: bool(got))
        await asyncio.sleep(0.1)
        assert got == [(first.device_id, b"hello")]

    run(tmp_path, scenario)


def test_quarantine_is_another_account_that_hears_nothing_of_the_first(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        await serve(world)
        device = world.make_device()
        judge.decisions[device.device_id] = Decision.QUARANTINE
        bus = await world.connect(device)
        with pytest.raises(Unreachable) as caught:
            await ask(bus, device.device_id)
        assert caught.value.reason == "bus_nobody_listens"
        await serve(world, Account.QUARANTINE)
        assert (await ask(bus, device.device_id)).startswith(b"QUARANTINE ")

    run(tmp_path, scenario)


def test_a_kicked_device_comes_back_where_the_judge_now_says(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        for account in (Account.DEVICES, Account.QUARANTINE):
            await serve(world, account)
        system = await world.connect_internal(Account.SYS)
        device, bystander = world.make_device(), world.make_device()
        other = await world.connect(bystander)
        answers: list[bytes] = []
        failures: list[FleetwardError] = []

        async def session(bus: Bus) -> None:
            answers.append(await ask(bus, device.device_id))
            await bus.wait_closed()

        link = asyncio.create_task(
            stay_connected(
                lambda: world.connect(device),
                session,
                delay_seconds=lambda _: 0.01,
                on_failure=failures.append,
            )
        )
        await until(lambda: len(answers) == 1)
        judge.decisions[device.device_id] = Decision.QUARANTINE
        assert await kick_device(system, device.device_id) == 1
        await until(lambda: len(answers) == 2)
        assert [answer.split()[0] for answer in answers] == [b"DEVICES", b"QUARANTINE"]
        assert not failures
        assert (await ask(other, bystander.device_id)).startswith(b"DEVICES ")
        link.cancel()
        await asyncio.gather(link, return_exceptions=True)

    run(tmp_path, scenario)


def test_without_a_callout_nobody_comes_in_and_with_it_they_do(tmp_path: Path) -> None:
    async def main() -> None:
        async with broker_world(tmp_path / "world") as world:
            device = world.make_device()
            with pytest.raises((Refused, Unreachable)):
                bus = await world.connect(device)
                await ask(bus, device.device_id)
            callout = await world.start_callout(OpenJudge())
            await serve(world)
            assert await ask(await world.connect(device), device.device_id)
            await callout.stop()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_judge_that_fails_or_is_slow_means_no(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        for name, reason in (("fails", "judge_failed"), ("sleeps", "judge_too_slow")):
            judge.behaviour = name
            device = world.make_device()
            began = asyncio.get_running_loop().time()
            with pytest.raises((Refused, Unreachable)):
                bus = await world.connect(device)
                await ask(bus, device.device_id)
            assert asyncio.get_running_loop().time() - began < 1.5
            await until(lambda reason=reason: world.verdicts[-1].admission.reason == reason)  # type: ignore[misc]
            assert world.verdicts[-1].admission.decision is Decision.REFUSED

    run(tmp_path, scenario)


def test_the_connection_ends_with_the_certificate(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        await serve(world)
        device = world.make_device(lives_ms=DAY_MS // 2 + 3000)
        bus = await world.connect(device)
        assert await ask(bus, device.device_id)
        await asyncio.wait_for(bus.wait_closed(), 8)
        with pytest.raises((Refused, Unreachable)) as caught:
            await world.connect(device)
        assert caught.value.reason in NOT_LET_IN

    run(tmp_path, scenario)


def test_a_new_fleet_ca_is_believed_after_a_reload_and_the_old_is_not(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        await serve(world)
        old = world.make_device()
        stays = await world.connect(old)
        await ask(stays, old.device_id)
        successor = make_fleet("cd" * 32)
        new = world.make_device(fleet=successor)
        with pytest.raises((Refused, Unreachable)):
            await world.connect(new)
        world.broker.replace_device_ca(write_certificates([successor.root.certificate]))
        async with asyncio.timeout(10):
            while True:
                try:
                    bus = await world.connect(new)
                    break
                except FleetwardError:
                    await asyncio.sleep(0.05)
        assert await ask(bus, new.device_id)
        await asyncio.wait_for(stays.wait_closed(), 5)
        with pytest.raises((Refused, Unreachable)) as caught:
            await world.connect(old)
        assert caught.value.reason in NOT_LET_IN

    run(tmp_path, scenario)


def test_a_killed_broker_comes_back_with_callout_and_intake(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        await serve(world)
        device = world.make_device()
        assert await ask(await world.connect(device), device.device_id)
        pid = world.broker.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            while True:
                try:
                    bus = await world.connect(device)
                    answer = await ask(bus, device.device_id)
                    break
                except FleetwardError:
                    await asyncio.sleep(0.1)
        assert answer.startswith(b"DEVICES ")
        assert world.broker.pid not in (None, pid)

    run(tmp_path, scenario)


def test_a_connection_that_cannot_write_its_last_bytes_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client never says of such a connection that it has ended."""

    async def scenario(world: World, judge: OpenJudge) -> None:
        intake = await serve(world)
        device = world.make_device()
        client = intake._client

        async def fail() -> None:
            raise ConnectionResetError("the broker is gone")

        monkeypatch.setattr(client, "_process_disconnect", lambda: leave_pending(client))
        monkeypatch.setattr(client._transport, "drain", fail)
        pid = world.broker.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: intake._client is not client and intake.is_connected)
        assert (await ask(await world.connect(device), device.device_id)).startswith(b"DEVICES ")

    run(tmp_path, scenario)


def leave_pending(client: Any) -> None:
    """Put bytes where the client keeps what it has not written."""
    client._pending.append(b"PING\r\n")
    client._pending_data_size += 6


def test_many_devices_are_decided_at_once(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        await serve(world)
        devices = [world.make_device() for _ in range(40)]

        async def one(number: int) -> bytes:
            bus = await world.connect(devices[number])
            return await ask(bus, devices[number].device_id)

        answers = await asyncio.gather(*(one(number) for number in range(40)))
        assert [answer.split()[1].decode() for answer in answers] == [
            device.device_id for device in devices
        ]

    run(tmp_path, scenario)


def test_the_log_of_the_real_broker_becomes_a_few_refusals(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        refusals: list[BrokerRefusal] = []
        follower = BrokerLogFollower(
            world.broker.log_path,
            SystemClock(),
            on_refusal=refusals.append,
            tally=RefusalTally(window_ms=500),
        )
        following = asyncio.create_task(follower.run())
        device = world.make_device()
        bus = await world.connect(device)
        stranger = world.make_device(fleet=make_fleet())
        victim = "b" * 32
        for _ in range(5):
            await bus.publish(up(victim, Up.HELLO), b"x")
            with pytest.raises((Refused, Unreachable)):
                await world.connect(stranger)
        await bus.flush()
        await until(lambda: len(refusals) >= 2)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        by_kind = {refusal.kind: refusal for refusal in refusals}
        assert set(by_kind) == {RefusalKind.PUBLISH, RefusalKind.UNKNOWN_AUTHORITY}
        publish = by_kind[RefusalKind.PUBLISH]
        assert publish.device_id == device.device_id
        assert publish.subject == up(victim, Up.HELLO)
        assert sum(item.count for item in refusals if item.kind is RefusalKind.PUBLISH) == 5
        assert by_kind[RefusalKind.UNKNOWN_AUTHORITY].remote == "127.0.0.1"

    run(tmp_path, scenario)


def test_nothing_of_the_configuration_is_open_to_others(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        config = world.directory / "broker" / "broker.conf"
        assert stat.S_IMODE(config.stat().st_mode) == 0o600
        text = config.read_text()
        assert "password" not in text and "http" not in text and "jetstream" not in text
        pid = world.broker.pid
        inodes = {
            link.readlink().name.removeprefix("socket:[").removesuffix("]")
            for link in Path(f"/proc/{pid}/fd").iterdir()
            if link.readlink().name.startswith("socket:[")
        }
        listening = [
            line.split()[1]
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
            if line.split()[3] == "0A" and line.split()[9] in inodes
        ]
        assert listening == [f"0100007F:{world.port:04X}"]

    run(tmp_path, scenario)
