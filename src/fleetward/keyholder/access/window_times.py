"""Windows of time as people say them: `Tue 02:00-04:00` for so many weeks, or one by one. Pure.

They are computed in a time zone and signed in UTC. On a day on which the clocks go forward an hour
is missing: a window that begins or ends in it is refused, and can be left out by its date. Where an
hour comes twice its first time is meant.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.grants.standing import MAX_WINDOW_MS, MAX_WINDOWS, Window

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MAX_WEEKS: Final = 57
"""400 days."""
_EVERY: Final = re.compile(
    r"([A-Za-z]+(?:,[A-Za-z]+)*) ([0-9]{1,2}:[0-9]{2})-([0-9]{1,2}:[0-9]{2})"
)
_AT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{1,2}:[0-9]{2})(?:[-/]([0-9]{1,2}:[0-9]{2}))?"
)


def find_zone(name: str) -> ZoneInfo:
    """Return a time zone by its name. Raises `Malformed`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as e:
        raise Malformed(
            f"Expected a time zone as Europe/Berlin or UTC, got {name[:60]!r}.", reason="bad_zone"
        ) from e


def weekly_windows(
    text: str, weeks: int, zone: ZoneInfo, now_ms: int, skip: Collection[date] = ()
) -> list[Window]:
    """Return the windows of `Tue 02:00-04:00`, `Mon,Thu …` or `daily …` for so many weeks from now.

    Raises `Malformed`, or `Refused` for an hour that does not exist on one of the days.
    """
    found = _EVERY.fullmatch(" ".join(text.split()))
    if found is None or not 1 <= weeks <= MAX_WEEKS:
        raise Malformed(
            f"Expected windows as 'Tue 02:00-04:00', 'Mon,Thu 22:00-02:00' or 'daily 03:00-04:00', "
            f"and 1 to {MAX_WEEKS} weeks; got {text[:60]!r} and {weeks}.",
            reason="bad_window",
        )
    wanted = _read_days(found[1])
    begin, end = _read_time(found[2]), _read_time(found[3])
    today = datetime.fromtimestamp(now_ms / 1000, zone).date()
    windows: list[Window] = []
    # As many as there would be in so many weeks; a day that is left out is not made up for.
    days = [today + timedelta(days=offset) for offset in range(7 * weeks + 1)]
    named = [day for day in days if day.weekday() in wanted]
    if named and named[0] == today and _is_over(today, begin, zone, now_ms):
        named = named[1:]
    windows = [
        _make_window(day, begin, end, zone)
        for day in named[: weeks * len(wanted)]
        if day not in skip
    ]
    if not windows:
        raise Malformed("No window is left of that.", reason="bad_window")
    return windows


def single_window(text: str, length_seconds: int, zone: ZoneInfo) -> Window:
    """Return the window of `2026-12-01T02:00`, as long as given, or of `2026-12-01T02:00-04:00`.

    Raises as `weekly_windows`.
    """
    found = _AT.fullmatch(text.strip())
    if found is None:
        raise Malformed(
            f"Expected a beginning as 2026-12-01T02:00 or 2026-12-01T02:00-04:00, got "
            f"{text[:60]!r}.",
            reason="bad_window",
        )
    day, begin = _read_date(found[1]), _read_time(found[2])
    if found[3]:
        return _make_window(day, begin, _read_time(found[3]), zone)
    start = _to_utc_ms(datetime.combine(day, begin), zone)
    return _check(Window(start, start + length_seconds * 1000))


def read_date(text: str) -> date:
    """Return a date as 2027-03-28. Raises `Malformed`."""
    return _read_date(text.strip())


def join_windows(windows: Sequence[Window]) -> tuple[Window, ...]:
    """Return windows in their order. Raises `Malformed` when two overlap, or for too many."""
    ordered = sorted(windows, key=lambda w: w.not_before_ms)
    for before, after in itertools.pairwise(ordered):
        if after.not_before_ms < before.not_after_ms:
            raise Malformed(
                f"Two of the windows overlap: {say_window(before, 'UTC')} and "
                f"{say_window(after, 'UTC')}.",
                reason="bad_window",
            )
    if not 1 <= len(ordered) <= MAX_WINDOWS:
        raise Malformed(
            f"Expected 1 to {MAX_WINDOWS} windows, got {len(ordered)}.", reason="bad_window"
        )
    return tuple(ordered)


def say_window(window: Window, zone_name: str) -> str:
    """Say a window to a person, in a time zone and in UTC; in UTC alone where the zone is unknown.

    The name of the zone may come from somebody else's document.
    """
    utc = _say_span(window, UTC)
    try:
        zone = ZoneInfo(zone_name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"{utc} UTC"
    if zone_name == "UTC":
        return f"{utc} UTC"
    here = datetime.fromtimestamp(window.not_before_ms / 1000, zone)
    return f"{_say_span(window, zone)} {here.tzname() or zone_name} ({utc} UTC)"


def _say_span(window: Window, zone: tzinfo) -> str:
    begin, end = (
        datetime.fromtimestamp(ms / 1000, zone)
        for ms in (window.not_before_ms, window.not_after_ms)
    )
    day = f"{DAYS[begin.weekday()]} {begin:%Y-%m-%d %H:%M}"
    return f"{day}-{end:%H:%M}"


def _make_window(day: date, begin: time, end: time, zone: ZoneInfo) -> Window:
    last = day if end > begin else day + timedelta(days=1)
    start = _to_utc_ms(datetime.combine(day, begin), zone)
    return _check(Window(start, _to_utc_ms(datetime.combine(last, end), zone)))


def _is_over(day: date, begin: time, zone: ZoneInfo, now_ms: int) -> bool:
    return datetime.combine(day, begin, zone).timestamp() * 1000 < now_ms


def _check(window: Window) -> Window:
    if not 0 < window.not_after_ms - window.not_before_ms <= MAX_WINDOW_MS:
        raise Malformed("Expected a window of a minute to 24 hours.", reason="bad_window")
    return window


def _to_utc_ms(local: datetime, zone: ZoneInfo) -> int:
    there = local.replace(tzinfo=zone)
    if there.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != local:
        raise Refused(
            f"On {local:%A, %Y-%m-%d}, there is no {local:%H:%M} in {zone.key}: the clocks go "
            f"forward over it. Choose another hour, or leave the day out by --skip "
            f"{local:%Y-%m-%d}.",
            reason="no_such_hour",
        )
    return int(there.timestamp()) * 1000


def _read_days(text: str) -> set[int]:
    if text.lower() == "daily":
        return set(range(7))
    days: set[int] = set()
    for name in text.split(","):
        short = name[:3].capitalize()
        if short not in DAYS:
            raise Malformed(
                f"Expected days as {', '.join(DAYS)} or daily; got {name[:20]!r}.",
                reason="bad_window",
            )
        days.add(DAYS.index(short))
    return days


def _read_time(text: str) -> time:
    hours, _, minutes = text.partition(":")
    try:
        return time(int(hours), int(minutes))
    except ValueError as e:
        raise Malformed(f"Expected a time as 02:00, got {text!r}.", reason="bad_window") from e


def _read_date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as e:
        raise Malformed(
            f"Expected a date as 2027-03-28, got {text[:20]!r}.", reason="bad_window"
        ) from e
