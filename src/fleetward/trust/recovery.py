"""Recovery keys: what a policy says of them, and what a policy that they sign may change.

An owner who loses the keys that sign policies would lose his machines. So a policy may name
recovery keys, kept apart, which together sign a next policy when nobody else can. That policy
takes effect on a machine only after a delay, and any ordinary next policy, signed by the present
keys, takes its place meanwhile: whoever stole recovery keys and not the present ones is vetoed.

    {"delay_seconds": 604800, "keys": ["…key id…", "…"], "threshold": 2}

Rules (the numbers go on from those of `policy`):

11. Recovery keys stand in `keys`, are no passkeys, and are in no role and ask for no session: a
    stolen one can do nothing at once. Their threshold counts people. The delay is one to 90 days.
12. A recovered policy is the next version, of the same owner and epoch, signed by the recovery
    threshold of the policy before and by the threshold of its own role `policy`.
13. It may change `keys`, `roles`, `recovery` (but not to a shorter delay) and `openings`, and take
    entries out of `access`. Everything else is as before: the roots, the recording key among them,
    the ports that no grant opens, the lease, and every field that a later release adds.
14. It takes effect when its machine has waited (`documents.advance`); who has no machine's powers
    (a server, an auditor, a technician) takes it as the owner's word, and says how it came about.

What a recovered policy may not change, the policy after it may: rule 13 keeps one step small and
legible, so that whoever has to decide upon a veto sees new people, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.envelope import Role, RoleKey
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.root import check_threshold

MIN_DELAY_SECONDS: Final = 86_400
"""A day: shorter, and nobody would hear of it in time to say no."""
MAX_DELAY_SECONDS: Final = 90 * 86_400
"""Longer, and the machines would be without orders for a quarter of a year."""
MAX_RECOVERY_KEYS: Final = 32
FREE_FIELDS: Final = frozenset(
    {"access", "issued_at", "keys", "openings", "recovery", "roles", "version"}
)
"""What a recovered policy may change, each as rule 13 says."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """Who may recover, how many of them it takes, and how long machines wait."""

    role: Role
    delay_seconds: int

    def to_json(self) -> JsonObject:
        """Return the field as it stands in a policy."""
        return make_recovery(tuple(self.role.keys), self.role.threshold, self.delay_seconds)


def make_recovery(keys: tuple[str, ...], threshold: int, delay_seconds: int) -> JsonObject:
    """Return the policy's field `recovery`, as `read_recovery` reads it."""
    return {"delay_seconds": delay_seconds, "keys": list(keys), "threshold": threshold}


def read_recovery(value: Json, keys: Mapping[str, RoleKey], used: frozenset[str]) -> Recovery:
    """Return the recovery keys of a policy (rule 11). Raises `Malformed`.

    `keys` are the policy's; `used` are those that are in a role or ask for sessions.
    """
    fields = Fields(value, "the recovery", {"delay_seconds", "keys", "threshold"})
    ids = fields.texts("keys", most=MAX_RECOVERY_KEYS)
    for key_id in ids:
        holder = keys.get(key_id)
        if holder is None or holder.passkey is not None or key_id in used:
            raise Malformed(
                f"Expected a recovery key of the policy that does nothing else: {key_id[:64]!r}.",
                reason="bad_role",
            )
    members = {key_id: keys[key_id] for key_id in ids}
    threshold = fields.integer("threshold")
    check_threshold("recovery", {holder.person for holder in members.values()}, threshold)
    return Recovery(
        role=Role("recovery", MappingProxyType(members), threshold),
        delay_seconds=fields.integer(
            "delay_seconds", low=MIN_DELAY_SECONDS, high=MAX_DELAY_SECONDS
        ),
    )


def check_recovered(before: JsonObject, after: JsonObject) -> None:
    """Return when a recovered policy changes nothing but what rule 13 lets it. Raises `Untrusted`.

    Both are payloads that were parsed. They are compared as they were signed, so that a field
    that is not known here is not free either.
    """
    for name in sorted({*before, *after} - FREE_FIELDS):
        if name not in before or name not in after or before[name] != after[name]:
            raise _touched(name)
    _check_delay(before.get("recovery"), after.get("recovery"))
    _check_narrowed(before.get("access"), after.get("access"))


def _check_delay(before: Json | None, after: Json | None) -> None:
    if not isinstance(after, dict) or not isinstance(before, dict):
        return
    old, new = before.get("delay_seconds"), after.get("delay_seconds")
    if not isinstance(old, int) or not isinstance(new, int) or new < old:
        raise _touched("recovery")


def _check_narrowed(before: Json | None, after: Json | None) -> None:
    """Check that `access` lost entries at most: a kind of scope, or a person who asks."""
    if after is None or after == before:
        return
    if not isinstance(before, dict) or not isinstance(after, dict):
        raise _touched("access")
    for name, value in after.items():
        was = before.get(name)
        if name == "requesters" and isinstance(value, list) and isinstance(was, list):
            if any(each not in was for each in value):
                raise _touched("access")
        elif name not in before or value != was:
            raise _touched("access")


def _touched(name: str) -> Untrusted:
    return Untrusted(
        f"A recovered policy names new people and changes nothing else; this one changes {name!r}. "
        "Change it by an ordinary policy after the recovery.",
        reason="recovery_too_wide",
    )
