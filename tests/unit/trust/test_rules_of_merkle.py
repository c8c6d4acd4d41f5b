"""The Merkle tree: facts of RFC 6962, and proofs too long, too short, or of another tree."""

from __future__ import annotations

import hashlib

import pytest
from tests.trust_world import reader_of, refused

from fleetward.trust.errors import Malformed, Misuse, Untrusted
from fleetward.trust.merkle import (
    EMPTY_ROOT,
    MAX_PROOF_HASHES,
    Frontier,
    hash_children,
    hash_leaf,
    prove_consistency,
    prove_inclusion,
    root_of,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [bytes.fromhex(h) for h in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
"""The leaves that certificate-transparency implementations test with."""
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
HASHES = [hash_leaf(leaf) for leaf in LEAVES]
READ = reader_of(HASHES)
ROOT = root_of(HASHES)


def test_known_roots() -> None:
    assert hashlib.sha256(b"").digest() == EMPTY_ROOT == root_of([])
    for size, expected in enumerate(ROOTS, start=1):
        assert root_of(HASHES[:size]).hex() == expected


def test_a_leaf_is_never_an_inner_node() -> None:
    left, right = HASHES[0], HASHES[1]
    assert hash_leaf(left + right) != hash_children(left, right)
    with refused(Untrusted, "bad_inclusion_proof"):
        verify_inclusion(hash_leaf(left + right), 0, 1, [], hash_children(left, right))


def test_inclusion_is_refused_for_another_place_size_leaf_or_path() -> None:
    path = prove_inclusion(5, 8, READ)
    verify_inclusion(HASHES[5], 5, 8, path, ROOT)
    for leaf, index, size, proof in [
        (HASHES[4], 5, 8, path),
        (HASHES[5], 4, 8, path),
        (HASHES[5], 5, 6, path),
        (HASHES[5], 5, 8, path[:-1]),
        (HASHES[5], 5, 8, [*path, path[0]]),
        (HASHES[5], 5, 8, path[::-1]),
        (HASHES[5], 5, 8, []),
        (ROOT, 0, 2, []),
    ]:
        with refused(Untrusted, "bad_inclusion_proof"):
            verify_inclusion(leaf, index, size, proof, ROOT)


@pytest.mark.parametrize(("index", "size"), [(8, 8), (-1, 8), (0, 0), (3, 2)])
def test_there_is_no_leaf_outside_the_tree(index: int, size: int) -> None:
    with refused(Malformed, "bad_index"):
        verify_inclusion(HASHES[0], index, size, [], ROOT)
    with refused(Misuse, "no_such_leaf"):
        prove_inclusion(index, size, READ)


def test_hashes_of_another_length_are_no_proof() -> None:
    path = prove_inclusion(5, 8, READ)
    for bad in ([*path[:-1], path[-1][:-1]], [path[0] + path[1], path[2]], [b""] * 3):
        with refused(Malformed, "bad_proof"):
            verify_inclusion(HASHES[5], 5, 8, bad, ROOT)
        with refused(Malformed, "bad_proof"):
            verify_consistency(3, ROOT, 8, ROOT, bad)
    with refused(Malformed, "bad_proof"):
        verify_inclusion(HASHES[0], 0, 8, [ROOT] * (MAX_PROOF_HASHES + 1), ROOT)


def test_consistency_is_refused_for_a_rewritten_or_shorter_record() -> None:
    for old in range(1, 8):
        proof = prove_consistency(old, 8, READ)
        before = root_of(HASHES[:old])
        verify_consistency(old, before, 8, ROOT, proof)
        rewritten = root_of([hash_leaf(b"other"), *HASHES[1:old]])
        # Where the old tree is a subtree, the proof holds no hash to contradict it with.
        whole = old in (1, 2, 4)
        with refused(Untrusted, "bad_consistency_proof" if whole else "forked"):
            verify_consistency(old, rewritten, 8, ROOT, proof)
        with refused(Untrusted, "bad_consistency_proof"):
            verify_consistency(old, before, 8, hash_leaf(b"other"), proof)
        with refused(Untrusted, "bad_consistency_proof"):
            verify_consistency(old, before, 8, ROOT, [])
        with refused(Untrusted, "rolled_back"):
            verify_consistency(8, ROOT, old, before, proof)


def test_only_hashes_that_lead_to_the_new_root_show_a_fork() -> None:
    """Whoever garbles a proof on its way accuses nobody."""
    for size in range(2, 9):
        for old in range(1, size):
            proof = prove_consistency(old, size, READ)
            before, after = root_of(HASHES[:old]), root_of(HASHES[:size])
            for place in range(len(proof)):
                garbled = [*proof[:place], hash_leaf(b"noise"), *proof[place + 1 :]]
                with refused(Untrusted, "bad_consistency_proof"):
                    verify_consistency(old, before, size, after, garbled)
            for garbled in ([], proof[::-1] if len(set(proof)) > 1 else [ROOT], [*proof, ROOT]):
                with refused(Untrusted, "bad_consistency_proof"):
                    verify_consistency(old, before, size, after, garbled)


def test_proof_of_another_length_is_refused() -> None:
    proof = prove_consistency(3, 7, READ)
    before, after = root_of(HASHES[:3]), root_of(HASHES[:7])
    for bad in (proof[:-1], [*proof, proof[0]]):
        with refused(Untrusted, "bad_consistency_proof"):
            verify_consistency(3, before, 7, after, bad)


def test_equal_and_empty_trees_need_no_proof() -> None:
    verify_consistency(8, ROOT, 8, ROOT, [])
    verify_consistency(0, EMPTY_ROOT, 8, ROOT, [])
    verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    with refused(Untrusted, "forked"):
        verify_consistency(8, ROOT, 8, HASHES[0], [])
    with refused(Untrusted, "bad_consistency_proof"):
        verify_consistency(8, ROOT, 8, ROOT, [HASHES[0]])
    with refused(Untrusted, "bad_consistency_proof"):
        verify_consistency(0, EMPTY_ROOT, 8, ROOT, [HASHES[0]])
    with refused(Untrusted, "bad_consistency_proof"):
        verify_consistency(0, HASHES[0], 8, ROOT, [])
    with refused(Untrusted, "rolled_back"):
        verify_consistency(-1, EMPTY_ROOT, 8, ROOT, [])


def test_a_frontier_goes_on_from_its_peaks() -> None:
    whole = Frontier()
    for leaf in HASHES:
        resumed = Frontier(whole.size, whole.peaks)
        resumed.append(leaf)
        whole.append(leaf)
        assert (resumed.root(), resumed.size) == (whole.root(), whole.size)
    with refused(Misuse, "bad_frontier"):
        Frontier(3, [ROOT])
    with refused(Misuse, "bad_frontier"):
        Frontier(-1)


@pytest.mark.parametrize(("old", "new"), [(0, 8), (9, 8), (-1, 8)])
def test_there_is_no_such_pair_of_trees(old: int, new: int) -> None:
    with refused(Misuse, "no_such_tree"):
        prove_consistency(old, new, READ)
