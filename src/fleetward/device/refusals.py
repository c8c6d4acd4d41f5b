"""Recording what was refused, without letting a flood fill the disk.

Equal refusals share kind, subject and reason. Of equal ones at most `ENTRIES_AN_HOUR` become
entries in an hour of powered-on time; the others are counted, and the count becomes one entry at
the end of the hour. Reasons and subjects are words of our own, so there are few.
"""

from __future__ import annotations

from typing import Final

from fleetward.device.audit.diary import Diary
from fleetward.device.state import GuardState, KeptRefusal, RefusalLine
from fleetward.device.timekeeper import Timekeeper
from fleetward.trust.canonical import JsonObject
from fleetward.trust.errors import Unreachable

ENTRIES_AN_HOUR: Final = 60
HOUR_MS: Final = 3_600_000
SHOWN_REFUSALS: Final = 10
MAX_WORDS: Final = 500
REFUSED: Final = "gate.refused"
REDUCED: Final = "gate.reduced"


class Refusals:
    """Counts and records. Part of guard's single thread."""

    def __init__(self, diary: Diary, time: Timekeeper, state: GuardState) -> None:
        self._diary = diary
        self._time = time
        self._state = state

    def refuse(self, what: str, reason: str, words: str) -> bool:
        """Record that `what` was refused; return whether there is an entry and not only a count.

        Never raises: a refusal stands without its entry.
        """
        words = words[:MAX_WORDS]
        line = RefusalLine(self._time.wall_ms(), what, reason, words)
        self._state.last_refusals = [*self._state.last_refusals, line][-SHOWN_REFUSALS:]
        return self._count(REFUSED, what, reason, words)

    def reduce(self, what: str, words: str) -> bool:
        """Record that the machine does less, or reports sooner, because the server said so.

        Returns whether there is an entry; without one the caller does nothing.
        """
        return self._count(REDUCED, what, "server_asked", words)

    def has_room(self, kind: str, what: str, reason: str, words: str) -> bool:
        """Return whether one more entry of a kind may be written by the caller in this hour.

        When not, it is counted, and the count becomes an entry at the end of the hour.
        """
        kept = self._next(kind, what, reason, words)
        if kept is None:
            return False
        kept.entries += 1
        return True

    def close_hours(self) -> None:
        """Write the counts of hours that are over."""
        now = self._time.powered_ms()
        running: list[KeptRefusal] = []
        for kept in self._state.refusals:
            if now - kept.since_powered_ms < HOUR_MS or not self._close(kept):
                running.append(kept)
        self._state.refusals = running

    def _count(self, kind: str, what: str, reason: str, words: str) -> bool:
        kept = self._next(kind, what, reason, words)
        if kept is None:
            return False
        body: JsonObject = {"reason": reason, "what": what, "words": words}
        try:
            self._diary.order(kind, body)
        except Unreachable:
            kept.extra += 1
            return False
        kept.entries += 1
        return True

    def _next(self, kind: str, what: str, reason: str, words: str) -> KeptRefusal | None:
        """Return the count that the next entry belongs to; None, and counted, without a place."""
        self.close_hours()
        kept = self._find(kind, what, reason, words)
        # The last place of the hour is for the count.
        if kept.entries >= ENTRIES_AN_HOUR - 1:
            kept.extra += 1
            return None
        return kept

    def _find(self, kind: str, what: str, reason: str, words: str) -> KeptRefusal:
        for kept in self._state.refusals:
            if (kept.kind, kept.what, kept.reason) == (kind, what, reason):
                return kept
        kept = KeptRefusal(kind, what, reason, words, self._time.powered_ms())
        self._state.refusals.append(kept)
        return kept

    def _close(self, kept: KeptRefusal) -> bool:
        if not kept.extra:
            return True
        body: JsonObject = {
            "count": kept.extra,
            "reason": kept.reason,
            "what": kept.what,
            "words": f"{kept.extra} more of these in one hour: {kept.words}"[:MAX_WORDS],
        }
        return self._diary.evidence(kept.kind, body)
