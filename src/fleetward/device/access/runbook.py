"""One run of a runbook: its steps one after another in the sandbox, by a child of the attendant.

The child reads no byte of the requester. Every step is an argument list that guard took from the
verified document; it is executed as it stands, as the document's user, behind the same walls as a
terminal, with nothing on its standard input. The child speaks to the inner half in messages of one
letter and data, as the one of files does:

    R  ready; JSON of what is run          M  record this, then say G
    D  output of a step                    C  over; words, none when all went well

A step begins when its mark is in the recording. The first one that does not end with 0 is the last,
and so is the one during which the time is over; nothing that a step started outlives it.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import socket
import sys
import time
from typing import Final

import msgspec

from fleetward.device.access import sandbox as apart
from fleetward.device.access.accounts import Account
from fleetward.device.access.sandbox import Sandbox
from fleetward.device.access.terminal import Program, keep_open, start_child
from fleetward.device.access.words import make_pair
from fleetward.device.privileges import adopt_orphans, end_with_parent
from fleetward.trust.access_runbook import Plan

READ_BYTES: Final = 32 * 1024
LAST_WORDS_SECONDS: Final = 5.0
"""So long the inner half may take to hear how it ended."""
KILL_SECONDS: Final = 5.0
MARK_CHARACTERS: Final = 800
"""Of one mark, so that it is recorded whole in whatever letters it is written."""


def start_runbook(sandbox: Sandbox, plan: Plan, account: Account) -> Program:
    """Start a run; it begins at once. Raises `OSError`."""
    ours, theirs = make_pair()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            end_with_parent(parent)
            keep_open(theirs.fileno())
            adopt_orphans()
            Run(sandbox, plan, account, theirs).run()
        except BaseException as e:  # noqa: BLE001 - a child of a fork must never leave this block
            with contextlib.suppress(OSError):
                sys.stderr.write(f"runbook: {e!r}\n")
        finally:
            os._exit(0)
    theirs.close()
    return Program(pid, ours.detach())


class TimeIsUpError(Exception):
    """The run took longer than its document lets it."""


class Run:
    """The steps of one run, in the child."""

    def __init__(self, sandbox: Sandbox, plan: Plan, account: Account, sock: socket.socket) -> None:
        self._sandbox = sandbox
        self._plan = plan
        self._account = account
        self._sock = sock
        self._deadline = time.monotonic() + plan.seconds

    def run(self) -> None:
        """Run the steps, and say how it ended. Raises `OSError` when nobody listens any more."""
        plan = self._plan
        said = {"name": plan.name, "version": plan.version, "steps": len(plan.steps)}
        try:
            self._say(b"R" + msgspec.json.encode(said))
            words = self._run_steps()
        except (TimeIsUpError, TimeoutError):
            words = f"The time of the runbook, {plan.seconds} s, is over. What ran was killed."
        kill_family()
        self._deadline = time.monotonic() + LAST_WORDS_SECONDS
        if words:
            self._mark(f"runbook {plan.name}: {words}")
        self._say(b"C" + words.encode())

    def _run_steps(self) -> str:
        """Return words about the step that failed, or nothing."""
        many = len(self._plan.steps)
        for number, argv in enumerate(self._plan.steps, 1):
            name = f"step {number} of {many}"
            told = shlex.join(argv)
            for start in range(0, len(told), MARK_CHARACTERS):
                more = " (more)" if start else ""
                self._mark(f"{name}{more}: {told[start : start + MARK_CHARACTERS]}")
            self._say(b"D" + f"[{number}/{many}] {told[:READ_BYTES]}\n".encode()[:READ_BYTES])
            code = self._run_step(argv)
            self._mark(f"{name}: exit {code}")
            if code != 0:
                return f"Step {number} of {many} ended with {code}; the rest was not run."
        return ""

    def _run_step(self, argv: tuple[str, ...]) -> int:
        """Return the exit code of one step; a signal is a negative one."""
        reading, writing = os.pipe()
        nothing = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        account = self._account
        command = self._sandbox.command(argv, account, writable=True)

        def take_pipes() -> None:
            os.setsid()
            for source, number in ((nothing, 0), (writing, 1), (writing, 2)):
                os.dup2(source, number)
            self._sandbox.become(account)

        try:
            pid = start_child(command, account.environment(), take_pipes)
        finally:
            os.close(writing)
            os.close(nothing)
        try:
            return self._follow(pid, reading)
        finally:
            os.close(reading)

    def _follow(self, pid: int, reading: int) -> int:
        """Pass on what a step says until it has ended, with all that came from it."""
        process = os.pidfd_open(pid)
        try:
            waiting = select.poll()
            waiting.register(reading, select.POLLIN)
            waiting.register(process, select.POLLIN)
            while True:
                ready = dict(waiting.poll(self._left() * 1000))
                if reading in ready and not self._pass_on(reading):
                    waiting.unregister(reading)
                if process in ready:
                    break
        finally:
            os.close(process)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        kill_family()
        os.set_blocking(reading, False)
        with contextlib.suppress(BlockingIOError):
            while self._pass_on(reading):
                pass
        return code

    def _pass_on(self, reading: int) -> bool:
        data = os.read(reading, READ_BYTES)
        if data:
            self._say(b"D" + data)
        return bool(data)

    def _mark(self, words: str) -> None:
        """Have something recorded, and wait until it is."""
        self._say(b"M" + words.encode())
        self._sock.settimeout(self._left())
        if self._sock.recv(8) != b"G":
            raise OSError("nobody records any more")

    def _say(self, message: bytes) -> None:
        self._sock.settimeout(self._left())
        self._sock.send(message)

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeIsUpError
        return left


def kill_family() -> None:
    """Kill until nobody is left: the children of the dead become ours, and are next."""
    deadline = time.monotonic() + KILL_SECONDS
    while apart.list_children() and time.monotonic() < deadline:
        apart.kill_children()
        time.sleep(0.002)
