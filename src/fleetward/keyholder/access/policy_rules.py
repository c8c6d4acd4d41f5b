"""Changes of the policy's rules for sessions: who may ask, and for what.

Each is a change of a draft, signed and adopted as every other change of the policy is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from fleetward.keyholder.signing import Person, PolicyDraft
from fleetward.trust.access import KINDS, MAX_SECONDS, WALLS, AccessRules, make_access, read_access
from fleetward.trust.access_rule import ANY, Rule
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.keys import PublicKey
from fleetward.trust.policy import Policy

Change: TypeAlias = Callable[[PolicyDraft], PolicyDraft]

DEFAULT_SECONDS: Final = 3600
_NAMED: Final = ("terminal", "logs", "files", "serial")
_EXAMPLES: Final = {
    "terminal": "the name of a user, as `app`",
    "logs": "the name of a systemd unit, or '*'",
    "files": "an absolute folder",
    "tcp": "a port or a range, as `8000-8999`",
    "serial": "the path of a port, as `/dev/ttyUSB0`",
    "runbook": "the digest of a runbook, or '*'",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a rule shall say; None leaves what it says, or takes the default."""

    seconds: int | None = None
    people: int | None = None
    watched: bool | None = None


def name_requester(person: str, key: PublicKey, org: str = "") -> Change:
    """Return the change that lets a person's key ask for sessions, and sign nothing else."""

    def change(draft: PolicyDraft) -> PolicyDraft:
        if any(each.key.key_id == key.key_id for each in draft.people):
            raise Refused(
                f"The policy has the key {key.key_id} already. Who asks has a key of its own, "
                "made by `fleetward requester init`.",
                reason="known_key",
            )
        access = draft.access or AccessRules(rules={})
        asking = (*access.requesters, key.key_id)
        people = (*draft.people, Person(key, person, org))
        return replace(draft, people=people, access=replace(access, requesters=asking))

    return change


def remove_requester(person: str) -> Change:
    """Return the change after which none of a person's keys may ask. His other keys stay."""

    def change(draft: PolicyDraft) -> PolicyDraft:
        access = draft.access or AccessRules()
        keys = {p.key.key_id for p in draft.people if p.person == person}
        gone = keys & set(access.requesters)
        if not gone:
            raise Refused(f"The policy lets no {person[:80]!r} ask.", reason="unknown_person")
        used = {key_id for ids, _ in draft.roles.values() for key_id in ids}
        used |= {key_id for r in (access.rules or {}).values() for key_id in r.signers}
        return replace(
            draft,
            people=tuple(p for p in draft.people if p.key.key_id not in gone - used),
            access=replace(
                access,
                requesters=tuple(i for i in access.requesters if i not in gone),
                delegators=tuple(i for i in access.delegators if i not in gone),
            ),
        )

    return change


def set_delegating(person: str, *, allowed: bool) -> Change:
    """Return the change after which who asks may, or may not, send somebody else in his place."""

    def change(draft: PolicyDraft) -> PolicyDraft:
        access = draft.access or AccessRules()
        keys = {p.key.key_id for p in draft.people if p.person == person} & set(access.requesters)
        if not keys:
            raise Refused(f"The policy lets no {person[:80]!r} ask.", reason="unknown_person")
        others = tuple(i for i in access.delegators if i not in keys)
        named = (*others, *sorted(keys)) if allowed else others
        return replace(draft, access=replace(access, delegators=named))

    return change


def allow_scope(kind: str, what: str, limits: Limits) -> Change:
    """Return the change that lets `what` be asked for. Raises `Malformed` for a bad one."""
    _check_kind(kind, what)

    def change(draft: PolicyDraft) -> PolicyDraft:
        require_recording_key(draft)
        access = draft.access or AccessRules(rules={})
        rules = dict(access.rules or {})
        rules[kind] = _widen(kind, rules.get(kind), what, limits)
        if kind == "tcp":
            _check_never(what, draft.never_ports)
        return replace(draft, access=checked(replace(access, rules=rules)))

    return change


def require_recording_key(draft: PolicyDraft) -> None:
    """Raise `Refused` when what would be allowed could not be recorded."""
    if not draft.roots.recording_key:
        raise Refused(
            "The policy names no recording key, and no session is opened unrecorded.",
            reason="no_recording_key",
        )


def widen_rule(kind: str, rule: Rule | None, what: str, limits: Limits) -> Rule:
    """Return a rule that lets `what` be asked for beside what it let before. Raises `Malformed`."""
    _check_kind(kind, what)
    return _widen(kind, rule, what, limits)


def forbid_scope(kind: str, what: str = "") -> Change:
    """Return the change after which `what`, or without it the whole kind, is never granted."""
    if kind not in KINDS:
        _check_kind(kind, what)

    def change(draft: PolicyDraft) -> PolicyDraft:
        access = draft.access or AccessRules()
        rules = dict(access.rules or {})
        rule = rules.pop(kind, None)
        if rule is None:
            raise Refused(f"The policy allows no {kind} as it is.", reason="not_allowed")
        if what:
            kept = _narrow(kind, rule, what)
            if kept.allowed or kept.ports:
                rules[kind] = kept
        return replace(draft, access=replace(access, rules=rules))

    return change


def set_walls(walls: str) -> Change:
    """Return the change of what must keep a session apart on the machine."""
    if walls not in WALLS:
        raise Malformed(f"Expected one of {', '.join(WALLS)}.", reason="bad_walls")

    def change(draft: PolicyDraft) -> PolicyDraft:
        return replace(draft, access=replace(draft.access or AccessRules(rules={}), walls=walls))

    return change


