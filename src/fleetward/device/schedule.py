"""When to look: a pure decision from times and cheap signs. It reads nothing by itself.

A full look at the start, every six hours, and when package lists or accounts changed and have
been quiet for a while. A quick look at the sockets as soon as their fingerprint changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

FULL_EVERY_MS: Final = 6 * 3_600_000
FULL_JITTER: Final = 0.1
"""Spread of the six hours, so that a fleet does not look at the same minute."""
SIGNS_EVERY_MS: Final = 4_000
FILES_EVERY_MS: Final = 30_000
SETTLED_MS: Final = 30_000
"""Package managers touch their lists many times; look when they have been quiet this long."""
RETRY_MS: Final = 300_000
ASKED_GAP_MS: Final = 60_000
"""The server may ask for a report, but not more often than this."""

Look = Literal["full", "quick"]


@dataclass(slots=True)
class Schedule:
    """What was looked at, and when. Times are boot-time milliseconds."""

    spread: float
    """From 0 to below 1: this machine's place in the jitter."""
    next_full_ms: int = 0
    sockets_seen: bytes = b""
    files_seen: bytes = b""
    files_now: bytes = b""
    files_since_ms: int = 0
    asked_at_ms: int = -ASKED_GAP_MS

    def note_full(self, now_ms: int, *, done: bool) -> None:
        """A full look ended."""
        every = int(FULL_EVERY_MS * (1 + FULL_JITTER * (self.spread - 0.5)))
        self.next_full_ms = now_ms + (every if done else RETRY_MS)
        if done:
            self.files_seen = self.files_now

    def note_files(self, now_ms: int, files: bytes) -> None:
        """What the package lists look like from outside now."""
        if files != self.files_now:
            self.files_now, self.files_since_ms = files, now_ms
        if not self.files_seen:
            self.files_seen = files

    def ask(self, now_ms: int) -> bool:
        """Somebody wants a full look at once; return whether there will be one."""
        if now_ms - self.asked_at_ms < ASKED_GAP_MS:
            return False
        self.asked_at_ms, self.next_full_ms = now_ms, now_ms
        return True

    def decide(self, now_ms: int, sockets: bytes) -> Look | None:
        """Return what to look at now, if anything."""
        if now_ms >= self.next_full_ms:
            self.sockets_seen = sockets
            return "full"
        settled = now_ms - self.files_since_ms >= SETTLED_MS
        if self.files_now != self.files_seen and settled:
            self.sockets_seen = sockets
            return "full"
        if sockets != self.sockets_seen:
            self.sockets_seen = sockets
            return "quick"
        return None


@dataclass(slots=True)
class Budget:
    """So many at once, and so many more with time."""

    most: int
    every_ms: int
    left: float = -1.0
    at_ms: int = 0

    def take(self, now_ms: int) -> bool:
        """Take one; return whether there was one left."""
        if self.left < 0:
            self.left, self.at_ms = float(self.most), now_ms
        gained = max(0, now_ms - self.at_ms) / self.every_ms
        self.left, self.at_ms = min(float(self.most), self.left + gained), now_ms
        if self.left < 1:
            return False
        self.left -= 1
        return True
