"""Deltas to the parts of a release: from earlier releases, and out of nothing.

1. They start from the parts of the same name of signed releases: of the newest, or of those named.
   Drafts are nobody's, so no delta starts from one.
2. One out of nothing is a packed form of the part, for machines that are new or far behind.
3. A delta is named when it saves something: it is shorter than the part, and one from a release is
   shorter than the one out of nothing.
4. RAUC bundles are packed, so there are none to them (decision 0042).
5. The same files give the same deltas. What an earlier release has of the very same part is named
   again, and not made again, unless the smallest are asked for.

Machines verify what a delta yields as they verify the part. Nothing is signed here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fleetward.keyholder.maker.blobs import BlobStore
from fleetward.keyholder.maker.delta import BEST_LEVEL, FAST_LEVEL, make_delta
from fleetward.keyholder.maker.progress import Meter, count_nothing
from fleetward.trust.errors import Malformed, Refused, Unreachable
from fleetward.trust.release_manifest import MAX_DELTAS, Delta, Manifest, Part
from fleetward.wire.delta import EMPTY_SOURCE

TAKES_DELTAS: Final = frozenset({"directory", "file-slot", "dpkg", "agent"})
MOST_SOURCES: Final = MAX_DELTAS - 1
"""Releases that deltas may start from: one is out of nothing."""


@dataclass(frozen=True, slots=True)
class DeltaWish:
    """Which deltas a maker wants. `versions` names releases; without any it is the newest one."""

    versions: tuple[str, ...] = ()
    are_made: bool = True
    is_best: bool = False


def choose_sources(wish: DeltaWish, released: Sequence[Manifest]) -> tuple[Manifest, ...]:
    """Return the releases that deltas start from. Raises `Refused`, `Malformed`."""
    if not wish.are_made:
        if wish.versions:
            raise Malformed(
                "Expected --no-delta or --delta-from, got both. Leave one of them out.",
                reason="delta_and_none",
            )
        return ()
    if not wish.versions:
        return tuple(released[-1:])
    by_version = {each.version: each for each in released}
    unknown = [each for each in wish.versions if each not in by_version]
    if unknown:
        raise Refused(
            f"Expected a signed release to start a delta from; {unknown[0]} is none of this "
            "product. `fleetward release list` shows them.",
            reason="release_not_signed",
        )
    versions = tuple(dict.fromkeys(wish.versions))
    if len(versions) > MOST_SOURCES:
        raise Malformed(
            f"Expected at most {MOST_SOURCES} releases to start deltas from, got {len(versions)}. "
            "Name those that most machines have; the others fetch the packed form.",
            reason="too_many_deltas",
        )
    return tuple(by_version[each] for each in versions)


class DeltaMaker:
    """Makes the deltas of one release. `released` are all signed ones, `sources` some of them."""

    def __init__(
        self,
        store: BlobStore,
        wish: DeltaWish,
        sources: Sequence[Manifest],
        released: Sequence[Manifest],
    ) -> None:
        self._store = store
        self._level = BEST_LEVEL if wish.is_best else FAST_LEVEL
        self._sources = sources
        self._are_made = wish.are_made
        self._known = {} if wish.is_best else _list_known(store, released)

    def add(self, parts: Sequence[Part], what: str, *, quiet: bool = False) -> tuple[Part, ...]:
        """Return the parts with their deltas, which are stored. Raises `Unreachable`."""
        if not self._are_made:
            return tuple(parts)
        wanted = [(part, source) for part in parts for source in self._list_sources(part)]
        missing = [part for part, source in wanted if (source, part.blob.sha256) not in self._known]
        total = sum(part.blob.length_bytes for part in missing)
        meter = Meter(f"Making deltas for {what}", total, quiet=quiet)
        made = tuple(self._add_to(part, meter) for part in parts)
        meter.end()
        return made

    def _add_to(self, part: Part, meter: Meter) -> Part:
        found = [self._make(source, part, meter) for source in self._list_sources(part)]
        least = part.blob.length_bytes
        deltas = []
        # The one out of nothing is the first: what is named besides has to be shorter.
        for delta in found:
            if delta.blob.length_bytes < least:
                deltas.append(delta)
                least = delta.blob.length_bytes if delta.source == EMPTY_SOURCE else least
            elif (delta.source, part.blob.sha256) not in self._known:
                self._store.drop(delta.blob)
        return replace(part, deltas=tuple(deltas))

    def _list_sources(self, part: Part) -> list[str]:
        """Return the SHA-256 of what deltas to a part start from, nothing being the first."""
        if part.installer not in TAKES_DELTAS:
            return []
        found = [EMPTY_SOURCE]
        for release in self._sources:
            for old in release.parts:
                same = (old.name, old.installer, old.place)
                is_known = old.blob.sha256 in (*found, part.blob.sha256)
                if same == (part.name, part.installer, part.place) and not is_known:
                    found.append(old.blob.sha256)
        return found

    def _make(self, source: str, part: Part, meter: Meter) -> Delta:
        known = self._known.get((source, part.blob.sha256))
        if known is not None:
            return known
        with tempfile.TemporaryDirectory(dir=self._store.path, prefix=".delta-") as name:
            folder = Path(name)
            old, out = self._store.place(source), folder / "out"
            if source == EMPTY_SOURCE:
                old = folder / "nothing"
                old.touch()
            counted = _Counted(meter)
            try:
                make_delta(
                    old,
                    self._store.place(part.blob.sha256),
                    out,
                    level=self._level,
                    on_progress=counted,
                )
            except OSError as e:
                raise Unreachable(
                    f"Expected to make a delta in {self._store.path}; the system says: "
                    f"{e.strerror}. Has the disk room?",
                    reason="disk_refused",
                ) from e
            return Delta(source, self._store.copy(out, count_nothing))


class _Counted:
    """Tells a meter what is new of a number that grows."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._told = 0

    def __call__(self, done_bytes: int) -> None:
        self._meter(done_bytes - self._told)
        self._told = done_bytes


def require_sources(store: BlobStore, sources: Sequence[Manifest]) -> None:
    """Demand the parts that deltas start from. Raises `Refused`."""
    for release in sources:
        for part in release.parts:
            if part.installer in TAKES_DELTAS and not store.has(
                part.blob.sha256, part.blob.length_bytes
            ):
                raise Refused(
                    f"Expected the part {part.name!r} of {release.version} in {store.path}, to "
                    "start a delta from; it is not there. Take it from a copy, name another "
                    "release by --delta-from, or build with --no-delta.",
                    reason="blob_missing",
                )


def _list_known(store: BlobStore, released: Sequence[Manifest]) -> dict[tuple[str, str], Delta]:
    """Return what there is already, by source and part."""
    found = {}
    for release in released:
        for part in release.parts:
            for delta in part.deltas:
                if store.has(delta.blob.sha256, delta.blob.length_bytes):
                    found[delta.source, part.blob.sha256] = delta
    return found
