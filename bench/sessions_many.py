"""Many sessions at once: what they cost the server, its CPU on one core and its memory.

    python bench/sessions_many.py [--sessions 500] [--keys 1.0] [--output 1024] [--seconds 60]

Workload: a control plane as `fleetward up` starts it, its server and its broker held to one core
by their affinity. This program, on the other cores, is the machines and the technicians: for each
session a simulated machine with the real guard, journal and uplink and a connection of its own,
and a technician with the real asking, the owner's real grant, a certificate of that session, a
connection of his own and the real sealed channel. In the place of the two processes of a session
stands an echo in this program, which seals a recording as they do; the machine hands it over. Each
technician types so many keys a second, and for each the machine shows so many bytes.

CPU is user and system time over the measured seconds. Memory is PSS; memory a session is what
every process of the control plane grew by from the settled fleet without sessions to all of them
open, divided by them. The keystroke's time holds both ends' work in this one busy process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import random
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.fleet import cpu_seconds, find_processes, fleetward, invite, pss_kib  # noqa: E402

from fleetward.demo.load import Crowd, Load, raise_file_limit  # noqa: E402
from fleetward.device.access.words import (  # noqa: E402
    End,
    OpenOrder,
    Probe,
    Probed,
    Pulse,
    Started,
    encode,
    make_pair,
    read_downward,
)
from fleetward.device.guard_core import Seat  # noqa: E402
from fleetward.keyholder.access.answering import (  # noqa: E402
    Answer,
    prepare_grant,
    read_question,
    sign_grant,
)
from fleetward.keyholder.access.asking import Wait, ask  # noqa: E402
from fleetward.keyholder.access.connecting import open_session  # noqa: E402
from fleetward.keyholder.access.judging import Case, Judge  # noqa: E402
from fleetward.keyholder.access.learning import Learned  # noqa: E402
from fleetward.keyholder.access.requester_folder import RequesterFolder  # noqa: E402
from fleetward.keyholder.access.server_rows import AccessApi  # noqa: E402
from fleetward.keyholder.desk import Desk  # noqa: E402
from fleetward.keyholder.hand import hand_over, reach_server  # noqa: E402
from fleetward.keyholder.passphrase import read_passphrase_file  # noqa: E402
from fleetward.keyholder.pending import (  # noqa: E402
    Confirmation,
    confirm_machine,
    fetch_pending,
    words_of,
)
from fleetward.runtime.channel import ENC_BYTES, open_as_machine  # noqa: E402
from fleetward.runtime.clock import SystemClock  # noqa: E402
from fleetward.runtime.recording import Sealer  # noqa: E402
from fleetward.trust.access import TerminalScope  # noqa: E402
from fleetward.trust.errors import FleetwardError  # noqa: E402
from fleetward.trust.grants.request import Wish  # noqa: E402
from fleetward.trust.invitation import read_join_string  # noqa: E402
from fleetward.wire.access import WINDOW_BYTES, Frame, OpenStream, Piece, read_piece  # noqa: E402

SECONDS = 3600
AT_ONCE = 8
WAIT_SECONDS = 600.0


class EchoDoors:
    """Starts a thread in the place of the processes of a session."""

    def __init__(self, output: int) -> None:
        self._output = output

    def check(self, scope: object) -> None:
        """Everything can be done here."""

    def start(self) -> socket.socket:
        """Return guard's end."""
        ours, theirs = make_pair()
        threading.Thread(target=self._be, args=(theirs,), daemon=True).start()
        return ours

    def _be(self, guard: socket.socket) -> None:
        with guard, contextlib.suppress(OSError):
            data, descriptors, _, _ = socket.recv_fds(guard, 65_536, 2)
            if not data:
                return
            word = read_downward(data)
            if isinstance(word, Probe):
                guard.send(encode(Probed("bubblewrap", "")))
            elif isinstance(word, OpenOrder):
                bus, recording = descriptors
                with socket.socket(fileno=bus) as channel, os.fdopen(recording, "wb", 0) as file:
                    self._echo(guard, channel, file, word)

    def _echo(self, guard: socket.socket, bus: socket.socket, file: Any, order: OpenOrder) -> None:
        guard.send(encode(Started(os.getpid())))
        sealer = Sealer(order.owner, order.device, order.session, order.recording_key, 0)
        file.write(sealer.header)
        channel, moved = None, 0
        while record := bus.recv(70_000):
            if channel is None:
                channel = open_as_machine(
                    order.machine_private, order.requester_key, record, order.session
                )
                said = msgspec.json.encode({"session": order.session})
                bus.send(channel.seal(Piece(Frame.READY, 0, 0, said).to_bytes()))
                continue
            if len(record) == ENC_BYTES:
                continue
            piece = read_piece(channel.open(record))
            if piece.kind is Frame.LEAVE:
                return
            kind = Frame.READY if piece.kind is Frame.OPEN else Frame.DATA
            shown = b"{}" if kind is Frame.READY else piece.data[:8] + b"x" * (self._output - 8)
            file.write(sealer.seal(shown))
            bus.send(channel.seal(Piece(kind, piece.scope, piece.stream, shown).to_bytes()))
            moved += len(shown)
            guard.send(encode(Pulse(active=True, bytes_in=moved, bytes_out=moved)))
        with contextlib.suppress(OSError):
            guard.setblocking(False)
            if data := guard.recv(65_536):
                assert isinstance(read_downward(data), End)


