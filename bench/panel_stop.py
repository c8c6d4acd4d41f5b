"""A stop at the machine's own panel: from the key to no process left of what was started.

    python bench/panel_stop.py [--times 20]

Workload: a whole agent in processes of its own, a broker, and a technician in a terminal, who has
started one program in each way by which programs try to outlive their terminal: `nohup`, `setsid`,
a double fork, and one that ignores every signal it can. The panel's screen runs on a terminal of
its own; the key `s` is written to it, and the time is taken until none of those programs is there,
and until the process of the session itself is gone too, which says goodbye to the requester first.
p50 and p95 of all times, and how busy the computer was (load average).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from fcntl import ioctl
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.session_world import RootScope, SessionWorld, TerminalScope, session_world

from fleetward.trust.errors import Unreachable

STUBBORN = (
    "nohup sleep 7001 >/dev/null 2>&1 & setsid sleep 7002 & (setsid sleep 7003 &) & "
    "setsid sh -c \"trap '' HUP TERM INT; while :; do sleep 7004; done\" & echo sta''rted"
)
MARKS = tuple(f"sleep\x00700{number}".encode() for number in (1, 2, 3, 4))


def remains() -> list[int]:
    """Return the pids of every process of a session, and of what was started in it."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                line = Path(f"/proc/{entry.name}/cmdline").read_bytes()
            except OSError:
                continue
            if any(mark in line for mark in MARKS):
                found.append(int(entry.name))
    return found


def wait_gone(watched: list[int]) -> None:
    """Return when each of these processes (pidfds) has ended."""
    poll = select.poll()
    for descriptor in watched:
        poll.register(descriptor, select.POLLIN)
    left = set(watched)
    while left:
        for descriptor, _ in poll.poll(10_000) or [(-1, 0)]:
            if descriptor < 0:
                raise SystemExit("something of the session is left")
            poll.unregister(descriptor)
            left.discard(descriptor)
            os.close(descriptor)


class Panel:
    """The panel's screen on a terminal, as a person has it."""

    def __init__(self, data: Path) -> None:
        self.ours, theirs = pty.openpty()
        ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        command = [sys.executable, "-I", "-m", "fleetward.device.cli", "panel", "--data", str(data)]
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)

    def until(self, words: bytes, seconds: float = 10.0) -> None:
        """Read until the screen shows this."""
        shown, deadline = b"", time.monotonic() + seconds
        while words not in shown:
            if time.monotonic() > deadline:
                raise SystemExit(f"the panel never showed {words!r}")
            if select.select([self.ours], [], [], 0.05)[0]:
                shown = (shown + os.read(self.ours, 65536))[-65536:]

    def press(self, key: bytes) -> None:
        """Press a key."""
        os.write(self.ours, key)

    def close(self) -> None:
        """Quit."""
        self.press(b"q")
        self.process.wait(5)
        os.close(self.ours)


async def stop_once(world: SessionWorld) -> tuple[float, float]:
    """Have a session with stubborn programs, stop it at the panel; return seconds until these are
    gone, and until the process of the session is."""
    scope = RootScope() if os.geteuid() == 0 else TerminalScope(world.user)
    session = await world.enter(scope)
    shell = await session.open(0)
    await shell.type(f"{STUBBORN}\n")
    await shell.until(b"started\r\n")
    while len(remains()) < len(MARKS):
        await asyncio.sleep(0.02)
    panel = Panel(world.data)
    try:
        await asyncio.to_thread(panel.until, b"INSIDE")
        programs = [os.pidfd_open(pid) for pid in remains()]
        others = [os.pidfd_open(pid) for pid in world.processes("session_main")]
        began = time.perf_counter()
        panel.press(b"s")
        await asyncio.to_thread(wait_gone, programs)
        first = time.perf_counter() - began
        await asyncio.to_thread(wait_gone, others)
        taken = (first, time.perf_counter() - began)
        if remains():
            raise SystemExit("something of the session is left")
    finally:
        await asyncio.to_thread(panel.close)
    receipt = await world.receipt(session.session)
    assert receipt["ended_by"] == "panel"
    return taken


async def measure(times: int) -> list[tuple[float, float]]:
    """Return the seconds of so many stops; a broker that a busy computer lost is started anew."""
    taken: list[tuple[float, float]] = []
    for _ in range(times):
        if len(taken) >= times:
            break
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Unreachable):
            async with session_world(Path(folder)) as world:
                while len(taken) < times:
                    taken.append(await stop_once(world))
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=20)
    times = parser.parse_args().times
    taken = asyncio.run(measure(times))
    print(__doc__.split("\n\n")[2].replace("\n", " "))
    programs, everything = ([pair[place] for pair in taken] for place in (0, 1))
    said = {"stops": len(taken), "load": os.getloadavg()[0], "cores": os.cpu_count()}
    print(json.dumps({**said, "programs": quote(programs), "everything": quote(everything)}))


def quote(seconds: list[float]) -> dict[str, float]:
    """Return the figures of some times, in milliseconds."""
    times = sorted(round(each * 1000, 1) for each in seconds)
    most = len(times) - 1
    return {"p50_ms": times[most // 2], "p95_ms": times[int(most * 0.95)], "most_ms": times[most]}


if __name__ == "__main__":
    main()
