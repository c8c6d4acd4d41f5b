"""Where a closing stands at a machine, what a machine is handed again, and the three tiers: pure.

    handed    it waits for the machine
    applied   the machine says that it closed, on trial until the owner keeps it
    kept      the machine says that it stays closed
    restored  the machine says that nobody kept it in time, and that it went back
    refused   the machine said no, with the rule that was broken
    undone    the machine says that something there took its filter away

The three tiers are what an owner wants to see of a machine without an open port. Each is `yes`,
`no`, `unknown` or `stale`, with its reason and its age; of a silent machine none is `yes`. A server
can show what machines said, and when, and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.trust.sayings import say_age

HANDED: Final = "handed"
APPLIED: Final = "applied"
KEPT: Final = "kept"
RESTORED: Final = "restored"
REFUSED: Final = "refused"
UNDONE: Final = "undone"
STATES: Final = (HANDED, APPLIED, KEPT, RESTORED, REFUSED, UNDONE)
STALE_MS: Final = 24 * 3_600_000
"""A machine looks at itself every six hours; what is four times as old says little."""
WAYS: Final = {
    "ssh": (frozenset({"sshd", "dropbear", "sshd-listener"}), 22, "SSH"),
    "telnet": (frozenset({"telnetd", "in.telnetd", "utelnetd"}), 23, "Telnet"),
}


@dataclass(frozen=True, slots=True)
class Order:
    """A closing as it stands for one machine."""

    closing: str
    serial: int
    state: str
    has_kept: bool
    opens_all: bool


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that waits, as the machine's newest inventory has it. None: not visible."""

    protocol: str
    port: int
    exposure: str
    process: str | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a machine. Times are 0 for what never was; `listeners` None: not visible."""

    now_ms: int
    seen_ms: int
    connected: bool
    certificate_ends_ms: int
    policy_version: int
    rules_words: str
    looked_ms: int
    sight: str
    sight_words: str
    listeners: tuple[Listener, ...] | None
    filtered_tcp: frozenset[int] = frozenset()
    filtered_ways: frozenset[str] = frozenset()
    outcome: str = ""
    seconds_left: int = 0


@dataclass(frozen=True, slots=True)
class Tier:
    """One of the three."""

    number: int
    title: str
    state: str
    words: str
    as_of_ms: int


def follow(state: str, outcome: str) -> str:
    """Return the state after a machine said `outcome`. Its word stands, whatever was before."""
    return outcome if outcome in STATES else state


def is_news(state: str, outcome: str, *, known: bool) -> bool:
    """Say whether a machine's word about a closing, after `state`, belongs into the record.

    A refusal of what is not known here proves nothing, and one of what was taken is of a
    repetition. A filter that was taken away, and put back, says nothing new of the closing.
    """
    if outcome == REFUSED:
        return known and state == HANDED
    if outcome == UNDONE or (state == UNDONE and outcome == APPLIED):
        return False
    return outcome != state


def orders_of(orders: Sequence[Order]) -> tuple[tuple[str, str], ...]:
    """Return what a machine that greets is handed again: (closing, `closing` or `kept`).

    Only the newest counts for it: older ones it would refuse.
    """
    if not orders:
        return ()
    newest = max(orders, key=lambda o: o.serial)
    if newest.state == HANDED:
        return ((newest.closing, "closing"),)
    if newest.state in (APPLIED, UNDONE) and newest.has_kept:
        return ((newest.closing, "kept"),)
    return ()


def decide_tiers(known: Evidence) -> tuple[Tier, Tier, Tier]:
    """Return the three tiers of a machine."""
    return _encrypted(known), _local_access(known), _permission(known)


def _encrypted(known: Evidence) -> Tier:
    title = "Encrypted"
    if not known.seen_ms:
        return Tier(1, title, "unknown", "It has not connected yet.", 0)
    if known.certificate_ends_ms <= known.now_ms:
        words = (
            "Its certificate has run out, so it has no connection. It renews it by itself when it "
            "reaches this server."
        )
        return Tier(1, title, "no", words, known.seen_ms)
    words = (
        "Its one connection goes out from it, by TLS 1.3, and both sides prove who they are. "
        "Nothing else leads to it from here."
    )
    return _age(Tier(1, title, "yes", words, known.seen_ms), known)


def _local_access(known: Evidence) -> Tier:
    title = "Local access off"
    if known.listeners is None:
        words = known.sight_words or "It has not said yet what waits on its ports."
        return Tier(2, title, "unknown", words, known.looked_ms)
    open_now, behind = _sort(known)
    if known.outcome == UNDONE:
        words = "no: something on the machine took away the filter that its owner ordered."
        return Tier(2, title, "no", words.capitalize(), known.looked_ms)
    if open_now:
        words = f"{'; '.join(open_now)}. Nothing keeps others from it."
        return _age(Tier(2, title, "no", words, known.looked_ms), known)
    hidden = [row for row in known.listeners if _reachable(row) and row.process is None]
    hidden = [row for row in hidden if row.port not in known.filtered_tcp]
    if known.sight != "full" and hidden:
        words = f"Which programs wait on {len(hidden)} of its open ports is not visible."
        return Tier(2, title, "unknown", words, known.looked_ms)
    words = "No program for SSH or Telnet waits for others."
    if behind:
        words = f"Closed by a filter on the owner's order: {', '.join(behind)}."
        if known.seconds_left:
            words += " On trial: it opens again unless the owner keeps it."
    return _age(Tier(2, title, "yes", words, known.looked_ms), known)


def _permission(known: Evidence) -> Tier:
    title = "Permission required"
    if not known.policy_version:
        return Tier(3, title, "unknown", "It has not said yet which policy it follows.", 0)
    words = (
        f"It follows the owner's policy {known.policy_version}: {known.rules_words} The machine "
        "itself checks that, and no server can change it."
    )
    return _age(Tier(3, title, "yes", words, known.seen_ms), known)


def _sort(known: Evidence) -> tuple[list[str], list[str]]:
    """Return the ways of local access that are open to others, and those behind the filter."""
    open_now: list[str] = []
    behind: list[str] = []
    for way, (programs, usual, name) in WAYS.items():
        for row in known.listeners or ():
            mine = row.process in programs or (row.process is None and row.port == usual)
            mine = mine or (row.port == usual and row.process in ("systemd", "init", "inetd"))
            if row.protocol != "tcp" or not _reachable(row) or not mine:
                continue
            if row.port in known.filtered_tcp or way in known.filtered_ways:
                behind.append(f"{name} on port {row.port}")
            else:
                open_now.append(f"{name} waits on port {row.port}")
    return list(dict.fromkeys(open_now)), list(dict.fromkeys(behind))


def _reachable(row: Listener) -> bool:
    return row.exposure != "loopback"


def _age(tier: Tier, known: Evidence) -> Tier:
    """Return the tier, stale when its machine is silent or what it rests on is old."""
    age_ms = max(known.now_ms - tier.as_of_ms, 0)
    if not tier.as_of_ms or (known.connected and (tier.number != 2 or age_ms < STALE_MS)):
        return tier
    ago = say_age(age_ms // 1000)
    words = f"It was {tier.state} {ago} ago, and nothing newer is known. {tier.words}"
    return Tier(tier.number, tier.title, "stale", words, tier.as_of_ms)
