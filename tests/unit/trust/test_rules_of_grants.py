"""Requests, offers, grants, stops and beats: each rule of `trust.grants`, broken alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.access_world import FILES, LOGS, PAGE, RULES, TERMINAL, AccessWorld
from tests.trust_world import NOW_MS, alter, refused, resign

from fleetward.runtime.keys import make_key
from fleetward.trust.access import (
    AccessRules,
    FilesScope,
    RootScope,
    Scope,
    TcpScope,
    TerminalScope,
    make_access,
    read_access,
)
from fleetward.trust.access_rule import Rule
from fleetward.trust.canonical import Json
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Untrusted
from fleetward.trust.grants.ending import (
    make_beat_payload,
    make_stop_payload,
    verify_beat,
    verify_stop,
)
from fleetward.trust.grants.offer import verify_offer
from fleetward.trust.grants.report import (
    Denial,
    Receipt,
    make_denial_payload,
    make_receipt_payload,
    verify_denial,
    verify_receipt,
)
from fleetward.trust.grants.request import verify_request
from fleetward.trust.keys import ED25519


@pytest.fixture(scope="module")
def world() -> AccessWorld:
    return AccessWorld.make()


def test_what_was_asked_offered_and_granted_opens(world: AccessWorld) -> None:
    request = world.request(TERMINAL, PAGE, LOGS, FILES)
    offer = world.offer(request)
    grant = world.judge(world.grant(request, offer), request, offer)
    assert grant.scopes == (TERMINAL, PAGE, LOGS, FILES)
    assert (request.person, request.org, grant.people) == ("tom", "Makers Ltd", ("ada",))
    assert len(grant.words.split()) == 6


def test_rules_are_read_as_they_were_written() -> None:
    assert read_access(make_access(RULES)) == RULES


@pytest.mark.parametrize(
    ("scope", "seconds", "reason"),
    [
        (TerminalScope("backup"), 60, "scope_not_allowed"),
        (TERMINAL, 3601, "too_long"),
        (TcpScope(22, "raw"), 60, "port_never"),
        (TcpScope(7999, "http"), 60, "scope_not_allowed"),
        (FilesScope("/srv/application", "read", 1), 60, "scope_not_allowed"),
        (FilesScope("/srv", "read", 1), 60, "scope_not_allowed"),
    ],
)
def test_what_the_rules_do_not_permit(
    world: AccessWorld, scope: Scope, seconds: int, reason: str
) -> None:
    with refused(Refused, reason):
        world.request(scope, seconds=seconds)


def test_a_kind_without_a_rule_is_never_granted() -> None:
    world = AccessWorld.make(rules=AccessRules(rules={"logs": RULES.rules["logs"]}))  # type: ignore[index]
    with refused(Refused, "scope_not_in_policy"):
        world.request(TERMINAL)


def test_a_policy_without_rules_lets_nobody_ask() -> None:
    world = AccessWorld.make()
    payload = world.request_payload()
    raw = seal(payload, [world.technician])
    with refused(Untrusted, "unknown_requester"):
        verify_request(raw, world.trust.policies[0], world.machine.device)


@pytest.mark.parametrize(
    ("field", "value", "family", "reason"),
    [
        ("device", "b" * 32, Untrusted, "another_device"),
        ("owner", "0" * 64, Untrusted, "another_owner"),
        ("epoch", 2, Untrusted, "old_epoch"),
        ("scopes", [], Malformed, "bad_scope"),
        ("scopes", [{"kind": "everything"}], Malformed, "bad_scope"),
        ("scopes", [{"kind": "terminal", "profile": "root"}], Malformed, "bad_scope"),
        ("scopes", [TERMINAL.to_json()] * 2, Malformed, "bad_scope"),
        ("seconds", 0, Malformed, "bad_field"),
        ("reason", "", Malformed, "bad_field"),
        ("session_key", "AA", Malformed, "bad_field"),
        ("nonce", "", Malformed, "bad_field"),
    ],
)
def test_a_request_signed_with_a_bad_field(
    world: AccessWorld, field: str, value: Json, family: type[FleetwardError], reason: str
) -> None:
    raw = resign(world.request().raw, {field: value}, [world.technician])
    with refused(family, reason):
        verify_request(raw, world.trust.policy, world.machine.device)


@pytest.mark.parametrize(
    "change", [{"session_key": "A" * 43}, {"seconds": 601}, {"reason": "another"}]
)
def test_a_request_that_was_changed_on_its_way(world: AccessWorld, change: dict[str, Json]) -> None:
    raw = alter(world.request().raw, change)
    with refused(Untrusted, "bad_signature"):
        verify_request(raw, world.trust.policy, world.machine.device)


def test_an_approver_is_no_requester(world: AccessWorld) -> None:
    ada = world.trust.signers[0]
    raw = resign(world.request().raw, {"requester": ada.public.key_id}, [ada])
    with refused(Untrusted, "unknown_requester"):
        verify_request(raw, world.trust.policy, world.machine.device)


def test_an_offer_of_another_machine_or_to_another_request(world: AccessWorld) -> None:
    request, other = world.request(), world.request()
    offer = world.offer(request)
    with refused(Untrusted, "another_request"):
        verify_offer(offer.raw, world.machine.identity.public, other)
    thief = make_key(ED25519)
    with refused(Untrusted, "wrong_signer"):
        verify_offer(resign(offer.raw, {}, [thief]), world.machine.identity.public, request)


def test_a_grant_for_another_request_offer_or_boot(world: AccessWorld) -> None:
    request = world.request()
    offer = world.offer(request)
    grant = world.grant(request, offer)
    other = world.request()
    with refused(Untrusted, "another_request"):
        world.judge(grant, other, world.offer(other))
    with refused(Untrusted, "another_offer"):
        world.judge(grant, request, world.offer(request))
    with refused(Untrusted, "old_boot"):
        world.judge(grant, request, offer, replace(world.situation(), boot="boot-2"))


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("scopes", [TERMINAL.to_json(), PAGE.to_json()], "wider_than_request"),
        ("seconds", 601, "longer_than_request"),
        ("owner", "0" * 64, "another_owner"),
        ("epoch", 2, "old_epoch"),
        ("device", "b" * 32, "another_device"),
        ("policy", {"hash": "0" * 64, "version": 2}, "another_policy"),
        ("recording_key", "es256:AAAA", "another_recording_key"),
    ],
)
def test_a_grant_that_gives_what_it_may_not(
    world: AccessWorld, field: str, value: Json, reason: str
) -> None:
    request = world.request()
    offer = world.offer(request)
    raw = resign(world.grant(request, offer), {field: value}, [world.trust.signers[0]])
    with refused(Untrusted, reason):
        world.judge(raw, request, offer)


def test_time_only_narrows(world: AccessWorld) -> None:
    request = world.request()
    offer = world.offer(request)
    grant = world.grant(request, offer)
    for moment, reason in ((NOW_MS - 2000, "not_yet"), (NOW_MS + 3_600_000, "expired")):
        with refused(Refused, reason):
            world.judge(grant, request, offer, replace(world.situation(), now_ms=moment))
    with refused(Refused, "lease_expired"):
        world.judge(grant, request, offer, replace(world.situation(), lease_seconds_left=0))


def test_thresholds_count_people_and_never_who_asks() -> None:
    world = AccessWorld.make(technician="ada")  # she asks, and would say yes to herself
    request = world.request()
    offer = world.offer(request)
    ada, ben = world.trust.signers
    with refused(Untrusted, "too_few_signatures"):
        world.judge(world.grant(request, offer, signers=[ada]), request, offer)
    world.judge(world.grant(request, offer, signers=[ben]), request, offer)


def test_the_scope_that_wants_most_people_decides(world: AccessWorld) -> None:
    request = world.request(TERMINAL, RootScope(), seconds=60)
    offer = world.offer(request)
    ada, ben = world.trust.signers
    watched = replace(world.terms(request), watched=True)
    with refused(Untrusted, "too_few_signatures"):
        world.judge(world.grant(request, offer, watched, [ada]), request, offer)
    with refused(Untrusted, "not_watched"):
        world.judge(world.grant(request, offer, signers=[ada, ben]), request, offer)
    grant = world.judge(world.grant(request, offer, watched, [ada, ben]), request, offer)
    assert grant.people == ("ada", "ben")
    narrowed = replace(world.terms(request), scopes=(TERMINAL,))
    world.judge(world.grant(request, offer, narrowed), request, offer)


def test_no_other_document_of_the_owner_is_a_grant(world: AccessWorld) -> None:
    request = world.request()
    offer = world.offer(request)
    ada = world.trust.signers[0]
    for raw in (world.trust.heads[-1].raw, world.trust.rosters[-1].raw, world.trust.policy.raw):
        with refused(Malformed, "wrong_type"):
            world.judge(raw, request, offer)
    stop = seal(make_stop_payload(world.trust.policy, request.hash, "x", NOW_MS), [ada])
    with refused(Malformed, "wrong_type"):
        world.judge(stop, request, offer)


def test_walls_that_the_policy_wants() -> None:
    world = AccessWorld.make(rules=replace(RULES, walls="sandbox"))
    request = world.request()
    offer = world.offer(request, sandbox="none")
    with refused(Refused, "no_sandbox"):
        here = replace(world.situation(), sandboxed=False)
        world.judge(world.grant(request, offer), request, offer, here)


def test_who_may_stop(world: AccessWorld) -> None:
    request = world.request()
    offer = world.offer(request)
    grant = world.judge(world.grant(request, offer), request, offer)
    policy = world.trust.policy
    for signer, person in ((world.trust.signers[1], "ben"), (world.technician, "tom")):
        raw = seal(make_stop_payload(policy, grant.hash, "enough", NOW_MS), [signer])
        assert verify_stop(raw, policy, grant).person == person
        with refused(Untrusted, "another_session"):
            verify_stop(raw, policy, request)
    thief = seal(make_stop_payload(policy, grant.hash, "", NOW_MS), [make_key(ED25519)])
    with refused(Untrusted, "wrong_signer"):
        verify_stop(thief, policy, grant)


def test_beats_rise_and_are_of_somebody_else(world: AccessWorld) -> None:
    request = world.request()
    offer = world.offer(request)
    grant = world.judge(world.grant(request, offer), request, offer)
    policy = world.trust.policy
    beat = seal(make_beat_payload(policy, grant.hash, 5), [world.trust.signers[1]])
    assert verify_beat(beat, policy, grant, 4).serial == 5
    with refused(Untrusted, "old_beat"):
        verify_beat(beat, policy, grant, 5)
    own = seal(make_beat_payload(policy, grant.hash, 6), [world.technician])
    with refused(Untrusted, "wrong_signer"):
        verify_beat(own, policy, grant, 5)


def test_receipts_and_denials_are_the_machines_own(world: AccessWorld) -> None:
    device, owner = world.machine.device, world.trust.owner
    receipt = Receipt(device, owner, "1" * 64, 1, 2, "closed", "tom", 3, 4, 5, "2" * 64, "", b"")
    denial = Denial(device, owner, "1" * 64, "expired", "Too late.", 1, "", b"")
    key = world.machine.identity
    for payload, verify in (
        (make_receipt_payload(receipt), verify_receipt),
        (make_denial_payload(denial), verify_denial),
    ):
        raw = seal(payload, [key])
        assert verify(raw, key.public, owner).device == device
        with refused(Untrusted, "wrong_signer"):
            verify(seal(payload, [make_key(ED25519)]), key.public, owner)
        with refused(Untrusted, "another_device"):
            verify(raw, key.public, "0" * 64)


def test_rules_that_cannot_be_read() -> None:
    said = make_access(RULES)
    for change in (
        {"tcp": {"ports": [[80, 79]], "seconds": 1, "threshold": 1, "watched": False}},
        {"files": {"roots": ["/srv/../etc"], "seconds": 1, "threshold": 1, "watched": False}},
        {"files": {"roots": ["/"], "seconds": 1, "threshold": 1, "watched": False}},
        {"terminal": {"profiles": ["root"], "seconds": 1, "threshold": 1, "watched": False}},
        {"logs": {"seconds": 1, "threshold": 0, "units": ["*"], "watched": False}},
        {"walls": "none"},
        {"everything": True},
    ):
        with pytest.raises(Malformed):
            read_access({**said, **change})  # type: ignore[dict-item]


def test_a_rule_is_for_its_kind_alone() -> None:
    rules = AccessRules(rules={"root": Rule(1, 60, watched=False)})
    assert rules.rule_of(TERMINAL) is None
    assert rules.rule_of(RootScope()) is not None
