"""What machines say of updates: entries of their journals that carry a signed report.

Each was signed in its batch; a report is besides an envelope of its own, so that the owner's tools
can verify it alone. What is not well formed, or of another key, is passed over: it stays in the
record of events.

A report that says something new of an attempt becomes an entry of the owner's record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from fleetward.server.updates import store
from fleetward.server.updates.book import UpdateBook
from fleetward.server.updates.decide import is_news
from fleetward.trust.canonical import from_base64url
from fleetward.trust.errors import FleetwardError, Malformed
from fleetward.trust.journal import Entry
from fleetward.trust.update_report import OUTCOMES, UpdateReport, verify_report

REPORTS: Final = frozenset(f"update.{outcome}" for outcome in OUTCOMES)
RECORDED: Final = "update-report"
MAX_REPORT_CHARACTERS: Final = 24 * 1024
MOST_REPORTS: Final = 4096
"""Of one machine in the record: six for each of some hundred releases, and retries. A machine that
never stops talking fills no record; what it says stays in its journal."""
MAX_CAUSE_CHARACTERS: Final = 300


class ReportTaker(Protocol):
    """Who hears of reports: the rollouts."""

    def take_report(self, device: str, report: UpdateReport, cause: str) -> None:
        """Take a report that was verified and is new."""


class UpdateDoor:
    """Takes what the door of the server has let in. Called in worker threads."""

    def __init__(self, book: UpdateBook, rollouts: ReportTaker) -> None:
        self._book = book
        self._rollouts = rollouts

    def read_entries(self, device: str, entries: Sequence[Entry]) -> None:
        """Take reports out of a machine's new entries."""
        for entry in entries:
            if entry.kind in REPORTS:
                self._take(device, entry)

    def _take(self, device: str, entry: Entry) -> None:
        near, text = self._book.near, entry.body.get("report")
        try:
            if not isinstance(text, str) or len(text) > MAX_REPORT_CHARACTERS:
                raise Malformed("Expected a signed report.", reason="bad_field")
            key = near.machines.key_of(device)
            report = verify_report(from_base64url(text), key, near.owner.owner_id)
        except FleetwardError:
            return
        with self._book.lock:
            with near.database.read() as conn:
                if store.has_report(conn, report.hash):
                    return
                states = {row.product: row for row in store.select_states(conn, device)}
                count = store.count_recorded(conn, device, MOST_REPORTS)
            row = states.get(report.product)
            before = ("", 0, "") if row is None else (row.target_id, row.attempt, row.outcome)
            news = is_news(before, report.release, report.attempt, report.outcome)
            if news and count < MOST_REPORTS:
                by = (f"device:{device}", device)
                near.ledger.append_signed(RECORDED, report.raw, by, near.clock.wall_ms())
            cause = say_cause(report)
            self._store(device, entry.sequence, report, states)
            self._rollouts.take_report(device, report, cause)
        self._book.tell("report", device)

    def _store(
        self, device: str, sequence: int, report: UpdateReport, states: dict[str, store.Row]
    ) -> None:
        near, now = self._book.near, self._book.near.clock.wall_ms()
        cause = say_cause(report)
        owner = near.owner.owner_id
        with near.database.write() as conn:
            store.insert_report(
                conn,
                {
                    "report_id": report.hash,
                    "device_id": device,
                    "owner_id": owner,
                    "product": report.product,
                    "version": report.version,
                    "counter": report.counter,
                    "release_id": report.release,
                    "approval_id": report.approval,
                    "attempt": report.attempt,
                    "outcome": report.outcome,
                    "rule": report.rule,
                    "cause": cause,
                    "words": report.words,
                    "simulated": report.simulated,
                    "envelope": report.raw,
                    "sequence": sequence,
                    "said_at": report.at_ms,
                    "at": now,
                },
            )
            for product, values in _changes(report, cause, states, now).items():
                store.upsert_state(conn, device, product, {"owner_id": owner, "at": now, **values})


def _changes(
    report: UpdateReport, cause: str, states: dict[str, store.Row], now: int
) -> dict[str, dict[str, Any]]:
    """Return what a report changes of each product's row: it names all that runs."""
    changes: dict[str, dict[str, Any]] = {
        product: {"version": "", "counter": 0, "release_id": "", "floor": 0} for product in states
    }
    for each in report.installed:
        values = changes[each.product] = {
            "version": each.version,
            "counter": each.counter,
            "release_id": each.release,
            "floor": each.floor,
        }
        row = states.get(each.product)
        if row is None or row.release_id != each.release:
            values["committed_at"] = now
    changes.setdefault(report.product, {}).update(
        {
            "outcome": report.outcome,
            "target_id": report.release,
            "target_version": report.version,
            "attempt": report.attempt,
            "cause": cause,
            "words": report.words,
            "report_id": report.hash,
            "said_at": report.at_ms,
        }
    )
    return changes


def say_cause(report: UpdateReport) -> str:
    """Return by what a report is put together with others: the rule, and the first check that
    failed."""
    failed = next((finding.check for finding in report.findings if not finding.good), "")
    return ": ".join(part for part in (report.rule, failed) if part)[:MAX_CAUSE_CHARACTERS]
