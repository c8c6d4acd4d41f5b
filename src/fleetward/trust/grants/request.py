"""The request: a requester's signed wish to enter one machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.trust.access import MAX_SECONDS, Scope, TcpScope, permits, read_scopes
from fleetward.trust.access_rule import Rule
from fleetward.trust.access_runbook import ROOT, RunbookScope
from fleetward.trust.break_glass import read_mark
from fleetward.trust.canonical import JsonObject, to_base64url
from fleetward.trust.delegation import (
    MAX_DELEGATION_BYTES,
    Delegation,
    check_delegated,
    check_delegation_time,
    verify_delegation,
)
from fleetward.trust.envelope import RoleKey, read_envelope, verify_holder
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.policy import Policy

REQUEST_TYPE: Final = "fleetward.request.v1"
MAX_REQUEST_BYTES: Final = 16 * 1024
SESSION_KEY_BYTES: Final = 32
"""An X25519 public key (RFC 7748)."""
NONCE_BYTES: Final = 16
MAX_AGE_MS: Final = 7 * 86_400_000
"""A request that nobody answered for a week is asked again."""
MAX_SCOPE_ITEMS: Final = 8


@dataclass(frozen=True, slots=True)
class Request:
    """A verified request. `person` is who the policy, or the delegation, says holds the key.

    Under a delegation `org` says who sent him too, so that everybody who sees it sees that.
    """

    owner: str
    epoch: int
    device: str
    requester: str
    person: str
    org: str
    session_key: bytes
    scopes: tuple[Scope, ...]
    seconds: int
    reason: str
    case: str
    issued_at_ms: int
    hash: str
    raw: bytes
    holder: RoleKey
    delegation: Delegation | None = None
    break_glass: bool = False
    """It is asked for by the rules for when the usual approvers are away."""

    @property
    def people(self) -> tuple[str, ...]:
        """Who asks, and who sent him: none of them says yes to it, nor watches it."""
        sender = () if self.delegation is None else (self.delegation.delegator_person,)
        return (self.person, *sender)


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants, before it is signed."""

    device: str
    scopes: tuple[Scope, ...]
    seconds: int
    reason: str
    case: str = ""
    break_glass: bool = False
    delegation: bytes = b""


def make_request_payload(
    policy: Policy, wish: Wish, requester: str, keys: tuple[bytes, bytes], issued_at_ms: int
) -> JsonObject:
    """Return the payload of a request. `keys` are the session's public key and a fresh nonce."""
    session_key, nonce = keys
    payload: JsonObject = {
        "case": wish.case,
        "device": wish.device,
        "epoch": policy.epoch,
        "issued_at": issued_at_ms,
        "nonce": to_base64url(nonce),
        "owner": policy.owner,
        "reason": wish.reason,
        "requester": requester,
        "scopes": [scope.to_json() for scope in wish.scopes],
        "seconds": wish.seconds,
        "session_key": to_base64url(session_key),
        "type": REQUEST_TYPE,
    }
    if wish.break_glass:
        payload["break_glass"] = True
    if wish.delegation:
        payload["delegation"] = to_base64url(wish.delegation)
    return payload


def verify_request(data: bytes, policy: Policy, device: str) -> Request:
    """Return the request that a requester of this policy signed for `device`.

    Raises `Malformed`, `Untrusted`, or `Refused` when the rules permit no such session. How old
    it is remains the caller's duty: only it has a clock.
    """
    envelope = read_envelope(data, max_bytes=MAX_REQUEST_BYTES)
    fields = Fields(
        envelope.payload,
        "the request",
        {
            "case", "device", "epoch", "issued_at", "nonce", "owner", "reason", "requester",
            "scopes", "seconds", "session_key", "type",
        },
        {"break_glass", "delegation"},
    )  # fmt: skip
    # 1. A requester of the policy in force, or somebody he delegated to, signed it, alone.
    requester = fields.key_id("requester")
    delegation = _read_delegation(fields, policy)
    holder = _find_holder(policy, requester, delegation)
    verify_holder(envelope, REQUEST_TYPE, holder)
    # 2. For this owner, this epoch, this machine.
    if fields.digest("owner") != policy.owner:
        raise Untrusted("The request is to another owner.", reason="another_owner")
    if fields.integer("epoch", low=1) != policy.epoch:
        raise Untrusted("The request is of an epoch that has passed.", reason="old_epoch")
    if fields.key_id("device") != device:
        raise Untrusted("The request is for another machine.", reason="another_device")
    # 3. The keys have their sizes.
    session_key = fields.binary("session_key", most=SESSION_KEY_BYTES)
    if len(session_key) != SESSION_KEY_BYTES or (
        len(fields.binary("nonce", most=NONCE_BYTES)) != NONCE_BYTES
    ):
        raise Malformed("Expected a session key and a nonce of their sizes.", reason="bad_field")
    # 4. The rules permit what is asked for.
    scopes = read_scopes(fields.items("scopes", most=MAX_SCOPE_ITEMS))
    seconds = fields.integer("seconds", low=1, high=MAX_SECONDS)
    break_glass = read_mark(fields)
    check_rules(policy, scopes, seconds, break_glass=break_glass)
    if delegation is not None:
        check_delegated(delegation, device, scopes, seconds)
    return Request(
        owner=policy.owner,
        epoch=policy.epoch,
        device=device,
        requester=requester,
        person=holder.person,
        org=policy.orgs.get(requester, "") if delegation is None else delegation.words,
        session_key=session_key,
        scopes=scopes,
        seconds=seconds,
        reason=fields.text("reason", most=500, least=1),
        case=fields.text("case", most=100),
        issued_at_ms=fields.integer("issued_at"),
        hash=envelope.hash,
        raw=data,
        holder=holder,
        delegation=delegation,
        break_glass=break_glass,
    )


