"""Unpacking an archive of a part, whose hash was right, into a new folder of ours.

It is a plain tar of regular files and folders and nothing else: what packs it for its way is undone
before. What a maker's tool would never write is refused, and not mended: the maker's key may be
stolen, and a wrong part is better seen than half understood. So:

1. Names are relative and plain (`trust.archive_names`), and come once each.
2. No links, no devices, no pipes, no sparse files; no setuid, setgid or sticky bit. Files become
   0755 when their owner may run them, 0644 otherwise; folders 0755; all belong to whoever this is.
3. Never more bytes or files than the manifest says, counted while they are written. What is
   unpacked but not written (headers) is bounded too, and so is memory.
4. The archive ends with two empty blocks, and nothing but empty bytes follows.
5. What was unpacked was hashed while it was read. Who changed the file after its hash was right
   gains nothing.

Every file and folder is on the disk when `unpack` returns. It raises `Malformed` for an archive
that breaks a rule, and `OSError` as the disk says.
"""

from __future__ import annotations

import hashlib
import os
import resource
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

from fleetward.device.updates.installer_words import PartWord
from fleetward.device.updates.installers.contract import (
    BLOCK_BYTES,
    SYNC_BYTES,
    Source,
    Tell,
    wrong_hash,
)
from fleetward.runtime.files import sync_directory
from fleetward.trust.archive_names import check_archive_name
from fleetward.trust.errors import FleetwardError, Malformed

SPARE_FOLDERS: Final = 1024
"""Folders are not counted as files; so many more than files there may be."""
HEADER_BYTES: Final = 4096
"""What one file or folder may cost in headers and padding."""
MAX_PADDING_BYTES: Final = 1024 * 1024
"""Empty bytes after the end, as tape drives want them."""
TAR_BLOCK_BYTES: Final = 512
MEMORY_BYTES: Final = 512 * 1024 * 1024
_BROKEN: Final = (
    *(tarfile.TarError, EOFError, ValueError, LookupError),
    *(ArithmeticError, RecursionError, MemoryError),
)
"""What the standard library raises over bytes that were made to hurt."""


def unpack(source: Source, part: PartWord, folder: Path, tell: Tell) -> None:
    """Unpack the archive of a part into a folder, which it makes."""
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    most = part.unpacked_bytes + HEADER_BYTES * (2 * part.unpacked_files + SPARE_FOLDERS + 1)
    reader = _Reader(source, most + MAX_PADDING_BYTES, tell)
    try:
        with (
            _bounded_memory(),
            tarfile.open(
                fileobj=cast("IO[bytes]", reader),  # It reads, which is all that a stream does.
                mode="r|",
                bufsize=BLOCK_BYTES,
                encoding="utf-8",
                errors="strict",
            ) as tar,
        ):
            end = _Unpacking(part, folder, tell).run(tar)
            reader.finish(end)
    except _BROKEN as e:
        raise _refused(f"it cannot be read ({e})") from e
    if reader.hexdigest() != part.sha256:
        raise wrong_hash(part.sha256, reader.hexdigest())
    sync_tree(folder, tell)


