"""Walking through named folders: what lies in them, and in what state.

Each root has a depth, a number of entries and a right to digests of its own, so that a big home
takes nothing from `/etc`. A folder on another file system is not entered: what is mounted there
is not of this root. The agent's own folder lies behind such a mount, and is never seen.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from fleetward.device.posture.compare.reading import MAX_NAMES, Reader, read_at, short_digest
from fleetward.device.posture.compare.snapshot import FileState
from fleetward.device.posture.files import show_text

SMALL_BYTES: Final = 32 * 1024
"""Files up to this size are read, so that a change shows although times were set back."""
MAX_READ_BYTES: Final = 16 * 1024 * 1024
"""Of all small files together."""
WALK_SECONDS: Final = 2.0
"""A look never takes longer; what was not reached is named."""
_INODE: Final = 2**63 - 1
"""Some file systems use all 64 bits; one less still tells two files apart."""
MAX_PATH: Final = 900
_FOLDER: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class TreeRoot:
    """A folder to walk through. `marked` keeps of its entries only those with raised rights."""

    path: str
    depth: int
    entries: int
    read: bool = True
    marked: bool = False


@dataclass
class Forest:
    """What was found so far."""

    reader: Reader
    clock: Callable[[], float] = time.monotonic
    folders: dict[str, dict[str, FileState]] = field(default_factory=dict)
    marked: dict[str, dict[str, FileState]] = field(default_factory=dict)
    """Folders of which only entries with raised rights are kept, and compared as such alone."""
    partial: list[str] = field(default_factory=list)
    _left: int = 0
    _read_bytes: int = 0
    _until: float = 0.0

    def walk(self, roots: list[TreeRoot]) -> None:
        """Walk through every root; a folder below two of them is walked through once."""
        self._until = self.clock() + WALK_SECONDS
        for root in roots:
            if show_text(root.path, MAX_PATH) != root.path:
                self.reader.say(f"{root.path}: not looked through, because of its name.")
                continue
            self._left = root.entries
            before = len(self.partial)
            try:
                with self.reader.folder(root.path) as folder:
                    self._enter(folder, root.path, root.depth, root, os.fstat(folder).st_dev)
            except OSError as e:
                self.reader.note(root.path, e)
            missed = len(self.partial) - before
            if missed:
                many = "1 folder was" if missed == 1 else f"{missed} folders were"
                self.reader.say(f"{root.path}: {many} not looked through wholly.")

    def _enter(self, folder: int, path: str, depth: int, root: TreeRoot, device: int) -> None:
        if path in self.folders or path in self.marked or len(path) > MAX_PATH:
            return
        found: dict[str, FileState] = {}
        (self.marked if root.marked else self.folders)[path] = found
        deeper: list[tuple[str, str]] = []
        try:
            with os.scandir(folder) as listing:
                for number, entry in enumerate(listing):
                    if number >= MAX_NAMES or self._left <= 0 or self.clock() > self._until:
                        self.partial.append(path)
                        break
                    self._left -= 1
                    self._take(folder, entry, (root, device), found, deeper)
        except (OSError, ValueError):
            self.partial.append(path)
        for name, shown in sorted(deeper):
            if depth > 1:
                self._go_down(
                    folder, name, (f"{path.rstrip('/')}/{shown}", depth - 1), root, device
                )

    def _go_down(
        self, folder: int, name: str, place: tuple[str, int], root: TreeRoot, device: int
    ) -> None:
        try:
            descriptor = os.open(name, _FOLDER, dir_fd=folder)
        except OSError:
            self.partial.append(place[0])
            return
        try:
            if os.fstat(descriptor).st_dev == device:
                self._enter(descriptor, *place, root, device)
        finally:
            os.close(descriptor)

    def _take(
        self,
        folder: int,
        entry: os.DirEntry[str],
        where: tuple[TreeRoot, int],
        found: dict[str, FileState],
        deeper: list[tuple[str, str]],
    ) -> None:
        root, device = where
        try:
            state = entry.stat(follow_symlinks=False)
        except OSError:
            return  # It has gone meanwhile.
        shown = safe_name(entry.name)
        if stat.S_ISDIR(state.st_mode):
            if state.st_dev != device:
                return
            deeper.append((entry.name, shown))
        if root.marked and not is_raised(state.st_mode):
            return
        content = ""
        if root.read and stat.S_ISREG(state.st_mode) and state.st_size <= SMALL_BYTES:
            content = self._digest(folder, entry.name, state.st_size)
        elif stat.S_ISLNK(state.st_mode):
            content = _link_digest(folder, entry.name)
        found[shown] = FileState(
            state.st_mode,
            state.st_uid,
            state.st_gid,
            0 if stat.S_ISDIR(state.st_mode) else state.st_size,
            0 if stat.S_ISDIR(state.st_mode) else state.st_mtime_ns,
            state.st_ctime_ns,
            state.st_ino & _INODE,
            content,
        )

    def _digest(self, folder: int, name: str, size: int) -> str:
        if self._read_bytes + size > MAX_READ_BYTES:
            return ""
        self._read_bytes += size
        try:
            content, still = read_at(folder, name, SMALL_BYTES)
        except OSError:
            return ""
        return short_digest(content) if still else "*"


def is_raised(mode: int) -> bool:
    """Say whether who starts this file gets rights that he did not have."""
    executable = stat.S_ISREG(mode) and mode & 0o111
    return bool(executable and mode & (stat.S_ISUID | stat.S_ISGID))


def safe_name(name: str) -> str:
    """Return a name so that no two names are shown alike, and none of them does anything."""
    if name.isascii() and name.isprintable() and "\\" not in name:
        return name
    return show_text(os.fsencode(name).replace(b"\\", b"\\\\"), 1020)


def _link_digest(folder: int, name: str) -> str:
    try:
        return short_digest(os.fsencode(os.readlink(name, dir_fd=folder)))
    except OSError:
        return ""
