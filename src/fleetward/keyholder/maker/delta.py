"""Make a delta (`wire.delta`): what a machine needs that has the release before.

For each 4 MiB of the new file the most alike 8 MiB of the old one become the dictionary
(`likeness`), and zstd packs the segment with it. A segment that stands in the
old file as it is becomes a copy; one that is like nothing is packed alone, if that is smaller.

The same two files make the same delta with the same release of zstd, on any number of cores. Each
segment is unpacked again and compared. Files are mapped, not read whole; beside them a core needs
about 150 MB.

It signs nothing and knows no manifest. The files must not change meanwhile, and should not be
packed themselves: one byte changes all that follows in a packed file, and nothing is alike.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetward.keyholder.maker.likeness import Anchors, Bytes
from fleetward.trust.errors import Misuse
from fleetward.wire.delta import (
    MAX_DICTIONARY_BYTES,
    MIN_DICTIONARY_BYTES,
    SEGMENT_BYTES,
    SEGMENT_LOG,
    Head,
    Kind,
    Segment,
    write_head,
    write_table,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FAST_LEVEL: Final = 12
BEST_LEVEL: Final = 19
_OPTIONS: Final[dict[int, int]] = {
    zstd.CompressionParameter.window_log: 24,
    zstd.CompressionParameter.enable_long_distance_matching: 1,
    zstd.CompressionParameter.content_size_flag: 1,
    zstd.CompressionParameter.checksum_flag: 0,
}
"""The window spans dictionary and segment. Since a frame says its length, a machine needs no more
than that. What it makes is verified as a whole, so that frames have no sums of their own."""
_MACHINES_OPTIONS: Final[dict[int, int]] = {zstd.DecompressionParameter.window_log_max: SEGMENT_LOG}
_MOST_WORKERS: Final = 8
_WELL_PACKED: Final = 2
"""A segment that a dictionary made smaller than this part of it is not packed alone as well."""


@dataclass(frozen=True, slots=True)
class _Made:
    segment: Segment
    packed: bytes


def make_delta(
    source: Path,
    target: Path,
    out: Path,
    *,
    level: int = BEST_LEVEL,
    on_progress: Callable[[int], None] | None = None,
) -> int:
    """Write to `out` what makes `target` out of `source`; return how long it is in bytes.

    With an empty `source` it is a packed form of `target`. `level` is zstd's: what a machine needs
    to apply the delta does not depend on it. `on_progress` is told how many bytes of
    the target are done. `out` is there whole or not at all. Raises `Misuse` for files above 64 GiB,
    `OSError` when one cannot be read or written.
    """
    part = out.with_name(out.name + ".part")
    try:
        with _map(source) as old, _map(target) as new, part.open("wb") as file:
            head = Head(len(old), len(new))
            file.write(write_head(head))
            file.write(bytes(head.table_bytes))
            segments = []
            for made in _make_in_order(old, new, head, level):
                file.write(made.packed)
                segments.append(made.segment)
                if on_progress is not None:
                    on_progress(min(len(segments) * SEGMENT_BYTES, head.target_bytes))
            length_bytes = file.tell()
            file.seek(len(write_head(head)))
            file.write(write_table(segments))
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return length_bytes


@contextmanager
def _map(path: Path) -> Iterator[Bytes]:
    """Map a file; one without a byte cannot be mapped."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped


def _make_in_order(old: Bytes, new: Bytes, head: Head, level: int) -> Iterator[_Made]:
    """Make the segments on every core, and yield them in their order, few ahead of the reader."""
    workers = min(os.cpu_count() or 1, _MOST_WORKERS)
    maker = _Maker(Anchors(old), old, new, level)
    begun: deque[Future[_Made]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for number in range(head.segment_count):
            begin = number * SEGMENT_BYTES
            end = begin + head.segment_bytes(number)
            begun.append(pool.submit(maker.make, begin, end))
            if len(begun) > 2 * workers:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes segments of one delta, each by itself, from any thread."""

    anchors: Anchors
    old: Bytes
    new: Bytes
    level: int

    def make(self, begin: int, end: int) -> _Made:
        """Choose the smallest of the kinds for one segment."""
        old, data = self.old, self.new[begin:end]
        like = self.anchors.find(self.new, begin, end, longest=MAX_DICTIONARY_BYTES)
        for offset in (begin + like.moved, begin):
            if offset >= 0 and old[offset : offset + len(data)] == data:
                return _Made(Segment(Kind.COPY, 0, offset, len(data)), b"")
        kinds = []
        if like.length >= MIN_DICTIONARY_BYTES:
            packed = self._pack(data, old[like.offset : like.offset + like.length])
            segment = Segment(Kind.DICTIONARY, len(packed), like.offset, like.length)
            kinds.append(_Made(segment, packed))
        if not kinds or len(kinds[0].packed) * _WELL_PACKED > len(data):
            packed = self._pack(data, b"")
            kinds.append(_Made(Segment(Kind.PLAIN, len(packed)), packed))
        return min(kinds, key=lambda made: (len(made.packed), made.segment.kind))

    def _pack(self, data: bytes, dictionary: bytes) -> bytes:
        """Pack one segment, and make sure that a machine will get it back."""
        prefix = zstd.ZstdDict(dictionary, is_raw=True).as_prefix if dictionary else None
        options = {**_OPTIONS, zstd.CompressionParameter.compression_level: self.level}
        encoder = zstd.ZstdCompressor(options=options, zstd_dict=prefix)
        encoder.set_pledged_input_size(len(data))
        packed = encoder.compress(data, encoder.FLUSH_FRAME)
        if zstd.ZstdDecompressor(prefix, _MACHINES_OPTIONS).decompress(packed) != data:
            raise Misuse("zstd gave back other bytes than it was given.", reason="bad_packing")
        return packed
