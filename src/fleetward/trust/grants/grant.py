"""The session grant: the owner's yes to one request and one offer, judged by the machine."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from fleetward.trust.access import MAX_SECONDS, Scope, read_scopes
from fleetward.trust.access_rule import Rule
from fleetward.trust.break_glass import LEAST_PEOPLE, read_mark
from fleetward.trust.canonical import JsonObject
from fleetward.trust.envelope import Envelope, Role, read_envelope, require_type, verify_threshold
from fleetward.trust.errors import Refused, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.grants.offer import Offer
from fleetward.trust.grants.request import MAX_SCOPE_ITEMS, Request, check_rules, check_time
from fleetward.trust.policy import Policy
from fleetward.trust.words import six_words

GRANT_TYPE: Final = "fleetward.grant.v1"
MAX_GRANT_BYTES: Final = 64 * 1024
IDLE_SECONDS: Final = (10, 3600)
"""A session in which nothing moves ends after this long: at least, at most."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """By which document given ahead, and in which of its windows, somebody was let in."""

    standing: str
    series: bytes
    window: int
    raw: bytes
    """The signed document itself."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A verified grant, or an entry by a document given ahead. Its hash is the session's id."""

    request: Request
    offer: Offer
    scopes: tuple[Scope, ...]
    seconds: int
    idle_seconds: int
    watched: bool
    not_before_ms: int
    not_after_ms: int
    recording_key: str
    people: tuple[str, ...]
    hash: str
    raw: bytes
    ahead: Ahead | None = None
    """None for a grant that was given for this one session."""

    @property
    def break_glass(self) -> bool:
        """Whether it opens only after a press at the machine, and is told to everybody."""
        return self.request.break_glass

    @property
    def words(self) -> str:
        """Six words that everybody who sees this grant sees."""
        return six_words(bytes.fromhex(self.hash))


@dataclass(frozen=True, slots=True)
class Terms:
    """What an approver decides. Scopes and seconds may only narrow the request's."""

    scopes: tuple[Scope, ...]
    seconds: int
    idle_seconds: int
    watched: bool
    not_before_ms: int
    not_after_ms: int


@dataclass(frozen=True, slots=True)
class Situation:
    """What the machine knows at the moment of judging. Times are its own wall clock."""

    policy: Policy
    boot: str
    now_ms: int
    lease_seconds_left: int
    sandboxed: bool


def make_grant_payload(policy: Policy, request: Request, offer: Offer, terms: Terms) -> JsonObject:
    """Return the payload of a grant. It says `break_glass` when its request does."""
    payload: JsonObject = {
        "device": request.device,
        "epoch": policy.epoch,
        "idle_seconds": terms.idle_seconds,
        "not_after": terms.not_after_ms,
        "not_before": terms.not_before_ms,
        "offer": offer.hash,
        "owner": policy.owner,
        "policy": {"hash": policy.hash, "version": policy.version},
        "recording_key": policy.roots.recording_key,
        "request": request.hash,
        "scopes": [scope.to_json() for scope in terms.scopes],
        "seconds": terms.seconds,
        "type": GRANT_TYPE,
        "watched": terms.watched,
    }
    if request.break_glass:
        payload["break_glass"] = True
    return payload


def verify_grant(data: bytes, here: Situation, request: Request, offer: Offer) -> Grant:
    """Return the grant under which a session may open, now, on the machine that made `offer`.

    Raises `Malformed`, `Untrusted`, or `Refused`; each names the first rule that was broken.
    The caller has made the offer itself and not used it, persists its use before it opens
    anything, and measures the length on a clock that nobody sets.
    """
    policy = here.policy
    # 1. A grant of this owner and epoch, for this machine, under the policy in force.
    envelope = read_envelope(data, max_bytes=MAX_GRANT_BYTES)
    require_type(envelope, GRANT_TYPE)
    fields = _read_fields(envelope)
    _check_subject(fields, policy, request)
    # 2. To this request and this offer, which was made in this boot.
    _check_answers(fields, request, offer, here)
    # 3. It can only narrow.
    scopes = read_scopes(fields.items("scopes", most=MAX_SCOPE_ITEMS))
    if not set(scopes) <= set(request.scopes):
        raise Untrusted("The grant gives more than was asked for.", reason="wider_than_request")
    seconds = fields.integer("seconds", low=1, high=MAX_SECONDS)
    if seconds > request.seconds:
        raise Untrusted("The grant is longer than was asked for.", reason="longer_than_request")
    if read_mark(fields) != request.break_glass:
        raise Untrusted(
            "One of the request and the grant says BREAK-GLASS, and the other does not.",
            reason="another_kind_of_grant",
        )
    rules = check_rules(policy, scopes, seconds, break_glass=request.break_glass)
    # 4. Enough people said yes, and the one who asks is none of them.
    people = _count_people(envelope, policy, request, rules)
    # 5. What the rules demand beside it.
    watched = fields.boolean("watched")
    if any(rule.watched for rule in rules) and not watched:
        raise Untrusted("The policy wants this session watched.", reason="not_watched")
    recording_key = fields.text("recording_key", most=256, least=1)
    if recording_key != policy.roots.recording_key:
        raise Untrusted("The recording is for another key.", reason="another_recording_key")
    if policy.access.walls == "sandbox" and not here.sandboxed:
        raise Refused(
            "The owner's policy wants sessions in a sandbox, and this machine has none. "
            "Installing bubblewrap gives it one.",
            reason="no_sandbox",
        )
    # 6. Within its time, that of who sent the requester, and the lease of the owner's head.
    not_before, not_after = fields.integer("not_before"), fields.integer("not_after")
    _check_time(not_before, not_after, here)
    check_time(request, here.now_ms, seconds)
    return Grant(
        request=request,
        offer=offer,
        scopes=scopes,
        seconds=seconds,
        idle_seconds=fields.integer("idle_seconds", low=IDLE_SECONDS[0], high=IDLE_SECONDS[1]),
        watched=watched,
        not_before_ms=not_before,
        not_after_ms=not_after,
        recording_key=recording_key,
        people=people,
        hash=envelope.hash,
        raw=data,
    )


