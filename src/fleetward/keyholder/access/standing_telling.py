"""Permissions given ahead in words and as JSON. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from fleetward.keyholder.access.scope_words import write_scope
from fleetward.keyholder.access.standing import (
    AHEAD,
    CLOSED,
    MISSED,
    OPEN,
    USED,
    PreparedStanding,
    StandingCase,
)
from fleetward.keyholder.access.window_times import say_window
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.grants.standing import Standing, Window
from fleetward.trust.grants.standing_state import DROPPED, HELD, REVOKED
from fleetward.trust.sayings import say_length

STATE_WORDS: Final = {
    HELD: "keeps it",
    DROPPED: "does not take it: its policy does not permit it",
    REVOKED: "has signed that it was taken back",
    "": "has not answered yet",
}
WINDOW_WORDS: Final = {
    USED: "used",
    MISSED: "not used",
    OPEN: "open now",
    AHEAD: "ahead",
    CLOSED: "taken back",
}
SHOWN_WINDOWS: Final = 8
"""Windows that a list of words tells; JSON has all."""


def show_windows(windows: tuple[Window, ...], zone: str) -> list[dict[str, Any]]:
    """Return windows as JSON, with their words in the zone."""
    return [
        {
            "window": place,
            "not_before": to_rfc3339(each.not_before_ms),
            "not_after": to_rfc3339(each.not_after_ms),
            "words": say_window(each, zone),
        }
        for place, each in enumerate(windows)
    ]


def tell_prepared_standing(prepared: PreparedStanding) -> str:
    """Return what is about to be signed, in words."""
    given = prepared.given
    lines = [
        f"{' and '.join(prepared.people)} may enter, once in each window and without asking again:",
        *(f"  - {entry.name}{f' ({entry.site})' if entry.site else ''}"
          for entry in prepared.machines),
        *(f"  - {scope.words()}" for scope in given.scopes),
        f"  for       {say_length(given.seconds)} at most, and never beyond the window"
        f"{'; watched' if given.watched else ''}",
        f"  because   {given.reason}",
        f"  windows   {len(given.windows)}, in {given.time_zone}:",
        *(f"    {say_window(each, given.time_zone)}" for each in given.windows),
    ]  # fmt: skip
    if prepared.needed > 1:
        lines.append(f"  it takes  {prepared.needed} people")
    lines.append(f"Six words, the same on every screen: {prepared.words}")
    return "\n".join(lines)


def show_prepared_standing(prepared: PreparedStanding) -> dict[str, Any]:
    """Return what is about to be signed as JSON."""
    given = prepared.given
    return {
        "id": prepared.hash,
        "six_words": prepared.words,
        "machines": [entry.name for entry in prepared.machines],
        "devices": list(given.devices),
        "for": list(prepared.people),
        "scopes": [write_scope(scope) for scope in given.scopes],
        "seconds": given.seconds,
        "watched": given.watched,
        "reason": given.reason,
        "time_zone": given.time_zone,
        "windows": show_windows(given.windows, given.time_zone),
        "people_needed": prepared.needed,
    }


def show_standing_case(case: StandingCase, now_ms: int) -> dict[str, Any]:
    """Return a verified permission and what became of it as JSON."""
    standing = case.standing
    place = case.next_window(now_ms)
    return {
        "id": standing.hash,
        "six_words": standing.words,
        "allowed_by": list(standing.people),
        "for": list(case.people),
        "scopes": [write_scope(scope) for scope in standing.scopes],
        "seconds": standing.seconds,
        "watched": standing.watched,
        "reason": standing.reason,
        "time_zone": standing.time_zone,
        "issued_at": to_rfc3339(standing.issued_at_ms),
        "windows": show_windows(standing.windows, standing.time_zone),
        "next_window": place,
        "in_force": not case.doubt and not case.revoked_by and place is not None,
        "doubt": case.doubt,
        "revoked_by": case.revoked_by,
        "revoked_everywhere": case.done,
        "waiting_for": list(case.waiting_for),
        "machines": [
            {
                "device_id": machine.device,
                "name": machine.name,
                "state": machine.said.state if machine.said else "",
                "words": machine.said.words if machine.said else "",
                "windows": [
                    machine.state_of(i, standing, now_ms) for i in range(len(standing.windows))
                ],
            }
            for machine in case.machines
        ],
    }


def tell_standing_line(case: StandingCase, now_ms: int) -> str:
    """Return a permission as one line of a list."""
    standing = case.standing
    names = ", ".join(machine.name for machine in case.machines[:3])
    more = f" and {len(case.machines) - 3} more" if len(case.machines) > 3 else ""
    people = " and ".join(case.people)
    return f"{standing.hash[:16]}  {people} at {names}{more}: {_standing_words(case, now_ms)}"


def tell_standing_case(case: StandingCase, now_ms: int) -> str:
    """Return a permission and what became of it for a person."""
    standing = case.standing
    lines = [
        f"{' and '.join(standing.people)} allowed ahead: {' and '.join(case.people)} may enter "
        "once in each window.",
        *(f"  - {scope.words()}" for scope in standing.scopes),
        f"  for       {say_length(standing.seconds)} at most",
        f"  because   {standing.reason}",
        f"  now       {_standing_words(case, now_ms)}",
    ]
    for machine in case.machines:
        state = STATE_WORDS[machine.said.state if machine.said else ""]
        states = [machine.state_of(i, standing, now_ms) for i in range(len(standing.windows))]
        counted = Counter(states)
        told = ", ".join(f"{counted[s]} {WINDOW_WORDS[s]}" for s in WINDOW_WORDS if counted[s])
        lines.append(f"  {machine.name}: {state}. Windows: {told}.")
    first = case.next_window(now_ms) or 0
    lines.append("  windows:")
    for window in standing.windows[first : first + SHOWN_WINDOWS]:
        lines.append(f"    {say_window(window, standing.time_zone)}")
    rest = len(standing.windows) - first - SHOWN_WINDOWS
    if rest > 0:
        lines.append(f"    and {rest} more, up to {_last_words(standing)}")
    lines.append(f"  six words {standing.words}")
    return "\n".join(lines)


def _standing_words(case: StandingCase, now_ms: int) -> str:
    if case.done:
        return f"taken back by {case.revoked_by}; every machine has signed so"
    if case.revoked_by:
        return (
            f"taken back by {case.revoked_by}, NOT DONE YET: "
            f"{', '.join(case.waiting_for)} has not signed so"
        )
    if case.doubt:
        return f"of no force: {case.doubt}"
    place = case.next_window(now_ms)
    if place is None:
        return "all its windows are over"
    window = case.standing.windows[place]
    what = "open now" if window.not_before_ms <= now_ms else "next"
    return f"{what} {say_window(window, case.standing.time_zone)}"


def _last_words(standing: Standing) -> str:
    return say_window(standing.windows[-1], standing.time_zone)
