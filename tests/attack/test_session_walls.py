"""Somebody is inside, or has broken into the process of his session, and wants more than he has."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.session_world import (
    RequesterEnd,
    RootScope,
    SessionWorld,
    StreamEnd,
    TcpScope,
    TerminalScope,
    session_world,
    until,
)

from fleetward.device.access.accounts import SESSION_UID
from fleetward.device.access.hatch import Ask, Drop, Given, read_to_session, say
from fleetward.device.access.words import End, encode, make_pair
from fleetward.wire.access import Frame, OpenStream, Piece

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
SECRET = b"-----BEGIN PRIVATE KEY-----"


async def run(shell: StreamEnd, command: str) -> str:
    """Run a command in the terminal and return what it shows."""
    await shell.type(f"{command}; printf 'e%sd\\n' n\n")
    shown = await shell.until(b"end\r\n")
    return shown.decode(errors="replace")


# --- from inside a terminal


@needs_root
def test_a_terminal_reaches_nothing_but_what_its_user_may(tmp_path: Path) -> None:
    async def act() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        async with session_world(tmp_path) as world:
            session = await world.enter(TerminalScope(world.user), RootScope())
            for scope in (0, 1):
                shell = await session.open(scope)
                assert shell.closed is None, shell.closed
                await shell.type("stty -echo; PS1=; set +o history\n")
                await asyncio.sleep(0.3)
                await look_around(world, shell, port, root=scope == 1)
            assert not (world.data / "guard" / "planted").exists()
            await session.leave()
            await world.receipt(session.session)
        listener.close()

    asyncio.run(act())


async def look_around(world: SessionWorld, shell: StreamEnd, port: int, *, root: bool) -> None:
    """Try every way out that comes to mind."""
    guard = world.processes("guard_main")[0]
    key = world.data / "guard" / "identity.pem"
    assert SECRET.decode() not in await run(shell, f"cat {key} /proc/{guard}/root{key}")
    assert "identity" not in await run(shell, f"ls -la {world.data} {world.data}/guard")
    assert "uid=0" in await run(shell, "id") if root else "uid=0" not in await run(shell, "id")
    # No other process is there to signal, trace or look into.
    pids = await run(shell, "ls /proc | grep -c '^[0-9]'")
    assert int(next(w for w in pids.split() if w.isdigit())) < 12, pids
    bounds = int(
        (await run(shell, "grep CapBnd /proc/self/status")).split("CapBnd:")[1].split()[0], 16
    )
    assert not bounds & (1 << 21 | 1 << 19 | 1 << 27), "no right to take the sandbox apart"
    await run(shell, f"umount -l {world.data}; umount -l {world.data}/guard")
    await run(shell, f"touch {world.data}/guard/planted")
    nested = f"unshare -Urm sh -c 'umount -l {world.data}; ls -la {world.data}/guard'"
    assert "identity" not in await run(shell, nested)
    # No network, nor anybody who would start a program outside.
    dial = f"(exec 3<>/dev/tcp/127.0.0.1/{port}) && echo reached"
    assert "reached" not in (await run(shell, dial)).replace("echo reached", "")
    assert "started" not in await run(shell, "systemd-run --quiet echo st''arted 2>/dev/null")
    assert "cannot access" in await run(shell, "ls /run/dbus/system_bus_socket")
    # By these, root would have the kernel start a program outside.
    for path in ("/proc/sys/kernel/core_pattern", "/sys/kernel/uevent_helper"):
        again = f"cp {path} /tmp/same; cat /tmp/same > {path} && echo wro''te"
        assert "wrote" not in await run(shell, again)


def test_a_terminal_inherits_no_descriptor_of_the_session(tmp_path: Path) -> None:
    """One of guard's sockets in a shell would swallow a stop and lie about what moved."""

    async def act() -> None:
        async with session_world(tmp_path) as world:
            session = await world.enter(TerminalScope(world.user))
            shell = await session.open(0)
            await shell.type("stty -echo; PS1=; set +o history\n")
            await asyncio.sleep(0.3)
            held = await run(shell, "readlink /proc/$$/fd/*")
            assert "/dev/pts" in held
            assert "socket:" not in held, held
            assert "pipe:" not in held, held
            assert ".rec" not in held, held
            await session.leave()

    asyncio.run(act())