def recheck_grant(grant: Grant, policy: Policy) -> None:
    """Return when a grant, verified under an older policy, would be good under this one too.

    Rules, approvers and their number are those of `policy`; times are not looked at again. That
    the request is still a requester's is for `verify_request` to say. Raises as `verify_grant`.
    """
    rules = check_rules(policy, grant.scopes, grant.seconds, break_glass=grant.break_glass)
    _count_people(read_envelope(grant.raw, max_bytes=MAX_GRANT_BYTES), policy, grant.request, rules)
    if any(rule.watched for rule in rules) and not grant.watched:
        raise Untrusted("The policy wants this session watched.", reason="not_watched")
    if grant.recording_key != policy.roots.recording_key:
        raise Untrusted("The recording is for another key.", reason="another_recording_key")


def who_may_grant(policy: Policy, request: Request, rules: tuple[Rule, ...]) -> Role:
    """Return whose yes counts for a request with these rules, and of how many people it takes.

    They are the approvers, or for a break-glass request the keys that the policy names for that.
    Who asks, or sent him, is none of them. Raises `Refused` where the policy has no such rules.
    """
    role = approvers_of(policy, break_glass=request.break_glass)
    others = {i: k for i, k in role.keys.items() if k.person not in request.people}
    threshold = max(role.threshold, *(rule.threshold for rule in rules))
    return Role(name=role.name, keys=others, threshold=threshold)


def approvers_of(policy: Policy, *, break_glass: bool) -> Role:
    """Return the approvers, or with `break_glass` who stands in for them. Raises `Refused`."""
    if not break_glass:
        return policy.roles["approve"]
    rules = policy.access.break_glass
    if rules is None:
        raise Refused("The owner's policy has no break-glass rules.", reason="no_break_glass")
    return Role(
        name="break_glass",
        keys={key_id: policy.keys[key_id] for key_id in rules.keys},
        threshold=max(LEAST_PEOPLE, rules.threshold),
    )


def _read_fields(envelope: Envelope) -> Fields:
    return Fields(
        envelope.payload,
        "the grant",
        {
            "device", "epoch", "idle_seconds", "not_after", "not_before", "offer", "owner",
            "policy", "recording_key", "request", "scopes", "seconds", "type", "watched",
        },
        {"break_glass"},
    )  # fmt: skip


def _check_subject(fields: Fields, policy: Policy, request: Request) -> None:
    if fields.digest("owner") != policy.owner:
        raise Untrusted("The grant is of another owner.", reason="another_owner")
    if fields.integer("epoch", low=1) != policy.epoch:
        raise Untrusted("The grant is of an epoch that has passed.", reason="old_epoch")
    if fields.key_id("device") != request.device:
        raise Untrusted("The grant is for another machine.", reason="another_device")
    under = Fields(fields.map("policy"), "the grant's policy", {"hash", "version"})
    if (under.integer("version", low=1), under.digest("hash")) != (policy.version, policy.hash):
        raise Untrusted(
            "The grant was given under another policy than this machine's. Ask again.",
            reason="another_policy",
        )


def _check_answers(fields: Fields, request: Request, offer: Offer, here: Situation) -> None:
    if fields.digest("request") != request.hash:
        raise Untrusted("The grant answers another request.", reason="another_request")
    if fields.digest("offer") != offer.hash or offer.request != request.hash:
        raise Untrusted("The grant answers another offer.", reason="another_offer")
    if offer.boot != here.boot:
        raise Untrusted("The offer was made before this machine started.", reason="old_boot")


def _count_people(
    envelope: Envelope, policy: Policy, request: Request, rules: tuple[Rule, ...]
) -> tuple[str, ...]:
    """Return who signed of those who may. Raises `Untrusted`."""
    return verify_threshold(envelope, GRANT_TYPE, who_may_grant(policy, request, rules))


def count_people(
    envelope: Envelope,
    kind: str,
    policy: Policy,
    asking: Collection[str],
    rules: tuple[Rule, ...],
) -> tuple[str, ...]:
    """Return the approvers who signed; nobody of those who ask counts. Raises `Untrusted`."""
    approvers = policy.roles["approve"]
    others = {i: k for i, k in approvers.keys.items() if k.person not in asking}
    threshold = max(approvers.threshold, *(rule.threshold for rule in rules))
    role = Role(name="approve", keys=others, threshold=threshold)
    return verify_threshold(envelope, kind, role)


def _check_time(not_before: int, not_after: int, here: Situation) -> None:
    if here.now_ms < not_before:
        raise Refused("The grant is not valid yet by this machine's clock.", reason="not_yet")
    if here.now_ms >= not_after:
        raise Refused("The grant is past its time by this machine's clock.", reason="expired")
    if here.lease_seconds_left <= 0:
        raise Refused(
            "The owner's documents have not been renewed for too long; this machine opens no "
            "session. The owner renews them with `fleetward owner refresh`.",
            reason="lease_expired",
        )
