"""`fleetward-agent run` and `join`: starts guard and uplink as two interpreters, and keeps them.

It also starts the process of a session when guard asks for one, and kills what such a process may
leave behind. This process does nothing else: no network, no keys, no parsing. Every uplink gets a
fresh pair of sockets, one end of which guard receives over its control socket, so that half a frame
of an uplink that died never meets the next one.

Which code guard is, the launcher decides that every guard is started by (`launcher`).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetward.device.access.doors import CLOSER_WORD, INSTALLER_WORD, SESSION_WORD
from fleetward.device.launcher.interpreter import module_argv, own_tree
from fleetward.device.launcher.store import find_tree, read_state
from fleetward.device.privileges import adopt_orphans

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
GUARD: Final = "fleetward.device.guard_main"
UPLINK: Final = "fleetward.device.uplink_main"
LAUNCHER: Final = "fleetward.device.launcher.main"
TELL_SECONDS: Final = 5.0
"""How often `once` says how far it is."""
SESSION: Final = "fleetward.device.access.session_main"
CLOSER: Final = "fleetward.device.access.closer_main"
INSTALLER: Final = "fleetward.device.updates.installer_main"
STARTED: Final = {SESSION_WORD: SESSION, CLOSER_WORD: CLOSER, INSTALLER_WORD: INSTALLER}
"""What guard may have started, by its word."""
MOST_SESSIONS: Final = 32
"""Processes of sessions at once; guard has a lower bound of its own."""


def spawn_module(
    module: str,
    arguments: list[str],
    descriptor: int,
    stdout: int = 1,
    tree: Path | None = None,
) -> int:
    """Start one of our modules in an interpreter of its own; return its pid.

    It inherits `descriptor` and the standard streams, and an environment of two names. `tree` is
    the release of the agent that it is taken from; None: the code that this is.
    """
    command = module_argv(module, tree or own_tree())
    os.set_inheritable(descriptor, True)
    try:
        return os.posix_spawn(
            command[0],
            [*command, *arguments, "--parent", str(os.getpid())],
            {"LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            file_actions=[] if stdout == 1 else [(os.POSIX_SPAWN_DUP2, stdout, 1)],
        )
    finally:
        os.set_inheritable(descriptor, False)


@dataclass(slots=True)
class _Child:
    """One process that is kept alive."""

    start: Callable[[], int]
    pid: int = 0
    started_at: float = 0.0
    start_at: float = 0.0
    pause: float = FIRST_PAUSE_SECONDS

    def begin(self, now: float) -> None:
        """Start it."""
        self.pid, self.started_at = self.start(), now

    def note_end(self, now: float, status: int) -> None:
        """It ended: start it again after a pause that grows while it keeps ending badly."""
        self.pause = (
            FIRST_PAUSE_SECONDS
            if status == 0 or now - self.started_at > STEADY_SECONDS
            else min(self.pause * 2, LONGEST_PAUSE_SECONDS)
        )
        self.pid, self.start_at = 0, now + self.pause


class Supervisor:
    """Keeps guard and uplink running until SIGTERM, or until guard is done (`once`).

    `tell` is called every few seconds while `once` waits.
    """

    def __init__(self, data: Path, *, once: bool, tell: Callable[[], None] = lambda: None) -> None:
        self._data = data
        self._tell = tell
        self._once = once
        self._control: socket.socket | None = None
        self._guard = _Child(self._start_guard)
        self._uplink = _Child(self._start_uplink)
        self._stopping = False
        self._result = 0
        self._sessions: set[int] = set()
        self._woken, self._wake = socket.socketpair()

    def run(self) -> int:
        """Supervise; return guard's exit status with `once`, 0 otherwise."""
        self._take_signals()
        tell_at = time.monotonic() + TELL_SECONDS
        adopt_orphans()
        try:
            while not self._stopping:
                now = time.monotonic()
                if self._once and now >= tell_at:
                    self._tell()
                    tell_at = now + TELL_SECONDS
                self._start_due(now)
                self._reap(now)
                waits = [c.start_at - now for c in (self._guard, self._uplink) if not c.pid]
                timeout = max(0.05, min([TELL_SECONDS if self._once else 30.0, *waits]))
                sources = [s for s in (self._woken, self._control) if s is not None]
                ready = select.select(sources, [], [], timeout)[0]
                if self._woken in ready:
                    self._woken.recv(64)
                if self._control in ready:
                    self._start_session()
        finally:
            self._end_all()
        return self._result

    def _start_due(self, now: float) -> None:
        if self._stopping:
            return
        if not self._guard.pid and now >= self._guard.start_at:
            self._guard.begin(now)
        if not self._uplink.pid and self._guard.pid and now >= self._uplink.start_at:
            self._uplink.begin(now)

    def _start_guard(self) -> int:
        if self._control is not None:
            self._control.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._control = ours
        arguments = [str(self._data), GUARD, "--data", str(self._data)]
        arguments += ["--control", str(theirs.fileno()), *(["--once"] if self._once else [])]
        with theirs:
            return spawn_module(LAUNCHER, arguments, theirs.fileno())

    def _start_uplink(self) -> int:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours, theirs:
            if self._control is not None:
                socket.send_fds(self._control, [b"u"], [ours.fileno()])
            arguments = ["--folder", str(self._data / "uplink"), "--fd", str(theirs.fileno())]
            return self._spawn(UPLINK, arguments, theirs.fileno())

    def _spawn(self, module: str, arguments: list[str], descriptor: int) -> int:
        """Start a module of the code that guard runs."""
        tree = find_tree(self._data, read_state(self._data).runs)
        return spawn_module(module, arguments, descriptor, tree=tree)

    def _start_session(self) -> None:
        """Take a word of guard: a socket for a process of a moment, and which one it is."""
        control = self._control
        if control is None:
            return
        try:
            data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        except OSError:
            data, descriptors = b"", []
        if not data:
            control.close()
            self._control = None
        for descriptor in descriptors:
            if len(self._sessions) < MOST_SESSIONS and data in STARTED:
                arguments = ["--guard", str(descriptor)]
                if data == INSTALLER_WORD:
                    arguments += ["--data", str(self._data)]
                self._sessions.add(self._spawn(STARTED[data], arguments, descriptor))
            os.close(descriptor)

    def _kill_orphans(self) -> None:
        """Kill what came from a session, or from a guard, that has ended."""
        known = {self._guard.pid, self._uplink.pid, *self._sessions}
        for pid in list_children():
            if pid not in known:
                _signal(pid, signal.SIGKILL)

    def _reap(self, now: float) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._sessions.discard(pid)
            if pid == self._guard.pid:
                self._guard.note_end(now, status)
                # Without guard an uplink has nothing to carry; the next guard gets a fresh one.
                _signal(self._uplink.pid, signal.SIGTERM)
                if self._once:
                    self._stopping = True
                    self._result = os.waitstatus_to_exitcode(status)
            elif pid == self._uplink.pid:
                self._uplink.note_end(now, status)
            self._kill_orphans()

    def _end_all(self) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        # Guard first: it writes down that the agent stops, and uplink may still carry it.
        for child in (self._guard, self._uplink):
            _signal(child.pid, signal.SIGTERM)
            while child.pid and time.monotonic() < deadline:
                self._reap(time.monotonic())
                time.sleep(0.02)
            _signal(child.pid, signal.SIGKILL)
        while self._sessions and time.monotonic() < deadline:
            self._reap(time.monotonic())
            time.sleep(0.02)
        self._sessions.clear()
        self._kill_orphans()

    def _take_signals(self) -> None:
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)

    def _on_stop(self, number: int, frame: object) -> None:
        del number, frame
        self._stopping = True


def list_children() -> list[int]:
    """Return the pids of this process's children, adopted ones too."""
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except OSError:
        return []
    return [int(pid) for pid in text.split()]


def _signal(pid: int, number: signal.Signals) -> None:
    if pid:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
