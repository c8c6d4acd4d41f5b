"""When the end of a product's support is announced: pure.

A maker says in each release until when he mends the product; the newest release counts. Its end is
announced twelve, six and one months ahead, and when it has come, each once. Who learns of it late
is told the nearest of these alone. A maker who prolongs it begins anew.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from fleetward.server.updates.decide import Release

MONTHS_AHEAD: Final = (12, 6, 1, 0)
LATEST_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999: a maker can write any number."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS: Final = 12


@dataclass(frozen=True, slots=True)
class SupportEnd:
    """Until when a product is mended, as its newest release says. `models` is what that is for."""

    product: str
    version: str
    models: tuple[str, ...]
    ends_at_ms: int


def list_support(releases: Iterable[Release], ends: Mapping[str, int]) -> list[SupportEnd]:
    """Return the products whose newest release says until when it is mended."""
    return [
        SupportEnd(each.product, each.version, each.hardware, ends[each.id])
        for each in find_newest(releases)
        if ends.get(each.id)
    ]


def find_newest(releases: Iterable[Release]) -> list[Release]:
    """Return the newest release of each product, by the products' names."""
    newest: dict[str, Release] = {}
    for each in releases:
        if each.product not in newest or each.counter > newest[each.product].counter:
            newest[each.product] = each
    return [newest[product] for product in sorted(newest)]


def decide_due(end: SupportEnd, announced: Collection[int], now_ms: int) -> tuple[int, list[int]]:
    """Return how many months ahead is announced now (-1: nothing), and which are settled by it."""
    passed = [each for each in MONTHS_AHEAD if now_ms >= months_before(end.ends_at_ms, each)]
    fresh = [each for each in passed if each not in announced]
    if not fresh or min(passed) in announced:
        return -1, fresh
    return min(passed), fresh


def months_before(ends_at_ms: int, months: int) -> int:
    """Return the moment so many months before, on the same day or the last one of a shorter
    month."""
    end = _EPOCH + timedelta(milliseconds=min(ends_at_ms, LATEST_MS))
    count = end.year * _MONTHS + end.month - 1 - months
    year, month = count // _MONTHS, count % _MONTHS + 1
    day = min(end.day, monthrange(year, month)[1])
    return (end.replace(year=year, month=month, day=day) - _EPOCH) // timedelta(milliseconds=1)


def say_ahead(end: SupportEnd, months: int) -> str:
    """Say in one sentence when the support ends or ended."""
    last = say_last_day(end.ends_at_ms)
    if not months:
        return f"Support of {end.product} ended on {last}"
    ahead = "a month" if months == 1 else f"{months} months"
    return f"Support of {end.product} ends on {last}, within {ahead}"


def say_last_day(ends_at_ms: int) -> str:
    """Return the last day on which it holds."""
    last = _EPOCH + timedelta(milliseconds=min(max(ends_at_ms - 1, 0), LATEST_MS))
    return last.date().isoformat()
