"""Many simulated machines in one process, to put a load on a server.

Each is the code of a real machine: it joins by an invitation, keeps a journal on the disk, signs
its batches and waits for proofs. Two things differ. All look at one shared document that never
changes, and a machine with nothing to do sleeps longer than a real one, which watches its ports.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from fleetward.demo.inventories import read_fixture
from fleetward.demo.machine import make_seat
from fleetward.demo.tally import MeasuringPort, Tally
from fleetward.device.agent import Agent
from fleetward.device.guard_core import GuardCore, Seat
from fleetward.device.looking import Eyes, FixtureCollector
from fleetward.device.status import hold_folder
from fleetward.device.uplink import Timing, UplinkSession
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.files import make_private_directory
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable
from fleetward.trust.invitation import JoinString
from fleetward.trust.statements import MachineFacts
from fleetward.wire.posture import Change, encode_inventory

FIXTURE: Final = "small-sensor"
AT_ONCE: Final = 24
"""Machines that join or connect at the same time; the others wait for their turn."""
CONNECT_SECONDS: Final = 30.0
AGAIN_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 900.0
"""Each turn of guard writes its state to the disk; thousands of idle machines share one disk."""
CALM_SECONDS: Final = 5.0
EVENTFUL_SECONDS: Final = 0.5
BUSY_MS: Final = 100
"""What guard asks for while it looks, or has entries to cut."""
LOOK_SECONDS: Final = 0.05
TELL_SECONDS: Final = 5.0
CANCEL_SECONDS: Final = 5.0
FILES_EACH: Final = 3
"""A connection, a journal, and the lock of a folder that is kept."""
FILES_BESIDE: Final = 300
WINDOW_BATCHES: Final = 4
"""Batches that may wait for a receipt before a machine writes more."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is wanted. `events` are written by each machine; `rate` is events a second of each."""

    machines: int
    join: JoinString
    folder: Path
    kept: bool
    beat_seconds: float = 60.0
    seconds: float = 0.0
    events: int = 0
    rate: float = 0.0
    batch: int = 100
    failing: float = 0.0
    """The share of machines on which a release turns out not to be healthy."""


