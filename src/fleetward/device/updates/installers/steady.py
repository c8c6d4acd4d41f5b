"""A file that takes long to write: the disk has to take it as it comes, and what passes is hashed.

The kernel would remember gigabytes, and one sync at the end would take longer than anybody waits.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from fleetward.device.updates.installers.contract import BLOCK_BYTES

SYNC_BYTES: Final = 8 * BLOCK_BYTES
"""So much is written before the disk has to have it: a slow disk is heard of in time."""


class Steady:
    """Has the disk take what was written every few MiB."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting = 0
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write these bytes."""
        self._file.write(data)
        self._digest.update(data)
        self._waiting += len(data)
        if self._waiting >= SYNC_BYTES:
            self._file.flush()
            os.fdatasync(self._file.fileno())
            self._waiting = 0
        return len(data)

    def hexdigest(self) -> str:
        """Return the SHA-256 of all that was written."""
        return self._digest.hexdigest()


@contextlib.contextmanager
def make_steady(path: Path) -> Iterator[Steady]:
    """Make a new file that only its owner reads, and have it on the disk at the end.

    Raises `OSError`, also when there is a file already.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb", buffering=BLOCK_BYTES) as file:
        yield Steady(file)
        file.flush()
        os.fsync(file.fileno())
