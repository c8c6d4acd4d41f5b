"""A real machine in the attacker's field: what it believes, what it keeps, what it wrote down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fleetward.device import uplink
from fleetward.device.agent import Agent
from fleetward.device.guard_core import GuardCore, Seat
from fleetward.device.looking import Eyes, FixtureCollector
from fleetward.device.uplink import Timing
from fleetward.runtime.clock import Clock
from fleetward.trust.canonical import JsonObject
from fleetward.trust.invitation import JoinString
from fleetward.trust.journal import verify_batch
from fleetward.trust.statements import MachineFacts
from fleetward.wire.posture import Inventory, Machine, Section, Sight, Socket, encode_inventory

BRISK = Timing(
    beat_seconds=0.5,
    proof_seconds=0.1,
    documents_seconds=3600.0,
    pause_seconds=0.3,
    request_seconds=3.0,
)
OBEYED = ("identity.key", "anchor.json", "view.json", "server-ca.pem", "certificate.pem")
"""The files that say whom the machine obeys, who it is, and whom it speaks to."""
PATIENCE_SECONDS = 30.0


def make_inventory(*ports: int) -> bytes:
    """Return an inventory of a machine with these TCP ports open to everybody."""
    sockets = tuple(
        Socket("tcp", "0.0.0.0", port, "all", process="busybox", user="root") for port in ports
    )
    machine = Machine("debian", "Debian", "12", "6.1", "x86_64", "systemd", root=True)
    section = Section(Sight("full"), sockets)
    return encode_inventory(
        Inventory(type="fleetward.inventory.v1", machine=machine, sockets=section)
    )


def come_back_soon(failures: int, spread: float) -> float:
    """Return a short pause: a real machine waits longer, so that a fleet spreads its return."""
    return spread * min(2.0, 0.3 * failures)


@contextlib.contextmanager
def hurried() -> Iterator[None]:
    """Have machines of this process come back soon after a lost connection.

    A machine whose certificate a server refuses that was set back renews it: after seconds here,
    in the field after up to ten minutes.
    """
    hasty = {"reconnect_delay_seconds": come_back_soon, "RENEW_GAP_SECONDS": 2.0}
    before = {name: vars(uplink)[name] for name in hasty}
    vars(uplink).update(hasty)
    try:
        yield
    finally:
        vars(uplink).update(before)


@dataclass(frozen=True)
class Belief:
    """Whom the machine obeys and who it is: all that an attack must leave as it was."""

    files: tuple[tuple[str, bytes], ...]
    view: bytes
    lease_serial: int
    vouched: str
    addresses: tuple[str, ...]


@dataclass
class FieldMachine:
    """One machine. `folder` is its disk."""

    folder: Path
    name: str
    clock: Clock
    boot: str = "boot-1"
    document: Callable[[], bytes] = make_inventory
    task: asyncio.Task[None] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        eyes = Eyes(FixtureCollector(lambda: self.document()), files=())
        seat = Seat(self.clock, eyes, boot=self.boot, wall="simulated")
        self.agent = Agent(self.folder, seat, BRISK)

    @property
    def guard(self) -> Path:
        """Guard's folder."""
        return self.folder / "guard"

    @property
    def core(self) -> GuardCore:
        """The running guard."""
        assert self.agent.core is not None
        return self.agent.core

    @property
    def device(self) -> str:
        """The device id."""
        joined = self.agent.joined
        assert joined is not None
        return joined.device

    async def join(self, join: JoinString) -> None:
        """Join by the real way. Raises what the machine raises."""
        facts = MachineFacts(self.name, "P7", "Acme", "Debian 12", simulated=True)
        await self.agent.join(join, facts)

    def start(self) -> None:
        """Be the machine from now on."""
        self.task = asyncio.create_task(self.agent.run(), name=f"machine {self.name}")

    async def stop(self) -> None:
        """Stop in order."""
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
            self.task = None

    async def restart(self) -> None:
        """Stop and start again, as after a power cut that was announced."""
        await self.stop()
        self.start()
        await self.until(lambda: self.agent.core is not None, "guard starts")

    async def until(
        self, what: Callable[[], object], words: str, seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Wait until `what` is true, while the machine lives."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not what():
            if self.task is not None and self.task.done():
                self.task.result()
            late = asyncio.get_running_loop().time() >= deadline
            assert not late, f"waited in vain: {words}; {self._standing()}"
            if self.task is not None and self.agent.core is not None:
                self.agent.core.tick()  # Guard need not sleep while somebody watches.
            await asyncio.sleep(0.02)

    def _standing(self) -> str:
        """Say how the machine stands, for who reads a failure."""
        if self.agent.core is None:
            return "guard does not run"
        core, outbox = self.core, self.core.outbox
        return (
            f"connection {core.connection}, server says {core.server_says!r}, record "
            f"{core.state.record}, tip {core.journal.tip.sequence}, unproven {outbox.unproven}"
        )

    async def settled(self) -> None:
        """Wait until everything is looked at, sent, handed over and proven."""
        await self.until(lambda: self.agent.core is not None, "guard starts")
        await self.until(lambda: self.core.settled, "the machine settles")

    def speak(self, words: str = "port 23 opened by busybox") -> int:
        """Write a piece of evidence, so that there is something to send; return its sequence."""
        body = {
            "after": "tcp/23", "before": "", "key": "tcp/23", "severity": "warning",
            "what": "socket.opened", "words": words,
        }  # fmt: skip
        assert self.core.diary.evidence("posture.changed", body)
        return self.core.journal.tip.sequence

    def belief(self) -> Belief:
        """Return all that an attack must leave as it was."""
        core = self.core
        return Belief(
            files=tuple(
                (name, (self.guard / name).read_bytes())
                for name in OBEYED
                if (self.guard / name).exists()
            ),
            view=core.view.to_bundle().to_bytes(),
            lease_serial=core.view.lease_serial,
            vouched=core.state.vouched,
            addresses=(*core.joined.enrol, *core.joined.bus),
        )

    @property
    def checkpoint(self) -> tuple[int, int, str]:
        """The newest state of the record that this machine believes: it may only grow."""
        kept = self.core.state.checkpoint
        return (kept.generation, kept.size, kept.root) if kept else (0, 0, "")

    def entries(self, kind: str = "") -> list[JsonObject]:
        """Return the bodies of the entries of a kind that this machine has signed."""
        core, found = self.core, []
        for cut in core.journal.batches:
            data = core.journal.read_batch(cut)
            batch = verify_batch(data, core.signer.public, core.joined.owner)
            found += [e.body for e in batch.entries if not kind or e.kind == kind]
        return found

    def refusals(self) -> list[tuple[str, str]]:
        """Return subject and reason of every refusal that this machine has signed, in order."""
        return [(str(b["what"]), str(b["reason"])) for b in self.entries("gate.refused")]
