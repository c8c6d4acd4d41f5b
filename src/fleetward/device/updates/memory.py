"""What guard keeps of updates on its disk: one small file, replaced as a whole before it acts.

The highest counters committed stand in a second file too (`floors`). When the first is damaged they
are still known; when both are, that is an entry, and TUF's own versions are what is left against
old ones.

A field that this code does not know is passed over: a newer agent, which was on trial and is gone
again, may have written it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from fleetward.device.updates.floors import Floors
from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.trust.errors import FleetwardError
from fleetward.trust.release_manifest import Conflict, Manifest, read_manifest
from fleetward.trust.releases.meeting import Held
from fleetward.trust.update_report import Installed

MAX_BYTES: Final = 4 * 1024 * 1024
"""More than everything below at its bounds: a file that grew beyond it would be forgotten."""
MOST_REMEMBERED: Final = 256
"""Releases of which is remembered when they were seen first, that they failed, or were refused."""
MOST_WITHDRAWN: Final = 1024
"""Withdrawals that are remembered one by one; see `Memory.withdraw`."""
MAX_APPROVALS_BYTES: Final = 384 * 1024
"""Bytes of all approvals that are kept: signatures that mean nothing make one as long as it may be.
"""
WEEK_MS: Final = 7 * 86_400_000

Phase: TypeAlias = Literal[
    "fetching",
    "waiting",
    "writing",
    "switching",
    "restarting",
    "restarting_back",
    "proving",
    "trying",
    "committing",
    "going_back",
    "clearing",
]


class KeptConflict(msgspec.Struct, frozen=True):
    """What an installed release does not bear."""

    product: str
    first: int
    last: int


class KeptPart(msgspec.Struct, frozen=True):
    """What is active in a place."""

    name: str
    place: str
    sha256: str


class KeptRelease(msgspec.Struct, frozen=True):
    """What runs of one product."""

    product: str
    version: str
    counter: int
    release: str
    conflicts: tuple[KeptConflict, ...] = ()
    parts: tuple[KeptPart, ...] = ()


class KeptFinding(msgspec.Struct, frozen=True):
    """How a health check ended."""

    check: str
    good: bool
    words: str


class Attempt(msgspec.Struct):
    """The release under way. `until_powered_ms` ends the trial, `steady_powered_ms` is since when
    all checks hold (-1: they do not), `starts` counts starts of the agent during the switch, and
    then during the trial."""

    manifest: bytes
    approval: str
    number: int
    from_bundle: bool
    not_before_ms: int
    maker: str = ""
    """The SHA-256 of the maker's root that the policy named when it was judged."""
    phase: Phase = "fetching"
    before: dict[str, str] = {}
    surveyed: bool = False
    until_powered_ms: int = 0
    steady_powered_ms: int = -1
    connected: bool = False
    """Whether the machine had a connection when it began: a new agent has to have one then too."""
    boot: str = ""
    """The boot in which the switch, or the way back, was begun."""
    restarts: bool = False
    """Whether it runs only when the machine has started again, and is kept by its boot loader."""
    restarted_back: int = 0
    """How often the machine was to start again on the way back."""
    starts: int = 0
    sources: list[str] = []
    """Parts whose active one, which `before` names, a delta can start from."""
    passed: list[str] = []
    """Deltas, by their SHA-256, that did not serve or that nobody has: they are done without."""
    fetched_again: int = 0
    refused: bool = False
    """Whether it ends because the opinions met no more, and not because it failed."""
    rule: str = ""
    words: str = ""
    findings: tuple[KeptFinding, ...] = ()

    def read(self) -> Manifest:
        """Return the manifest, which was verified before it was kept. Raises `Malformed`."""
        return read_manifest(self.manifest)


class Owed(msgspec.Struct, frozen=True):
    """A report that is to be made, of this very attempt."""

    outcome: str
    product: str
    version: str
    counter: int
    release: str
    approval: str
    number: int
    rule: str
    words: str
    findings: tuple[KeptFinding, ...] = ()


