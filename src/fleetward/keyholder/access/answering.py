"""Answering: what the owner's approver is shown, and what he signs. They are the same thing.

A `Question` is made of verified papers alone: the request by the folder's newest policy, the offer
by the key that the owner's roster names. A `Prepared` grant has its hash, so its six words, before
it is signed; what is signed afterwards is those bytes, whatever the server says meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fleetward.keyholder.access.judging import Judge, require_active
from fleetward.keyholder.access.runbooks import require_runbooks
from fleetward.keyholder.access.server_rows import AccessPapers
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.trust.access import Scope
from fleetward.trust.canonical import JsonObject
from fleetward.trust.envelope import add_signatures, document_hash, read_envelope, seal
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.grants.ending import (
    Stop,
    make_beat_payload,
    make_stop_payload,
    verify_stop,
)
from fleetward.trust.grants.grant import (
    IDLE_SECONDS,
    MAX_GRANT_BYTES,
    Grant,
    Situation,
    Terms,
    approvers_of,
    make_grant_payload,
    verify_grant,
    who_may_grant,
)
from fleetward.trust.grants.offer import Offer
from fleetward.trust.grants.request import MAX_AGE_MS, Request, check_rules
from fleetward.trust.keys import Signer
from fleetward.trust.policy import Policy
from fleetward.trust.roster import RosterEntry
from fleetward.trust.runbook import Runbook
from fleetward.trust.words import six_words

OPEN_WITHIN_MS: Final = 15 * 60_000
"""A grant that the machine did not take within this time is asked for again."""
OPEN_BREAK_GLASS_WITHIN_MS: Final = 60 * 60_000
"""Two people sign it, and somebody has to walk to the machine."""
CLOCK_ROOM_MS: Final = 60_000
DEFAULT_IDLE_SECONDS: Final = 900
WALL_WORDS: Final = {
    "uid": "the agent's network half runs as a user of its own",
    "none": "there is no wall between the agent's two halves",
    "simulated": "it is a simulated machine",
}
SANDBOX_WORDS: Final = {
    "bubblewrap": "what runs in the session is in a sandbox",
    "none": "what runs in the session is in no sandbox",
}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the owner, all of it verified."""

    entry: RosterEntry
    policy: Policy
    request: Request
    offer: Offer
    people: int
    """How many people must say yes; who asks is none of them."""
    must_watch: bool
    runbooks: Mapping[str, Runbook] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an approver decides. Empty scopes or no seconds: all that was asked for."""

    scopes: tuple[Scope, ...] = ()
    seconds: int = 0
    watched: bool = False
    idle_seconds: int = DEFAULT_IDLE_SECONDS


@dataclass(frozen=True, slots=True)
class Prepared:
    """A grant before it is signed; its hash is the session's id."""

    question: Question
    terms: Terms
    payload: JsonObject
    hash: str

    @property
    def words(self) -> str:
        """The six words that approver, technician and machine show for this grant."""
        return six_words(bytes.fromhex(self.hash))


def check_lease(documents: OwnerDocuments, now_ms: int) -> None:
    """Raise `Refused` when machines would open nothing: the owner's documents count no longer."""
    lease = documents.lease
    if not documents.settled or lease is None or lease.issued_at_ms + lease.seconds * 1000 < now_ms:
        raise Refused(
            "Your documents count no longer: machines open no session past the lease. Renew it by "
            "`fleetward owner refresh`.",
            reason="lease_expired",
        )


def read_question(judge: Judge, papers: AccessPapers, now_ms: int) -> Question:
    """Return what is asked. Raises `Refused` when there is nothing to answer, `Untrusted`."""
    case = judge.read_case(papers)
    if case.grant is not None:
        raise Refused("This was answered already: there is a grant.", reason="answered_already")
    if case.denial is not None and papers.state == "denied":
        raise Refused(
            f"{case.entry.name} itself refused it: {case.denial.words}", reason="denied_already"
        )
    require_active(case.entry)
    age_ms = now_ms - case.request.issued_at_ms
    if age_ms > MAX_AGE_MS:
        raise Refused(
            f"This was asked {age_ms // 86_400_000} days ago. Let it be asked again.",
            reason="too_old",
        )
    if case.offer is None:
        raise Refused(
            f"{case.entry.name} has not answered yet: it may be off. Without its offer there is "
            "nothing to say yes to.",
            reason="not_offered_yet",
        )
    policy = judge.policy
    if (case.offer.policy_version, case.offer.policy_hash) != (policy.version, policy.hash):
        raise Refused(
            f"{case.entry.name} follows policy {case.offer.policy_version}, yours is "
            f"{policy.version}. When it has heard of yours, let it be asked again.",
            reason="another_policy",
        )
    asked = case.request
    rules = check_rules(policy, asked.scopes, asked.seconds, break_glass=asked.break_glass)
    people = who_may_grant(policy, asked, rules).threshold
    watch = any(rule.watched for rule in rules)
    require_runbooks(case.runbooks, case.request.scopes)
    return Question(case.entry, policy, case.request, case.offer, people, watch, case.runbooks)


