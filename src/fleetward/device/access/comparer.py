"""What the table of sessions asks of whoever looks at the machine before and after one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fleetward.device.access.kept import KeptSession
from fleetward.trust.access import FilesScope, Scope
from fleetward.wire.comparison import ComparedNotice, Comparison, say_comparison

MOST_TOLD = 10
"""Findings that become entries of their own; the document has them all."""


@dataclass(slots=True)
class Subject:
    """The session that is looked at. Its last fields change: guard writes them down again."""

    session: str
    folders: tuple[str, ...]
    opened_at_ms: int
    ended_at_ms: int = 0
    restarted: bool = False
    late: bool = False
    before_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of it: a document that is kept under its digest, or why there is none."""

    session: str
    digest: str = ""
    size: int = 0
    comparison: Comparison | None = None
    why_not: str = ""
    problem: str = ""


class Comparer(Protocol):
    """Looks before and after. Nothing here waits."""

    def expect(self, folders: Sequence[str]) -> None:
        """Somebody asks to enter."""

    def expect_nobody(self) -> None:
        """Nobody asks any more."""

    def open(self, subject: Subject, path: Path) -> bool:
        """Keep a look at `path` for a session; say whether it may begin at once."""

    def may_begin(self, session: str) -> bool:
        """Say whether a session that had to wait may begin."""

    def close(self, subject: Subject, path: Path) -> None:
        """A session has ended, and nothing of it is left."""

    def take(self) -> list[Compared]:
        """Return what was compared since the last time."""

    def next_ms(self) -> int:
        """Return in how many milliseconds there may be something to do."""


def folders_of(scopes: Sequence[Scope]) -> tuple[str, ...]:
    """Return the folders that a session may write to beside what is always looked at."""
    return tuple(sorted({scope.root for scope in scopes if isinstance(scope, FilesScope)}))


def describe_compared(kept: KeptSession, compared: Compared) -> ComparedNotice | None:
    """Return the entry of the journal for a comparison."""
    comparison = compared.comparison
    if comparison is None:
        return None
    findings = comparison.finding_count
    grave = comparison.findings[0].severity if comparison.findings else "none"
    said = say_comparison(findings, comparison.change_count)
    return ComparedNotice(
        session=compared.session,
        digest=compared.digest,
        size=compared.size,
        findings=findings,
        changes=comparison.change_count,
        severity=grave,
        top=tuple(finding.words for finding in comparison.findings[:MOST_TOLD]),
        words=f"What changed during the session of {kept.person}: {said}.",
    )
