"""Writing the recording of a session: every line is in the file before its bytes go on.

Lines are those of asciinema v2. What is typed while the terminal shows nothing is written as
asterisks. The descriptor is guard's file, open for appending and nothing else.
"""

from __future__ import annotations

import codecs
import errno
import os
import time
from typing import Final

import msgspec

from fleetward.runtime.recording import Sealer
from fleetward.trust.errors import Unreachable
from fleetward.wire.access import MAX_LABEL_BYTES

SYNC_SECONDS: Final = 1.0
LEAST_FREE_BYTES: Final = 64 * 1024 * 1024
LEAST_FREE_PART: Final = 20
"""So much of the disk, or one part in so many where that is less, is left to the machine: it has a
purpose of its own, and who is inside could fill it by having a lot shown."""


class Recorder:
    """Seals and appends. Raises `Unreachable` when the disk takes no more: the session ends."""

    def __init__(self, sealer: Sealer, descriptor: int) -> None:
        self._sealer = sealer
        self._descriptor = descriptor
        self._started = time.monotonic()
        self._unsynced_since: float | None = None
        self._write(sealer.header)

    def output(self, text: str) -> None:
        """Write what the machine showed."""
        self._line("o", text)

    def input(self, text: str) -> None:
        """Write what was typed."""
        self._line("i", text)

    def resize(self, columns: int, rows: int) -> None:
        """Write that the terminal has another size."""
        self._line("r", f"{columns}x{rows}")

    def mark(self, label: str) -> None:
        """Write that something happened."""
        self._line("m", label[:MAX_LABEL_BYTES])

    def sync_when_due(self, now: float) -> float | None:
        """Have all on the disk once a second; return when that is due next, if it is."""
        since = self._unsynced_since
        if since is None:
            return None
        if now - since < SYNC_SECONDS:
            return since + SYNC_SECONDS
        self.sync()
        return None

    def sync(self) -> None:
        """Return when all is on the disk, and there is room for more."""
        try:
            os.fdatasync(self._descriptor)
            disk = os.fstatvfs(self._descriptor)
        except OSError as e:
            raise _disk_failed(e) from e
        self._unsynced_since = None
        least = min(LEAST_FREE_BYTES, disk.f_blocks * disk.f_frsize // LEAST_FREE_PART)
        if disk.f_bavail * disk.f_frsize < least:
            raise _disk_failed(OSError(errno.ENOSPC, "what is left is the machine's own"))

    def _line(self, code: str, text: str) -> None:
        at = round(time.monotonic() - self._started, 6)
        self._write(self._sealer.seal(msgspec.json.encode((at, code, text)) + b"\n"))

    def _write(self, data: bytes) -> None:
        try:
            if os.write(self._descriptor, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as e:
            raise _disk_failed(e) from e
        if self._unsynced_since is None:
            self._unsynced_since = time.monotonic()


class Text:
    """Bytes of one direction of one terminal as text: a letter may come in two pieces."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def take(self, data: bytes) -> str:
        """Return the text that is whole now."""
        return self._decoder.decode(data)


def _disk_failed(error: OSError) -> Unreachable:
    return Unreachable(
        f"The recording cannot be written ({error.strerror}), and nothing happens unrecorded.",
        reason="recording_disk",
    )
