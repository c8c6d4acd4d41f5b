"""Evidence taken in, per CPU second of every server process (control plane and broker together).

    python bench/intake.py [--machines 100]

Workload: a whole control plane on loopback with SQLite (WAL, synchronous=FULL) and its broker. Each
machine joined by an invitation and has its own TLS 1.3 connection with a client certificate; it
greets, and then sends its journal in order, one batch after the other, each waiting for its
receipt. All batches were signed before by the machine's P-256 identity key. Of 20 entries 19 are
refusals and starts of some 200 bytes, one is a change of posture, which is also shown on pages.
The load generator is a process of its own, whose CPU is not counted. A receipt comes when the
batch was verified, committed with fsync to events and ledger, and read by posture.

Beside it, **raw**: the same broker with the same connections, a responder that does nothing but
insert the very same bytes, unverified, in groups of one commit, and answers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import signal
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.system.broker_world import OpenJudge, broker_world  # noqa: E402
from tests.trust_world import Machine  # noqa: E402

from fleetward.runtime.broker import Account  # noqa: E402
from fleetward.runtime.bus import (  # noqa: E402
    Bus,
    BusEndpoint,
    BusProblem,
    DeviceProfile,
    connect_bus,
    serve_devices,
)
from fleetward.runtime.keys import FileSigner, from_pkcs8, make_key, to_pkcs8  # noqa: E402
from fleetward.trust.canonical import from_base64url, to_base64url  # noqa: E402
from fleetward.trust.envelope import read_envelope  # noqa: E402
from fleetward.trust.invitation import JoinString, read_join_string, split_address  # noqa: E402
from fleetward.trust.keys import ES256  # noqa: E402
from fleetward.wire.identity import JOIN_PATH  # noqa: E402
from fleetward.wire.subjects import Up, up  # noqa: E402

BIN = Path(sys.executable).parent
TICKS = os.sysconf("SC_CLK_TCK")
ANSWER_SECONDS = 60.0
TARGETS = {100: 8000, 1: 1500}


@dataclass(frozen=True)
class Peer:
    """How one machine connects, and the file of what it says."""

    device: str
    host: str
    port: int
    ca: str
    certificate: str
    key: str
    batches: str
    greeting: str


def write_entries(machine: Machine, count: int) -> None:
    """Append journal entries of the workload."""
    for _ in range(count):
        number = len(machine.entries)
        if number % 20 == 0:
            machine.write(
                "posture.changed",
                {
                    "after": "0.0.0.0:8023",
                    "before": "",
                    "key": f"tcp:{number}",
                    "severity": "warning",
                    "what": "socket",
                    "words": f"Port {number} was opened by busybox, reachable from the LAN.",
                },
            )
        else:
            machine.write(
                "gate.refused",
                {
                    "reason": "too_few_signatures",
                    "what": "policy",
                    "words": f"A policy signed by nobody that this machine's owner named: {number}",
                },
            )


def cut_batches(machine: Machine, batches: int, size: int, path: Path) -> int:
    """Write the machine's next batches, signed, to a file; return their bytes."""
    total = 0
    with path.open("wb") as file:
        for _ in range(batches):
            write_entries(machine, size)
            batch = machine.cut()
            file.write(len(batch).to_bytes(4, "big") + batch)
            total += len(batch)
    return total


def read_batches(path: str) -> list[bytes]:
    data, batches = Path(path).read_bytes(), []
    while data:
        size = int.from_bytes(data[:4], "big")
        batches.append(data[4 : 4 + size])
        data = data[4 + size :]
    return batches


# --- The load: a process of its own ---------------------------------------------------------------


async def send_all(peer: Peer, bus: Bus, batches: list[bytes], go: asyncio.Event) -> int:
    await go.wait()
    subject = up(peer.device, Up.BATCH)
    for batch in batches:
        answer = json.loads(await bus.request(subject, batch, timeout_seconds=ANSWER_SECONDS))
        if answer["type"] != "receipt":
            raise SystemExit(f"refused: {answer}")
    return len(batches)