class Memory(msgspec.Struct):
    """The whole file. Fields are changed in place by guard, in its one thread."""

    held: dict[str, KeptRelease] = {}
    floors: dict[str, int] = {}
    """By product, the highest counter that was ever committed."""
    attempt: Attempt | None = None
    owed: Owed | None = None
    known: dict[str, int] = {}
    """Since when a release is known here, in powered-on time, by the SHA-256 of its manifest: for
    standing approvals, whose wait no clock shortens."""
    failed: dict[str, list[str]] = {}
    """By which approvals a release was tried and failed. It is not tried again by the same."""
    refused: dict[str, str] = {}
    """By which rule a release was refused last, so that it is said once."""
    numbers: dict[str, int] = {}
    """How often a release was begun."""
    withdrawn: dict[str, int] = {}
    """Approvals that hold no more, by their hash, and when the withdrawal was given."""
    void_until_ms: int = 0
    """No approval that was given before this holds: so many were withdrawn."""
    approvals: list[bytes] = []

    def list_held(self) -> dict[str, Held]:
        """Return what is held, as the judgement wants it."""
        products = {**dict.fromkeys(self.floors), **dict.fromkeys(self.held)}
        return {product: self._hold(product) for product in products}

    def list_installed(self) -> tuple[Installed, ...]:
        """Return what is held, as a report says it."""
        return tuple(
            Installed(
                each.product,
                each.version,
                each.counter,
                each.release,
                self.floors.get(each.product, 0),
            )
            for each in self.held.values()
        )

    def _hold(self, product: str) -> Held:
        kept = self.held.get(product)
        floor = self.floors.get(product, 0)
        if kept is None:
            return Held(0, "", floor)
        conflicts = tuple(Conflict(c.product, c.first, c.last) for c in kept.conflicts)
        return Held(kept.counter, kept.release, floor, conflicts)

    def withdraw(self, approval: str, issued_at_ms: int, now_ms: int) -> bool:
        """Remember that an approval holds no more; return whether one had to be forgotten for it.

        Whoever may withdraw may do so without end. So no withdrawal is forgotten without voiding
        every approval that was given until then: they are given anew by the owner, or never.
        """
        if approval in self.withdrawn:
            return False
        self.withdrawn[approval] = issued_at_ms
        if len(self.withdrawn) <= MOST_WITHDRAWN:
            return False
        forgotten = self.withdrawn.pop(next(iter(self.withdrawn)))
        # A date far ahead, which one person signed, does not void what the others give later.
        self.void_until_ms = max(self.void_until_ms, now_ms, min(forgotten, now_ms + WEEK_MS))
        return True

    def trim(self) -> None:
        """Forget the oldest of what is remembered about releases, beyond the bound."""
        for table in (self.known, self.failed, self.refused, self.numbers):
            while len(table) > MOST_REMEMBERED:
                del table[next(iter(table))]
        for approvals in self.failed.values():
            del approvals[:-MOST_REMEMBERED]


class MemoryFile:
    """Reads and writes it."""

    def __init__(self, folder: Path, floors: Floors) -> None:
        self._path = folder / "memory.json"
        self.floors = floors
        self._saved = b""

    def load(self) -> tuple[Memory, str]:
        """Return what is remembered, and in words what was lost; empty when nothing was."""
        memory, is_missing = self._read()
        is_new = is_missing and not self.floors.is_kept
        floors = self.floors.load(None if memory is None else memory.floors)
        if memory is not None:
            memory.floors = floors or {}
            return memory, ""
        if floors is None and is_new:
            return Memory(), ""
        if floors is None:
            return Memory(), (
                "What this machine remembered of its releases is damaged, and so are its counters: "
                "an older release that its maker still names could be installed again."
            )
        if is_missing and not floors:
            return Memory(), ""
        return Memory(floors=floors), (
            "What this machine remembered of its releases was damaged. Its counters are whole."
        )

    def save(self, memory: Memory, *, is_commit: bool = False) -> None:
        """Replace the file when something changed. Raises `Unreachable`; then nothing changed."""
        memory.trim()
        data = msgspec.json.encode(memory)
        if data == self._saved:
            return
        # First: what commits has been decided, and a phase on the disk leads to it again.
        self.floors.save(memory.floors, is_commit=is_commit)
        atomic_write(self._path, data)
        self._saved = data

    def _read(self) -> tuple[Memory | None, bool]:
        """Return what is remembered, or None; and whether there is no file at all."""
        try:
            memory = msgspec.json.decode(read_bounded(self._path, MAX_BYTES), type=Memory)
            if memory.attempt is not None:
                memory.attempt.read()
        except FleetwardError as e:
            return None, e.reason == "file_missing"
        except (msgspec.MsgspecError, UnicodeError):
            return None, False
        return memory, False
