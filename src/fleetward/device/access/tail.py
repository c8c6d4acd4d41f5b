"""Following a recording from outside: guard sees whole records and their chain, and reads none.

The process of a session writes; guard computes the head itself from the bytes on the disk, so that
what it signs does not rest on that process's word.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final

from fleetward.runtime.recording import (
    MAX_HEADER_BYTES,
    MAX_RECORD_BYTES,
    next_head,
    start_of_chain,
)

MOST_AT_ONCE: Final = 4 * 1024 * 1024
_LENGTH: Final = struct.Struct(">I")
_TAG_BYTES: Final = 16
NO_HEAD: Final = bytes(32)


class Tail:
    """The end of one recording. `size` bytes of it are whole records."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.records = 0
        self.head = NO_HEAD
        self.damaged = False

    def follow(self) -> bool:
        """Read on, a bounded piece; return whether anything whole was new. Raises `OSError`."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            data = os.pread(descriptor, MOST_AT_ONCE, self.size)
        finally:
            os.close(descriptor)
        taken = self._take_header(data) if self.size == 0 else 0
        if self.size + taken:
            taken += self._take_records(data, taken)
        self.size += taken
        return taken > 0

    def seal(self) -> None:
        """Follow to the end, cut off what is no whole record, and have it on the disk.

        Raises `OSError`.
        """
        while self.follow():
            continue
        descriptor = os.open(self.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_size != self.size:
                os.ftruncate(descriptor, self.size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _take_header(self, data: bytes) -> int:
        end = data.find(b"\n", 0, MAX_HEADER_BYTES) + 1
        if end:
            self.head = start_of_chain(data[:end])
        return end

    def _take_records(self, data: bytes, start: int) -> int:
        place = start
        while place + _LENGTH.size <= len(data):
            (length,) = _LENGTH.unpack_from(data, place)
            if not _TAG_BYTES <= length <= MAX_RECORD_BYTES + _TAG_BYTES:
                self.damaged = True
                break
            end = place + _LENGTH.size + length
            if end > len(data):
                break
            self.head = next_head(self.head, data[place:end])
            self.records += 1
            place = end
        return place - start
