"""The bus without a broker: what it imports, how long a device waits, what a dead address says."""

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from tests.system.broker_world import free_port, now_ms

from fleetward.runtime.bus import (
    Bus,
    BusEndpoint,
    DeviceProfile,
    connect_bus,
    make_tls_context,
    reconnect_delay_seconds,
    stay_connected,
)
from fleetward.runtime.x509 import (
    issue_server_certificate,
    make_authority,
    new_key,
    write_certificates,
    write_key,
)
from fleetward.trust.errors import Malformed, Unreachable

CLOSURE = """
import sys, types
aiohttp = types.ModuleType("aiohttp")
sys.path.insert(0, sys.argv[1])
import fleetward.runtime.bus
assert "aiohttp" not in sys.modules, "the client has loaded aiohttp"
assert "multidict" not in sys.modules
import aiohttp
assert aiohttp.MARK == 1, "a program that wants aiohttp must still get it"
print("clean")
"""


def endpoint(tmp_path: Path, port: int) -> BusEndpoint:
    authority = make_authority("x", not_before_ms=now_ms() - 1000, days=100, path_length=0)
    key = new_key()
    certificate = issue_server_certificate(
        authority, key.public_key(), names=("localhost",), not_before_ms=now_ms() - 1000
    )
    (tmp_path / "x.crt").write_bytes(write_certificates([certificate]))
    (tmp_path / "x.key").write_bytes(write_key(key))
    pem = write_certificates([authority.certificate]).decode()
    return BusEndpoint("127.0.0.1", port, pem, tmp_path / "x.crt", tmp_path / "x.key")


def test_the_client_does_not_load_aiohttp_even_where_it_is_installed(tmp_path: Path) -> None:
    (tmp_path / "aiohttp.py").write_text("MARK = 1\n")
    (tmp_path / "multidict.py").write_text("")
    run = subprocess.run(
        [sys.executable, "-c", CLOSURE, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (run.stdout.strip(), run.stderr) == ("clean", "")


def test_a_fleet_returns_over_ten_seconds_and_slower_after_failures() -> None:
    assert reconnect_delay_seconds(0, 0.0) == 0
    assert reconnect_delay_seconds(0, 0.999) == pytest.approx(9.99)
    assert reconnect_delay_seconds(2, 0.5) == 20
    assert reconnect_delay_seconds(10_000, 0.5) == 60


def test_nobody_there_is_unreachable_and_quick(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(Unreachable) as caught:
            await connect_bus(
                endpoint(tmp_path, free_port()), DeviceProfile("a" * 32), on_problem=print
            )
        assert caught.value.reason == "bus_unreachable"

    asyncio.run(asyncio.wait_for(main(), 3))


def test_a_silent_listener_is_unreachable_in_time(tmp_path: Path) -> None:
    async def main() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable):
            await connect_bus(endpoint(tmp_path, port), DeviceProfile("a" * 32), on_problem=print)
        server.close()

    asyncio.run(asyncio.wait_for(main(), 15))


def test_bad_files_of_our_own_are_malformed(tmp_path: Path) -> None:
    good = endpoint(tmp_path, 1)
    (tmp_path / "bad").write_bytes(b"not a certificate")
    for changed in (
        BusEndpoint(good.host, 1, "no pem", good.certificate_file, good.key_file),
        BusEndpoint(good.host, 1, good.server_ca_pem, tmp_path / "bad", good.key_file),
        BusEndpoint(good.host, 1, good.server_ca_pem, good.certificate_file, tmp_path / "none"),
    ):
        with pytest.raises(Malformed):
            make_tls_context(changed)


def test_only_tls_1_3_is_offered(tmp_path: Path) -> None:
    context = make_tls_context(endpoint(tmp_path, 1))
    assert context.minimum_version.name == "TLSv1_3"
    assert context.check_hostname


class ForgetfulClient:
    """Forgets that it was cancelled, as the client does while it flushes."""

    async def publish(self, subject: str, payload: bytes) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return


def test_a_cancellation_that_the_client_forgot_ends_the_task(tmp_path: Path) -> None:
    async def scenario() -> None:
        bus = Bus(endpoint(tmp_path, free_port()), DeviceProfile("a" * 32), lambda _: None)
        vars(bus)["_client"] = ForgetfulClient()

        async def speak_for_ever() -> None:
            while True:
                await bus.publish("fw.x", b"")

        speaking = asyncio.create_task(speak_for_ever())
        await asyncio.sleep(0)
        speaking.cancel()
        done, _ = await asyncio.wait({speaking}, timeout=5)
        assert speaking in done
        assert speaking.cancelled()

    asyncio.run(scenario())


def test_a_cancellation_that_was_forgotten_while_connecting_ends_the_task() -> None:
    async def connect() -> Bus:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(30)
        raise Unreachable("There is nobody.", reason="nobody")

    async def never(bus: Bus) -> None:
        raise AssertionError(bus)

    async def scenario() -> None:
        staying = asyncio.create_task(
            stay_connected(connect, never, delay_seconds=lambda n: 0.0, on_failure=lambda e: None)
        )
        await asyncio.sleep(0)
        staying.cancel()
        done, _ = await asyncio.wait({staying}, timeout=5)
        assert staying in done
        assert staying.cancelled()

    asyncio.run(scenario())
