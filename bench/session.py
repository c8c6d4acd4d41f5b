"""A session over a real broker, sealed and recorded, beside OpenSSH on the same loopback.

    python bench/session.py [--seconds 4] [--keys 200] [--meshcentral FOLDER]

Workload: the agent as it runs (guard, uplink, a process for the session, the sandbox where there is
one), a broker with TLS 1.3 and client certificates, and this program as the requester with an end
of its own, in one thread. A keystroke is one line to `cat` on a terminal without echo, timed until
its answer is decrypted. Bulk output is `base64 /dev/zero`. The port is a program's own on loopback
that sends what it can. Opening is measured from handing over the grant to the prompt of a terminal;
stopping from handing over the stop to the receipt. Every byte of ours is in a recording first.

Beside it, **OpenSSH**: `sshd` of this computer on a port of its own with a key made for this run,
the same commands, `ssh -L` for the port. It records nothing. Without `sshd` that part is left out.

**MeshCentral**, when FOLDER holds what `npm install meshcentral` put there: see `meshcentral.py`.
Each is measured after the other in one run; on a computer that does other things, take ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.meshcentral import run_peer  # noqa: E402
from tests.requester_end import RequesterEnd, StreamEnd  # noqa: E402
from tests.session_world import SessionWorld, decode_hash, session_world  # noqa: E402
from tests.system.broker_world import free_port  # noqa: E402

from fleetward.trust.access import Scope, TcpScope, TerminalScope  # noqa: E402

BLOCK = b"x" * 262_144
OPENINGS = 5


@dataclass(frozen=True)
class Figures:
    """What was measured of one of the two."""

    p50_ms: float
    p95_ms: float
    output_mb: float
    port_mb: float


@contextlib.contextmanager
def sending_port() -> Iterator[int]:
    """Serve a loopback port below 9000 that sends what it can to whoever connects."""
    for port in range(8100, 8900):
        with contextlib.suppress(OSError):
            server = socket.create_server(("127.0.0.1", port))
            break

    def serve(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            while True:
                sock.sendall(BLOCK)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = server.accept()
                threading.Thread(target=serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield port
    finally:
        server.close()


def percentile(times: list[float], share: float) -> float:
    """Return a percentile in milliseconds."""
    return sorted(times)[int(len(times) * share)] * 1000


# --- ours


async def time_keys(session: RequesterEnd, shell: StreamEnd, count: int) -> list[float]:
    """Return how long so many lines took to come back."""
    await shell.type("stty -echo; PS1=; exec cat\n")
    await asyncio.sleep(0.5)
    shell.data.clear()
    arrived = asyncio.Event()
    session.on_data = lambda *_: arrived.set()
    times = []
    for number in range(count):
        arrived.clear()
        began = time.monotonic()
        await shell.type(f"{number}\n")
        await asyncio.wait_for(arrived.wait(), 5)
        times.append(time.monotonic() - began)
        await asyncio.sleep(0.01)
    session.on_data = None
    return times


async def drain(stream: StreamEnd, seconds: float) -> float:
    """Return the megabytes a second that come on a stream."""
    stream.keep = False
    before, began = stream.received, time.monotonic()
    await asyncio.sleep(seconds)
    return (stream.received - before) / (time.monotonic() - began) / 1e6


async def measure_ours(world: SessionWorld, keys: int, seconds: float, port: int) -> Figures:
    """Measure keystrokes, output and a port, in one session."""
    scopes: tuple[Scope, ...] = (TerminalScope(world.user), TcpScope(port, "raw"))
    session = await world.enter(*scopes)
    times = await time_keys(session, await session.open(0), keys)
    shell = await session.open(0)
    await shell.type("exec base64 /dev/zero\n")
    output = await drain(shell, seconds)
    await shell.close()
    await asyncio.sleep(0.5)
    forwarded = await drain(await session.open(1), seconds)
    await session.leave()
    return Figures(percentile(times, 0.5), percentile(times, 0.95), output, forwarded)


async def measure_openings(world: SessionWorld) -> tuple[list[float], list[float]]:
    """Return how long opening and stopping took, each time."""
    opened, stopped = [], []
    for _ in range(OPENINGS):
        request = world.make_request(TerminalScope(world.user))
        offer = await world.offered(request)
        await asyncio.sleep(1.0)
        grant = world.make_grant(request, offer)
        began = time.monotonic()
        await world.push(grant)
        keys = (world.access.session_private, offer.session_key)
        end = RequesterEnd(world.bus, world.device, decode_hash(grant), keys)
        shell = await (await end.begin()).open(0)
        opened.append(time.monotonic() - began)
        await shell.type("setsid nohup sleep 300 &\n")
        await asyncio.sleep(0.5)
        began = time.monotonic()
        await world.stop_session(end.session)
        await world.receipt(end.session)
        stopped.append(time.monotonic() - began)
    return opened, stopped


# --- OpenSSH


@contextlib.contextmanager
def ssh_server(folder: Path) -> Iterator[list[str]]:
    """Run sshd on loopback for this user; yield the words of a client."""
    for name in ("host", "user"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(words, check=True)
    allowed = folder / "allowed"
    allowed.write_text((folder / "user.pub").read_text())
    allowed.chmod(0o600)
    port = free_port()
    settings = {
        "Port": port, "ListenAddress": "127.0.0.1", "HostKey": folder / "host",
        "AuthorizedKeysFile": allowed, "PidFile": folder / "pid", "StrictModes": "no",
        "PermitRootLogin": "prohibit-password", "UsePAM": "no",
    }  # fmt: skip
    config = folder / "config"
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    Path("/run/sshd").mkdir(exist_ok=True)
    daemon = subprocess.Popen([str(shutil.which("sshd")), "-D", "-f", str(config)])
    try:
        time.sleep(1.0)
        options = ["StrictHostKeyChecking=no", f"UserKnownHostsFile={folder / 'known'}"]
        client = ["ssh", "-q", "-i", str(folder / "user"), "-p", str(port), "-F", "/dev/null"]
        client += [word for option in options for word in ("-o", option)]
        yield [*client, f"{getpass.getuser()}@127.0.0.1"]
    finally:
        daemon.terminate()
        daemon.wait(10)


@contextlib.asynccontextmanager
async def ssh(client: list[str], *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command through ssh."""
    process = await asyncio.create_subprocess_exec(
        *client[:-1], *words[:-1], client[-1], words[-1],
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def measure_ssh(client: list[str], keys: int, seconds: float, port: int) -> Figures:
    """Measure the same through OpenSSH."""
    times = []
    async with ssh(client, "-tt", "stty -echo; exec cat") as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        await asyncio.sleep(1.5)
        for number in range(keys):
            began = time.monotonic()
            shell.stdin.write(f"{number}\n".encode())
            await shell.stdout.readline()
            times.append(time.monotonic() - began)
            await asyncio.sleep(0.01)
    async with ssh(client, "-tt", "exec base64 /dev/zero") as bulk:
        assert bulk.stdout is not None
        await bulk.stdout.read(1)
        output = await read_for(bulk.stdout, seconds)
    local = free_port()
    async with ssh(client, "-N", "-L", f"{local}:127.0.0.1:{port}", "true"):
        await asyncio.sleep(1.5)
        reader, writer = await asyncio.open_connection("127.0.0.1", local)
        forwarded = await read_for(reader, seconds)
        writer.close()
    return Figures(percentile(times, 0.5), percentile(times, 0.95), output, forwarded)


async def read_for(reader: asyncio.StreamReader, seconds: float) -> float:
    """Return the megabytes a second that a reader gives."""
    taken, began = 0, time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        taken += len(await reader.read(1 << 20))
    return taken / passed / 1e6


# --- both


def tell(name: str, found: Figures) -> None:
    """Print a row."""
    print(
        f"{name:11} keystroke p50 {found.p50_ms:6.2f} ms  p95 {found.p95_ms:6.2f} ms   "
        f"output {found.output_mb:6.1f} MB/s   port {found.port_mb:6.1f} MB/s",
        flush=True,
    )


def measure_meshcentral(
    installed: Path, folder: Path, keys: int, seconds: float, port: int
) -> Figures:
    """Measure the same through MeshCentral."""
    home = folder / "meshcentral"
    home.mkdir()
    with run_peer(installed, home, free_port()) as peer:
        times, output, forwarded = peer.measure(home, keys, seconds, port)
    seconds_each = [one / 1000 for one in times]
    return Figures(
        percentile(seconds_each, 0.5), percentile(seconds_each, 0.95), output / 1e6, forwarded / 1e6
    )


async def run(keys: int, seconds: float, meshcentral: Path | None) -> None:
    """Measure all and print."""
    with tempfile.TemporaryDirectory() as name, sending_port() as port:
        folder = Path(name)
        async with session_world(folder) as world:
            await asyncio.sleep(1.0)
            ours = await measure_ours(world, keys, seconds, port)
            opened, stopped = await measure_openings(world)
        tell("Fleetward", ours)
        print(
            f"           grant to prompt: median {statistics.median(opened) * 1000:.0f} ms, worst "
            f"{max(opened) * 1000:.0f} ms (goal 300); stop to receipt, nothing left: median "
            f"{statistics.median(stopped) * 1000:.0f} ms, worst {max(stopped) * 1000:.0f} ms "
            "(goal 1000)"
        )
        if meshcentral is None:
            print("MeshCentral not measured: name a folder with --meshcentral")
        else:
            theirs = measure_meshcentral(meshcentral, folder, keys, seconds, port)
            tell("MeshCentral", theirs)
            compare("MeshCentral", ours, theirs)
        if shutil.which("sshd") is None:
            print("OpenSSH    not measured: there is no sshd on this computer")
            return
        with ssh_server(folder) as client:
            theirs = await measure_ssh(client, keys, seconds, port)
        tell("OpenSSH", theirs)
        compare("OpenSSH", ours, theirs)


def compare(name: str, ours: Figures, theirs: Figures) -> None:
    """Print what ours is to theirs."""
    print(
        f"ratio to {name}: keystroke p50 {ours.p50_ms / theirs.p50_ms:.1f}, output "
        f"{ours.output_mb / theirs.output_mb:.2f}, port {ours.port_mb / theirs.port_mb:.2f}"
    )


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--meshcentral", type=Path)
    options = parser.parse_args()
    asyncio.run(run(options.keys, options.seconds, options.meshcentral))


if __name__ == "__main__":
    main()
