"""Time on a machine whose clock may be wrong.

Leases, retention and hourly counts run on **powered-on time**: milliseconds that the machine was
on since it joined, kept over reboots. The wall clock only stamps entries; when it jumps, that is
an entry of its own, and nothing else happens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetward.device.state import GuardState
from fleetward.runtime.clock import Clock

JUMP_MS: Final = 30_000
"""Below this a clock is being adjusted, not set."""
OFF_JUMP_MS: Final = 30 * 86_400_000
"""A machine may be off for a month; a longer leap at a start is worth an entry."""


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
        return jump
