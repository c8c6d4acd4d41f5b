"""What the slice stands beside, what it knows in memory, and who hears of changes.

Releases and papers are few and asked for by every machine, so they are read from the database once
and again after each change. The roster's entries are looked up by machine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from fleetward.runtime.blob_folder import BlobFolder
from fleetward.runtime.clock import Clock
from fleetward.runtime.database import Database
from fleetward.server.deeds import Deed, DeedRecorder, JsonValue
from fleetward.server.updates import store
from fleetward.server.updates.decide import Papers, Release
from fleetward.server.updates.director import Director
from fleetward.server.updates.reading import WITHDRAWAL, Paper, read_paper
from fleetward.trust.keys import PublicKey
from fleetward.trust.policy import Policy
from fleetward.trust.release_manifest import read_manifest
from fleetward.trust.roster import Roster, RosterEntry


class Documents(Protocol):
    """The owner's documents."""

    @property
    def roster(self) -> Roster: ...

    @property
    def entries(self) -> tuple[RosterEntry, ...]: ...


class OwnerDocuments(Protocol):
    """What this capability needs of the owner's documents."""

    @property
    def owner_id(self) -> str: ...

    @property
    def policy(self) -> Policy: ...

    @property
    def documents(self) -> Documents | None: ...


class Machines(Protocol):
    """What this capability needs to know of machines."""

    def key_of(self, device: str) -> PublicKey: ...

    def active_ids(self) -> list[str]: ...


class SignedLedger(Protocol):
    """Takes signed documents as leaves of the owner's record."""

    def append_signed(self, kind: str, raw: bytes, by: tuple[str, str], at_ms: int) -> None:
        """Make the document a leaf, once. `by` is who brought it and the machine."""


@dataclass(frozen=True)
class UpdatePlace:
    """What the slice has on the disk: the folder of blobs, and the director's."""

    blobs: Path
    director: Director


@dataclass(frozen=True)
class Neighbours:
    """What this capability stands beside."""

    database: Database
    owner: OwnerDocuments
    machines: Machines
    ledger: SignedLedger
    deeds: DeedRecorder
    clock: Clock


@dataclass(frozen=True)
class Known:
    """Releases and papers, as they are stored now."""

    releases: tuple[Release, ...]
    repositories: Mapping[str, str]
    """Of releases, by their ids."""
    published: Mapping[str, int]
    """When each release was published here."""
    approvals: tuple[Paper, ...]
    withdrawals: tuple[Paper, ...]
    papers: Papers
    support_ends: Mapping[str, int] = field(default_factory=dict)
    """Until when makers mend, by release, where they say so; milliseconds."""
    roots: dict[str, str] = field(default_factory=dict)
    """Repositories by the hash of any of their roots, as far as they were looked for."""


