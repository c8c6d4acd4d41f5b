"""The server's own check of the record: what is stored still hashes to what was signed.

It is a convenience that finds a broken disk early. The owner's verifier trusts none of it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final, Literal

from fleetward.runtime.clock import Clock
from fleetward.runtime.database import Database
from fleetward.server.audit import store
from fleetward.server.audit.act import Ledger
from fleetward.trust.merkle import Frontier, hash_leaf

STEP: Final = 2048
"""Leaves read at once: a few MB."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What the last check found."""

    state: Literal["intact", "broken", "unknown"]
    as_of_ms: int
    size: int
    words: str


class RecordCheck:
    """Re-hashes the leaves from the store, what is new each time and everything now and then."""

    def __init__(self, database: Database, ledger: Ledger, clock: Clock) -> None:
        self._database = database
        self._ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._frontier = Frontier()
        self._generation = 0
        self.last = Checked("unknown", 0, 0, "The record was not checked yet.")

    def run(self, *, whole: bool = False) -> Checked:
        """Check what is new, or everything, against the signed checkpoint."""
        with self._lock:
            if whole or self._generation != self._ledger.generation:
                self._frontier = Frontier()
                self._generation = self._ledger.generation
            self.last = self._check()
            return self.last

    def _check(self) -> Checked:
        now = self._clock.wall_ms()
        if self._generation == 0:
            return Checked("unknown", now, 0, "The record begins when its owner comes.")
        size, _ = self._ledger.checkpoint()
        expected = self._ledger.root_at(size)
        while self._frontier.size < size:
            start = self._frontier.size
            end = min(start + STEP, size)
            with self._database.read() as conn:
                bodies = store.select_bodies(
                    conn, self._ledger.owner_id, self._generation, start, end
                )
            if len(bodies) != end - start:
                return self._broken(now, f"Entries from {start} to {end - 1} are missing.")
            for body in bodies:
                self._frontier.append(hash_leaf(body))
        if self._frontier.size == size and self._frontier.root() != expected:
            return self._broken(now, f"The {size} entries do not match the signed checkpoint.")
        return Checked("intact", now, size, f"All {size} entries match the signed checkpoint.")

    def _broken(self, now: int, what: str) -> Checked:
        self._frontier = Frontier()
        words = f"{what} Export the record and verify it: the verifier names the first bad entry."
        return Checked("broken", now, self._ledger.size, words)
