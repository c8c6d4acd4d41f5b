"""Who may ask for sessions, and for what: changes that lose nothing and trap nobody."""

from __future__ import annotations

import pytest
from tests.unit.keyholder.owner_fixtures import FixedClock

from fleetward.keyholder.access.policy_rules import (
    Limits,
    allow_scope,
    forbid_scope,
    name_requester,
    remove_requester,
    set_walls,
)
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.policy_changes import (
    Change,
    add_person,
    change_policy,
    remove_person,
    set_lease,
)
from fleetward.runtime.keys import make_key
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.keys import ED25519
from fleetward.trust.policy import Policy

NO_LIMITS = Limits()


def change(desk: Desk, *changes: Change) -> Policy:
    for each in changes:
        change_policy(desk, each, 1_795_000_000_000)
    return desk.documents().policy


def test_a_policy_without_rules_stays_without(desk: Desk, clock: FixedClock) -> None:
    policy = change(desk, set_lease(60))
    assert b'"access"' not in policy.raw
    assert policy.access.requesters == ()


def test_rules_and_requesters_survive_every_other_change(desk: Desk) -> None:
    tom = make_key(ED25519).public
    policy = change(
        desk,
        name_requester("Tom", tom, "Makers Ltd"),
        allow_scope("terminal", "app", Limits(1800, 1, watched=False)),
        allow_scope("terminal", "ops", NO_LIMITS),
        allow_scope("tcp", "8000-8999", NO_LIMITS),
        set_walls("sandbox"),
        set_lease(60),
        add_person("Bo", make_key(ED25519).public, ["approve"]),
    )
    assert policy.access.requesters == (tom.key_id,)
    assert policy.orgs[tom.key_id] == "Makers Ltd"
    assert policy.access.walls == "sandbox"
    rules = policy.access.rules or {}
    assert (rules["terminal"].allowed, rules["terminal"].seconds) == (("app", "ops"), 1800)
    assert rules["tcp"].ports == ((8000, 8999),)


def test_what_was_allowed_is_forbidden_piece_by_piece(desk: Desk) -> None:
    policy = change(
        desk,
        allow_scope("logs", "*", NO_LIMITS),
        allow_scope("terminal", "app", NO_LIMITS),
        allow_scope("terminal", "ops", NO_LIMITS),
        allow_scope("tcp", "80", NO_LIMITS),
        forbid_scope("terminal", "app"),
        forbid_scope("tcp", "80"),
        forbid_scope("logs"),
    )
    rules = policy.access.rules or {}
    assert list(rules) == ["terminal"]
    assert rules["terminal"].allowed == ("ops",)
    with pytest.raises(Refused, match="allows no logs"):
        change(desk, forbid_scope("logs"))
    with pytest.raises(Refused, match="ops"):
        change(desk, forbid_scope("terminal", "app"))


def test_a_requester_who_is_removed_takes_nothing_with_him(desk: Desk) -> None:
    tom = make_key(ED25519).public
    policy = change(desk, name_requester("Tom", tom), remove_requester("Tom"))
    assert policy.access.requesters == ()
    assert tom.key_id not in policy.keys
    with pytest.raises(Refused, match="lets no"):
        change(desk, remove_requester("Tom"))
    change(desk, name_requester("Tom", tom))
    assert change(desk, remove_person("Tom")).access.requesters == ()


def test_the_only_approver_cannot_become_the_one_who_asks(desk: Desk) -> None:
    with pytest.raises(Refused, match="nobody approves his own") as refused:
        change(desk, name_requester("Ada", make_key(ED25519).public))
    assert refused.value.reason == "nobody_could_approve"
    bo = add_person("Bo", make_key(ED25519).public, ["approve"])
    change(desk, bo, name_requester("Ada", make_key(ED25519).public))
    with pytest.raises(Refused, match="Add an approver first"):
        change(desk, remove_person("Bo"))


def test_a_rule_that_takes_more_people_than_there_are(desk: Desk) -> None:
    with pytest.raises(Refused, match="takes 2 people") as refused:
        change(desk, allow_scope("root", "", Limits(600, 2, watched=True)))
    assert refused.value.reason == "nobody_could_approve"
    change(desk, add_person("Bo", make_key(ED25519).public, ["approve"]))
    rules = change(desk, allow_scope("root", "", Limits(600, 2, watched=True))).access.rules or {}
    assert (rules["root"].threshold, rules["root"].watched) == (2, True)


@pytest.mark.parametrize(
    ("kind", "what", "words"),
    [
        ("terminal", "root", "other than root"),
        ("terminal", "", "name of a user"),
        ("root", "app", "no name behind it"),
        ("files", "srv/app", "absolute folder"),
        ("files", "/srv/../etc", "absolute folder"),
        ("tcp", "80-x", "port or a range"),
        ("tcp", "90-80", "integer from"),
        ("screen", "x", "one of terminal"),
    ],
)
def test_rules_that_are_none(desk: Desk, kind: str, what: str, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        change(desk, allow_scope(kind, what, NO_LIMITS))


def test_a_port_that_is_never_opened_is_not_allowed_by_accident(desk: Desk) -> None:
    with pytest.raises(Refused, match="never opened"):
        change(desk, allow_scope("tcp", "22", NO_LIMITS))
    assert change(desk, allow_scope("tcp", "20-90", NO_LIMITS)).never_ports[0] == 22


def test_a_key_that_signs_for_the_owner_does_not_ask(desk: Desk) -> None:
    approver = desk.signer("approver").public
    with pytest.raises(Refused, match="a key of its own"):
        change(desk, name_requester("Tom", approver))
