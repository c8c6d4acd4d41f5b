"""A guard that keeps what was allowed ahead, for tests: documents, entries, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.access_world import RULES
from tests.standing_world import Ahead
from tests.unit.device.session_guard import HeldDoors, Opened, SessionGuard

from fleetward.trust.access import AccessRules
from fleetward.trust.canonical import from_base64url
from fleetward.trust.grants.standing import Standing
from fleetward.trust.grants.standing_state import verify_state

Make = Callable[..., SessionGuard]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[SessionGuard] = []

    def make_one(rules: AccessRules = RULES, **how: Any) -> SessionGuard:
        guard = SessionGuard.make(tmp_path, rules, **how)
        made.append(guard)
        return guard

    yield make_one
    for guard in made:
        guard.close()


@pytest.fixture
def guard(make: Make) -> SessionGuard:
    return make()


def ahead_of(guard: SessionGuard) -> Ahead:
    return Ahead(guard.access)


def doors_of(guard: SessionGuard) -> HeldDoors:
    assert guard.doors is not None
    return guard.doors


def held(guard: SessionGuard, **changes: Any) -> Standing:
    """Have the machine keep a document."""
    standing = ahead_of(guard).standing(**changes)
    guard.push(standing.raw)
    return standing


def asked(guard: SessionGuard, standing: Standing, window: int = 0, **how: Any) -> bytes:
    """Have the technician ask, and return his entry."""
    request, offer = guard.ask(**how)
    return ahead_of(guard).entry(standing, request, offer, window)


def enter(guard: SessionGuard, standing: Standing, window: int = 0) -> Opened:
    """Use a window, and be the session."""
    guard.push(asked(guard, standing, window))
    return doors_of(guard).take()


def refuse(guard: SessionGuard, envelope: bytes) -> str:
    """Hand over what must be refused; see that nothing opened, and return the rule."""
    before = doors_of(guard).opened
    reason = guard.refusal(envelope)
    assert doors_of(guard).opened == before
    return reason


def states(guard: SessionGuard, standing: str) -> list[str]:
    """Take the notes; return what the machine signed about a document."""
    key, owner = guard.access.machine.key, guard.access.trust.owner
    return [
        verify_state(from_base64url(note.envelope), key, owner).state
        for note in guard.notes()
        if (note.kind, note.subject) == ("standing", standing)
    ]


def publish(guard: SessionGuard) -> None:
    """Hand newer documents of the owner over."""
    guard.access.trust.publish()
    guard.publish()


def new_policy(guard: SessionGuard, rules: AccessRules) -> None:
    guard.access.set_rules(rules)
    publish(guard)


def refresh(guard: SessionGuard) -> None:
    """Have the owner sign a lease now."""
    guard.access.trust.lease(at_ms=guard.clock.wall)
    guard.publish()


def name_requesters(guard: SessionGuard, people: dict[str, Any]) -> None:
    """Sign a policy whose requesters are these."""
    guard.access.name_requesters(people)
    publish(guard)
