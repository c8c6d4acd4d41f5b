"""Files below one folder: list, get, put. A child of the attendant serves one stream and ends.

1. A path is relative, and its steps are names: no `..`, no `.`, no empty step.
2. The kernel walks it: `openat2` with RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and
   RESOLVE_NO_MAGICLINKS; where it has no such call, step by step with O_NOFOLLOW.
3. What is found is held without being opened (O_PATH), looked at, and opened only when it is a
   regular file, so that neither a device nor a FIFO is ever touched.
4. As root the child also makes the folder its root directory first.
5. Bytes in both directions count against the scope's budget, over all streams of the session.
6. The agent's own folder is out of reach, also where a granted folder lies around it. Since no link
   is followed, where a path leads is known from its letters.
7. A file is put under another name, made durable, and renamed over its name: a link that somebody
   puts in its place meanwhile is replaced, never followed.

Messages on the stream carry a letter: R ready, D data, E end, M mark for the recording, C closed
with words (empty when all is well); from the other side D, E, and G: the mark is recorded, go on.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import mmap
import os
import platform
import secrets
import socket
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from fleetward.trust.access import FilesScope
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable
from fleetward.wire.access import MAX_DATA_BYTES, OpenStream

MAX_STEPS: Final = 64
MAX_STEP_BYTES: Final = 255
MOST_ENTRIES: Final = 10_000
_OPENAT2: Final = {"x86_64": 437, "aarch64": 437}
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_BENEATH: Final = 0x08
_HOW: Final = struct.Struct("=QQQ")
_BUDGET: Final = struct.Struct("=Q")
_NOT_BENEATH: Final = (errno.ELOOP, errno.EXDEV, errno.ENOTDIR)


class Budget:
    """Bytes that may still be moved, shared with the children of this process."""

    def __init__(self, size: int) -> None:
        self._shared = mmap.mmap(-1, _BUDGET.size)
        _BUDGET.pack_into(self._shared, 0, size)

    def take(self, size: int) -> None:
        """Take `size` bytes. Raises `Refused` when there are not so many left."""
        (left,) = _BUDGET.unpack_from(self._shared, 0)
        if size > left:
            raise Refused("The grant's number of bytes is used up.", reason="budget_spent")
        _BUDGET.pack_into(self._shared, 0, left - size)


@dataclass(frozen=True, slots=True)
class Served:
    """What one child serves: a folder that it has open, what may be done, what is wanted."""

    root: int
    links: int
    """/proc/self/fd, held open: by it a file that is only held becomes one that is open."""
    writable: bool
    budget: Budget
    hidden: tuple[tuple[str, ...], ...] = ()
    """Folders below it that are not served, as steps."""


def list_hidden(root: str, hidden: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Return what of `hidden` lies below `root`, as steps. Raises `Refused` if `root` is in it."""
    here = root.strip("/").split("/")
    found: list[tuple[str, ...]] = []
    for folder in hidden:
        steps = folder.strip("/").split("/")
        if here[: len(steps)] == steps:
            raise Refused(f"{root} is the agent's own; nobody enters it.", reason="agents_own")
        if steps[: len(here)] == here:
            found.append(tuple(steps[len(here) :]))
    return tuple(found)


def open_root(scope: FilesScope) -> int:
    """Return the scope's folder, opened. Raises `Unreachable` where it is none."""
    slash = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return open_beneath(slash, scope.root.strip("/"), os.O_RDONLY | os.O_DIRECTORY)
    except (OSError, Refused) as e:
        raise Unreachable(
            f"This machine has no folder {scope.root}, or a link stands in its way.",
            reason="no_such_folder",
        ) from e
    finally:
        os.close(slash)


