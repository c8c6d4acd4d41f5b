"""Whoever tries to come in wrongly, or to speak for another, gets nowhere on the real broker.

Each test plays somebody with a real certificate, a real key and a real connection.
"""

import asyncio
import dataclasses
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.system.broker_world import (
    DAY_MS,
    NOT_LET_IN,
    Device,
    OpenJudge,
    World,
    broker_world,
    make_fleet,
    now_ms,
)

from fleetward.runtime.broker import Account, check_program, find_program
from fleetward.runtime.broker_log import RefusalKind, classify_line
from fleetward.runtime.bus import (
    BusEndpoint,
    DeviceProfile,
    Inbound,
    InternalProfile,
    connect_bus,
    serve_devices,
)
from fleetward.runtime.bus_tokens import Nkey, NkeyKind
from fleetward.runtime.x509 import (
    Authority,
    SpiffeId,
    issue_device_certificate,
    make_authority,
    new_key,
    write_certificates,
    write_key,
)
from fleetward.server.callout import Decision
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable, Untrusted
from fleetward.wire.subjects import Up, up

VICTIM = "b" * 32


def run(tmp_path: Path, scenario: Callable[[World, OpenJudge], Awaitable[None]]) -> None:
    async def main() -> None:
        async with broker_world(tmp_path / "world") as world:
            judge = OpenJudge()
            await world.start_callout(judge)
            await scenario(world, judge)

    asyncio.run(asyncio.wait_for(main(), 60))


async def kinds(world: World, least: int = 1) -> list[RefusalKind]:
    """What the broker's log says was refused. It writes a little after it has hung up."""
    for _ in range(100):
        lines = world.broker.log_path.read_text().splitlines()
        found = [seen.kind for seen in map(classify_line, lines) if seen is not None]
        if len(found) >= least:
            break
        await asyncio.sleep(0.05)
    return found


async def refused(world: World, endpoint: BusEndpoint, device_id: str) -> FleetwardError:
    """Try to come in and to say hello; return the refusal. Fails when it works."""
    with pytest.raises((Refused, Unreachable)) as caught:
        bus = await connect_bus(
            endpoint, DeviceProfile(device_id), on_problem=world.problems.append
        )
        async with bus:
            await bus.request(up(device_id, Up.HELLO), b"x", timeout_seconds=1)
    return caught.value


async def greedy_intake(world: World) -> list[tuple[str, bytes]]:
    """An intake that answers everything; returns what reached it."""
    got: list[tuple[str, bytes]] = []

    async def handler(device_id: str, word: Up, payload: bytes) -> bytes | None:
        got.append((device_id, payload))
        return b"answer to " + payload

    intake = await world.connect_internal(Account.DEVICES)
    await serve_devices(intake, handler, concurrency=4, on_problem=world.problems.append)
    await intake.flush()
    return got


def self_made(world: World, device_id: str) -> BusEndpoint:
    key = new_key()
    authority = make_authority(
        "self", not_before_ms=now_ms() - 1000, days=2, path_length=0, key=key
    )
    certificate = issue_device_certificate(
        Authority(authority.certificate, key),
        key.public_key(),
        spiffe_id=SpiffeId(world.fleet.owner_id, device_id),
        serial=1,
        not_before_ms=now_ms() - 1000,
        not_after_ms=now_ms() + DAY_MS,
    )
    return world.store([certificate, authority.certificate], write_key(key))


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        ("another fleet's CA", RefusalKind.UNKNOWN_AUTHORITY),
        ("a self-made CA", RefusalKind.UNKNOWN_AUTHORITY),
        ("an expired certificate", RefusalKind.EXPIRED),
        ("a certificate of the future", RefusalKind.EXPIRED),
        ("an owner that the issuing CA is not for", RefusalKind.WRONG_OWNER),
        ("the server's own TLS certificate", RefusalKind.UNFIT_CERTIFICATE),
    ],
)
def test_a_wrong_certificate_does_not_pass_tls(
    tmp_path: Path, case: str, kind: RefusalKind
) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        def device(made: Device) -> BusEndpoint:
            return made.endpoint

        endpoints: dict[str, Callable[[], BusEndpoint]] = {
            "another fleet's CA": lambda: device(world.make_device(fleet=make_fleet())),
            "a self-made CA": lambda: self_made(world, VICTIM),
            "an expired certificate": lambda: device(
                world.make_device(lives_ms=DAY_MS // 4, started_ms_ago=DAY_MS // 2)
            ),
            "a certificate of the future": lambda: device(
                world.make_device(started_ms_ago=-DAY_MS)
            ),
            "an owner that the issuing CA is not for": lambda: device(
                world.make_device(owner_id="cd" * 32)
            ),
            "the server's own TLS certificate": lambda: BusEndpoint(
                "127.0.0.1",
                world.port,
                world.server_ca_pem,
                world.directory / "tls.crt",
                world.directory / "tls.key",
            ),
        }
        error = await refused(world, endpoints[case](), VICTIM)
        assert error.reason in NOT_LET_IN
        assert await kinds(world) == [kind]
        assert not judge.seen

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        ("no certificate", RefusalKind.NO_CERTIFICATE),
        ("TLS 1.2", RefusalKind.OLD_TLS),
    ],
)
def test_old_tls_and_no_certificate_are_refused(
    tmp_path: Path, case: str, kind: RefusalKind
) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=world.server_ca_pem)
        if case == "TLS 1.2":
            device = world.make_device()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(device.endpoint.certificate_file, device.endpoint.key_file)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            reader, writer = await asyncio.open_connection("127.0.0.1", world.port, ssl=context)
            try:
                if not await reader.read(100):
                    raise ConnectionError("hung up")
            finally:
                writer.transport.abort()
        await asyncio.sleep(0.1)
        assert await kinds(world) == [kind]

    run(tmp_path, scenario)


