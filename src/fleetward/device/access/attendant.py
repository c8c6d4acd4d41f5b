"""The outer half of a session's process: starts what the grant names, and ends everything.

It never sees a byte of the requester. From guard it has the scopes; the inner half can ask for
streams on them and for nothing else. It adopts every process that comes from one it started, so
that none outlives it: not by `nohup`, `setsid`, or a double fork.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fleetward.device.access import sandbox as apart
from fleetward.device.access.accounts import account_named, account_of
from fleetward.device.access.files import Budget, Served, list_hidden, open_root, serve
from fleetward.device.access.hatch import (
    Ask,
    Drop,
    Exited,
    Given,
    Leave,
    read_from_session,
    say,
)
from fleetward.device.access.logs import start_logs
from fleetward.device.access.runbook import start_runbook
from fleetward.device.access.sandbox import Sandbox
from fleetward.device.access.serial import SerialPort, open_serial
from fleetward.device.access.tcp import dial
from fleetward.device.access.terminal import Program, keep_open, start_terminal
from fleetward.device.access.words import (
    End,
    Ending,
    Started,
    clean,
    encode,
    make_pair,
    read_downward,
    receive,
)
from fleetward.device.privileges import deny_network, end_with_parent
from fleetward.trust.access import FilesScope, LogsScope, Scope, TcpScope
from fleetward.trust.access_runbook import Plan, RunbookScope
from fleetward.trust.access_serial import SerialScope
from fleetward.trust.errors import FleetwardError, Malformed, Refused
from fleetward.wire.access import MAX_STREAMS, OpenStream

LAST_WORDS_SECONDS: Final = 0.1
"""So long the inner half may take to say goodbye to the requester."""
KILL_SECONDS: Final = 5.0
RAN: Final = (
    "This runbook was started in this session already: it was allowed once. Ask for it again."
)
DROPPED_SECONDS: Final = 0.5
"""So long an earlier transfer that is over may take to be gone; it was killed, so milliseconds."""
BUSY: Final = "One file at a time: another transfer of this scope is not over yet."


@dataclass(slots=True)
class _Started:
    """What runs for one stream."""

    stream: int
    scope: int
    pid: int


class Attendant:
    """Attends one session until it is over. `inner` is the pid of the other half."""

    def __init__(
        self,
        ends: tuple[socket.socket, socket.socket],
        inner: int,
        scopes: tuple[Scope, ...],
        walls: Sandbox,
        plans: Mapping[int, Plan] | None = None,
    ) -> None:
        self._guard, self._hatch = ends
        self._inner = inner
        self._scopes = scopes
        self._walls = walls
        self._budgets = {
            place: Budget(scope.most_bytes)
            for place, scope in enumerate(scopes)
            if isinstance(scope, FilesScope)
        }
        self._plans = dict(plans or {})
        self._ports: dict[int, SerialPort] = {}
        self._running: list[_Started] = []
        self._open: set[int] = set()
        self._over = False
        self._woken, self._wake = socket.socketpair()

    def run(self) -> None:
        """Attend; return when nothing of the session is left."""
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._guard.send(encode(Started(os.getpid())))
        try:
            with selectors.DefaultSelector() as selector:
                for sock in (self._guard, self._hatch, self._woken):
                    selector.register(sock, selectors.EVENT_READ)
                while not self._over:
                    for key, _ in selector.select():
                        self._serve(key.fileobj)
        finally:
            self._kill_all()
            for port in self._ports.values():
                port.close()
            self._guard.close()

    def _serve(self, source: object) -> None:
        if self._over:
            return
        if source is self._guard:
            self._take_from_guard()
        elif source is self._hatch:
            self._take_from_session()
        else:
            with contextlib.suppress(BlockingIOError):
                self._woken.recv(256)
            self._note_ended(apart.reap())

    def _take_from_guard(self) -> None:
        """Guard's end, or guard's word, ends everything; there is no other word of it."""
        words = "The agent of this machine ended."
        with contextlib.suppress(OSError, Malformed):
            data = receive(self._guard)
            word = read_downward(data) if data else None
            if isinstance(word, End):
                words = word.words
        self._over = True
        self._kill_all(spared=(self._inner,), seconds=LAST_WORDS_SECONDS)
        if say(self._hatch, Leave(words)):
            self._wait_inner(time.monotonic() + LAST_WORDS_SECONDS)

    def _take_from_session(self) -> None:
        try:
            data = receive(self._hatch)
            word = read_from_session(data) if data else None
        except (OSError, Malformed):
            word = None
        if word is None:
            self._over = True
        elif isinstance(word, Ask):
            self._answer(word)
        elif isinstance(word, Drop):
            self._drop(word.stream)
        else:
            if isinstance(word, Ending):
                word = Ending(word.by, clean(word.words), word.bytes_in, word.bytes_out)
            with contextlib.suppress(OSError):
                self._guard.send(encode(word), socket.MSG_DONTWAIT)

    # --- streams

    def _answer(self, ask: Ask) -> None:
        descriptor: int | None = None
        try:
            self._check(ask)
            descriptor = self._start(ask, self._scopes[ask.scope])
            self._open.add(ask.stream)
            given = Given(ask.stream, good=True)
        except FleetwardError as e:
            given = Given(ask.stream, good=False, words=e.message)
        except OSError as e:
            words = f"This machine refused to start it: {e.strerror}."
            given = Given(ask.stream, good=False, words=words)
        self._over = not say(self._hatch, given, descriptor) or self._over
        if descriptor is not None:
            os.close(descriptor)

    def _check(self, ask: Ask) -> None:
        if not 0 <= ask.scope < len(self._scopes):
            raise Refused("No such scope.", reason="no_such_scope")
        if len(self._open) >= MAX_STREAMS or ask.stream in self._open:
            raise Refused("Too many streams.", reason="too_many_streams")

    def _start(self, ask: Ask, scope: Scope) -> int:
        if isinstance(scope, TcpScope):
            return dial(scope.port).detach()
        if isinstance(scope, SerialScope):
            return self._open_port(ask.stream, scope)
        if isinstance(scope, FilesScope):
            program = self._start_files(ask.scope, scope, ask.wanted)
        elif isinstance(scope, LogsScope):
            wanted = ask.wanted
            program = start_logs(self._walls, scope, wanted.lines, follow=wanted.follow)
        elif isinstance(scope, RunbookScope):
            program = self._start_runbook(ask.scope)
        else:
            size = (ask.wanted.columns, ask.wanted.rows)
            account = account_of(scope)
            program = start_terminal(self._walls, account, size, ask.wanted.term)
        self._running.append(_Started(ask.stream, ask.scope, program.pid))
        return program.descriptor

    def _open_port(self, stream: int, scope: SerialScope) -> int:
        port = open_serial(scope)
        self._ports[stream] = port
        return port.share()

    def _start_runbook(self, place: int) -> Program:
        """Start what the approver said yes to, once."""
        plan = self._plans.pop(place, None)
        if plan is None:
            raise Refused(RAN, reason="runbook_ran")
        return start_runbook(self._walls, plan, account_named(plan.run_as))

    def _start_files(self, place: int, scope: FilesScope, wanted: OpenStream) -> Program:
        self._wait_dropped(place)
        if any(started.scope == place for started in self._running):
            raise Refused(BUSY, reason="busy")
        hidden = list_hidden(scope.root, self._walls.hidden)
        root = open_root(scope)
        ours, theirs = make_pair()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                end_with_parent(parent)
                keep_open(root, theirs.fileno())
                links = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                if os.geteuid() == 0:
                    os.fchdir(root)
                    os.chroot(".")
                    os.chdir("/")
                deny_network()
                budget = self._budgets[place]
                served = Served(root, links, scope.mode == "write", budget, hidden)
                serve(served, theirs, wanted)
            finally:
                os._exit(0)
        os.close(root)
        theirs.close()
        return Program(pid, ours.detach())

    def _drop(self, stream: int) -> None:
        self._open.discard(stream)
        port = self._ports.pop(stream, None)
        if port is not None:
            port.close()
        for started in self._running:
            if started.stream == stream:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(started.pid, signal.SIGKILL)

    def _wait_dropped(self, place: int) -> None:
        """The requester has heard that a transfer is over before its process is gone."""
        deadline = time.monotonic() + DROPPED_SECONDS
        while time.monotonic() < deadline:
            self._note_ended(apart.reap())
            left = [each for each in self._running if each.scope == place]
            if not left or any(each.stream in self._open for each in left):
                return
            time.sleep(0.002)

    def _note_ended(self, ended: list[tuple[int, int]]) -> None:
        for pid, status in ended:
            if pid == self._inner:
                self._over = True
            for started in [s for s in self._running if s.pid == pid]:
                self._running.remove(started)
                code = os.waitstatus_to_exitcode(status)
                self._over = not say(self._hatch, Exited(started.stream, code)) or self._over

    # --- the end

    def _kill_all(self, *, spared: tuple[int, ...] = (), seconds: float = KILL_SECONDS) -> None:
        """Kill until nobody is left: the children of the dead become ours, and are next."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            apart.kill_children(spared)
            if not [pid for pid in apart.list_children() if pid not in spared]:
                return
            time.sleep(0.002)

    def _wait_inner(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            if self._inner in [pid for pid, _ in apart.reap()]:
                return
            time.sleep(0.002)
