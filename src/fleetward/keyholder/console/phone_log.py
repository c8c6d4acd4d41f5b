"""The owner's log of phones: what each did, in lines that are only added to.

A line is on the disk before what it tells of leaves this computer. It holds no secret and no code.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Final

import msgspec

from fleetward.keyholder.console.callers import Caller
from fleetward.keyholder.folder import OwnerFolder
from fleetward.runtime.clock import Clock
from fleetward.runtime.files import PRIVATE_FILE, read_bounded
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.errors import Unreachable

LOG_FILE: Final = "phones.log"
OLD_LOG_FILE: Final = "phones.log.1"
MAX_LOG_BYTES: Final = 1024 * 1024
"""Some five thousand deeds; then the file becomes the old one, which is kept."""
MAX_SHOWN: Final = 200


class PhoneLog:
    """The log of one owner's folder. Safe to call from any thread."""

    def __init__(self, folder: OwnerFolder, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._writing = threading.Lock()

    def note(self, caller: Caller, what: str, **facts: str) -> None:
        """Write down what a phone is about to do; nothing for this computer's own pages.

        Raises `Unreachable` when the disk refuses: then it is not done.
        """
        if caller.phone:
            self.write(what, phone=caller.phone, name=caller.name, **facts)

    def write(self, what: str, **facts: str) -> None:
        """Write one line. Raises `Unreachable`."""
        line = {"at": to_rfc3339(self._clock.wall_ms()), "what": what, **facts}
        path = self._folder.path / LOG_FILE
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._writing:
            try:
                _make_room(path)
                descriptor = os.open(path, flags, PRIVATE_FILE)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(msgspec.json.encode(line) + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as e:
                raise Unreachable(
                    f"Expected to write down in {path} what a phone does; the system says: "
                    f"{e.strerror}. Nothing was done.",
                    reason="disk_refused",
                ) from e


def read_log(folder: OwnerFolder) -> list[dict[str, Any]]:
    """Return the newest lines of the log, oldest first; a torn last line is left out."""
    found: list[dict[str, Any]] = []
    for name in (OLD_LOG_FILE, LOG_FILE):
        if folder.has(name):
            data = read_bounded(folder.path / name, 2 * MAX_LOG_BYTES)
            found += [each for line in data.splitlines() if (each := _read_line(line))]
    return found[-MAX_SHOWN:]


def _make_room(path: Path) -> None:
    if path.is_file() and path.stat().st_size > MAX_LOG_BYTES:
        path.replace(path.with_name(OLD_LOG_FILE))


def _read_line(line: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
