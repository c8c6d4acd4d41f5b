"""Recalls as rows of the API, and as a proof. It reads, it never writes."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from fleetward.runtime.http.times import to_rfc3339, to_rfc3339_or_none
from fleetward.server.updates import recall_store
from fleetward.server.updates.decide_recall import (
    OPEN,
    UNDONE,
    UPDATED,
    Tally,
    count_members,
    say_about,
    say_found,
    say_headline,
)
from fleetward.server.updates.recall_model import (
    NoticeRow,
    ProofLine,
    ProofReport,
    RecallAbout,
    RecallDay,
    RecallDetail,
    RecalledMachine,
    RecallForecast,
    RecallProof,
    RecallRow,
    RecallTally,
)
from fleetward.server.updates.recall_steps import list_steps
from fleetward.server.updates.recall_store import MembersWanted
from fleetward.server.updates.recalls import Found, Recalls, say_remedy, scope_of
from fleetward.server.updates.rollout_model import RolloutDeed
from fleetward.server.updates.store import Row
from fleetward.trust.canonical import decode_object
from fleetward.trust.recall import RETIRED, RecallScope

DAY_MS: Final = 86_400_000
HISTORY_DAYS: Final = 180
MAX_DEEDS: Final = 500
MAX_NOTICES: Final = 100
MAX_LINES: Final = 1_000_000
COLUMNS: Final = (
    "device", "name", "site", "model", "standing", "version", "found_version", "last_heard_at",
    "proof", "report", "note", "note_by", "found_at", "done_at",
)  # fmt: skip


class RecordPlaces(Protocol):
    """What this needs to know of the owner's record."""

    @property
    def generation(self) -> int: ...

    @property
    def size(self) -> int: ...

    def places_of(self, references: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        """Return generation and index of the leaves with these references."""
        ...


class RecallsShown:
    """What the API says about recalls."""

    def __init__(self, recalls: Recalls, record: RecordPlaces) -> None:
        self._recalls = recalls
        self._record = record

    def all(self) -> list[RecallRow]:
        """Return all recalls, newest first."""
        return [self.recall(row) for row in self._recalls.all()]

    def recall(self, row: Row) -> RecallRow:
        """Return a recall as it stands."""
        tally, now = self._recalls.tally(row), self._now()
        overdue = row.state == OPEN and 0 < row.until <= now and tally.undone > 0
        return RecallRow(
            id=row.recall_id,
            title=row.title,
            product=row.product,
            versions=row.versions,
            about=say_about(row.product, row.versions),
            machines=scope_of(row).machines.words(),
            why=row.why,
            advisories=msgspec.json.decode(row.advisories, type=list[str]),
            remedy=row.remedy,
            remedy_words=say_remedy(row),
            fix_version=row.fix_version,
            until=to_rfc3339_or_none(row.until or None),
            overdue=overdue,
            state=row.state,
            words=row.words,
            headline=say_headline(row.state, tally, row.product),
            tally=self._tally(row, tally),
            acknowledged_by=row.acknowledged_by,
            acknowledged_words=row.acknowledged_words,
            acknowledged_at=to_rfc3339_or_none(row.acknowledged_at or None),
            created_by=row.created_by,
            created_at=to_rfc3339(row.created_at),
            opened_at=to_rfc3339(row.opened_at),
            changed_at=to_rfc3339(row.changed_at),
        )

    def forecast(self, found: Found) -> RecallForecast:
        """Return what a recall would be."""
        scope, tally = found.scope, found.tally
        counters = self._recalls.counters_of(scope.product)
        meant = [version for version, counter in counters.items() if scope.is_recalled(counter)]
        return RecallForecast(
            tally=_show_tally(tally, 0),
            headline=say_found(tally, scope.product),
            versions=sorted(meant, key=lambda version: counters[version]),
            machines=scope.machines.words(),
        )

    def detail(
        self, row: Row, wanted: MembersWanted, span: tuple[int, int], page: int
    ) -> RecallDetail:
        """Return a recall with a page (offset, limit) of its machines."""
        book = self._recalls.book
        with book.near.database.read() as conn:
            rows, total = recall_store.select_members_page(conn, row.recall_id, wanted, span)
            days = recall_store.select_days(conn, row.recall_id, HISTORY_DAYS)
            told = recall_store.select_notices_under(conn, f"recall:{row.recall_id}:", MAX_NOTICES)
            deeds = recall_store.select_deeds(conn, book.near.owner.owner_id, MAX_DEEDS)
        shown = (_deed(each, row.recall_id) for each in deeds)
        tally = self._recalls.tally(row)
        return RecallDetail(
            as_of=to_rfc3339(self._now()),
            recall=self.recall(row),
            steps=list_steps(self._recalls, row, tally) if row.state == OPEN else [],
            notices=[_notice(each) for each in told],
            deeds=[each for each in shown if each is not None],
            history=[_day(each) for each in days],
            items=[self._machine(each, row.product) for each in rows],
            total=total,
            page=page,
            per_page=span[1],
        )

    def proof(self, row: Row) -> RecallProof:
        """Return a recall with all its machines and where in the record their proof stands."""
        self._recalls.look(row)
        book, near = self._recalls.book, self._recalls.book.near
        with near.database.read() as conn:
            rows, _ = recall_store.select_members_page(
                conn, row.recall_id, MembersWanted(), (0, MAX_LINES)
            )
        reports = self._reports_of(scope_of(row), [r for r in rows if r.standing == UPDATED])
        documents = near.owner.documents
        roster = documents.roster.version if documents is not None else 0
        lines = [
            ProofLine(
                device=each.device_id,
                name=each.name,
                site=each.site,
                model=each.model,
                simulated=bool(each.simulated),
                standing=each.standing,
                version=each.version,
                counter=each.counter,
                report=reports.get(each.device_id),
                roster=roster if each.standing == RETIRED else 0,
                last_heard_at=to_rfc3339_or_none(each.last_seen_at or None),
                note=each.note,
            )
            for each in rows
        ]
        return RecallProof(
            format="fleetward-recall/1",
            as_of=to_rfc3339(self._now()),
            owner_root=book.near.owner.owner_id,
            generation=self._record.generation,
            entries=self._record.size,
            roster=roster,
            recall=row.recall_id,
            title=row.title,
            state=row.state,
            scope=msgspec.json.decode(row.scope, type=RecallAbout),
            tally=self._tally(row, count_members(line.standing for line in lines)),
            lines=lines,
        )

    def table(self, row: Row) -> str:
        """Return all machines as CSV. Cells that a spreadsheet would run begin with a quote."""
        with self._recalls.book.near.database.read() as conn:
            rows, _ = recall_store.select_members_page(
                conn, row.recall_id, MembersWanted(), (0, MAX_LINES)
            )
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        for each in rows:
            shown = self._machine(each, row.product)
            values = [shown.device_id, *(getattr(shown, name) for name in COLUMNS[1:])]
            writer.writerow([_cell(value) for value in values])
        return text.getvalue()

    def _reports_of(self, scope: RecallScope, rows: Iterable[Row]) -> dict[str, ProofReport]:
        """Return the reports that show who runs another version, where they are in the record."""
        wanted = {row.device_id: row for row in rows}
        with self._recalls.book.near.database.read() as conn:
            found = recall_store.select_proofs(conn, list(wanted))
        said = self._recalls.said_of(scope.product)
        held = {
            device: found[(device, said[device].installed.release)]
            for device in wanted
            if device in said and (device, said[device].installed.release) in found
        }
        digests = {d: hashlib.sha256(bytes(r.envelope)).hexdigest() for d, r in held.items()}
        places = self._record.places_of(list(digests.values()))
        return {
            device: ProofReport(
                hash=held[device].report_id,
                sha256=digest,
                generation=places[digest][0],
                entry=places[digest][1],
            )
            for device, digest in digests.items()
            if digest in places
        }

    def _tally(self, row: Row, tally: Tally) -> RecallTally:
        with self._recalls.book.near.database.read() as conn:
            silent, _ = recall_store.count_silent(conn, row.recall_id, sorted(UNDONE))
        return _show_tally(tally, silent)

    def _machine(self, row: Row, product: str) -> RecalledMachine:
        return RecalledMachine(
            device_id=row.device_id,
            name=row.name,
            site=row.site,
            model=row.model,
            simulated=bool(row.simulated),
            standing=row.standing,
            version=row.version,
            found_version=row.found_version,
            said_at=to_rfc3339_or_none(row.said_at or None),
            connected=bool(row.connected),
            last_heard_at=to_rfc3339_or_none(row.last_seen_at or None),
            quarantined=row.state == "quarantined",
            proof=_say_proof(row, product),
            report=row.report_id if row.standing == UPDATED else "",
            note=row.note,
            note_by=row.note_by,
            note_at=to_rfc3339_or_none(row.note_at or None),
            found_at=to_rfc3339(row.found_at),
            done_at=to_rfc3339_or_none(row.done_at or None),
        )

    def _now(self) -> int:
        return self._recalls.book.near.clock.wall_ms()


def _show_tally(tally: Tally, silent: int) -> RecallTally:
    return RecallTally(
        found=tally.found,
        affected=tally.affected,
        unknown=tally.unknown,
        updated=tally.updated,
        retired=tally.retired,
        silent=silent,
    )


def _say_proof(row: Row, product: str) -> str:
    """Say what proves how a machine stands."""
    if row.standing == UPDATED:
        return f"It signed that it runs {product} {row.version} for good."
    if row.standing == RETIRED:
        return "The owner's signed roster has it retired."
    return ""


def _notice(row: Row) -> NoticeRow:
    return NoticeRow(name=row.name, channel=row.channel, good=bool(row.good), at=to_rfc3339(row.at))


def _day(row: Row) -> RecallDay:
    return RecallDay(
        day=to_rfc3339(row.day * DAY_MS),
        found=row.found,
        affected=row.affected,
        unknown=row.unknown,
        done=row.done,
    )


def _deed(row: Row, recall: str) -> RolloutDeed | None:
    """Return a deed of this recall, or None for another's."""
    body = decode_object(bytes(row.body)).get("body")
    if not isinstance(body, dict) or body.get("recall") != recall:
        return None
    words, who = body.get("words"), body.get("by")
    return RolloutDeed(
        at=to_rfc3339(row.at),
        kind=row.kind,
        who=who if isinstance(who, str) else row.actor,
        words=words if isinstance(words, str) else "",
    )


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