@needs_root
def test_a_socket_that_a_daemon_makes_meanwhile_is_not_seen(tmp_path: Path) -> None:
    """The daemon of containers starts again while somebody of its group is inside."""

    async def act() -> None:
        late = Path(f"/run/fw-late-{os.getpid()}.sock")
        async with session_world(tmp_path) as world:
            session = await world.enter(TerminalScope(world.user), RootScope())
            shells = [await session.open(scope) for scope in (0, 1)]
            for shell in shells:
                await shell.type("stty -echo; PS1=; set +o history\n")
            await asyncio.sleep(0.3)
            with socket.socket(socket.AF_UNIX) as daemon:
                daemon.bind(str(late))
                late.chmod(0o666)
                try:
                    for shell in shells:
                        assert "cannot access" in await run(shell, f"ls {late}")
                        assert "cannot access" in await run(shell, "ls /run/systemd /run/udev")
                finally:
                    late.unlink()
            await session.leave()

    asyncio.run(act())


@needs_root
def test_a_user_may_not_become_root(tmp_path: Path) -> None:
    async def act() -> None:
        async with session_world(tmp_path) as world:
            helper = world.files / "helper"
            helper.write_bytes(Path("/usr/bin/id").read_bytes())
            helper.chmod(0o4755)
            session = await world.enter(TerminalScope(world.user))
            shell = await session.open(0)
            assert "euid=0" not in await run(shell, f"{helper}; grep NoNewPrivs /proc/self/status")
            assert "NoNewPrivs:\t1" in await run(shell, "grep NoNewPrivs /proc/self/status")

    asyncio.run(act())


# --- from inside the session's own process

BREAK_OUT = """
import ctypes, os, socket, sys
from fleetward.device.confine import forbid_calls
guard = int(sys.argv[1])
lib = ctypes.CDLL(None, use_errno=True)
lib.syscall.restype = ctypes.c_long
def call(*numbers):
    if lib.syscall(*[ctypes.c_long(n) if isinstance(n, int) else n for n in numbers]) < 0:
        raise OSError(ctypes.get_errno(), "x")
have = os.open("/", os.O_RDONLY)
forbid_calls(opening=False)
def tried(name, attempt):
    try:
        attempt()
    except OSError:
        print(name, "refused")
    else:
        print(name, "ALLOWED")
tried("read", lambda: os.open(sys.argv[2], os.O_RDONLY))
tried("read-at", lambda: os.open("etc/passwd", os.O_RDONLY, dir_fd=have))
tried("openat2", lambda: call(437, have, b"etc", ctypes.create_string_buffer(24), 24))
tried("write", lambda: os.open("/tmp/x", os.O_WRONLY | os.O_CREAT))
tried("run", lambda: os.execv("/bin/true", ["true"]))
tried("fork", os.fork)
tried("socket", lambda: socket.socket(socket.AF_INET))
tried("unix", lambda: socket.socket(socket.AF_UNIX))
tried("kill", lambda: os.kill(guard, 0))
tried("pidfd", lambda: os.pidfd_open(guard))
tried("trace", lambda: call(101, 16, guard, 0, 0))
tried("memory", lambda: call(310, guard, 0, 0, 0, 0, 0))
tried("unlink", lambda: os.unlink("/tmp/none-such"))
tried("chmod", lambda: os.chmod("/tmp", 0o777))
tried("mount", lambda: call(165, 0, 0, 0, 0, 0))
tried("unshare", lambda: call(272, 0x10000000))
tried("ring", lambda: call(425, 8, ctypes.create_string_buffer(120)))
tried("handle", lambda: call(304, have, ctypes.create_string_buffer(64), 0))
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are of x86_64")
def test_the_inner_half_can_open_start_and_reach_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BREAK_OUT, str(os.getppid()), __file__],
        capture_output=True,
        text=True,
        check=True,
    )
    answers = dict(line.split() for line in done.stdout.splitlines())
    assert len(answers) == 18
    # A descriptor of a process gives no right but to signal it, and signalling is refused.
    answers.pop("pidfd")
    assert set(answers.values()) == {"refused"}, answers


@needs_root
def test_the_inner_half_is_nobody_and_has_the_filter(tmp_path: Path) -> None:
    async def act() -> None:
        async with session_world(tmp_path) as world:
            session = await world.enter(TerminalScope(world.user))
            outer, inner = world.processes("session_main")
            status = dict(
                line.split(":\t", 1)
                for line in Path(f"/proc/{inner}/status").read_text().splitlines()
                if ":\t" in line
            )
            assert status["Uid"].split() == [str(SESSION_UID)] * 4
            assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
            assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
            held = {os.readlink(p) for p in Path(f"/proc/{inner}/fd").iterdir()}  # noqa: PTH115
            files = {name for name in held if name.startswith("/") and "/dev/" not in name}
            assert files <= {str(world.log), *(n for n in files if n.endswith(".rec"))}
            # The keys of the session stand in no argument and no environment.
            for pid in (outer, inner):
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
                words += Path(f"/proc/{pid}/environ").read_bytes()
                assert session.session.encode() not in words
            await session.leave()

    asyncio.run(act())


ATTEND = """
import os, socket, sys, time
from fleetward.device.access.attendant import Attendant
from fleetward.device.access.sandbox import Sandbox
from fleetward.device.privileges import adopt_orphans
from fleetward.trust.access import FilesScope, TcpScope
adopt_orphans()
guard, hatch = (socket.socket(fileno=int(n)) for n in sys.argv[1:3])
inner = os.fork()
if inner == 0:
    time.sleep(60)
    os._exit(0)
