"""Blobs: files named by their SHA-256, written as they are made, never whole in memory.

Each has a list of the hashes of its 4 MiB segments (`trust.release_manifest`, rule 3), which is
stored as a blob too. A blob is complete or not there.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, TypeAlias

from fleetward.runtime.files import atomic_write, sync_directory
from fleetward.trust.errors import Malformed, Refused, Unreachable
from fleetward.trust.release_manifest import (
    HASH_BYTES,
    MAX_BLOB_BYTES,
    SEGMENT_BYTES,
    Blob,
    Manifest,
)

Tick: TypeAlias = Callable[[int], None]
"""Told how many bytes more are done."""

PIECE_BYTES: Final = 1024 * 1024
BLOB_MODE: Final = 0o644


class BlobStore:
    """The blobs of one repository, or of a folder that one is published to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def place(self, sha256: str) -> Path:
        """Return where a blob lies, or would."""
        return self.path / sha256

    def has(self, sha256: str, length_bytes: int) -> bool:
        """Say whether a blob of this length is here. Its hash is checked where it is read."""
        with contextlib.suppress(OSError):
            found = self.place(sha256).lstat()
            return self.place(sha256).is_file() and found.st_size == length_bytes
        return False

    def require(self, manifest: Manifest) -> None:
        """Demand everything that a release names. Raises `Refused`."""
        for sha256, length in list_names(manifest):
            if not self.has(sha256, length):
                raise Refused(
                    f"Expected the blob {sha256} of {length} bytes in {self.path}; it is not "
                    f"there. Build the release again: fleetward release build "
                    f"{manifest.product} {manifest.version} …",
                    reason="blob_missing",
                )

    def add(self, data: bytes) -> Blob:
        """Store bytes that are in memory."""
        with self.writer() as writer:
            writer.write(data)
        return writer.blob

    def copy(self, source: Path, tick: Tick) -> Blob:
        """Store a plain file. Raises `Refused` for a link or a device, and when it is changed."""
        with open_plain(source) as (descriptor, size), self.writer() as writer:
            for piece in read_exactly(descriptor, size, source):
                writer.write(piece)
                tick(len(piece))
        return writer.blob

    def drop(self, blob: Blob) -> None:
        """Remove a blob and its list, which nothing names."""
        for sha256 in (blob.sha256, blob.segments):
            self.place(sha256).unlink(missing_ok=True)

    def writer(self) -> BlobWriter:
        """Return a writer of one blob, to be used in a `with`."""
        return BlobWriter(self.path)


class BlobWriter:
    """Takes bytes, counts and hashes them, and gives the file its name at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._part = folder / f".{secrets.token_hex(8)}.part"
        self._whole, self._piece = hashlib.sha256(), hashlib.sha256()
        self._in_piece = 0
        self._length = 0
        self._segments: list[bytes] = []
        self._blob: Blob | None = None

    @property
    def blob(self) -> Blob:
        """The blob that was written."""
        if self._blob is None:
            raise Malformed("Expected a blob that was written to its end.", reason="no_blob")
        return self._blob

    def __enter__(self) -> BlobWriter:
        try:
            self._file = self._part.open("xb")
        except OSError as e:
            raise _disk(self._folder, e) from e
        return self

    def write(self, data: bytes) -> int:
        """Take the next bytes; return how many. Raises `Malformed` beyond the largest blob."""
        view = memoryview(data)
        while view:
            now = view[: SEGMENT_BYTES - self._in_piece]
            self._piece.update(now)
            self._in_piece += len(now)
            if self._in_piece == SEGMENT_BYTES:
                self._end_piece()
            view = view[len(now) :]
        self._whole.update(data)
        self._length += len(data)
        if self._length > MAX_BLOB_BYTES:
            raise Malformed(
                f"Expected at most {MAX_BLOB_BYTES} bytes in one part.", reason="part_too_large"
            )
        try:
            self._file.write(data)
        except OSError as e:
            raise _disk(self._folder, e) from e
        return len(data)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        except OSError as e:
            raise _disk(self._folder, e) from e
        finally:
            self._file.close()
            self._part.unlink(missing_ok=True)

    def _end_piece(self) -> None:
        self._segments.append(self._piece.digest())
        self._piece, self._in_piece = hashlib.sha256(), 0

    def _finish(self) -> None:
        if not self._length:
            raise Malformed("Expected something in the part; it is empty.", reason="part_empty")
        if self._in_piece:
            self._end_piece()
        listed = b"".join(self._segments)
        list_hash = hashlib.sha256(listed).hexdigest()
        self._file.flush()
        os.fchmod(self._file.fileno(), BLOB_MODE)
        os.fsync(self._file.fileno())
        self._blob = Blob(self._whole.hexdigest(), self._length, list_hash)
        self._part.replace(self._folder / self._blob.sha256)
        atomic_write(self._folder / list_hash, listed, BLOB_MODE)
        sync_directory(self._folder)


def list_names(manifest: Manifest) -> tuple[tuple[str, int], ...]:
    """Return hash and length of all that a release names, lists of segments too, each once."""
    named: dict[str, int] = {}
    for blob in manifest.blobs():
        named[blob.sha256] = blob.length_bytes
        named[blob.segments] = blob.segment_count * HASH_BYTES
    return tuple(named.items())


@contextlib.contextmanager
def open_plain(
    path: Path | str, folder: int | None = None, shown: Path | None = None
) -> Iterator[tuple[int, int]]:
    """Open a plain file without following a link; give its descriptor and size.

    Raises `Refused` for anything else, `Unreachable` when the disk says no.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    words = shown if shown is not None else path
    try:
        descriptor = os.open(path, flags, dir_fd=folder)
    except OSError as e:
        if e.errno == errno.ELOOP:
            raise Refused(
                f"Expected a plain file at {words}; it is a link. Put what it points to in its "
                "place.",
                reason="not_a_plain_file",
            ) from e
        raise Unreachable(
            f"Expected to read {words}; the system says: {e.strerror}.", reason="disk_refused"
        ) from e
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Refused(
                f"Expected a plain file at {words}; it is a device, a pipe or a socket.",
                reason="not_a_plain_file",
            )
        yield descriptor, found.st_size
    finally:
        os.close(descriptor)


def read_exactly(descriptor: int, size: int, shown: Path) -> Iterator[bytes]:
    """Yield the bytes of a file that has this size. Raises `Refused` when it is being changed."""
    left = size
    while left:
        piece = os.read(descriptor, min(left, PIECE_BYTES))
        if not piece:
            break
        left -= len(piece)
        yield piece
    if left or os.read(descriptor, 1):
        raise Refused(
            f"Expected {size} bytes in {shown}; it changed while it was read. Build again when "
            "nothing writes there.",
            reason="file_changes",
        )


def _disk(folder: Path, error: OSError) -> Unreachable:
    return Unreachable(
        f"Expected to write in {folder}; the system says: {error.strerror}. Has the disk room?",
        reason="disk_refused",
    )
