"""Reading and walking without ever following a link, opening a device, or waiting for anybody.

A path is walked from the root part by part, each part opened without following a link that
anybody but root could have made. So nobody
who swaps a folder for a link meanwhile leads a reader, who may read everything, to somewhere else.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from fleetward.device.posture.compare.snapshot import MAX_TEXT
from fleetward.device.posture.files import read_all, show_text, trusted_owners

MAX_SMALL_BYTES: Final = 256 * 1024
"""Of a file whose lines are read; longer ones are known by what their digest says."""
MAX_LINES: Final = 5000
MAX_LINKS: Final = 8
_OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
MAX_NAMES: Final = 5000
"""Entries of one folder; of one with more nothing is said."""
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_ABSENT: Final = (errno.ENOENT, errno.ENOTDIR)


@dataclass
class Reader:
    """Reads below `base`, which is `/` on a machine and a small tree in a test."""

    base: Path
    mark_key: bytes = b""
    unseen: list[str] = field(default_factory=list)

    @cached_property
    def _owners(self) -> set[int]:
        return trusted_owners(self.base)

    @contextlib.contextmanager
    def folder(self, path: str) -> Iterator[int]:
        """Give a descriptor of a folder. Raises `OSError`, `ELOOP` where somebody's link is in the
        way; those of the system itself are followed, part by part in the same manner."""
        if "\0" in path:
            raise OSError(errno.EINVAL, "no path of a file system")
        descriptor = self._open_folder(path)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _open_folder(self, path: str, links: int = 0) -> int:
        descriptor = os.open(self.base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        parts = [part for part in path.split("/") if part not in ("", ".")]
        try:
            for number, part in enumerate(parts):
                try:
                    deeper = os.open(part, _FLAGS | os.O_DIRECTORY, dir_fd=descriptor)
                except OSError:
                    target = self._system_link(descriptor, part)
                    if target is None or links >= MAX_LINKS:
                        raise
                    gone = "/" + "/".join(parts[:number])
                    rest = "/".join(parts[number + 1 :])
                    whole = os.path.normpath(f"{os.path.join(gone, target)}/{rest}")  # noqa: PTH118
                    return self._open_folder(whole, links + 1)
                os.close(descriptor)
                descriptor = deeper
            kept, descriptor = descriptor, -1
            return kept
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _system_link(self, folder: int, name: str) -> str | None:
        """Return the target of a link of the system's own, as `/home` is on some; else None.

        Raises `ELOOP` for any other link: who may make one must not lead us.
        """
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode):
            return None
        around = os.fstat(folder)
        own = self._owners
        if {found.st_uid, around.st_uid} <= own and not around.st_mode & _OTHERS_MAY_WRITE:
            return os.readlink(name, dir_fd=folder)
        raise OSError(errno.ELOOP, "it is a link")

    def read(self, path: str, limit: int = MAX_SMALL_BYTES) -> bytes | None:
        """Return the beginning of a regular file; None when there is none, or not for us.

        What is there and cannot be read is noted in `unseen`.
        """
        parent, name = _split(path)
        try:
            with self.folder(parent) as folder:
                return read_at(folder, name, limit)[0]
        except OSError as e:
            self.note(path, e)
        return None

    def lines(self, path: str) -> list[str]:
        """Return the lines of a file that are neither empty nor a comment, safe to show."""
        text = self.read(path) or b""
        every = text.split(b"\n", MAX_LINES)
        if len(every) > MAX_LINES or len(text) >= MAX_SMALL_BYTES:
            self.say(f"{path}: only its beginning was read.")
        stripped = (line.strip() for line in every[:MAX_LINES])
        return [show_text(line, MAX_TEXT) for line in stripped if line and line[:1] != b"#"]

    def names(self, path: str) -> list[str]:
        """Return the names in a folder, sorted; none when there is none."""
        try:
            with self.folder(path) as folder, os.scandir(folder) as listing:
                found = []
                for entry in listing:
                    found.append(entry.name)
                    if len(found) >= MAX_NAMES:
                        self.say(f"{path} has more than {MAX_NAMES} entries.")
                        break
                return sorted(found)
        except OSError as e:
            self.note(path, e)
        return []

    def state(self, path: str) -> os.stat_result | None:
        """Return what a path is, itself; None when nothing is there."""
        parent, name = _split(path)
        try:
            with self.folder(parent) as folder:
                return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return None

    def link(self, path: str) -> str | None:
        """Return where a link points, or None when it is none."""
        parent, name = _split(path)
        try:
            with self.folder(parent) as folder:
                return show_text(os.readlink(name, dir_fd=folder), MAX_TEXT)
        except OSError:
            return None

    def digest(self, path: str) -> str:
        """Return a short digest of a file, `link:` with its target, or an empty string."""
        target = self.link(path)
        if target is not None:
            return f"link:{target}"
        content = self.read(path, 4 * MAX_SMALL_BYTES)
        return "" if content is None else short_digest(content)

    def mark(self, secret: str) -> str:
        """Return a keyed digest by which a change of a secret shows, and nothing else does."""
        raw = secret.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(raw, digest_size=16, key=self.mark_key[:64]).hexdigest()

    def note(self, path: str, error: OSError) -> None:
        """Note that something is there and could not be read."""
        if error.errno in _ABSENT:
            return
        why = "not readable without root" if error.errno in (1, 13) else error.strerror
        if error.errno == errno.ELOOP:
            why = "it is a link, or lies behind one"
        self.say(f"{path}: {why}.")

    def say(self, words: str) -> None:
        """Note what was not looked at, once."""
        shown = show_text(words, MAX_TEXT)
        if shown not in self.unseen:
            self.unseen.append(shown)


def _split(path: str) -> tuple[str, str]:
    """Return the folder and the name of a path; what is no path is in no folder."""
    parent, _, name = path.rpartition("/")
    return (parent, name) if "\0" not in path else ("\0", "")


def read_at(folder: int, name: str, limit: int) -> tuple[bytes, bool]:
    """Return at most `limit` bytes of a regular file in a folder, and whether it held still.

    Raises `OSError`; for what is no regular file with `EINVAL`.
    """
    descriptor = os.open(name, _FLAGS, dir_fd=folder)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        # One call for an ordinary file: the end need not be asked for where the size says it.
        content = os.read(descriptor, min(limit, before.st_size + 1))
        if len(content) != before.st_size and len(content) < limit:
            content += read_all(descriptor, limit - len(content))
        content = content[:limit]
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    still = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    return content, still


def short_digest(content: bytes) -> str:
    """Return 128 bits that name a content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
