"""Reading files that somebody hostile may have written.

Nothing here follows a link in the last place, opens a FIFO or device for longer than it takes to
see what it is, reads more than a bound, or lets control characters through.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from fleetward.trust.errors import Malformed, Unreachable

MAX_SMALL_BYTES: Final = 1024 * 1024
"""Files of /etc, /proc and /sys are far smaller."""
MAX_DIRECTORY_ENTRIES: Final = 100_000
MAX_TEXT_CHARACTERS: Final = 512

_EVERYBODY: Final = ["0", "0", "4294967295"]
_OVERFLOW_USER: Final = 65534
_HIDDEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]", re.UNICODE
)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def show_text(raw: bytes | str, limit: int = MAX_TEXT_CHARACTERS) -> str:
    """Return text that is safe to show: control characters escaped, bounded in length."""
    text = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
    if not text.isascii() or not text.isprintable():
        text = _HIDDEN.sub(_escape, text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 1] + "…"


@dataclass(frozen=True)
class Root:
    """The tree that is looked at: `/` on a machine, a small tree in a test.

    Links that lie in the way are resolved inside this tree, a last link only where
    `follow=True` is asked for (files that a system links itself, such as os-release).
    """

    path: Path

    def at(self, name: str) -> Path:
        """Return the path of an absolute name inside this tree."""
        return self.path / name.lstrip("/")

    def open(self, name: str, *, follow: bool = False) -> int:
        """Return a descriptor of a regular file, or raise Unreachable.

        O_NONBLOCK keeps a FIFO from stopping us, O_NOFOLLOW a link from leading us away.
        """
        path = self.at(name)
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            if follow:
                path = path.resolve(strict=True)
                if self.path != Path("/") and not path.is_relative_to(self.path.resolve()):
                    raise Unreachable(f"{name} leads out of the tree.", reason="file_leads_away")
            descriptor = os.open(path, flags | os.O_NOFOLLOW)
        except (OSError, ValueError, RuntimeError) as error:
            raise Unreachable(f"{show_text(name)}: {_why(error)}", reason="file_closed") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Unreachable(f"{show_text(name)} is not a regular file.", reason="file_odd")
        return descriptor

    def read(self, name: str, limit: int = MAX_SMALL_BYTES, *, follow: bool = False) -> bytes:
        """Return the content of a regular file.

        Raises Unreachable when it cannot be opened, Malformed when it is longer than `limit`.
        """
        descriptor = self.open(name, follow=follow)
        try:
            content = read_all(descriptor, limit)
        except OSError as error:
            raise Unreachable(f"{show_text(name)}: {_why(error)}", reason="file_closed") from error
        finally:
            os.close(descriptor)
        if len(content) > limit:
            raise Malformed(
                f"Expected {show_text(name)} to be at most {limit} bytes; it is longer.",
                reason="file_too_large",
            )
        return content

    def read_word(self, name: str) -> str | None:
        """Return the stripped text of a small file of /proc or /sys, or None."""
        try:
            return show_text(self.read(name).strip())
        except (Unreachable, Malformed):
            return None

    def entries(self, name: str) -> list[str]:
        """Return the names in a directory, sorted and bounded; empty when there is none."""
        try:
            with os.scandir(self.at(name)) as listing:
                found = [entry.name for entry in islice(listing, MAX_DIRECTORY_ENTRIES)]
        except OSError:
            return []
        return sorted(found)

    def exists(self, name: str) -> bool:
        """Say whether something is there; does not follow a last link."""
        return os.path.lexists(self.at(name))


def trusted_owners(base: Path) -> set[int]:
    """Return the ids under which root's files appear, in a tree of a test our own too.

    In a name space of users, as without root, every other user appears as the one of the overflow.
    """
    owners = {0} if base == Path("/") else {0, os.geteuid()}
    try:
        if Path("/proc/self/uid_map").read_text("ascii").split() != _EVERYBODY:
            owners.add(_OVERFLOW_USER)
    except (OSError, UnicodeError):
        pass
    return owners


def read_all(descriptor: int, limit: int) -> bytes:
    """Read at most `limit` + 1 bytes from a descriptor."""
    blocks = []
    left = limit + 1
    while left > 0:
        block = os.read(descriptor, min(left, 1 << 20))
        if not block:
            break
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)


def read_blocks(read: Callable[[int], bytes], limit: int) -> Iterator[bytes]:
    """Yield blocks until the end; raise Malformed past `limit` bytes."""
    total = 0
    while block := read(1 << 20):
        total += len(block)
        if total > limit:
            raise Malformed(f"Expected at most {limit} bytes, came more.", reason="file_too_large")
        yield block


def _why(error: BaseException) -> str:
    if isinstance(error, PermissionError):
        return "not readable without root"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "cannot be opened"
