"""What stands at the path of a serial port is not what its owner named, or somebody has it; and a
broken inner half wants more of a port or of a runbook than its scope says."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.attack.test_session_walls import ask, wait_for_exit

from fleetward.device.access.hatch import Ask, Drop, say
from fleetward.device.access.serial import SerialPort, open_serial
from fleetward.device.access.words import End, encode, make_pair
from fleetward.trust.access_serial import SerialScope
from fleetward.trust.errors import FleetwardError
from fleetward.wire.access import OpenStream


@pytest.fixture
def port() -> Iterator[str]:
    ours, theirs = os.openpty()
    path = os.ttyname(theirs)
    os.close(theirs)
    yield path
    os.close(ours)


def refusal(path: str | Path) -> str:
    """Return why a port is not opened; nothing of it stays open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FleetwardError) as refused:
        open_serial(SerialScope(str(path), 9600))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    return refused.value.reason


def test_what_is_no_serial_port_is_not_opened(port: str, tmp_path: Path) -> None:
    plain, pipe, link, folder = (tmp_path / name for name in ("plain", "pipe", "link", "folder"))
    plain.write_text("x")
    os.mkfifo(pipe)
    link.symlink_to(port)
    folder.symlink_to("/dev/pts")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path in (plain, pipe, link, tmp_path, tmp_path / "socket", folder / Path(port).name):
            assert refusal(path) == "no_serial_port", path
    # Links to what this process itself has open, and devices that are no terminals.
    for named in ("/dev/fd/0", "/dev/stdin", "/proc/self/fd/0", "/dev/null", "/dev/zero"):
        assert refusal(named) == "no_serial_port", named
    assert refusal("/dev/fleetward-gone") == "serial_closed"


def test_a_port_that_somebody_has_is_left_to_him(port: str) -> None:
    first = open_serial(SerialScope(port, 9600))
    assert refusal(port) == "serial_in_use"
    first.close()
    descriptor = os.open(port, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert refusal(port) == "serial_in_use"
    os.close(descriptor)
    # A program that takes no lock at all, in a process of its own.
    command = f"exec 3<>{port}; echo open; read x"
    with subprocess.Popen(
        ["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        assert refusal(port) == "serial_in_use"
        holder.communicate(b"\n")
    open_serial(SerialScope(port, 9600)).close()


def test_a_port_is_put_back_as_it_was(port: str) -> None:
    descriptor = os.open(port, os.O_RDWR | os.O_NOCTTY)
    before = termios.tcgetattr(descriptor)
    os.close(descriptor)
    opened: SerialPort = open_serial(SerialScope(port, 300))
    assert termios.tcgetattr(opened.descriptor)[4:6] == [termios.B300, termios.B300]
    shared = opened.share()
    opened.close()
    assert termios.tcgetattr(shared) == before
    os.close(shared)


ATTEND = """
import os, socket, sys
from fleetward.device.access.attendant import Attendant
from fleetward.device.access.sandbox import Sandbox
from fleetward.device.privileges import adopt_orphans
from fleetward.trust.access_runbook import Plan, RunbookScope
from fleetward.trust.access_serial import SerialScope

import pwd
adopt_orphans()
ends = tuple(socket.socket(fileno=int(n)) for n in sys.argv[1:3])
user = pwd.getpwuid(os.geteuid()).pw_name
scopes = (RunbookScope("ab" * 32, user, ()), SerialScope(sys.argv[3], 9600))
plan = Plan("b", 1, user, 60, (("/bin/echo", "one"),))
Attendant(ends, -1, scopes, Sandbox("none", ()), {0: plan}).run()
"""


@contextlib.contextmanager
def attended(port: str) -> Iterator[socket.socket]:
    """Yield the inner half's end of an attendant with a runbook and a port."""
    guard, theirs = make_pair()
    hatch, other = make_pair()
    with guard, hatch:
        numbers = (theirs.fileno(), other.fileno())
        process = subprocess.Popen(
            [sys.executable, "-c", ATTEND, *map(str, numbers), port], pass_fds=numbers
        )
        theirs.close()
        other.close()
        for sock in (guard, hatch):
            sock.settimeout(10)
        guard.recv(4096)
        try:
            yield hatch
        finally:
            with contextlib.suppress(OSError):
                guard.send(encode(End("over")))
            process.wait(10)


def test_a_broken_inner_half_gets_one_run_and_the_named_port(port: str) -> None:
    with attended(port) as hatch:
        # Whatever stands in how it is asked for names no program, argument, path or speed.
        odd = OpenStream(verb="put", path="/etc/passwd", term="/bin/sh", size=4, lines=7)
        given, passed = ask(hatch, Ask(1, 0, odd))
        assert given.good, given.words
        child = socket.socket(fileno=passed[0])
        child.settimeout(10)
        said = b""
        for _ in range(6):
            message = child.recv(65536)
            said += message
            if message.startswith(b"M"):
                child.send(b"G")
            if message.startswith(b"C"):
                break
        assert b"step 1 of 1: exit " in said
        child.close()
        wait_for_exit(hatch)
        say(hatch, Drop(1))
        given, passed = ask(hatch, Ask(2, 0, OpenStream()))
        assert not given.good and not passed and "once" in given.words
        given, passed = ask(hatch, Ask(3, 1, odd))
        assert given.good, given.words
        assert os.ttyname(passed[0]) == port
        os.close(passed[0])
        say(hatch, Drop(3))
    # The attendant is gone, and with it whatever it had open.
    open_serial(SerialScope(port, 9600)).close()


def test_a_step_begins_when_it_is_recorded(port: str) -> None:
    """An inner half that records nothing has nothing run."""
    with attended(port) as hatch:
        _, passed = ask(hatch, Ask(1, 0, OpenStream()))
        child = socket.socket(fileno=passed[0])
        child.settimeout(1)
        assert child.recv(65536).startswith(b"R")
        assert child.recv(65536).startswith(b"Mstep 1 of 1: /bin/echo one")
        with pytest.raises(TimeoutError):
            child.recv(65536)
        child.send(b"N")
        assert child.recv(65536) == b"", "it ends"
        child.close()
