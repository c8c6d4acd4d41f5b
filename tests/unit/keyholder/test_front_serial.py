"""A serial port at the technician's end: bytes between pipes, keys at a terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import termios

import pytest
from tests.access_world import AccessWorld
from tests.unit.keyholder.test_session_channel import Pair, play

from fleetward.keyholder.access import front_serial
from fleetward.keyholder.access.front_serial import run_serial
from fleetward.trust.errors import Unreachable
from fleetward.wire.access import Frame


@pytest.fixture(scope="module")
def world() -> AccessWorld:
    return AccessWorld.make()


def test_bytes_pass_as_they_are_until_the_port_is_quiet(
    world: AccessWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_serial, "QUIET_SECONDS", 0.2)
    pair = Pair(world)
    source, feed = os.pipe()
    result, sink = os.pipe()
    os.write(feed, b"at\r\xff\x1b]52;c;eA==\x07~.")
    os.close(feed)

    async def act() -> None:
        async with pair.open() as link:
            assert await run_serial(link, 0, source, sink) == ""

    play(act())
    assert os.read(result, 1000) == b"$ AT\r\xff\x1b]52;C;EA==\x07~."


def test_keys_go_raw_and_the_terminal_is_put_back(world: AccessWorld) -> None:
    for ending in ("leave", "cut"):
        pair = Pair(world)
        ours, theirs = pty.openpty()
        before = termios.tcgetattr(theirs)

        async def act(pair: Pair, ours: int, theirs: int, ending: str) -> None:
            async with pair.open() as link:
                running = asyncio.create_task(run_serial(link, 0, theirs, theirs))
                await asyncio.sleep(0.1)
                os.write(ours, b"a\x03b\r")
                await asyncio.sleep(0.1)
                if ending == "leave":
                    os.write(ours, b"~.")
                    assert await running == ""
                else:
                    pair.wire.cut()
                    with pytest.raises(Unreachable):
                        await running

        play(act(pair, ours, theirs, ending))
        typed = b"".join(p.data for p in pair.machine.seen if p.kind is Frame.DATA)
        assert typed == b"a\x03b\r"
        assert termios.tcgetattr(theirs) == before
        # What the port says draws, and reaches neither clipboard nor title.
        os.set_blocking(ours, False)
        assert b"\x1b]" not in os.read(ours, 4096)
        os.close(ours)
        os.close(theirs)
