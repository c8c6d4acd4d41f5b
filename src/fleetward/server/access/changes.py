"""What changed on machines during sessions: taken, kept, and handed out as it was made.

A machine names a comparison in its journal; its document is asked for once and stored under its
digest. Nothing is judged: whether it is the one of the receipt, the owner's tools say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from fleetward.server.access import changes_store as store
from fleetward.server.access.act import Access
from fleetward.server.access.book import Book, Change
from fleetward.server.access.model import ChangeView, FindingView, SessionChanges
from fleetward.server.access.store import Row
from fleetward.server.web.caller import Caller
from fleetward.trust.errors import FleetwardError, Malformed, Refused
from fleetward.trust.journal import Entry
from fleetward.wire.comparison import (
    ComparedNotice,
    Comparison,
    Finding,
    decode_comparison,
    say_comparison,
)

ENTRY: Final = "session.compared"
SPEAKING: Final = frozenset({ENTRY, "session.opened", "agent.started", "posture.inventory"})
"""Entries after which a machine is asked for documents that have not come."""
MAX_SHOWN: Final = 300
"""Changes on a page; the whole document is handed out beside it."""


@dataclass(frozen=True)
class Changes:
    """Comparisons of all sessions. Thread-safe."""

    book: Book
    access: Access

    def take_entries(self, device: str, entries: Sequence[Entry]) -> list[str]:
        """Note what a machine's journal says of changes; return the documents to ask for."""
        if not any(entry.kind in SPEAKING for entry in entries):
            return []
        for entry in entries:
            if entry.kind == ENTRY:
                self._take_notice(device, entry)
        with self.book.near.database.read() as conn:
            return store.select_wanted(conn, device)

    def take_document(self, device: str, digest: str, body: bytes) -> bool:
        """Store a document that was asked for; say whether it was one of a session.

        Its digest is right: the door has checked it. Raises `Malformed`.
        """
        near = self.book.near
        with near.database.read() as conn:
            named = store.select_named(conn, device, digest)
        if named is None:
            return False
        comparison = decode_comparison(body)
        if (comparison.session, comparison.device) != (named.session_id, device):
            raise Malformed(
                "Expected the comparison that this machine named, came that of another session.",
                reason="comparison_other_session",
            )
        with near.database.write() as conn:
            store.write_body(conn, named.session_id, body)
        self._tell(named.session_id, device)
        return True

    def show(self, session: str) -> SessionChanges | None:
        """Return what is known of the changes during a session, findings first."""
        if not session:
            return None
        with self.book.near.database.read() as conn:
            row = store.select_comparison(conn, session)
        return None if row is None else show_changes(row)

    def read(self, session: str, caller: Caller) -> bytes:
        """Return the document of a session, byte for byte. Raises `Refused`."""
        self.access.find_session(session, caller)
        with self.book.near.database.read() as conn:
            row = store.select_comparison(conn, session)
        if row is None or row.body is None:
            raise Refused(
                "What changed during this session is not here, or not yet. The session's receipt "
                "says whether the machine compared.",
                reason="not_compared",
            )
        return bytes(row.body)

    def _take_notice(self, device: str, entry: Entry) -> None:
        try:
            notice = msgspec.convert(entry.body, ComparedNotice)
        except msgspec.ValidationError:
            return  # It stays in the record of events as it is.
        row = self.book.find_session(notice.session)
        if row is None or row.device_id != device:
            return
        with self.book.near.database.write() as conn:
            store.upsert_notice(
                conn,
                {
                    "session_id": notice.session,
                    "owner_id": self.book.near.owner.owner_id,
                    "device_id": device,
                    "request_id": row.request_id,
                    "digest": notice.digest,
                    "size": notice.size,
                    "findings": notice.findings,
                    "changes": notice.changes,
                    "severity": notice.severity,
                    "top": msgspec.json.encode(notice.top).decode("utf-8"),
                    "said_at": entry.at_ms,
                    "at": self.book.now(),
                },
            )
        self._tell(notice.session, device)

    def _tell(self, session: str, device: str) -> None:
        row = self.book.find_session(session)
        if row is not None:
            self.book.tell(Change(row.request_id, device, row.state))


def show_changes(row: Row) -> SessionChanges:
    """Return the page's view of a comparison; of a document that cannot be read, the notice."""
    comparison = _read(row)
    if comparison is None:
        tops = msgspec.json.decode(row.top, type=list[str])
        return SessionChanges(
            digest=row.digest,
            here=False,
            words=say_comparison(row.findings, row.changes),
            finding_count=row.findings,
            change_count=row.changes,
            findings=[
                FindingView(rule="", severity=row.severity, words=words, evidence="", attack=[])
                for words in tops
            ],
            changes=[],
            left=0,
            notes=[],
        )
    shown = comparison.changes[:MAX_SHOWN]
    return SessionChanges(
        digest=row.digest,
        here=True,
        words=say_comparison(comparison.finding_count, comparison.change_count),
        finding_count=comparison.finding_count,
        change_count=comparison.change_count,
        findings=[_view(finding) for finding in comparison.findings],
        changes=[
            ChangeView(
                kind=one.kind, change=one.change, name=one.name, before=one.before, after=one.after
            )
            for one in shown
        ],
        left=comparison.change_count - len(shown),
        notes=list(say_notes(comparison)),
    )


def say_notes(comparison: Comparison) -> tuple[str, ...]:
    """Return what the comparison cannot say, in a person's words."""
    notes = list(comparison.unseen)
    if comparison.restarted:
        notes.insert(0, "The machine or its agent started anew in between.")
    if comparison.late:
        notes.insert(0, "The session had opened before the first look ended.")
    return tuple(notes)


def _view(finding: Finding) -> FindingView:
    return FindingView(
        rule=finding.rule,
        severity=finding.severity,
        words=finding.words,
        evidence=finding.evidence,
        attack=list(finding.attack),
    )


def _read(row: Row) -> Comparison | None:
    if row.body is None:
        return None
    try:
        return decode_comparison(bytes(row.body))
    except FleetwardError:
        return None
