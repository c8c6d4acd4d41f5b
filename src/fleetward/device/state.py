"""What guard remembers between starts, beside the journal and the owner's documents.

One small file, replaced as a whole, so that a crash leaves the old one or the new one. Nothing in
it is a belief about the owner; losing it costs repeated work, and what must never fall back (the
lineage, the newest signed batch) is also read from the journal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.trust.errors import FleetwardError

MAX_STATE_BYTES: Final = 256 * 1024


class _Word(msgspec.Struct):
    """Common settings of what is kept. What a newer agent on trial added is passed over."""


class KeptCut(_Word):
    """The newest signed batch: its end, and its header, base64url."""

    sequence: int
    head: str
    header: str


class KeptCheckpoint(_Word):
    """The newest checkpoint of the ledger that was verified."""

    generation: int
    size: int
    root: str


class KeptFloor(_Word):
    """How much of an older generation of the ledger the owner declared to be still there."""

    generation: int
    size: int


class KeptRefusal(_Word):
    """How often the same was refused, or reduced, in the running hour."""

    kind: str
    what: str
    reason: str
    words: str
    since_powered_ms: int
    entries: int = 0
    extra: int = 0


class RefusalLine(_Word):
    """One refusal as `status` shows it."""

    at_ms: int
    what: str
    reason: str
    words: str


class Certificate(_Word):
    """The running certificate, measured in powered-on time: the wall clock may be wrong."""

    received_powered_ms: int
    lifetime_ms: int
    not_after_ms: int
    serial: str


class KeptRecovery(_Word):
    """A recovered policy that waits. `started_powered_ms` is -1 until its notice is proven."""

    policy: str
    version: int
    before: str
    delay_seconds: int
    sequence: int
    started_powered_ms: int = -1
    ready: bool = False


class GuardState(_Word):
    """The whole file. Fields are changed in place by guard, in its one thread."""

    powered_ms: int = 0
    boot: str = ""
    boottime_ms: int = 0
    wall_ms: int = 0
    lineage: int = 0
    vouched: str = ""
    last_cut: KeptCut | None = None
    acknowledged: int = 0
    checkpoint: KeptCheckpoint | None = None
    checkpoint_at_ms: int = 0
    floors: list[KeptFloor] = []
    rolled_back: KeptFloor | None = None
    lease: str = ""
    lease_started_powered_ms: int = 0
    lease_serial: int = 0
    certificate: Certificate | None = None
    wants: list[str] = []
    refusals: list[KeptRefusal] = []
    last_refusals: list[RefusalLine] = []
    record: str = "intact"
    record_words: str = ""
    inventory: str = ""
    forgotten: list[str] = []
    inventory_powered_ms: int = -1
    inventory_at_ms: int = 0
    lost_to_full_disk: int = 0
    recoveries: list[KeptRecovery] = []
    clock_boot: str = ""
    clock_apart_ms: int = 0
    clock_set_ms: int = 0
    """In which boot the clock was synchronised, how it stood then to the clock that nobody sets,
    and by how much it was set since, if that is more than is borne."""
    comparisons: list[str] = []
    """Digests of what changed during sessions, which the server may not have yet."""


class StateFile:
    """Reads and writes the state."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved = b""

    def load(self) -> tuple[GuardState, bool]:
        """Return the state, and whether a file was there but could not be read.

        Raises nothing: without the file guard starts with what the journal knows.
        """
        try:
            data = read_bounded(self._path, MAX_STATE_BYTES)
            return msgspec.json.decode(data, type=GuardState), False
        except FleetwardError as e:
            return GuardState(), e.reason != "file_missing"
        except (msgspec.MsgspecError, UnicodeError):
            return GuardState(), True

    def save(self, state: GuardState) -> None:
        """Replace the file when something changed. Raises `Unreachable` when the disk says no."""
        data = msgspec.json.encode(state)
        if data != self._saved:
            atomic_write(self._path, data)
            self._saved = data
