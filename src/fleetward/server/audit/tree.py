"""The growing tree in memory: its right edge as tiles, and proofs from tiles.

Pure but for the reader of stored tiles that is passed in. Tile (L, n) holds up to 256 hashes: those
of the complete subtrees of 2**(8 L) leaves, from number 256 n on (C2SP tlog-tiles).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from fleetward.trust.errors import Misuse
from fleetward.trust.merkle import (
    HASH_BYTES,
    Frontier,
    hash_children,
    peaks_of,
    prove_consistency,
    prove_inclusion,
)

TILE_WIDTH: Final = 256
TILE_HEIGHT: Final = 8
MAX_CACHED_TILES: Final = 4096
"""Tiles kept in memory for proofs: 32 MiB at most."""

TileReader: TypeAlias = Callable[[int, int], bytes]
Tiles: TypeAlias = dict[tuple[int, int], bytes]


class Tree:
    """A ledger's tree: append, checkpoint root, inclusion and consistency proofs."""

    def __init__(self, size: int, read_tile: TileReader) -> None:
        self._read_stored = read_tile
        self._cache: Tiles = {}
        self.size = size
        peaks = [self._node(level, index) for level, index in peaks_of(size)]
        self._frontier = Frontier(size, peaks)

    def root(self) -> bytes:
        """Return the root over all leaves."""
        return self._frontier.root()

    def append(self, leaf_hashes: Iterable[bytes]) -> Tiles:
        """Append leaves and return the tiles that changed, to be stored in the same transaction.

        When storing fails, the caller throws the tree away and makes a new one.
        """
        changed: dict[tuple[int, int], bytearray] = {}

        def keep(level: int, index: int, node: bytes) -> None:
            if level % TILE_HEIGHT:
                return
            key = (level // TILE_HEIGHT, index // TILE_WIDTH)
            tile = changed.get(key)
            if tile is None:
                tile = changed[key] = bytearray(self._tile(*key) if index % TILE_WIDTH else b"")
            if len(tile) != index % TILE_WIDTH * HASH_BYTES:
                raise Misuse("A tile does not continue where it ended.", reason="torn_tile")
            tile.extend(node)

        for leaf_hash in leaf_hashes:
            self._frontier.append(leaf_hash, keep)
        self.size = self._frontier.size
        result = {key: bytes(tile) for key, tile in changed.items()}
        self._remember(result)
        return result

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the audit path of leaf `index` in the tree of `size` leaves."""
        return prove_inclusion(index, size, self._node)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the proof from a tree of `old` leaves to one of `new`; empty when trivial."""
        return [] if old in (0, new) else prove_consistency(old, new, self._node)

    def root_at(self, size: int) -> bytes:
        """Return the root that the tree had with `size` leaves."""
        peaks = [self._node(level, index) for level, index in peaks_of(size)]
        return Frontier(size, peaks).root()

    def _node(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree, hashed up from the tile that lies below it."""
        row, up = divmod(level, TILE_HEIGHT)
        first = index << up
        tile = self._tile(row, first // TILE_WIDTH)
        start = first % TILE_WIDTH * HASH_BYTES
        end = start + (HASH_BYTES << up)
        if len(tile) < end:
            raise Misuse("A tile of the ledger is missing.", reason="missing_tile")
        nodes = [tile[i : i + HASH_BYTES] for i in range(start, end, HASH_BYTES)]
        while len(nodes) > 1:
            nodes = [hash_children(a, b) for a, b in zip(nodes[::2], nodes[1::2], strict=True)]
        return nodes[0]

    def _tile(self, level: int, position: int) -> bytes:
        key = (level, position)
        tile = self._cache.get(key)
        if tile is None:
            tile = self._read_stored(level, position)
            self._remember({key: tile})
        return tile

    def _remember(self, tiles: Tiles) -> None:
        self._cache.update(tiles)
        while len(self._cache) > MAX_CACHED_TILES:
            self._cache.pop(next(iter(self._cache)))