@dataclasses.dataclass
class Wished:
    """What was asked for on the command line."""

    sessions: int
    keys: float
    output: int
    seconds: float


@contextlib.contextmanager
def one_core(pids: list[int]) -> Iterator[None]:
    """Hold these processes, and every thread of theirs, to the first core; us to the others."""
    cores = sorted(os.sched_getaffinity(0))
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), cores[:1])
    os.sched_setaffinity(0, cores[1:] or cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def prepare(data: Path, folder: Path, machines: int) -> tuple[str, Desk, RequesterFolder]:
    """Make an owner, a technician whom he lets ask, and a join string."""
    join = invite(data, folder, machines)
    secret = ("--passphrase-file", str(folder / "passphrase"))
    owner, tom = str(folder / "owner"), str(folder / "tom")
    here = ("--owner", owner, "--data", str(data), *secret)
    desk = Desk.open(Path(owner), folder / "passphrase", SystemClock())
    root = desk.documents().owner
    made = json.loads(
        fleetward("requester", "init", "--person", "Tom", "--owner-root", root, "--out", tom,
                  "--data", str(data), *secret, "--json")
    )  # fmt: skip
    fleetward("owner", "policy", "requester", "add", "--person", "Tom", "--key", made["key"], *here)
    fleetward("owner", "policy", "access", "allow", "terminal", "app", "--for", "60m", *here)
    return join, desk, RequesterFolder.open(Path(tom))


def confirm_all(data: Path, desk: Desk) -> None:
    """Put every machine that waits on the roster, in one signature of each document."""
    client = reach_server(desk.folder, data, "", None)
    documents = desk.documents()
    for machine in fetch_pending(client):
        said = Confirmation(machine.id, words_of(documents.owner, machine), "", "")
        documents = confirm_machine(desk, [machine], said)
    hand_over(desk.folder, client, documents)


def ask_and_grant(
    desk: Desk, owner_api: AccessApi, tom: RequesterFolder, learned: Learned, device: str
) -> Case:
    """Ask for a terminal on one machine, have it granted, and return the case."""
    api = AccessApi(tom.client())
    secret = read_passphrase_file(desk.folder.path.parent / "passphrase")
    wish = Wish(device, (TerminalScope("app"),), SECONDS, "a measurement")
    request = ask(tom, api, learned, wish, (tom.signer(secret), SystemClock().wall_ms()))
    wait = Wait(tom, api, request.hash)
    deadline = time.monotonic() + WAIT_SECONDS
    while wait.look()[0].offer is None:
        if time.monotonic() > deadline:
            raise SystemExit("a machine did not offer")
        time.sleep(0.2)
    documents = desk.documents()
    judge = Judge(documents.policies, documents.entries)
    question = read_question(judge, owner_api.papers(request.hash), SystemClock().wall_ms())
    prepared = prepare_grant(question, Answer(idle_seconds=SECONDS), SystemClock().wall_ms())
    owner_api.hand(request.hash, "grant", sign_grant(prepared, [desk.signer("approver")]))
    return wait.until_granted(lambda _: None)


class Technicians:
    """All technicians at once: connect, type, hear."""

    def __init__(self, wish: Wished) -> None:
        self._wish = wish
        self.times: list[float] = []
        self.open = 0
        self.ended: list[str] = []
        self.typing = asyncio.Event()
        self._coming = asyncio.Semaphore(AT_ONCE)

    async def work(self, tom: RequesterFolder, signer: Any, case: Case) -> None:
        """Be one technician until cancelled."""
        try:
            kept = tom.kept(case.request.hash)
            async with contextlib.AsyncExitStack() as stack:
                # All technicians and machines share one process here, which has to keep up.
                async with self._coming:
                    link = await stack.enter_async_context(
                        open_session(AccessApi(tom.client()), case, signer, kept.private)
                    )
                    await link.open()
                    stream = await link.open_stream(0, OpenStream())
                    await stream.wait_ready()
                self.open += 1
                await self.typing.wait()
                await asyncio.sleep(random.random() / self._wish.keys)
                while True:
                    began = time.monotonic()
                    await stream.send(b"k" * 8)
                    taken = 0
                    while taken < self._wish.output:
                        taken += len(await stream.receive())
                    self.times.append(time.monotonic() - began)
                    await asyncio.sleep(max(0.0, 1 / self._wish.keys - (time.monotonic() - began)))
        except FleetwardError as e:
            self.ended.append(e.message)


class Machines(Crowd):
    """Simulated machines that open sessions of the echo, and give guard its turns meanwhile."""

    doors: EchoDoors

    def make_seat(self, spread: float) -> Seat:
        """Return the seat of a simulated machine, with doors."""
        return dataclasses.replace(super().make_seat(spread), doors=self.doors)

    async def _tick(self, core: Any) -> None:
        while True:
            await asyncio.sleep(max(1.0, core.tick() / 1000))


async def wait_for(what: str, ready: Any) -> None:
    """Wait, or give up."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain: {what}")
        await asyncio.sleep(0.5)


async def measure(data: Path, folder: Path, wish: Wished) -> None:
    """Bring the machines up, measure at rest, open all sessions, measure again, print."""
    processes = find_processes(json.loads((data / "run/ready.json").read_text())["pid"])
    join, desk, tom = prepare(data, folder, wish.sessions)
    crowd = Machines(
        Load(wish.sessions, read_join_string(join), folder / "machines", kept=False), print
    )
    crowd.doors = EchoDoors(wish.output)
    stop = asyncio.Event()
    with one_core(list(processes.values())):
        running = asyncio.create_task(crowd.run(stop))
        await wait_for("the machines", lambda: len(crowd.tally.connected) == wish.sessions)
        await asyncio.to_thread(confirm_all, data, desk)
        await asyncio.sleep(20)
        rest = {name: pss_kib(pid) for name, pid in processes.items()}
        technicians, tasks = await open_all(data, desk, tom, crowd, wish)
        await wait_for("the sessions", lambda: technicians.open + len(technicians.ended)
                       >= wish.sessions)  # fmt: skip
        technicians.typing.set()
        await asyncio.sleep(10)
        technicians.times.clear()
        before = {name: cpu_seconds(pid) for name, pid in processes.items()}
        began = time.monotonic()
        await asyncio.sleep(wish.seconds)
        seconds = time.monotonic() - began
        used = {name: cpu_seconds(pid) - before[name] for name, pid in processes.items()}
        full = {name: pss_kib(pid) for name, pid in processes.items()}
        tell(wish, technicians, (rest, full), used, seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        stop.set()
        await running


async def open_all(
    data: Path, desk: Desk, tom: RequesterFolder, crowd: Machines, wish: Wished
) -> tuple[Technicians, list[asyncio.Task[None]]]:
    """Ask, grant and open on every machine."""
    owner_api = AccessApi(reach_server(desk.folder, data, "", None))
    signer = tom.signer(read_passphrase_file(folder_of(desk) / "passphrase"))
    learned = tom.learn(tom.client())
    technicians = Technicians(wish)
    loop = asyncio.get_running_loop()
    asking = ThreadPoolExecutor(AT_ONCE)
    cases = [
        loop.run_in_executor(asking, ask_and_grant, desk, owner_api, tom, learned, device)
        for device in sorted(crowd.tally.connected)
    ]
    tasks = []
    for number, waiting in enumerate(cases):
        tasks.append(asyncio.create_task(technicians.work(tom, signer, await waiting)))
        if number % 50 == 49:
            print(f"{number + 1} granted, {technicians.open} open", flush=True)
    return technicians, tasks


def folder_of(desk: Desk) -> Path:
    """Return the folder that holds the owner's."""
    return desk.folder.path.parent


def tell(
    wish: Wished,
    technicians: Technicians,
    memory: tuple[dict[str, int], dict[str, int]],
    used: dict[str, float],
    seconds: float,
) -> None:
    """Print what was measured."""
    rest, full = memory
    times = sorted(technicians.times)
    print(
        f"workload: {technicians.open} sessions open ({len(technicians.ended)} ended), each "
        f"{wish.keys} keys a second and {wish.output} bytes for each, sealed and recorded, "
        f"measured for {seconds:.0f} s; control plane on one core of {os.cpu_count()}, load "
        f"{os.getloadavg()[0]:.1f}"
    )
    for words in sorted(set(technicians.ended))[:3]:
        print(f"  ended: {words}")
    for name in used:
        print(
            f"{name:<16} cpu {100 * used[name] / seconds:6.2f} % of a core   memory "
            f"{full[name] / 1024:7.1f} MiB (without sessions {rest[name] / 1024:.1f}), "
            f"{(full[name] - rest[name]) / max(1, technicians.open):.1f} KiB a session"
        )
    grown = sum(full.values()) - sum(rest.values())
    share = sum(used.values()) / seconds
    print(
        f"all processes: {100 * share:.1f} % of the core, "
        f"{grown / max(1, technicians.open):.1f} KiB a session (goal 1,024)"
    )
    print(
        f"keys answered: {len(times) / seconds:.0f} a second of "
        f"{technicians.open * wish.keys:.0f} typed; median {times[len(times) // 2] * 1000:.1f} ms, "
        f"95th of 100 {times[int(len(times) * 0.95)] * 1000:.1f} ms"
    )


def main() -> None:
    """Start a control plane in a temporary folder and measure on it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--keys", type=float, default=1.0)
    parser.add_argument("--output", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    wish = Wished(options.sessions, options.keys, options.output, options.seconds)
    if not 8 < wish.output < WINDOW_BYTES // 2:
        parser.error("--output: more than 8 bytes, less than half a window")
    raise_file_limit(4 * wish.sessions)
    with tempfile.TemporaryDirectory(prefix="fleetward-bench-") as name:
        folder = Path(name)
        data = folder / "server"
        fleetward("up", "--data", str(data), "--detach")
        try:
            asyncio.run(measure(data, folder, wish))
        finally:
            fleetward("down", "--data", str(data))


if __name__ == "__main__":
    main()