def check_time(request: Request, now_ms: int, seconds: int) -> None:
    """Return when a session of so many seconds may begin now, as far as who sent the requester
    says. Raises `Refused`."""
    if request.delegation is not None:
        check_delegation_time(request.delegation, now_ms, seconds)


def _read_delegation(fields: Fields, policy: Policy) -> Delegation | None:
    if not fields.has("delegation"):
        return None
    return verify_delegation(fields.binary("delegation", most=MAX_DELEGATION_BYTES), policy)


def _find_holder(policy: Policy, requester: str, delegation: Delegation | None) -> RoleKey:
    if delegation is not None and requester == delegation.key.key_id:
        return delegation.holder
    holder = policy.keys.get(requester)
    if holder is None or delegation is not None or requester not in policy.access.requesters:
        raise Untrusted(
            "The request is by nobody whom this machine's owner lets ask. The owner names "
            "requesters with `fleetward owner policy requester`.",
            reason="unknown_requester",
        )
    return holder


def check_rules(
    policy: Policy, scopes: Sequence[Scope], seconds: int, *, break_glass: bool = False
) -> tuple[Rule, ...]:
    """Return the rules of these scopes when they permit them for so long. Raises `Refused`.

    With `break_glass` they are the policy's break-glass rules alone, without it never. A runbook
    that runs as root is a terminal as root too: the rule for root has to permit it, and is among
    those that are returned.
    """
    rules: list[Rule] = []
    named = _break_glass_rules(policy, seconds) if break_glass else policy.access.rules or {}
    for scope in scopes:
        rules.append(_check_rule(policy, named, (scope, scope.kind), seconds))
        if isinstance(scope, RunbookScope) and scope.run_as == ROOT:
            rules.append(_check_rule(policy, named, (scope, ROOT), seconds))
    return tuple(rules)


def _check_rule(
    policy: Policy, named: Mapping[str, Rule], wanted: tuple[Scope, str], seconds: int
) -> Rule:
    scope, kind = wanted
    rule = named.get(kind)
    if rule is None:
        raise Refused(
            f"The owner's policy opens no {scope.words()}; it has no rule for {kind}. "
            "The owner changes that with `fleetward owner policy access`.",
            reason="scope_not_in_policy",
        )
    if isinstance(scope, TcpScope) and scope.port in policy.never_ports:
        raise Refused(
            f"Port {scope.port} is on the owner's list of ports that are never opened.",
            reason="port_never",
        )
    if kind == scope.kind and not permits(rule, scope):
        raise Refused(
            f"The owner's policy does not allow {scope.words()}. The owner changes that "
            "with `fleetward owner policy access`.",
            reason="scope_not_allowed",
        )
    if seconds > rule.seconds:
        raise Refused(
            f"The owner's policy allows {scope.words()} for {rule.seconds} seconds at most; "
            f"{seconds} were asked for.",
            reason="too_long",
        )
    return rule


def _break_glass_rules(policy: Policy, seconds: int) -> Mapping[str, Rule]:
    rules = policy.access.break_glass
    if rules is None:
        raise Refused(
            "The owner's policy has no rules for BREAK-GLASS. The owner makes them with "
            "`fleetward owner policy break-glass set`.",
            reason="no_break_glass",
        )
    if seconds > rules.seconds:
        raise Refused(
            f"The owner's policy allows BREAK-GLASS for {rules.seconds} seconds at most; "
            f"{seconds} were asked for.",
            reason="too_long",
        )
    return rules.rules
