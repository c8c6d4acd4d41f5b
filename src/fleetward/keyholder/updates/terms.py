"""For which machines and when, as a person says it: selectors, times, windows. Pure.

    Mon-Fri 22:00-05:00 Europe/Vienna      the window belongs to the day on which it begins
    Mon,Thu 02:00-04:00 UTC
    daily 01:00-05:00 Europe/Vienna

A time is `2026-12-01`, `2026-12-01T02:00` (both UTC), `2026-12-01T02:00+01:00`, or a length from
now, such as `90d`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from fleetward.keyholder.access.window_times import find_zone
from fleetward.trust.errors import Malformed
from fleetward.trust.roster import ACTIVE, RosterEntry
from fleetward.trust.selector import MAX_DEVICES, MAX_WORDS, Selector
from fleetward.trust.update_windows import DAYS, MAX_WINDOWS, MINUTES, Window

DAY_SECONDS: Final = 86_400
APPROVAL_SECONDS: Final = 90 * DAY_SECONDS
"""How long an approval holds unless its end is named: a machine that is off for a quarter."""
STANDING_SECONDS: Final = 365 * DAY_SECONDS
LATEST_YEAR: Final = 9999
_LENGTH: Final = re.compile(r"([0-9]{1,5})([smhdw])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": DAY_SECONDS, "w": 7 * DAY_SECONDS}
_WINDOW: Final = re.compile(
    r"([A-Za-z]+(?:[-,][A-Za-z]+)*) ([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2}) (\S{1,100})"
)
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?(?:Z|[+-][0-9]{2}:[0-9]{2})?)?"
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Machines as they were named on the command line; all empty where nothing was."""

    everything: bool = False
    devices: tuple[str, ...] = ()
    """Ids, found on the roster."""
    groups: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()

    @property
    def says_nothing(self) -> bool:
        """Whether no machine was named."""
        return not (self.everything or self.devices or self.groups or self.models or self.sites)


def make_selector(chosen: Chosen) -> Selector:
    """Return the selector. Raises `Malformed` for words that do not go together."""
    words = (chosen.groups, chosen.models, chosen.sites)
    kinds = [chosen.everything, bool(chosen.devices), any(words)]
    if sum(kinds) != 1:
        raise Malformed(
            "Expected --all, or machines by --device, or words by --group, --model and --site; "
            "one of the three.",
            reason="bad_selector",
        )
    if len(chosen.devices) > MAX_DEVICES:
        raise Malformed(
            f"Expected at most {MAX_DEVICES} machines by name; put them into a group, or approve "
            "in several.",
            reason="bad_selector",
        )
    if any(len(each) > MAX_WORDS or "" in each for each in words):
        raise Malformed(
            f"Expected at most {MAX_WORDS} groups, models or sites, none empty.",
            reason="bad_selector",
        )
    devices, groups, models, sites = (tuple(sorted(set(each))) for each in (chosen.devices, *words))
    return Selector(devices, groups, models, sites)


def read_moment(text: str, now_ms: int) -> int:
    """Return the time that a person named. Raises `Malformed`."""
    plain = text.strip()
    if length := _LENGTH.fullmatch(plain):
        return now_ms + int(length[1]) * _UNITS[length[2]] * 1000
    try:
        if not _TIME.fullmatch(plain):
            raise ValueError("another form")
        at = datetime.fromisoformat(plain)
        moment = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError) as e:
        raise Malformed(
            f"Expected a time as 2026-12-01, 2026-12-01T02:00 (UTC) or 90d from now, got "
            f"{text[:40]!r}.",
            reason="bad_time",
        ) from e
    if moment < 0:
        raise Malformed("Expected a time after 1970.", reason="bad_time")
    return moment


def read_wait(text: str) -> int:
    """Return the seconds of `3d`, `12h`, `2w`. Raises `Malformed`."""
    length = _LENGTH.fullmatch(text.strip())
    if length is None:
        raise Malformed(
            f"Expected a length as 3d, 12h or 2w, got {text[:20]!r}.", reason="bad_length"
        )
    return int(length[1]) * _UNITS[length[2]]


def read_window(text: str) -> Window:
    """Return a window of `Mon-Fri 22:00-05:00 Europe/Vienna`. Raises `Malformed`."""
    found = _WINDOW.fullmatch(" ".join(text.split()))
    if found is None:
        raise Malformed(
            "Expected a window as 'Mon-Fri 22:00-05:00 Europe/Vienna' or 'daily 01:00-05:00 UTC', "
            f"got {text[:80]!r}.",
            reason="bad_window",
        )
    begin, end = _read_clock(found[2], found[3]), _read_clock(found[4], found[5])
    if begin == MINUTES:
        raise Malformed("Expected a beginning up to 23:59.", reason="bad_window")
    return Window(find_zone(found[6]).key, _read_days(found[1]), begin, end)


def read_windows(texts: Sequence[str]) -> tuple[Window, ...]:
    """Return windows, each once, in the order given. Raises `Malformed`."""
    windows = tuple(dict.fromkeys(read_window(text) for text in texts))
    if len(windows) > MAX_WINDOWS:
        raise Malformed(f"Expected at most {MAX_WINDOWS} windows.", reason="bad_window")
    return windows


@dataclass(frozen=True, slots=True)
class Reach:
    """Which machines of the roster something selects now, and how many others there are."""

    selected: tuple[RosterEntry, ...]
    others: int
    wrong_hardware: tuple[RosterEntry, ...] = ()
    """Selected, and of a model that the release is not for: they will refuse it."""


def find_reach(
    selector: Selector, entries: Sequence[RosterEntry], hardware: Sequence[str] = ("*",)
) -> Reach:
    """Return who is selected among the active machines of the owner's own roster."""
    active = [entry for entry in entries if entry.state == ACTIVE]
    selected = tuple(entry for entry in active if selector.selects(entry))
    wrong = tuple(e for e in selected if "*" not in hardware and e.model not in hardware)
    return Reach(selected, len(active) - len(selected), wrong)


def _read_days(text: str) -> tuple[int, ...]:
    if text.lower() == "daily":
        return tuple(range(7))
    days: set[int] = set()
    for span in text.split(","):
        first, dash, last = span.partition("-")
        begin, end = _read_day(first), _read_day(last if dash else first)
        days |= {(begin + step) % 7 for step in range((end - begin) % 7 + 1)}
    return tuple(sorted(days))


def _read_day(text: str) -> int:
    short = text.capitalize()
    if short not in DAYS:
        raise Malformed(
            f"Expected days as {', '.join(DAYS)} or daily; got {text[:20]!r}.", reason="bad_window"
        )
    return DAYS.index(short)


def _read_clock(hours: str, minutes: str) -> int:
    minute = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or minute > MINUTES:
        raise Malformed(f"Expected a time of day, got {hours}:{minutes}.", reason="bad_window")
    return minute
