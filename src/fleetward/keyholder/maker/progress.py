"""How far long work is: one line that is written over on a terminal, a line now and then elsewhere.

It is written to stderr, so that an answer in JSON stays one document.
"""

from __future__ import annotations

import sys
import time
from typing import Final

from fleetward.keyholder.speak import make_plain

_TERMINAL_SECONDS: Final = 0.2
_LOG_SECONDS: Final = 5.0
_BAR: Final = 24
_MIB: Final = 1024 * 1024


class Meter:
    """Counts bytes of one piece of work. Work that takes less than a moment is not told of."""

    def __init__(self, what: str, total_bytes: int, *, quiet: bool = False) -> None:
        self._what = what
        self._total = max(total_bytes, 1)
        self._done = 0
        self._quiet = quiet
        self._is_terminal = sys.stderr.isatty()
        self._every = _TERMINAL_SECONDS if self._is_terminal else _LOG_SECONDS
        self._last = time.monotonic()
        self._shown = False

    def __call__(self, more_bytes: int) -> None:
        """Count, and tell it when it is time."""
        self._done += more_bytes
        now = time.monotonic()
        if not self._quiet and now - self._last >= self._every:
            self._last = now
            self._write()

    def end(self) -> None:
        """Leave the line as it is at the end, if there is one."""
        if self._shown:
            self._write()
            if self._is_terminal:
                sys.stderr.write("\n")

    def _write(self) -> None:
        share = min(self._done / self._total, 1.0)
        bar = "#" * round(share * _BAR)
        line = (
            f"{self._what} [{bar:<{_BAR}}] {share:4.0%} "
            f"{self._done // _MIB} of {self._total // _MIB} MiB"
        )
        plain = make_plain(line)
        sys.stderr.write(f"\r{plain}\x1b[K" if self._is_terminal else f"{plain}\n")
        sys.stderr.flush()
        self._shown = True


def count_nothing(more_bytes: int) -> None:
    """Take a count, and tell nobody."""
    del more_bytes
