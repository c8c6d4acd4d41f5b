"""When a machine may change itself: windows in the local time of a place.

A window names a time zone of the IANA database, week days (0 is Monday) and two times of day, as
minutes since midnight. One whose end is not behind its beginning reaches into the next day. The
day is that of the beginning. Without windows it is always open.

The caller knows the zones: what the time is there, is his to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.errors import Malformed
from fleetward.trust.fields import Fields

MAX_WINDOWS: Final = 16
MINUTES: Final = 24 * 60
DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,31}(?:/[A-Za-z0-9_+-]{1,32}){0,2}")


@dataclass(frozen=True, slots=True)
class LocalTime:
    """The time of day somewhere: the week day, 0 is Monday, and minutes since midnight."""

    day: int
    minute: int


@dataclass(frozen=True, slots=True)
class Window:
    """One window, as signed."""

    zone: str
    days: tuple[int, ...]
    from_minute: int
    to_minute: int

    def to_json(self) -> JsonObject:
        """Return the window as it stands in signed documents."""
        return {
            "days": list(self.days),
            "from": self.from_minute,
            "to": self.to_minute,
            "zone": self.zone,
        }

    def words(self) -> str:
        """Say it to a person."""
        days = ", ".join(DAYS[day] for day in self.days) if len(self.days) < 7 else "every day"
        return f"{days} {_clock(self.from_minute)}-{_clock(self.to_minute)} {self.zone}"

    def holds(self, now: LocalTime) -> bool:
        """Whether it is open at this local time."""
        if self.from_minute < self.to_minute:
            return now.day in self.days and self.from_minute <= now.minute < self.to_minute
        began_today = now.day in self.days and now.minute >= self.from_minute
        return began_today or ((now.day - 1) % 7 in self.days and now.minute < self.to_minute)


def is_open(windows: Sequence[Window], local: Callable[[str], LocalTime]) -> bool:
    """Whether any is open now; `local` says what the time is in a zone, and raises as it likes."""
    return not windows or any(window.holds(local(window.zone)) for window in windows)


def read_windows(values: Sequence[Json]) -> tuple[Window, ...]:
    """Return the windows of a signed list. Raises `Malformed`."""
    if len(values) > MAX_WINDOWS:
        raise Malformed(f"Expected at most {MAX_WINDOWS} windows.", reason="bad_window")
    return tuple(_read(value) for value in values)


def _read(value: Json) -> Window:
    fields = Fields(value, "a window", {"days", "from", "to", "zone"})
    days = fields.items("days", most=7)
    numbers = [d for d in days if isinstance(d, int) and not isinstance(d, bool) and 0 <= d < 7]
    if not days or len(numbers) != len(days) or sorted(set(numbers)) != numbers:
        raise Malformed("Expected week days from 0 to 6, sorted, each once.", reason="bad_window")
    zone = fields.text("zone", most=100)
    if _ZONE.fullmatch(zone) is None:
        raise Malformed("Expected a time zone such as Europe/Vienna.", reason="bad_window")
    return Window(
        zone,
        tuple(numbers),
        fields.integer("from", high=MINUTES - 1),
        fields.integer("to", high=MINUTES),
    )


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
