"""How long each role's word lasts, and what runs out when.

Short lives make a stolen server useless sooner; long ones spare a maker trips to the safe. What a
person signs by hand at a release (snapshot, timestamp) lasts a quarter, so that a maker who does
nothing has to come by four times a year, and machines notice a withheld release within that time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from fleetward.keyholder.maker.repository import Verified

ROOT_DAYS: Final = 5 * 365
TARGETS_DAYS: Final = 365
"""Of `targets` and of each product."""
SHORT_DAYS: Final = 90
"""Of snapshot and timestamp."""
SOON_DAYS: Final = 30
"""From here on `maker status` asks for a refresh."""
RENEW_DAYS: Final = 90
"""`maker refresh` signs a targets role again that runs out within these."""
DAY_SECONDS: Final = 86_400
_KINDS: Final[dict[str, Any]] = {"root": Root, "snapshot": Snapshot, "timestamp": Timestamp}


@dataclass(frozen=True, slots=True)
class Life:
    """Until when a role's newest file counts."""

    role: str
    version: int
    ends_at: str
    days_left: int
    """Below zero when it has run out."""

    @property
    def words(self) -> str:
        """Say it to a person."""
        if self.days_left < 0:
            return f"{self.role}: RAN OUT on {self.ends_at}; machines refuse it"
        late = "  <- sign it again soon" if self.days_left < SOON_DAYS else ""
        return f"{self.role}: until {self.ends_at}, {self.days_left} days{late}"


def end_of(days: int, now_ms: int) -> datetime:
    """Return the second at which something that is signed now runs out."""
    return datetime.fromtimestamp(now_ms // 1000, UTC) + timedelta(days=days)


def days_of(role: str) -> int:
    """Return how many days a role's word lasts."""
    if role == "root":
        return ROOT_DAYS
    return SHORT_DAYS if role in ("snapshot", "timestamp") else TARGETS_DAYS


def list_lives(state: Verified, now_ms: int) -> tuple[Life, ...]:
    """Return what runs out when, the soonest first."""
    lives = []
    for role in ("root", "targets", "snapshot", "timestamp", *state.products):
        if role != "root" and role not in state.kept:
            continue
        signed = state.open(role, _KINDS.get(role, Targets)).signed
        left = (int(signed.expires.timestamp()) - now_ms // 1000) // DAY_SECONDS
        lives.append(Life(role, signed.version, f"{signed.expires:%Y-%m-%d}", left))
    return tuple(sorted(lives, key=lambda life: life.days_left))
