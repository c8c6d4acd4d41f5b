"""Permissions given ahead, as the server has them: it stores, carries and shows, and judges none.

What is stored is what people and machines signed. A machine is handed a document until it has said
that it keeps it, and a stop until it has said that the document was taken back.
"""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy.engine import Connection

from fleetward.runtime.http.times import to_rfc3339, to_rfc3339_or_none
from fleetward.server.access import standing_store, store
from fleetward.server.access.act import Access, list_people, say_who
from fleetward.server.access.book import Book, Change
from fleetward.server.access.decide import GRANTED, check_grantable
from fleetward.server.access.reading import ENTRY, STANDING, STATE, STOP, read_stopped
from fleetward.server.access.standing_model import (
    StandingEntry,
    StandingMachine,
    StandingRow,
    StandingWindow,
)
from fleetward.server.access.standing_reading import (
    Told,
    read_entered,
    read_standing,
    verify_stated,
)
from fleetward.server.access.standing_store import Row, Wanted
from fleetward.server.web.caller import Caller
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.words import six_words

MOST_FOR_DEVICE: Final = 64
"""Documents for one machine that are neither over nor taken back; a machine keeps fewer."""
MOST_STATES: Final = 256
"""New words of one machine about one document: a window each, and a few changes of the policy."""
MOST_LISTED: Final = 200
STANDING_STATE: Final = "standing"
"""What a change of a document is called where changes of requests are told."""
_PREFIX: Final = re.compile(r"[0-9a-f]{8,64}")


