"""The verifier's tree has the roots of `merkle`, and names the entry that was touched."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetward.trust.ledger_tree import RecordTree
from fleetward.trust.merkle import hash_leaf, root_of


def tree_of(leaves: list[bytes], claimed: list[bytes] | None = None) -> RecordTree:
    tree = RecordTree()
    tree.claim(b"".join(hash_leaf(each) for each in claimed or []))
    for leaf in leaves:
        tree.append(hash_leaf(leaf))
    return tree


LEAVES = st.lists(st.binary(max_size=4), min_size=1, max_size=70, unique=True)


@given(LEAVES)
@settings(max_examples=60, deadline=None)
def test_every_earlier_root_is_told(leaves: list[bytes]) -> None:
    tree = tree_of(leaves)
    for size in range(len(leaves) + 1):
        assert tree.root_at(size) == root_of(hash_leaf(each) for each in leaves[:size])


@given(LEAVES, st.data())
@settings(max_examples=100, deadline=None)
def test_the_touched_entry_is_named(leaves: list[bytes], data: st.DataObject) -> None:
    place = data.draw(st.integers(min_value=0, max_value=len(leaves) - 1))
    altered = [*leaves[:place], b"longer than any", *leaves[place + 1 :]]
    misfit = tree_of(altered, leaves).find_misfit()
    assert misfit is not None
    assert (misfit.entry, misfit.what) == (place, "altered")
    if place < len(leaves) - 1:
        shorter = tree_of(leaves[:place] + leaves[place + 1 :], leaves).find_misfit()
        assert shorter is not None
        assert (shorter.entry, shorter.what) == (place, "missing")
    longer = tree_of([*leaves[:place], b"longer than any", *leaves[place:]], leaves).find_misfit()
    assert longer is not None
    assert (longer.entry, longer.what) == (place, "added")


@given(LEAVES)
@settings(max_examples=30, deadline=None)
def test_an_honest_tree_has_no_misfit(leaves: list[bytes]) -> None:
    assert tree_of(leaves, leaves).find_misfit() is None
