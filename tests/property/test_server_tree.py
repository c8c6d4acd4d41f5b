"""The ledger's tree against the plain definition of RFC 9162, through splits and reloads."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetward.server.audit.tree import TILE_WIDTH, Tree
from fleetward.trust.errors import Misuse
from fleetward.trust.merkle import hash_leaf, root_of, verify_consistency, verify_inclusion

LEAVES = [hash_leaf(n.to_bytes(4, "big")) for n in range(140_000)]
splits = st.lists(st.integers(1, 700), min_size=1, max_size=8)


class Disk:
    """Tiles as the store keeps them."""

    def __init__(self) -> None:
        self.tiles: dict[tuple[int, int], bytes] = {}

    def read(self, level: int, position: int) -> bytes:
        return self.tiles.get((level, position), b"")


@settings(max_examples=60, deadline=None)
@given(sizes=splits, reload_after=st.booleans(), data=st.data())
def test_any_way_of_appending_gives_the_one_root(
    sizes: list[int], *, reload_after: bool, data: st.DataObject
) -> None:
    disk, tree, roots = Disk(), None, {0: hashlib.sha256(b"").digest()}
    tree = Tree(0, disk.read)
    for size in sizes:
        start = tree.size
        disk.tiles |= tree.append(LEAVES[start : start + size])
        roots[tree.size] = root_of(LEAVES[: tree.size])
        assert tree.root() == roots[tree.size]
        if reload_after:
            tree = Tree(tree.size, disk.read)
            assert tree.root() == roots[tree.size]
    for size, root in roots.items():
        assert tree.root_at(size) == root
        verify_consistency(size, root, tree.size, tree.root(), tree.consistency(size, tree.size))
        if size:
            index = data.draw(st.integers(0, size - 1))
            verify_inclusion(LEAVES[index], index, size, tree.inclusion(index, size), root)
    # Tiles are what C2SP says: level 0 holds the leaves themselves.
    for (level, position), tile in disk.tiles.items():
        if level == 0:
            first = position * TILE_WIDTH
            assert tile == b"".join(LEAVES[first : min(first + TILE_WIDTH, tree.size)])


@pytest.mark.parametrize("size", [255, 256, 257, 65_535, 65_536, 65_537, 139_999])
def test_around_the_edges_of_tiles(size: int) -> None:
    disk = Disk()
    tree = Tree(0, disk.read)
    disk.tiles |= tree.append(LEAVES[: size - 1])
    tree = Tree(size - 1, disk.read)
    disk.tiles |= tree.append(LEAVES[size - 1 : size])
    tree = Tree(size, disk.read)
    root = root_of(LEAVES[:size])
    assert tree.root() == root
    for index in {0, size // 2, size - 1}:
        verify_inclusion(LEAVES[index], index, size, tree.inclusion(index, size), root)
    old = size - size // 3
    proof = tree.consistency(old, size)
    verify_consistency(old, root_of(LEAVES[:old]), size, root, proof)


def test_a_torn_or_missing_tile_is_no_proof() -> None:
    disk = Disk()
    disk.tiles |= Tree(0, disk.read).append(LEAVES[:300])
    disk.tiles[0, 1] = disk.tiles[0, 1][:-32]
    with pytest.raises(Misuse):
        Tree(300, disk.read)
    del disk.tiles[0, 1]
    with pytest.raises(Misuse):
        Tree(300, disk.read)
