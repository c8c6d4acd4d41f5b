"""How far behind machines are: pure.

A machine is behind since the day on which the first release that it lacks was approved for it and
published here; a machine that says nothing of a product does not have it. Days are whole days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.server.updates.decide import Release, approves, is_eligible
from fleetward.server.updates.reading import Paper
from fleetward.trust.roster import RosterEntry

DAY_MS: Final = 86_400_000
GOAL_DAYS: Final = 30
"""How far behind a machine may be and still count as fresh."""


MOST_DAYS: Final = 3660
"""Ten years: whoever is further behind counts here."""


@dataclass(frozen=True, slots=True)
class Behind:
    """A machine and a product. `days` is None where nothing is approved for it."""

    days: int | None
    newest: str


def measure_behind(
    releases: Sequence[Release], since_ms: Mapping[str, int], running: int, now_ms: int
) -> Behind:
    """Return how far behind a machine is that runs this counter.

    `releases` are those of one product that are approved for it; `since_ms` says from when each
    could have been had: published and approved.
    """
    if not releases:
        return Behind(None, "")
    newest = max(releases, key=lambda each: each.counter)
    lacking = [since_ms[each.id] for each in releases if each.counter > running]
    days = max(now_ms - min(lacking), 0) // DAY_MS if lacking else 0
    return Behind(days, newest.version)


def list_approved(
    releases: Sequence[Release], holding: Sequence[Paper], entry: RosterEntry, product: str
) -> list[Release]:
    """Return the releases of a product that are approved for a machine."""
    return [
        each for each in releases if each.product == product and is_eligible(each, entry, holding)
    ]


def begin_of(
    release: Release, published_ms: int, holding: Sequence[Paper], entry: RosterEntry
) -> int:
    """Return since when a machine can have a release: published here, and approved for it."""
    begun = [
        max(paper.not_before_ms, paper.issued_at_ms)
        for paper in holding
        if approves(paper, release, entry)
    ]
    return max(published_ms, min(begun, default=published_ms))


def count_fresh(spread: Mapping[int, int], goal_days: int) -> int:
    """Return how many machines are at most so many days behind, of how many are how many."""
    return sum(machines for days, machines in spread.items() if days <= goal_days)
