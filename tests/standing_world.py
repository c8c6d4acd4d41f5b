"""What was allowed ahead, for tests: documents of the owner, and entries of the technician.

>>> ahead = Ahead(AccessWorld.make())
>>> standing = ahead.standing()
>>> entry = ahead.entry(standing, request, offer)
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tests.access_world import TERMINAL, AccessWorld
from tests.trust_world import DAY_MS, NOW_MS

from fleetward.trust.envelope import seal
from fleetward.trust.grants.ending import make_revocation_payload
from fleetward.trust.grants.entry import Moment, make_entry_payload
from fleetward.trust.grants.offer import Offer
from fleetward.trust.grants.request import Request
from fleetward.trust.grants.standing import (
    Permission,
    Standing,
    Window,
    make_standing_payload,
    verify_standing,
)
from fleetward.trust.keys import Signer

HOUR_MS: Final = 3_600_000
WEEK_MS: Final = 7 * DAY_MS


def weekly(count: int = 4, first_ms: int = NOW_MS) -> tuple[Window, ...]:
    """Return windows of two hours, a week apart; the first began half an hour ago."""
    begin = first_ms - HOUR_MS // 2
    return tuple(
        Window(begin + i * WEEK_MS, begin + i * WEEK_MS + 2 * HOUR_MS) for i in range(count)
    )


@dataclass
class Ahead:
    """Makes documents and entries of one world."""

    access: AccessWorld

    def permission(self, **changes: Any) -> Permission:
        """Return what the owner allows: the technician, a terminal, four weekly windows."""
        given = Permission(
            series=self.access.chance(16),
            devices=(self.access.machine.device,),
            requesters=(self.access.technician.public.key_id,),
            scopes=(TERMINAL,),
            seconds=1800,
            idle_seconds=300,
            watched=False,
            windows=weekly(),
            reason="the weekly update",
            time_zone="Europe/Berlin",
        )
        return replace(given, **changes)

    def raw(self, signers: Sequence[Signer] | None = None, **changes: Any) -> bytes:
        """Return a standing document, signed by the first person unless others are given."""
        issued = changes.pop("issued_at_ms", NOW_MS - HOUR_MS)
        payload = make_standing_payload(
            self.access.trust.policy, self.permission(**changes), issued
        )
        return seal(payload, [self.access.trust.signers[0]] if signers is None else signers)

    def standing(self, signers: Sequence[Signer] | None = None, **changes: Any) -> Standing:
        """Return a verified standing document."""
        return verify_standing(self.raw(signers, **changes), self.access.trust.policy)

    def entry(
        self,
        standing: Standing,
        request: Request,
        offer: Offer,
        window: int = 0,
        signer: Signer | None = None,
    ) -> bytes:
        """Return an entry, signed by the technician unless another is given."""
        payload = make_entry_payload(standing, window, request, offer)
        return seal(payload, [signer or self.access.technician])

    def moment(self, **changes: Any) -> Moment:
        """Return what the machine knows now."""
        return replace(Moment(self.access.situation(), -1, NOW_MS - HOUR_MS), **changes)

    def revocation(self, standing: str, signer: Signer | None = None) -> bytes:
        """Return an approver's stop of a standing document."""
        payload = make_revocation_payload(self.access.trust.policy, standing, "enough", NOW_MS)
        return seal(payload, [signer or self.access.trust.signers[0]])


def fresh_series() -> bytes:
    """Return a new series."""
    return secrets.token_bytes(16)