scopes = (TcpScope(int(sys.argv[3]), "raw"), FilesScope(sys.argv[4], "read", 1000))
Attendant((guard, hatch), inner, scopes, Sandbox("none", ())).run()
"""


@contextlib.contextmanager
def attended(port: int, folder: Path) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Have an attendant, and be the inner half that somebody broke into: guard's end, ours."""
    guard, theirs = make_pair()
    hatch, other = make_pair()
    with theirs, other, guard, hatch:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", ATTEND, str(theirs.fileno()), str(other.fileno())),
                *(str(port), str(folder)),
            ],
            pass_fds=[theirs.fileno(), other.fileno()],
        )
        theirs.close()
        other.close()
        guard.settimeout(10)
        hatch.settimeout(10)
        guard.recv(4096)
        try:
            yield guard, hatch
        finally:
            with contextlib.suppress(OSError):
                guard.send(encode(End("over")))
            process.wait(10)


def ask(hatch: socket.socket, ask: Ask) -> tuple[Given, list[int]]:
    """Ask for a stream and return the answer and descriptors."""
    assert say(hatch, ask)
    while True:
        data, passed, _, _ = socket.recv_fds(hatch, 65536, 1)
        word = read_to_session(data)
        if isinstance(word, Given):
            return word, list(passed)


