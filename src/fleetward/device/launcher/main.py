"""Starts the agent's processes: `python -I -m fleetward.device.launcher.main DATA MODULE […]`.

It is always the code of the system's package, and the one part that no release of the agent
replaces. For guard it decides (`decide`); every other process gets the code that guard has. It
opens no network and reads one file. What is settled is executed in its place, so that nothing of it
stays in memory; on trial, it waits beside guard, and hears by a pipe how that does.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from fleetward.device.launcher.decide import (
    FACTORY,
    MOST_BAD_STARTS,
    Seen,
    State,
    begin,
    compare_package,
    go_back,
    judge,
    note_end,
    note_stop,
)
from fleetward.device.launcher.interpreter import module_argv
from fleetward.device.launcher.store import find_tree, read_state, write_last_state, write_state
from fleetward.device.launcher.vitals import CONNECTED, HEALTHY
from fleetward.device.privileges import seal_process
from fleetward.trust.errors import Unreachable

GUARD: Final = "fleetward.device.guard_main"
STARTED: Final = frozenset(
    {
        GUARD,
        "fleetward.device.uplink_main",
        "fleetward.device.access.session_main",
        "fleetward.device.access.closer_main",
        "fleetward.device.updates.installer_main",
    }
)
HOME: Final = Path(__file__).parents[2]
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
DISK_FULL: Final = "The disk took no word of the launcher, so it could not be tried."
TICK_SECONDS: Final = 0.5
STOP_SECONDS: Final = 15.0


def main(argv: list[str] | None = None) -> int:
    """Start one process; return how it ended, unless it was executed in place of this one."""
    data, module, *arguments = sys.argv[1:] if argv is None else argv
    if module not in STARTED:
        sys.stderr.write(f"launcher: {module} is none of the agent's programs\n")
        return 2
    folder = Path(data)
    state = read_state(folder)
    if module == GUARD:
        state = _begin(folder, state)
        if read_state(folder).runs == state.runs:
            # Else this is what runs while the disk takes no word: it is not to make room.
            arguments.append("--launched")
        if state.on_trial:
            return Watch(folder, state).run(arguments)
    command = [*module_argv(module, find_tree(folder, state.runs)), *arguments]
    return os.execv(command[0], command)  # noqa: S606 - our own interpreter, and no shell


def _begin(data: Path, state: State) -> State:
    """Count this start, and have that on the disk before it is made."""
    if state.phase == "settled" and state.active == FACTORY:
        return state
    compared, boot = state, read_boot()
    with contextlib.suppress(OSError):  # One that cannot be read is no other package.
        compared = compare_package(state, hash_package())
    begun = begin(compared, boot) if compared.runs != FACTORY or compared.wanted else compared
    while begun.runs != FACTORY and find_tree(data, begun.runs) is None:
        begun = begin(
            replace(begun, starts=MOST_BAD_STARTS, boot=boot), boot
        )  # Its code was removed.
    try:
        write_state(data, begun)
    except Unreachable as e:
        sys.stderr.write(f"launcher: {e.message}\n")
        return _do_without(data, state, begun)
    return begun


def _do_without(data: Path, state: State, begun: State) -> State:
    """Return what to start on a disk that took no word: no reason to be without an agent.

    What is settled goes on. A trial ends, for its starts could not be counted: a new one that
    crashes would be started for ever.
    """
    if begun.on_trial:
        begun = go_back(state, "agent_disk_full", DISK_FULL) if state.on_trial else state
    if (begun.phase, begun.runs) == (state.phase, state.runs):
        return state
    try:
        write_last_state(data, begun)
    except Unreachable:
        return begun if state.on_trial else state
    return begun


class Watch:
    """Guard on trial, or the old one during a trial, and what becomes of it."""

    def __init__(self, data: Path, state: State) -> None:
        self._data = data
        self._state = state
        self._pid = 0
        self._stopping = False
        self._woken, self._wake = os.pipe()

    def run(self, arguments: list[str]) -> int:
        """Start guard and watch it until it ends, or until another one is to run."""
        heard, says = os.pipe()
        self._take_signals()
        self._pid = self._start(arguments, says)
        os.close(says)
        now = _now_ms()
        seen, watching = Seen(now, now), True
        while (status := self._reap()) is None:
            if self._stopping:
                status = self._end()
                break
            if not watching:
                select.select([self._woken], [], [])
                os.read(self._woken, 64)
                continue
            seen = self._listen(heard, seen)
            decided = judge(self._state, seen, _now_ms())
            if not self._follow(decided):
                self._end()
                return 0
            watching = decided.on_trial or self._state != decided
            if not watching:
                os.close(heard)  # Guard hears that nobody listens any more.
        stopped = self._stopping
        self._note(note_stop(self._state) if stopped else note_end(self._state, status))
        return abs(status)

    def _start(self, arguments: list[str], says: int) -> int:
        os.set_inheritable(says, True)
        command = module_argv(GUARD, find_tree(self._data, self._state.runs))
        here = ["--parent", str(os.getpid()), "--launcher", str(says)]
        argv = [*command, *without_parent(arguments), *here]
        return os.posix_spawn(argv[0], argv, dict(os.environ))

    def _listen(self, heard: int, seen: Seen) -> Seen:
        """Wait a little for what guard says."""
        ready = select.select([heard, self._woken], [], [], TICK_SECONDS)[0]
        if self._woken in ready:
            os.read(self._woken, 64)
        said = os.read(heard, 4096) if heard in ready else b""
        now = _now_ms()
        if not said:
            if heard in ready:
                time.sleep(TICK_SECONDS / 10)  # It ends, or has closed its end of the pipe.
            return seen
        healthy_ms = now if seen.healthy_ms < 0 and HEALTHY in said else seen.healthy_ms
        return Seen(seen.started_ms, now, healthy_ms, seen.connected or CONNECTED in said)

    def _follow(self, decided: State) -> bool:
        """Have what was decided on the disk; return whether what runs goes on running."""
        if read_state(self._data) != self._state:
            return False  # The installer was told something else meanwhile.
        if decided == self._state:
            return True
        runs = self._state.runs
        self._note(decided)
        return decided.runs == runs

    def _note(self, decided: State) -> None:
        """Write a state, unless somebody else wrote one."""
        if decided == self._state or read_state(self._data) != self._state:
            return
        with contextlib.suppress(Unreachable):
            self._write(decided)
            self._state = decided

    def _write(self, decided: State) -> None:
        try:
            write_state(self._data, decided)
        except Unreachable:
            if decided.on_trial:
                raise  # The next start ends the trial, in the room that this would take.
            write_last_state(self._data, decided)

    def _reap(self) -> int | None:
        """Return how guard ended, if it has."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if not pid:
            return None
        self._pid = 0
        return os.waitstatus_to_exitcode(status)

    def _end(self) -> int:
        """End guard, and return how it ended."""
        until = time.monotonic() + STOP_SECONDS
        os.kill(self._pid, signal.SIGTERM)
        while time.monotonic() < until:
            status = self._reap()
            if status is not None:
                return status
            time.sleep(0.02)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        return 0

    def _take_signals(self) -> None:
        for descriptor in (self._woken, self._wake):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)

    def _on_stop(self, number: int, frame: object) -> None:
        del number, frame
        self._stopping = True


def read_boot() -> str:
    """Return the id of this boot; nothing when the kernel does not tell it."""
    try:
        return BOOT_ID.read_text("ascii").strip()[:64]
    except (OSError, ValueError):
        return ""


def hash_package(home: Path = HOME) -> str:
    """Return the SHA-256 of the package's own code, as far as a machine runs it."""
    digest = hashlib.sha256()
    for part in ("device", "runtime", "trust", "wire"):
        for path in sorted((home / part).rglob("*.py")):
            digest.update(f"{path.relative_to(home)} {path.stat().st_size}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def without_parent(arguments: list[str]) -> list[str]:
    """Return arguments without whose child it is, and be that child ourselves."""
    if "--parent" not in arguments:
        seal_process(0)
        return arguments
    at = arguments.index("--parent")
    seal_process(int(arguments[at + 1]))
    return arguments[:at] + arguments[at + 2 :]


def _now_ms() -> int:
    return int(time.monotonic() * 1000)


if __name__ == "__main__":
    raise SystemExit(main())
