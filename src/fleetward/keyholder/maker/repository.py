"""The published files of a maker, and a change of several files that is whole or not at all.

1. What is to be written is first judged as a machine would judge it: by one that has seen nothing,
   and by one that has seen what is there now.
2. It is then written beside the repository, complete and on the disk (`.coming`), and takes effect
   from there, file by file, `timestamp.json` last. Until that one, machines see the old state.
3. A program that was killed leaves the old state, or what the next program finishes, which judges
   it again first.

Nothing below the repository is believed because it lies there: `read_verified` goes the way of a
machine, from the first root on; and the maker's folder keeps its own copy of that root, so that
nobody who can write into the repository puts another maker in his place.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from fleetward.keyholder.maker.as_machine import NO_AGE_MS, Reader, ReadFile
from fleetward.runtime.files import (
    atomic_write,
    make_private_directory,
    read_bounded,
    sync_directory,
)
from fleetward.trust.errors import Malformed, Misuse, Refused, Unreachable, Untrusted
from fleetward.trust.releases import limits
from fleetward.trust.releases.names import name_file, quote_role, require_path
from fleetward.trust.releases.reading import read_metadata

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)

FIRST_ROOT: Final = "1.root.json"
TIMESTAMP: Final = "timestamp.json"
PUBLIC_FILE: Final = 0o644
_COMING: Final = ".coming"
_MAX_FILE_BYTES: Final = limits.MAX_TARGETS_BYTES


@dataclass(frozen=True)
class Verified:
    """The newest files of every role, as a machine that has seen them all believes them."""

    root: bytes
    kept: Mapping[str, bytes]
    products: tuple[str, ...]

    def open(self, role: str, kind: type[T]) -> Metadata[T]:
        """Return a role's metadata, parsed, for a new version of it to be made."""
        if role == "root":
            return read_metadata(self.root, kind, role, limits.MAX_ROOT_BYTES)
        return read_metadata(self.kept[role], kind, role, limits.MAX_TARGETS_BYTES)

    def reader(self) -> Reader:
        """Return a machine that has seen this state."""
        return Reader(self.root, dict(self.kept))


