"""What people do about sessions: ask, grant, stop, watch. Each deed is written down first.

Nothing is judged. An envelope that no machine could read is told to whoever sent it, for courtesy;
whether one that can be read is obeyed, the machine says.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from fleetward.server.access import store
from fleetward.server.access.book import Book, Change
from fleetward.server.access.decide import (
    ASKED,
    DENIED,
    MAX_UNANSWERED,
    UNANSWERED,
    Fact,
    check_grantable,
    check_stoppable,
    orders_of,
)
from fleetward.server.access.reading import (
    GRANT,
    REQUEST,
    STOP,
    Asked,
    read_asked,
    read_asker,
    read_beat,
    read_granted,
    read_stopped,
    says_break_glass,
)
from fleetward.server.access.runbooks import Sent, read_sent
from fleetward.server.access.store import Row
from fleetward.server.deeds import Deed, JsonValue
from fleetward.server.web.caller import Caller
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.sayings import say_length

HOUR_MS: Final = 3_600_000
MAX_REMEMBERED: Final = 4096
BREAK_GLASS_REQUESTED: Final = "breakglass.requested"
BREAK_GLASS_GRANTED: Final = "breakglass.granted"
"""Deeds of their own, which the first page shows above all others."""
_PREFIX: Final = re.compile(r"[0-9a-f]{8,64}")
_SESSION: Final = re.compile(r"[0-9a-f]{64}")


class Access:
    """Requests of people, as the API takes them. Thread-safe."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._near = book.near
        self._noted: dict[tuple[str, str, str], int] = {}

    def ask(self, raw: bytes, caller: Caller, runbooks: Sequence[str] = ()) -> Row:
        """Store a request and hand it to its machine; the same one twice is stored once.

        `runbooks` are the documents that its scopes name, base64url: the machine gets them first.
        Raises `Malformed`, `Untrusted` for another owner, or `Refused`.
        """
        asked = read_asked(raw, self._near.owner.owner_id)
        sent = read_sent(runbooks, asked.runbooks)
        name = self.check_device(asked.device, caller)
        with self._book.lock:
            with self._near.database.read() as conn:
                known = store.select_request(conn, asked.hash)
                waiting = store.count_in_states(conn, asked.device, UNANSWERED)
            if known is None and waiting >= MAX_UNANSWERED:
                raise Refused(
                    f"{waiting} requests wait for this machine already. Its owner answers them "
                    "first.",
                    reason="too_many_requests",
                )
            asker = read_asker(asked, self._near.owner.policy)
            self.record(
                BREAK_GLASS_REQUESTED if asked.break_glass else "access.requested",
                caller, asked.device,
                {
                    "words": f"{_loud(asked.break_glass)}{say_who(asker.person, asker.org)} asked "
                    f"to enter {name}: "
                    f"{', '.join(asked.scopes)}, for {say_length(asked.seconds)}. "
                    f"“{asked.reason}”",
                    "request": asked.hash,
                },
            )  # fmt: skip
            if known is None:
                self._store(asked, raw, (asker.person, asker.org), caller, sent)
        row = self.find(asked.hash, caller)
        if row.state in UNANSWERED:
            with self._near.database.read() as conn:
                first = store.select_runbooks(conn, asked.hash)
            for order in (*first, raw):
                self._book.order(asked.device, order)
        return row

    def grant(self, place: str, raw: bytes, caller: Caller) -> Row:
        """Store a grant for a request and hand it to the machine. Raises as `ask`."""
        row = self.find(place, caller)
        granted = read_granted(raw, self._near.owner.owner_id)
        if (granted.request, granted.device) != (row.request_id, row.device_id):
            raise Untrusted("The grant is for another request.", reason="another_request")
        with self._book.lock:
            row = self.find(row.request_id, caller)
            check_grantable(row.state)
            people = [self.who(key)[0] for key in granted.signers]
            glass = says_break_glass(bytes(row.envelope))
            words = (
                f"{list_people(people)} let {say_who(row.person, row.org)} enter {row.device_name}."
            )
            words = f"{_loud(glass)}{words}"
            details = {"words": words, "request": row.request_id, "session": granted.hash}
            kind = BREAK_GLASS_GRANTED if glass else "access.granted"
            self.record(kind, caller, row.device_id, details)
            self.keep(GRANT, granted.hash, raw, row, caller)
        self._book.order(row.device_id, raw)
        return self.find(row.request_id, caller)

    def stop(self, place: str, raw: bytes, caller: Caller) -> Row:
        """Store a stop of a request or of its session and hand it over. Raises as `ask`."""
        row = self.find(place, caller)
        stopped = read_stopped(raw, self._near.owner.owner_id)
        with self._book.lock:
            row = self.find(row.request_id, caller)
            if stopped.subject not in (row.request_id, row.session_id):
                raise Untrusted("The stop is for another request.", reason="another_request")
            check_stoppable(row.state)
            people = [self.who(key)[0] for key in stopped.signers]
            who = say_who(row.person, row.org)
            words = f"{list_people(people)} stopped {who} at {row.device_name}."
            details = {"words": words, "request": row.request_id, "reason": stopped.reason}
            self.record("access.stopped", caller, row.device_id, details)
            self.keep(STOP, stopped.subject, raw, row, caller)
        self._book.order(row.device_id, raw)
        return self.find(row.request_id, caller)

    def beat(self, place: str, raw: bytes, caller: Caller) -> Row:
        """Carry the beat of somebody who watches. It is not stored. Raises as `ask`."""
        row = self.find(place, caller)
        if read_beat(raw, self._near.owner.owner_id) != row.session_id:
            raise Untrusted("The beat is for another session.", reason="another_session")
        words = f"Somebody watches {say_who(row.person, row.org)} at {row.device_name}."
        self.note_hourly("access.watched", words, row, caller)
        self._book.order(row.device_id, raw)
        return row

    def find(self, place: str, caller: Caller) -> Row:
        """Return a request by its id, or the beginning of it. Raises `Malformed`, `Refused`."""
        if not _PREFIX.fullmatch(place):
            raise Malformed(
                "Expected 8 to 64 digits of a request's id, which `fleetward session list` shows.",
                reason="bad_request_id",
            )
        with self._near.database.read() as conn:
            found = store.select_by_prefix(conn, place)
        visible = [row for row in found if caller.scope.covers(row.device_id, row.site)]
        if len(found) > 1 and visible:
            raise Refused("Several requests begin so. Give more digits.", reason="ambiguous")
        if not visible:
            raise _unknown()
        return visible[0]

    def find_session(self, session: str, caller: Caller) -> Row:
        """Return the request of a session by the hash of its grant. Raises `Refused`."""
        row = self._book.find_session(session) if _SESSION.fullmatch(session) else None
        if row is None or not caller.scope.covers(row.device_id, row.site):
            raise _unknown()
        found: Row = row
        return found

    def orders_for(self, device: str) -> list[bytes]:
        """Return what a machine that greets is handed again, because it has not answered."""
        now, orders = self._book.now(), []
        with self._near.database.read() as conn:
            for row in store.select_of_device(conn, device, (*UNANSWERED, "granted", "open")):
                kinds = orders_of(row.state, row.asked_at, now)
                if REQUEST in kinds:
                    orders += store.select_runbooks(conn, row.request_id)
                    orders.append(bytes(row.envelope))
                elif kinds:
                    stored = store.select_notes(conn, row.request_id)
                    wanted = [bytes(n.envelope) for n in stored if n.kind in kinds]
                    orders.extend(wanted[-1:])
        return orders

    def note_hourly(self, kind: str, words: str, row: Row, caller: Caller) -> None:
        """Record what somebody does again and again: once a person, session and hour."""
        hour = self._book.now() // HOUR_MS
        key = (kind, caller.actor, row.session_id)
        with self._book.lock:
            if self._noted.get(key) == hour:
                return
            details = {"words": words, "request": row.request_id, "session": row.session_id}
            self.record(kind, caller, row.device_id, details)
            while len(self._noted) >= MAX_REMEMBERED:
                self._noted.pop(next(iter(self._noted)))
            self._noted[key] = hour

    def _store(
        self,
        asked: Asked,
        raw: bytes,
        who: tuple[str, str],
        caller: Caller,
        sent: Sequence[Sent],
    ) -> None:
        now, near = self._book.now(), self._near
        near.ledger.append_signed(REQUEST, raw, (caller.actor, asked.device), now)
        with near.database.write() as conn:
            store.insert_request(
                conn,
                {
                    "request_id": asked.hash,
                    "owner_id": near.owner.owner_id,
                    "device_id": asked.device,
                    "state": ASKED,
                    "envelope": raw,
                    "requester": asked.requester,
                    "person": who[0],
                    "org": who[1],
                    "reason": asked.reason,
                    "case_name": asked.case,
                    "scopes": msgspec.json.encode(asked.scopes).decode("utf-8"),
                    "seconds": asked.seconds,
                    "asked_at": now,
                },
            )
            for each in sent:
                place = (asked.hash, each.digest)
                store.insert_runbook(conn, place, near.owner.owner_id, each.raw)
        self._book.tell(Change(asked.hash, asked.device, ASKED))

    def keep(
        self, kind: str, subject: str, raw: bytes, row: Row, caller: Caller, standing: str = ""
    ) -> None:
        """Make what somebody signed for a request a leaf of the record, and store it, once.

        `standing` is what was allowed ahead, where the paper is an entry by it.
        """
        now = self._book.now()
        self._near.ledger.append_signed(kind, raw, (caller.actor, row.device_id), now)
        # The same bytes once, unless the machine has said no to them: what was too early then may
        # be right now.
        tries = row.granted_at if row.state == DENIED else 0
        name = hashlib.sha256(raw + tries.to_bytes(8, "big")).hexdigest()
        with self._near.database.read() as conn:
            if store.has_note(conn, name):
                return
        fact = Fact(kind, subject, now)
        if kind != STOP:
            with self._near.database.write() as conn:
                store.update_standing(conn, row.request_id, standing)
        self._book.add([store.Note(name, row.request_id, row.device_id, fact, raw)])

    def check_device(self, device: str, caller: Caller) -> str:
        """Return a machine's name. Raises `Refused` when it is not one that may be asked for."""
        if not caller.scope.covers(device, self._near.machines.site_of(device)):
            raise Refused("No machine of this id is known here.", reason="not_found")
        if self._near.machines.state_of(device) == "retired":
            raise Refused("This machine was retired by its owner.", reason="retired")
        return self._near.machines.name_of(device)

    def who(self, key: str) -> tuple[str, str]:
        """Return person and org of a key by the policy that is stored here; to show, no more."""
        policy = self._near.owner.policy
        holder = policy.keys.get(key)
        if holder is None:
            return f"key {key[:8]}", ""
        return holder.person, policy.orgs.get(key, "")

    def record(self, kind: str, caller: Caller, device: str, body: dict[str, JsonValue]) -> None:
        """Write a deed about a machine down, before it is done."""
        self._near.deeds.record(
            Deed(
                kind=kind,
                actor=caller.actor,
                subject=f"device:{device}",
                owner_id=self._near.owner.owner_id,
                body=body,
                at_ms=self._book.now(),
            )
        )


def _loud(break_glass: object) -> str:
    return "BREAK-GLASS: " if break_glass else ""


def say_who(person: str, org: str) -> str:
    """Return a person with his organisation."""
    return f"{person} of {org}" if org else person


def list_people(people: list[str]) -> str:
    """Return names as one would say them."""
    return " and ".join(dict.fromkeys(people)) or "Nobody"


def _unknown() -> Refused:
    return Refused(
        "No request or session of this id is known here. `fleetward session list` shows them.",
        reason="not_found",
    )
