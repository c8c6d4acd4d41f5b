"""A folder becomes an archive: the same folder, the same bytes, wherever and whenever it is packed.

1. The archive is a tar (POSIX pax, which is plain ustar wherever names and sizes fit), with the
   members in the order of their names, all relative to the folder, folders before what is in them.
2. Members are plain files and folders. A link, a device, a pipe, a socket, setuid, setgid or a name
   that is not printable UTF-8 is refused: nothing of the kind is needed, and each has been a hole.
   A file that is exchanged for a link, grows or shrinks meanwhile is refused.
3. Owner and group are 0, the time is 1980-01-01, the mode 0755 for folders and programs, else 0644.
   What a machine has to do differently, a hook does.
4. It is not packed: in a packed archive most bytes behind a change are others, and a delta between
   two of them saves little. What machines fetch is a delta, or a packed form of it (`deltas`).

Nothing is held in memory but the list of names.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

from fleetward.keyholder.maker.blobs import BlobStore, Tick, open_plain, read_exactly
from fleetward.trust.archive_names import check_archive_name
from fleetward.trust.errors import Malformed, Refused, Unreachable
from fleetward.trust.release_manifest import MAX_UNPACKED_BYTES, MAX_UNPACKED_FILES, Blob

_BUFFER_BYTES: Final = 256 * 1024
_WHEN_SECONDS: Final = 315_532_800
"""1980-01-01: the first day that zip files can say, which programs make of unpacked files."""
MAX_NAME_BYTES: Final = 255
MAX_PATH_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A file in an archive."""

    path: str
    size_bytes: int
    sha256: str
    is_program: bool


@dataclass(frozen=True, slots=True)
class Packed:
    """An archive that was stored."""

    blob: Blob
    files: tuple[PackedFile, ...]
    folders: int

    @property
    def unpacked_bytes(self) -> int:
        """Bytes of all files."""
        return sum(each.size_bytes for each in self.files)

    @property
    def members(self) -> int:
        """Files and folders."""
        return len(self.files) + self.folders


@dataclass(frozen=True, slots=True)
class _Member:
    path: str
    source: Path
    is_folder: bool
    size_bytes: int
    is_program: bool


def measure_folder(folder: Path) -> int:
    """Return how many bytes `pack_folder` will read. Raises as it does."""
    return sum(each.size_bytes for each in _walk(folder))


def pack_folder(folder: Path, store: BlobStore, tick: Tick) -> Packed:
    """Pack a folder and store the archive. Raises `Refused` by rule 2, `Malformed`."""
    return _pack(list(_walk(folder)), store, tick)


def pack_files(sources: list[Path], store: BlobStore, tick: Tick) -> Packed:
    """Pack plain files of different names side by side. Raises as `pack_folder`."""
    members = [_look(path.name, path) for path in sorted(sources, key=lambda path: path.name)]
    if len({each.path for each in members}) != len(members):
        raise Malformed("Expected files of different names.", reason="same_file_name")
    return _pack(members, store, tick)


def _pack(members: list[_Member], store: BlobStore, tick: Tick) -> Packed:
    if len(members) > MAX_UNPACKED_FILES:
        raise Malformed(
            f"Expected at most {MAX_UNPACKED_FILES} files in one part.", reason="part_too_large"
        )
    files: list[PackedFile] = []
    # The archive goes into the blob as it is made.
    with (
        store.writer() as writer,
        tarfile.open(
            fileobj=cast("IO[bytes]", writer),  # It is written to, which is all that a stream does.
            mode="w|",
            format=tarfile.PAX_FORMAT,
            bufsize=_BUFFER_BYTES,
        ) as archive,
    ):
        for member in members:
            if member.is_folder:
                archive.addfile(_head(member))
            else:
                files.append(_add_file(archive, member, tick))
    packed = Packed(writer.blob, tuple(files), len(members) - len(files))
    if packed.unpacked_bytes > MAX_UNPACKED_BYTES or not packed.files:
        raise Malformed(
            f"Expected files of at most {MAX_UNPACKED_BYTES} bytes in all, and one at least.",
            reason="part_empty" if not packed.files else "part_too_large",
        )
    return packed


