"""Who is sent in somebody's place gets no more than he was given, and no second hat by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.access_world import PAGE, TERMINAL, AccessWorld
from tests.attack.test_session_gate import doors_of, refuse
from tests.trust_world import NOW_MS, alter, key_row, payload_of, resign
from tests.unit.device.session_guard import SessionGuard

from fleetward.device.gate_sessions import MOST_OFFERS_EACH
from fleetward.runtime.keys import FileSigner, make_key
from fleetward.trust.canonical import Json, to_base64url
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.errors import FleetwardError, Malformed, Untrusted
from fleetward.trust.grants.ending import make_beat_payload, verify_beat, verify_stop
from fleetward.trust.grants.ending import make_stop_payload as stop_payload
from fleetward.trust.grants.offer import Offer
from fleetward.trust.grants.request import Request, verify_request
from fleetward.trust.keys import ED25519


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[SessionGuard]:
    guard = SessionGuard.make(tmp_path)
    guard.access.let_delegate()
    renew(guard)
    yield guard
    guard.close()


def renew(guard: SessionGuard) -> None:
    """Hand the owner's newest policy to the machine."""
    guard.access.trust.publish()
    guard.publish()


def offered(guard: SessionGuard, raw: bytes) -> tuple[Request, Offer]:
    """Push a request, and return it with the machine's offer."""
    guard.push(raw)
    request = verify_request(raw, guard.access.trust.policy, guard.access.machine.device)
    return request, guard.offer_to(request)


@pytest.fixture
def ana() -> FileSigner:
    return make_key(ED25519)


def sent(guard: SessionGuard, ana: FileSigner) -> bytes:
    world = guard.access
    return world.delegated_request(ana, world.delegate(ana.public))


def test_a_delegate_enters_and_everybody_reads_who_sent_him(
    guard: SessionGuard, ana: FileSigner
) -> None:
    guard.push(sent(guard, ana))
    (entry,) = guard.entries("session.offered")
    assert entry["person"] == "ana"
    assert entry["org"] == "Drives Ltd, sent by tom of Makers Ltd"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("devices", ["b" * 32]),
        ("scopes", [{"kind": "root"}]),
        ("seconds", 3600),
        ("not_after", NOW_MS + 80 * 86_400_000),
        ("person", "another"),
        ("epoch", 2),
        ("owner", "0" * 64),
        ("more", 1),
    ],
)
def test_a_delegation_of_which_a_field_was_changed(
    guard: SessionGuard, ana: FileSigner, name: str, value: Json
) -> None:
    world = guard.access
    altered = alter(world.delegate(ana.public), {name: value})
    refuse(guard, world.delegated_request(ana, altered))


def test_a_delegate_delegates_nothing(guard: SessionGuard, ana: FileSigner) -> None:
    world, next_ = guard.access, make_key(ED25519)
    chained = {**world.delegation_payload(next_.public), "delegator": ana.public.key_id}
    request = world.delegated_request(next_, seal(chained, [ana]))
    assert refuse(guard, request) == "unknown_delegator"


def test_a_delegation_that_is_put_into_another_persons_request(
    guard: SessionGuard, ana: FileSigner
) -> None:
    world = guard.access
    delegation = world.delegate(ana.public)
    # Tom himself shows it: then he would ask under a narrower word than his own, or a wider one.
    payload = {**world.request_payload(), "delegation": to_base64url(delegation)}
    assert refuse(guard, seal(payload, [world.technician])) == "unknown_requester"
    # The server takes it away from the one, and gives it to a key of its own.
    thief = make_key(ED25519)
    assert refuse(guard, world.delegated_request(thief, delegation)) == "unknown_requester"


@pytest.mark.parametrize(
    "named",
    [
        "ada",
        "tom",
        "ada ",
        "a\u200bda",
        "Ada",
        "ad\uff41",
        "ada\u034f",
        "\u00adada",
        "a\u1160da",
        "\u200b",
        "\u3164",
    ],
)
def test_a_delegate_under_the_name_of_somebody_known(
    guard: SessionGuard, ana: FileSigner, named: str
) -> None:
    """Or one that reads like it: an approver could be shut out, or pass as two."""
    world = guard.access
    payload = {**world.delegation_payload(ana.public), "person": named}
    request = world.delegated_request(ana, seal(payload, [world.technician]))
    assert refuse(guard, request) == "known_delegate"


def test_an_approvers_key_as_the_delegates(guard: SessionGuard) -> None:
    world = guard.access
    ada = world.trust.signers[0]
    request = world.delegated_request(ada, world.delegate(ada.public))
    assert refuse(guard, request) == "known_delegate"


