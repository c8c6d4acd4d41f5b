"""A serial port of a real machine through a session; the port is the other end of a pty pair."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import termios
import tty
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.session_world import SessionWorld, rules_for, session_world, until

from fleetward.trust.access_rule import Rule
from fleetward.trust.access_serial import SerialScope
from fleetward.trust.errors import Refused

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@contextlib.contextmanager
def serial_device() -> Iterator[tuple[int, str]]:
    """Yield what stands for the far end of a cable, and the path of the port."""
    ours, theirs = os.openpty()
    path = os.ttyname(theirs)
    tty.setraw(ours)
    os.set_blocking(ours, False)
    os.close(theirs)
    try:
        yield ours, path
    finally:
        os.close(ours)


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """Have the port open, as a program of the machine would."""
    port = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        yield port
    finally:
        os.close(port)


async def heard(end: int, text: bytes) -> bytes:
    """Return what the far end hears, up to this text."""
    data = b""

    def more() -> bool:
        nonlocal data
        with contextlib.suppress(OSError):
            data += os.read(end, 4096)
        return text in data

    await until(more, f"the device hears {text!r}")
    return data


def let_ports(world: SessionWorld, *paths: str) -> None:
    rules = dict(rules_for(world.files).rules or {})
    rules["serial"] = Rule(1, 3600, watched=False, allowed=paths)
    world.access.set_rules(replace(rules_for(world.files), rules=rules))
    world.access.trust.publish()


async def learn(world: SessionWorld) -> None:
    version = world.access.trust.policy.version
    await world.push_documents()
    await until(
        lambda: any(e.get("policy_version") == version for e in world.entries("gate.accepted")),
        "the machine learns of the policy",
    )


@needs_root
def test_a_serial_port_works_and_is_put_back(tmp_path: Path) -> None:
    async def act() -> None:
        async with session_world(tmp_path, start=False) as world:
            with serial_device() as (end, path), serial_device() as (_, busy):
                odd = ("/dev/fw-test-link", "/dev/shm/fw-plain", "/dev/null", "/dev/fw-gone")
                Path(odd[0]).symlink_to(path)
                Path(odd[1]).write_text("x")
                try:
                    let_ports(world, path, busy, *odd)
                    world.start_agent()
                    await world.connected()
                    await learn(world)
                    await use_port(world, end, path)
                    await see_refusals(world, path, busy, odd)
                finally:
                    for made in odd[:2]:
                        Path(made).unlink()

    asyncio.run(act())


async def use_port(world: SessionWorld, end: int, path: str) -> None:
    with opened(path) as port:
        before = termios.tcgetattr(port)
    session = await world.enter(SerialScope(path, 9600))
    stream = await session.open(0)
    assert stream.closed is None, stream.closed
    await stream.send(b"AT\r\x00\xff\n")
    assert b"AT\r\x00\xff\n" in await heard(end, b"\n")
    os.write(end, b"OK\r\n\xfe")
    await stream.until(b"OK\r\n\xfe")
    # Nobody opens it twice, by whatever session.
    second = await session.open(0)
    assert "in use" in await second.until_closed()
    await world.stop_session(session.session)
    await world.receipt(session.session)
    seen = world.replay(session.session)
    assert ("i", "AT\r\x00\ufffd\n") in [(code, text) for _, code, text in seen]
    assert "".join(text for _, code, text in seen if code == "o").startswith("OK\r\n\ufffd")
    marks = [text for _, code, text in seen if code == "m"]
    assert any(f"the serial port {path} at 9600 baud" in mark for mark in marks), marks
    # Nothing has it open, it may be opened, and its settings are as they were.
    with opened(path) as port:
        assert termios.tcgetattr(port) == before
        fcntl.flock(port, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def see_refusals(world: SessionWorld, path: str, busy: str, odd: tuple[str, ...]) -> None:
    with pytest.raises(Refused, match="does not allow"):
        world.make_request(SerialScope("/dev/ttyS77", 9600))
    session = await world.enter(*(SerialScope(p, 9600) for p in (path, busy, *odd)))
    with opened(busy):
        stream = await session.open(1)
        assert "in use by the process" in await stream.until_closed()
    for place, words in ((2, "or a link"), (3, "something else"), (4, "something else"),
                         (5, "plugged in")):  # fmt: skip
        stream = await session.open(place)
        assert words in await stream.until_closed()
    good = await session.open(0)
    assert good.closed is None
    await good.close()
    again = await session.open(0)
    assert again.closed is None, again.closed
    await session.leave()
    await world.receipt(session.session)
