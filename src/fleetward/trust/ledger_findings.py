"""What an audit of a record says: what is proven, what is contradicted, what cannot be known yet.

A finding has a stable id and words for a person. `entry` is the place in the record (counted from
0) of the first entry that it is about, `device` the machine. There is no fourth list: what is
neither proven nor contradicted is unknown, and is said.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

MAX_FINDINGS: Final = 400_000
"""Findings in one list: a few for each machine of the largest fleet."""
EXPLAINED: Final = frozenset({"unreadable", "not_by_owner"})
"""Contradictions that say nothing new of an entry that is known to be altered."""
MAX_EQUAL: Final = 20
"""Contradictions of one id that are kept; a record of lies must not bury its first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement of an audit."""

    id: str
    words: str
    generation: int | None = None
    entry: int | None = None
    device: str = ""
    age_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The three lists. `contradicted` is in the order of the record."""

    proven: tuple[Finding, ...]
    contradicted: tuple[Finding, ...]
    unknown: tuple[Finding, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing is contradicted. It does not say that everything is known."""
        return not self.contradicted


class Findings:
    """Collects findings, and counts those that are too many to keep."""

    def __init__(self) -> None:
        self._proven: list[Finding] = []
        self._contradicted: list[Finding] = []
        self._unknown: list[Finding] = []
        self._dropped: Counter[str] = Counter()
        self._equal: Counter[str] = Counter()

    def prove(self, finding: Finding) -> None:
        """Add what is proven."""
        self._keep("proven", self._proven, finding)

    def contradict(self, finding: Finding) -> None:
        """Add what is contradicted."""
        self._equal[finding.id] += 1
        if self._equal[finding.id] <= MAX_EQUAL:
            self._keep("contradicted", self._contradicted, finding)
        else:
            self._dropped["contradicted"] += 1

    def explain(self, generation: int, entry: int) -> None:
        """Take back what was said of an entry because it was altered: that is said instead."""
        self._contradicted = [
            f
            for f in self._contradicted
            if (f.generation, f.entry) != (generation, entry) or f.id not in EXPLAINED
        ]

    def leave_open(self, finding: Finding) -> None:
        """Add what cannot be known yet."""
        self._keep("unknown", self._unknown, finding)

    def report(self) -> AuditReport:
        """Return the lists."""
        lists = {
            "proven": self._proven,
            "contradicted": sorted(self._contradicted, key=_place),
            "unknown": self._unknown,
        }
        for name, dropped in self._dropped.items():
            lists[name].append(Finding("and_more", f"And {dropped} more like these."))
        return AuditReport(*(tuple(lists[name]) for name in lists))

    def _keep(self, name: str, into: list[Finding], finding: Finding) -> None:
        if len(into) < MAX_FINDINGS:
            into.append(finding)
        else:
            self._dropped[name] += 1


def _place(finding: Finding) -> tuple[int, int]:
    """Statements about the whole come first, then those about an entry in the record's order."""
    generation = -1 if finding.generation is None else finding.generation
    return generation, -1 if finding.entry is None else finding.entry
