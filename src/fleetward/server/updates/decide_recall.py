"""What a recall finds, how far it is, and what is to be done next: pure.

`trust.recall` says how a machine stands; here is what the server makes of it:

1. A machine is found when it is affected, or when nobody knows what it runs. Once found it stays in
   the list, so that who is done can be shown with the proof.
2. Done is who signed that it runs another version for good, or whom the owner's signed roster has
   retired. What somebody says of a machine is shown, and is never done.
3. Silence is never done: a machine that is not heard of stays as it stood.
4. While a recall is open, whoever joins is found too; after it was closed he is found and named.
5. Who was done and falls back is found anew, and named as he is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.server.updates.announcement import Announcement
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.recall import AFFECTED, CLEAR, EVER, RETIRED, UNKNOWN, Range, RecallScope
from fleetward.trust.roster import RosterEntry
from fleetward.trust.sayings import say_count
from fleetward.trust.update_report import Installed

OPEN: Final = "open"
CLOSED: Final = "closed"
CANCELLED: Final = "cancelled"
UPDATED: Final = "updated"
UNDONE: Final = frozenset({AFFECTED, UNKNOWN})
DONE: Final = frozenset({UPDATED, RETIRED})
PATCH: Final = "patch"
DISABLE: Final = "disable"
STOP: Final = "stop"
REMEDIES: Final = (PATCH, DISABLE, STOP)
REMIND_MS: Final = 7 * 86_400_000
"""Who has not answered is told again after a week: so long `notices.toml` may wait at most."""
MAX_REMINDERS: Final = 52
MAX_VERSIONS: Final = 64
MAX_VERSION_WORDS: Final = 400
"""Characters in which versions are kept as they were named; the scope has them all."""


@dataclass(frozen=True, slots=True)
class Member:
    """A machine that a recall found. Times are 0 where they never were."""

    device: str
    standing: str
    version: str
    counter: int
    found_version: str
    found_at_ms: int
    done_at_ms: int = 0
    report: str = ""
    said_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Said:
    """What a machine's newest report names of the product. `report` is the one that says so."""

    installed: Installed
    report: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Tally:
    """How many machines a recall found, and how they stand."""

    affected: int = 0
    unknown: int = 0
    updated: int = 0
    retired: int = 0

    @property
    def undone(self) -> int:
        """How many it is not over for."""
        return self.affected + self.unknown

    @property
    def done(self) -> int:
        """For how many it is over, each by something signed."""
        return self.updated + self.retired

    @property
    def found(self) -> int:
        """How many it found."""
        return self.undone + self.done


def count_members(standings: Iterable[str]) -> Tally:
    """Return how machines stand."""
    counts = dict.fromkeys((AFFECTED, UNKNOWN, UPDATED, RETIRED), 0)
    for standing in standings:
        counts[standing] += 1
    return Tally(counts[AFFECTED], counts[UNKNOWN], counts[UPDATED], counts[RETIRED])


def decide_members(
    scope: RecallScope, entries: Iterable[RosterEntry], said: Mapping[str, Said],
    before: Mapping[str, Member], now_ms: int,
) -> list[Member]:  # fmt: skip
    """Return all machines that the recall found, as they stand now."""
    found: list[Member] = []
    for entry in entries:
        member = _decide_member(scope, entry, said.get(entry.device), before, now_ms)
        if member is not None:
            found.append(member)
    return found


def _decide_member(
    scope: RecallScope, entry: RosterEntry, said: Said | None, before: Mapping[str, Member],
    now_ms: int,
) -> Member | None:  # fmt: skip
    known = before.get(entry.device)
    judged = scope.judge(entry, (said.installed,) if said else None, found=known is not None)
    # 1.
    if judged is None or (known is None and judged in (CLEAR, RETIRED)):
        return None
    standing = UPDATED if judged == CLEAR else judged
    version, counter = (said.installed.version, said.installed.counter) if said else ("", 0)
    same = known is not None and known.standing == standing and known.done_at_ms
    done_at = (known.done_at_ms if same and known else now_ms) if standing in DONE else 0
    # 5.
    since = None if known and known.standing in DONE and standing in UNDONE else known
    return Member(
        device=entry.device,
        standing=standing,
        version=version,
        counter=counter,
        found_version=since.found_version if since else version,
        found_at_ms=since.found_at_ms if since else now_ms,
        done_at_ms=done_at,
        report=said.report if said else "",
        said_at_ms=said.at_ms if said else 0,
    )


def read_versions(texts: Sequence[str], counters: Mapping[str, int]) -> tuple[Range, ...]:
    """Return the counters of versions as somebody names them; none named: every version.

    `1.1` is one release, `1.0:1.2` those from one to another, `:1.2` and `1.0:` those without a
    beginning or an end, and `#7` a counter, where a version was never published here. `counters`
    are those of the product's releases. Raises `Malformed` or `Refused`.
    """
    if len(texts) > MAX_VERSIONS:
        raise Malformed(f"Expected at most {MAX_VERSIONS} versions.", reason="bad_versions")
    return tuple(_read_range(text.strip(), counters) for text in texts)


