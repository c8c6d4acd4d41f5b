"""The part of the door that judges who may enter: requests, grants, stops and beats.

Only this file and `gate` call the judging functions of `trust.grants` on a machine.

1. A request is verified under the policy in force. The answer is a signed offer, whose nonce and
   private key live in this object's memory alone, or a signed denial that names the rule.
2. At most `MOST_OFFERS` live at once, each for a day, one for a request, few of one requester and
   all whom he sends.
3. A grant is verified with the offer that it names. Then the offer is forgotten, the opening is
   on the disk, and only after that a session starts: a crash between any two opens nothing.
4. A stop, a policy under which a session could not have begun, and the end of the lease of the
   owner's documents end it at once. What the owner has signed is of the past: a clock that was set
   back makes no grant, request or delegation good that was over by then.
5. A beat counts when its serial is above the last one.
6. What is refused is recorded with the first rule that was broken; equal refusals are counted.
7. A scope of a runbook is judged with the document in hand (`gate_runbooks`), at the request, at
   the grant, and under every newer policy; what a session runs was read when its grant came.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from fleetward.device.access.sessions import Live, Sessions
from fleetward.device.audit.diary import Diary
from fleetward.device.gate_break_glass import ASKED, MARK, BreakGlassGate
from fleetward.device.gate_runbooks import RunbookGate
from fleetward.device.presses import Presses
from fleetward.device.refusals import Refusals
from fleetward.device.timekeeper import Timekeeper
from fleetward.runtime.channel import make_session_key
from fleetward.trust.access_runbook import Plan, RunbookScope
from fleetward.trust.canonical import JsonObject
from fleetward.trust.documents import OwnerView
from fleetward.trust.envelope import Envelope, read_envelope, seal
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.grants.ending import (
    BEAT_TYPE,
    STOP_TYPE,
    verify_beat,
    verify_stop,
    verify_stop_ahead,
)
from fleetward.trust.grants.entry import recheck_entry
from fleetward.trust.grants.grant import (
    GRANT_TYPE,
    Grant,
    Situation,
    recheck_grant,
    verify_grant,
)
from fleetward.trust.grants.offer import (
    OFFER_NONCE_BYTES,
    Offer,
    Readiness,
    make_offer_payload,
    verify_offer,
)
from fleetward.trust.grants.report import Denial, make_denial_payload
from fleetward.trust.grants.request import (
    MAX_AGE_MS,
    REQUEST_TYPE,
    Request,
    check_time,
    verify_request,
)
from fleetward.trust.keys import Signer
from fleetward.trust.sayings import say_person

MOST_OFFERS: Final = 16
OFFER_MS: Final = 86_400_000
MOST_OFFERS_EACH: Final = 4
"""So many of one requester and of all whom he sends: nobody keeps the others out for a day."""
MOST_STOPPED: Final = 256
"""Requests and grants that an approver has stopped and that therefore open nothing."""
SESSION_TYPES: Final = (REQUEST_TYPE, GRANT_TYPE, STOP_TYPE, BEAT_TYPE)
SIMULATED: Final = (
    "This machine is simulated: there is nothing behind it that could be entered. "
    "Ask for a session on a real one."
)
_NOUNS: Final = {
    REQUEST_TYPE: "request",
    GRANT_TYPE: "grant",
    STOP_TYPE: "stop",
    BEAT_TYPE: "beat",
}

Opened = Literal["none", "channel"]
Judge = Callable[[Situation, Request, Offer], Grant]
"""Says under what a session may open, or raises."""
TakeStop = Callable[[bytes, Envelope], bool]
"""Takes a stop that is not of a session; says whether it was one."""


@dataclass(frozen=True, slots=True)
class Here:
    """What the gate knows of its machine. The first two are asked anew every time."""

    view: Callable[[], OwnerView]
    lease_seconds_left: Callable[[], int]
    device: str
    signer: Signer
    boot: str
    wall: str
    runbooks: RunbookGate
    presses: Presses


@dataclass(frozen=True, slots=True)
class HeldOffer:
    """An offer that nobody has used. Without this object its private key is nowhere."""

    request: Request
    offer: Offer
    private: bytes
    made_boottime_ms: int


class SessionGate:
    """Judges what lets people in. Part of guard's single thread."""

    def __init__(
        self,
        here: Here,
        sessions: Sessions,
        diary: Diary,
        refusals: Refusals,
        time: Timekeeper,
    ) -> None:
        self._here = here
        self._sessions = sessions
        self._diary = diary
        self._refusals = refusals
        self._time = time
        self._offers: dict[str, HeldOffer] = {}
        self._stopped: list[str] = []
        self.runbooks: Final = here.runbooks
        self.runbooks.call_for_used(self._used_runbooks)
        self.break_glass: Final = BreakGlassGate(self, sessions, here.presses, diary)
        self.take_other_stop: TakeStop = lambda data, envelope: False

    @property
    def offers(self) -> tuple[str, ...]:
        """Hashes of the requests that have an offer now."""
        return tuple(self._offers)

    @property
    def asking(self) -> tuple[Request, ...]:
        """The requests that have an offer now."""
        return tuple(held.request for held in self._offers.values())

    def admit(self, data: bytes, kind: str) -> Opened:
        """Take an order of one of `SESSION_TYPES`. Raises what it was refused with, recorded."""
        takers = {
            REQUEST_TYPE: self._take_request,
            GRANT_TYPE: self._take_grant,
            STOP_TYPE: self._take_stop,
            BEAT_TYPE: self._take_beat,
        }
        envelope = read_envelope(data)
        try:
            return takers[kind](data, envelope)
        except (Malformed, Untrusted, Refused) as e:
            self._refuse(envelope, kind, e)
            raise

    def take_new_policy(self) -> None:
        """End the sessions that could not begin under the policy in force, drop such offers."""
        policy = self._here.view().policy
        for live in list(self._sessions.live.values()):
            try:
                verify_request(live.grant.request.raw, policy, self._here.device)
                (recheck_entry if live.grant.ahead else recheck_grant)(live.grant, policy)
                self.runbooks.plan(live.grant.scopes)
                self._check_confirmed()
                self._check_walls(live)
            except FleetwardError as e:
                self._sessions.end(live, "policy", "", f"The owner's rules changed. {e.message}")
        for name, held in list(self._offers.items()):
            try:
                verify_request(held.request.raw, policy, self._here.device)
            except FleetwardError:
                self._forget(name)
        self.break_glass.take_new_policy()

    def hand_over(self, name: str) -> None:
        """End everything that stems from the owner before: no key of his stands any more."""
        for live in list(self._sessions.live.values()):
            self._sessions.end(live, "policy", "", f"This machine was handed over to {name}.")
        for request in list(self._offers):
            self._forget(request)
        self._stopped = []

    def end_past_lease(self) -> None:
        """End every session once the owner's documents may not be relied on any more.

        Who holds the documents back could keep somebody inside whom the owner has put out.
        """
        if self._sessions.live and self._here.lease_seconds_left() <= 0:
            words = "The owner's documents have not been renewed for too long."
            for live in list(self._sessions.live.values()):
                self._sessions.end(live, "policy", "", words)

    # --- requests

    def _take_request(self, data: bytes, envelope: Envelope) -> Opened:
        self._forget_old()
        doors = self._sessions.doors
        if doors is None:
            raise Refused(SIMULATED, reason="simulated")
        request = verify_request(data, self._here.view().policy, self._here.device)
        self._check_confirmed()
        if self._now_ms() - request.issued_at_ms > MAX_AGE_MS:
            raise Refused("The request is older than a week. Ask again.", reason="request_too_old")
        check_time(request, self._now_ms(), request.seconds)
        if request.hash in self._stopped:
            raise Refused("The owner has refused this request.", reason="request_stopped")
        if any(kept.request == request.hash for kept in self._sessions.kept.sessions.values()):
            raise Refused("There was a session on this request. Ask again.", reason="request_used")
        self.runbooks.plan(request.scopes)
        for scope in request.scopes:
            doors.check(scope)
        if request.break_glass:
            self.break_glass.check_possible()
        held = self._offers.get(request.hash) or self._make_offer(request)
        self._sessions.notes.put("offer", request.hash, held.offer.raw)
        return "none"

    def _check_confirmed(self) -> None:
        if not self._here.view().confirmed:
            raise Refused(
                "The owner has not confirmed this machine, or has retired it. The owner does so "
                "with `fleetward owner confirm`.",
                reason="not_confirmed",
            )

    def _check_walls(self, live: Live) -> None:
        if self._here.view().policy.access.walls == "sandbox" and live.kept.sandbox == "none":
            raise Refused(
                "The owner's policy wants sessions in a sandbox, and this one has none.",
                reason="no_sandbox",
            )

    def _now_ms(self) -> int:
        """Return the present as far as it is known: not before the owner's newest signature."""
        return max(self._time.wall_ms(), self._here.view().signed_at_ms)

    def _make_offer(self, request: Request) -> HeldOffer:
        if len(self._offers) >= MOST_OFFERS:
            raise Refused(
                f"{MOST_OFFERS} requests wait for this machine's owner already.",
                reason="too_many_requests",
            )
        # Whom somebody sends counts as he does: he may send as many as he likes.
        asking = request.people[-1]
        own = [h for h in self._offers.values() if h.request.people[-1] == asking]
        if len(own) >= MOST_OFFERS_EACH:
            raise Refused(
                f"{MOST_OFFERS_EACH} requests of {asking} wait for this machine's owner already.",
                reason="too_many_requests",
            )
        private, public = make_session_key()
        ready = Readiness(
            boot=self._here.boot,
            nonce=secrets.token_bytes(OFFER_NONCE_BYTES),
            session_key=public,
            wall=self._here.wall,
            sandbox=self._sessions.sandbox.sandbox,
            now_ms=self._time.wall_ms(),
        )
        payload = make_offer_payload(self._here.view().policy, request, ready)
        raw = seal(payload, [self._here.signer])
        offer = verify_offer(raw, self._here.signer.public, request)
        scopes = [scope.words() for scope in request.scopes]
        loud = f"{MARK}: " if request.break_glass else ""
        body: JsonObject = {
            "case": request.case,
            "offer": offer.hash,
            "org": request.org,
            "person": request.person,
            "reason": request.reason,
            "request": request.hash,
            "sandbox": offer.sandbox,
            "scopes": [scope.to_json() for scope in request.scopes],
            "seconds": request.seconds,
            "words": f"{loud}{say_person(request.person, request.org)} asks to enter: "
            f"{'; '.join(scopes)}. The owner is asked.",
        }
        self._diary.order(ASKED if request.break_glass else "session.offered", body)
        held = HeldOffer(request, offer, private, self._time.powered_ms())
        self._offers[request.hash] = held
        self._sessions.prepare(request.scopes)
        return held

    # --- grants

    def _take_grant(self, data: bytes, envelope: Envelope) -> Opened:
        return self.open_judged(envelope, lambda *given: verify_grant(data, *given))

    def open_judged(self, envelope: Envelope, judge: Judge) -> Opened:
        """Open a session on the offer that this names, when `judge` finds it good."""
        self._forget_old()
        known = self._sessions.kept.sessions.get(envelope.hash)
        if known is not None:
            if envelope.hash in self._sessions.live:
                return "channel"  # The server says again what it said before.
            self._sessions.receipts.say_again(known)
            raise Refused("This grant was used, and its session is over.", reason="grant_used")
        if envelope.hash in self._stopped:
            raise Refused("This session was stopped before it opened.", reason="grant_stopped")
        if self.break_glass.find(envelope.hash) is not None:
            return "none"  # It waits for a press already.
        held = self._find_offer(envelope)
        grant = self._judge(judge, held.request, held.offer)
        plans = self.runbooks.plan(grant.scopes)
        if grant.break_glass:
            self.break_glass.check_room()
        # Whatever happens from here on, this offer is used.
        del self._offers[grant.request.hash]
        if grant.break_glass:
            self.break_glass.hold(grant, held.private)
        else:
            self._sessions.open(grant, held.private, plans)
        self._forget(grant.request.hash)
        return "none" if grant.break_glass else "channel"

    def _judge(self, judge: Judge, asked: Request, offer: Offer) -> Grant:
        view = self._here.view()
        # The policy may be newer than the offer, and the requester none any more.
        request = verify_request(asked.raw, view.policy, self._here.device)
        self._check_confirmed()
        situation = Situation(
            policy=view.policy,
            boot=self._here.boot,
            now_ms=self._time.wall_ms(),
            lease_seconds_left=self._here.lease_seconds_left(),
            sandboxed=self._sessions.sandbox.sandbox != "none",
        )
        grant = judge(situation, request, offer)
        check_time(request, self._now_ms(), 1)
        if grant.not_after_ms <= view.signed_at_ms:
            raise Refused("The grant is over: the owner has signed since.", reason="expired")
        return grant

    def judge_again(self, grant: Grant) -> dict[int, Plan]:
        """Return what the runbooks of a grant that waited do, when it is good now.

        Raises as `verify_grant`, `Refused`.
        """
        self._judge(lambda *given: verify_grant(grant.raw, *given), grant.request, grant.offer)
        return self.runbooks.plan(grant.scopes)

    def _find_offer(self, envelope: Envelope) -> HeldOffer:
        named = envelope.payload.get("request")
        held = self._offers.get(named) if isinstance(named, str) else None
        if held is None:
            raise Untrusted(
                "The grant answers no offer that this machine holds: it was used, is a day old, "
                "or the agent has started since. Ask again.",
                reason="another_offer",
            )
        return held

    # --- stops and beats

    def _take_stop(self, data: bytes, envelope: Envelope) -> Opened:
        if self.take_other_stop(data, envelope):
            return "none"
        policy = self._here.view().policy
        subject = envelope.payload.get("subject")
        waiting = self.break_glass.find(subject)
        if waiting is not None:
            by_request = subject == waiting.grant.request.hash
            stop = verify_stop(data, policy, waiting.grant.request if by_request else waiting.grant)
            self._remember_stop(waiting.grant.hash)
            words = f"Stopped by {stop.person}. {stop.reason}".strip()
            self.break_glass.drop(waiting, "grant_stopped", words)
            return "none"
        live = self._find_stopped(subject)
        if live is not None:
            by_request = subject == live.grant.request.hash
            stop = verify_stop(data, policy, live.grant.request if by_request else live.grant)
            words = f"Stopped by {stop.person}. {stop.reason}".strip()
            self._sessions.end(live, "stopped", stop.person, words)
            return "none"
        held = self._offers.get(subject) if isinstance(subject, str) else None
        if held is None:
            # It may have come before what it stops.
            self._remember_stop(verify_stop_ahead(data, policy).subject)
            raise Refused("There is no such session or request here.", reason="no_such_session")
        stop = verify_stop(data, policy, held.request)
        words = f"{stop.person} refused the request of {held.request.person}. {stop.reason}".strip()
        self._refuse_offered(held, stop.person, stop.reason, ("request_stopped", words))
        return "none"

    def refuse_at_panel(self, subject: str, who: str) -> None:
        """Somebody at the machine says no to a request, or to a grant that waits for a press.

        Raises `Refused` when there is none of this hash.
        """
        waiting, held = self.break_glass.find(subject), self._offers.get(subject)
        if waiting is not None:
            self._remember_stop(waiting.grant.hash)
            words = f"Refused at the machine's panel by {who}."
            self.break_glass.drop(waiting, "panel_refused", words)
        elif held is not None:
            words = f"The request of {held.request.person} was refused at the machine's panel."
            self._refuse_offered(held, who, "at the panel", ("panel_refused", words))
        else:
            raise Refused("Nothing of that name waits here.", reason="no_such_session")

    def _refuse_offered(
        self, held: HeldOffer, person: str, reason: str, denied: tuple[str, str]
    ) -> None:
        rule, words = denied
        self._forget(held.request.hash)
        self._remember_stop(held.request.hash)
        body: JsonObject = {
            "person": person,
            "reason": reason,
            "request": held.request.hash,
            "words": words,
        }
        with contextlib.suppress(Unreachable):
            self._diary.order("session.refused", body)
        self.deny(held.request.hash, rule, words)

    def _remember_stop(self, subject: str) -> None:
        """Keep it in mind once: an old stop, handed over again and again, pushes no other out."""
        if subject not in self._stopped and subject not in self._sessions.kept.sessions:
            self._stopped = [*self._stopped, subject][-MOST_STOPPED:]

    def _take_beat(self, data: bytes, envelope: Envelope) -> Opened:
        live = self._find_live(envelope)
        beat = verify_beat(data, self._here.view().policy, live.grant, live.serial)
        self._sessions.take_beat(live, beat)
        return "none"

    def _find_stopped(self, subject: object) -> Live | None:
        """Return the session that a stop means: who refuses a request that another approver has
        granted meanwhile wants nobody inside."""
        for live in self._sessions.live.values():
            if subject in (live.grant.hash, live.grant.request.hash):
                return live
        return None

    def _find_live(self, envelope: Envelope) -> Live:
        named = envelope.payload.get("session")
        live = self._sessions.live.get(named) if isinstance(named, str) else None
        if live is None or live.ended is not None:
            raise Refused("There is no such session here.", reason="no_such_session")
        return live

    # --- the rest

    def _used_runbooks(self) -> set[str]:
        asked = [held.request.scopes for held in self._offers.values()]
        asked += [live.grant.scopes for live in self._sessions.live.values()]
        return {s.digest for scopes in asked for s in scopes if isinstance(s, RunbookScope)}

    def _forget(self, request: str) -> None:
        self._offers.pop(request, None)
        self._sessions.notes.withdraw("offer", request)
        if not self._offers:
            self._sessions.drop_spare()

    def _forget_old(self) -> None:
        now = self._time.powered_ms()
        for name, held in list(self._offers.items()):
            if now - held.made_boottime_ms >= OFFER_MS:
                self._forget(name)

    def _refuse(self, envelope: Envelope, kind: str, error: FleetwardError) -> None:
        noun = _NOUNS[kind]
        recorded = self._refusals.refuse(noun, error.reason, error.message)
        # A flood of equal refusals is counted, and not signed one by one.
        answered = kind in (REQUEST_TYPE, GRANT_TYPE) and error.reason != "grant_used"
        if answered and recorded:
            self.deny(envelope.hash, error.reason, error.message)

    def deny(self, subject: str, rule: str, words: str) -> None:
        """Have a signed no about this said, with the rule that was broken."""
        denial = Denial(
            device=self._here.device,
            owner=self._here.view().anchor.owner,
            subject=subject,
            rule=rule,
            words=words[:500],
            at_ms=self._time.wall_ms(),
            hash="",
            raw=b"",
        )
        raw = seal(make_denial_payload(denial), [self._here.signer])
        self._sessions.notes.put("denial", subject, raw)
