"""The form of a delta: what makes one file out of another one that a machine already has.

    "FLEETWARD-DELTA-1\\n"
    eight bytes, big endian: the length of the source
    eight bytes, big endian: the length of the target
    the table: for each 4 MiB of the target 17 bytes (`ENTRY`), in order; the last may be shorter
    what is packed, one segment behind the other, in the order of the table, and nothing behind it

| kind         | packed            | offset, length | what the segment is                          |
|--------------|-------------------|----------------|----------------------------------------------|
| 0 plain      | one frame of zstd | 0, 0           | what the frame holds                         |
| 1 dictionary | one frame of zstd | in the source  | the same, with that piece as raw dictionary  |
| 2 copy       | nothing           | in the source  | that piece                                   |

A frame says how long its content is, which is as long as its segment; it names no dictionary, has
no window above 4 MiB, and nothing lies behind it in what is packed.

So a machine holds at most one dictionary, one packed segment and one segment at a time, and every
number was compared with its bound before the first byte is written. A delta out of an empty source
is a packed form of the whole target, for machines that have nothing to begin with.

Version history
- 2026-11-27: `FLEETWARD-DELTA-1`, the first.

This module reads and writes the numbers; it unpacks nothing. `docs/formats.md` has the section
"Deltas".
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from fleetward.trust.errors import Malformed, Misuse

MAGIC: Final = b"FLEETWARD-DELTA-1\n"
LENGTHS: Final = struct.Struct(">QQ")
ENTRY: Final = struct.Struct(">BIQI")
HEAD_BYTES: Final = len(MAGIC) + LENGTHS.size
SEGMENT_BYTES: Final = 4 * 1024 * 1024
SEGMENT_LOG: Final = 22
"""No window of a frame is longer than a segment."""
MIN_DICTIONARY_BYTES: Final = 8
"""zstd takes none that is shorter."""
MAX_DICTIONARY_BYTES: Final = 8 * 1024 * 1024
MAX_PACKED_BYTES: Final = SEGMENT_BYTES + SEGMENT_BYTES // 256
"""Bytes of a packed segment; zstd adds no more than that to what it cannot pack."""
MAX_LENGTH_BYTES: Final = 64 * 1024**3
"""Bytes of source or target: as much as a manifest lets a blob have."""
EMPTY_SOURCE: Final = hashlib.sha256(b"").hexdigest()
"""What a manifest calls the source of a delta that needs none."""


class Kind(IntEnum):
    """How a segment is told."""

    PLAIN = 0
    DICTIONARY = 1
    COPY = 2


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment. `offset` and `length` name the piece of the source; both are 0 for `PLAIN`."""

    kind: Kind
    packed_bytes: int
    offset: int = 0
    length: int = 0


@dataclass(frozen=True, slots=True)
class Head:
    """How long source and target are."""

    source_bytes: int
    target_bytes: int

    @property
    def segment_count(self) -> int:
        """How many segments the target has; an empty one has none."""
        return -(-self.target_bytes // SEGMENT_BYTES)

    @property
    def table_bytes(self) -> int:
        """How long the table is."""
        return self.segment_count * ENTRY.size

    def segment_bytes(self, number: int) -> int:
        """Return how long a segment is, counted from 0."""
        return min(SEGMENT_BYTES, self.target_bytes - number * SEGMENT_BYTES)


def write_head(head: Head) -> bytes:
    """Return what stands before the table."""
    if max(head.source_bytes, head.target_bytes) > MAX_LENGTH_BYTES:
        raise Misuse("A delta of files above 64 GiB was made.", reason="delta_too_long")
    return MAGIC + LENGTHS.pack(head.source_bytes, head.target_bytes)


def read_head(data: bytes) -> Head:
    """Return the lengths, from the first `HEAD_BYTES` bytes. Raises `Malformed`."""
    if len(data) != HEAD_BYTES or not data.startswith(MAGIC):
        raise Malformed(
            "This is no delta of Fleetward. Fetch it again, or the whole part.", reason="no_delta"
        )
    source_bytes, target_bytes = LENGTHS.unpack(data[len(MAGIC) :])
    if max(source_bytes, target_bytes) > MAX_LENGTH_BYTES:
        raise Malformed(
            f"Expected files of at most {MAX_LENGTH_BYTES} bytes, the delta says "
            f"{source_bytes} and {target_bytes}. Take the whole part.",
            reason="bad_delta",
        )
    return Head(source_bytes, target_bytes)


def write_table(segments: Sequence[Segment]) -> bytes:
    """Return the table."""
    return b"".join(
        ENTRY.pack(each.kind, each.packed_bytes, each.offset, each.length) for each in segments
    )


def read_table(head: Head, data: bytes) -> tuple[Segment, ...]:
    """Return how each segment is told; every number keeps its bound. Raises `Malformed`."""
    if len(data) != head.table_bytes:
        raise Malformed(
            f"Expected a table of {head.table_bytes} bytes, got {len(data)}. Fetch the delta "
            "again, or the whole part.",
            reason="bad_delta",
        )
    return tuple(
        _check_entry(head, number, *entry) for number, entry in enumerate(ENTRY.iter_unpack(data))
    )


def _check_entry(
    head: Head, number: int, kind: int, packed_bytes: int, offset: int, length: int
) -> Segment:
    inside = offset + length <= head.source_bytes
    packed = 0 < packed_bytes <= MAX_PACKED_BYTES
    if kind == Kind.PLAIN:
        right = packed and offset == length == 0
    elif kind == Kind.DICTIONARY:
        right = packed and inside and MIN_DICTIONARY_BYTES <= length <= MAX_DICTIONARY_BYTES
    else:
        whole = length == head.segment_bytes(number)
        right = kind == Kind.COPY and packed_bytes == 0 and inside and whole
    if not right:
        raise Malformed(
            f"Segment {number} of the delta breaks a bound: kind {kind}, {packed_bytes} bytes "
            f"packed, {length} bytes at {offset} of a source of {head.source_bytes}. Take the "
            "whole part.",
            reason="bad_delta",
        )
    return Segment(Kind(kind), packed_bytes, offset, length)