def serve(served: Served, sock: socket.socket, wanted: OpenStream) -> None:
    """Do what is wanted, and say how it went. Raises nothing but `OSError` of the socket."""
    try:
        _check_hidden(served, wanted.path)
        if wanted.verb == "list":
            _list(served, sock, wanted.path)
        elif wanted.verb == "get":
            _get(served, sock, wanted.path)
        else:
            _put(served, sock, wanted)
        words = ""
    except FleetwardError as e:
        words = e.message
    except OSError as e:
        words = f"{wanted.path}: {os.strerror(e.errno or 0)}."
    sock.send(b"C" + words.encode()[:MAX_DATA_BYTES])


def split_path(path: str) -> list[str]:
    """Return the steps of a relative path; none for the folder itself. Raises `Malformed`."""
    if not path:
        return []
    steps = path.split("/")
    for step in steps:
        try:
            size = len(step.encode())
        except UnicodeEncodeError:
            size = 0
        if step in (".", "..") or "\0" in step or not 0 < size <= MAX_STEP_BYTES:
            raise _bad_path()
    if len(steps) > MAX_STEPS:
        raise _bad_path()
    return steps


def _check_hidden(served: Served, path: str) -> None:
    steps = tuple(split_path(path))
    if any(steps[: len(folder)] == folder for folder in served.hidden):
        raise Refused(f"{path} is the agent's own; nobody enters it.", reason="agents_own")


def open_beneath(root: int, path: str, flags: int) -> int:
    """Open what lies below `root`, through no link and no `..`. Raises `OSError`, `Refused`."""
    steps = split_path(path)
    try:
        if not steps:
            return os.open(".", flags | os.O_CLOEXEC, dir_fd=root)
        try:
            return _openat2(root, "/".join(steps), flags)
        except OSError as e:
            if e.errno not in (errno.ENOSYS, errno.EPERM):
                raise
            return _walk(root, steps, flags)
    except OSError as e:
        if e.errno in _NOT_BENEATH:
            raise Refused(
                f"{path}: a link, or no folder, stands in the way. Links are not followed.",
                reason="link_in_the_way",
            ) from e
        raise


def _openat2(root: int, path: str, flags: int) -> int:
    number = _OPENAT2.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, "openat2")
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS
    how = ctypes.create_string_buffer(_HOW.pack(flags | os.O_CLOEXEC, 0, resolve), _HOW.size)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    found: int = libc.syscall(
        ctypes.c_long(number),
        ctypes.c_int(root),
        ctypes.c_char_p(os.fsencode(path)),
        how,
        ctypes.c_size_t(_HOW.size),
    )
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found


