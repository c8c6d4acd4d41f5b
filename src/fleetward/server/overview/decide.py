"""What the first page says: pure. Numbers and rows in, sentence and cards out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

MAX_CARDS: Final = 7
"""Nobody reads an eighth."""
BREAK_GLASS: Final = "BREAK-GLASS"
Severity = Literal["normal", "critical"]
NEEDS_YOU: Final = ("quarantined", "exposed", "updates")


@dataclass(frozen=True, slots=True)
class Group:
    """Machines that need the same: how many, where, since when, and the first of them."""

    need: str
    number: int
    sites: tuple[str, ...]
    since_ms: int
    device_id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Asking:
    """Requests to enter machines that wait for their owner: how many, where, and the oldest."""

    number: int
    sites: tuple[str, ...]
    since_ms: int
    request: str
    who: str
    device: str
    reason: str
    scopes: tuple[str, ...]
    break_glass: bool = False
    """Whether one of them is to break in."""


@dataclass(frozen=True, slots=True)
class Changed:
    """Sessions after which something was found: how many, where, and the newest."""

    number: int
    sites: tuple[str, ...]
    since_ms: int
    request: str
    who: str
    device: str
    findings: int
    first: str


@dataclass(frozen=True, slots=True)
class CardFacts:
    """A card before its times are written out."""

    id: str
    kind: str
    title: str
    where: str
    why: str
    since_ms: int
    label: str
    href: str


@dataclass(frozen=True, slots=True)
class Tally:
    """How many machines are how; each counts once."""

    total: int = 0
    fine: int = 0
    need_you: int = 0
    silent: int = 0
    waiting: int = 0
    sites: Mapping[str, Tally] = field(default_factory=dict)


def tally(rows: Sequence[tuple[str, str, int]]) -> Tally:
    """Count rows of (site, need, number)."""
    sites: dict[str, Tally] = {}
    for site in sorted({row[0] for row in rows}):
        sites[site] = _count([row for row in rows if row[0] == site])
    whole = _count(rows)
    return Tally(whole.total, whole.fine, whole.need_you, whole.silent, whole.waiting, sites)


def _count(rows: Sequence[tuple[str, str, int]]) -> Tally:
    by_need: dict[str, int] = {}
    for _, need, number in rows:
        by_need[need] = by_need.get(need, 0) + number
    return Tally(
        total=sum(by_need.values()),
        fine=by_need.get("", 0) + by_need.get("unconfirmed", 0),
        need_you=sum(by_need.get(need, 0) for need in NEEDS_YOU),
        silent=by_need.get("silent", 0),
        waiting=by_need.get("waiting", 0),
    )


def make_sentence(counted: Tally) -> str:
    """Return the one sentence of the first page."""
    if counted.total == 0:
        return "No devices yet."
    parts = []
    if counted.fine:
        parts.append(f"{counted.fine:,} fine")
    if counted.need_you:
        parts.append(f"{counted.need_you:,} {'needs' if counted.need_you == 1 else 'need'} you")
    if counted.silent:
        parts.append(f"{counted.silent:,} silent")
    if counted.waiting:
        parts.append(f"{counted.waiting:,} waiting to be let in")
    devices = "1 device" if counted.total == 1 else f"{counted.total:,} devices"
    return f"{devices}: {', '.join(parts)}."


def make_cards(
    groups: Mapping[str, Group],
    broken: CardFacts | None,
    extra: Sequence[CardFacts],
    asking: Asking | None = None,
    urgent: Sequence[CardFacts] = (),
    changed: Changed | None = None,
) -> list[CardFacts]:
    """Return at most seven cards in rank: somebody broke in, whom the machines obey changes, a
    rollout is held, someone waits, identity or record broken, what changed in sessions,
    containment, exposure, updates, silence, set-up. `extra` are cards of the last rank. Machines
    that their owner has not confirmed work, and wait on another person: they are no card.
    """
    cards: list[CardFacts] = list(urgent)
    if asking is not None:
        cards.append(_asking(asking))
    if "waiting" in groups:
        cards.append(_waiting(groups["waiting"]))
    if broken is not None:
        cards.append(broken)
    if changed is not None:
        cards.append(_changed(changed))
    for need in ("quarantined", "exposed", "updates", "silent"):
        if need in groups:
            cards.append(_MAKERS[need](groups[need]))
    cards.extend(extra)
    return cards[:MAX_CARDS]


def make_break_in(deeds: Sequence[tuple[str, str, int, str]]) -> CardFacts | None:
    """Return the card for BREAK-GLASS, from (machine, words, time, request), the newest first."""
    if not deeds:
        return None
    name, words, at_ms, request = deeds[0]
    machines = {deed[0] for deed in deeds}
    return CardFacts(
        "breakglass",
        "breakglass",
        f"{BREAK_GLASS} at {name}" if len(machines) == 1 else f"{BREAK_GLASS} at several devices",
        ", ".join(sorted(machines)[:3]),
        f"{words} The usual approvers were not asked. Somebody has to know why.",
        at_ms,
        "See who, and why",
        f"/sessions/{request}" if request else "/sessions",
    )


def severity_of(kind: str, marked: object) -> Severity:
    """Return how loud an entry is. `marked`: what its body says of `break_glass`."""
    return "critical" if kind.startswith("breakglass.") or marked is True else "normal"


def where_of(sites: Sequence[str]) -> str:
    """Return the sites in words."""
    named = [site for site in sites if site]
    if not named:
        return "No site"
    if len(named) <= 2:
        return " and ".join(named)
    return f"{named[0]} and {len(named) - 1:,} more sites"


def _who(group: Group, one: str, many: str) -> str:
    return f"{group.name} {one}" if group.number == 1 else f"{group.number:,} devices {many}"


def _href(group: Group, tab: str = "") -> str:
    if group.number == 1 and group.device_id:
        return f"/devices/{group.device_id}" + (f"?tab={tab}" if tab else "")
    return f"/fleet?need={group.need}"


def _asking(asking: Asking) -> CardFacts:
    one = asking.number == 1
    loud = f"{BREAK_GLASS}: " if asking.break_glass else ""
    return CardFacts(
        "sessions",
        "waiting",
        f"{loud}{asking.who} asks to enter {asking.device}"
        if one
        else f"{loud}{asking.number} requests to enter machines wait for their owner",
        where_of(asking.sites),
        f"“{asking.reason}” It is about {' and '.join(asking.scopes)}. Only its owner can say yes, "
        "in the owner’s console; this page cannot."
        if one
        else "Only their owner can say yes, in the owner’s console; this page cannot.",
        asking.since_ms,
        "See how to answer",
        f"/sessions/{asking.request}" if one else "/sessions?state=offered",
    )


def _changed(changed: Changed) -> CardFacts:
    one = changed.number == 1
    more = changed.findings - 1
    rest = "" if more <= 0 else f", and {more:,} more {'finding' if more == 1 else 'findings'}"
    return CardFacts(
        "after_session",
        "changes",
        f"After a session on {changed.device}: {changed.first}{rest}"
        if one
        else f"After {changed.number:,} sessions something was found on the devices",
        where_of(changed.sites),
        f"{changed.who} was inside. The device compared itself before and after; others may have "
        "worked on it meanwhile."
        if one
        else f"The newest is {changed.device}: {changed.first}{rest}.",
        changed.since_ms,
        "See what changed",
        f"/sessions/{changed.request}" if one else "/sessions?state=ended",
    )


def _waiting(group: Group) -> CardFacts:
    return CardFacts(
        "waiting",
        "waiting",
        _who(group, "waits to be let in", "wait to be let in"),
        where_of(group.sites),
        "It keeps its evidence until its owner compares six words and confirms it.",
        group.since_ms,
        "Compare the words",
        "/fleet?need=waiting",
    )


def _quarantined(group: Group) -> CardFacts:
    return CardFacts(
        "quarantined",
        "containment",
        _who(group, "is in quarantine", "are in quarantine"),
        where_of(group.sites),
        "A machine in quarantine reports, and reaches nothing else.",
        group.since_ms,
        "Look and decide",
        _href(group),
    )


def _exposed(group: Group) -> CardFacts:
    return CardFacts(
        "exposed",
        "exposure",
        _who(group, "can be reached by everybody", "can be reached by everybody"),
        where_of(group.sites),
        "A port that answers every network is where attacks begin.",
        group.since_ms,
        "See the ports",
        _href(group, "sockets"),
    )


def _updates(group: Group) -> CardFacts:
    return CardFacts(
        "updates",
        "updates",
        _who(group, "lacks security updates", "lack security updates"),
        where_of(group.sites),
        "Known weaknesses stay open until the updates are installed.",
        group.since_ms,
        "See the updates",
        _href(group, "packages"),
    )


def _silent(group: Group) -> CardFacts:
    return CardFacts(
        "silent",
        "silence",
        _who(group, "has fallen silent", "have fallen silent"),
        where_of(group.sites),
        "What is known about a silent machine grows old. It may be off, or cut off.",
        group.since_ms,
        "See when it was heard",
        _href(group),
    )


_MAKERS: Final = {
    "quarantined": _quarantined,
    "exposed": _exposed,
    "updates": _updates,
    "silent": _silent,
}
