"""Space that is kept for the entries that must always find room."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

RESERVE_BYTES: Final = 1024 * 1024
"""Room for some thousand entries about stopping, reducing and refusing."""


class Reserve:
    """A file of allocated blocks. Releasing it gives the blocks to the journal."""

    def __init__(self, path: Path, size_bytes: int = RESERVE_BYTES) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self.held = False

    def take(self) -> bool:
        """Allocate the file if it is not; return whether the space is held now."""
        if self.held:
            return True
        try:
            descriptor = os.open(
                self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        except OSError:
            return False
        try:
            os.posix_fallocate(descriptor, 0, self._size_bytes)
            self.held = True
        except OSError:
            self._path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
        return self.held

    def release(self) -> bool:
        """Give the space up for what must be written; return whether there was any."""
        if not self.held:
            return False
        self._path.unlink(missing_ok=True)
        self.held = False
        return True
