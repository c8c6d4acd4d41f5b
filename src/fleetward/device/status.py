"""What `fleetward-agent status` shows: a document that guard replaces as a whole.

It says what is so, since when, and what cannot be seen; a stopped agent is shown as stopped,
whatever the document says, because the lock of guard's folder is free then.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from fleetward.runtime.files import read_bounded
from fleetward.trust.errors import FleetwardError, Malformed, Refused

MAX_STATUS_BYTES: Final = 256 * 1024
LOCK_TRIES: Final = 20
LOCK_PAUSE_SECONDS: Final = 0.1


class Connection(msgspec.Struct, frozen=True):
    """How the connection stands. `since_ms` is the machine's own clock."""

    state: str
    since_ms: int
    words: str = ""
    server_says: str = ""


class Sight(msgspec.Struct, frozen=True):
    """How much of the machine can be seen."""

    root: bool
    words: str


class Versions(msgspec.Struct, frozen=True):
    """Versions of the owner's documents."""

    policy: int
    roster: int
    head: int


class JournalStatus(msgspec.Struct, frozen=True):
    """Where the journal stands; `unproven` entries wait for the ledger's proof."""

    sequence: int
    head: str
    acknowledged: int
    unproven: int
    full: bool


class CheckpointStatus(msgspec.Struct, frozen=True):
    """The newest checkpoint of the ledger that was verified."""

    generation: int
    size: int
    root: str
    at_ms: int


class RecordStatus(msgspec.Struct, frozen=True):
    """Whether the server's record agrees with what this machine has seen."""

    state: str
    words: str


class RefusalStatus(msgspec.Struct, frozen=True):
    """One refusal."""

    at_ms: int
    what: str
    reason: str
    words: str


class CertificateStatus(msgspec.Struct, frozen=True):
    """The running certificate."""

    not_after_ms: int
    serial: str
    lineage: int


class InventoryStatus(msgspec.Struct, frozen=True):
    """The newest look."""

    digest: str
    at_ms: int
    problem: str
    missing_walls: tuple[str, ...]


class SessionStatus(msgspec.Struct, frozen=True):
    """One session, open or past. `words` are the six that everybody sees."""

    session: str
    person: str
    org: str
    people: tuple[str, ...]
    scopes: tuple[str, ...]
    reason: str
    case: str
    words: str
    watched: bool
    sandbox: str
    opened_at_ms: int
    ends_at_ms: int
    """When its length is over; the machine measures that on another clock."""
    ended_at_ms: int
    ended_by: str
    ended_who: str
    ended_words: str
    records: int
    stored: bool
    """Whether the server has the whole recording."""
    break_glass: bool = False


class AheadStatus(msgspec.Struct, frozen=True):
    """What was allowed ahead. The times are those of the next window whose place is not used, which
    may be over already; 0 when every window was used. `windows_left` counts it and later ones."""

    standing: str
    words: str
    people: tuple[str, ...]
    requesters: tuple[str, ...]
    scopes: tuple[str, ...]
    reason: str
    time_zone: str
    not_before_ms: int
    not_after_ms: int
    windows_left: int


class ClosingStatus(msgspec.Struct, frozen=True):
    """What the owner has had closed here. `missing` says why nothing can be closed."""

    closed: str = ""
    seconds_left: int = 0
    """How long it holds without a confirmation; 0 when it was kept."""
    problem: str = ""
    missing: str = ""


class InstalledStatus(msgspec.Struct, frozen=True):
    """A release that runs. `floor` is the lowest counter that is still installed."""

    product: str
    version: str
    counter: int
    release: str
    floor: int


class AgentStatus(msgspec.Struct, frozen=True):
    """Which code of the agent this is. `release` is empty for what the system's package brought;
    `trial` is a phase of `launcher.decide`, `last` how the last trial ended, or the last fall."""

    version: str = ""
    release: str = ""
    trial: str = "settled"
    last: str = ""
    last_words: str = ""


