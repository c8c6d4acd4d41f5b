"""The installer: `python -I -m fleetward.device.updates.installer_main --guard FD [--data DIR]`.

A process of a moment that writes software, switches to it, and goes back, because guard may write
nothing outside its folder. It is started like a session's process, hears one plan and then words
about it (`installer_words`), and ends when guard closes the socket. It decides nothing: what may be
installed, guard has judged. It reads no path, host or command but those that the machine's own file
gives, and those of a part whose hash was right.

It lives as long as its work goes forward: when nothing has moved for a while, the kernel ends it,
and guard starts another one, which ends where this one would have.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Final

from fleetward.device.privileges import seal_process
from fleetward.device.updates.hooks import find_units
from fleetward.device.updates.installer_words import (
    MAX_WORD_BYTES,
    Downward,
    Patch,
    Plan,
    Progress,
    Surveyed,
    Test,
    Upward,
    Write,
    clean,
    encode,
    read_downward,
)
from fleetward.device.updates.installing import Installing
from fleetward.device.updates.places import PLACES_FILE, Places, read_places
from fleetward.trust.errors import FleetwardError, Malformed, Unreachable

DEFAULT_DATA: Final = Path("/var/lib/fleetward")
STALL_SECONDS: Final = 180
"""It is ended when nothing has moved for so long; longer than a hook or a unit may take."""
IDLE_SECONDS: Final = 2 * 3600
"""And when guard has said nothing for so long."""
TELL_SECONDS: Final = 1.0
BUSY_SECONDS: Final = 30.0
"""So long it waits for the installer before it, which may still be ending."""
MAX_DESCRIPTORS: Final = 4
LOCK: Final = "installer.lock"


class GuardLeftError(Exception):
    """Nobody listens any more."""


class Pace:
    """Tells guard how far a word is, and keeps this process alive while it moves."""

    def __init__(self, guard: socket.socket) -> None:
        self._guard = guard
        self._done = 0
        self._told_at = 0.0

    def begin(self) -> None:
        """A word begins."""
        self._done, self._told_at = 0, time.monotonic()
        signal.alarm(STALL_SECONDS)

    def step(self, done_bytes: int) -> None:
        """Something moved. Raises `GuardLeftError`."""
        self._done = max(self._done, done_bytes)
        now = time.monotonic()
        if now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            signal.alarm(STALL_SECONDS)
            self.send(Progress(self._done))

    def send(self, word: Upward) -> None:
        """Say something. Raises `GuardLeftError`."""
        try:
            self._guard.send(encode(word))
        except OSError as e:
            raise GuardLeftError from e


class Talk:
    """The conversation with guard, from the plan to its end."""

    def __init__(self, guard: socket.socket, data: Path, places: Path) -> None:
        self._guard = guard
        self._data = data
        self._places = places
        self._pace = Pace(guard)
        self._installing: Installing | None = None

    def run(self) -> None:
        """Answer every word until guard says no more. Raises `Malformed`, `GuardLeftError`."""
        while True:
            signal.alarm(IDLE_SECONDS)
            data, passed, flags, _ = socket.recv_fds(self._guard, MAX_WORD_BYTES, MAX_DESCRIPTORS)
            try:
                if not data:
                    return
                if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                    raise Malformed("Expected a word that fits.", reason="word_too_long")
                self._pace.begin()
                self._pace.send(self._answer(read_downward(data), passed))
            finally:
                for descriptor in passed:
                    os.close(descriptor)

    def _answer(self, word: Downward, passed: list[int]) -> Upward:
        step = self._pace.step
        if isinstance(word, Plan):
            return self._begin(word)
        if self._installing is None:
            raise Malformed("Expected a plan first.", reason="no_plan")
        if isinstance(word, Write | Patch):
            if len(passed) != 1:
                raise Malformed("Expected one descriptor with it.", reason="no_descriptor")
            return self._installing.write(word, passed[0], step)
        if isinstance(word, Test):
            return self._installing.test(word, step)
        return self._installing.act(word, step)

    def _begin(self, plan: Plan) -> Surveyed:
        if self._installing is not None:
            raise Malformed("Expected one plan.", reason="second_plan")
        try:
            lock = take_lock(self._data, self._pace)
        except FleetwardError as e:
            return Surveyed(clean(e.message), e.reason, (), 0, 0)
        places: Places | FleetwardError
        try:
            places = read_places(self._data, self._places)
        except FleetwardError as e:
            places = e
        self._installing = Installing(plan, self._data, places, find_units(), lock)
        return self._installing.survey(self._pace.step)


def take_lock(data: Path, pace: Pace) -> int:
    """Return a descriptor that nobody else has while it, or who inherits it, lives.

    Raises `Unreachable`.
    """
    folder = data / "software"
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder.chmod(0o755)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(folder / LOCK, flags, 0o600)
    except OSError as e:
        raise Unreachable(
            f"Expected to write below {folder}: {e.strerror}.", reason="disk_refused"
        ) from e
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        if time.monotonic() >= deadline:
            os.close(descriptor)
            raise Unreachable(
                "Another installer, or what it started, still works. It is tried again.",
                reason="installer_busy",
            )
        pace.step(0)
        time.sleep(0.05)


def main(argv: list[str] | None = None, places: Path = PLACES_FILE) -> int:
    """Do what guard says until it says no more; return the exit status."""
    arguments = _parse(argv)
    seal_process(arguments.parent)
    os.umask(0o077)
    os.chdir("/")
    guard = _take_socket(arguments.guard)
    try:
        Talk(guard, arguments.data.absolute(), places).run()
    except (FleetwardError, OSError) as e:
        sys.stderr.write(f"installer: {e}\n")
        return 1
    except GuardLeftError:
        return 0
    return 0


def _take_socket(descriptor: int) -> socket.socket:
    """Return guard's socket, which nothing that is started here inherits."""
    moved = os.dup(descriptor)
    nothing = os.open("/dev/null", os.O_RDWR)
    os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)
    return socket.socket(fileno=moved)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Install software. Started by the agent alone.")
    parser.add_argument("--guard", type=int, default=0)
    parser.add_argument("--parent", type=int, default=0)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
