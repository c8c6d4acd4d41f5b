"""What guard keeps of each session on its disk: one small file beside its recording.

It is written before the session opens and again when it ends, each time as a whole. A session whose
file has no end was cut off by a crash; the next start ends it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from fleetward.runtime.files import atomic_write, make_private_directory, read_bounded
from fleetward.trust.errors import FleetwardError
from fleetward.wire.subjects import session_name

MAX_KEPT_BYTES: Final = 64 * 1024
MOST_KEPT: Final = 200
"""Sessions that are remembered; older ones are in the owner's record."""
_NAME: Final = re.compile(r"[0-9a-f]{32}\.json")


class KeptSession(msgspec.Struct, forbid_unknown_fields=True):
    """One session. Fields behind `opened_at_ms` change; guard alone writes them."""

    session: str
    request: str
    person: str
    org: str
    people: tuple[str, ...]
    scopes: tuple[str, ...]
    seconds: int
    watched: bool
    words: str
    reason: str
    case: str
    sandbox: str
    opened_at_ms: int
    ended_at_ms: int = 0
    ended_by: str = ""
    ended_who: str = ""
    ended_words: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    records: int = 0
    head: str = ""
    receipt: str = ""
    receipt_taken: bool = False
    stored_powered_ms: int = -1
    """When the server had the whole recording, in powered-on time."""
    recording_removed: bool = False
    break_glass: bool = False
    """The usual approvers were away: everybody is told."""
    before_at_ms: int = 0
    """When the look before it was taken; 0 while there is none."""
    before_late: bool = False
    boot: str = ""
    changes: str = ""
    findings: int = 0
    not_compared: str = ""

    @property
    def name(self) -> str:
        """The session's name in files and subjects."""
        return session_name(self.session)


class KeptSessions:
    """The folder of sessions."""

    def __init__(self, folder: Path) -> None:
        self.folder = make_private_directory(folder)
        self.sessions: dict[str, KeptSession] = {}
        for kept in sorted(self._read_all(), key=lambda k: k.opened_at_ms):
            self.sessions[kept.session] = kept

    def recording(self, kept: KeptSession) -> Path:
        """Return where the recording of a session is, or was."""
        return self.folder / f"{kept.name}.rec"

    def before(self, kept: KeptSession) -> Path:
        """Return where the look before a session is, while it has not been compared."""
        return self.folder / f"{kept.name}.before"

    def write(self, kept: KeptSession) -> None:
        """Persist what is known of a session. Raises `Unreachable`."""
        atomic_write(self.folder / f"{kept.name}.json", msgspec.json.encode(kept))
        self.sessions[kept.session] = kept

    def forget_old(self) -> None:
        """Forget the oldest sessions of which nothing is left to do."""
        done = [k for k in self.sessions.values() if k.recording_removed and k.receipt_taken]
        for kept in done[: max(0, len(self.sessions) - MOST_KEPT)]:
            (self.folder / f"{kept.name}.json").unlink(missing_ok=True)
            self.before(kept).unlink(missing_ok=True)
            del self.sessions[kept.session]

    def _read_all(self) -> Iterator[KeptSession]:
        for path in self.folder.iterdir():
            if _NAME.fullmatch(path.name):
                # A damaged file is one that a bad disk left: its recording stays where it is.
                with contextlib.suppress(FleetwardError, msgspec.MsgspecError, UnicodeError):
                    data = read_bounded(path, MAX_KEPT_BYTES)
                    yield msgspec.json.decode(data, type=KeptSession)