def check_somebody_approves(policy: Policy) -> None:
    """Raise `Refused` when what the rules allow could never be granted: too few people approve."""
    approvers = {holder.person for holder in policy.roles["approve"].keys.values()}
    least = policy.roles["approve"].threshold
    for key_id in policy.access.requesters:
        asking = policy.keys[key_id].person
        others = approvers - {asking}
        if len(others) < least:
            raise Refused(
                f"{asking} would ask, and {_say_people(others)} could say yes; it takes {least}, "
                "and nobody approves his own request. Add an approver first: `fleetward owner "
                "policy add-person --scope approve`, or name the requester under his own name.",
                reason="nobody_could_approve",
            )
    for kind, rule in (policy.access.rules or {}).items():
        if rule.threshold > len(approvers):
            raise Refused(
                f"The rule for {kind} takes {rule.threshold} people, and {_say_people(approvers)} "
                "may approve. Add approvers first: `fleetward owner policy add-person --scope "
                "approve`, or ask for fewer by --people.",
                reason="nobody_could_approve",
            )
    check_break_glass(policy)


def check_break_glass(policy: Policy) -> None:
    """Raise `Refused` when somebody may ask to break in and too few others could say yes."""
    rules = policy.access.break_glass
    if rules is None:
        return
    people = {policy.keys[key_id].person for key_id in rules.keys}
    least = max(rules.threshold, *(rule.threshold for rule in rules.rules.values()), 0)
    for key_id in policy.access.requesters:
        asking = policy.keys[key_id].person
        if len(people - {asking}) < least:
            raise Refused(
                f"{asking} could ask for BREAK-GLASS, and only {_say_people(people - {asking})} "
                f"could say yes; it takes {least}. Name more people in `fleetward owner policy "
                "break-glass set`, or remove its rules first.",
                reason="nobody_could_approve",
            )


def _say_people(people: set[str]) -> str:
    return ", ".join(sorted(people)) if people else "nobody else"


def _check_kind(kind: str, what: str) -> None:
    if kind not in KINDS:
        raise Malformed(
            f"Expected one of {', '.join(KINDS)}, got {kind[:40]!r}.", reason="bad_scope"
        )
    if kind == "root" and what:
        raise Malformed("A terminal as root has no name behind it.", reason="bad_scope")
    if kind != "root" and not what:
        raise Malformed(f"Expected {_EXAMPLES[kind]} behind {kind}.", reason="bad_scope")


def _widen(kind: str, rule: Rule | None, what: str, limits: Limits) -> Rule:
    before = rule or Rule(threshold=1, seconds=DEFAULT_SECONDS, watched=False)
    allowed, ports = before.allowed, before.ports
    if kind == "tcp":
        ports = tuple(sorted({*ports, _read_range(what)}))
    elif kind in _NAMED and what not in allowed:
        allowed = (*allowed, what)
    return Rule(
        threshold=before.threshold if limits.people is None else limits.people,
        seconds=before.seconds if limits.seconds is None else limits.seconds,
        watched=before.watched if limits.watched is None else limits.watched,
        allowed=allowed,
        ports=ports,
    )


def _narrow(kind: str, rule: Rule, what: str) -> Rule:
    if kind == "tcp":
        kept = tuple(pair for pair in rule.ports if pair != _read_range(what))
        if len(kept) == len(rule.ports):
            said = ", ".join(say_ports(rule))
            raise Refused(f"Expected one of the ranges {said}.", reason="not_allowed")
        return replace(rule, ports=kept)
    if what not in rule.allowed:
        raise Refused(
            f"The policy allows no {kind} {what[:80]!r}, but {', '.join(rule.allowed) or 'all'}.",
            reason="not_allowed",
        )
    return replace(rule, allowed=tuple(each for each in rule.allowed if each != what))


def say_ports(rule: Rule) -> list[str]:
    """Return a rule's ports as a person types them."""
    return [str(a) if a == b else f"{a}-{b}" for a, b in rule.ports]


def say_allowed(kind: str, rule: Rule) -> str:
    """Return what a rule allows, in words."""
    what = ", ".join(say_ports(rule) if kind == "tcp" else rule.allowed).replace(ANY, "all")
    people = "1 person says yes" if rule.threshold == 1 else f"{rule.threshold} people say yes"
    watched = ", watched" if rule.watched else ""
    if rule.signers:
        watched += f", signed by {' or '.join(rule.signers)}"
    return f"{kind} {what}".rstrip() + f": {rule.seconds // 60} min at most, {people}{watched}"


def _read_range(what: str) -> tuple[int, int]:
    first, dash, last = what.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()) or len(what) > 11:
        raise Malformed(f"Expected {_EXAMPLES['tcp']}, got {what[:40]!r}.", reason="bad_scope")
    return int(first), int(last or first)


def _check_never(what: str, never: tuple[int, ...]) -> None:
    first, last = _read_range(what)
    if first == last and first in never:
        raise Refused(
            f"Port {first} is on your list of ports that are never opened. Change that list first: "
            "`fleetward owner policy set ports`.",
            reason="port_never",
        )


def checked(access: AccessRules) -> AccessRules:
    """Return the rules as a machine will read them. Raises `Malformed` for what it would refuse."""
    rules = access.rules or {}
    for rule in rules.values():
        if not 1 <= rule.seconds <= MAX_SECONDS:
            raise Malformed(
                f"Expected a session of at most {MAX_SECONDS // 3600} hours.", reason="too_long"
            )
    return read_access(make_access(access))