async def generate(peers: list[Peer]) -> None:
    """Connect and greet, say so, wait for a line, send, say so."""
    buses: list[Bus] = []
    for peer in peers:
        endpoint = BusEndpoint(
            peer.host, peer.port, Path(peer.ca).read_text(), Path(peer.certificate), Path(peer.key)
        )
        bus = await connect_bus(endpoint, DeviceProfile(peer.device), on_problem=tell)
        buses.append(bus)
        if peer.greeting:
            said = await bus.request(up(peer.device, Up.NONCE), b"", timeout_seconds=10)
            machine = Machine(
                "",
                Path(peer.greeting).with_suffix(".owner").read_text(),
                from_pkcs8(Path(peer.greeting).read_bytes()),
            )
            hello = machine.hello(from_base64url(json.loads(said)["nonce"]))
            said = await bus.request(up(peer.device, Up.HELLO), hello, timeout_seconds=10)
            assert json.loads(said)["type"] == "hello", said
    work = [read_batches(peer.batches) for peer in peers]
    go = asyncio.Event()
    tasks = [
        asyncio.create_task(send_all(peer, bus, batches, go))
        for peer, bus, batches in zip(peers, buses, work, strict=True)
    ]
    await asyncio.sleep(0)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    go.set()
    await asyncio.gather(*tasks)
    print("done", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for bus in buses:
        await bus.close()


def tell(problem: BusProblem) -> None:
    print(f"{problem.kind}: {problem.words}", file=sys.stderr)


# --- The control plane ----------------------------------------------------------------------------


def fleetward(*words: str | Path) -> str:
    done = subprocess.run(
        [BIN / "fleetward", *map(str, words)],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.stdout


@contextlib.contextmanager
def control_plane(folder: Path, machines: int) -> Iterator[tuple[list[int], JoinString, Path]]:
    """Start a control plane with an owner; yield its pids, a join string and its folder."""
    data, passphrase = folder / "data", folder / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text("a passphrase of the bench")
    keys = ("--data", data, "--passphrase-file", passphrase)
    fleetward("up", "--data", data, "--detach")
    try:
        owner = folder / "owner"
        fleetward("owner", "init", "--name", "Bench", "--person", "Ada", "--out", owner, *keys)
        invited = fleetward(
            "owner", "invite", "--site", "Bench", "--uses", str(machines), "--ttl", "3600",
            "--preapproved", "--json", "--owner", owner, *keys,
        )  # fmt: skip
        ready = json.loads((data / "run" / "ready.json").read_text())
        join = read_join_string(json.loads(invited)["join"])
        yield [ready["pid"], ready["broker_pid"]], join, data
    finally:
        fleetward("down", "--data", data)


def let_in(join: JoinString, data: Path, folder: Path, number: int) -> tuple[Machine, Peer]:
    """Join one machine by HTTPS, as the agent does; return it and how it connects."""
    machine = Machine(f"bench {number}", join.owner, make_key(ES256))
    kept: list[Any] = []

    def keep(suite: str, _: str) -> Any:
        kept.append(make_key(suite))
        return kept[-1]

    machine.new_key = keep
    ca = data / "server" / "ca" / "server-ca.pem"
    host, port = split_address(join.enrol_addresses[0])
    context = ssl.create_default_context(cafile=ca)
    connection = http.client.HTTPSConnection(host, port, context=context, timeout=30)
    statement = machine.join(read_envelope(join.invitation).hash)
    body = {"statement": to_base64url(statement), "invitation": to_base64url(join.invitation)}
    connection.request("POST", JOIN_PATH, json.dumps(body), {"Content-Type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    certificate, key = folder / f"{number}.crt", folder / f"{number}.key"
    certificate.write_text(answer["certificate"])
    key.write_bytes(to_pkcs8(kept[-1]))
    identity = folder / f"{number}.identity"
    signer = machine.identity
    assert isinstance(signer, FileSigner)
    identity.write_bytes(to_pkcs8(signer))
    identity.with_suffix(".owner").write_text(join.owner)
    bus_host, bus_port = split_address(join.bus_addresses[0])
    return machine, Peer(
        machine.device, bus_host, bus_port, str(ca), str(certificate), str(key), "", str(identity)
    )


# --- Raw: the same bytes, unverified --------------------------------------------------------------


class RawStore:
    """Inserts lines in groups of one commit; nothing is looked at."""

    def __init__(self, path: Path) -> None:
        self.conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.conn.execute("PRAGMA journal_mode=WAL")
        self.conn.execute("PRAGMA synchronous=FULL")
        self.conn.execute("CREATE TABLE e (device TEXT, n INTEGER, body BLOB)")
        self.waiting: list[tuple[str, bytes, asyncio.Future[bytes]]] = []
        self.draining: asyncio.Task[None] | None = None

    async def handle(self, device: str, word: Up, payload: bytes) -> bytes | None:
        del word
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.waiting.append((device, payload, future))
        if self.draining is None or self.draining.done():
            self.draining = asyncio.create_task(self.drain())
        return await future

    async def drain(self) -> None:
        while self.waiting:
            group, self.waiting = self.waiting, []
            await asyncio.to_thread(self.insert, group)
            for _, _, future in group:
                future.set_result(b'{"type":"receipt"}')

    def insert(self, group: list[tuple[str, bytes, asyncio.Future[bytes]]]) -> None:
        rows = [(d, n, line) for d, p, _ in group for n, line in enumerate(p.split(b"\n"))]
        self.conn.execute("BEGIN IMMEDIATE")
        self.conn.executemany("INSERT INTO e VALUES (?, ?, ?)", rows)
        self.conn.execute("COMMIT")


async def serve_raw(folder: Path, peers: list[Peer]) -> None:
    """Serve until a line comes; the certificates of `peers` are made here."""
    async with broker_world(folder / "raw") as world:
        store = RawStore(folder / "raw.db")
        bus = await world.connect_internal(Account.DEVICES)
        await serve_devices(bus, store.handle, concurrency=256, on_problem=tell)
        await world.start_callout(OpenJudge())
        made = []
        for peer in peers:
            device = world.make_device(device_id=peer.device)
            ca = folder / "raw-ca.pem"
            ca.write_text(world.server_ca_pem)
            made.append(
                Peer(
                    peer.device, "127.0.0.1", world.port, str(ca),
                    str(device.endpoint.certificate_file), str(device.endpoint.key_file),
                    peer.batches, "",
                )
            )  # fmt: skip
        (folder / "raw.json").write_text(json.dumps([asdict(p) for p in made]))
        print(json.dumps([os.getpid(), world.broker.pid]), flush=True)
        await asyncio.to_thread(sys.stdin.readline)


# --- Measuring ------------------------------------------------------------------------------------


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def start(role: str, folder: Path, peers: list[Peer]) -> subprocess.Popen[str]:
    plan = folder / f"{role}-plan.json"
    plan.write_text(json.dumps([asdict(p) for p in peers]))
    return subprocess.Popen(
        [sys.executable, __file__, "--role", role, "--plan", str(plan)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def expect(child: subprocess.Popen[str], word: str) -> str:
    assert child.stdout is not None
    line = child.stdout.readline().strip()
    if word and line != word:
        raise SystemExit(f"expected {word!r}, got {line!r}")
    return line


def tell_child(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def measure(folder: Path, pids: list[int], peers: list[Peer], events: int) -> tuple[float, float]:
    """Send everything; return events per CPU second and per second."""
    load = start("load", folder, peers)
    try:
        expect(load, "ready")
        before = [cpu_seconds(pid) for pid in pids]
        began = time.monotonic()
        tell_child(load)
        expect(load, "done")
        seconds = time.monotonic() - began
        spent = [cpu_seconds(pid) - b for pid, b in zip(pids, before, strict=True)]
        tell_child(load)
        load.wait(30)
    finally:
        if load.poll() is None:
            load.send_signal(signal.SIGTERM)
    print(
        f"    {events} events in {seconds:.1f} s; CPU: server {spent[0]:.2f} s, "
        f"broker {spent[1]:.2f} s"
    )
    return events / sum(spent), events / seconds


def run_bench(machines: int) -> bool:
    """Run all and return whether the targets were met."""
    met = True
    with (
        tempfile.TemporaryDirectory(prefix="fwbench") as name,
        control_plane(Path(name), machines) as (pids, join, data),
    ):
        folder = Path(name)
        made = [let_in(join, data, folder, number) for number in range(machines)]
        for size, batches in ((100, 10), (1, 60)):
            print(f"batches of {size}: {machines} machines, {batches} batches each")
            peers, sent = [], 0
            for number, (machine, peer) in enumerate(made):
                path = folder / f"{number}-{size}.batches"
                sent += cut_batches(machine, batches, size, path)
                peers.append(Peer(**{**asdict(peer), "batches": str(path)}))
            events = machines * batches * size
            print(f"    {sent / 1e6:.1f} MB prepared and signed")
            verified, rate = measure(folder, pids, peers, events)
            raw_server = start("raw", folder, peers)
            raw_pids = json.loads(expect(raw_server, ""))
            raw_peers = [Peer(**p) for p in json.loads((folder / "raw.json").read_text())]
            raw, raw_rate = measure(folder, raw_pids, raw_peers, events)
            tell_child(raw_server)
            raw_server.wait(30)
            (folder / "raw.db").unlink()
            target = TARGETS[size]
            met &= verified >= target
            said = "met" if verified >= target else "MISSED"
            print(
                f"  verified, committed, acknowledged: {verified:,.0f} events a CPU second "
                f"({rate:,.0f} a second); target {target:,}: {said}\n"
                f"  raw, unverified:                   {raw:,.0f} events a CPU second "
                f"({raw_rate:,.0f} a second); ratio {raw / verified:.1f}"
            )
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=100)
    parser.add_argument("--role", choices=("bench", "load", "raw"), default="bench")
    parser.add_argument("--plan", type=Path)
    arguments = parser.parse_args()
    if arguments.role == "bench":
        return 0 if run_bench(arguments.machines) else 1
    peers = [Peer(**p) for p in json.loads(arguments.plan.read_text())]
    if arguments.role == "load":
        asyncio.run(generate(peers))
    else:
        asyncio.run(serve_raw(arguments.plan.parent, peers))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
