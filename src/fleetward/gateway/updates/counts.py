"""What the cache did, for `fleetward cache status`: written to a file, read from one, no port.

status.json    replaced every few seconds while something changes, and at the end
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.trust.errors import Malformed, Unreachable

STATUS_FILE: Final = "status.json"
MAX_STATUS_BYTES: Final = 64 * 1024


class Counts(msgspec.Struct):
    """Totals over all starts of the process, and how it stands."""

    hits: int = 0
    """Answers out of what was here."""
    misses: int = 0
    """Answers for which the upstream had to be asked, or waited for."""
    missing: int = 0
    """Questions about parts that are not to be had."""
    turned_away: int = 0
    """Questions that were put off: still filling, or too many at once."""
    served_bytes: int = 0
    fetched_bytes: int = 0
    damaged: int = 0
    """Blobs that had changed on the disk, or came with another hash, and were thrown away."""
    blobs: int = 0
    blobs_bytes: int = 0
    keep_bytes: int = 0
    upstream: str = ""
    upstream_ok: bool = True
    failure: str = ""
    """The last failure of the upstream, in words."""
    failure_ms: int = 0
    started_ms: int = 0
    written_ms: int = 0


def read_counts(folder: Path) -> Counts:
    """Return what the process wrote last; zeros where it never ran. Raises `Malformed`."""
    try:
        content = read_bounded(folder / STATUS_FILE, MAX_STATUS_BYTES)
    except Unreachable as e:
        if e.reason == "file_missing":
            return Counts()
        raise
    try:
        return msgspec.json.decode(content, type=Counts)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Malformed(
            f"Expected counts in {folder / STATUS_FILE}; {e}. Remove it: it is made anew.",
            reason="bad_status_file",
        ) from e


def write_counts(folder: Path, counts: Counts) -> None:
    """Replace the file. Raises `Unreachable` when the disk says no."""
    atomic_write(folder / STATUS_FILE, msgspec.json.encode(counts))
