"""Who may ask for sessions, and for what, as the owner's tools show it."""

from __future__ import annotations

from typing import Any

from fleetward.keyholder.access.break_glass_rules import tell_break_glass
from fleetward.keyholder.access.policy_rules import say_allowed
from fleetward.trust.access import make_access
from fleetward.trust.policy import Policy
from fleetward.trust.sayings import say_person
from fleetward.trust.words import device_words


def describe_requesters(policy: Policy) -> list[dict[str, Any]]:
    """Return who may ask for sessions, with the words by which his key is compared."""
    return [
        {
            "key_id": key_id,
            "person": policy.keys[key_id].person,
            "org": policy.orgs.get(key_id, ""),
            "words": device_words(policy.owner, key_id),
            "may_delegate": key_id in policy.access.delegators,
        }
        for key_id in policy.access.requesters
    ]


def describe_rules(policy: Policy) -> dict[str, Any]:
    """Return who may ask for what, as a JSON document shows it."""
    rules = make_access(policy.access)
    return {
        "requesters": describe_requesters(policy),
        "walls": policy.access.walls,
        "rules": {kind: rules[kind] for kind in policy.access.rules or {}},
    }


def describe_access(policy: Policy) -> dict[str, Any]:
    """Return the same with the policy in which it stands."""
    return {
        "version": policy.version,
        "hash": policy.hash,
        "never_ports": list(policy.never_ports),
        **describe_rules(policy),
    }


def tell_access(policy: Policy) -> str:
    """Return the same in lines for a person."""
    people = describe_requesters(policy)
    asking = [f"  {say_person(who['person'], who['org'])}: {who['words']}" for who in people]
    rules = [f"  {say_allowed(kind, rule)}" for kind, rule in (policy.access.rules or {}).items()]
    lines = ["May ask:", *(asking or ["  nobody"]), "For:", *(rules or ["  nothing"])]
    if policy.access.break_glass is not None:
        lines.append(tell_break_glass(policy))
    if policy.access.walls == "sandbox":
        lines.append("Only on machines that put a session into a sandbox.")
    return "\n".join(lines)
