"""A machine whose owner lets two of three people break in, when the approvers are away.

Ada and Ben are the approvers. Ada, Ben and Cleo hold the break-glass keys; Cleo has two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.access_world import RULES, AccessWorld
from tests.trust_world import key_row, payload_of
from tests.unit.device.session_guard import HeldDoors, SessionGuard

from fleetward.runtime.keys import make_key
from fleetward.trust.access import RootScope, make_access
from fleetward.trust.access_rule import Rule
from fleetward.trust.break_glass import BreakGlass
from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.grants.offer import Offer
from fleetward.trust.grants.request import Request
from fleetward.trust.keys import ED25519, ES256, Signer

ROOT: Final = RootScope()


@dataclass
class BreakGlassKeys:
    """The keys that stand in for the approvers."""

    cleo: tuple[Signer, Signer]
    dan: Signer

    @property
    def two_people(self) -> list[Signer]:
        """Keys of two people."""
        return [self.cleo[0], self.dan]

    @property
    def one_person(self) -> list[Signer]:
        """Two keys of one person."""
        return list(self.cleo)


def break_glass_of(keys: Sequence[Signer], **changes: int) -> BreakGlass:
    """Return rules under which the machine may be entered as root, for half an hour."""
    return BreakGlass(
        keys=tuple(key.public.key_id for key in keys),
        threshold=changes.get("threshold", 2),
        seconds=changes.get("seconds", 1800),
        rules={
            "root": Rule(1, 900, watched=False),
            "tcp": Rule(2, 900, watched=False, ports=((22, 22), (8080, 8080))),
        },
    )


def allow_break_glass(world: AccessWorld, technician: str = "tom") -> BreakGlassKeys:
    """Sign the next policy, under which Cleo and Dan may let somebody break in."""
    keys = BreakGlassKeys((make_key(ED25519), make_key(ES256)), make_key(ED25519))
    mine: list[tuple[Signer, str]] = [
        (keys.cleo[0], "cleo"), (keys.cleo[1], "cleo"), (keys.dan, "dan"),
    ]  # fmt: skip
    set_break_glass(world, break_glass_of([key for key, _ in mine]), mine)
    del technician
    return keys


def set_break_glass(
    world: AccessWorld, rules: BreakGlass | None, more: Sequence[tuple[Signer, str]] = ()
) -> None:
    """Sign the next policy with these break-glass rules and further people."""
    payload = payload_of(world.trust.policy.raw)
    old = payload["keys"]
    assert isinstance(old, list)
    rows: list[Json] = [*old, *(key_row(key.public, person) for key, person in more)]
    access = world.trust.policy.access
    from dataclasses import replace

    said: JsonObject = make_access(replace(access, break_glass=rules))
    world.trust.next_policy({"access": said, "keys": rows})


@dataclass
class BreakGlassGuard:
    """A whole guard, and the people who break in."""

    guard: SessionGuard
    keys: BreakGlassKeys

    @classmethod
    def make(cls, folder: Path, *, sandbox: str = "bubblewrap") -> BreakGlassGuard:
        """Return a machine under a policy with break-glass rules."""
        guard = SessionGuard.make(folder, RULES, doors=HeldDoors(sandbox))
        keys = allow_break_glass(guard.access)
        guard.access.trust.publish()
        guard.publish()
        return cls(guard, keys)

    def ask(self) -> tuple[Request, Offer]:
        """Have the technician ask to break in."""
        return self.guard.ask(ROOT, break_glass=True)

    def grant(self, asked: tuple[Request, Offer], signers: Sequence[Signer] | None = None) -> bytes:
        """Return a grant by two people, unless others sign."""
        who = self.keys.two_people if signers is None else list(signers)
        return self.guard.access.grant(*asked, None, who)

    def hold(self) -> str:
        """Have a grant wait for a press; return its hash."""
        from fleetward.trust.envelope import read_envelope

        grant = self.grant(self.ask())
        self.guard.push(grant)
        return read_envelope(grant).hash

    @property
    def opened(self) -> int:
        """How many sessions were started."""
        assert self.guard.doors is not None
        return self.guard.doors.opened