class Standings:
    """What people and machines do about permissions given ahead. Thread-safe."""

    def __init__(self, book: Book, access: Access) -> None:
        self._book = book
        self._access = access
        self._near = book.near

    # --- people

    def add(self, raw: bytes, caller: Caller) -> StandingRow:
        """Store a document and hand it to its machines; the same one twice is stored once.

        Raises `Malformed`, `Untrusted` for another owner, or `Refused`.
        """
        told = read_standing(raw, self._near.owner.owner_id)
        names = [self._access.check_device(device, caller) for device in told.devices]
        with self._book.lock:
            with self._near.database.read() as conn:
                known = standing_store.select_one(conn, told.hash)
            if known is None:
                self._check_room(told)
            people = list_people([self._access.who(key)[0] for key in told.signers])
            for device, name in zip(told.devices, names, strict=True):
                words = (
                    f"{people} allowed ahead, in {len(told.windows)} windows, at {name}: "
                    f"{', '.join(told.scopes)}. “{told.reason}”"
                )
                details = {"words": words, "standing": told.hash}
                self._access.record("access.allowed_ahead", caller, device, dict(details))
            if known is None or bytes(known.envelope) != raw:
                # Signatures are not part of the hash: what came last, stands.
                self._store(told, raw, caller, again=known is not None)
        for device in told.devices:
            self._book.order(device, raw)
            self._book.tell(Change(told.hash, device, STANDING_STATE))
        return self.show(self.find(told.hash, caller))

    def revoke(self, place: str, raw: bytes, caller: Caller) -> StandingRow:
        """Store a stop of a document and hand it to its machines. Raises as `add`."""
        row = self.find(place, caller)
        owner = self._near.owner.owner_id
        stopped, told = read_stopped(raw, owner), read_standing(bytes(row.envelope), owner)
        if stopped.subject != row.standing_id:
            raise Untrusted("The stop is for something else.", reason="another_standing")
        with self._book.lock:
            people = list_people([self._access.who(key)[0] for key in stopped.signers])
            for device in told.devices:
                name = self._near.machines.name_of(device)
                words = f"{people} took back what was allowed ahead at {name}."
                body = {"words": words, "standing": row.standing_id, "reason": stopped.reason}
                self._access.record("access.taken_back", caller, device, dict(body))
            now = self._book.now()
            self._near.ledger.append_signed(STOP, raw, (caller.actor, told.devices[0]), now)
            with self._near.database.write() as conn:
                standing_store.update_stop(conn, row.standing_id, raw, now)
        for device in told.devices:
            self._book.order(device, raw)
            self._book.tell(Change(row.standing_id, device, STANDING_STATE))
        return self.show(self.find(row.standing_id, caller))

    def enter(self, place: str, raw: bytes, caller: Caller) -> store.Row:
        """Store an entry for a request, and hand it to the machine behind its document."""
        row = self._access.find(place, caller)
        entered = read_entered(raw, self._near.owner.owner_id)
        if (entered.request, entered.device) != (row.request_id, row.device_id):
            raise Untrusted("The entry is for another request.", reason="another_request")
        with self._book.lock:
            row = self._access.find(row.request_id, caller)
            check_grantable(row.state)
            with self._near.database.read() as conn:
                document = standing_store.select_one(conn, entered.standing)
            if document is None or entered.device not in self._told(document).devices:
                raise _unknown()
            people = list_people([self._access.who(k)[0] for k in self._told(document).signers])
            words = (
                f"{say_who(row.person, row.org)} comes to {row.device_name} by window "
                f"{entered.window + 1} of what {people} allowed ahead."
            )
            details = {
                "words": words, "request": row.request_id, "session": entered.hash,
                "standing": entered.standing,
            }  # fmt: skip
            self._access.record("access.entered", caller, row.device_id, dict(details))
            self._access.keep(ENTRY, entered.hash, raw, row, caller, entered.standing)
        self._book.order(row.device_id, bytes(document.envelope), raw)
        return self._access.find(row.request_id, caller)

    def some(self, wanted: Wanted, caller: Caller) -> list[StandingRow]:
        """Return documents, the newest first, for machines that the caller may see."""
        with self._near.database.read() as conn:
            rows = standing_store.select_some(conn, wanted, MOST_LISTED)
        return [self.show(row) for row in rows if self._is_visible(row, caller)]

    def now(self) -> int:
        """Return the time."""
        return self._book.now()

    def find(self, place: str, caller: Caller) -> Row:
        """Return a document by its id, or its beginning. Raises `Malformed`, `Refused`."""
        if not _PREFIX.fullmatch(place):
            raise Malformed(
                "Expected 8 to 64 digits of the id of a permission given ahead, which `fleetward "
                "owner window list` shows.",
                reason="bad_standing_id",
            )
        with self._near.database.read() as conn:
            found = standing_store.select_by_prefix(conn, place)
        visible = [row for row in found if self._is_visible(row, caller)]
        if len(found) > 1 and visible:
            raise Refused("Several begin so. Give more digits.", reason="ambiguous")
        if not visible:
            raise _unknown()
        return visible[0]

    def show(self, row: Row) -> StandingRow:
        """Return a document with all that came for it."""
        told = self._told(row)
        with self._near.database.read() as conn:
            lines = standing_store.select_machines(conn, told.hash)
            requests = store.select_of_standing(conn, told.hash)
            entries = [e for each in requests for e in self._entries(conn, each)]
        return StandingRow(
            id=told.hash,
            words=six_words(bytes.fromhex(told.hash)),
            people=self._names(told.signers),
            requesters=self._names(told.requesters),
            scopes=list(told.scopes),
            seconds=told.seconds,
            watched=told.watched,
            reason=told.reason,
            time_zone=told.time_zone,
            windows=[
                StandingWindow(not_before=to_rfc3339(begin), not_after=to_rfc3339(end))
                for begin, end in told.windows
            ],
            issued_at=to_rfc3339(told.issued_at_ms),
            stored_at=to_rfc3339(row.stored_at),
            revoked_at=to_rfc3339_or_none(row.stopped_at or None),
            machines=[_show_line(line) for line in lines],
            entries=entries,
            envelope=to_base64url(row.envelope),
            stop=to_base64url(row.stop) if row.stop else "",
        )

    # --- machines

    def take_state(self, device: str, subject: str, raw: bytes) -> None:
        """Store what a machine says of a document. Raises `Malformed`, `Untrusted`, `Refused`."""
        key = self._near.machines.key_of(device)
        stated = verify_stated(raw, key, self._near.owner.owner_id)
        if stated.standing != subject:
            raise Untrusted("The note answers something else than it says.", reason="wrong_subject")
        with self._book.lock:
            with self._near.database.read() as conn:
                line = standing_store.select_line(conn, subject, device)
            if line is None:
                raise Refused("This server has no such document.", reason="unknown_standing")
            if (line.state, line.next_window) == (stated.state, stated.next_window):
                return  # said again, and nothing new
            if line.times >= MOST_STATES:
                raise Refused("Enough was said about this.", reason="too_many_notes")
            now = self._book.now()
            self._near.ledger.append_signed(STATE, raw, (f"device:{device}", device), now)
            values = {
                "state": stated.state, "next_window": stated.next_window, "words": stated.words,
                "envelope": raw, "said_at": stated.at_ms, "times": line.times + 1,
            }  # fmt: skip
            with self._near.database.write() as conn:
                standing_store.update_line(conn, subject, device, values)
        self._book.tell(Change(subject, device, STANDING_STATE))

    def orders_for(self, device: str) -> list[bytes]:
        """Return what a machine that greets is handed, because it has not answered it."""
        now = self._book.now()
        with self._near.database.read() as conn:
            owed = standing_store.select_owed(conn, device, now)
            orders = [bytes(row.stop if row.stopped_at else row.envelope) for row in owed]
            for request in store.select_of_device(conn, device, (GRANTED,)):
                found = standing_store.select_one(conn, request.standing_id)
                if found is not None:
                    orders.append(bytes(found.envelope))
        return [*dict.fromkeys(orders), *self._access.orders_for(device)]

    # --- the rest

    def _store(self, told: Told, raw: bytes, caller: Caller, *, again: bool) -> None:
        now, near = self._book.now(), self._near
        near.ledger.append_signed(STANDING, raw, (caller.actor, told.devices[0]), now)
        values = {
            "standing_id": told.hash,
            "envelope": raw,
            "requesters": f" {' '.join(told.requesters)} ",
            "last_at": max(end for _, end in told.windows),
            "stored_at": now,
        }
        with near.database.write() as conn:
            if again:
                standing_store.update_envelope(conn, told.hash, raw)
                return
            standing_store.insert_standing(conn, values, told.devices, near.owner.owner_id)

    def _check_room(self, told: Told) -> None:
        now = self._book.now()
        with self._near.database.read() as conn:
            for device in told.devices:
                if standing_store.count_current(conn, device, now) >= MOST_FOR_DEVICE:
                    raise Refused(
                        f"{MOST_FOR_DEVICE} permissions given ahead are stored for "
                        f"{self._near.machines.name_of(device)} already. Take some back first.",
                        reason="too_many_standing",
                    )

    def _is_visible(self, row: Row, caller: Caller) -> bool:
        site_of = self._near.machines.site_of
        return any(caller.scope.covers(d, site_of(d)) for d in self._told(row).devices)

    def _told(self, row: Row) -> Told:
        return read_standing(bytes(row.envelope), self._near.owner.owner_id)

    def _names(self, keys: tuple[str, ...]) -> list[str]:
        return list(dict.fromkeys(say_who(*self._access.who(key)) for key in keys))

    def _entries(self, conn: Connection, request: store.Row) -> list[StandingEntry]:
        owner = self._near.owner.owner_id
        return [
            StandingEntry(
                request=request.request_id,
                device_id=request.device_id,
                window=read_entered(bytes(note.envelope), owner).window,
                session=note.subject,
                state=request.state,
            )
            for note in store.select_notes(conn, request.request_id)
            if note.kind == ENTRY and note.subject == request.session_id
        ]


def _show_line(line: Row) -> StandingMachine:
    return StandingMachine(
        device_id=line.device_id,
        device_name=line.device_name,
        site=line.site,
        state=line.state,
        next_window=line.next_window,
        words=line.words,
        said_at=to_rfc3339_or_none(line.said_at or None),
        signed=to_base64url(line.envelope) if line.envelope else "",
    )


def _unknown() -> Refused:
    return Refused(
        "Nothing of this id was allowed ahead here. `fleetward owner window list` shows what was.",
        reason="not_found",
    )