def _read_range(text: str, counters: Mapping[str, int]) -> Range:
    first, colon, last = text.partition(":")
    if not first and not last:
        raise Malformed(
            f"Expected a version as 1.1, or versions as 1.0:1.2, :1.2 or 1.0:; got {text[:60]!r}.",
            reason="bad_versions",
        )
    low = _read_counter(first, counters) if first else 1
    if not colon:
        return Range(low, low)
    high = _read_counter(last, counters) if last else EVER
    if high != EVER and high < low:
        raise Malformed(
            f"Expected the older version first, got {text[:60]!r}.", reason="bad_versions"
        )
    return Range(low, high)


def _read_counter(text: str, counters: Mapping[str, int]) -> int:
    digits = text[1:]
    if text.startswith("#") and digits.isascii() and digits.isdecimal() and len(digits) <= 15:
        return max(int(digits), 1)
    if text not in counters:
        raise Refused(
            f"No release {text[:64]!r} of this product is published here. Name one that is, or its "
            "counter as #7.",
            reason="release_not_found",
        )
    return counters[text]


def check_fix(scope: RecallScope, version: str, counters: Mapping[str, int]) -> None:
    """Raise `Refused` for a cure that is recalled itself, or would be once it is published."""
    endless = not scope.ranges or any(each.last == EVER for each in scope.ranges)
    if version and version not in counters and endless:
        raise Refused(
            f"No release {version[:64]!r} of this product is published here, and what is recalled "
            "has no end: once it is published, it would be recalled itself. Name the versions up "
            "to the last that is faulty, as :1.0 or :#7; or publish the release first.",
            reason="fix_not_published",
        )
    if version in counters and scope.is_recalled(counters[version]):
        raise Refused(
            f"{version} is itself one of the versions that are recalled. Name the release that "
            "mends them.",
            reason="fix_is_recalled",
        )


def check_line(text: str, what: str) -> str:
    """Return what somebody wrote on one line, unchanged. Raises `Malformed`."""
    if not text.isprintable():
        raise Malformed(
            f"Expected {what} on one line, without control characters or what turns a line round.",
            reason="bad_text",
        )
    return text


def check_lines(text: str, what: str) -> str:
    """Return what somebody wrote on several lines, unchanged. Raises `Malformed`."""
    if not text.strip():
        raise Malformed(f"Expected {what}.", reason="bad_text")
    for line in text.split("\n"):
        check_line(line, what)
    return text


def list_announcements(
    recall: tuple[str, int], told: tuple[str, str], late_ms: int, now_ms: int, *, waits: bool
) -> list[Announcement]:
    """Return whom a recall that is open still has to reach.

    `recall` is its id and since when it is open, `told` the title and the text, `waits` whether
    nobody has acknowledged it, `late_ms` until when it was to be over (0: nothing said).
    """
    name, opened_ms = recall
    base = f"recall:{name}:{opened_ms}"
    found: list[Announcement] = []
    if waits:
        number = min((now_ms - opened_ms) // REMIND_MS, MAX_REMINDERS)
        title = told[0] if not number else f"Still open: {told[0]}"
        since = opened_ms + number * REMIND_MS
        found.append(Announcement(f"{base}:{number}", title, told[1], since, escalates=True))
    if late_ms and now_ms >= late_ms:
        title = f"Overdue: {told[0]}"
        found.append(Announcement(f"{base}:late", title, told[1], late_ms, escalates=True))
    return found


def write_versions(texts: Sequence[str]) -> str:
    """Return versions as they were named, on one line; what is too long ends in `and 3 more`."""
    whole = ", ".join(texts)
    kept = len(texts)
    while len(whole) > MAX_VERSION_WORDS:
        kept -= 1
        whole = ", ".join([*texts[:kept], f"and {len(texts) - kept} more"])
    return whole


def say_about(product: str, versions: str) -> str:
    """Say what is recalled: `1.0:1.2` is how it is written, and `1.0 to 1.2` how it is said."""
    if not product:
        return "machines"
    said = ", ".join(_say_range(each) for each in versions.split(", ")) if versions else ""
    return f"{product} {said or 'all versions'}"


def _say_range(text: str) -> str:
    first, colon, last = text.partition(":")
    if not colon:
        return text
    if not first:
        return f"up to {last}"
    return f"{first} to {last}" if last else f"{first} and later"


def say_headline(state: str, tally: Tally, product: str) -> str:
    """Answer whether it is over."""
    if state == CANCELLED:
        return "This recall was cancelled."
    if not tally.found:
        return "No machine is known to be affected."
    if not tally.undone:
        return f"It is over: {_all(tally.done)} proven to be done."
    return f"It is not over: {say_undone(tally, product)}."


def say_found(tally: Tally, product: str) -> str:
    """Say whom a recall would find, before it is open."""
    if not tally.undone:
        return "No machine is known to be affected."
    words = say_undone(tally, product)
    return f"{words[:1].upper()}{words[1:]}."


def say_undone(tally: Tally, product: str) -> str:
    """Say how many machines are not done, and how they stand; there is one at least."""
    parts = []
    if tally.affected:
        runs = "runs a recalled version" if product else "is still in service"
        many = "run a recalled version" if product else "are still in service"
        parts.append(
            f"{say_count(tally.affected, 'machine')} {runs if tally.affected == 1 else many}"
        )
    if tally.unknown:
        has = "has not said what it runs" if tally.unknown == 1 else "have not said what they run"
        noun = str(tally.unknown) if parts else say_count(tally.unknown, "machine")
        parts.append(f"{noun} {has}")
    return " and ".join(parts)


def _all(number: int) -> str:
    return "the 1 machine it found is" if number == 1 else f"all {number} machines it found are"
