"""Counting what many simulated machines did, as their ports saw it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from fleetward.device.direct import DirectPort
from fleetward.device.guard_core import GuardCore
from fleetward.device.port import GetBatch, Note, Reply, Request, TakeGreeting, TakeReceipt
from fleetward.trust.errors import FleetwardError
from fleetward.wire.audit import Receipt
from fleetward.wire.identity import Refusal
from fleetward.wire.unsigned import decode_reply

MAX_LATENCIES: Final = 200_000
"""Beyond these the newest replace the oldest."""


@dataclass(slots=True)
class Tally:
    """What happened so far, over all machines."""

    joined: int = 0
    join_refusals: Counter[str] = field(default_factory=Counter)
    connected: set[str] = field(default_factory=set)
    connections: int = 0
    batches: int = 0
    receipts: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    events: int = 0
    latencies_us: list[int] = field(default_factory=list)

    def note_answer(self, body: bytes, seconds: float) -> None:
        """Count the answer to a batch."""
        self.batches += 1
        try:
            answer = decode_reply(body)
        except FleetwardError as e:
            self.refusals[e.reason] += 1
            return
        if isinstance(answer, Receipt):
            self.receipts += 1
            latency = int(seconds * 1_000_000)
            if len(self.latencies_us) < MAX_LATENCIES:
                self.latencies_us.append(latency)
            else:
                self.latencies_us[self.receipts % MAX_LATENCIES] = latency
        elif isinstance(answer, Refusal):
            self.refusals[answer.reason] += 1

    def summarize(self) -> dict[str, Any]:
        """Return the numbers, latencies in milliseconds."""
        ordered = sorted(self.latencies_us)
        return {
            "joined": self.joined,
            "join_refusals": dict(self.join_refusals),
            "connected": len(self.connected),
            "connections": self.connections,
            "batches": self.batches,
            "receipts": self.receipts,
            "refusals": dict(self.refusals),
            "events": self.events,
            "latency_ms": {
                name: ordered[min(len(ordered) - 1, int(len(ordered) * part))] / 1000
                for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
                if ordered
            },
        }


class MeasuringPort(DirectPort):
    """A port that tells the tally what passes; it changes nothing of it."""

    def __init__(self, core: GuardCore, tally: Tally) -> None:
        super().__init__(core)
        self._device = core.joined.device
        self._tally = tally
        self._asked_at = 0.0

    async def ask(self, request: Request, body: bytes = b"") -> Reply:
        """Return guard's answer."""
        tally = self._tally
        if isinstance(request, TakeReceipt):
            tally.note_answer(body, time.monotonic() - self._asked_at)
        elif isinstance(request, Note) and request.event != "connected":
            tally.connected.discard(self._device)
        reply = await super().ask(request, body)
        if isinstance(request, GetBatch):
            self._asked_at = time.monotonic()
        elif isinstance(request, TakeGreeting):
            tally.connected.add(self._device)
            tally.connections += 1
        return reply
