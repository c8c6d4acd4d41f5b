"""Checking an exported record: with no server, no network, and nothing trusted but the owner root.

The rules are `trust.ledger`'s. Here is what they need: reading the folder, spreading the machines'
signatures over the processors, telling how far it got.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, TypeAlias

from fleetward.keyholder.export_folder import MAX_ENTRIES, ExportFolder
from fleetward.trust.errors import Malformed, Misuse, Unreachable
from fleetward.trust.fields import require_digest
from fleetward.trust.keys import PublicKey
from fleetward.trust.ledger import Auditor, LedgerAudit, Sight
from fleetward.trust.ledger_findings import AuditReport
from fleetward.trust.ledger_leaves import DOCUMENT, LeafFact, LeafReader
from fleetward.trust.note import read_checkpoint
from fleetward.trust.tiles import decode_bundle, tiles_of

ALONE_BELOW: Final = 4096
"""Entries below which another process costs more than it saves."""
_AHEAD: Final = 4
"""Bundles in the hands of each process; more would only take memory."""

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many entries of how many are checked."""
Place: TypeAlias = tuple[int, int]
"""Index and width of a bundle."""
Recipe: TypeAlias = tuple[Path, str, Mapping[str, PublicKey]]
"""What another process needs to make the same checker."""
Check: TypeAlias = "Callable[[int, int], Iterator[tuple[Place, Checked]]]"


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of one bundle. `broken` says why it could not be read; then it has no facts."""

    facts: tuple[LeafFact, ...] = ()
    documents: Mapping[int, bytes] = field(default_factory=dict)
    """The owner's documents among the entries, by their place in the bundle."""
    broken: str = ""
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Verification:
    """A report, and what it is about."""

    owner_root: str
    generation: int
    entries: int
    exported_at: str
    report: AuditReport
    sight: Sight


class BundleChecker:
    """Reads bundles of one export and judges each entry alone."""

    def __init__(self, path: Path, owner: str, keys: Mapping[str, PublicKey]) -> None:
        self.recipe: Recipe = (path, owner, keys)
        self._folder = ExportFolder(path)
        self._reader = LeafReader(owner, keys)
        self._content_of = self._content if self._folder.has_contents() else None

    def check(self, generation: int, index: int, width: int) -> Checked:
        """Return the facts of a bundle. Raises `Refused` for a link; the rest is in the result."""
        try:
            data = self._folder.bundle(generation, index, width)
            leaves = [] if data is None else decode_bundle(data)
        except Malformed as e:
            return Checked(broken=e.message)
        if data is None:
            return Checked(missing=True)
        facts = [self._reader.read(leaf, self._content_of) for leaf in leaves]
        documents = {i: leaves[i] for i, fact in enumerate(facts) if fact.kind == DOCUMENT}
        return Checked(tuple(facts), documents)

    def _content(self, device: str, first: int) -> bytes | None:
        try:
            return self._folder.content(device, first)
        except Malformed:  # longer than any batch: it is not what the machine signed
            return b""


def verify_export(
    path: Path, owner: str, auditor: Auditor, progress: Progress = lambda done, total: None
) -> Verification:
    """Check the export at `path` against the owner root's hash.

    Raises `Refused` when this is no export or has links in it, `Malformed` for an owner root that
    is no hash; what is wrong with the record itself is in the report.
    """
    folder = ExportFolder(path)
    head = folder.head()
    require_digest(owner, "the owner root")
    audit = LedgerAudit(owner, folder.documents(), auditor, generations=head.generation)
    notes = {} if audit.hopeless else _read_notes(folder, head.generation)
    total, done = sum(_size_of(note) for note in notes.values()), 0
    with _checking(BundleChecker(path, owner, audit.keys), total) as check:
        for number, note in notes.items():
            audit.open_generation(number, note, folder.cosigned(number))
            for place, checked in check(number, _size_of(note)):
                audit.claim(folder.hashes(number, *place) or b"")
                _feed(audit, checked)
                done += len(checked.facts)
                progress(done, total)
                if checked.missing or checked.broken:
                    break
            audit.close_generation()
    report = audit.finish()
    return Verification(owner, head.generation, done, head.exported_at, report, audit.sight)


def _feed(audit: LedgerAudit, checked: Checked) -> None:
    if checked.broken:
        audit.break_off(checked.broken)
    for place, fact in enumerate(checked.facts):
        audit.add(fact, checked.documents.get(place, b""))


def _read_notes(folder: ExportFolder, generations: int) -> dict[int, bytes]:
    notes = ((number, folder.checkpoint(number)) for number in range(1, generations + 1))
    return {number: note for number, note in notes if note is not None}


def _size_of(note: bytes) -> int:
    """Return how many entries a checkpoint claims, as far as they are worth looking for."""
    try:
        return min(read_checkpoint(note).checkpoint.size, MAX_ENTRIES)
    except Malformed:
        return 0


@contextlib.contextmanager
def _checking(checker: BundleChecker, total: int) -> Iterator[Check]:
    """Yield a function that checks the bundles of a generation, here or in other processes."""
    processes = len(os.sched_getaffinity(0))
    if total < ALONE_BELOW or processes < 2:
        yield lambda generation, size: (
            (place, checker.check(generation, *place)) for place in tiles_of(size)
        )
        return
    with ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _start_process, (checker.recipe,)
    ) as pool:
        yield lambda generation, size: _check_ahead(pool, generation, size, processes * _AHEAD)
        pool.shutdown(cancel_futures=True)


def _check_ahead(
    pool: ProcessPoolExecutor, generation: int, size: int, ahead: int
) -> Iterator[tuple[Place, Checked]]:
    """Yield checked bundles in their order, with no more than `ahead` of them under way."""
    waiting: deque[tuple[Place, Future[Checked]]] = deque()
    places = tiles_of(size)
    try:
        while True:
            for place in islice(places, ahead - len(waiting)):
                waiting.append((place, pool.submit(_check_there, generation, *place)))
            if not waiting:
                return
            place, future = waiting.popleft()
            yield place, future.result()
    except BrokenProcessPool as e:
        raise Unreachable(
            "A process that checked signatures ended on its own; was the memory full? Try again.",
            reason="verifier_died",
        ) from e


_there: BundleChecker | None = None
"""The checker of a process of the pool; set once when it starts, and only there."""


def _start_process(recipe: Recipe) -> None:
    global _there
    _there = BundleChecker(*recipe)


def _check_there(generation: int, index: int, width: int) -> Checked:
    if _there is None:
        raise Misuse("The process was not started for this.", reason="no_checker")
    return _there.check(generation, index, width)