def sync_tree(folder: Path, tell: Tell) -> None:
    """Have every file and folder below, and this one, on the disk. Raises `OSError`."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            descriptor = os.open(f"{parent}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            tell(0)
        sync_directory(Path(parent))
        tell(0)


class _Unpacking:
    """The loop over the members of one archive."""

    def __init__(self, part: PartWord, folder: Path, tell: Tell) -> None:
        self._part = part
        self._folder = folder
        self._tell = tell
        self._bytes = 0
        self._files = 0
        self._folders = 0

    def run(self, tar: tarfile.TarFile) -> int:
        """Write every member; return where the last one ends in the archive."""
        end = 0
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep each of a million
            end = member.offset_data
            name = check_name(member)
            if member.isdir():
                self._make_folder(name)
            else:
                end += -(-member.size // TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES
                self._write_file(tar, member, name)
            self._tell(0)
        if not self._files:
            raise _refused("it has no files")
        return end

    def _make_folder(self, name: str) -> None:
        self._count_folder()
        if not name:
            return
        path = self._folder / name
        try:
            self._make_parents(path)
            path.mkdir(exist_ok=True)
        except (FileExistsError, NotADirectoryError) as e:
            raise _refused(f"{name!r} is a file and a folder", "bad_archive_name") from e
        path.chmod(0o755)

    def _count_folder(self) -> None:
        self._folders += 1
        if self._folders > self._part.unpacked_files + SPARE_FOLDERS:
            raise _refused("it has many more folders than files", "archive_too_big")

    def _make_parents(self, path: Path) -> None:
        """Make the folders above. What is there was made here, so none of them is a link."""
        missing = []
        for parent in path.parents:
            if parent == self._folder or parent.is_dir():
                break
            missing.append(parent)
        for parent in reversed(missing):
            self._count_folder()
            parent.mkdir()
            parent.chmod(0o755)

    def _write_file(self, tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
        self._files += 1
        self._bytes += member.size
        if self._files > self._part.unpacked_files:
            raise _refused(
                f"it has more than the {self._part.unpacked_files} files that the release says",
                "archive_too_big",
            )
        if self._bytes > self._part.unpacked_bytes:
            raise _refused(
                f"it has more than the {self._part.unpacked_bytes} bytes that the release says",
                "archive_too_big",
            )
        path = self._folder / name
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._make_parents(path)
            descriptor = os.open(path, flags, 0o600)
        except (FileExistsError, NotADirectoryError) as e:
            raise _refused(f"{name!r} comes twice", "bad_archive_name") from e
        content = tar.extractfile(member)
        assert content is not None
        with os.fdopen(descriptor, "wb") as file:
            left = member.size
            while left:
                block = content.read(min(left, BLOCK_BYTES))
                if not block:
                    raise _refused(f"it ends within {name!r}")
                file.write(block)
                left -= len(block)
                if left and (member.size - left) % SYNC_BYTES < len(block):
                    file.flush()
                    os.fdatasync(descriptor)
                self._tell(0)
            os.fchmod(descriptor, 0o755 if member.mode & 0o100 else 0o644)


def check_name(member: tarfile.TarInfo) -> str:
    """Return the name of a member, empty for the top folder. Raises `Malformed` (rules 1, 2)."""
    name = member.name.removeprefix("./")
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) or member.issparse():
        raise _refused(f"{name[:80]!r} is neither a plain file nor a folder", "bad_archive_member")
    if member.size < 0:
        raise _refused(f"{name[:80]!r} has a size below nothing", "bad_archive_member")
    if member.mode & 0o7000:
        raise _refused(f"{name[:80]!r} would run as another user", "bad_archive_member")
    if member.isdir() and name in ("", "."):
        return ""
    return check_archive_name(name)


# --- Reading -------------------------------------------------------------------------------


class _Reader:
    """What tarfile reads from: hashes, counts, and remembers where something last stood.

    Its progress is the second half of that of the part.
    """

    def __init__(self, source: Source, most: int, tell: Tell) -> None:
        self._blocks = source.blocks()
        self._most = most
        self._tell = tell
        self._digest = hashlib.sha256()
        self._taken = 0
        self._length = source.length
        self._given = 0
        self._something_until = 0
        self._waiting = b""

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes of the tar, none at its end."""
        if not self._waiting:
            self._waiting = self._take()
        block, self._waiting = self._waiting[:size], self._waiting[size:]
        self._given += len(block)
        if self._given > self._most:
            raise _refused("it unpacks to more than the release says", "archive_too_big")
        if filled := len(block.rstrip(b"\0")):
            self._something_until = self._given - len(block) + filled
        return block

    def finish(self, end: int) -> None:
        """Read what is left, and return when it is nothing but the end (rule 4)."""
        while self.read(BLOCK_BYTES):
            pass
        if self._something_until > end or self._given - end > MAX_PADDING_BYTES:
            raise _refused("something follows its end", "trailing_bytes")
        if self._given - end < 2 * TAR_BLOCK_BYTES:
            raise _refused("it ends early")

    def hexdigest(self) -> str:
        """Return the SHA-256 of all that was read."""
        return self._digest.hexdigest()

    def _take(self) -> bytes:
        block = next(self._blocks, b"")
        self._digest.update(block)
        self._taken += len(block)
        self._tell((self._length + self._taken) // 2)
        return block


@contextmanager
def _bounded_memory() -> Iterator[None]:
    """Bound what a hostile header can make us hold; what is started later is not bound by it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    least = MEMORY_BYTES if soft == resource.RLIM_INFINITY else min(soft, MEMORY_BYTES)
    resource.setrlimit(resource.RLIMIT_DATA, (least, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _refused(why: str, reason: str = "bad_archive") -> FleetwardError:
    return Malformed(
        f"The archive of the part is not taken: {why}. Its maker has to build it again.",
        reason=reason,
    )
