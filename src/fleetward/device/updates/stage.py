"""Parts on their way: fetched in pieces, verified in segments, resumed after every cut.

A file here holds verified segments alone, from the beginning on. Each is on the disk before the
next is asked for; so after a power cut at most the segment that was on its way is fetched again,
and the last one that lies there is looked at once more. What a server sends that is not what was
signed costs one segment.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fleetward.runtime.files import atomic_write, make_private_directory, read_bounded
from fleetward.trust.errors import FleetwardError, Unreachable, Untrusted
from fleetward.trust.release_manifest import HASH_BYTES, SEGMENT_BYTES, Blob
from fleetward.wire.updates import MAX_PIECE_BYTES, UpdateQuestion

_SUFFIX: Final = ".segments"


@dataclass(slots=True)
class _Running:
    """A blob that is being fetched: its segments' digests, and what came of the next one."""

    blob: Blob
    digests: bytes
    verified: int
    buffer: bytearray = field(default_factory=bytearray)


class Stage:
    """Fetches blobs into one folder, one after another. `question` and `take` alternate."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: _Running | None = None
        self._wants_list = ""

    def path_of(self, blob: Blob) -> Path:
        """Where a blob lies, whole once `is_whole`."""
        return self._folder / blob.sha256

    def is_whole(self, blob: Blob) -> bool:
        """Whether all of it was fetched and verified."""
        try:
            return self.path_of(blob).stat().st_size == blob.length_bytes
        except OSError:
            return False

    def count_bytes(self, blob: Blob) -> int:
        """How many bytes of it lie here."""
        try:
            return self.path_of(blob).stat().st_size
        except OSError:
            return 0

    def question(self, blob: Blob) -> UpdateQuestion | None:
        """Return what to ask for next, or None when the blob is whole. Raises `Unreachable`."""
        if self.is_whole(blob):
            return None
        if self._running is None or self._running.blob.sha256 != blob.sha256:
            self._running = self._open(blob)
        running = self._running
        if running is None:
            self._wants_list = blob.segments
            length = blob.segment_count * HASH_BYTES
            return UpdateQuestion(what="blob", name=blob.segments, offset=0, length=length)
        self._wants_list = ""
        offset = running.verified * SEGMENT_BYTES + len(running.buffer)
        length = min(MAX_PIECE_BYTES, self._segment_end(running) - offset)
        return UpdateQuestion(what="blob", name=blob.sha256, offset=offset, length=length)

    def take(self, blob: Blob, data: bytes, asked: UpdateQuestion) -> bool:
        """Take the answer; return whether more of the blob is verified than before.

        Raises `Untrusted` for what was not signed, `Unreachable` for a disk that says no; both
        leave what was verified before.
        """
        if self._wants_list:
            self._take_list(blob, data)
            return True
        running = self._running
        if running is None or len(data) != asked.length:
            raise Untrusted(
                f"Expected {asked.length} bytes of a part, got {len(data)}.", reason="wrong_length"
            )
        running.buffer += data
        if running.verified * SEGMENT_BYTES + len(running.buffer) == self._segment_end(running):
            self._close_segment(running)
            return True
        return False

    def look_again(self, blob: Blob) -> None:
        """Cut a file at its first segment that is not as signed: the disk may have lied."""
        self._running = None
        if not self.path_of(blob).exists():
            return
        digests = self._read_list(blob)
        good = self._count_good(blob, digests, 0) if digests else 0
        self._cut(blob, good)

    def drop(self, keep: Collection[str] = ()) -> None:
        """Remove every file but the blobs of these digests."""
        self._running = None
        if not self._folder.is_dir():
            return
        with contextlib.suppress(OSError):  # What a disk does not give up now goes the next time.
            for path in self._folder.iterdir():
                if path.name.removesuffix(_SUFFIX) not in keep:
                    path.unlink(missing_ok=True)

    # --- inside

    def _open(self, blob: Blob) -> _Running | None:
        digests = self._read_list(blob)
        if digests is None:
            return None
        # The last segment that lies there may have been on its way to the disk at a power cut.
        whole = self.count_bytes(blob) // SEGMENT_BYTES
        good = self._count_good(blob, digests, max(0, whole - 1))
        self._cut(blob, good)
        return _Running(blob, digests, good)

    def _read_list(self, blob: Blob) -> bytes | None:
        if blob.segment_count == 1:
            # The list of a short file is its own digest.
            return bytes.fromhex(blob.sha256)
        path = self._folder / f"{blob.sha256}{_SUFFIX}"
        try:
            data = read_bounded(path, blob.segment_count * HASH_BYTES)
        except FleetwardError:
            return None
        return data if self._is_list(blob, data) else None

    def _take_list(self, blob: Blob, data: bytes) -> None:
        if not self._is_list(blob, data):
            raise Untrusted(
                "The list of a part's segments is not the one that was signed.",
                reason="wrong_hash",
            )
        make_private_directory(self._folder)
        atomic_write(self._folder / f"{blob.sha256}{_SUFFIX}", data)

    @staticmethod
    def _is_list(blob: Blob, data: bytes) -> bool:
        right = hashlib.sha256(data).hexdigest() == blob.segments
        return right and len(data) == blob.segment_count * HASH_BYTES

    @staticmethod
    def _segment_end(running: _Running) -> int:
        return min((running.verified + 1) * SEGMENT_BYTES, running.blob.length_bytes)

    def _close_segment(self, running: _Running) -> None:
        data, running.buffer = bytes(running.buffer), bytearray()
        at = running.verified * HASH_BYTES
        if hashlib.sha256(data).digest() != running.digests[at : at + HASH_BYTES]:
            raise Untrusted(
                f"Segment {running.verified} of a part is not the one that was signed. It was "
                "changed on the way; it is asked for again.",
                reason="wrong_hash",
            )
        make_private_directory(self._folder)
        try:
            descriptor = os.open(
                self.path_of(running.blob),
                os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
            )
            with os.fdopen(descriptor, "wb") as file:
                file.seek(running.verified * SEGMENT_BYTES)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as e:
            raise Unreachable(
                f"The disk takes no more of the release: {e.strerror}.", reason="disk_refused"
            ) from e
        running.verified += 1
        if self.is_whole(running.blob):
            self._running = None

    def _count_good(self, blob: Blob, digests: bytes, first: int) -> int:
        """Return how many segments from the beginning are whole, believing those before `first`."""
        good = first
        try:
            with self.path_of(blob).open("rb") as file:
                file.seek(first * SEGMENT_BYTES)
                while good < blob.segment_count:
                    data = file.read(SEGMENT_BYTES)
                    at = good * HASH_BYTES
                    if hashlib.sha256(data).digest() != digests[at : at + HASH_BYTES]:
                        break
                    good += 1
        except FileNotFoundError:
            return 0
        except OSError as e:
            raise Unreachable(f"A part cannot be read: {e.strerror}.", reason="disk_refused") from e
        return good

    def _cut(self, blob: Blob, segments: int) -> None:
        size = min(segments * SEGMENT_BYTES, blob.length_bytes)
        path = self.path_of(blob)
        try:
            if path.exists() and path.stat().st_size != size:
                os.truncate(path, size)
        except OSError as e:
            raise Unreachable(f"A part cannot be cut: {e.strerror}.", reason="disk_refused") from e
