"""Changes of the policy's rules for BREAK-GLASS: who stands in for the approvers, and for what.

Each is a change of a draft, signed and adopted as every other change of the policy is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from fleetward.keyholder.access.policy_rules import Limits, say_allowed, widen_rule
from fleetward.keyholder.signing import Person, PolicyDraft
from fleetward.trust.access import AccessRules
from fleetward.trust.access_rule import Rule
from fleetward.trust.break_glass import LEAST_PEOPLE, MAX_BREAK_GLASS_SECONDS, BreakGlass
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.keys import PublicKey
from fleetward.trust.policy import Policy

Change: TypeAlias = Callable[[PolicyDraft], PolicyDraft]
DEFAULT_SECONDS: Final = 1800


@dataclass(frozen=True, slots=True)
class StandIns:
    """Who says yes when the approvers are away: people of the policy, and keys of others."""

    people: tuple[str, ...]
    keys: tuple[tuple[str, PublicKey], ...] = ()


def set_break_glass(
    who: StandIns, allowed: Sequence[str], limits: Limits, threshold: int = LEAST_PEOPLE
) -> Change:
    """Return the change that lets machines be entered when the approvers are away.

    `allowed` are kinds with what stands behind them, as `root`, `terminal:app`, `tcp:8080`. It
    takes the place of all that was said about it before. Raises `Malformed` for a bad one.
    """
    seconds = DEFAULT_SECONDS if limits.seconds is None else limits.seconds
    if not 1 <= seconds <= MAX_BREAK_GLASS_SECONDS:
        raise Malformed(
            f"Expected BREAK-GLASS of at most {MAX_BREAK_GLASS_SECONDS // 3600} hours.",
            reason="too_long",
        )
    if not allowed:
        raise Malformed(
            "Say what may be entered by --allow, as --allow root or --allow tcp:8080.",
            reason="nothing_allowed",
        )
    rules: dict[str, Rule] = {}
    for text in allowed:
        kind, _, what = text.partition(":")
        each = Limits(seconds, threshold, limits.watched)
        rules[kind] = widen_rule(kind, rules.get(kind), what, each)

    def change(draft: PolicyDraft) -> PolicyDraft:
        known = {p.key.key_id for p in draft.people}
        new = [Person(key, name, "") for name, key in who.keys if key.key_id not in known]
        people = (*draft.people, *new)
        keys = [key.key_id for _, key in who.keys]
        for name in who.people:
            found = [p.key.key_id for p in people if p.person == name and p.key.key_id not in keys]
            if not found:
                raise Refused(f"The policy knows no {name[:80]!r}.", reason="unknown_person")
            keys += found
        _check_enough({p.person for p in people if p.key.key_id in keys}, threshold)
        if not draft.roots.recording_key:
            raise Refused(
                "The policy names no recording key, and no session is opened unrecorded.",
                reason="no_recording_key",
            )
        access = draft.access or AccessRules(rules={})
        glass = BreakGlass(tuple(dict.fromkeys(keys)), threshold, seconds, rules)
        return replace(draft, people=people, access=replace(access, break_glass=glass))

    return change


def remove_break_glass() -> Change:
    """Return the change after which nobody breaks in. Keys that it named stay in the policy."""

    def change(draft: PolicyDraft) -> PolicyDraft:
        if draft.access is None or draft.access.break_glass is None:
            raise Refused("The policy has no rules for BREAK-GLASS.", reason="no_break_glass")
        return replace(draft, access=replace(draft.access, break_glass=None))

    return change


def keep_break_glass(access: AccessRules, gone: set[str]) -> BreakGlass | None:
    """Return the rules without the keys in `gone`. That enough stay, whoever adopts checks."""
    rules = access.break_glass
    if rules is None:
        return None
    return replace(rules, keys=tuple(key_id for key_id in rules.keys if key_id not in gone))


def describe_break_glass(policy: Policy) -> dict[str, object]:
    """Return the rules as JSON; empty where there are none."""
    rules = policy.access.break_glass
    if rules is None:
        return {}
    return {
        "people": sorted({policy.keys[key_id].person for key_id in rules.keys}),
        "keys": list(rules.keys),
        "threshold": rules.threshold,
        "seconds": rules.seconds,
        "allowed": [say_allowed(kind, rule) for kind, rule in rules.rules.items()],
    }


def tell_break_glass(policy: Policy) -> str:
    """Return the rules for a person."""
    rules = policy.access.break_glass
    if rules is None:
        return (
            "Nobody breaks in: without your approvers nothing opens. "
            "`fleetward owner policy break-glass set` names who stands in for them."
        )
    people = sorted({policy.keys[key_id].person for key_id in rules.keys})
    lines = [
        f"BREAK-GLASS: {rules.threshold} of {', '.join(people)} say yes, for "
        f"{rules.seconds // 60} min at most, and somebody presses at the machine.",
        *(f"  {say_allowed(kind, rule)}" for kind, rule in rules.rules.items()),
    ]
    return "\n".join(lines)


def _check_enough(people: set[str], threshold: int) -> None:
    if len(people) < max(LEAST_PEOPLE, threshold):
        raise Refused(
            f"BREAK-GLASS takes {max(LEAST_PEOPLE, threshold)} people, and you named "
            f"{', '.join(sorted(people)) or 'nobody'}. Name more by --person or --key.",
            reason="too_few_people",
        )
