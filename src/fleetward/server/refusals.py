"""Refusals of the broker and of the callout become entries of the ledger, rate-limited."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from fleetward.runtime.broker_log import BrokerRefusal, RefusalKind
from fleetward.runtime.clock import Clock
from fleetward.server.callout import PeerCertificate, SessionPeer, Verdict
from fleetward.server.deeds import Deed, DeedRecorder, JsonValue
from fleetward.trust.errors import FleetwardError

VERDICT_EVERY_MS: Final = 60_000
"""Equal verdicts on one machine become an entry once a minute; the rest are counted."""
MAX_HELD: Final = 1024
_log: Final = logging.getLogger(__name__)


class RefusalBook:
    """Writes what the broker refused into the owner's record. Called from worker threads."""

    def __init__(self, deeds: DeedRecorder, owner_id: Callable[[], str], clock: Clock) -> None:
        self._deeds = deeds
        self._owner_id = owner_id
        self._clock = clock
        self._verdicts: dict[tuple[str, str], tuple[int, int]] = {}

    def note_broker(self, refusal: BrokerRefusal) -> None:
        """Record a coalesced refusal of the broker; what the callout refused comes as a verdict."""
        if refusal.kind is RefusalKind.NOT_ADMITTED:
            return
        subject = f"device:{refusal.device_id}" if refusal.device_id else "broker"
        self._record(
            f"broker.{refusal.kind.value}",
            subject,
            {"words": refusal.words, "remote": refusal.remote, "count": refusal.count},
        )

    def note_verdict(self, verdict: Verdict) -> None:
        """Record that a connection with a good certificate was refused, and why."""
        reason = verdict.admission.reason
        if reason == "ok":
            return
        peer = verdict.peer
        device = peer.device_id if isinstance(peer, PeerCertificate) else ""
        session = peer.session if isinstance(peer, SessionPeer) else ""
        now = self._clock.wall_ms()
        since, count = self._verdicts.pop((device or session, reason), (0, 0))
        if now - since < VERDICT_EVERY_MS:
            self._verdicts[(device or session, reason)] = (since, count + 1)
            return
        while len(self._verdicts) >= MAX_HELD:
            self._verdicts.pop(next(iter(self._verdicts)))
        self._verdicts[(device or session, reason)] = (now, 0)
        self._record(
            "connection.refused",
            f"device:{device}" if device else f"session:{session}" if session else "broker",
            {
                "words": f"A connection was refused: {reason.replace('_', ' ')}.",
                "reason": reason,
                "remote": verdict.remote,
                "count": count + 1,
            },
        )

    def _record(self, kind: str, subject: str, body: dict[str, JsonValue]) -> None:
        try:
            self._deeds.record(
                Deed(kind, "broker", subject, self._owner_id(), body, self._clock.wall_ms())
            )
        except FleetwardError as e:
            _log.warning("a refusal could not be recorded: %s", e.message)
