"""A folder with unpacked releases in it, by the SHA-256 of their archives.

    PATH/releases/SHA256/          the files of one
    PATH/releases/.SHA256.whole    says that these are whole; written last, removed first
    PATH/releases/.SHA256.part     one that is being unpacked, or was when the power went
    PATH/current -> releases/SHA256
    PATH/previous -> releases/SHA256   the one before, since the last commit

A link is replaced by renaming another one over it, so that there is always either the old or the
new. Everything is on the disk before a method returns. PATH is ours, and nobody else can write it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Final

from fleetward.device.updates.archive import unpack
from fleetward.device.updates.installer_words import PartWord
from fleetward.device.updates.installers.contract import (
    Source,
    Tell,
    is_digest,
    verify_source,
)
from fleetward.runtime.files import atomic_write, read_bounded, sync_directory
from fleetward.trust.errors import FleetwardError, Refused, Unreachable

CURRENT: Final = "current"
PREVIOUS: Final = "previous"
FILE_BYTES: Final = 4096
"""What one file costs on a disk besides what it holds."""
SPARE_BYTES: Final = 1024 * 1024
_MARK_BYTES: Final = 128


class Releases:
    """The folder of one place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = path / "releases"

    def tree_of(self, sha256: str) -> Path:
        """Return where the files of one are."""
        return self._folder / sha256

    def needed_bytes(self, part: PartWord) -> int:
        """Return how much room it takes to unpack this one; nothing when it is there."""
        if self.has(part.sha256):
            return 0
        return part.unpacked_bytes + part.unpacked_files * FILE_BYTES + SPARE_BYTES

    def check_ours(self) -> None:
        """Return when nobody else can write here, or nothing is here yet. Raises `Refused`."""
        for folder in (self.path, self._folder):
            try:
                found = folder.lstat()
            except FileNotFoundError:
                return
            open_to_others = found.st_uid != os.geteuid() or found.st_mode & 0o022
            if not stat.S_ISDIR(found.st_mode) or open_to_others:
                raise Refused(
                    f"Expected {folder} to be a folder that the agent's user alone can write. "
                    "Whoever else could write there would decide what runs. See whose it is.",
                    reason="place_not_ours",
                )

    def has(self, sha256: str) -> bool:
        """Say whether this one is there, whole."""
        try:
            said = read_bounded(self._mark(sha256), _MARK_BYTES)
        except FleetwardError:
            return False
        return said.strip() == sha256.encode() and self.tree_of(sha256).is_dir()

    def read(self, name: str = CURRENT) -> str:
        """Return which one a link leads to, or nothing when there is none.

        Raises `Refused` when something else is there.
        """
        link = self.path / name
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            return ""
        except OSError as e:
            raise _damaged(link) from e
        folder, _, sha256 = target.partition("/")
        if folder != "releases" or not is_digest(sha256):
            raise _damaged(link)
        return sha256

    def point(self, sha256: str, name: str = CURRENT) -> None:
        """Have a link lead to this one; to none, without a digest."""
        link = self.path / name
        beside = self.path / f".{name}.new"
        beside.unlink(missing_ok=True)
        if sha256:
            beside.symlink_to(f"releases/{sha256}")
            beside.replace(link)
        else:
            link.unlink(missing_ok=True)
        sync_directory(self.path)

    def put(self, part: PartWord, source: Source, tell: Tell) -> None:
        """Verify and unpack a part, unless it is there. Never touches another one."""
        self._make()
        if self.has(part.sha256):
            return
        verify_source(source, part.sha256, tell, share=2)
        if self.read() == part.sha256:
            raise _damaged(self.path / CURRENT)
        self.drop(part.sha256, tell)
        self._require_room(part)
        beside = self._folder / f".{part.sha256}.part"
        try:
            unpack(source, part, beside, tell)
            beside.rename(self.tree_of(part.sha256))
            sync_directory(self._folder)
            atomic_write(self._mark(part.sha256), part.sha256.encode() + b"\n", 0o644)
        except (FleetwardError, OSError):
            with contextlib.suppress(OSError):
                self.drop(part.sha256, tell)
            raise

    def drop(self, sha256: str, tell: Tell) -> None:
        """Remove what there is of this one. The caller knows that nothing leads to it."""
        if not self._folder.is_dir():
            return
        self._mark(sha256).unlink(missing_ok=True)
        sync_directory(self._folder)
        _remove(self._folder / f".{sha256}.part", tell)
        _remove(self.tree_of(sha256), tell)
        sync_directory(self._folder)

    def keep(self, kept: Collection[str], tell: Tell) -> None:
        """Remove all but these."""
        if not self._folder.is_dir():
            return
        for entry in sorted(self._folder.iterdir()):
            name = entry.name.removeprefix(".").removesuffix(".whole")
            if name not in kept:
                digest = name.partition(".")[0]
                if is_digest(digest) and digest not in kept:
                    self.drop(digest, tell)
                _remove(entry, tell)
        sync_directory(self._folder)

    def _mark(self, sha256: str) -> Path:
        return self._folder / f".{sha256}.whole"

    def _make(self) -> None:
        self.check_ours()
        missing = [p for p in (self._folder, *self._folder.parents) if not p.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o755, exist_ok=True)
            folder.chmod(0o755)
            sync_directory(folder.parent)
        self.check_ours()

    def _require_room(self, part: PartWord) -> None:
        needed = self.needed_bytes(part)
        free = free_bytes(self._folder)
        if needed > free:
            raise Unreachable(
                f"Part {part.name} needs {needed} bytes below {self.path}; {free} are free. Make "
                "room there; it is tried again.",
                reason="disk_full",
            )


def free_bytes(folder: Path) -> int:
    """Return how much room there is on the disk of a folder, or of the nearest one above it."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _remove(path: Path, tell: Tell) -> None:
    """Remove a file, or a folder with all in it; no link is followed."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    elif path.is_dir():
        for parent, folders, names in os.walk(path, topdown=False):
            for name in names:
                os.unlink(f"{parent}/{name}")  # noqa: PTH108 - some million times
                tell(0)
            for name in folders:
                _remove_folder(Path(parent, name))
        path.rmdir()


def _remove_folder(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        path.rmdir()


def _damaged(path: Path) -> Refused:
    return Refused(
        f"Expected {path} to be a link to one of the releases beside it, or not to be. Something "
        "else is there. See what made it, and remove it.",
        reason="place_damaged",
    )
