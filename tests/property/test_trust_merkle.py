"""Merkle proofs against the definition of RFC 6962 section 2.1, written as it stands there."""

from __future__ import annotations

import hashlib

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.trust_world import reader_of

from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.merkle import (
    Frontier,
    hash_leaf,
    prove_consistency,
    prove_inclusion,
    root_of,
    verify_consistency,
    verify_inclusion,
)

UNHURRIED = settings(deadline=None)
"""A shared machine is slow at times; what counts is the answer."""


MOST = 130
LEAVES = [b"leaf %d" % n for n in range(MOST)]
READ = reader_of(hash_leaf(d) for d in LEAVES)


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def mth(d: list[bytes]) -> bytes:
    """MTH(D[n]) of section 2.1."""
    if not d:
        return hashlib.sha256(b"").digest()
    if len(d) == 1:
        return hashlib.sha256(b"\x00" + d[0]).digest()
    k = split(len(d))
    return hashlib.sha256(b"\x01" + mth(d[:k]) + mth(d[k:])).digest()


def path(m: int, d: list[bytes]) -> list[bytes]:
    """PATH(m, D[n]) of section 2.1.1."""
    if len(d) == 1:
        return []
    k = split(len(d))
    return [*path(m, d[:k]), mth(d[k:])] if m < k else [*path(m - k, d[k:]), mth(d[:k])]


def proof(m: int, d: list[bytes]) -> list[bytes]:
    """PROOF(m, D[n]) of section 2.1.2."""

    def subproof(m: int, d: list[bytes], b: bool) -> list[bytes]:
        if m == len(d):
            return [] if b else [mth(d)]
        k = split(len(d))
        if m <= k:
            return [*subproof(m, d[:k], b), mth(d[k:])]
        return [*subproof(m - k, d[k:], False), mth(d[:k])]

    return subproof(m, d, True)


def mutations(hashes: list[bytes], draw: st.DataObject) -> list[bytes]:
    """Return another proof: a bit flipped, a hash dropped, doubled, swapped or added."""
    changed = list(hashes)
    what = draw.draw(st.sampled_from(["flip", "drop", "double", "swap", "add"]))
    place = draw.draw(st.integers(0, max(len(changed) - 1, 0)))
    if what == "add" or not changed:
        changed.insert(place, draw.draw(st.binary(min_size=32, max_size=32)))
    elif what == "flip":
        flipped = bytearray(changed[place])
        flipped[draw.draw(st.integers(0, 31))] ^= 1 << draw.draw(st.integers(0, 7))
        changed[place] = bytes(flipped)
    elif what == "drop":
        del changed[place]
    elif what == "double":
        changed.insert(place, changed[place])
    else:
        changed[place], changed[0] = changed[0], changed[place]
    return changed


@UNHURRIED
@given(st.integers(0, MOST))
def test_root(size: int) -> None:
    assert root_of(hash_leaf(d) for d in LEAVES[:size]) == mth(LEAVES[:size])


@UNHURRIED
@given(st.integers(0, MOST - 1), st.integers(1, MOST))
def test_a_frontier_resumed_anywhere_gives_the_same_root(at: int, size: int) -> None:
    assume(at <= size)
    before = Frontier()
    for leaf in LEAVES[:at]:
        before.append(hash_leaf(leaf))
    after = Frontier(at, before.peaks)
    for leaf in LEAVES[at:size]:
        after.append(hash_leaf(leaf))
    assert after.root() == mth(LEAVES[:size])


@UNHURRIED
@given(st.integers(1, MOST), st.data())
def test_inclusion(size: int, draw: st.DataObject) -> None:
    index = draw.draw(st.integers(0, size - 1))
    made, root = prove_inclusion(index, size, READ), mth(LEAVES[:size])
    assert made == path(index, LEAVES[:size])
    leaf = hash_leaf(LEAVES[index])
    verify_inclusion(leaf, index, size, made, root)
    changed = mutations(made, draw)
    assume(changed != made)
    _never(lambda: verify_inclusion(leaf, index, size, changed, root))
    other = draw.draw(st.integers(0, size - 1))
    assume(other != index)
    _never(lambda: verify_inclusion(hash_leaf(LEAVES[other]), index, size, made, root))
    _never(lambda: verify_inclusion(leaf, other, size, made, root))


@UNHURRIED
@given(st.integers(1, MOST), st.data())
def test_consistency(new: int, draw: st.DataObject) -> None:
    old = draw.draw(st.integers(1, new))
    made = prove_consistency(old, new, READ)
    assert made == proof(old, LEAVES[:new])
    before, after = mth(LEAVES[:old]), mth(LEAVES[:new])
    verify_consistency(old, before, new, after, made)
    changed = mutations(made, draw)
    assume(changed != made)
    _never(lambda: verify_consistency(old, before, new, after, changed))


@UNHURRIED
@given(st.integers(2, MOST), st.data())
def test_no_proof_of_a_rewritten_past(new: int, draw: st.DataObject) -> None:
    """The server rewrites one old leaf and makes the best proof that it can for the new tree."""
    old = draw.draw(st.integers(1, new - 1))
    victim = draw.draw(st.integers(0, old - 1))
    lied = [*LEAVES[:victim], b"another leaf", *LEAVES[victim + 1 : new]]
    for forged in (proof(old, lied), proof(old, LEAVES[:new])):
        _never(lambda p=forged: verify_consistency(old, mth(LEAVES[:old]), new, mth(lied), p))


def _never(check: object) -> None:
    assert callable(check)
    try:
        check()
    except (Malformed, Untrusted):
        return
    raise AssertionError("a false proof was accepted")
