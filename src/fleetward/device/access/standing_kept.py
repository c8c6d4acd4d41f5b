"""What guard keeps of permissions given ahead: the documents, and what must never be forgotten.

    standing/HASH.json       a standing document, as its approvers signed it
    standing/counts.json     used windows, what was taken back, the newest time that was signed

A used window and a document that was taken back are on the disk before anything follows from them.
A used window is forgotten only when the last window of its series lies before the newest time that
the owner has signed. Of what was taken back the oldest may be forgotten when there is too much of
it; then everything that was allowed up to that time is refused. So no bound opens a door.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Final

import msgspec

from fleetward.runtime.files import atomic_write, make_private_directory, read_bounded
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.grants.entry import NOTHING_USED
from fleetward.trust.grants.standing import MAX_STANDING_BYTES, Standing

MOST_STANDING: Final = 16
"""Documents that one machine keeps."""
MOST_SERIES: Final = 64
"""Series whose used windows are remembered; with more, nothing further is let in."""
MOST_REVOKED: Final = 256
CLOCK_ROOM_MS: Final = 86_400_000
"""The clocks of two approvers are not further apart than a day."""
COUNTS: Final = "counts.json"
MAX_COUNTS_BYTES: Final = 128 * 1024
_NAME: Final = re.compile(r"[0-9a-f]{64}\.json")


class UsedSeries(msgspec.Struct, forbid_unknown_fields=True):
    """The highest used window of a series (hex), and when the last window of it ends."""

    series: str
    window: int
    until_ms: int


class TakenBack(msgspec.Struct, forbid_unknown_fields=True):
    """A document that was taken back, and the time up to which such documents are of no force
    when this is forgotten."""

    standing: str
    refused_up_to_ms: int
    next_window: int = 0


class Counts(msgspec.Struct, forbid_unknown_fields=True):
    """The file. Guard alone changes it."""

    used: list[UsedSeries] = []
    revoked: list[TakenBack] = []
    refused_up_to_ms: int = 0
    signed_ms: int = 0


class KeptStanding:
    """The folder. Part of guard's single thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = make_private_directory(folder)
        self.documents: dict[str, bytes] = {}
        for path in sorted(self._folder.iterdir()):
            if _NAME.fullmatch(path.name):
                with contextlib.suppress(FleetwardError):
                    self.documents[path.stem] = read_bounded(path, MAX_STANDING_BYTES)
        self.damaged = False
        """Whether what was counted could not be read: see `begin_anew`."""
        self._counts = self._read_counts()

    @property
    def signed_ms(self) -> int:
        """The newest time that the owner has signed, as far as it was noted."""
        return self._counts.signed_ms

    def note_signed(self, at_ms: int) -> None:
        """Note a newer time that the owner has signed. Raises `Unreachable`."""
        if at_ms > self._counts.signed_ms:
            self._counts.signed_ms = at_ms
            self._write()

    def begin_anew(self, refused_up_to_ms: int) -> None:
        """What was counted is lost: nothing that was allowed up to now opens. Raises `Unreachable`.

        The documents that are kept go too.
        """
        self._counts = Counts(refused_up_to_ms=refused_up_to_ms)
        self._write()
        for standing in list(self.documents):
            self.drop(standing)
        self.damaged = False

    def add(self, standing: Standing) -> None:
        """Keep a document. Raises `Refused` when there are too many, `Unreachable`."""
        if standing.hash not in self.documents and len(self.documents) >= MOST_STANDING:
            raise Refused(
                f"{MOST_STANDING} permissions given ahead are kept on this machine already. The "
                "owner takes old ones back with `fleetward owner window revoke`.",
                reason="too_many_standing",
            )
        if not (self._folder / COUNTS).exists():
            self._write()
        atomic_write(self._folder / f"{standing.hash}.json", standing.raw)
        self.documents[standing.hash] = standing.raw

    def drop(self, standing: str) -> None:
        """Keep a document no more."""
        self.documents.pop(standing, None)
        with contextlib.suppress(OSError):
            (self._folder / f"{standing}.json").unlink(missing_ok=True)

    def last_used(self, series: bytes) -> int:
        """Return the highest used window of a series."""
        found = [u.window for u in self._counts.used if u.series == series.hex()]
        return max(found, default=NOTHING_USED)

    def use(self, standing: Standing, window: int) -> None:
        """Have it on the disk that a window is used. Raises `Refused` without room for it.

        When this returns, no window of the series up to this one ever opens again here.
        """
        name, until = standing.series.hex(), standing.windows[-1].not_after_ms
        kept = [u for u in self._counts.used if u.series == name or not self._is_over(u)]
        for each in kept:
            if each.series == name:
                each.window = max(each.window, window)
                each.until_ms = max(each.until_ms, until)
                break
        else:
            if len(kept) >= MOST_SERIES:
                raise Refused(
                    f"The used windows of {MOST_SERIES} series are remembered on this machine; "
                    "no further one is opened until some are over. Ask the owner.",
                    reason="too_many_series",
                )
            kept.append(UsedSeries(name, window, until))
        self._counts.used = kept
        self._write()

    def is_revoked(self, standing: str) -> bool:
        """Return whether a document is remembered as taken back."""
        return any(each.standing == standing for each in self._counts.revoked)

    def check_in_force(self, standing: Standing) -> None:
        """Return unless a document was taken back, or may have been. Raises `Refused`."""
        if self.damaged:
            raise Refused(
                "What this machine remembered of used windows is damaged. Nothing that was allowed "
                "ahead opens; the owner allows it anew.",
                reason="standing_damaged",
            )
        if self.is_revoked(standing.hash):
            raise Refused("The owner has taken this back.", reason="standing_revoked")
        if standing.issued_at_ms <= self._counts.refused_up_to_ms:
            raise Refused(
                "This was allowed so long ago that the machine cannot tell any more whether it "
                "was taken back. The owner allows it anew.",
                reason="standing_too_old",
            )

    def next_of_revoked(self, standing: str) -> int:
        """Return the lowest window that was not used when a document was taken back; else 0."""
        found = [r.next_window for r in self._counts.revoked if r.standing == standing]
        return found[0] if found else 0

    def revoke(self, standing: str, refused_up_to_ms: int, next_window: int = 0) -> None:
        """Have it on the disk that a document was taken back. Raises `Unreachable`."""
        counts = self._counts
        if not self.is_revoked(standing):
            up_to = refused_up_to_ms + CLOCK_ROOM_MS
            counts.revoked.append(TakenBack(standing, up_to, next_window))
        while len(counts.revoked) > MOST_REVOKED:
            oldest = min(counts.revoked, key=lambda each: each.refused_up_to_ms)
            counts.revoked.remove(oldest)
            counts.refused_up_to_ms = max(counts.refused_up_to_ms, oldest.refused_up_to_ms)
        self._write()
        self.drop(standing)

    def _is_over(self, used: UsedSeries) -> bool:
        return used.until_ms <= self._counts.signed_ms

    def _read_counts(self) -> Counts:
        path = self._folder / COUNTS
        if not path.exists() and not self.documents:
            return Counts()
        try:
            return msgspec.json.decode(read_bounded(path, MAX_COUNTS_BYTES), type=Counts)
        except (FleetwardError, msgspec.MsgspecError, UnicodeError):
            self.damaged = True
            return Counts()

    def _write(self) -> None:
        atomic_write(self._folder / COUNTS, msgspec.json.encode(self._counts))