class UpdateBook:
    """The slice's memory. Thread-safe; `lock` is held over each change."""

    def __init__(self, near: Neighbours, place: UpdatePlace) -> None:
        self.near: Final = near
        self.director: Final = place.director
        self.blobs: Final = BlobFolder(place.blobs)
        self.lock: Final = threading.RLock()
        self._known: Known | None = None
        self._entries: tuple[str, dict[str, RosterEntry]] = ("", {})
        self._on_look: list[Callable[[Sequence[str]], None]] = []
        self._on_change: list[Callable[[str, str], None]] = []

    @property
    def known(self) -> Known:
        """Releases and papers."""
        known = self._known
        if known is None:
            with self.lock:
                known = self._known = self._load()
        return known

    def use(self, known: Known) -> None:
        """Take this as what is known, until the next change."""
        self._known = known

    def forget(self) -> None:
        """Read releases and papers again before the next use."""
        self._known = None

    @property
    def entries(self) -> Mapping[str, RosterEntry]:
        """The owner's roster, by machine; empty before there is an owner."""
        documents = self.near.owner.documents
        if documents is None:
            return {}
        held = self._entries
        if held[0] != documents.roster.hash:
            by_device = {entry.device: entry for entry in documents.entries}
            held = self._entries = (documents.roster.hash, by_device)
        return held[1]

    def repository_of(self, product: str) -> str:
        """Return the repository whose root the owner's policy names for a product, or nothing."""
        if self.near.owner.documents is None:
            return ""
        digest = self.near.owner.policy.roots.makers.get(product, "")
        if not digest:
            return ""
        known = self.known
        if digest not in known.roots:
            with self.near.database.read() as conn:
                row = store.select_root(conn, digest)
            if row is None:
                return ""
            known.roots[digest] = str(row.repository_id)
        return known.roots[digest]

    def offerable(self) -> list[Release]:
        """Return the releases whose maker the owner's policy names: others no machine takes."""
        known = self.known
        trusted = {each.product: self.repository_of(each.product) for each in known.releases}
        return [
            each
            for each in known.releases
            if trusted[each.product] and trusted[each.product] == known.repositories[each.id]
        ]

    def holding(self, now_ms: int) -> list[Paper]:
        """Return the approvals that hold, as far as the server can tell."""
        if self.near.owner.documents is None:
            return []
        return self.known.papers.hold(self.near.owner.policy.epoch, now_ms)

    def on_look(self, caller: Callable[[Sequence[str]], None]) -> None:
        """Call `caller` with machines that should look whether there is something for them."""
        self._on_look.append(caller)

    def listen(self, listener: Callable[[str, str], None]) -> None:
        """Call `listener` with what changed (a word) and of which machine or thing."""
        self._on_change.append(listener)

    def look(self, devices: Iterable[str]) -> None:
        """Let machines be told to look."""
        wanted = list(devices)
        if wanted:
            for caller in self._on_look:
                caller(wanted)

    def tell(self, what: str, subject: str) -> None:
        """Say that something changed."""
        for listener in self._on_change:
            listener(what, subject)

    def record(self, kind: str, actor: str, body: Mapping[str, JsonValue]) -> None:
        """Write a deed down."""
        near = self.near
        near.deeds.record(
            Deed(
                kind=kind,
                actor=actor,
                subject="fleet",
                owner_id=near.owner.owner_id,
                body=body,
                at_ms=near.clock.wall_ms(),
            )
        )

    def people_of(self, signers: Sequence[str]) -> str:
        """Return who signed by the policy that is stored here; to show, no more."""
        keys = self.near.owner.policy.keys
        named = [keys[key].person if key in keys else f"key {key[:8]}" for key in signers]
        return ", ".join(dict.fromkeys(named)) or "Somebody"

    def _load(self) -> Known:
        near = self.near
        with near.database.read() as conn:
            rows = store.select_releases(conn)
            papers = [
                read_paper(bytes(row.envelope), near.owner.owner_id)
                for row in store.select_papers(conn)
                if row.owner_id == near.owner.owner_id
            ]
        approvals = tuple(each for each in papers if each.kind != WITHDRAWAL)
        withdrawals = tuple(each for each in papers if each.kind == WITHDRAWAL)
        manifests = [read_manifest(bytes(row.manifest)) for row in rows]
        return Known(
            releases=tuple(make_release(bytes(row.manifest)) for row in rows),
            repositories={row.release_id: row.repository_id for row in rows},
            published={row.release_id: row.at for row in rows},
            approvals=approvals,
            withdrawals=withdrawals,
            papers=Papers(approvals, frozenset(each.withdraws for each in withdrawals)),
            support_ends={
                each.hash: each.support_ends_at_ms for each in manifests if each.support_ends_at_ms
            },
        )


def make_release(data: bytes) -> Release:
    """Return what decides about a release, out of its manifest. Raises `Malformed`."""
    manifest = read_manifest(data)
    return Release(
        id=manifest.hash,
        product=manifest.product,
        version=manifest.version,
        counter=manifest.counter,
        length=len(data),
        hardware=manifest.hardware,
        least_before=manifest.least_before,
        replaces_agent=manifest.replaces_agent,
        released_at_ms=manifest.released_at_ms,
    )
