"""A broker that hangs up on a technician is dialled again, for a while."""

from __future__ import annotations

import asyncio
import time

import pytest

from fleetward.keyholder.access import connecting
from fleetward.keyholder.access.server_rows import Connection
from fleetward.runtime import x509
from fleetward.trust.errors import Unreachable


def given(*addresses: str) -> Connection:
    key, now_ms = x509.new_key(), time.time_ns() // 1_000_000
    authority = x509.make_authority("self", not_before_ms=now_ms, days=2, path_length=0, key=key)
    pem = x509.write_certificates([authority.certificate]).decode("ascii")
    return Connection(
        certificate=pem + x509.write_key(key).decode("ascii"), bus=[*addresses], server_ca=pem,
        server_ca_sha256="", device_id="d", session="s",
    )  # fmt: skip


async def dial(seconds: float) -> tuple[int, Unreachable]:
    """Dial a listener that hangs up; return how often it was called, and what it ended with."""
    calls = 0

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        there = given(f"127.0.0.1:{port}")
        key = x509.write_key(x509.read_key(there.certificate.encode("ascii")))
        with pytest.raises(Unreachable) as caught:
            async with asyncio.timeout(seconds + 10):
                await connecting._connect(there, key, "s" * 32)
    return calls, caught.value


def test_it_is_dialled_again_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "DIAL_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(connecting, "DIAL_SECONDS", 6.0)
    calls, error = asyncio.run(dial(6.0))
    assert calls >= 3
    assert error.reason in ("bus_hung_up", "bus_unreachable")


def test_without_an_address_nothing_is_tried_again() -> None:
    with pytest.raises(Unreachable) as caught:
        asyncio.run(connecting._connect(given(), b"", "s" * 32))
    assert caught.value.reason == "no_bus"
