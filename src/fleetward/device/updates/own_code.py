"""What guard knows of the code that it is itself: out of the launcher's file, which it only reads.

Two words it writes there: that what is settled is healthy, so that its starts are counted anew; and
what was before is settled again, where the installer that would write it is itself no good.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetward.device.launcher.decide import FACTORY, KEPT, State, note_healthy, settle
from fleetward.device.launcher.store import find_tree, read_state, state_path, write_state
from fleetward.runtime.clock import Clock
from fleetward.trust.errors import Unreachable

ASKED_MS: Final = 60_000
"""A launcher that was asked, and could not have it on its disk, is asked again after so long."""
_WORDS: Final = {
    "asked": "the new agent is about to be started",
    "trying": "the new agent is on trial",
    "retrying": "the new agent does not reach the server; the one before is tried",
}


@dataclass(frozen=True, slots=True)
class Judged:
    """What the launcher says of a release: `waits`, `kept` or `back`."""

    kind: str
    words: str
    rule: str = ""


class OwnCode:
    """Part of guard's single thread. `release` names the code that guard is; nothing for the
    package's own."""

    def __init__(self, data: Path, release: str, clock: Clock, *, launched: bool = True) -> None:
        self._data = data
        self._clock = clock
        self.release = release
        self.launched = launched
        """Whether the launcher started this: units of an earlier release do without it."""
        self._read_at: tuple[int, int] | None = None
        self._state = State()
        self._started_ms = clock.boottime_ms()
        self._asked_before = self.state.phase == "asked"

    @property
    def state(self) -> State:
        """The launcher's state as it is now."""
        try:
            found = state_path(self._data).stat()
            at = (found.st_mtime_ns, found.st_ino)
        except OSError:
            at = (0, 0)
        if at != self._read_at:
            self._read_at, self._state = at, read_state(self._data)
        return self._state

    @property
    def makes_room(self) -> bool:
        """Whether other code is to run than this, and can: the launcher starts that then."""
        state = self.state
        if not self.launched:
            return False
        if state.phase == "asked":
            waited_ms = self._clock.boottime_ms() - self._started_ms
            return not self._asked_before or waited_ms > ASKED_MS
        return state.runs != self.release and self._is_there(state.runs)

    @property
    def gone_back(self) -> bool:
        """Whether it is settled that other code is to run than this, and that can."""
        return self.state.phase == "settled" and self.makes_room

    def judge(self, release: str) -> Judged:
        """Return how the trial of a release stands. How another one ended says nothing of it: the
        code that runs may come again, as a newer release, when the one after it was no good."""
        state = self.state
        if state.wanted == release:
            return Judged("waits", _WORDS[state.phase])
        if state.ended_release == release and state.ended not in ("", KEPT):
            return Judged("back", state.words, state.ended)
        if state.active == release:
            return Judged("kept", state.words)
        words = "The machine came up with the agent that was there before."
        return Judged("back", words, "fell_back")

    @property
    def lost(self) -> str:
        """Which release does not run though it was kept; nothing when all is well."""
        state = self.state
        return state.ended_release if state.ended in ("agent_fell", "agent_superseded") else ""

    def take_back(self, release: str, before: str) -> bool:
        """Have what was before be settled, as the installer would. Return whether the release is
        gone from there; it stays where the code of the one before is not there. Raises
        `Unreachable` when the disk says no."""
        state = self.state
        if release == before or release not in (state.wanted, state.active):
            return True
        if not self._is_there(before):
            return False
        write_state(self._data, settle(state, before))
        return True

    def _is_there(self, release: str) -> bool:
        return release == FACTORY or find_tree(self._data, release) is not None

    def say_healthy(self) -> None:
        """What is settled is healthy, as uplink asked."""
        state = self.state
        if state.phase == "settled" and state.starts and state.active == self.release:
            with contextlib.suppress(Unreachable):
                write_state(self._data, note_healthy(state))