def prepare_grant(question: Question, answer: Answer, now_ms: int) -> Prepared:
    """Return the grant that an answer means. It can only narrow. Raises `Refused`."""
    request, policy = question.request, question.policy
    scopes = answer.scopes or request.scopes
    seconds = answer.seconds or request.seconds
    if not set(scopes) <= set(request.scopes):
        raise Refused("That was not asked for, so it is not given.", reason="wider_than_request")
    if not 1 <= seconds <= request.seconds:
        raise Refused(
            f"It was asked for {request.seconds} seconds; a grant can only be shorter.",
            reason="longer_than_request",
        )
    rules = check_rules(policy, scopes, seconds, break_glass=request.break_glass)
    within = OPEN_BREAK_GLASS_WITHIN_MS if request.break_glass else OPEN_WITHIN_MS
    clocks = (now_ms, question.offer.issued_at_ms)
    terms = Terms(
        scopes=tuple(s for s in request.scopes if s in scopes),
        seconds=seconds,
        idle_seconds=min(max(answer.idle_seconds, IDLE_SECONDS[0]), IDLE_SECONDS[1]),
        watched=answer.watched or any(rule.watched for rule in rules),
        # The machine's clock is not ours. What binds a grant to now is the offer, not the time.
        not_before_ms=min(clocks) - CLOCK_ROOM_MS,
        not_after_ms=max(clocks) + within,
    )
    payload = make_grant_payload(policy, request, question.offer, terms)
    return Prepared(question, terms, payload, document_hash(payload))


def sign_grant(prepared: Prepared, signers: Sequence[Signer], signed: bytes = b"") -> bytes:
    """Return the grant with these signatures, and those of `signed` where it is the same grant.

    Raises `Refused` when a signer asks for himself, or may not approve. Whether enough have signed
    is `verify_own_grant`'s to say.
    """
    for signer in signers:
        check_may_approve(prepared.question, signer.public.key_id)
    if not signed:
        return seal(prepared.payload, signers)
    envelope = read_envelope(signed, max_bytes=MAX_GRANT_BYTES)
    if envelope.hash != prepared.hash:
        raise Untrusted("What was signed before is another grant.", reason="another_grant")
    return add_signatures(envelope, signers)


def check_may_approve(question: Question, key_id: str) -> None:
    """Raise `Refused` when this key's person cannot say yes to this request."""
    role = approvers_of(question.policy, break_glass=question.request.break_glass)
    holder = role.keys.get(key_id)
    if holder is None:
        for_what = "BREAK-GLASS" if question.request.break_glass else "sessions"
        raise Refused(f"The policy does not let this key approve {for_what}.", reason="no_approver")
    if holder.person == question.request.person:
        raise Refused(
            f"{holder.person} asks, so somebody else has to say yes. The machine would not count "
            "it.",
            reason="approves_himself",
        )


def verify_own_grant(data: bytes, prepared: Prepared) -> Grant:
    """Return the grant as the machine will judge it. Raises as `verify_grant` does."""
    question, terms = prepared.question, prepared.terms
    here = Situation(
        question.policy,
        question.offer.boot,
        terms.not_before_ms,
        1,
        sandboxed=question.offer.sandbox != "none",
    )
    return verify_grant(data, here, question.request, question.offer)


def terms_of(grant: bytes, question: Question) -> Prepared:
    """Return the unsigned side of a grant that somebody else prepared, for one who signs too.

    Raises `Untrusted` when it is not exactly a grant of this question.
    """
    envelope = read_envelope(grant, max_bytes=MAX_GRANT_BYTES)
    payload = envelope.payload
    named = {str(scope.to_json()): scope for scope in question.request.scopes}
    scopes = payload.get("scopes")
    numbers = [payload.get(n) for n in ("seconds", "idle_seconds", "not_before", "not_after")]
    if (
        not isinstance(scopes, list)
        or any(str(s) not in named for s in scopes)
        or not all(isinstance(n, int) for n in numbers)
    ):
        raise Malformed("Expected a grant of this request.", reason="another_grant")
    seconds, idle, begin, end = (int(str(n)) for n in numbers)
    terms = Terms(
        tuple(named[str(s)] for s in scopes),
        seconds,
        idle,
        payload.get("watched") is True,
        begin,
        end,
    )
    made = make_grant_payload(question.policy, question.request, question.offer, terms)
    if document_hash(made) != envelope.hash:
        raise Untrusted("The grant says something else than its request.", reason="another_grant")
    return Prepared(question, terms, made, envelope.hash)


def sign_stop(
    policy: Policy, ended: Grant | Request, reason: str, signer: Signer, now_ms: int
) -> Stop:
    """Return a signed stop of a session, or the owner's no to a request."""
    payload = make_stop_payload(policy, ended.hash, reason, now_ms)
    return verify_stop(seal(payload, [signer]), policy, ended)


def sign_blind_stop(
    policy: Policy, subject: str, reason: str, signer: Signer, now_ms: int
) -> bytes:
    """Return a stop of what has this hash, though its papers are not believed: stopping is safe."""
    return seal(make_stop_payload(policy, subject, reason, now_ms), [signer])


def sign_beat(policy: Policy, session: str, signer: Signer, now_ms: int) -> bytes:
    """Return a beat. Its serial is the time, so that the beats of two watchers both rise."""
    return seal(make_beat_payload(policy, session, now_ms), [signer])
