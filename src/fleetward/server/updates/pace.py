"""How fast one machine is answered: pure, time is an argument.

A machine that asks too often waits, and when it would wait too long it is told to come later, so
that none takes the door from the others. A rollout's ceiling of bytes a second is kept likewise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetward.trust.errors import Refused

QUESTIONS_A_SECOND: Final = 40
"""With pieces of 512 KiB, 20 MiB a second: what a line to one machine seldom carries."""
BURST: Final = 120
"""A look at a maker's repository is ten questions; several products are looked at together."""
MAX_WAIT_SECONDS: Final = 4.0
"""A machine gives an answer longer than that, and not much longer."""
LEAST_CEILING: Final = 128 * 1024
"""Bytes a second of the lowest ceiling: one piece takes the longest wait then."""
MAX_KEPT: Final = 20_000
"""Machines whose pace is remembered; the one unheard of for longest is forgotten."""


@dataclass(slots=True)
class _Bucket:
    at_ms: int
    questions: float
    bytes: float


class Pace:
    """The pace of all machines. Called on one event loop."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def take(self, device: str, size_bytes: int, ceiling: int, now_ms: int) -> float:
        """Return how many seconds the answer to a question waits. Raises `Refused` (too_often).

        `size_bytes` is what the answer carries at most; `ceiling` 0 means none.
        """
        bucket = self._buckets.pop(device, None) or _Bucket(now_ms, float(BURST), 0.0)
        self._buckets[device] = bucket
        while len(self._buckets) > MAX_KEPT:
            self._buckets.pop(next(iter(self._buckets)))
        passed = max(now_ms - bucket.at_ms, 0) / 1000
        bucket.at_ms = now_ms
        bucket.questions = min(bucket.questions + passed * QUESTIONS_A_SECOND, float(BURST))
        if ceiling:
            bucket.bytes = min(bucket.bytes + passed * ceiling, float(ceiling))
        else:
            bucket.bytes = 0.0
        questions, held = bucket.questions - 1, bucket.bytes - (size_bytes if ceiling else 0)
        wait = max(-questions / QUESTIONS_A_SECOND, -held / ceiling if ceiling else 0.0, 0.0)
        if wait > MAX_WAIT_SECONDS:
            raise Refused(
                "This machine asks for more than it is given in this time. Ask again in a while.",
                reason="too_often",
            )
        bucket.questions, bucket.bytes = questions, held
        return wait