class _Hashed(io.RawIOBase):
    """What tarfile reads a file's bytes from: in pieces, hashed as they pass."""

    def __init__(self, pieces: Iterator[bytes], tick: Tick) -> None:
        super().__init__()
        self._pieces = pieces
        self._tick = tick
        self._left = b""
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Return exactly `size` bytes, or fewer at the end."""
        while len(self._left) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self.digest.update(piece)
            self._tick(len(piece))
            self._left += piece
        given, self._left = self._left[:size], self._left[size:]
        return given


def _add_file(archive: tarfile.TarFile, member: _Member, tick: Tick) -> PackedFile:
    with open_plain(member.source) as (descriptor, size):
        if size != member.size_bytes:
            raise Refused(
                f"Expected {member.source} to stay as it is; it changed while it was packed. "
                "Build again when nothing writes there.",
                reason="file_changes",
            )
        source = _Hashed(read_exactly(descriptor, size, member.source), tick)
        archive.addfile(_head(member), cast("IO[bytes]", source))
        source.read(1)  # the last look: has it grown?
    return PackedFile(member.path, size, source.digest.hexdigest(), member.is_program)


def _head(member: _Member) -> tarfile.TarInfo:
    head = tarfile.TarInfo(member.path)
    head.mtime = _WHEN_SECONDS
    head.type = tarfile.DIRTYPE if member.is_folder else tarfile.REGTYPE
    head.size = 0 if member.is_folder else member.size_bytes
    head.mode = 0o755 if member.is_folder or member.is_program else 0o644
    return head


def _walk(folder: Path) -> Iterator[_Member]:
    """Yield what is in a folder, in the order of names, folders before what is in them."""
    if folder.is_symlink() or not folder.is_dir():
        raise Refused(f"Expected a folder at {folder}.", reason="not_a_folder")
    yield from _walk_below(folder, "")


def _walk_below(folder: Path, above: str) -> Iterator[_Member]:
    try:
        names = sorted(os.fsencode(path.name) for path in folder.iterdir())
    except OSError as e:
        raise Unreachable(
            f"Expected to list {folder}; the system says: {e.strerror}.", reason="disk_refused"
        ) from e
    for raw in names:
        name = _read_name(raw, folder)
        _check_name(f"{above}{name}", folder)
        member = _look(f"{above}{name}", folder / name)
        yield member
        if member.is_folder:
            yield from _walk_below(folder / name, f"{above}{name}/")


def _read_name(raw: bytes, folder: Path) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        name = ""
    if not name or not name.isprintable() or "\\" in name or len(raw) > MAX_NAME_BYTES:
        raise Refused(
            f"Expected names of printable characters without \\ in {folder}, got {raw[:60]!r}. "
            "Rename it.",
            reason="bad_file_name",
        )
    return name


def _check_name(path: str, folder: Path) -> None:
    """Demand a name that machines take: a maker hears of another before he signs it."""
    try:
        check_archive_name(path)
    except Malformed as e:
        raise Refused(f"In {folder}: {e.message}", reason="bad_file_name") from e


def _look(path: str, source: Path) -> _Member:
    """Say what stands at a place, by rule 2."""
    try:
        found = source.lstat()
    except OSError as e:
        raise Unreachable(
            f"Expected to read {source}; the system says: {e.strerror}.", reason="disk_refused"
        ) from e
    mode = found.st_mode
    for is_kind, words in _REFUSED:
        if is_kind(mode):
            raise Refused(
                f"Expected plain files and folders; {source} is {words}. Put what is meant in its "
                "place, or leave it out.",
                reason="not_a_plain_file",
            )
    if mode & (stat.S_ISUID | stat.S_ISGID) and not stat.S_ISDIR(mode):
        raise Refused(
            f"Expected no program with the rights of another user; {source} is setuid or setgid. "
            f"Take that away: chmod ug-s {source}",
            reason="setuid",
        )
    if len(path.encode("utf-8")) > MAX_PATH_BYTES:
        raise Refused(f"Expected a shorter path than {source}.", reason="bad_file_name")
    is_folder = stat.S_ISDIR(mode)
    return _Member(path, source, is_folder, 0 if is_folder else found.st_size, bool(mode & 0o100))


_REFUSED: Final[tuple[tuple[Callable[[int], bool], str], ...]] = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)
