"""Files that survive a power cut, and files that are read without trust.

`atomic_write` leaves either the old bytes or the new ones, never a mixture, and returns when the
disk has them. `read_bounded` follows no link in the last step of a path, opens no device or pipe,
and never reads more than it was told to.
"""

import errno
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from fleetward.trust.errors import Malformed, Refused, Unreachable

PRIVATE_FILE: Final = 0o600
PRIVATE_DIRECTORY: Final = 0o700


def make_private_directory(path: Path) -> Path:
    """Make a directory that only its owner can enter, with the parents it needs.

    One that exists is kept when it is ours, and closed to others if it was open.
    Raises `Refused` when the path is a link, not a directory, or belongs to somebody else,
    `Unreachable` when the disk says no.
    """
    try:
        path.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        found = path.lstat()
    except FileExistsError as e:
        raise _not_private(path, "something that is not a directory") from e
    except OSError as e:
        raise _disk_said_no(path, e) from e
    if not stat.S_ISDIR(found.st_mode):
        raise _not_private(path, "a link or a file")
    if found.st_uid != os.geteuid():
        raise _not_private(path, f"a directory of user {found.st_uid}")
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(PRIVATE_DIRECTORY)
    return path


def atomic_write(path: Path, content: bytes, mode: int = PRIVATE_FILE) -> None:
    """Replace the file by these bytes: all or nothing, and on the disk when this returns.

    The new file has exactly `mode`. A link at `path` is replaced, not followed.
    Raises `Unreachable` when the disk is full or says no; the old file is then untouched.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        descriptor = os.open(
            partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), mode)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    except OSError as e:
        raise _disk_said_no(path, e) from e


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """The whole content of a regular file, if it has at most `max_bytes`.

    Raises `Unreachable` (reason `file_missing` when there is none), `Refused` for a link, a pipe
    or a device, `Malformed` for a file that is longer than allowed.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as e:
        if e.errno == errno.ELOOP:
            raise _not_regular(path) from e
        raise _disk_said_no(path, e) from e
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_regular(path)
    with os.fdopen(descriptor, "rb") as file:
        try:
            content = file.read(max_bytes + 1)
        except OSError as e:
            raise _disk_said_no(path, e) from e
    if len(content) > max_bytes:
        raise Malformed(
            f"expected at most {max_bytes} bytes in {path}; it has more; "
            "see what wrote it before removing it",
            reason="file_too_long",
        )
    return content


def _disk_said_no(path: Path, error: OSError) -> Unreachable:
    reason = "file_missing" if error.errno == errno.ENOENT else "disk_refused"
    return Unreachable(
        f"expected to use {path}; the system says: {error.strerror}; "
        "check that it exists, whose it is, and that the disk has room",
        reason=reason,
    )


def _not_regular(path: Path) -> Refused:
    return Refused(
        f"expected a plain file at {path}; a link or something else is there; "
        "remove it or name the file itself",
        reason="file_not_regular",
    )


def _not_private(path: Path, found: str) -> Refused:
    return Refused(
        f"expected a directory of our own at {path}; found {found}; choose another path",
        reason="directory_not_private",
    )
