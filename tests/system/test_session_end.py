"""How sessions end on a real machine: nothing survives, and the recording is whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from tests.session_world import (
    SessionWorld,
    StreamEnd,
    TerminalScope,
    now_ms,
    session_world,
    until,
)

HIDERS = (
    "nohup sleep 4001 >/dev/null 2>&1 &\n"
    "setsid sleep 4002 >/dev/null 2>&1 &\n"
    "( ( trap '' HUP TERM; sleep 4003 ) & ) >/dev/null 2>&1\n"
    "setsid nohup sh -c 'sleep 4004 & sleep 4005' >/dev/null 2>&1 & disown\n"
)
TMUX = "TMUX_TMPDIR=$HOME tmux -L fwtest new-session -d 'sleep 4006'\n"


def sleepers() -> list[int]:
    """Return the pids of the programs that tried to hide."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[0].endswith(b"sleep") and words[1].startswith(b"400"):
                    found.append(int(entry.name))
    return found


async def hide(shell: StreamEnd, *, tmux: bool) -> None:
    """Start programs that would outlive an ordinary terminal."""
    await shell.type(HIDERS + (TMUX if tmux else ""))
    expected = 6 if tmux else 5
    await until(lambda: len(sleepers()) >= expected, f"{expected} hide; {sleepers()}")


async def gone(world: SessionWorld, since: float) -> float:
    """Wait until nothing of the session is left; return how long that took."""
    await until(
        lambda: not sleepers() and not world.processes("session_main"), "nothing is left", 10.0
    )
    return time.monotonic() - since


def has_tmux() -> bool:
    return Path("/usr/bin/tmux").exists()


@pytest.mark.parametrize("wall", ["bubblewrap", "none"])
@pytest.mark.parametrize("root", [True, False])
def test_a_stop_kills_everything_within_a_second(tmp_path: Path, wall: str, root: bool) -> None:
    if root and os.geteuid() != 0:
        pytest.skip("needs root")

    async def act() -> None:
        async with session_world(tmp_path, as_root=root, start=False) as world:
            world.start_agent(hide=["/usr/bin/bwrap"] if wall == "none" else [])
            await world.connected()
            session = await world.enter(TerminalScope(world.user))
            assert session.ready is not None
            assert session.ready["sandbox"] == wall
            shell = await session.open(0)
            await hide(shell, tmux=has_tmux())
            began = time.monotonic()
            await world.stop_session(session.session)
            assert await gone(world, began) < 1.0
            await until(lambda: session.left is not None, "the technician is told")
            assert "Stopped by ada" in (session.left or "")
            receipt = await world.receipt(session.session)
            assert (receipt["ended_by"], receipt["ended_who"]) == ("stopped", "ada")
            world.replay(session.session)
            assert world.replayed == (receipt["recording_head"], receipt["records"])
            print(f"\nstop to nothing left, {wall}, root={root}: {time.monotonic() - began:.3f} s")

    asyncio.run(act())


def test_a_session_that_nobody_watches_any_more_ends(tmp_path: Path) -> None:
    async def act() -> None:
        async with session_world(tmp_path) as world:
            session = await world.enter(TerminalScope(world.user), watched=True)
            await session.open(0)
            for _ in range(2):
                await asyncio.sleep(1.0)
                await world.beat(session.session, now_ms())
            began = time.monotonic()
            await until(lambda: session.left is not None, "it ends", 20.0)
            assert 14.0 < time.monotonic() - began < 16.0
            receipt = await world.receipt(session.session)
            assert receipt["ended_by"] == "unwatched"
            assert world.entries("session.watched")[0]["person"] == "ada"

    asyncio.run(act())


def test_length_and_silence_end_a_session(tmp_path: Path) -> None:
    async def act() -> None:
        async with session_world(tmp_path) as world:
            short = await world.enter(TerminalScope(world.user), seconds=2)
            quiet = await world.enter(TerminalScope(world.user), idle_seconds=10)
            await quiet.open(0)
            assert (await world.receipt(short.session))["ended_by"] == "length"
            assert (await world.receipt(quiet.session))["ended_by"] == "idle"

    asyncio.run(act())


@pytest.mark.parametrize("wall", ["bubblewrap", "none"])
@pytest.mark.parametrize("victim", ["guard_main", "uplink_main", "outer", "inner"])
def test_kill_nine_leaves_no_process_and_a_sealed_recording(
    tmp_path: Path, victim: str, wall: str
) -> None:
    async def act() -> None:
        async with session_world(tmp_path, start=False) as world:
            world.start_agent(hide=["/usr/bin/bwrap"] if wall == "none" else [])
            await world.connected()
            session = await world.enter(TerminalScope(world.user))
            shell = await session.open(0)
            await shell.type("echo before $((1+1)) the kill\n")
            await shell.until(b"before 2 the kill")
            await hide(shell, tmux=False)
            pids = world.processes("session_main")
            assert len(pids) == 2
            target = {"outer": pids[0], "inner": pids[1]}.get(victim)
            began = time.monotonic()
            os.kill(target or world.processes(victim)[0], signal.SIGKILL)
            took = await gone(world, began)
            receipt = await world.receipt(session.session, 60.0)
            ended = {"guard_main": "restarted", "uplink_main": "closed"}.get(victim, "failed")
            assert receipt["ended_by"] == ended
            lines = world.replay(session.session)
            assert world.replayed == (receipt["recording_head"], receipt["records"])
            shown = "".join(text for _, code, text in lines if code == "o")
            assert "before 2 the kill" in shown
            print(f"\nkill -9 {victim}, {wall}: nothing left after {took:.3f} s")

    asyncio.run(act())


def test_the_end_of_the_agent_is_the_end_of_its_sessions(tmp_path: Path) -> None:
    async def act() -> None:
        async with session_world(tmp_path) as world:
            session = await world.enter(TerminalScope(world.user))
            shell = await session.open(0)
            await hide(shell, tmux=has_tmux())
            await asyncio.to_thread(world.stop_agent)
            assert not sleepers()
            assert world.entries("session.ended")[0]["by"] == "restarted"
            assert world.entries("agent.stopped")

    asyncio.run(act())
