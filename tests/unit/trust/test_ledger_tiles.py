"""The names and bytes of tlog-tiles."""

from __future__ import annotations

import pytest

from fleetward.trust import tiles
from fleetward.trust.errors import Malformed, Misuse

BAD_NAMES = [(0, -1, 1), (0, 0, 0), (0, 0, 257), (64, 0, 1)]


@pytest.mark.parametrize(
    ("index", "width", "name"),
    [
        (0, 256, "tile/0/000"),
        (999, 256, "tile/0/999"),
        (1000, 256, "tile/0/x001/000"),
        (1234067, 256, "tile/0/x001/x234/067"),
        (1234067, 8, "tile/0/x001/x234/067.p/8"),
    ],
)
def test_names_are_those_of_the_specification(index: int, width: int, name: str) -> None:
    assert tiles.tile_path(0, index, width) == name
    assert tiles.bundle_path(index, width) == name.replace("tile/0/", "tile/entries/")


@pytest.mark.parametrize(("level", "index", "width"), BAD_NAMES)
def test_a_name_out_of_range_is_our_bug(level: int, index: int, width: int) -> None:
    with pytest.raises(Misuse):
        tiles.tile_path(level, index, width)


def test_bundles_keep_every_leaf() -> None:
    leaves = [b"", b"a", b"\x00" * 65535]
    assert tiles.decode_bundle(tiles.encode_bundle(leaves)) == leaves
    assert tiles.decode_bundle(b"") == []


@pytest.mark.parametrize(
    "data", [b"\x00", b"\x00\x02a", b"\x00\x00" * 257, tiles.encode_bundle([b"ab"])[:-1]]
)
def test_a_cut_or_overlong_bundle_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed, match="bundle"):
        tiles.decode_bundle(data)


def test_a_leaf_that_two_bytes_cannot_measure_is_our_bug() -> None:
    with pytest.raises(Misuse):
        tiles.encode_bundle([b"x" * 65536])


def test_tiles_cover_a_size_without_gap() -> None:
    assert list(tiles.tiles_of(0)) == []
    assert list(tiles.tiles_of(256)) == [(0, 256)]
    assert list(tiles.tiles_of(600)) == [(0, 256), (1, 256), (2, 88)]


def test_hash_tiles_keep_every_hash() -> None:
    hashes = [bytes([i]) * 32 for i in range(3)]
    assert tiles.decode_tile(tiles.encode_tile(hashes)) == hashes
    with pytest.raises(Malformed):
        tiles.decode_tile(b"x" * 33)
