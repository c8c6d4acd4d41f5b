"""A maker who signs runbooks, and an owner who lets them be run.

>>> book = Maker().sign(make_steps(["/bin/echo", Hole("what")]), WORD)
>>> scope = scope_of(book, what="hello")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tests.access_world import AccessWorld
from tests.trust_world import key_row, payload_of

from fleetward.runtime.keys import make_key
from fleetward.trust.access import AccessRules, make_access
from fleetward.trust.access_rule import Rule
from fleetward.trust.access_runbook import RunbookScope
from fleetward.trust.canonical import Json
from fleetward.trust.envelope import seal
from fleetward.trust.keys import ED25519, Signer
from fleetward.trust.runbook import (
    Argument,
    Hole,
    Runbook,
    StepWord,
    TextArgument,
    make_runbook_payload,
    read_runbook,
)

WORD: Final = TextArgument("what", ("lower", "digit", "dash", "dot", "slash"), 1, 64)


@dataclass(frozen=True)
class Maker:
    """Who signs runbooks."""

    key: Signer = field(default_factory=lambda: make_key(ED25519))

    def sign(
        self,
        steps: Sequence[Sequence[StepWord]],
        *arguments: Argument,
        run_as: str = "app",
        seconds: int = 60,
        **changes: Json,
    ) -> Runbook:
        """Return a signed runbook, whose payload has these changes."""
        wanted = Runbook(
            "support-bundle",
            1,
            "Collect what support asks for.",
            self.key.public.key_id,
            run_as,
            seconds,
            arguments,
            tuple(tuple(step) for step in steps),
        )
        payload = {**make_runbook_payload(wanted), **changes}
        return read_runbook(seal(payload, [self.key]))


def scope_of(book: Runbook, **arguments: str) -> RunbookScope:
    """Return the scope of one run."""
    return RunbookScope(book.digest, book.run_as, tuple(sorted(arguments.items())))


def let_runbooks(
    world: AccessWorld,
    maker: Maker,
    *,
    digests: Sequence[str] = ("*",),
    rules: Mapping[str, Rule] | None = None,
    **limits: Any,
) -> None:
    """Sign the next policy, in which the maker's runbooks may be run."""
    access = world.trust.policy.access
    rule = Rule(
        limits.get("threshold", 1),
        limits.get("seconds", 3600),
        watched=limits.get("watched", False),
        allowed=tuple(digests),
        signers=(maker.key.public.key_id,),
    )
    said = AccessRules(
        access.requesters, {**(access.rules or {}), **(rules or {}), "runbook": rule}, access.walls
    )
    keys: list[Json] = list(payload_of(world.trust.policy.raw)["keys"])  # type: ignore[arg-type]
    if maker.key.public.key_id not in world.trust.policy.keys:
        keys.append(key_row(maker.key.public, "mia", "Pumps Ltd"))
    world.trust.next_policy({"access": make_access(said), "keys": keys})


def forbid_runbooks(world: AccessWorld) -> None:
    """Sign the next policy, in which nobody's runbooks may be run any more."""
    access = world.trust.policy.access
    rules = {kind: rule for kind, rule in (access.rules or {}).items() if kind != "runbook"}
    world.trust.next_policy({"access": make_access(replace(access, rules=rules))})


__all__ = ["WORD", "Hole", "Maker", "forbid_runbooks", "let_runbooks", "scope_of"]
