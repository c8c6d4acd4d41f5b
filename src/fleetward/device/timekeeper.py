"""Time on a machine whose clock may be wrong.

Leases, retention and hourly counts run on **powered-on time**: milliseconds that the machine was
on since it joined, kept over reboots. The wall clock only stamps entries; when it jumps, that is
an entry of its own, and nothing else happens.

One thing does depend on it: what was allowed ahead opens in a window of time. For that the clock
counts only while the kernel calls it synchronised, and only as long as nobody has set it by more
than `SET_MS` in this boot since the kernel first did (`clock_doubt`). How it stands to the clock
that nobody sets is compared, so that many small steps are one great one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetward.device.kernel_clock import SynchronisedClock
from fleetward.device.state import GuardState
from fleetward.runtime.clock import Clock

JUMP_MS: Final = 30_000
"""Below this a clock is being adjusted, not set."""
OFF_JUMP_MS: Final = 30 * 86_400_000
"""A machine may be off for a month; a longer leap at a start is worth an entry."""
SET_MS: Final = 60_000
"""A clock that was set by more than this since it was synchronised is not relied on any more."""


@dataclass(frozen=True, slots=True)
class Jump:
    """The wall clock moved by itself."""

    before_ms: int
    after_ms: int


class Timekeeper:
    """Keeps powered-on time in the state, and notices jumps of the wall clock."""

    def __init__(self, clock: Clock, state: GuardState, boot: str) -> None:
        self._clock = clock
        self._state = state
        self.boot = boot
        now = clock.boottime_ms()
        self._same_boot = state.boot == boot and now >= state.boottime_ms
        self._base_ms = state.powered_ms + (now - state.boottime_ms if self._same_boot else 0)
        self._base_boottime_ms = now
        self._started = False

    def wall_ms(self) -> int:
        """Unix time for a stamp; a clock before 1970 reads 0."""
        return max(0, self._clock.wall_ms())

    def powered_ms(self) -> int:
        """Powered-on time; it never falls, also over a reboot."""
        return self._base_ms + max(0, self._clock.boottime_ms() - self._base_boottime_ms)

    def observe(self) -> Jump | None:
        """Note the present in the state; return the jump since the last time, if there was one."""
        wall, boottime, powered = self.wall_ms(), self._clock.boottime_ms(), self.powered_ms()
        state, jump = self._state, None
        if state.boot:
            expected = state.wall_ms
            limit = OFF_JUMP_MS
            if self._started or self._same_boot:
                expected += max(0, boottime - state.boottime_ms)
                limit = JUMP_MS
            if wall - expected > limit or expected - wall > JUMP_MS:
                jump = Jump(before_ms=expected, after_ms=wall)
        self._started = True
        state.wall_ms, state.boottime_ms, state.powered_ms = wall, boottime, powered
        state.boot = self.boot
        self._watch_source(wall - boottime)
        return jump

    def clock_doubt(self) -> str:
        """Say why the wall clock cannot be relied on; empty when it can."""
        apart = self.wall_ms() - self._clock.boottime_ms()
        self._watch_source(apart)
        if not self._synchronised():
            return "its clock follows no time source"
        if self._state.clock_set_ms:
            return (
                f"its clock was set by {self._state.clock_set_ms // 1000} seconds since it "
                "followed a time source, and the machine has not been started again since"
            )
        return ""

    def _watch_source(self, apart_ms: int) -> None:
        """Note how the wall clock stands to the one that nobody sets, from the first time on that
        the kernel called it synchronised in this boot."""
        state = self._state
        if state.clock_boot != self.boot:
            if not self._synchronised():
                return
            state.clock_boot, state.clock_apart_ms, state.clock_set_ms = self.boot, apart_ms, 0
        moved = abs(apart_ms - state.clock_apart_ms)
        if moved > SET_MS:
            state.clock_set_ms = max(state.clock_set_ms, moved)

    def _synchronised(self) -> bool:
        clock = self._clock
        return isinstance(clock, SynchronisedClock) and clock.is_synchronised()
