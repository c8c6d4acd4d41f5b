"""The drill's attacks on sessions, against a machine that holds a true offer all the while.

What the thief has are the papers of true sessions and the server's keys. The machine refuses each,
opens nothing, and still opens what its owner truly allowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.access_world import TERMINAL
from tests.trust_world import NOW_MS, resign
from tests.unit.device.session_guard import SessionGuard

from fleetward.runtime.keys import make_key
from fleetward.server.drill.attack import Attack
from fleetward.server.drill.session_attacks import Papers, make_session_attacks
from fleetward.trust.canonical import from_base64url
from fleetward.trust.keys import ED25519
from fleetward.wire.orders import Order

ALONE, ANOTHER_KEY, OTHERWISE = "session-alone", "grant-another-key", "signed-otherwise"


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[SessionGuard]:
    made = SessionGuard.make(tmp_path)
    yield made
    made.close()


class Held:
    """The owner's documents as the server has them."""

    def __init__(self, guard: SessionGuard) -> None:
        view = guard.core.gate.view
        self.root, self.policy = view.root, view.policy
        assert view.roster is not None
        assert view.head is not None
        self.roster, self.head = view.roster, view.head


def attacks_of(guard: SessionGuard, papers: Papers) -> dict[str, Attack]:
    """Make the attacks with two keys, as the server has."""
    stolen = [make_key(ED25519), make_key(ED25519)]
    return {a.id: a for a in make_session_attacks(Held(guard), papers, stolen, NOW_MS)}


def refusals(guard: SessionGuard, attack: Attack) -> list[str]:
    """Push all of an attack; return the rules that the machine names."""
    orders = [msgspec.json.decode(payload, type=Order) for payload in attack.payloads]
    return [guard.refusal(from_base64url(order.envelope)) for order in orders]


def belief(guard: SessionGuard) -> tuple[object, ...]:
    """Return what must not change."""
    sessions = guard.core.sessions
    return (
        guard.core.gate.view, dict(sessions.live), set(sessions.kept.sessions),
        len(guard.entries("session.offered")), len(guard.entries("session.opened")),
    )  # fmt: skip


def test_with_the_papers_of_a_session_that_waits_and_of_one_that_was(guard: SessionGuard) -> None:
    used, offer = guard.ask()
    grant = guard.access.grant(used, offer)
    guard.push(grant)
    assert guard.doors is not None
    guard.doors.take().end()
    guard.tick(1000)
    waiting, offer = guard.ask()
    papers = Papers(guard.access.machine.device, waiting.raw, offer.raw, grant, used.raw)
    before = belief(guard)
    attacks = attacks_of(guard, papers)
    assert {name: refusals(guard, attack) for name, attack in attacks.items()} == {
        ALONE: ["unknown_requester", "another_offer"],
        ANOTHER_KEY: ["too_few_signatures"],
        OTHERWISE: ["bad_signature", "another_offer"],
    }
    assert belief(guard) == before
    # The true one still opens.
    guard.push(guard.access.grant(waiting, offer))
    assert guard.doors.opened == 2


def test_a_true_grant_widened_before_the_machine_has_it(guard: SessionGuard) -> None:
    request, offer = guard.ask()
    grant = guard.access.grant(request, offer)
    papers = Papers(guard.access.machine.device, request.raw, offer.raw, grant, request.raw)
    changed = attacks_of(guard, papers)[OTHERWISE]
    before = belief(guard)
    # Root was not asked for; were it, the signature would not be over these words.
    assert refusals(guard, changed) == ["bad_signature", "wider_than_request"]
    assert belief(guard) == before
    guard.push(grant)


def test_where_nobody_has_asked_yet(guard: SessionGuard) -> None:
    before = belief(guard)
    attacks = attacks_of(guard, Papers(guard.access.machine.device))
    found = {name: refusals(guard, attack) for name, attack in attacks.items()}
    assert found == {
        ALONE: ["unknown_requester", "another_offer"],
        ANOTHER_KEY: ["another_offer"],
        OTHERWISE: ["unknown_requester", "another_offer"],
    }
    assert belief(guard) == before


def test_the_requester_says_yes_to_himself(guard: SessionGuard) -> None:
    request, offer = guard.ask(TERMINAL)
    before = belief(guard)
    grant = guard.access.grant(request, offer)
    assert guard.refusal(resign(grant, {}, [guard.access.technician])) == "too_few_signatures"
    assert belief(guard) == before
