"""Blobs on the disk: files named by the SHA-256 of what they hold, below a program's own folder.

    blobs/ab/ab…        whole, verified when its last piece came
    blobs/ab/ab….part   on its way; the next piece begins where it ends

1. A piece is on the disk before its answer; after a power cut the rest follows.
2. A file gets its name only when all of it has the hash of that name. Another is thrown away.
3. Before the first piece there must be room for the whole, and a reserve for all else there.

It raises `Malformed`, `Refused`, `Untrusted` for bytes of another hash, and `Unreachable` when the
disk says no. Nothing here is secret, and nothing here is believed by a machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetward.runtime.files import PRIVATE_FILE, make_private_directory, sync_directory
from fleetward.trust.errors import Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.release_manifest import MAX_BLOB_BYTES

MAX_PIECE_BYTES: Final = 4 * 1024 * 1024
"""Bytes of one upload."""
RESERVE_BYTES: Final = 512 * 1024 * 1024
"""Bytes that stay free for the rest of the computer: a database, the journals of machines, logs."""
MAX_OPEN: Final = 16
"""Uploads whose hash is remembered between pieces; another one is read again from the disk."""
READ_BYTES: Final = 1024 * 1024
_NAME: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class BlobSize:
    """How much of a blob is here."""

    received: int
    complete: bool


@dataclass(frozen=True, slots=True)
class BlobFile:
    """A file of the folder, whole or on its way."""

    sha256: str
    size_bytes: int
    complete: bool
    used_ms: int
    """When it was written, or said to be used."""


class BlobFolder:
    """The folder of blobs. Thread-safe: one piece is written at a time, reading waits for none."""

    def __init__(self, folder: Path) -> None:
        self._folder = make_private_directory(folder)
        self._lock = threading.Lock()
        self._hashes: dict[str, tuple[int, hashlib._Hash]] = {}

    def size(self, sha256: str) -> BlobSize:
        """Return how much of a blob is here. Its name was checked by the caller."""
        with _disk():
            whole = self._path(sha256)
            if whole.is_file():
                return BlobSize(whole.stat().st_size, complete=True)
            part = _part(whole)
            return BlobSize(part.stat().st_size if part.is_file() else 0, complete=False)

    def read(self, sha256: str, offset: int, length: int) -> tuple[bytes, int] | None:
        """Return a piece of a whole blob and the blob's length, or None."""
        return _read_piece(self._path(sha256), offset, length)

    def read_here(self, sha256: str, offset: int, length: int) -> bytes | None:
        """Return as much of a piece as is here, unverified where the blob is not whole, or None."""
        whole = self._path(sha256)
        # It may get its name in between.
        for path in (whole, _part(whole), whole):
            found = _read_piece(path, offset, length)
            if found is not None:
                return found[0]
        return None

    def files(self) -> list[BlobFile]:
        """Return what is here. Files of other names are no blobs."""
        found = []
        with _disk():
            for path in self._folder.glob("??/*"):
                name = path.name.removesuffix(".part")
                if _NAME.fullmatch(name) is None or path.is_symlink() or not path.is_file():
                    continue
                stat = path.stat()
                used_ms = stat.st_mtime_ns // 1_000_000
                found.append(BlobFile(name, stat.st_size, path.suffix != ".part", used_ms))
        return found

    def touch(self, sha256: str, now_ms: int) -> None:
        """Note that a whole blob was used now, so that it is known after a restart."""
        with contextlib.suppress(FileNotFoundError), _disk():
            os.utime(self._path(sha256), ns=(now_ms * 1_000_000,) * 2, follow_symlinks=False)

    def forget(self, sha256: str) -> None:
        """Remove what is here of a blob. Who reads it now reads on."""
        with self._lock, _disk():
            self._hashes.pop(sha256, None)
            whole = self._path(sha256)
            whole.unlink(missing_ok=True)
            _part(whole).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Return what the disk has free beyond what is to stay free (rule 3)."""
        with _disk():
            return shutil.disk_usage(self._folder).free - RESERVE_BYTES

    def write(self, sha256: str, offset: int, total: int, data: bytes) -> BlobSize:
        """Add a piece; return how much is here now, which may be another place than `offset`.

        The caller sees to it that `total` is the same for all pieces of one blob.
        """
        if not data or len(data) > MAX_PIECE_BYTES or not 0 < total <= MAX_BLOB_BYTES:
            raise Malformed(
                f"Expected 1 to {MAX_PIECE_BYTES} bytes of a blob of at most {MAX_BLOB_BYTES}.",
                reason="bad_piece",
            )
        if offset + len(data) > total:
            raise Malformed("Expected a piece that ends within its blob.", reason="bad_piece")
        with self._lock:
            known = self.size(sha256)
            if known.complete or known.received != offset:
                return known
            with _disk():
                return self._append(sha256, offset, total, data)

    def forget_parts(self, before_ms: int) -> int:
        """Remove uploads that nobody went on with since then; return how many."""
        removed = 0
        with self._lock, _disk():
            for part in self._folder.glob("??/*.part"):
                if part.stat().st_mtime * 1000 < before_ms:
                    part.unlink()
                    self._hashes.pop(part.stem, None)
                    removed += 1
        return removed

    def _append(self, sha256: str, offset: int, total: int, data: bytes) -> BlobSize:
        whole = self._path(sha256)
        make_private_directory(whole.parent)
        # 3.
        free = self.free_bytes()
        if free < total - offset:
            raise Refused(
                f"The blob needs {total - offset} bytes more, and {RESERVE_BYTES} are to stay "
                f"free; the disk has {free + RESERVE_BYTES}. Make room there and go on.",
                reason="disk_full",
            )
        digest = self._digest(sha256, offset)
        part = _part(whole)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(part, flags, PRIVATE_FILE)
        try:
            # 1.
            _write_all(descriptor, data, offset)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        digest.update(data)
        size = offset + len(data)
        self._hashes[sha256] = (size, digest)
        while len(self._hashes) > MAX_OPEN:
            self._hashes.pop(next(iter(self._hashes)))
        if size < total:
            return BlobSize(size, complete=False)
        # 2.
        del self._hashes[sha256]
        if digest.hexdigest() != sha256:
            part.unlink()
            raise Untrusted(
                f"The bytes that came are not those of {sha256}. They were thrown away: send the "
                "blob again from its beginning.",
                reason="wrong_digest",
            )
        part.replace(whole)
        sync_directory(whole.parent)
        return BlobSize(size, complete=True)

    def _digest(self, sha256: str, offset: int) -> hashlib._Hash:
        """Return the hash of what is here of a blob, from memory or from the disk."""
        size, digest = self._hashes.pop(sha256, (-1, hashlib.sha256()))
        if size == offset:
            return digest
        digest = hashlib.sha256()
        if offset:
            with _part(self._path(sha256)).open("rb") as file:
                while chunk := file.read(READ_BYTES):
                    digest.update(chunk)
        return digest

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256


def _part(whole: Path) -> Path:
    return whole.with_name(whole.name + ".part")


def _read_piece(path: Path, offset: int, length: int) -> tuple[bytes, int] | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise _said_no(e) from e
    try:
        with _disk():
            total = os.fstat(descriptor).st_size
            return (os.pread(descriptor, length, offset) if offset < total else b""), total
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise _said_no(e) from e


def _said_no(error: OSError) -> Unreachable:
    return Unreachable(
        f"The folder of blobs cannot be used: {error.strerror}. See that the disk has room "
        "and is writable.",
        reason="disk_refused",
    )