def test_plain_text_learns_nothing(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(b'CONNECT {"verbose":true}\r\nPING\r\n')
        try:
            said = await asyncio.wait_for(reader.read(100), 10)
        except ConnectionError:
            said = b""
        writer.close()
        assert b"INFO" not in said and b"PONG" not in said

    run(tmp_path, scenario)


def test_a_device_certificate_by_the_server_ca_makes_nobody_a_device(tmp_path: Path) -> None:
    """Who steals the server's TLS CA can pass TLS, and is refused by the callout."""

    async def scenario(world: World, judge: OpenJudge) -> None:
        key = new_key()
        certificate = issue_device_certificate(
            world.server_ca,
            key.public_key(),
            spiffe_id=SpiffeId(world.fleet.owner_id, VICTIM),
            serial=1,
            not_before_ms=now_ms() - 1000,
            not_after_ms=now_ms() + DAY_MS,
        )
        await refused(world, world.store([certificate], write_key(key)), VICTIM)
        assert world.verdicts[-1].admission.decision is Decision.REFUSED
        assert world.verdicts[-1].admission.reason == "certificate_of_another_ca"
        assert not judge.seen

    run(tmp_path, scenario)


def test_the_server_s_internal_certificate_without_its_key_in_memory_is_not_enough(
    tmp_path: Path,
) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        endpoint = world.broker.endpoint()
        await refused(world, endpoint, VICTIM)
        with pytest.raises((Refused, Unreachable)):
            bus = await connect_bus(
                endpoint,
                InternalProfile("thief", Nkey(NkeyKind.USER)),
                on_problem=world.problems.append,
            )
            async with bus:
                await bus.flush()
                await bus.request("$SYS.REQ.SERVER.PING", b"", timeout_seconds=1)
        assert all(item.admission.decision is Decision.REFUSED for item in world.verdicts)

    run(tmp_path, scenario)


def test_a_device_the_judge_refuses_stays_out(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        device = world.make_device()
        judge.decisions[device.device_id] = Decision.REFUSED
        await refused(world, device.endpoint, device.device_id)
        assert world.verdicts[-1].peer is not None
        assert RefusalKind.NOT_ADMITTED in await kinds(world)

    run(tmp_path, scenario)


def test_a_device_says_nothing_on_another_s_subjects(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        got = await greedy_intake(world)
        device = world.make_device()
        bus = await world.connect(device)
        subjects = [
            up(VICTIM, Up.BATCH),
            f"fw.{VICTIM}.down.reduce",
            f"fw.{device.device_id}.down.reduce",
            f"fw.{device.device_id}.up.hello.more",
            f"_INBOX.{VICTIM}.x",
            f"_INBOX.{device.device_id}.x",
            "$SYS.REQ.USER.AUTH",
            "$SYS.REQ.SERVER.PING",
            "$JS.API.INFO",
            "$JS.API.STREAM.CREATE.x",
        ]
        for subject in subjects:
            await bus.publish(subject, b"evil")
        await bus.request(up(device.device_id, Up.HELLO), b"own", timeout_seconds=2)
        assert got == [(device.device_id, b"own")]
        refusals = await kinds(world, len(subjects))
        assert refusals.count(RefusalKind.PUBLISH) == len(subjects)
        told = [item for item in world.problems if item.kind == "permissions_violation"]
        assert len(told) == len(subjects)

    run(tmp_path, scenario)


def test_a_device_hears_nothing_of_another(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        await greedy_intake(world)
        listener, speaker = world.make_device(), world.make_device()
        heard: list[Inbound] = []

        async def hear(message: Inbound) -> None:
            heard.append(message)

        bus = await world.connect(listener)
        patterns = [
            ">",
            "fw.>",
            "fw.*.up.*",
            f"fw.{speaker.device_id}.>",
            f"fw.{speaker.device_id}.down.>",
            f"_INBOX.{speaker.device_id}.>",
            "_INBOX.>",
            "$SYS.>",
        ]
        for pattern in patterns:
            await bus.subscribe(pattern, hear)
        await bus.flush()
        other = await world.connect(speaker)
        await other.request(up(speaker.device_id, Up.HELLO), b"secret", timeout_seconds=2)
        await bus.flush()
        assert heard == []
        refusals = await kinds(world, len(patterns))
        assert refusals.count(RefusalKind.SUBSCRIBE) == len(patterns)

    run(tmp_path, scenario)


def test_an_answer_cannot_be_sent_to_another_device(tmp_path: Path) -> None:
    """The broker does not look at reply subjects; the intake must."""

    async def scenario(world: World, judge: OpenJudge) -> None:
        got = await greedy_intake(world)
        attacker, victim = world.make_device(), world.make_device()
        heard: list[Inbound] = []

        async def hear(message: Inbound) -> None:
            heard.append(message)

        victim_bus = await world.connect(victim)
        await victim_bus.subscribe(f"fw.{victim.device_id}.down.>", hear)
        await victim_bus.subscribe(f"_INBOX.{victim.device_id}.>", hear)
        await victim_bus.flush()
        bus = await world.connect(attacker)
        for reply in (f"fw.{victim.device_id}.down.reduce", f"_INBOX.{victim.device_id}.x"):
            await bus._client.publish(up(attacker.device_id, Up.HELLO), b"evil", reply=reply)
        await bus.request(up(attacker.device_id, Up.HELLO), b"own", timeout_seconds=2)
        await victim_bus.flush()
        assert heard == []
        assert got == [(attacker.device_id, b"own")]
        assert [item.kind for item in world.problems].count("reply_foreign") == 2

    run(tmp_path, scenario)


def test_quarantine_cannot_reach_the_devices_account(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        got = await greedy_intake(world)
        device = world.make_device()
        judge.decisions[device.device_id] = Decision.QUARANTINE
        bus = await world.connect(device)
        await bus.publish(up(device.device_id, Up.BATCH), b"x")
        with pytest.raises(Unreachable):
            await bus.request(up(device.device_id, Up.HELLO), b"x", timeout_seconds=0.5)
        assert got == []

    run(tmp_path, scenario)


def test_a_message_of_more_than_a_mebibyte_is_cut_off(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        got = await greedy_intake(world)
        device = world.make_device()
        bus = await world.connect(device)
        bus._client._max_payload = 1 << 30
        await bus.publish(up(device.device_id, Up.BATCH), b"x" * (1024 * 1024 + 1))
        await asyncio.wait_for(bus.wait_closed(), 5)
        assert got == []
        assert RefusalKind.TOO_LARGE in await kinds(world)

    run(tmp_path, scenario)


def test_a_device_cannot_pile_up_subscriptions(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        device = world.make_device()
        bus = await world.connect(device)

        async def ignore(_: Inbound) -> None:
            return None

        with pytest.raises(Unreachable):
            for number in range(50):
                await bus.subscribe(f"fw.{device.device_id}.down.x{number}", ignore)
                await bus.flush()
        assert RefusalKind.TOO_MANY in await kinds(world)

    run(tmp_path, scenario)


def test_a_false_server_is_not_believed(tmp_path: Path) -> None:
    """A machine in the middle with a certificate of another CA, for the right name."""

    async def scenario(world: World, judge: OpenJudge) -> None:
        device = world.make_device()
        other = make_authority("server CA", not_before_ms=now_ms(), days=9, path_length=0)
        pem = write_certificates([other.certificate]).decode()
        endpoint = dataclasses.replace(device.endpoint, server_ca_pem=pem)
        with pytest.raises(Untrusted) as caught:
            await connect_bus(
                endpoint, DeviceProfile(device.device_id), on_problem=world.problems.append
            )
        assert caught.value.reason == "server_certificate_untrusted"

    run(tmp_path, scenario)


def test_a_certificate_for_another_host_is_not_believed(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        device = world.make_device()
        endpoint = dataclasses.replace(device.endpoint, host="127.0.0.2")
        server = await asyncio.start_server(
            lambda reader, writer: relay(reader, writer, world.port), "127.0.0.2", world.port
        )
        with pytest.raises(Untrusted):
            await connect_bus(
                endpoint, DeviceProfile(device.device_id), on_problem=world.problems.append
            )
        server.close()

    run(tmp_path, scenario)


def test_another_program_is_not_started(tmp_path: Path) -> None:
    real = find_program()
    fake = tmp_path / "nats-server"
    fake.write_bytes(real.read_bytes() + b"\x00")
    with pytest.raises(Untrusted) as caught:
        check_program(fake, "00" * 32, "2.15.1 for x86_64")
    assert caught.value.reason == "broker_program_unknown"
    with pytest.raises(Untrusted):
        check_program(real, None, "9.9.9 for x86_64")


def test_a_ca_bundle_that_is_not_one_stops_the_start(tmp_path: Path) -> None:
    async def scenario(world: World, judge: OpenJudge) -> None:
        before = world.broker.device_roots()
        with pytest.raises(Malformed):
            world.broker.replace_device_ca(b"not a certificate")
        assert world.broker.device_roots() == before

    run(tmp_path, scenario)


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Pass bytes both ways, as somebody in the middle can."""
    above, below = await asyncio.open_connection("127.0.0.1", port)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while chunk := await source.read(4096):
                sink.write(chunk)
        except ConnectionError:
            pass
        finally:
            sink.close()

    await asyncio.gather(pump(reader, below), pump(above, writer))
