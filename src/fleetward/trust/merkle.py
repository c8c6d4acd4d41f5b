"""The Merkle tree of RFC 6962: hashing, inclusion proofs, consistency proofs.

Section numbers are those of RFC 9162 (which supersedes RFC 6962 and hashes the same way).
Proofs are made from a `HashReader`, a function (level, index) -> hash of the complete subtree of
2**level leaves that starts at leaf index * 2**level, so that nobody needs the whole tree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from fleetward.trust.errors import Malformed, Misuse, Untrusted

HASH_BYTES: Final = 32
MAX_PROOF_HASHES: Final = 64
"""A path in a tree of 2**63 leaves."""
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

HashReader: TypeAlias = Callable[[int, int], bytes]


def hash_leaf(data: bytes) -> bytes:
    """Return the hash of a leaf (RFC 9162 section 2.1.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node (RFC 9162 section 2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: the roots of its complete subtrees, largest first.

    It is all that appending needs. `on_node` is told of every completed node, so that the caller
    can store it.
    """

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if size < 0 or len(peaks) != size.bit_count():
            raise Misuse("The peaks do not belong to this size.", reason="bad_frontier")
        self.size = size
        self._peaks = list(peaks)

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """The roots of the complete subtrees, largest first."""
        return tuple(self._peaks)

    def append(
        self, leaf_hash: bytes, on_node: Callable[[int, int, bytes], None] | None = None
    ) -> None:
        """Append one leaf by its hash."""
        node, level, index = leaf_hash, 0, self.size
        if on_node:
            on_node(level, index, node)
        while index & 1:
            node = hash_children(self._peaks.pop(), node)
            level, index = level + 1, index >> 1
            if on_node:
                on_node(level, index, node)
        self._peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Return the root of the tree as it stands."""
        if not self._peaks:
            return EMPTY_ROOT
        node = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            node = hash_children(peak, node)
        return node


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the root of the tree over these leaf hashes."""
    frontier = Frontier()
    for leaf in leaf_hashes:
        frontier.append(leaf)
    return frontier.root()


def peaks_of(size: int) -> list[tuple[int, int]]:
    """Return (level, index) of the complete subtrees of a tree of `size` leaves, largest first."""
    peaks, start = [], 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            peaks.append((level, start >> level))
            start += 1 << level
    return peaks


def range_root(start: int, end: int, read: HashReader) -> bytes:
    """Return the root over leaves `start` to `end` (excluded); `start` is aligned as in proofs."""
    node: bytes | None = None
    for level, index in reversed(peaks_of(end - start)):
        part = read(level, (start >> level) + index)
        node = part if node is None else hash_children(part, node)
    return EMPTY_ROOT if node is None else node


def prove_inclusion(index: int, size: int, read: HashReader) -> list[bytes]:
    """Return the audit path of leaf `index` in the tree of `size` leaves (section 2.1.3.1).

    Raises `Misuse` when there is no such leaf.
    """
    if not 0 <= index < size:
        raise Misuse("There is no such leaf in this tree.", reason="no_such_leaf")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        split = start + _split(end - start)
        if index < split:
            path.append(range_root(split, end, read))
            end = split
        else:
            path.append(range_root(start, split, read))
            start = split
    return path[::-1]


def prove_consistency(old: int, new: int, read: HashReader) -> list[bytes]:
    """Return the proof that the tree of `new` leaves extends that of `old` (section 2.1.4.1).

    Raises `Misuse` unless 0 < old <= new.
    """
    if not 0 < old <= new:
        raise Misuse("There is no such pair of trees.", reason="no_such_tree")
    proof: list[bytes] = []
    start, end, whole = 0, new, True
    while old != end:
        split = start + _split(end - start)
        if old <= split:
            proof.append(range_root(split, end, read))
            end = split
        else:
            proof.append(range_root(start, split, read))
            start, whole = split, False
    if not whole:
        proof.append(range_root(start, end, read))
    return proof[::-1]


def verify_inclusion(
    leaf_hash: bytes, index: int, size: int, path: Sequence[bytes], root: bytes
) -> None:
    """Return when `leaf_hash` is leaf `index` of the tree with this size and root.

    RFC 9162 section 2.1.3.2, whose step numbers are given. Raises `Malformed` or `Untrusted`.
    """
    _check_hashes(path)
    # 1. The index is smaller than the size.
    if not 0 <= index < size:
        raise Malformed("Expected the index of a leaf in the tree.", reason="bad_index")
    # 2., 3. Start at the leaf.
    position, last, node = index, size - 1, leaf_hash
    # 4. Go up, one hash of the path at a time.
    for sibling in path:
        if last == 0:
            raise Untrusted("The inclusion proof is too long.", reason="bad_inclusion_proof")
        if position & 1 or position == last:
            node = hash_children(sibling, node)
            while not position & 1 and position != 0:
                position, last = position >> 1, last >> 1
        else:
            node = hash_children(node, sibling)
        position, last = position >> 1, last >> 1
    # 5. The path must end at the root, and the hash must be the root's.
    if last != 0 or node != root:
        raise Untrusted(
            "The inclusion proof does not lead to the checkpoint.", reason="bad_inclusion_proof"
        )


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Return when the new tree begins with the whole of the old one.

    RFC 9162 section 2.1.4.2, whose step numbers are given; the cases of an empty old tree and
    of equal sizes stand before them.

    Raises `Malformed` or `Untrusted`. Of the latter, `forked` is a proof to the contrary: the
    hashes lead to the new root, and give the old tree another root. Who only carries them cannot
    make that up. `bad_consistency_proof` proves nothing: somebody garbled it, or has no better.
    """
    _check_hashes(proof)
    if not 0 <= old_size <= new_size:
        raise Untrusted("The newer checkpoint is smaller than the older.", reason="rolled_back")
    if old_size == new_size:
        if old_root != new_root:
            raise Untrusted("Two checkpoints of one size differ.", reason="forked")
        if proof:
            raise Untrusted("The same tree needs no proof.", reason="bad_consistency_proof")
        return
    if old_size == 0:
        if proof or old_root != EMPTY_ROOT:
            raise Untrusted("The empty tree needs no proof.", reason="bad_consistency_proof")
        return
    # 1. An empty proof proves nothing.
    # 2. A complete subtree is its own first hash.
    complete = old_size & (old_size - 1) == 0
    hashes = [old_root, *proof] if complete else list(proof)
    if not proof:
        raise Untrusted("The consistency proof is empty.", reason="bad_consistency_proof")
    old_node, new_node = _climb_both(old_size - 1, new_size - 1, hashes)
    # 7. Both climbs end at the roots that were given.
    if new_node != new_root:
        raise Untrusted(
            "The consistency proof does not lead to the newer checkpoint.",
            reason="bad_consistency_proof",
        )
    if old_node != old_root:
        raise Untrusted(
            "The newer checkpoint does not extend the older: the record was forked or rewritten.",
            reason="forked",
        )


def _climb_both(position: int, last: int, hashes: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return the old and the new root that a consistency proof leads to (steps 3 to 6)."""
    # 3., 4. Skip the part that both trees share as it is.
    while position & 1:
        position, last = position >> 1, last >> 1
    # 5. Both climbs begin at the first hash.
    old_node = new_node = hashes[0]
    # 6. One hash of the proof at a time; those on the left belong to both trees.
    for sibling in hashes[1:]:
        if last == 0:
            raise Untrusted("The consistency proof is too long.", reason="bad_consistency_proof")
        if position & 1 or position == last:
            old_node = hash_children(sibling, old_node)
            new_node = hash_children(sibling, new_node)
            while not position & 1 and position != 0:
                position, last = position >> 1, last >> 1
        else:
            new_node = hash_children(new_node, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise Untrusted("The consistency proof is too short.", reason="bad_consistency_proof")
    return old_node, new_node


def _split(size: int) -> int:
    """Return the largest power of two smaller than `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def _check_hashes(hashes: Sequence[bytes]) -> None:
    if len(hashes) > MAX_PROOF_HASHES or any(len(h) != HASH_BYTES for h in hashes):
        raise Malformed("Expected at most 64 hashes of 32 bytes.", reason="bad_proof")
