"""What the cache keeps: blobs on the disk below a ceiling, the least recently used goes first.

    shelf = Shelf(BlobFolder(folder), keep_bytes, now_ms)
    shelf.make_room(sha256, total)       # a place for the whole, before its first piece
    shelf.note_whole(sha256)

The table lives in memory and is read from the disk at the start. Its numbers count what a blob that
is on its way will have, so that what is under way cannot pass the ceiling either. Used from one
thread; whatever takes the disk's time is left to the caller's threads (`folder`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from fleetward.runtime.blob_folder import BlobFolder
from fleetward.trust.errors import Refused, Unreachable

MIN_KEEP_BYTES: Final = 64 * 1024 * 1024
"""A smaller ceiling holds no release worth a cache."""
TOUCH_MS: Final = 60_000
"""So often the disk is told that a blob was used."""


@dataclass(slots=True)
class _Item:
    """A blob here or on its way: its bytes when it will be whole, and when it was used."""

    size_bytes: int
    complete: bool
    used_ms: int
    told_ms: int


class Shelf:
    """The table of what is kept."""

    def __init__(self, folder: BlobFolder, keep_bytes: int) -> None:
        self.folder: Final = folder
        self.keep_bytes: Final = keep_bytes
        self._items: dict[str, _Item] = {}
        for file in folder.files():
            known = self._items.get(file.sha256)
            if known is None or file.complete:
                self._items[file.sha256] = _Item(
                    file.size_bytes, file.complete, file.used_ms, file.used_ms
                )

    @property
    def used_bytes(self) -> int:
        """Bytes that are kept, or have a place."""
        return sum(item.size_bytes for item in self._items.values())

    def names(self) -> list[str]:
        """Return the blobs that are whole."""
        return [name for name, item in self._items.items() if item.complete]

    def size(self, sha256: str) -> int | None:
        """Return the length of a blob that is here whole, or None."""
        item = self._items.get(sha256)
        return item.size_bytes if item is not None and item.complete else None

    def use(self, sha256: str, now_ms: int) -> bool:
        """Note that a blob is used; return whether the disk is to be told (`BlobFolder.touch`)."""
        item = self._items.get(sha256)
        if item is None:
            return False
        item.used_ms = max(item.used_ms, now_ms)
        due = item.complete and now_ms - item.told_ms > TOUCH_MS
        if due:
            item.told_ms = now_ms
        return due

    def choose_victims(self, sha256: str, total: int, keep: Collection[str]) -> list[str]:
        """Return which blobs go so that this one fits, the longest unused first.

        `keep` are those on their way. Raises `Refused` (`too_large`, `disk_full`) when it cannot.
        """
        if total > self.keep_bytes:
            raise Refused(
                f"A part of {total} bytes is more than the cache may keep ({self.keep_bytes}). "
                "Raise `keep_bytes` in cache.toml.",
                reason="too_large",
            )
        here = self.folder.size(sha256).received
        over = self.used_bytes - self._bytes_of(sha256) + total - self.keep_bytes
        lacking = max(over, total - here - self.folder.free_bytes())
        victims: list[str] = []
        others = (name for name in self._items if name != sha256 and name not in keep)
        for name in sorted(others, key=lambda name: self._items[name].used_ms):
            if lacking <= 0:
                break
            victims.append(name)
            lacking -= self._items[name].size_bytes
        if lacking > 0:
            raise Refused(
                f"There is no room for a part of {total} bytes: {lacking} are lacking. Free some "
                "of the disk.",
                reason="disk_full",
            )
        return victims

    def reserve(self, sha256: str, total: int, now_ms: int) -> None:
        """Count a blob that is on its way as if it were whole."""
        self._items[sha256] = _Item(total, complete=False, used_ms=now_ms, told_ms=now_ms)

    def note_whole(self, sha256: str) -> None:
        """Note that all of a blob came and is what its name says."""
        self._items[sha256].complete = True

    def note_part(self, sha256: str) -> None:
        """Count what is on the disk of a blob that comes no further for now."""
        try:
            received = self.folder.size(sha256).received
        except Unreachable:
            received = 0  # The disk is gone, and what was on it is not counted.
        if received and sha256 in self._items:
            self._items[sha256].size_bytes = received
        else:
            self.drop(sha256)

    def drop(self, sha256: str) -> None:
        """Count a blob no more; the caller removes its file."""
        self._items.pop(sha256, None)

    def _bytes_of(self, sha256: str) -> int:
        item = self._items.get(sha256)
        return item.size_bytes if item is not None else 0
