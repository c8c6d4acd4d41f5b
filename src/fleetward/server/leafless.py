"""Batches that are stored and no leaf of the record yet, because something came between the two.

A batch is stored first and becomes a leaf then: two capabilities, two transactions. A crash or a
full disk between them leaves a batch that the machine may take for stored, for it goes on behind
the last one that the store has. Its next batch must not become a leaf before this one: the record
would hold the machine's journal out of order, and its owner would read that as a lie.

So whoever stores the first batch of a start, or the first one after a failure, mends before:

1. Of every machine the newest batch is looked up in the record. Where it is there, all before are.
2. Where it is not, those before it are, back to one that is.
3. What was found becomes leaves, of each machine the oldest first.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, Protocol

_STEP: Final = 64
"""Batches of one machine that are looked at together, on the way back."""


class BatchStore(Protocol):
    """Where batches are stored."""

    def newest_batches(self) -> list[tuple[str, int, str]]: ...

    def batches_before(
        self, device: str, first: int, most: int
    ) -> list[tuple[int, str, bytes]]: ...


class LeafLedger(Protocol):
    """Where batches become leaves."""

    def recorded(self, references: Sequence[str]) -> set[str]: ...

    def append_batches(
        self, batches: Sequence[tuple[str, str, bytes]], repeated: Collection[str], at_ms: int
    ) -> None: ...


def mend_leafless(stored: BatchStore, ledger: LeafLedger, at_ms: int) -> int:
    """Make leaves of all batches that have none, in order; return how many.

    To be called in the one thread that stores batches. Raises `Unreachable`, and `Refused` while
    the record waits for its owner.
    """
    newest = stored.newest_batches()
    recorded = ledger.recorded([digest for _, _, digest in newest])
    count = 0
    for device, first, digest in newest:
        if digest in recorded:
            continue
        missing = _find_missing(stored, ledger, device, first)
        ledger.append_batches(
            [(device, name, header) for name, header in missing],
            {name for name, _ in missing},
            at_ms,
        )
        count += len(missing)
    return count


def _find_missing(
    stored: BatchStore, ledger: LeafLedger, device: str, first: int
) -> list[tuple[str, bytes]]:
    """Return hash and header of a machine's newest batches that are no leaves, oldest first."""
    missing: list[tuple[str, bytes]] = []
    while step := stored.batches_before(device, first, _STEP):
        recorded = ledger.recorded([digest for _, digest, _ in step])
        for _, digest, header in step:
            if digest in recorded:
                return missing[::-1]
            missing.append((digest, header))
        first = step[-1][0] - 1
    return missing[::-1]
