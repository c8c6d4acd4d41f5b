"""Names and bytes of C2SP tlog-tiles: how a ledger lies in files.

Format: c2sp.org/tlog-tiles. A tile is a run of at most 256 hashes of one level; an entry bundle is
a run of at most 256 leaves, each behind its length in two bytes, big-endian. The last tile of a
level is partial until it is full, and its width stands in its name:

    >>> tile_path(0, 1234067)
    'tile/0/x001/x234/067'
    >>> bundle_path(7, 3)
    'tile/entries/007.p/3'

Nothing here is verified: a tile says only what it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from fleetward.trust.errors import Malformed, Misuse
from fleetward.trust.merkle import HASH_BYTES

TILE_WIDTH: Final = 256
"""Hashes of a full tile, leaves of a full bundle (tlog-tiles, tile height 8)."""
MAX_LEVEL: Final = 63
MAX_LEAF_BYTES: Final = 0xFFFF
"""What two bytes of length can say; our longest leaf, a policy of 100 keys, has 30 KB."""
MAX_BUNDLE_BYTES: Final = TILE_WIDTH * (MAX_LEAF_BYTES + 2)
_LENGTH_BYTES: Final = 2


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Return the name of a hash tile, relative to the log. Raises `Misuse` out of range."""
    if not 0 <= level <= MAX_LEVEL:
        raise Misuse(f"A tile's level is 0 to {MAX_LEVEL}; {level} came.", reason="bad_tile")
    return f"tile/{level}/{_numbered(index, width)}"


def bundle_path(index: int, width: int = TILE_WIDTH) -> str:
    """Return the name of an entry bundle, relative to the log. Raises `Misuse` out of range."""
    return f"tile/entries/{_numbered(index, width)}"


def tiles_of(size: int) -> Iterator[tuple[int, int]]:
    """Yield index and width of each tile that covers `size` hashes or leaves, in order."""
    full, rest = divmod(size, TILE_WIDTH)
    for index in range(full):
        yield index, TILE_WIDTH
    if rest:
        yield full, rest


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Return the bytes of an entry bundle. Raises `Misuse` for too many or too long leaves."""
    if len(entries) > TILE_WIDTH or any(len(e) > MAX_LEAF_BYTES for e in entries):
        raise Misuse(
            f"A bundle has at most {TILE_WIDTH} leaves of at most {MAX_LEAF_BYTES} bytes.",
            reason="bad_bundle",
        )
    return b"".join(len(e).to_bytes(_LENGTH_BYTES, "big") + e for e in entries)


def decode_bundle(data: bytes) -> list[bytes]:
    """Return the leaves of an entry bundle. Raises `Malformed`."""
    entries: list[bytes] = []
    place, end = 0, len(data)
    while place < end:
        start = place + _LENGTH_BYTES
        place = start + int.from_bytes(data[place:start], "big")
        if start > end or place > end or len(entries) == TILE_WIDTH:
            raise Malformed(
                f"Expected at most {TILE_WIDTH} whole leaves in a bundle; it is cut or too long.",
                reason="bad_bundle",
            )
        entries.append(data[start:place])
    return entries


def encode_tile(hashes: Sequence[bytes]) -> bytes:
    """Return the bytes of a hash tile. Raises `Misuse`."""
    if len(hashes) > TILE_WIDTH or any(len(h) != HASH_BYTES for h in hashes):
        raise Misuse(f"A tile has at most {TILE_WIDTH} hashes.", reason="bad_tile")
    return b"".join(hashes)


def decode_tile(data: bytes) -> list[bytes]:
    """Return the hashes of a tile. Raises `Malformed`."""
    if len(data) % HASH_BYTES or len(data) > TILE_WIDTH * HASH_BYTES:
        raise Malformed(
            f"Expected at most {TILE_WIDTH} hashes of {HASH_BYTES} bytes in a tile, "
            f"got {len(data)} bytes.",
            reason="bad_tile",
        )
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]


def _numbered(index: int, width: int) -> str:
    """Return the number in groups of three digits, all but the last behind an x, and the width."""
    if index < 0 or not 1 <= width <= TILE_WIDTH:
        raise Misuse(
            f"A tile has an index from 0 and a width of 1 to {TILE_WIDTH}; "
            f"{index} and {width} came.",
            reason="bad_tile",
        )
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03d}")
    name = "/".join(reversed(groups))
    return name if width == TILE_WIDTH else f"{name}.p/{width}"
