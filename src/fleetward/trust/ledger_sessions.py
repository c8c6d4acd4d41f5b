"""Who was inside a machine, with whose permission: the papers of sessions in an audit.

Requests, offers, grants, stops, denials and receipts stand in the record as they were signed. The
server that wrote them down could not judge them; here they are judged, by the rules by which the
machine did (`trust.grants`), under the policy that each grant names:

1. A receipt or denial is signed by the machine that it names.
2. A session of which a machine says that it took place has its grant in the record before, and
   that grant is one that the machine had to obey: its request, its offer, as many people as the
   policy demands, nothing wider, and nobody who let himself in. Who came by what was allowed ahead
   has an entry in its place (`ledger_standing`).
3. What anybody can hand to the server proves nothing: a request or grant that no machine would obey
   is counted and is no contradiction.

4. Sessions by BREAK-GLASS are judged by the rules for those, and listed apart besides. That
   somebody pressed at the machine is the machine's word.

Times within a grant are the machine's to judge: the record does not know its clock.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from fleetward.trust.envelope import read_envelope
from fleetward.trust.errors import FleetwardError, Refused, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.grants.entry import ENTRY_TYPE
from fleetward.trust.grants.grant import GRANT_TYPE, Grant, Situation, verify_grant
from fleetward.trust.grants.offer import OFFER_TYPE, verify_offer
from fleetward.trust.grants.report import (
    DENIAL_TYPE,
    RECEIPT_TYPE,
    Receipt,
    verify_denial,
    verify_receipt,
)
from fleetward.trust.grants.request import REQUEST_TYPE, Request, verify_request
from fleetward.trust.grants.standing import STANDING_TYPE
from fleetward.trust.grants.standing_state import STATE_TYPE
from fleetward.trust.keys import PublicKey
from fleetward.trust.ledger_documents import DocumentsInAudit
from fleetward.trust.ledger_findings import Finding, Findings
from fleetward.trust.ledger_papers import Place
from fleetward.trust.ledger_standing import StandingInAudit
from fleetward.trust.policy import Policy
from fleetward.trust.sayings import say_age, say_count

MAX_PAPERS: Final = 200_000
"""Requests, and offers, of one record that are remembered for the grants on them."""
MAX_TOLD: Final = 50
"""Sessions that are told one by one, the newest; those before them are counted."""
_MAX_MS: Final = 253_402_300_799_000
"""The year 9999, behind which no date can be written."""


class SessionsInAudit:
    """Judges the papers of sessions in one audit. Findings go where `findings` says."""

    def __init__(self, owner: str, documents: DocumentsInAudit, findings: Findings) -> None:
        self._owner = owner
        self._documents = documents
        self._findings = findings
        self._requests: dict[str, bytes] = {}
        self._offers: dict[str, bytes] = {}
        self._grants: dict[str, Grant] = {}
        self._bad: dict[str, str] = {}
        self._told: list[tuple[Receipt, Place]] = []
        self._sessions: dict[str, str] = {}
        self._bad_requests: set[str] = set()
        self._strangers: set[str] = set()
        self._denials = 0
        self._standing = StandingInAudit(owner, documents, findings)

    def take(self, leaf: bytes, kind: str, generation: int, entry: int) -> None:
        """Judge a paper that stands in the record."""
        place = Place(generation, entry)
        try:
            if kind == REQUEST_TYPE:
                self._take_request(leaf)
            elif kind == OFFER_TYPE:
                self._keep(self._offers, leaf)
            elif kind in (GRANT_TYPE, ENTRY_TYPE):
                self._take_grant(leaf, kind)
            elif kind == RECEIPT_TYPE:
                self._take_receipt(leaf, place)
            elif kind == DENIAL_TYPE:
                self._take_denial(leaf)
            elif kind == STANDING_TYPE:
                self._standing.take_document(leaf)
            elif kind == STATE_TYPE:
                device = str(read_envelope(leaf).payload.get("device"))
                self._standing.take_state(leaf, self._key_of(device))
        except Refused:  # not on the roster: a machine that its owner has not confirmed
            self._strangers.add(str(read_envelope(leaf).payload.get("device"))[:64])
        except FleetwardError as e:
            # 1.
            self._contradict(
                "not_by_machine",
                f"Entry {entry} looks like a machine's word about a session and is none: "
                f"{e.message}",
                place,
            )

    def finish(self) -> None:
        """Say who was inside, and what cannot be known."""
        for receipt, place in self._told[-MAX_TOLD:]:
            self._tell(receipt, place)
        self._standing.finish()
        if self._sessions:
            said = say_count(len(self._sessions), "session")
            self._findings.prove(
                Finding(
                    "sessions",
                    f"{said} took place, each asked for by a requester of the owner's policy and "
                    "granted by as many people as it demanded.",
                )
            )
        self._tell_break_glass()
        if self._denials:
            said = say_count(self._denials, "request or permission", "requests or permissions")
            self._findings.prove(Finding("denials", f"Machines said no to {said}."))
        waiting = set(self._grants) - set(self._sessions)
        if waiting:
            said = say_count(len(waiting), "permission")
            words = (
                f"{said} of the owner's people stand in the record of which no machine has said "
                "how a session under it ended."
            )
            self._findings.leave_open(Finding("sessions_open", words))
        idle = len(self._bad_requests) + len(self._bad)
        if idle:
            said = say_count(idle, "request or permission", "requests or permissions")
            words = f"{said} in the record are signed so that no machine would obey."
            self._findings.leave_open(Finding("papers_without_force", words))
        for device in sorted(self._strangers):
            words = (
                f"{device} is on no roster, so that nobody can tell whether what it says of "
                "sessions is its word."
            )
            self._findings.leave_open(Finding("session_of_stranger", words, device=device))

    def _tell_break_glass(self) -> None:
        """List apart who was let in, or asked to be, without the usual approvers."""
        opened = [self._grants[s] for s in self._sessions if self._grants[s].break_glass]
        for grant in opened[-MAX_TOLD:]:
            request = grant.request
            words = (
                f"BREAK-GLASS: {request.person} was inside {self._name(request.device)} without "
                f"the usual approvers, let in by {' and '.join(grant.people)} and by a press at "
                f"the machine. Six words: {grant.words}. Reason given: {request.reason}"
            )
            self._findings.prove(Finding("break_glass", words, device=request.device))
        if len(opened) > MAX_TOLD:
            said = say_count(len(opened) - MAX_TOLD, "more session")
            self._findings.prove(Finding("break_glass", f"BREAK-GLASS: {said} before these."))

    def _take_request(self, leaf: bytes) -> None:
        self._keep(self._requests, leaf)
        device = read_envelope(leaf).payload.get("device")
        try:
            verify_request(leaf, self._documents.policy_in_force, str(device))
        except FleetwardError:
            # 3.
            self._bad_requests.add(read_envelope(leaf).hash)

    def _take_grant(self, leaf: bytes, kind: str) -> None:
        digest = read_envelope(leaf).hash
        if digest in self._grants or len(self._grants) + len(self._bad) >= MAX_PAPERS:
            return
        try:
            judge = self._judge_entry if kind == ENTRY_TYPE else self._judge_grant
            self._grants[digest] = judge(leaf)
        except FleetwardError as e:
            # 3. Unless a machine says that it obeyed: see the receipt.
            self._bad[digest] = e.message
        else:  # signed by some before, perhaps, and now by enough
            self._bad.pop(digest, None)

    def _judge_grant(self, leaf: bytes) -> Grant:
        payload = read_envelope(leaf).payload
        policy = self._policy_of(payload.get("policy"))
        device = str(payload.get("device"))
        request = self._request_of(payload.get("request"), policy, device)
        offer_raw = self._offers.get(str(payload.get("offer")))
        if offer_raw is None:
            raise Untrusted("Its offer does not stand before it.", reason="no_offer")
        offer = verify_offer(offer_raw, self._key_of(device), request)
        not_before = payload.get("not_before")
        here = Situation(
            policy=policy,
            boot=offer.boot,
            now_ms=not_before if isinstance(not_before, int) else 0,
            lease_seconds_left=1,
            sandboxed=offer.sandbox != "none",
        )
        return verify_grant(leaf, here, request, offer)

    def _judge_entry(self, leaf: bytes) -> Grant:
        payload = read_envelope(leaf).payload
        device = str(payload.get("device"))
        offer_raw = self._offers.get(str(payload.get("offer")))
        if offer_raw is None:
            raise Untrusted("Its offer does not stand before it.", reason="no_offer")
        policy = self._policy_of(read_envelope(offer_raw).payload.get("policy"))
        request = self._request_of(payload.get("request"), policy, device)
        offer = verify_offer(offer_raw, self._key_of(device), request)
        return self._standing.judge_entry(leaf, policy, request, offer)

    def _take_receipt(self, leaf: bytes, place: Place) -> None:
        device = str(read_envelope(leaf).payload.get("device"))
        receipt = verify_receipt(leaf, self._key_of(device), self._owner)
        if receipt.session in self._sessions:
            return
        grant = self._grants.get(receipt.session)
        if grant is not None and grant.request.device == device:
            self._sessions[receipt.session] = device
            self._standing.take_session(grant, receipt)
            self._told.append((receipt, place))
            del self._told[: -2 * MAX_TOLD]
            return
        # 2.
        why = self._bad.get(receipt.session, "the grant is not in the record")
        words = (
            f"Entry {place.entry}: {self._name(device)} says that a session took place on it, and "
            f"the record does not show that its owner allowed it: {why}"
        )
        if place.generation > 1 and receipt.session not in self._bad:
            # A restore may have lost the grant, and the owner has signed for that loss.
            self._findings.leave_open(
                Finding("session_lost", words, place.generation, place.entry, device)
            )
            return
        self._contradict("session_without_grant", words, place, device)

    def _take_denial(self, leaf: bytes) -> None:
        device = str(read_envelope(leaf).payload.get("device"))
        verify_denial(leaf, self._key_of(device), self._owner)
        self._denials += 1

    def _tell(self, receipt: Receipt, place: Place) -> None:
        grant = self._grants[receipt.session]
        request = grant.request
        who = f"{request.person} of {request.org}" if request.org else request.person
        length = say_age(max(0, receipt.ended_at_ms - receipt.opened_at_ms) // 1000)
        people = " and ".join(grant.people)
        scopes = ", ".join(scope.words() for scope in grant.scopes)
        how = (
            f"in window {grant.ahead.window + 1} of what was allowed ahead by"
            if (grant.ahead)
            else "let in by"
        )
        words = (
            f"{'BREAK-GLASS: ' if grant.break_glass else ''}"
            f"{who} was inside {self._name(receipt.device)} on {_say_time(receipt.opened_at_ms)} "
            f"for {length}, {how} {people}: {scopes}. It ended: {receipt.ended_by}. "
            f"What changed: {receipt.compared_words}."
        )
        self._findings.prove(
            Finding("session", words, place.generation, place.entry, receipt.device)
        )

    def _policy_of(self, value: object) -> Policy:
        named = Fields(
            value if isinstance(value, dict) else {}, "the grant's policy", {"hash", "version"}
        )
        for policy in reversed(self._documents.policies):
            if policy.hash == named.digest("hash"):
                return policy
        raise Untrusted("It names a policy that is not the owner's.", reason="another_policy")

    def _request_of(self, value: object, policy: Policy, device: str) -> Request:
        raw = self._requests.get(str(value))
        if raw is None:
            raise Untrusted("Its request does not stand before it.", reason="no_request")
        return verify_request(raw, policy, device)

    def _key_of(self, device: str) -> PublicKey:
        entry = self._documents.machines.get(device)
        if entry is None:
            raise Refused("The machine is not on the owner's roster.", reason="unknown_device")
        return entry.key

    def _name(self, device: str) -> str:
        entry = self._documents.machines.get(device)
        return f"{entry.name} ({device[:8]}…)" if entry else device

    def _keep(self, papers: dict[str, bytes], leaf: bytes) -> None:
        if len(papers) < MAX_PAPERS:
            papers.setdefault(read_envelope(leaf).hash, leaf)

    def _contradict(self, finding: str, words: str, place: Place, device: str = "") -> None:
        self._findings.contradict(Finding(finding, words, place.generation, place.entry, device))


def _say_time(at_ms: int) -> str:
    moment = datetime.fromtimestamp(min(max(at_ms, 0), _MAX_MS) // 1000, UTC)
    return f"{moment:%Y-%m-%d %H:%M} UTC"
