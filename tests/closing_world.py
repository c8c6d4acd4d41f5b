"""A guard whose owner closes what is open, and a closer that is either held or real.

    guard = ClosingGuard.make(tmp_path)
    guard.close(22)                  # signed, pushed, carried out by the held closer
    assert guard.closer.tcp == {22}

`own_network` gives a thread, and all that it starts from there on, a network of its own with a
wire to another end; the real closer then changes a real filter and nobody else's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

from tests.closing_wishes import sign_closing, sign_kept, wish
from tests.unit.device.device_world import make_inventory
from tests.unit.device.session_guard import SessionGuard

from fleetward.device.access.closing_words import (
    MAX_WORD_BYTES,
    Check,
    Checked,
    Done,
    Shut,
    Survey,
    Surveyed,
    Upward,
    encode,
    read_downward,
)
from fleetward.device.access.words import make_pair
from fleetward.device.guard_core import GuardCore, Seat
from fleetward.device.looking import Eyes, FixtureCollector
from fleetward.device.run import CLOSER, spawn_module
from fleetward.trust.canonical import from_base64url
from fleetward.trust.closing import (
    Closing,
    ClosingReport,
    ClosingWish,
    verify_closing_report,
)
from fleetward.trust.errors import Unreachable

CLONE_NEWNET: Final = 0x40000000
NEAR, FAR = "10.77.0.1", "10.77.0.2"


@dataclass
class HeldCloser:
    """A machine's ports in memory, and a process for each time that guard starts one."""

    tcp: set[int] = field(default_factory=set)
    udp: set[int] = field(default_factory=set)
    units: dict[str, bool] = field(default_factory=dict)
    waiting: tuple[int, ...] = (22,)
    problem: str = ""
    broken: bool = False
    dies_at: type | None = None
    """A word after which the process is gone without an answer."""
    shuts: list[Shut] = field(default_factory=list)
    mark: str = ""

    def start_closer(self) -> socket.socket:
        if self.broken:
            raise Unreachable("no process", reason="session_cannot_start")
        ours, theirs = make_pair()
        threading.Thread(target=self._serve, args=(theirs,), daemon=True).start()
        return ours

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            while data := sock.recv(MAX_WORD_BYTES):
                word = read_downward(data)
                if self.dies_at is not None and isinstance(word, self.dies_at):
                    return
                sock.send(encode(self._answer(word)))

    def _answer(self, word: Survey | Shut | Check) -> Upward:
        if isinstance(word, Survey):
            on = tuple(u for u, running in self.units.items() if running)
            return Surveyed(self.problem, on, self.waiting if word.local_access else ())  # type: ignore[arg-type]  # units of the list
        if isinstance(word, Check):
            return Checked(self.mark)
        self.shuts.append(word)
        self.tcp, self.udp = set(word.tcp), set(word.udp)
        for unit in word.stop:
            self.units[unit] = False
        for unit in word.start:
            self.units[unit] = True
        self.mark = f"{sorted(self.tcp)} {sorted(self.udp)}" if self.tcp | self.udp else ""
        cut = tuple(f"10.0.0.9:4000{n} on tcp/{p}" for n, p in enumerate(sorted(self.tcp)))
        return Done("", "", self.mark, cut, len(cut), ("tcp/22 sshd",), ())


class RealClosers:
    """Starts the closer as `fleetward-agent run` does."""

    def __init__(self) -> None:
        self.pids: list[int] = []

    def start_closer(self) -> socket.socket:
        ours, theirs = make_pair()
        with theirs:
            arguments = ["--guard", str(theirs.fileno())]
            self.pids.append(spawn_module(CLOSER, arguments, theirs.fileno()))
        return ours

    def reap(self) -> None:
        """Take what has ended."""
        for pid in self.pids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self.pids.clear()


