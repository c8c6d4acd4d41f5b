"""The part of the door that judges what was allowed ahead: standing documents and entries.

1. A standing document is verified under the policy in force, kept on the disk, and answered by a
   signed word that the machine holds it. A policy that does not permit it drops it.
2. An entry is judged with the document that it names, the request and the offer of this machine.
   That its window is used is on the disk before a session opens: a crash between the two costs the
   window, and opens nothing twice.
3. The clock must be one that can be relied on. Where it is none, a press at the machine stands in
   for it (`press`); without one the entry is refused, and its offer and its window stay unused. A
   press is for the person, the scopes and the document that were shown, and for no other of them.
4. A stop of a document is on the disk before it is answered by a signed word. It ends the sessions
   that are open by it, and counts for a document that comes only afterwards.
5. What is refused is recorded with the first rule that was broken, as in `gate_sessions`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from typing import Final

from fleetward.device.access.sessions import Sessions
from fleetward.device.access.standing_kept import KeptStanding
from fleetward.device.audit.diary import Diary
from fleetward.device.gate_sessions import Here, Opened, SessionGate
from fleetward.device.presses import ROOM_AHEAD
from fleetward.device.refusals import Refusals
from fleetward.device.timekeeper import Timekeeper
from fleetward.trust.canonical import JsonObject, encode, from_base64url
from fleetward.trust.envelope import Envelope, read_envelope, seal
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.grants.ending import STANDING, Stop, verify_stop_ahead
from fleetward.trust.grants.entry import ENTRY_TYPE, Moment, verify_entry
from fleetward.trust.grants.grant import Grant, Situation
from fleetward.trust.grants.offer import Offer
from fleetward.trust.grants.request import Request
from fleetward.trust.grants.standing import STANDING_TYPE, Standing, verify_standing
from fleetward.trust.grants.standing_state import (
    DROPPED,
    HELD,
    REVOKED,
    StandingState,
    make_state_payload,
)
from fleetward.trust.sayings import say_person

STANDING_ORDERS: Final = (STANDING_TYPE, ENTRY_TYPE)
_NOUNS: Final = {STANDING_TYPE: "permission ahead", ENTRY_TYPE: "entry"}


class StandingGate:
    """Judges what was allowed ahead. Part of guard's single thread.

    `press` says whether somebody at the machine has allowed what was shown, by its hash, once.
    """

    def __init__(
        self,
        here: Here,
        gate: SessionGate,
        sessions: Sessions,
        kept: KeptStanding,
        books: tuple[Diary, Refusals, Timekeeper],
    ) -> None:
        self.press: Callable[[str], bool] = here.presses.take
        self.kept: Final = kept
        self._here = here
        self._gate = gate
        self._sessions = sessions
        self._diary, self._refusals, self._time = books
        gate.take_other_stop = self._take_stop
        if kept.damaged:
            self._begin_anew()

    def admit(self, data: bytes, kind: str) -> Opened:
        """Take an order of `STANDING_ORDERS`. Raises what it was refused with, recorded."""
        envelope = read_envelope(data)
        try:
            if kind == STANDING_TYPE:
                return self._take_standing(data)
            return self._take_entry(data, envelope)
        except (Malformed, Untrusted, Refused) as e:
            recorded = self._refusals.refuse(_NOUNS[kind], e.reason, e.message)
            # A flood of equal refusals is counted, and not signed one by one.
            if recorded and kind == STANDING_TYPE:
                self._say_refused(envelope.hash, e.message)
            elif recorded and e.reason != "grant_used":
                self._gate.deny(envelope.hash, e.reason, e.message)
            raise

    def take_new_policy(self) -> None:
        """Note the newest signature, and drop what the policy in force does not permit."""
        view = self._here.view()
        self._note_signed()
        for name, raw in list(self.kept.documents.items()):
            try:
                standing = verify_standing(raw, view.policy)
            except FleetwardError as e:
                self._drop(name, f"The owner's rules changed. {e.message}")
                continue
            if standing.windows[-1].not_after_ms <= self.kept.signed_ms:
                self._drop(name, "All its windows are over.")

    def read_kept(self, raw: bytes) -> Standing | None:
        """Return a document that is kept, to be shown; None where the policy does not permit it.

        Nothing opens by it: what does is judged when somebody comes.
        """
        try:
            return verify_standing(raw, self._here.view().policy)
        except FleetwardError:
            return None

    # --- documents

    def _take_standing(self, data: bytes) -> Opened:
        if self._sessions.doors is None:
            raise Refused("This machine is simulated: nobody can enter it.", reason="simulated")
        standing = self._judge_document(data)
        if standing.windows[-1].not_after_ms <= self.kept.signed_ms:
            raise Refused("All windows of it are over.", reason="expired")
        if standing.hash not in self.kept.documents:
            self._diary.order("standing.held", _describe(standing))
            self.kept.add(standing)
        self._say(standing.hash, HELD, "This machine keeps it.")
        return "none"

    def _judge_document(self, data: bytes) -> Standing:
        """Return a document that is in force here. Raises `Malformed`, `Untrusted`, `Refused`."""
        standing = verify_standing(data, self._here.view().policy)
        if self._here.device not in standing.devices:
            raise Untrusted("That was allowed for other machines.", reason="another_device")
        self.kept.check_in_force(standing)
        return standing

    def _drop(self, name: str, words: str) -> None:
        body: JsonObject = {
            "standing": name,
            "words": f"What was allowed ahead is no longer kept: {words}",
        }
        try:
            self._diary.order("standing.dropped", body)
        except Unreachable:
            return  # it is judged again before anything opens
        next_window = self._next_window(name)
        self.kept.drop(name)
        self._say(name, DROPPED, words, next_window)

    # --- entries

    def _take_entry(self, data: bytes, envelope: Envelope) -> Opened:
        self._note_signed()

        def judge(here: Situation, request: Request, offer: Offer) -> Grant:
            standing = self._find_standing(envelope)
            grant = self._judge_entry(data, here, standing, (request, offer))
            # What would only cost the window, is asked before.
            self._sessions.check_room()
            self.kept.use(standing, grant.ahead.window if grant.ahead else 0)
            return grant

        opened = self._gate.open_judged(envelope, judge)
        named = envelope.payload.get("standing")
        if isinstance(named, str) and named in self.kept.documents:
            self._say(named, HELD, "A window of it was used.")
        return opened

    def _judge_entry(
        self, data: bytes, here: Situation, standing: Standing, asked: tuple[Request, Offer]
    ) -> Grant:
        moment = Moment(
            here=here,
            last_used=self.kept.last_used(standing.series),
            signed_ms=self.kept.signed_ms,
            doubt=self._time.clock_doubt(),
        )
        try:
            return verify_entry(data, moment, standing, *asked)
        except Refused as e:
            if e.reason != "clock_untrusted":
                raise
            if not self.press(shown_hash(standing, asked[0])):
                self._have_pressed(standing, asked[0])
                raise
        pressed = Moment(here, moment.last_used, moment.signed_ms, moment.doubt, pressed=True)
        return verify_entry(data, pressed, standing, *asked)

    def _have_pressed(self, standing: Standing, request: Request) -> None:
        """Show at the panel that a press would do, as far as there is room."""
        scopes = "; ".join(scope.words() for scope in request.scopes)
        words = (
            f"{say_person(request.person, request.org)} comes by what was allowed ahead: {scopes}. "
            "This machine is not sure of the time. Press when this is the agreed hour."
        )
        shown = shown_hash(standing, request)
        with contextlib.suppress(Refused):
            self._here.presses.waiting(shown, words, named=standing.hash, room=ROOM_AHEAD)

    def _find_standing(self, envelope: Envelope) -> Standing:
        """Return the document that an entry names, judged under the policy in force."""
        named = envelope.payload.get("standing")
        raw = self.kept.documents.get(named) if isinstance(named, str) else None
        if raw is None:
            if isinstance(named, str) and self.kept.is_revoked(named):
                raise Refused("The owner has taken this back.", reason="standing_revoked")
            raise Refused(
                "This machine keeps no such permission given ahead: it has not come, or the "
                "owner's policy does not permit it. Ask the owner.",
                reason="unknown_standing",
            )
        return self._judge_document(raw)

    # --- taking back

    def _take_stop(self, data: bytes, envelope: Envelope) -> bool:
        """Take a stop of a document; say whether it was one. Raises `Malformed`, `Untrusted`."""
        subject = envelope.payload.get("subject")
        known = isinstance(subject, str) and subject in self.kept.documents
        if not known and envelope.payload.get("what") != STANDING:
            return False
        stop = verify_stop_ahead(data, self._here.view().policy)
        if not self.kept.is_revoked(stop.subject):
            self._diary.order("standing.revoked", _describe_stop(stop))
            issued = max(stop.issued_at_ms, self._issued_at(stop.subject))
            self.kept.revoke(stop.subject, issued, self._next_window(stop.subject))
        words = f"Taken back by {stop.person}. {stop.reason}".strip()
        self._say(stop.subject, REVOKED, words)
        for live in list(self._sessions.live.values()):
            if live.grant.ahead is not None and live.grant.ahead.standing == stop.subject:
                self._sessions.end(live, "stopped", stop.person, words)
        return True

    # --- the rest

    def _note_signed(self) -> None:
        try:
            self.kept.note_signed(self._here.view().signed_at_ms)
        except Unreachable:
            return  # the disk is full: what is used cannot be written down either

    def _payload_of(self, standing: str) -> JsonObject:
        """Return what a kept document says, unverified; nothing when it is not kept or damaged."""
        try:
            return read_envelope(self.kept.documents.get(standing, b"")).payload
        except Malformed:
            return {}

    def _issued_at(self, standing: str) -> int:
        at = self._payload_of(standing).get("issued_at")
        return at if isinstance(at, int) else 0

    def _next_window(self, standing: str) -> int:
        """Return the lowest window that may still be used, as far as it is known here."""
        series = self._payload_of(standing).get("series")
        if isinstance(series, str):
            with contextlib.suppress(Malformed):
                return self.kept.last_used(from_base64url(series)) + 1
        return self.kept.next_of_revoked(standing)

    def _begin_anew(self) -> None:
        issued = [self._issued_at(each) for each in self.kept.documents]
        newest = max(self._time.wall_ms(), self._here.view().signed_at_ms, *issued, 0)
        words = (
            "What this machine remembered of used windows was damaged. Nothing that was allowed "
            "ahead up to now opens."
        )
        try:
            self._diary.order("standing.damaged", {"words": words})
            self.kept.begin_anew(newest)
        except Unreachable:
            return  # it stays damaged, and nothing opens

    def _say_refused(self, standing: str, words: str) -> None:
        """Say that a document is not taken, unless a copy of it that is good is kept: anybody can
        make a copy that lacks signatures, and the hash is the same."""
        if self.kept.is_revoked(standing):
            self._say(standing, REVOKED, words)
        elif standing not in self.kept.documents:
            self._say(standing, DROPPED, words)

    def _say(self, standing: str, state: str, words: str, next_window: int | None = None) -> None:
        if next_window is None:
            next_window = self._next_window(standing)
        said = StandingState(
            device=self._here.device,
            owner=self._here.view().anchor.owner,
            standing=standing,
            state=state,
            next_window=next_window,
            words=words[:500],
            at_ms=self._time.wall_ms(),
            hash="",
            raw=b"",
        )
        raw = seal(make_state_payload(said), [self._here.signer])
        self._sessions.notes.put("standing", standing, raw)


def shown_hash(standing: Standing, request: Request) -> str:
    """Return what a press is for: who comes, for what, by which document."""
    said: JsonObject = {
        "requester": request.requester,
        "scopes": [scope.to_json() for scope in request.scopes],
        "standing": standing.hash,
    }
    return hashlib.sha256(encode(said)).hexdigest()


def _describe(standing: Standing) -> JsonObject:
    people = " and ".join(standing.people)
    scopes = "; ".join(scope.words() for scope in standing.scopes)
    count = len(standing.windows)
    return {
        "people": list(standing.people),
        "requesters": list(standing.requesters),
        "six_words": standing.words,
        "standing": standing.hash,
        "windows": count,
        "words": f"{people} allowed ahead, once in each of {count} windows: {scopes}. "
        f"“{standing.reason}”",
    }


def _describe_stop(stop: Stop) -> JsonObject:
    return {
        "person": stop.person,
        "reason": stop.reason,
        "standing": stop.subject,
        "words": f"{stop.person} took back what was allowed ahead. {stop.reason}".strip(),
    }