def test_whoever_breaks_into_a_session_gets_its_scopes_and_no_more(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    (tmp_path / "plain").write_text("plain")
    with listener, attended(listener.getsockname()[1], tmp_path) as (_, hatch):
        given, passed = ask(hatch, Ask(1, 0, OpenStream()))
        assert given.good
        # Whatever is asked for beside the scope's port has no way to say so.
        reached = socket.socket(fileno=passed[0])
        assert reached.getpeername() == listener.getsockname()
        reached.close()
        for bad in (Ask(2, 2, OpenStream()), Ask(3, -1, OpenStream()), Ask(1, 0, OpenStream())):
            given, passed = ask(hatch, bad)
            assert not given.good
            assert not passed
        for path in ("../etc/passwd", "/etc/passwd", "..", "a/../../etc/passwd"):
            given, passed = ask(hatch, Ask(50, 1, OpenStream(verb="get", path=path)))
            assert given.good, given.words
            child = socket.socket(fileno=passed[0])
            child.settimeout(10)
            assert child.recv(65536).startswith(b"C")
            child.close()
            say(hatch, Drop(50))
            wait_for_exit(hatch)
        given, passed = ask(hatch, Ask(60, 1, OpenStream(verb="put", path="x", size=1)))
        child = socket.socket(fileno=passed[0])
        child.settimeout(10)
        assert b"read only" in child.recv(65536)
        child.close()
        assert not (tmp_path / "x").exists()


def wait_for_exit(hatch: socket.socket) -> None:
    """Wait until the attendant says that a child has ended."""
    while type(read_to_session(hatch.recv(65536))).__name__ != "Exited":
        continue


def test_an_attendant_ends_at_a_word_that_is_none(tmp_path: Path) -> None:
    with attended(1, tmp_path) as (guard, hatch):
        hatch.send(b'{"word":"ask","stream":1,"scope":0,"wanted":{"port":22}}')
        assert guard.recv(4096) == b"", "everything is over"


# --- tcp


def test_no_host_but_loopback_is_ever_dialled(tmp_path: Path) -> None:
    """A frame that opens a port carries no host; and a page may not name one."""

    async def act() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        async with session_world(tmp_path) as world:
            session = await world.enter(TcpScope(port, "raw"))
            bad = b'{"host":"10.0.0.1","port":22}'
            await session.say(Piece(Frame.OPEN, 0, 1, bad))
            await until(lambda: session.left is not None, "it ends")
            receipt = await world.receipt(session.session)
            assert receipt["ended_by"] == "failed"
        listener.close()

    asyncio.run(act())


@pytest.mark.parametrize(
    "pieces",
    [
        [Piece(Frame.OPEN, 1, 1, b"{}")],
        [Piece(Frame.OPEN, 7, 1, b"{}")],
        [Piece(Frame.DATA, 0, 5, b"x")],
        [Piece(Frame.OPEN, 0, 0, b"{}")],
        [Piece(Frame.OPEN, 0, 1, b"{}"), Piece(Frame.OPEN, 0, 1, b"{}")],
        [Piece(Frame.OPEN, 0, 1, b"{}"), Piece(Frame.CREDIT, 0, 1, b"\x7f\xff\xff\xff")],
        [Piece(Frame.READY, 0, 0, b"{}")],
        [Piece(Frame.OPEN, 0, 1, b"{}"), *[Piece(Frame.DATA, 0, 1, b"x" * 65536)] * 256],
    ],
    ids=["scope", "far scope", "stream", "zero", "twice", "credit", "ready", "window"],
)
def test_frames_beyond_the_grant_end_the_session(tmp_path: Path, pieces: list[Piece]) -> None:
    async def act() -> None:
        listener = socket.socket()
        # Whoever listens takes little, so that what is sent beyond the window stays there.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        async with session_world(tmp_path) as world:
            session = await world.enter(TcpScope(listener.getsockname()[1], "raw"))
            for piece in pieces:
                await session.say(piece)
            assert (await world.receipt(session.session))["ended_by"] == "failed"
            await until(lambda: session.left is not None, "the requester is told")
        listener.close()

    asyncio.run(act())


@pytest.mark.parametrize("lie", ["drop", "double", "swap", "change", "inject"])
def test_a_relay_that_touches_records_ends_the_session(tmp_path: Path, lie: str) -> None:
    async def act() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        async with session_world(tmp_path) as world:
            session = await world.enter(TcpScope(listener.getsockname()[1], "raw"))
            stream = await session.open(0)
            await relay(session, stream, lie)
            # A channel that was touched says nothing more; the machine's signed word remains.
            assert (await world.receipt(session.session))["ended_by"] == "failed"
        listener.close()

    asyncio.run(act())


async def relay(session: RequesterEnd, stream: StreamEnd, lie: str) -> None:
    records = [
        session.channel.seal(Piece(Frame.DATA, 0, stream.number, b"%d" % n).to_bytes())
        for n in range(3)
    ]
    changed = bytearray(records[0])
    changed[-1] ^= 1
    lies = {
        "drop": records[1:],
        "double": [records[0], records[0]],
        "swap": [records[1], records[0]],
        "change": [bytes(changed)],
        "inject": [os.urandom(50)],
    }
    for record in lies[lie]:
        await session.say_raw(record)


def test_a_signal_is_not_how_a_session_is_told_from_another(tmp_path: Path) -> None:
    """The user of a terminal cannot end, or look at, the session of another."""
    if os.geteuid() != 0:
        pytest.skip("needs root")

    async def act() -> None:
        async with session_world(tmp_path) as world:
            first = await world.enter(TerminalScope(world.user))
            second = await world.enter(TerminalScope(world.user))
            one, other = await first.open(0), await second.open(0)
            await run(other, "sleep 300 & sleep 0.1")
            await run(one, "kill -9 -1; sleep 0.2")
            assert "sleep 300" in await run(other, "jobs")
            assert signal.SIGKILL  # Nothing but the kernel's numbers was used here.

    asyncio.run(act())
