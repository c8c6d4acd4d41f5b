"""Whether the kernel says that the clock of this machine is synchronised (adjtimex(2)).

It is the kernel's word about its time source, no proof: who controls that source controls the
clock, slowly. A clock that cannot say counts as not synchronised.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final, Protocol, runtime_checkable

from fleetward.runtime.clock import SystemClock

_TIMEX_BYTES: Final = 512
"""More than `struct timex` has on any machine."""
_STATUS_AT: Final = 5 * ctypes.sizeof(ctypes.c_long)
"""`modes` (padded), `offset`, `freq`, `maxerror` and `esterror` stand before `status`."""
_STA_UNSYNC: Final = 0x0040
_TIME_ERROR: Final = 5


@runtime_checkable
class SynchronisedClock(Protocol):
    """A clock that can say whether it follows a time source."""

    def is_synchronised(self) -> bool:
        """Return whether the kernel says so now."""


class MachineClock(SystemClock):
    """The clocks of this machine, and whether they follow a time source."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def is_synchronised(self) -> bool:
        """Ask the kernel; nothing is set by it. What it will not tell counts as no."""
        timex = ctypes.create_string_buffer(_TIMEX_BYTES)
        state = self._libc.adjtimex(timex)
        status = int.from_bytes(timex.raw[_STATUS_AT : _STATUS_AT + 4], byteorder=sys.byteorder)
        return 0 <= state < _TIME_ERROR and not status & _STA_UNSYNC
