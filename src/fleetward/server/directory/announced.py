"""Policies that recovery keys signed and that nobody has finished or refused yet.

The server keeps an announced policy beside the chain, makes it a leaf of the record, tells every
machine and every page, and takes it into the chain no sooner than its delay. None of this is what
protects a machine: each of them waits by itself (`trust.documents`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from fleetward.runtime.database import Database
from fleetward.server.deeds import Deed, DeedRecorder
from fleetward.server.directory import store
from fleetward.server.directory.decide import Documents
from fleetward.trust.errors import Refused
from fleetward.trust.policy import Policy, owner_name, verify_recovered_policy

MOST_ANNOUNCED: Final = 4
"""Each is signed by the owner's recovery keys; more than these at once are no accident."""
WAITING: Final = ""
HELD: Final = "held"
REFUSED: Final = "refused"


class DocumentLedger(Protocol):
    """Takes signed documents as leaves."""

    def append_document(self, owner_id: str, kind: str, raw: bytes, at_ms: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Announced:
    """One announced policy."""

    hash: str
    version: int
    raw: bytes
    announced_at_ms: int
    earliest_ms: int
    """No machine that heard of it at once takes it before this."""
    people: tuple[str, ...]
    outcome: str


class Announcements:
    """What recovery keys have announced. Thread-safe."""

    def __init__(self, database: Database, ledger: DocumentLedger, deeds: DeedRecorder) -> None:
        self._database = database
        self._ledger = ledger
        self._deeds = deeds
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever something was announced, finished or refused."""
        self._listeners.append(listener)

    def waiting(self) -> list[Announced]:
        """Return what waits, oldest first."""
        with self._database.read() as conn:
            rows = store.select_announced(conn, WAITING)
        return [_read_row(row) for row in rows]

    def announce(self, raw: bytes, held: Documents, actor: str, at_ms: int) -> Announced:
        """Judge, record and keep a recovered policy. The same again is no error.

        Raises `Malformed`, `Untrusted`, or `Refused` when too many wait.
        """
        policy = verify_recovered_policy(raw, held.policy)
        recovery = held.policy.recovery
        assert recovery is not None, "it was verified by these keys"
        with self._lock:
            waiting = self.waiting()
            for known in waiting:
                if known.hash == policy.hash:
                    return known
            if len(waiting) >= MOST_ANNOUNCED:
                raise Refused(
                    f"{MOST_ANNOUNCED} recovered policies wait already. Refuse them by `fleetward "
                    "owner recover veto`.",
                    reason="too_many_recoveries",
                )
            announced = Announced(
                hash=policy.hash,
                version=policy.version,
                raw=raw,
                announced_at_ms=at_ms,
                earliest_ms=at_ms + recovery.delay_seconds * 1000,
                people=_people_of(policy),
                outcome=WAITING,
            )
            self._ledger.append_document(policy.owner, "policy", raw, at_ms)
            self._deeds.record(_describe(announced, held, actor, at_ms))
            with self._database.write() as conn:
                store.insert_announced(conn, policy.owner, announced)
        self._tell()
        return announced

    def check_waited(self, before: Documents | None, after: Documents, now_ms: int) -> None:
        """Return when a recovered policy may come into the chain. Raises `Refused`."""
        if before is None:
            return
        known = {a.hash: a for a in self.waiting()}
        for policy in after.chain[len(before.chain) :]:
            if not policy.recovered:
                continue
            announced = known.get(policy.hash)
            if announced is None or now_ms < announced.earliest_ms:
                raise Refused(
                    f"Policy {policy.version} was signed by recovery keys: announce it by "
                    "`fleetward owner recover announce`, and finish it after its delay.",
                    reason="recovery_waits",
                )

    def follow(self, after: Documents, at_ms: int) -> None:
        """Note what the chain has made of everything that waited."""
        over = [a for a in self.waiting() if a.version <= after.policy.version]
        for announced in over:
            held = after.chain[announced.version - 1].hash == announced.hash
            words = (
                f"The recovery holds: {', '.join(announced.people)} decide since policy "
                f"{announced.version}."
                if held
                else f"The recovery by policy {announced.version} was refused by the present keys."
            )
            self._deeds.record(
                Deed(
                    kind="owner.recovery_held" if held else "owner.recovery_refused",
                    actor="server",
                    subject=f"owner:{after.root.owner[:12]}",
                    owner_id=after.root.owner,
                    body={"policy": announced.hash, "words": words},
                    at_ms=at_ms,
                )
            )
            with self._database.write() as conn:
                store.update_announced(conn, announced.hash, HELD if held else REFUSED, at_ms)
        if over:
            self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


def _people_of(policy: Policy) -> tuple[str, ...]:
    return tuple(sorted({h.person for h in policy.roles["policy"].keys.values()}))


def _read_row(row: store.AnnouncedRow) -> Announced:
    return Announced(
        hash=row.hash,
        version=row.version,
        raw=row.body,
        announced_at_ms=row.announced_at,
        earliest_ms=row.earliest_at,
        people=tuple(row.people.split("\n")),
        outcome=row.outcome,
    )


def _describe(announced: Announced, held: Documents, actor: str, at_ms: int) -> Deed:
    name = owner_name(held.root, held.policy)
    days = (announced.earliest_ms - announced.announced_at_ms) // 86_400_000
    return Deed(
        kind="owner.recovery_announced",
        actor=actor,
        subject=f"owner:{held.root.owner[:12]}",
        owner_id=held.root.owner,
        body={
            "policy": announced.hash,
            "words": f"RECOVERY ANNOUNCED for {name}: {', '.join(announced.people)} would decide "
            f"from policy {announced.version} on, after {days} days. The present keys can refuse.",
        },
        at_ms=at_ms,
    )
