"""One download that is under way: how much is here, how fast it comes, and who waits for it."""

from __future__ import annotations

import asyncio
from typing import Final

from fleetward.runtime.blob_folder import MAX_PIECE_BYTES
from fleetward.trust.errors import FleetwardError

FIRST_PIECE_BYTES: Final = 512 * 1024
LEAST_PIECE_BYTES: Final = 128 * 1024
QUICK_SECONDS: Final = 1.0
SLOW_SECONDS: Final = 3.0
"""A piece that takes longer makes the next one smaller: readers see its bytes when all are here."""
NEAR_BYTES: Final = 1024 * 1024
"""Who asks for the next piece or two waits, however slow the line is just now."""
FAR_SECONDS: Final = 30.0
"""A reader who would wait longer than this asks elsewhere."""


class Fill:
    """One download that is under way."""

    def __init__(self, now: float) -> None:
        self.total: int | None = None
        self.received = 0
        self.problem: FleetwardError | None = None
        self.task: asyncio.Task[None] | None = None
        self.wanted_at = now
        self._begun = (now, 0)
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        """Return after the next change."""
        await self._changed.wait()

    def tell(self) -> None:
        """Wake those who wait."""
        self._changed.set()
        self._changed = asyncio.Event()

    def begin(self, received: int, now: float) -> None:
        """Note how much is here at the start: the pace is counted from there."""
        self.received, self._begun = received, (now, received)

    def note(self, received: int) -> None:
        """Note how much is here."""
        self.received = received
        self.tell()

    def is_far(self, end: int, now: float) -> bool:
        """Return whether the download needs long to come to this place, by its pace so far."""
        came, passed = self.received - self._begun[1], now - self._begun[0]
        if came <= 0 or end - self.received <= NEAR_BYTES:
            return False
        return end - self.received > came / max(passed, 0.001) * FAR_SECONDS


def choose_length(length: int, took_seconds: float) -> int:
    """Return how long the next piece is to be: long ones for a fast line, short for a slow one."""
    if took_seconds < QUICK_SECONDS:
        return min(MAX_PIECE_BYTES, length * 2)
    if took_seconds > SLOW_SECONDS:
        return max(LEAST_PIECE_BYTES, length // 2)
    return length
