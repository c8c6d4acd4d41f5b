"""Writing the journal: stamps, kinds, and what happens when there is no room.

`evidence` may be lost to a full disk, is counted then, and the count becomes an entry when there
is room again. `order` must be on the disk before what it speaks of takes effect; it has reserved
space, and raises when even that is used up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fleetward.device.audit.journal import Journal
from fleetward.device.state import GuardState
from fleetward.device.timekeeper import Timekeeper
from fleetward.trust.canonical import JsonLike
from fleetward.trust.errors import Unreachable


class Diary:
    """The one way in which the rest of guard writes entries."""

    def __init__(self, journal: Journal, time: Timekeeper, state: GuardState) -> None:
        self._after: Callable[[bool], None] | None = None
        self._journal = journal
        self._time = time
        self._state = state

    def call_after_each(self, after: Callable[[bool], None]) -> None:
        """Have `after` called behind every entry, with whether it is an order."""
        self._after = after

    @property
    def full(self) -> bool:
        """Whether evidence is being lost because there is no room."""
        return self._journal.full or self._state.lost_to_full_disk > 0

    def order(self, kind: str, body: Mapping[str, JsonLike]) -> int:
        """Write an entry and return when it is on the disk. Raises `Unreachable`."""
        sequence = self._journal.append(self._stamp(), kind, body, durable=True)
        self._appended(order=True)
        return sequence

    def evidence(self, kind: str, body: Mapping[str, JsonLike]) -> bool:
        """Write an entry that the next batch makes durable; return whether there was room."""
        if self._try(kind, body):
            return True
        self._state.lost_to_full_disk += 1
        return False

    def regain_room(self) -> None:
        """Reserve space again; the first entry then says how much was not recorded."""
        if self._journal.full and not self._journal.regain_reserve():
            return
        lost = self._state.lost_to_full_disk
        words = f"The disk was full: {lost} pieces of evidence were not recorded."
        if lost and self._try("journal.full", {"lost": lost, "words": words}):
            self._state.lost_to_full_disk = 0

    def _try(self, kind: str, body: Mapping[str, JsonLike]) -> bool:
        try:
            self._journal.append(self._stamp(), kind, body, durable=False)
        except Unreachable:
            return False
        self._appended(order=False)
        return True

    def _appended(self, *, order: bool) -> None:
        if self._after is not None:
            self._after(order)

    def _stamp(self) -> tuple[int, str]:
        return self._time.wall_ms(), self._time.boot