def _walk(root: int, steps: list[str], flags: int) -> int:
    """Open step by step: every folder on the way is one, and no link."""
    here = os.dup(root)
    try:
        for step in steps[:-1]:
            folder = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            deeper = os.open(step, folder, dir_fd=here)
            os.close(here)
            here = deeper
        return os.open(steps[-1], flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
    finally:
        os.close(here)


def _list(served: Served, sock: socket.socket, path: str) -> None:
    folder = open_beneath(served.root, path, os.O_RDONLY | os.O_DIRECTORY)
    _mark(sock, f"list {path or '.'}")
    sock.send(b"R{}")
    lines = bytearray()
    for line in _entries(folder):
        if len(lines) + len(line) > MAX_DATA_BYTES:
            _send_data(served, sock, bytes(lines))
            lines.clear()
        lines += line
    _send_data(served, sock, bytes(lines))
    sock.send(b"E")


def _entries(folder: int) -> Iterator[bytes]:
    with os.scandir(folder) as found:
        for number, entry in enumerate(found):
            if number >= MOST_ENTRIES:
                raise Refused(f"More than {MOST_ENTRIES} names in it.", reason="too_many_files")
            with contextlib.suppress(OSError):
                seen = entry.stat(follow_symlinks=False)
                kind = "file" if stat.S_ISREG(seen.st_mode) else "other"
                kind = "folder" if stat.S_ISDIR(seen.st_mode) else kind
                row = {
                    "name": entry.name.encode("utf-8", "surrogateescape").decode(
                        "utf-8", "replace"
                    ),
                    "kind": kind,
                    "size": seen.st_size if kind == "file" else 0,
                    "modified": int(seen.st_mtime),
                }
                yield msgspec.json.encode(row) + b"\n"


def _get(served: Served, sock: socket.socket, path: str) -> None:
    descriptor = _open_regular(served, path, os.O_RDONLY)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        _mark(sock, f"get {path} begins, {size} bytes")
        sock.send(b"R" + msgspec.json.encode({"size": size}))
        digest, moved = hashlib.sha256(), 0
        while data := file.read(MAX_DATA_BYTES):
            digest.update(data)
            moved += len(data)
            _send_data(served, sock, data)
    _mark(sock, f"get {path} {moved} bytes sha256 {digest.hexdigest()}")
    sock.send(b"E")


def _put(served: Served, sock: socket.socket, wanted: OpenStream) -> None:
    if not served.writable:
        raise Refused("The grant lets files be read only.", reason="read_only")
    steps = split_path(wanted.path)
    if not steps:
        raise _bad_path()
    folder_flags = os.O_RDONLY | os.O_DIRECTORY
    folder = open_beneath(served.root, "/".join(steps[:-1]), folder_flags)
    name = steps[-1]
    before = _look(folder, name)
    _mark(sock, f"put {wanted.path} begins, {wanted.size} bytes")
    sock.send(b"R{}")
    partial = f".{secrets.token_hex(8)}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(partial, flags, 0o600, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            moved, digest = _receive(served, sock, file)
            if moved != wanted.size:
                raise Malformed(
                    f"{wanted.size} bytes were announced, {moved} came. Nothing was put.",
                    reason="another_size",
                )
            file.flush()
            if before is not None and os.geteuid() == 0:
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode) & 0o777 if before else 0o644)
            os.fsync(file.fileno())
        _mark(sock, f"put {wanted.path} {moved} bytes sha256 {digest}")
        os.rename(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial, dir_fd=folder)
        raise


def _receive(served: Served, sock: socket.socket, file: object) -> tuple[int, str]:
    digest, moved = hashlib.sha256(), 0
    while True:
        message = sock.recv(MAX_DATA_BYTES + 1)
        if message[:1] == b"E":
            return moved, digest.hexdigest()
        if message[:1] != b"D":
            raise Unreachable("The session ended before all came.", reason="cut_off")
        served.budget.take(len(message) - 1)
        digest.update(message[1:])
        moved += len(message) - 1
        file.write(message[1:])  # type: ignore[attr-defined]  # a binary file


def _look(folder: int, name: str) -> os.stat_result | None:
    """Return what has the name now, None when nothing has. Raises `Refused` for no plain file."""
    try:
        seen = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(seen.st_mode):
        raise _not_regular(name)
    return seen


def _open_regular(served: Served, path: str, flags: int) -> int:
    if not split_path(path):
        raise _bad_path()
    held = open_beneath(served.root, path, os.O_PATH | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(held).st_mode):
            raise _not_regular(path)
        return os.open(str(held), flags | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=served.links)
    finally:
        os.close(held)


def _send_data(served: Served, sock: socket.socket, data: bytes) -> None:
    if data:
        served.budget.take(len(data))
        sock.send(b"D" + data)


def _mark(sock: socket.socket, label: str) -> None:
    """Have something recorded, and return when it is."""
    sock.send(b"M" + label.encode("utf-8", "replace")[:MAX_DATA_BYTES])
    while (message := sock.recv(MAX_DATA_BYTES + 1)) != b"G":
        if message[:1] not in (b"D", b"E"):
            raise Unreachable("The session ended.", reason="cut_off")
        raise Malformed("Data came before it was asked for.", reason="bad_frame")


def _bad_path() -> Malformed:
    return Malformed(
        "Expected a path of names below the folder, without '.', '..' or a slash at its ends.",
        reason="bad_path",
    )


def _not_regular(path: str) -> Refused:
    return Refused(f"{path} is no plain file; nothing else is read or replaced.", reason="no_file")