class Crowd:
    """Runs a load. `run` returns the summary when it is done, or when `stop` is set."""

    def __init__(self, load: Load, tell: Callable[[str], None]) -> None:
        self._load = load
        self._tell = tell
        self._clock = SystemClock()
        document = encode_inventory(read_fixture(FIXTURE))
        self._document = lambda: document
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._cores: dict[int, GuardCore] = {}
        self._written: dict[int, int] = {}
        self.tally: Final = Tally()

    async def run(self, stop: asyncio.Event) -> dict[str, Any]:
        """Be the machines until all events are proven, the seconds are over, or `stop` is set."""
        raise_file_limit(self._load.machines)
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(AT_ONCE))
        began = loop.time()
        machines = [asyncio.create_task(self._keep(n)) for n in range(self._load.machines)]
        telling = asyncio.create_task(self._tell_now_and_then())
        try:
            await self._wait(stop)
        finally:
            summary = self._summarize(loop.time() - began)
            await end_tasks({telling, *machines})
        return summary

    async def _wait(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._load.seconds if self._load.seconds else None
        while not stop.is_set() and (end is None or loop.time() < end):
            if self._load.events and self._is_done():
                return
            await asyncio.sleep(EVENTFUL_SECONDS)

    def _is_done(self) -> bool:
        return len(self._written) == self._load.machines and all(
            written == self._load.events and self._cores[n].settled
            for n, written in self._written.items()
        )

    def make_seat(self, spread: float) -> Seat:
        """Return where the guard of one machine sits."""
        eyes = Eyes(FixtureCollector(self._document), watch=None, files=())
        failing = self._load.failing
        return make_seat(self._clock, eyes, spread, seed=f"{spread:.9f}", failing=failing)

    # --- one machine

    async def _keep(self, number: int) -> None:
        """Join once, then be the machine; what fails is tried again, but no refusal."""
        facts = MachineFacts(f"sim-{number:05d}", "Sensor", "Any maker", "Debian 12", True)
        folder = make_private_directory(self._load.folder / f"{number:05d}")
        seat = self.make_seat(number / self._load.machines)
        while True:
            try:
                async with self._turns:
                    await Agent(folder, seat).join(self._load.join, facts)
                    self.tally.joined += 1
                break
            except (Refused, Malformed) as e:
                self.tally.join_refusals[e.reason] += 1
                return
            except FleetwardError:
                await asyncio.sleep(AGAIN_SECONDS)
        with contextlib.ExitStack() as stack:
            if self._load.kept:
                stack.enter_context(hold_folder(folder / "guard"))
            core = self._cores[number] = GuardCore(folder / "guard", seat)
            stack.callback(core.close if self._load.kept else core.journal.close)
            await self._be(number, core, folder / "uplink")

    async def _be(self, number: int, core: GuardCore, folder: Path) -> None:
        port = MeasuringPort(core, self.tally)
        core.call_on_news(port.wake)
        session = UplinkSession(port, folder, Timing(beat_seconds=self._load.beat_seconds))
        async with self._turns:
            tasks = {asyncio.create_task(session.run())}
            await self._wait_connected(core)
        if self._load.events:
            tasks.add(asyncio.create_task(self._write(number, core)))
        try:
            await self._tick(core)
        finally:
            await end_tasks(tasks)

    async def _tick(self, core: GuardCore) -> None:
        """Give guard its turns: soon while it is busy, seldom while nothing waits."""
        pause = EVENTFUL_SECONDS if self._load.events else CALM_SECONDS
        loop = asyncio.get_running_loop()
        while True:
            delay_ms = core.tick()
            turned_at = loop.time()
            if delay_ms <= BUSY_MS or _has_work(core):
                await asyncio.sleep(delay_ms / 1000)
                continue
            while not _has_work(core) and loop.time() - turned_at < IDLE_SECONDS:
                await asyncio.sleep(pause)

    async def _wait_connected(self, core: GuardCore) -> None:
        waited = 0.0
        while core.joined.device not in self.tally.connected and waited < CONNECT_SECONDS:
            await asyncio.sleep(LOOK_SECONDS)
            waited += LOOK_SECONDS

    async def _write(self, number: int, core: GuardCore) -> None:
        """Write events batch by batch, as fast as they are wanted and the server keeps up."""
        load = self._load
        self._written[number] = 0
        while self._written[number] < load.events:
            many = min(load.batch, load.events - self._written[number])
            for _ in range(many):
                self._written[number] += 1
                words = f"event {self._written[number]} of {load.events} of a simulated machine"
                core.diary.evidence("posture.changed", _make_change(words))
            core.outbox.cut()
            core.tick()
            self.tally.events += many
            if load.rate:
                await asyncio.sleep(many / load.rate)
            while core.journal.tip.sequence - core.state.acknowledged > WINDOW_BATCHES * load.batch:
                await asyncio.sleep(LOOK_SECONDS)

    # --- telling

    async def _tell_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            tally = self.tally
            self._tell(
                f"{tally.joined} of {self._load.machines} joined, "
                f"{len(tally.connected)} connected, "
                f"{tally.receipts} of {tally.batches} batches with a receipt, "
                f"{tally.refusals.total() + tally.join_refusals.total()} refusals"
            )

    def _count_releases(self) -> dict[str, int]:
        """Return how many machines run which release."""
        held = (h for core in self._cores.values() for h in core.updates.memory.held.values())
        return dict(Counter(f"{each.product} {each.version}" for each in held))

    def _summarize(self, seconds: float) -> dict[str, Any]:
        rows = [
            {
                "id": core.joined.device,
                "sequence": core.journal.tip.sequence,
                "acknowledged": core.state.acknowledged,
                "unproven": core.outbox.unproven,
            }
            for core in self._cores.values()
        ]
        return {
            "machines": self._load.machines,
            "seconds": round(seconds, 3),
            **self.tally.summarize(),
            "acknowledged": sum(core.state.acknowledged for core in self._cores.values()),
            "unproven": sum(core.outbox.unproven for core in self._cores.values()),
            "releases": self._count_releases(),
            "began": sum(bool(core.updates.memory.numbers) for core in self._cores.values()),
            "devices": rows,
        }


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they are over. Once is not enough: before Python 3.12 `asyncio.wait_for`
    swallows a cancellation that comes in the moment of its own end, as one of a thousand does."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        over, left = await asyncio.wait(left, timeout=CANCEL_SECONDS)
        await asyncio.gather(*over, return_exceptions=True)


def _has_work(core: GuardCore) -> bool:
    return bool(core.journal.uncut_count) or core.updates.memory.attempt is not None


def raise_file_limit(machines: int) -> None:
    """Let this process open as many files as it needs. Raises `Unreachable` when it may not."""
    wanted = machines * FILES_EACH + FILES_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (ValueError, OSError) as e:
        raise Unreachable(
            f"{machines} machines need {wanted} open files; this process may open {hard}. Raise "
            f"the limit (`ulimit -n {wanted}` as root) or take fewer machines.",
            reason="too_few_files",
        ) from e


def _make_change(words: str) -> dict[str, Any]:
    change = Change(
        key="simulated", what="simulated.event", words=words, before="", after="", severity="info"
    )
    body: dict[str, Any] = msgspec.to_builtins(change)
    return body