class UpdateStatus(msgspec.Struct, frozen=True):
    """How releases stand here. `release` is the one under way, empty when none is."""

    installed: tuple[InstalledStatus, ...] = ()
    release: str = ""
    phase: str = ""
    words: str = ""
    percent: int = 0
    last: str = ""
    """How the last one ended since the agent was started."""
    looked_at_ms: int = 0
    problem: str = ""
    """Why the last look learnt nothing."""
    missing: str = ""
    """Why this machine takes no releases over the network."""
    counters: str = "file"
    """How the highest counters are kept: `tpm`, `file` (weak), or `doubted`."""
    counters_words: str = ""
    """Why not in the TPM."""
    agent: AgentStatus = AgentStatus()


class Status(msgspec.Struct, frozen=True):
    """The whole document."""

    device: str
    words: str
    owner: str
    owner_name: str
    name: str
    site: str
    state: str
    confirmed: bool
    running: bool
    written_ms: int
    connection: Connection
    wall: str
    sight: Sight
    versions: Versions
    lease_seconds_left: int
    journal: JournalStatus
    last_checkpoint: CheckpointStatus | None
    record: RecordStatus
    certificate: CertificateStatus | None
    inventory: InventoryStatus | None
    refusals: tuple[RefusalStatus, ...]
    settled: bool
    """Whether everything was looked at, sent and proven."""
    problem: str = ""
    sessions: tuple[SessionStatus, ...] = ()
    """Open ones, then past ones, the newest first."""
    recovery: str = ""
    """What recovery keys have announced here, in words; empty when nothing waits."""
    panel: str = ""
    """Who may speak to the machine's panel, and whether it takes presses."""
    closing: ClosingStatus = ClosingStatus()
    ahead: tuple[AheadStatus, ...] = ()
    """What was allowed ahead, the next window first."""
    updates: UpdateStatus = UpdateStatus()


def write_status(path: Path, status: Status) -> None:
    """Replace the document; losing the newest one in a power cut is no loss. Raises `OSError`."""
    partial = path.with_name(".status.part")
    with open(partial, "wb", opener=_open_private) as file:
        file.write(msgspec.json.encode(status))
    partial.replace(path)


def read_status(folder: Path) -> Status:
    """Return the document of guard's folder, `running` as it is now. Raises `Malformed`."""
    status = read_last_words(folder)
    if is_running(folder):
        return msgspec.structs.replace(status, running=True)
    stopped = Connection("stopped", status.written_ms, "The agent is not running.")
    return msgspec.structs.replace(status, running=False, connection=stopped)


def read_last_words(folder: Path) -> Status:
    """Return the document as guard wrote it last. Raises `Malformed`."""
    data = read_bounded(folder / "status.json", MAX_STATUS_BYTES)
    try:
        return msgspec.json.decode(data, type=Status)
    except (msgspec.MsgspecError, UnicodeError) as e:
        raise Malformed(
            "Expected the status as guard wrote it; start the agent to have it written anew.",
            reason="status_damaged",
        ) from e


def is_running(folder: Path) -> bool:
    """Return whether a guard holds the folder."""
    try:
        with lock_folder(folder):
            return False
    except Refused:
        return True
    except (FleetwardError, OSError):
        return False


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold guard's folder. Raises `Refused` when another process does."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
        os.close(descriptor)
        raise Refused(
            "The agent runs on this folder already. Stop it first.", reason="already_running"
        ) from e
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Hold guard's folder as guard does; waits a little for a `status` that looks at the lock.

    Raises `Refused` when an agent runs on it.
    """
    with contextlib.ExitStack() as stack:
        for attempt in range(1, LOCK_TRIES + 1):
            try:
                stack.enter_context(lock_folder(folder))
                break
            except Refused:
                if attempt == LOCK_TRIES:
                    raise
                time.sleep(LOCK_PAUSE_SECONDS)
        yield


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
