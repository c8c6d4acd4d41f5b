"""A folder with unpacked releases in it, by the SHA-256 of their archives.

    PATH/releases/SHA256/          the files of one
    PATH/releases/.SHA256.whole    says that these are whole; written last, removed first
    PATH/releases/.SHA256.part     one that is being unpacked, or was when the power went
    PATH/releases/.SHA256.tar      its archive as it came: what the next delta starts from
    PATH/releases/.SHA256.tar.part an archive that is being written
    PATH/current -> releases/SHA256
    PATH/previous -> releases/SHA256   the one before, since the last commit

A link is replaced by renaming another one over it, so that there is always either the old or the
new. Everything is on the disk before a method returns. PATH is ours, and nobody else can write it.

A tree does not yield its archive again, so the archive of what is active is kept beside it. It is a
convenience: where the disk has no room it is not kept, and where a release needs the room it goes.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from fleetward.device.updates.archive import unpack
from fleetward.device.updates.installer_words import PartWord, Patch
from fleetward.device.updates.installers.contract import (
    Source,
    Tell,
    is_digest,
    verify_source,
    wrong_hash,
)
from fleetward.device.updates.installers.steady import make_steady
from fleetward.device.updates.patching import Ends, no_delta, patch_part, starts_from_nothing
from fleetward.runtime.files import atomic_write, read_bounded, sync_directory
from fleetward.trust.errors import FleetwardError, Refused, Unreachable

CURRENT: Final = "current"
PREVIOUS: Final = "previous"
FILE_BYTES: Final = 4096
"""What one file costs on a disk besides what it holds."""
SPARE_BYTES: Final = 1024 * 1024
_MARK_BYTES: Final = 128


class Releases:
    """The folder of one place. `needs` says how many times the bytes of its files a release needs
    on the disk later, besides its tree: an archive is not kept where that would be lacking."""

    def __init__(self, path: Path, *, needs: int = 0) -> None:
        self.path = path
        self._folder = path / "releases"
        self._needs = needs

    def tree_of(self, sha256: str) -> Path:
        """Return where the files of one are."""
        return self._folder / sha256

    def needed_bytes(self, part: PartWord) -> int:
        """Return how much room it takes to unpack this one; nothing when it is there.

        What archives take that are kept is room too.
        """
        if self.has(part.sha256):
            return 0
        return max(0, _tree_bytes(part) - self._kept_bytes())

    def has_archive(self, sha256: str) -> bool:
        """Say whether the archive of this one is kept. Whether it is whole, who reads it says."""
        path = self._archive(sha256)
        return bool(sha256) and path.is_file() and not path.is_symlink()

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
        """Verify and unpack a part, unless it is there. Never touches another one's tree."""
        self._make()
        if self.has(part.sha256):
            return
        source.check()
        least = _tree_bytes(part) + self._needs * part.unpacked_bytes
        if self._free() < least + part.length:
            verify_source(source, part.sha256, tell, share=2)
            self._give_room(_tree_bytes(part))
            with self._making(part, _tree_bytes(part), tell):
                self._unpack(part, source, tell)
            return
        with self._making(part, _tree_bytes(part) + part.length, tell):
            self._copy(part, source, tell)
            self._unpack_archive(part, tell)

    def patch(self, part: PartWord, delta: Source, word: Patch, tell: Tell) -> None:
        """Make a part out of the archive of the active one, or of nothing, and unpack it.

        Raises `Refused` when no archive is kept (`no_delta`).
        """
        self._make()
        if self.has(part.sha256):
            return
        is_active = word.source == self.read() and self.has_archive(word.source)
        if not is_active and not starts_from_nothing(word):
            raise no_delta(part)
        with self._making(part, _tree_bytes(part) + part.length, tell):
            ends = Ends(
                lambda: self._archive(word.source).open("rb"),
                lambda: make_steady(self._archive_part(part.sha256)),
            )
            patch_part(part, word, ends, delta, lambda done: tell(done // 2))
            self._unpack_archive(part, tell)

    def drop(self, sha256: str, tell: Tell) -> None:
        """Remove what there is of this one. The caller knows that nothing leads to it."""
        if not self._folder.is_dir():
            return
        self._mark(sha256).unlink(missing_ok=True)
        sync_directory(self._folder)
        self._archive_part(sha256).unlink(missing_ok=True)
        self._archive(sha256).unlink(missing_ok=True)
        _remove(self._folder / f".{sha256}.part", tell)
        _remove(self.tree_of(sha256), tell)
        sync_directory(self._folder)

    def keep(self, kept: Collection[str], active: str, tell: Tell) -> None:
        """Remove all but these, and of archives all but that of the active one."""
        if not self._folder.is_dir():
            return
        archive = self._archive(active)
        for entry in sorted(self._folder.iterdir()):
            name = entry.name.removeprefix(".").removesuffix(".whole")
            if name not in kept and entry != archive:
                digest = name.partition(".")[0]
                if is_digest(digest) and digest not in kept:
                    self.drop(digest, tell)
                _remove(entry, tell)
        sync_directory(self._folder)

    @contextlib.contextmanager
    def _making(self, part: PartWord, needed: int, tell: Tell) -> Iterator[None]:
        """Make room for a part that is not whole here, and leave nothing of it when it fails."""
        if self.read() == part.sha256:
            raise _damaged(self.path / CURRENT)
        try:
            # After a power cut there may be a piece of it.
            self.drop(part.sha256, tell)
            self._require_room(part, needed)
            yield
        except (FleetwardError, OSError):
            with contextlib.suppress(OSError):
                self.drop(part.sha256, tell)
            raise

    def _copy(self, part: PartWord, source: Source, tell: Tell) -> None:
        """Copy an archive while it is verified: what is unpacked then, nobody else can change."""
        with make_steady(self._archive_part(part.sha256)) as file:
            done = 0
            for block in source.blocks():
                done += file.write(block)
                tell(done // 2)
            if file.hexdigest() != part.sha256:
                raise wrong_hash(part.sha256, file.hexdigest())

    def _unpack_archive(self, part: PartWord, tell: Tell) -> None:
        """Unpack the archive that was written here, and keep it."""
        path = self._archive_part(part.sha256)
        with path.open("rb") as file:
            self._unpack(part, Source(file.fileno(), 0, part.length), tell, archive=path)

    def _unpack(
        self, part: PartWord, source: Source, tell: Tell, *, archive: Path | None = None
    ) -> None:
        beside = self._folder / f".{part.sha256}.part"
        unpack(source, part, beside, tell)
        beside.rename(self.tree_of(part.sha256))
        if archive is not None:
            archive.rename(self._archive(part.sha256))
        sync_directory(self._folder)
        atomic_write(self._mark(part.sha256), part.sha256.encode() + b"\n", 0o644)

    def _list_archives(self) -> list[Path]:
        return [path for path in self._folder.glob(".*.tar") if path.is_file()]

    def _kept_bytes(self) -> int:
        return sum(path.lstat().st_size for path in self._list_archives())

    def _give_room(self, needed: int) -> None:
        """Drop the archives that are kept, where their room is what a release lacks."""
        free = self._free()
        if free < needed <= free + self._kept_bytes():
            for path in self._list_archives():
                path.unlink(missing_ok=True)
            sync_directory(self._folder)

    def _free(self) -> int:
        return free_bytes(self._folder)

    def _archive(self, sha256: str) -> Path:
        return self._folder / f".{sha256}.tar"

    def _archive_part(self, sha256: str) -> Path:
        return self._folder / f".{sha256}.tar.part"

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

    def _require_room(self, part: PartWord, needed: int) -> None:
        free = self._free()
        if needed > free:
            raise Unreachable(
                f"Part {part.name} needs {needed} bytes below {self.path}; {free} are free. Make "
                "room there; it is tried again.",
                reason="disk_full",
            )


def _tree_bytes(part: PartWord) -> int:
    return part.unpacked_bytes + part.unpacked_files * FILE_BYTES + SPARE_BYTES


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