class Repository:
    """The files below `repository/`. Names are those of TUF; nothing else becomes a path."""

    def __init__(self, path: Path, anchor: Path | None = None) -> None:
        self.path = path
        self._anchor = anchor
        self.metadata = path / "metadata"
        self.targets = path / "targets"
        self.blobs = path / "blobs"
        self._coming = path.with_name(_COMING)

    @property
    def is_begun(self) -> bool:
        """Whether it has ever been signed to its end."""
        return (self.metadata / TIMESTAMP).is_file()

    def read(self, name: str) -> bytes | None:
        """Return a metadata file, or None when there is none.

        Raises `Untrusted` for a first root that is not the one of the maker's folder.
        """
        data = _read(self.metadata / name)
        if name == FIRST_ROOT and data is not None and self._anchor is not None:
            kept = _read(self._anchor)
            if kept is not None and kept != data:
                raise Untrusted(
                    f"Expected {self.metadata / name} to be this maker's root, as {self._anchor} "
                    "is; it is another. Somebody wrote into the repository: take it from a copy.",
                    reason="another_root",
                )
        return data

    def read_target(self, file_name: str) -> bytes | None:
        """Return a target's file, or None. Raises `Refused` for a name that leads elsewhere."""
        return _read(self.targets / require_path(file_name))

    def list_roots(self) -> tuple[str, ...]:
        """Return the names of all roots, oldest first."""
        found = []
        for number in range(1, limits.MAX_ROOT_ROTATIONS + 2):
            name = name_file("root", number)
            if not (self.metadata / name).is_file():
                break
            found.append(name)
        return tuple(found)

    def require_begun(self) -> None:
        """Finish what a killed program began. Raises `Refused` when there is no repository yet."""
        self.finish()
        if not self.is_begun:
            raise Refused(
                "Expected a root that enough people have signed; it is still a draft. Go on: "
                "fleetward maker init",
                reason="maker_not_begun",
            )

    def verify(self) -> Verified:
        """Return the newest state, verified as a machine does, whatever has run out."""
        self.require_begun()
        return read_verified(self.read)

    def commit(self, files: Mapping[str, bytes], now_ms: int) -> None:
        """Write files, named below the repository, as one change (rules 1 to 3).

        Raises what a machine raises that would refuse them; nothing was written then.
        """
        self._judge(files, now_ms)
        part = self._coming.with_name(f"{_COMING}.part")
        shutil.rmtree(part, ignore_errors=True)
        for name, data in files.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            atomic_write(part / name, data, PUBLIC_FILE)
        try:
            for folder in {(part / name).parent for name in files}:
                for each in (folder, *folder.relative_to(part).parents):
                    sync_directory(part / each)
            part.rename(self._coming)
            sync_directory(self._coming.parent)
        except OSError as e:
            raise Unreachable(
                f"Expected to write beside {self.path}; the system says: {e.strerror}.",
                reason="disk_refused",
            ) from e
        self._apply(files)

    def finish(self) -> None:
        """Finish a change that a killed program began, if there is one (rule 3)."""
        if not self._coming.is_dir():
            return
        files = {
            str(path.relative_to(self._coming)): read_bounded(path, _MAX_FILE_BYTES)
            for path in sorted(self._coming.rglob("*"))
            if path.is_file()
        }
        self._judge(files, NO_AGE_MS)
        self._apply(files)

    def _judge(self, files: Mapping[str, bytes], now_ms: int) -> None:
        def read(name: str) -> bytes | None:
            return files.get(f"metadata/{name}") or self.read(name)

        first = read(FIRST_ROOT)
        if first is None:
            raise Misuse("A repository without a first root was made.", reason="no_root")
        # A machine that has seen nothing: every product's signatures, whatever has run out.
        products = read_verified(read).products
        # It again, and one that has seen what is there: what changes has not run out either.
        changed = [p for p in products if any(n.endswith(f".{quote_role(p)}.json") for n in files)]
        readers = [Reader(first)]
        if self.is_begun and not self._is_between(files):
            readers.append(read_verified(self.read).reader())
        for reader in readers:
            reader.visit(reader.refresh(read, now_ms), changed, read)

    def _is_between(self, files: Mapping[str, bytes]) -> bool:
        """Say whether a root of this change is there already, whose timestamp is still to come."""
        roots = [name for name in files if name.endswith(".root.json")]
        return any((self.path / name).is_file() for name in roots)

    def _apply(self, files: Mapping[str, bytes]) -> None:
        for name in sorted(files, key=_turn):
            path = self.path / name
            if _read(path) == files[name]:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, files[name], PUBLIC_FILE)
            sync_directory(path.parent.parent)
        # Another program may have finished it as well, with the same files.
        shutil.rmtree(self._coming, ignore_errors=True)


def read_verified(read: ReadFile) -> Verified:
    """Return the newest state that `read` hands out, verified from the first root on."""
    first = read(FIRST_ROOT)
    if first is None:
        raise Refused(
            f"Expected {FIRST_ROOT}; it is not there. Is this a repository of a maker?",
            reason="no_repository",
        )
    reader = Reader(first)
    trusted = reader.refresh(read, NO_AGE_MS)
    products = list_products(reader.kept["targets"])
    reader.visit(trusted, products, read)
    return Verified(reader.root, reader.kept, products)


def list_products(targets: bytes) -> tuple[str, ...]:
    """Return the products to which a verified targets file delegates."""
    signed = read_metadata(targets, Targets, "targets", limits.MAX_TARGETS_BYTES).signed
    if signed.delegations is None or signed.delegations.roles is None:
        return ()
    return tuple(signed.delegations.roles)


def _turn(name: str) -> tuple[int, str]:
    """Targets first, then what names them; a new root, then the timestamp, at the end."""
    if name.endswith(f"/{TIMESTAMP}"):
        return 3, name
    if name.endswith(".root.json"):
        return 2, name
    return (0 if name.startswith("targets/") else 1), name


def _read(path: Path) -> bytes | None:
    with contextlib.suppress(Unreachable):
        return read_bounded(path, _MAX_FILE_BYTES)
    return None


def make_folders(repository: Repository) -> None:
    """Make the three folders of a repository."""
    for each in (repository.path, repository.metadata, repository.targets, repository.blobs):
        make_private_directory(each)


def require_size(path: Path) -> int:
    """Return the size of a plain file. Raises `Malformed` for anything else."""
    found = os.lstat(path)
    if not path.is_file() or path.is_symlink():
        raise Malformed(f"Expected a plain file at {path}.", reason="file_not_regular")
    return found.st_size
