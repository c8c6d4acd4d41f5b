"""One session's own process: keystrokes, terminal output, and a port, sealed and recorded.

    python bench/session_process.py [--seconds 5]

Workload: the process of a session as the agent starts it, without broker and server; this program
is guard and requester at once, on the other ends of its sockets, in one thread. Every record is
HPKE-keyed AES-256-GCM, and in the recording's file before it goes on. A keystroke is one byte to
`cat` on a terminal, timed until its echo is decrypted. Terminal output is `base64 /dev/zero`. The
port is this program's own, on loopback, and says back what it hears or sends what it can.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from fleetward.device.access.words import OpenOrder, Probe, Probed, encode, make_pair, read_upward
from fleetward.runtime.channel import make_session_key, open_as_requester
from fleetward.runtime.keys import make_key
from fleetward.trust import canonical
from fleetward.trust.access import RootScope, Scope, TcpScope, TerminalScope
from fleetward.trust.canonical import to_base64url
from fleetward.trust.keys import ES256
from fleetward.wire.access import WINDOW_BYTES, Frame, OpenStream, Piece, read_piece

SESSION = "ab" * 32
MODULE = "fleetward.device.access.session_main"


def start() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a process of a session; return it and guard's end."""
    ours, theirs = make_pair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", MODULE, "--guard", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
        )
    return process, ours


def find_sandbox() -> str:
    """Have the sandbox tried, as guard does."""
    process, guard = start()
    guard.send(encode(Probe(())))
    word = read_upward(guard.recv(65536))
    process.wait()
    guard.close()
    assert isinstance(word, Probed)
    return word.sandbox


class Requester:
    """The other end of a session, in one thread."""

    def __init__(self, *scopes: Scope, sandbox: str, folder: Path) -> None:
        machine_private, machine_public = make_session_key()
        private, public = make_session_key()
        recording_key = make_key(ES256).public
        order = OpenOrder(
            owner="cd" * 32,
            device="a" * 32,
            session=SESSION,
            scopes=canonical.encode([scope.to_json() for scope in scopes]).decode(),
            machine_private=machine_private,
            requester_key=public,
            recording_key=f"{ES256}:{to_base64url(recording_key.spki)}",
            started_at_ms=0,
            seconds_left=600,
            sandbox=sandbox,
            hidden=(),
        )
        self.recording = folder / "recording"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC
        descriptor = os.open(self.recording, flags, 0o600)
        self.bus, theirs = make_pair()
        self.process, self.guard = start()
        # Guard starts it when somebody asks; it waits for the owner's yes.
        time.sleep(2.0)
        began = time.perf_counter()
        socket.send_fds(self.guard, [encode(order)], [theirs.fileno(), descriptor])
        theirs.close()
        os.close(descriptor)
        enc, self.channel = open_as_requester(private, machine_public, SESSION)
        self.bus.send(enc)
        assert self.take().kind is Frame.READY
        self.open_seconds = time.perf_counter() - began

    def take(self) -> Piece:
        """Take the next frame."""
        return read_piece(self.channel.open(self.bus.recv(70_000)))

    def say(self, kind: Frame, scope: int, stream: int, data: bytes = b"") -> None:
        """Send a frame."""
        self.bus.send(self.channel.seal(Piece(kind, scope, stream, data).to_bytes()))

    def open(self, scope: int, stream: int) -> None:
        """Open a stream."""
        import msgspec

        self.say(Frame.OPEN, scope, stream, msgspec.json.encode(OpenStream()))
        piece = self.take()
        while piece.kind is not Frame.READY:
            if piece.kind is Frame.CLOSE:
                raise SystemExit(piece.data.decode())
            piece = self.take()

    def drain(self, stream: int, scope: int, seconds: float) -> float:
        """Take data for so long, giving credit; return bytes a second."""
        unreturned = taken = 0
        began = time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            piece = self.take()
            if piece.kind is Frame.DATA and piece.stream == stream:
                taken += len(piece.data)
                unreturned += len(piece.data)
                if unreturned >= WINDOW_BYTES // 2:
                    self.say(Frame.CREDIT, scope, stream, unreturned.to_bytes(4, "big"))
                    unreturned = 0
        return taken / passed

    def pss_kib(self) -> int:
        """Return the memory of both of its processes."""
        pids = [self.process.pid]
        pids += map(int, Path(f"/proc/{pids[0]}/task/{pids[0]}/children").read_text().split())
        total = 0
        for pid in pids:
            if b"session_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    total += int(line.split()[1]) if line.startswith("Pss:") else 0
        return total

    def close(self) -> None:
        """End it."""
        self.guard.close()
        self.bus.close()
        self.process.wait(10)


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and its children's, the running ones too."""
    total = 0.0
    for one in [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]:
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(fields[i]) for i in (11, 12)) / os.sysconf("SC_CLK_TCK")
    return total


