"""The processes that a demo starts, and ends: its own, and those of a start that was cut short.

Each is written down with the moment of its start, so that a process id which somebody else has by
now is never taken for one of ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

import msgspec

from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.trust.errors import FleetwardError

TERM_SECONDS: Final = 20.0
LOOK_SECONDS: Final = 0.05
MAX_RECORD_BYTES: Final = 64 * 1024
MAX_WORDS_BYTES: Final = 2000
_START_FIELD: Final = 19
"""Of /proc/PID/stat, counted behind the name (proc(5): starttime)."""


class Started(msgspec.Struct, frozen=True):
    """A process: its id, and when it started in ticks since the boot."""

    name: str
    pid: int
    ticks: int


class Children:
    """Starts processes and ends them in the reverse order."""

    def __init__(self, record: Path, logs: Path) -> None:
        self._record = record
        self._logs = logs
        self._running: list[tuple[Started, subprocess.Popen[bytes]]] = []

    def start(self, name: str, argv: list[str]) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own; what it says goes to its log."""
        with self.log_of(name).open("wb") as log:
            child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._running.append((Started(name, child.pid, _read_ticks(child.pid) or 0), child))
        self._write()
        return child

    def log_of(self, name: str) -> Path:
        """Return the file of what a process said."""
        return self._logs / f"{name}.log"

    def last_words(self, name: str) -> str:
        """Return the last line that a process said, or an empty text."""
        try:
            said = self.log_of(name).read_bytes()[-MAX_WORDS_BYTES:].decode("utf-8", "replace")
        except OSError:
            return ""
        lines = said.strip().splitlines()
        return lines[-1] if lines else ""

    def take_ended(self) -> list[str]:
        """Return the names of processes that ended by themselves, each once."""
        ended = [(started, child) for started, child in self._running if child.poll() is not None]
        for pair in ended:
            self._running.remove(pair)
        if ended:
            self._write()
        return [started.name for started, _ in ended]

    def stop_all(self) -> None:
        """End every process, the newest first, and wait for it."""
        for _, child in reversed(self._running):
            _end(child)
        self._running.clear()
        self._record.unlink(missing_ok=True)

    def stop_leftovers(self) -> None:
        """End processes of an earlier start that nobody ended."""
        for started in _read_record(self._record):
            _signal(started, signal.SIGTERM)
        deadline = time.monotonic() + TERM_SECONDS
        for started in _read_record(self._record):
            while _is_same(started) and time.monotonic() < deadline:
                time.sleep(LOOK_SECONDS)
            _signal(started, signal.SIGKILL)
        self._record.unlink(missing_ok=True)

    def _write(self) -> None:
        atomic_write(self._record, msgspec.json.encode([started for started, _ in self._running]))


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(TERM_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _signal(started: Started, number: int) -> None:
    if _is_same(started):
        with contextlib.suppress(ProcessLookupError):
            os.kill(started.pid, number)


def _is_same(started: Started) -> bool:
    return _read_ticks(started.pid) == started.ticks


def _read_ticks(pid: int) -> int | None:
    """Return when a process started, or None when there is none, or it only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[_START_FIELD])


def _read_record(path: Path) -> list[Started]:
    try:
        return msgspec.json.decode(read_bounded(path, MAX_RECORD_BYTES), type=list[Started])
    except (FleetwardError, msgspec.MsgspecError, UnicodeError):
        return []
