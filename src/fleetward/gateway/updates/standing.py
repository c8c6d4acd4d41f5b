"""How the upstream has done: the pause after its last failure, and what readers are told meanwhile.

Its loss is said once, and its return once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fleetward.gateway.updates.counts import Counts
from fleetward.trust.errors import FleetwardError, Refused, Unreachable

FIRST_PAUSE_SECONDS: Final = 2.0
MAX_PAUSE_SECONDS: Final = 300.0
PATIENT_SECONDS: Final = 60.0


class Standing:
    """Whether the upstream may be asked. Times are arguments."""

    def __init__(self, counts: Counts, say: Callable[[str], None]) -> None:
        self._counts = counts
        self._say = say
        self._pause_seconds = 0.0
        self._until = 0.0
        self._failing_since: float | None = None

    def is_paused(self, now: float) -> bool:
        """Return whether it is left alone now."""
        return now < self._until

    def take_answer(self) -> None:
        """Note that it answered, be it that it has not got something."""
        self._pause_seconds = self._until = 0.0
        if self._failing_since is not None:
            self._failing_since = None
            self._counts.upstream_ok = True
            self._say("The upstream answers again.")

    def take_failure(self, error: FleetwardError, now: float, wall_ms: int) -> FleetwardError:
        """Note that it failed; return what readers are told."""
        grown = max(FIRST_PAUSE_SECONDS, self._pause_seconds * 2)
        self._pause_seconds = min(MAX_PAUSE_SECONDS, grown)
        self._until = now + self._pause_seconds
        self._counts.failure, self._counts.failure_ms = error.message, wall_ms
        if self._failing_since is None:
            self._failing_since = now
            self._counts.upstream_ok = False
            self._say(f"The upstream gives nothing. {error.message} It is asked again.")
        return self.put_off(now)

    def put_off(self, now: float) -> FleetwardError:
        """Return what readers are told: wait, or after a minute, ask elsewhere."""
        since = self._failing_since
        if since is not None and now - since > PATIENT_SECONDS:
            return missing()
        return Unreachable("The upstream does not answer just now.", reason="busy")


def missing() -> Refused:
    """Return what a reader is told of a part that is not to be had here."""
    return Refused("This part is not here.", reason="part_missing")
