"""Make a part out of the one before it and a delta, 4 MiB at a time.

The installer runs it. Whoever calls it has verified the delta's SHA-256, as the manifest names it,
and verifies that of the target afterwards; until then nothing in the target is believed. All the
same every number of the delta is taken for a lie until it was compared with its bound:

1. Head and table are read and checked whole before anything is written.
2. No more than `limit_bytes` are ever written, and no more than the head says.
3. A frame must hold exactly its segment. Its header is read first: it says that length, and no
   window above a segment, so that zstd asks for no more memory than that.
4. Nothing may lie behind the last segment.

It reads the source and never writes it; a longer source than the delta's (a slot) is right, a
shorter one is refused. It needs about 35 MiB beside the interpreter, however long the files are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import BinaryIO, Final

from fleetward.trust.errors import Malformed, Refused
from fleetward.wire.delta import (
    HEAD_BYTES,
    SEGMENT_LOG,
    Head,
    Kind,
    Segment,
    read_head,
    read_table,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_MAGIC: Final = b"\x28\xb5\x2f\xfd"
"""RFC 8878, section 3.1.1. A library may know older forms too, and frames to be skipped."""
_OPTIONS: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: SEGMENT_LOG}


def apply_delta(
    source: BinaryIO,
    delta: BinaryIO,
    target: BinaryIO,
    *,
    limit_bytes: int,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Write to `target` what `delta` makes out of `source`.

    `delta` is read from where it stands to its end, in order, and ends where the delta does.
    `source` can be sought, its first byte is at 0. `target` is written in order. `on_progress` is
    told the bytes written so far, after each segment.

    Raises `Malformed` when the bytes are no delta, and `Refused` when it yields more than
    `limit_bytes`, or when the source is too short. An `OSError` of the three files passes through.
    What was written when it raises is worth nothing.
    """
    head = read_head(_read(delta, HEAD_BYTES))
    if head.target_bytes > limit_bytes:
        raise Refused(
            f"The delta yields {head.target_bytes} bytes where {limit_bytes} were announced. Take "
            "the whole part.",
            reason="delta_too_long",
        )
    segments = read_table(head, _read(delta, head.table_bytes))
    done_bytes = 0
    for number, segment in enumerate(segments):
        done_bytes += _write(target, _make_segment(source, delta, head, number, segment))
        if on_progress is not None:
            on_progress(done_bytes)
    if delta.read(1):
        raise Malformed(
            "Something lies behind the last segment of the delta. Take the whole part.",
            reason="bad_delta",
        )


def _make_segment(
    source: BinaryIO, delta: BinaryIO, head: Head, number: int, segment: Segment
) -> bytes:
    """Return one segment, exactly as long as it has to be. Nothing of it outlives the call."""
    piece = b"" if segment.kind is Kind.PLAIN else _read_source(source, segment)
    if segment.kind is Kind.COPY:
        return piece
    return _unpack(_read(delta, segment.packed_bytes), piece, head.segment_bytes(number))


def _unpack(packed: bytes, dictionary: bytes, length: int) -> bytes:
    """Return what a frame holds. Raises `Malformed` when that is not `length` bytes (rule 3)."""
    if not packed.startswith(_MAGIC):
        raise Malformed(
            "Expected a frame of zstd in a segment of the delta. Take the whole part.",
            reason="bad_delta",
        )
    try:
        told = zstd.get_frame_info(packed)
        if told.decompressed_size != length or told.dictionary_id != 0:
            raise Malformed(
                f"Expected a frame of {length} bytes, it says {told.decompressed_size}. Take the "
                "whole part.",
                reason="bad_delta",
            )
        prefix = zstd.ZstdDict(dictionary, is_raw=True).as_prefix if dictionary else None
        decoder = zstd.ZstdDecompressor(prefix, _OPTIONS)
        made = decoder.decompress(packed, max_length=length + 1)
    except zstd.ZstdError as e:
        raise Malformed(
            f"A segment of the delta cannot be unpacked: {e}. Take the whole part.",
            reason="bad_delta",
        ) from e
    if len(made) != length or not decoder.eof or decoder.unused_data:
        raise Malformed(
            f"Expected one frame of {length} bytes and nothing else. Take the whole part.",
            reason="bad_delta",
        )
    return made


def _read(delta: BinaryIO, length: int) -> bytes:
    data = _read_up_to(delta, length)
    if len(data) != length:
        raise Malformed(
            f"The delta ends {length - len(data)} bytes too early. Fetch it again, or the whole "
            "part.",
            reason="bad_delta",
        )
    return data


def _read_source(source: BinaryIO, segment: Segment) -> bytes:
    source.seek(segment.offset)
    data = _read_up_to(source, segment.length)
    if len(data) != segment.length:
        raise Refused(
            f"The delta wants {segment.length} bytes at {segment.offset} of what is installed, "
            "which is shorter. Take the whole part.",
            reason="source_too_short",
        )
    return data


def _read_up_to(file: BinaryIO, length: int) -> bytes:
    """Read until there is enough or no more: one read of a raw file may bring less."""
    data = file.read(length)
    if len(data) == length or not data:
        return data
    pieces = [data]
    missing = length - len(data)
    while missing and (data := file.read(missing)):
        pieces.append(data)
        missing -= len(data)
    return b"".join(pieces)


def _write(target: BinaryIO, data: bytes) -> int:
    """Write all of it: one write to a raw file may take less."""
    rest = memoryview(data)
    while rest:
        rest = rest[target.write(rest) :]
    return len(data)
