"""Attacks on a session's channel by who carries it: the server, the broker, the network.

He may drop, double, change, reorder, inject and withhold; he gets nothing said, heard or opened.
"""

# ruff: noqa: F811  (pytest takes fixtures by the names of arguments)
from __future__ import annotations

import secrets

import pytest
from tests.access_world import AccessWorld
from tests.adversary.session_end import Alter
from tests.unit.keyholder.test_session_channel import Pair, play, world  # noqa: F401

from fleetward.keyholder.access.connecting import check_connection
from fleetward.keyholder.access.front_files import list_files
from fleetward.keyholder.access.server_rows import Connection
from fleetward.runtime import x509
from fleetward.runtime.channel import make_session_key
from fleetward.trust.errors import FleetwardError, Malformed, Untrusted
from fleetward.wire.access import OpenStream


def drop_third(direction: str, data: bytes) -> list[bytes]:
    return [] if direction == "out" and data[:8] == (2).to_bytes(8, "big") else [data]


def double(direction: str, data: bytes) -> list[bytes]:
    return [data, data] if direction == "out" and data[:8] == (1).to_bytes(8, "big") else [data]


def change(direction: str, data: bytes) -> list[bytes]:
    if direction == "out" and data[:8] == (1).to_bytes(8, "big"):
        return [data[:-1] + bytes((data[-1] ^ 1,))]
    return [data]


def inject(direction: str, data: bytes) -> list[bytes]:
    return [secrets.token_bytes(80), data] if direction == "out" else [data]


@pytest.mark.parametrize("alter", [drop_third, double, change, inject])
def test_a_relay_that_meddles_ends_the_session(world: AccessWorld, alter: Alter) -> None:
    pair = Pair(world, alter)

    async def act() -> None:
        with pytest.raises(Untrusted) as refused:
            async with pair.open() as link:
                stream = await link.open_stream(1, OpenStream())
                await stream.wait_ready()
                for _ in range(5):
                    await stream.send(b"x")
                for _ in range(5):
                    await stream.receive()
        assert refused.value.reason in ("record_out_of_order", "record_altered")

    play(act())


def test_another_machine_cannot_open_it(world: AccessWorld) -> None:
    pair = Pair(world)
    pair.machine.private = make_session_key()[0]

    async def act() -> None:
        with pytest.raises(Untrusted, match="changed on its way"):
            async with pair.open():
                pass

    play(act())


def test_nobody_with_another_session_key_gets_in(world: AccessWorld) -> None:
    pair = Pair(world)
    pair.private = make_session_key()[0]  # a thief of the grant, not of the key

    async def act() -> None:
        with pytest.raises(FleetwardError):
            async with pair.open():
                pass

    play(act())


def test_the_relay_sees_nothing_of_it(world: AccessWorld) -> None:
    marker = b"MARKER-" + secrets.token_hex(8).encode()
    passed: list[bytes] = []

    def spy(direction: str, data: bytes) -> list[bytes]:
        passed.append(data)
        return [data]

    pair = Pair(world, spy)
    pair.machine.files = {"secret": marker}

    async def act() -> None:
        async with pair.open() as link:
            stream = await link.open_stream(1, OpenStream())
            await stream.wait_ready()
            await stream.send(marker)
            assert await stream.receive() == marker
            await list_files(link, 3, "")

    play(act())
    assert len(passed) > 5
    assert not any(marker in data or b"secret" in data for data in passed)


def test_the_server_cannot_name_a_ca_of_its_own(world: AccessWorld) -> None:
    pair = Pair(world)
    other = x509.make_authority("x", not_before_ms=0, days=9, path_length=0)
    pem = x509.write_certificates([other.certificate]).decode()
    given = Connection(
        certificate="", bus=[], server_ca=pem, server_ca_sha256=x509.certificate_sha256(
            other.certificate
        ), device_id="", session="",
    )  # fmt: skip
    with pytest.raises(Untrusted, match="CA that the owner's policy does not"):
        check_connection(given, pair.case)
    with pytest.raises(Malformed):
        check_connection(Connection(
            certificate="", bus=[], server_ca="x", server_ca_sha256="", device_id="", session="",
        ), pair.case)  # fmt: skip