@dataclass
class ClosingGuard(SessionGuard):
    """A guard with a closer, and what the owner has signed."""

    closer: Any = None
    serial: int = 0

    @classmethod
    def of(cls, folder: Path, closer: Any = None, **more: Any) -> ClosingGuard:
        """Return a confirmed machine with this closer, a held one by default."""
        cls._first = HeldCloser() if closer is None else closer
        guard = cls.make(folder, **more)
        assert isinstance(guard, ClosingGuard)
        return guard

    _first: ClassVar[Any] = None

    def start(self) -> GuardCore:
        """Start guard, as after a crash or a boot."""
        if self.closer is None:
            self.closer = self._first
        eyes = Eyes(FixtureCollector(make_inventory), files=())
        self.drop()
        seat = Seat(
            self.clock, eyes, boot=self.boot, wall="none", doors=self.doors, closers=self.closer
        )
        self.core = GuardCore(self.folder, seat)
        self.access.boot = self.boot
        return self.core

    def drop(self) -> None:
        if hasattr(self, "core"):
            self.core.closings.close()
        super().drop()

    def order(self, wanted: ClosingWish, serial: int = 0) -> Closing:
        """Sign a closing, hand it over, and have it carried out."""
        self.serial = serial or self.serial + 1
        closing = sign_closing(self.access, wanted, self.serial)
        self.push(closing.raw)
        self.settle()
        return closing

    def shut(self, *ports: int, **said: Any) -> Closing:
        """Close TCP ports."""
        return self.order(wish(*ports, **said))

    def keep(self, closing: Closing) -> None:
        """Confirm a closing."""
        self.push(sign_kept(self.access, closing.hash).raw)

    def settle(self, seconds: float = 20.0) -> None:
        """Let guard and closer finish."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            self.core.closings.tick()
            busy = self.core.closings.sockets()
            if not busy:
                self.core.tick()
                if not self.core.closings.sockets():
                    return
            time.sleep(0.005)
        raise AssertionError("the closer did not finish")

    def pass_seconds(self, seconds: int) -> None:
        """Let time pass, and what is due be done."""
        self.clock.pass_ms(seconds * 1000)
        self.core.tick()
        self.settle()

    def reports(self, outcome: str = "") -> list[ClosingReport]:
        """Return what the machine has signed, verified with its key."""
        key, owner = self.access.machine.key, self.access.trust.owner
        return [
            verify_closing_report(from_base64url(str(body["report"])), key, owner)
            for kind in ("applied", "kept", "restored", "refused", "undone")
            if outcome in ("", kind)
            for body in self.entries(f"closing.{kind}")
        ]

    @property
    def standing(self) -> Any:
        return self.core.closings.standing


# --- networks


def can_have_network() -> bool:
    """Say whether this test may make networks of its own."""
    return (
        os.geteuid() == 0
        and subprocess.run(["unshare", "--net", "true"], check=False).returncode == 0
    )


@dataclass
class Wire:
    """The other end of the wire: a process in a network of its own."""

    far: subprocess.Popen[bytes]

    def run(
        self, code: str, *arguments: str, seconds: float = 20.0
    ) -> subprocess.CompletedProcess[str]:
        """Run Python at the other end."""
        return subprocess.run(
            [*self._enter(), sys.executable, "-c", code, *arguments],
            capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip

    def start(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """Start Python at the other end."""
        return subprocess.Popen(
            [*self._enter(), sys.executable, "-c", code, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def reaches(self, port: int, address: str = NEAR) -> bool:
        """Say whether a TCP port answers from there."""
        code = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.7)"
        return self.run(code, address, str(port)).returncode == 0

    def _enter(self) -> list[str]:
        return ["nsenter", "--net", "--target", str(self.far.pid)]


@contextlib.contextmanager
def own_network() -> Iterator[Wire]:
    """Give this thread a network of its own, and a wire to another one, until the end."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    far = None
    try:
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "no network of our own")
        far = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        _run("ip", "link", "set", "lo", "up")
        _wait_for_network(far.pid)
        _run(
            "ip", "link", "add", "fw0", "type", "veth", "peer", "name", "fw1", "netns", str(far.pid)
        )
        _run("ip", "addr", "add", f"{NEAR}/24", "dev", "fw0")
        _run("ip", "-6", "addr", "add", "fd77::1/64", "dev", "fw0", "nodad")
        _run("ip", "link", "set", "fw0", "up")
        inside = ["nsenter", "--net", "--target", str(far.pid)]
        _run(*inside, "ip", "link", "set", "lo", "up")
        _run(*inside, "ip", "addr", "add", f"{FAR}/24", "dev", "fw1")
        _run(*inside, "ip", "-6", "addr", "add", "fd77::2/64", "dev", "fw1", "nodad")
        _run(*inside, "ip", "link", "set", "fw1", "up")
        yield Wire(far)
    finally:
        if far is not None:
            far.send_signal(signal.SIGKILL)
            far.wait()
        libc.setns(before, CLONE_NEWNET)
        os.close(before)


def _wait_for_network(pid: int) -> None:
    own = Path("/proc/thread-self/ns/net").readlink()
    give_up = time.monotonic() + 5
    while Path(f"/proc/{pid}/ns/net").readlink() == own:
        assert time.monotonic() < give_up
        time.sleep(0.01)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


@contextlib.contextmanager
def listening(
    port: int, answer: Callable[[socket.socket], None] | None = None, host: str = "0.0.0.0"
) -> Iterator[None]:
    """Listen on a port of this network; each connection is answered in a thread."""

    def echo(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            while data := sock.recv(4096):
                sock.sendall(data)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = server.accept()
                threading.Thread(target=answer or echo, args=(sock,), daemon=True).start()

    server = socket.create_server((host, port))
    threading.Thread(target=serve, daemon=True).start()
    try:
        yield
    finally:
        server.close()
