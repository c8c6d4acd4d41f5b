"""How often an address may fail before its failures are answered shortly and no longer recorded.

It never keeps a valid credential out: who fails on purpose from a shared address locks out nobody.
It keeps guessing from filling the ledger and the database.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

FAILURES_PER_WINDOW: Final = 10
WINDOW_MS: Final = 60_000
MAX_ADDRESSES: Final = 4_096
ALL: Final = ""
FAILURES_OF_ALL: Final = 100


class FailureLimit:
    """Counts failures by address, and of all together, in fixed windows."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._windows: Final[OrderedDict[str, tuple[int, int]]] = OrderedDict()

    def note(self, address: str, now_ms: int) -> bool:
        """Count a failure; return whether there were too many in this window."""
        with self._lock:
            mine = self._count(address or "unknown", now_ms)
            together = self._count(ALL, now_ms)
        return mine > FAILURES_PER_WINDOW or together > FAILURES_OF_ALL

    def _count(self, key: str, now_ms: int) -> int:
        began, count = self._windows.pop(key, (now_ms, 0))
        if not 0 <= now_ms - began < WINDOW_MS:
            began, count = now_ms, 0
        self._windows[key] = (began, count + 1)
        if len(self._windows) > MAX_ADDRESSES:
            self._windows.popitem(last=False)
        return count + 1