def time_keystrokes(session: Requester, count: int) -> tuple[float, float, float]:
    """Return the median, the 95th percentile and the worst of so many echoes, in milliseconds."""
    session.open(0, 1)
    session.say(Frame.DATA, 0, 1, b"stty -echo; exec cat\n")
    settle(session, 1.0)
    session.say(Frame.DATA, 0, 1, b"stty\n")
    settle(session, 0.3)
    times = []
    for number in range(count):
        began = time.perf_counter()
        session.say(Frame.DATA, 0, 1, b"%c\n" % (97 + number % 26))
        while session.take().kind is not Frame.DATA:
            continue
        times.append((time.perf_counter() - began) * 1000)
        time.sleep(0.002)
    times.sort()
    return times[len(times) // 2], times[int(len(times) * 0.95)], times[-1]


def settle(session: Requester, seconds: float) -> None:
    """Take what comes until it is quiet."""
    while select.select([session.bus], [], [], seconds)[0]:
        session.take()


def time_output(session: Requester, seconds: float) -> float:
    """Return the bytes a second of a terminal that shows what it can."""
    session.open(0, 2)
    session.say(Frame.DATA, 0, 2, b"exec base64 /dev/zero\n")
    return session.drain(2, 0, seconds)


def serve_port(kind: str) -> int:
    """Serve one connection: send what fits, or take what comes."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        sock, _ = server.accept()
        block = b"x" * 262144
        try:
            while True:
                if kind == "send":
                    sock.sendall(block)
                elif not sock.recv(262144):
                    return
        except OSError:
            return

    threading.Thread(target=serve, daemon=True).start()
    port: int = server.getsockname()[1]
    return port


def time_upload(session: Requester, stream: int, scope: int, seconds: float) -> float:
    """Return the bytes a second that a port takes."""
    session.open(scope, stream)
    credit, sent = WINDOW_BYTES, 0
    block = b"y" * 65536
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        while credit >= len(block):
            session.say(Frame.DATA, scope, stream, block)
            credit -= len(block)
            sent += len(block)
        piece = session.take()
        if piece.kind is Frame.CREDIT:
            credit += int.from_bytes(piece.data, "big")
    return sent / passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds: float = parser.parse_args().seconds
    sandbox = find_sandbox()
    import pwd

    user = pwd.getpwuid(os.geteuid()).pw_name
    shell: Scope = RootScope() if os.geteuid() == 0 else TerminalScope(user)
    sending, taking = serve_port("send"), serve_port("take")
    figures: dict[str, object] = {"sandbox": sandbox}
    with tempfile.TemporaryDirectory() as folder:
        session = Requester(
            shell,
            TcpScope(sending, "raw"),
            TcpScope(taking, "raw"),
            sandbox=sandbox,
            folder=Path(folder),
        )
        figures["order to open channel, ms"] = round(session.open_seconds * 1000, 1)
        p50, p95, worst = time_keystrokes(session, 1000)
        figures["keystroke ms p50, p95, worst"] = [round(t, 3) for t in (p50, p95, worst)]
        figures["memory KiB, two processes"] = session.pss_kib()
        before, wall = cpu_seconds(session.process.pid), time.perf_counter()
        figures["terminal output MB/s"] = round(time_output(session, seconds) / 1e6, 1)
        used = (cpu_seconds(session.process.pid) - before) / (time.perf_counter() - wall)
        figures["its share of a processor meanwhile"] = round(used, 2)
        session.close()
        for name, run in (("from", 1), ("to", 2)):
            session = Requester(
                shell,
                TcpScope(sending if run == 1 else taking, "raw"),
                sandbox=sandbox,
                folder=Path(folder),
            )
            if run == 1:
                session.open(1, 1)
                rate = session.drain(1, 1, seconds)
            else:
                rate = time_upload(session, 1, 1, seconds)
            figures[f"port, {name} the machine, MB/s"] = round(rate / 1e6, 1)
            session.close()
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
