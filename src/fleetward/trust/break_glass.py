"""What the owner lets happen when his usual approvers are not there and a machine must be entered.

The policy's rules for sessions have an optional field `break_glass`; without it nobody breaks in:

    {"keys": ["…", "…"], "kinds": {"root": {…}}, "seconds": 3600, "threshold": 2}

1. `keys` are keys of the policy, of at least two people, who say yes instead of the approvers.
2. Two of them say so, or more; the one who asks is none of them.
3. `kinds` are rules like those of every day, for these sessions alone; `seconds` bounds them all.
4. A request and a grant say `break_glass` themselves, so that everybody who sees them sees it.
   What says so is judged by these rules alone, and what does not, never.
5. That somebody has to press at the machine besides is the machine's part: see `device.presses`.

Nothing here judges: that is `trust.grants`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fleetward.trust.canonical import JsonObject
from fleetward.trust.errors import Malformed
from fleetward.trust.fields import Fields, require_key_id

if TYPE_CHECKING:
    from fleetward.trust.access_rule import Rule
    from fleetward.trust.envelope import RoleKey

LEAST_PEOPLE: Final = 2
"""One person alone never breaks in, whatever else the owner writes down."""
MAX_BREAK_GLASS_KEYS: Final = 32
MAX_BREAK_GLASS_SECONDS: Final = 8 * 3600
"""A shift: whoever has to stay longer has had the time to find the usual approvers."""


@dataclass(frozen=True, slots=True)
class BreakGlass:
    """Who says yes when the usual approvers are away, and to what."""

    keys: tuple[str, ...]
    threshold: int
    seconds: int
    rules: Mapping[str, Rule]


def read_break_glass(
    value: JsonObject, read_rule: Callable[[str, JsonObject], Rule], kinds: tuple[str, ...]
) -> BreakGlass:
    """Return the rules of the field `break_glass`. Raises `Malformed`.

    That its keys are of enough people is for `check_people` to say: only the policy has the people.
    """
    fields = Fields(value, "the break-glass rules", {"keys", "kinds", "seconds", "threshold"})
    keys = fields.texts("keys", most=MAX_BREAK_GLASS_KEYS)
    named = Fields(fields.map("kinds"), "the break-glass kinds", set(), set(kinds))
    return BreakGlass(
        keys=tuple(require_key_id(key, "a break-glass key") for key in keys),
        threshold=fields.integer("threshold", low=LEAST_PEOPLE, high=MAX_BREAK_GLASS_KEYS),
        seconds=fields.integer("seconds", low=1, high=MAX_BREAK_GLASS_SECONDS),
        rules={kind: read_rule(kind, named.map(kind)) for kind in kinds if named.has(kind)},
    )


def make_break_glass(rules: BreakGlass, make_rule: Callable[[str, Rule], JsonObject]) -> JsonObject:
    """Return the field `break_glass` for these rules, as `read_break_glass` reads it."""
    return {
        "keys": list(rules.keys),
        "kinds": {kind: make_rule(kind, rule) for kind, rule in rules.rules.items()},
        "seconds": rules.seconds,
        "threshold": rules.threshold,
    }


def check_people(rules: BreakGlass, keys: Mapping[str, RoleKey]) -> None:
    """Return when the keys are the policy's and of enough people. Raises `Malformed`."""
    for key_id in rules.keys:
        if key_id not in keys:
            raise Malformed(
                f"A break-glass key is none of the policy: {key_id!r}.", reason="bad_role"
            )
    people = {keys[key_id].person for key_id in rules.keys}
    if len(people) < max(LEAST_PEOPLE, rules.threshold):
        raise Malformed(
            f"Expected break-glass keys of at least {max(LEAST_PEOPLE, rules.threshold)} people; "
            f"these are of {len(people)}.",
            reason="bad_threshold",
        )


def read_mark(fields: Fields) -> bool:
    """Return whether a signed document says `break_glass`. Raises `Malformed`.

    The field is there and true, or it is not there: one meaning has one writing.
    """
    if not fields.has("break_glass"):
        return False
    if not fields.boolean("break_glass"):
        raise Malformed("Expected break_glass to be true, or not there.", reason="bad_field")
    return True
