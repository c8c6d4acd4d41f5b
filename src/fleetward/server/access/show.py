"""Rows and envelopes in, the API's words out. It reads, it never writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from fleetward.runtime.http.times import to_rfc3339, to_rfc3339_or_none
from fleetward.server.access import standing_store, store
from fleetward.server.access.book import Book
from fleetward.server.access.decide import STATES
from fleetward.server.access.model import (
    AccessDetail,
    AccessRow,
    AccessRunbook,
    AccessStep,
    DeviceKey,
    NextNotice,
    SessionChanges,
)
from fleetward.server.access.notifying import NOTICE, Notifier, read_told
from fleetward.server.access.reading import (
    DENIAL,
    ENTRY,
    GRANT,
    OFFER,
    OPENED,
    RECEIPT,
    STOP,
    Granted,
    Said,
    read_granted,
    read_said,
    read_stopped,
    says_break_glass,
)
from fleetward.server.access.runbooks import read_kept
from fleetward.server.access.standing_reading import read_entered, read_standing
from fleetward.server.access.store import Filter, Row
from fleetward.server.web.caller import Caller
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import FleetwardError, Malformed
from fleetward.trust.sayings import say_length
from fleetward.trust.words import six_words

ENDINGS: Final = {
    "closed": "who was inside left",
    "length": "its time was over",
    "idle": "nothing moved in it",
    "stopped": "it was stopped",
    "unwatched": "nobody watched any more",
    "panel": "somebody stopped it at the machine's panel",
    "policy": "a newer policy does not allow it",
    "failed": "something came that does not belong into a session",
    "restarted": "the agent on the machine ended",
}


class Shown:
    """What the API says about sessions."""

    def __init__(
        self, book: Book, changes: Callable[[str], SessionChanges | None] = lambda _: None
    ) -> None:
        self._near = book.near
        self._changes = changes
        self._notifier: Notifier | None = None

    def use_notifier(self, notifier: Notifier) -> None:
        """Show whom this tells next when nobody answers."""
        self._notifier = notifier

    def page(
        self, states: str, device: str, span: tuple[int, int], caller: Caller
    ) -> tuple[list[AccessRow], int]:
        """Return a page (offset, limit) of requests and how many there are. Raises `Malformed`."""
        wanted = tuple(state for state in states.split(",") if state)
        if unknown := sorted(set(wanted) - set(STATES)):
            raise Malformed(
                f"Expected states of {', '.join(STATES)}, got {unknown[0][:40]!r}.",
                reason="bad_state",
            )
        scope = caller.scope
        narrowed = None if scope.whole_fleet else (scope.sites or frozenset())
        devices = None if scope.whole_fleet else (scope.devices or frozenset())
        with self._near.database.read() as conn:
            rows, total = store.select_page(conn, Filter(wanted, device, narrowed, devices), *span)
        return [AccessRow(**_fields(row)) for row in rows], total

    def row(self, row: Row) -> AccessRow:
        """Return a request as it is listed."""
        return AccessRow(**_fields(row))

    def detail(self, row: Row) -> AccessDetail:
        """Return a request with all that came for it."""
        with self._near.database.read() as conn:
            notes = store.select_notes(conn, row.request_id)
            runbooks = read_kept(store.select_runbooks(conn, row.request_id))
            ahead = standing_store.select_one(conn, row.standing_id) if row.standing_id else None
        newest = {note.kind: note for note in notes}
        current = _current(notes, GRANT, row.session_id)
        entry = _current(notes, ENTRY, row.session_id)
        granted = self._granted(bytes(current.envelope)) if current is not None else None
        if ahead is not None:
            granted = self._allowed_ahead(bytes(ahead.envelope))
        said = {
            kind: self._said(kind, bytes(newest[kind].envelope))
            for kind in (OFFER, DENIAL, RECEIPT)
            if kind in newest
        }
        receipt, offer = said.get(RECEIPT), said.get(OFFER)
        key = self._near.machines.key_of(row.device_id)
        return AccessDetail(
            **_fields(row),
            request=to_base64url(row.envelope),
            offer=_raw(newest.get(OFFER)),
            grant=_raw(current),
            entry=_raw(entry),
            standing_document=_raw(ahead),
            denial=_raw(newest.get(DENIAL)),
            receipt=_raw(newest.get(RECEIPT)),
            device_key=DeviceKey(key_id=key.key_id, public=to_base64url(key.spki), suite=key.suite),
            people=self._people(granted.signers) if granted else [],
            watched=bool(granted and granted.watched),
            wall=offer.wall if offer else "",
            sandbox=offer.sandbox if offer else "",
            denied_words=said[DENIAL].words if row.state == "denied" and DENIAL in said else "",
            ended_who=receipt.who if receipt else "",
            bytes_in=receipt.bytes_in if receipt else 0,
            bytes_out=receipt.bytes_out if receipt else 0,
            recording_done=bool(row.recording_done),
            changes=self._changes(row.session_id),
            not_compared=receipt.not_compared if receipt else "",
            steps=self._steps(row, notes),
            next_notice=self._next_notice(row),
            runbooks=[
                AccessRunbook(
                    digest=each.digest,
                    name=each.name,
                    version=each.version,
                    envelope=to_base64url(each.raw),
                )
                for each in runbooks
            ],
        )

    def _next_notice(self, row: Row) -> NextNotice | None:
        found = self._notifier.next_of(row) if self._notifier is not None else None
        return NextNotice(at=to_rfc3339(found.at_ms), names=list(found.names)) if found else None

    def _steps(self, row: Row, notes: Sequence[Row]) -> list[AccessStep]:
        loud = "BREAK-GLASS. " if says_break_glass(bytes(row.envelope)) else ""
        asked = f"{loud}Asked: “{row.reason}”"
        steps = [
            AccessStep(at=to_rfc3339(row.asked_at), kind="request", who=row.person, words=asked)
        ]
        makers: dict[str, Callable[[Row], tuple[str, str]]] = {
            OFFER: lambda _: ("", "The device checked the request and would open."),
            GRANT: self._say_grant,
            ENTRY: self._say_entry,
            STOP: self._say_stop,
            OPENED: lambda _: ("", "The device opened the session."),
            DENIAL: self._say_denial,
            RECEIPT: self._say_receipt,
            NOTICE: lambda note: ("", read_told(bytes(note.envelope)).words),
        }
        for note in notes:
            who, words = makers[note.kind](note)
            at = row.opened_at if note.kind == OPENED and row.opened_at else note.at
            if note.kind == RECEIPT and row.ended_at:
                at = row.ended_at
            steps.append(AccessStep(at=to_rfc3339(at), kind=note.kind, who=who, words=words))
        return steps

    def _say_grant(self, note: Row) -> tuple[str, str]:
        granted = self._granted(bytes(note.envelope))
        if granted is None:
            return "", "Somebody sent a yes that cannot be read."
        watched = ", while somebody watches" if granted.watched else ""
        length = say_length(granted.seconds)
        said = f"Said yes to {', '.join(granted.scopes)}, for {length}{watched}."
        return " and ".join(self._people(granted.signers)), said

    def _say_entry(self, note: Row) -> tuple[str, str]:
        entered = read_entered(bytes(note.envelope), self._near.owner.owner_id)
        with self._near.database.read() as conn:
            stored = standing_store.select_one(conn, entered.standing)
        ahead = None if stored is None else self._allowed_ahead(bytes(stored.envelope))
        people = " and ".join(self._people(ahead.signers)) if ahead else "the owner's people"
        place = entered.window + 1
        return "", f"Came by window {place} of what was allowed ahead by {people}."

    def _say_stop(self, note: Row) -> tuple[str, str]:
        try:
            stopped = read_stopped(bytes(note.envelope), self._near.owner.owner_id)
        except FleetwardError:
            return "", "Somebody sent a stop that cannot be read."
        reason = f" “{stopped.reason}”" if stopped.reason else ""
        return " and ".join(self._people(stopped.signers)), f"Said no, or stop.{reason}"

    def _say_denial(self, note: Row) -> tuple[str, str]:
        said = self._said(DENIAL, bytes(note.envelope))
        return "", f"The device said no. {said.words}"

    def _say_receipt(self, note: Row) -> tuple[str, str]:
        said = self._said(RECEIPT, bytes(note.envelope))
        how = ENDINGS.get(said.ended_by, said.ended_by)
        by = f" by {said.who}" if said.who and said.ended_by in ("stopped", "panel") else ""
        return "", f"The device says that it is over: {how}{by}."

    def _people(self, keys: Sequence[str]) -> list[str]:
        policy = self._near.owner.policy
        return list(
            dict.fromkeys(
                policy.keys[key].person if key in policy.keys else f"key {key[:8]}" for key in keys
            )
        )

    def _granted(self, raw: bytes) -> Granted | None:
        try:
            return read_granted(raw, self._near.owner.owner_id)
        except FleetwardError:
            return None

    def _allowed_ahead(self, raw: bytes) -> Granted | None:
        try:
            told = read_standing(raw, self._near.owner.owner_id)
        except FleetwardError:
            return None
        return Granted(
            told.hash, "", "", told.scopes, told.seconds, told.windows[-1][1], told.watched,
            told.signers,
        )  # fmt: skip

    def _said(self, kind: str, raw: bytes) -> Said:
        return read_said(kind, raw, self._near.owner.owner_id)


def _current(notes: Sequence[Row], kind: str, session: str) -> Row | None:
    found = [note for note in notes if note.kind == kind and note.subject == session]
    return found[-1] if found else None


def _raw(note: Row | None) -> str:
    return "" if note is None else to_base64url(note.envelope)


def _fields(row: Row) -> dict[str, Any]:
    return {
        "id": row.request_id,
        "device_id": row.device_id,
        "device_name": row.device_name,
        "site": row.site,
        "state": row.state,
        "requester": row.requester,
        "person": row.person,
        "org": row.org,
        "reason": row.reason,
        "case": row.case_name,
        "scopes": msgspec.json.decode(row.scopes, type=list[str]),
        "seconds": row.seconds,
        "asked_at": to_rfc3339(row.asked_at),
        "offered_at": to_rfc3339_or_none(row.offered_at or None),
        "granted_at": to_rfc3339_or_none(row.granted_at or None),
        "opened_at": to_rfc3339_or_none(row.opened_at or None),
        "ended_at": to_rfc3339_or_none(row.ended_at or None),
        "ended_by": row.ended_by,
        "session": row.session_id,
        "words": six_words(bytes.fromhex(row.session_id)) if row.session_id else "",
        "standing": row.standing_id,
        "recording_bytes": row.recording_bytes,
        "break_glass": says_break_glass(bytes(row.envelope)),
    }