def test_who_sent_him_neither_approves_nor_watches(ana: FileSigner) -> None:
    """Tom asks and approves for the owner, too; then his yes counts neither for him nor for Ana."""
    world = AccessWorld.make(technician="tom")
    world.let_delegate()
    second = make_key(ED25519)
    payload = payload_of(world.trust.policy.raw)
    roles, keys = payload["roles"], payload["keys"]
    assert isinstance(roles, dict)
    assert isinstance(keys, list)
    approve = roles["approve"]
    assert isinstance(approve, dict)
    approving = {**approve, "keys": [*approve["keys"], second.public.key_id]}  # type: ignore[misc]
    world.trust.next_policy(
        {"roles": {**roles, "approve": approving}, "keys": [*keys, key_row(second.public, "tom")]}
    )
    raw = world.delegated_request(ana, world.delegate(ana.public))
    request = verify_request(raw, world.trust.policy, world.machine.device)
    offer = world.offer(request)
    with pytest.raises(Untrusted) as refused:
        world.judge(world.grant(request, offer, signers=[second]), request, offer)
    assert refused.value.reason == "too_few_signatures"
    grant = world.judge(world.grant(request, offer), request, offer)
    beat = seal(make_beat_payload(world.trust.policy, grant.hash, 1), [second])
    with pytest.raises(Untrusted) as unseen:
        verify_beat(beat, world.trust.policy, grant, 0)
    assert unseen.value.reason == "watches_himself"
    # Who asks may stop, and so may nobody whom he resembles.
    stop = seal(stop_payload(world.trust.policy, grant.hash, "done", NOW_MS), [ana])
    assert verify_stop(stop, world.trust.policy, grant).person == "ana"
    other = seal(stop_payload(world.trust.policy, grant.hash, "no", NOW_MS), [make_key(ED25519)])
    with pytest.raises(Untrusted):
        verify_stop(other, world.trust.policy, grant)


def test_a_session_would_outlast_its_delegation(guard: SessionGuard, ana: FileSigner) -> None:
    world = guard.access
    payload = {**world.delegation_payload(ana.public), "not_after": NOW_MS + 599_000}
    request = world.delegated_request(ana, seal(payload, [world.technician]))
    assert refuse(guard, request) == "delegation_over"


def test_an_offer_that_waits_until_the_delegation_is_over(
    guard: SessionGuard, ana: FileSigner
) -> None:
    world = guard.access
    payload = {**world.delegation_payload(ana.public), "not_after": NOW_MS + 700_000}
    request, offer = offered(guard, world.delegated_request(ana, seal(payload, [world.technician])))
    guard.clock.pass_ms(200_000)
    assert refuse(guard, world.grant(request, offer)) == "delegation_over"


def test_the_session_ends_when_the_owner_takes_the_right_away(
    guard: SessionGuard, ana: FileSigner
) -> None:
    request, offer = offered(guard, sent(guard, ana))
    guard.push(guard.access.grant(request, offer))
    assert doors_of(guard).opened == 1
    access = dict(payload_of(guard.access.trust.policy.raw)["access"])  # type: ignore[arg-type]
    del access["delegators"]
    guard.access.trust.next_policy({"access": access})
    renew(guard)
    assert all(live.ended is not None for live in guard.core.sessions.live.values())


def test_a_policy_in_which_a_stranger_delegates(ana: FileSigner) -> None:
    world = AccessWorld.make()
    access = dict(payload_of(world.trust.policy.raw)["access"])  # type: ignore[arg-type]
    access["delegators"] = [world.trust.signers[0].public.key_id]
    with pytest.raises(FleetwardError) as refused:
        world.trust.next_policy({"access": access})
    assert isinstance(refused.value, Malformed)


def test_a_scope_beside_those_delegated(guard: SessionGuard, ana: FileSigner) -> None:
    world = guard.access
    request = world.delegated_request(ana, world.delegate(ana.public, TERMINAL), TERMINAL, PAGE)
    assert refuse(guard, request) == "scope_not_delegated"
    # Signed again by nobody who may: the words of the delegation are the delegator's alone.
    wider = resign(world.delegate(ana.public), {"scopes": [PAGE.to_json()]}, [ana])
    assert read_envelope(wider).signatures[0].key_id == ana.public.key_id
    assert refuse(guard, world.delegated_request(ana, wider, PAGE)) == "wrong_signer"


def test_who_sends_many_keeps_nobody_else_out(guard: SessionGuard) -> None:
    """Keys cost nothing: whom he sends counts as he does."""
    world = guard.access
    rules = []
    for _ in range(MOST_OFFERS_EACH + 2):
        key = make_key(ED25519)
        raw = world.delegated_request(key, world.delegate(key.public))
        try:
            guard.push(raw)
        except FleetwardError as e:
            rules.append(e.reason)
    assert rules == ["too_many_requests"] * 2
    assert refuse(guard, world.request().raw) == "too_many_requests"
    gate = guard.core.gate.sessions
    assert gate is not None
    assert len(gate.offers) == MOST_OFFERS_EACH


def test_a_clock_that_was_set_back_revives_no_delegation(
    guard: SessionGuard, ana: FileSigner
) -> None:
    """Whoever holds the time source; the owner has signed since it was over."""
    world = guard.access
    raw = sent(guard, ana)
    request, offer = offered(guard, raw)
    world.trust.lease(at_ms=NOW_MS + 7_300_000)
    guard.publish()
    guard.clock.wall = NOW_MS
    assert refuse(guard, world.grant(request, offer)) == "delegation_over"
    assert refuse(guard, sent(guard, make_key(ED25519))) == "delegation_over"


def test_a_clock_that_was_set_back_revives_no_grant(guard: SessionGuard) -> None:
    request, offer = guard.ask()
    grant = guard.access.grant(request, offer)
    over = payload_of(grant)["not_after"]
    assert isinstance(over, int)
    guard.access.trust.lease(at_ms=over)
    guard.publish()
    guard.clock.wall = NOW_MS
    assert refuse(guard, grant) == "expired"
