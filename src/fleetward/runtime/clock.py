"""The clocks that a program reads, behind one small protocol so that a test can hold them.

Only programs and `runtime` read a clock; `trust` and every `decide` get the time as an argument.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Three clocks, all in whole milliseconds."""

    def wall_ms(self) -> int:
        """Unix time. It may jump in both directions."""
        ...

    def monotonic_ms(self) -> int:
        """Never goes back; stands still while the computer sleeps."""
        ...

    def boottime_ms(self) -> int:
        """Never goes back; counts sleep too, and starts again at a reboot."""
        ...


class SystemClock:
    """The clocks of this computer (Linux)."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def boottime_ms(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
