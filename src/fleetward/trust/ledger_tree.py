"""The tree over an exported record, kept so that its root at every earlier size can be told.

A million entries take 64 MB. The hashes that the export claims for its entries are kept beside
it, so that the first entry that does not fit can be named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetward.trust.errors import Misuse
from fleetward.trust.merkle import HASH_BYTES, hash_children, range_root

_CACHED_ROOTS: Final = 4096


@dataclass(frozen=True, slots=True)
class Misfit:
    """The first entry that is not the one whose hash is claimed, and what it looks like."""

    entry: int
    what: str


class RecordTree:
    """The Merkle tree over the entries of one generation, in the order they were read."""

    def __init__(self) -> None:
        self._levels: list[bytearray] = [bytearray()]
        self._claimed = bytearray()
        self._roots: dict[int, bytes] = {}
        self.size = 0

    def claim(self, hashes: bytes) -> None:
        """Add hashes that the export claims for the entries that follow the last claimed one."""
        self._claimed += hashes

    def append(self, leaf_hash: bytes) -> None:
        """Append an entry by its hash."""
        node, level, index = leaf_hash, 0, self.size
        levels = self._levels
        levels[0] += node
        while index & 1:
            below = levels[level]
            node = hash_children(bytes(below[-2 * HASH_BYTES : -HASH_BYTES]), node)
            level, index = level + 1, index >> 1
            if level == len(levels):
                levels.append(bytearray())
            levels[level] += node
        self.size += 1

    def root_at(self, size: int) -> bytes:
        """Return the root over the first `size` entries. Raises `Misuse` beyond the last."""
        if not 0 <= size <= self.size:
            raise Misuse("There is no such tree.", reason="no_such_tree")
        root = self._roots.get(size)
        if root is None:
            if len(self._roots) >= _CACHED_ROOTS:
                self._roots.clear()
            root = self._roots[size] = range_root(0, size, self._read)
        return root

    def claimed_tree(self) -> RecordTree | None:
        """Return the tree over the claimed hashes, or None when there are none."""
        if not self._claimed:
            return None
        other = RecordTree()
        for index in range(len(self._claimed) // HASH_BYTES):
            other.append(_hash(self._claimed, index))
        return other

    def find_misfit(self) -> Misfit | None:
        """Return the first entry that is not the claimed one, or None."""
        entries, claimed = self._levels[0], self._claimed
        common = min(len(entries), len(claimed))
        if entries[:common] == claimed[:common]:
            return None
        first = _first_difference(entries, claimed, common)
        here, there = _hash(entries, first), _hash(claimed, first)
        if here == _hash(claimed, first + 1):
            return Misfit(first, "missing")
        if there == _hash(entries, first + 1):
            return Misfit(first, "added")
        if there in _hashes(entries, first):
            return Misfit(first, "reordered")
        return Misfit(first, "altered")

    def _read(self, level: int, index: int) -> bytes:
        return _hash(self._levels[level], index)


def _first_difference(a: bytearray, b: bytearray, common: int) -> int:
    """Return the first hash that differs: by halves, each compared at the speed of memory."""
    low, high = 0, common // HASH_BYTES
    while high - low > 1:
        middle = (low + high) // 2
        start, end = low * HASH_BYTES, middle * HASH_BYTES
        if a[start:end] == b[start:end]:
            low = middle
        else:
            high = middle
    return low


def _hash(hashes: bytearray, index: int) -> bytes:
    return bytes(hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES])


def _hashes(hashes: bytearray, start: int) -> set[bytes]:
    end = len(hashes) // HASH_BYTES
    return {_hash(hashes, index) for index in range(start, end)}
