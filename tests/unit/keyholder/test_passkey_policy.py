"""Passkeys in the owner's policy: named, kept by every later change, removed one by one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.keyholder.owner_fixtures import FixedClock
from tests.unit.keyholder.passkey_hand import ORIGIN, RP_ID
from typer.testing import CliRunner

from fleetward.cli.owner import owner_app
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.policy_changes import (
    add_passkey,
    add_person,
    change_policy,
    people_of,
    remove_passkey,
    remove_person,
    set_lease,
)
from fleetward.runtime.keys import make_key
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.keys import ES256, PublicKey
from fleetward.trust.passkey import Passkey

PLACE = Passkey(RP_ID, (ORIGIN,))


def key() -> PublicKey:
    return make_key(ES256).public


def test_every_later_policy_keeps_a_passkey(desk: Desk, clock: FixedClock) -> None:
    made = key()
    change_policy(desk, add_passkey("Ada", made, PLACE, "Ward 3"), clock.now)
    policy = change_policy(desk, set_lease(60), clock.now).policy
    holder = policy.roles["approve"].keys[made.key_id]
    assert (holder.person, holder.passkey, holder.key) == ("Ada", PLACE, made)
    (person,) = [p for p in people_of(policy) if p.passkey is not None]
    assert (person.key, person.org) == (made, "Ward 3")


def test_a_passkey_approves_and_does_nothing_else(desk: Desk, clock: FixedClock) -> None:
    made = key()
    policy = change_policy(desk, add_passkey("Ada", made, PLACE), clock.now).policy
    assert [name for name, role in policy.roles.items() if made.key_id in role.keys] == ["approve"]


def test_several_passkeys_of_a_person_are_one_person(desk: Desk, clock: FixedClock) -> None:
    for _ in range(2):
        change_policy(desk, add_passkey("Ada", key(), PLACE), clock.now)
    approvers = desk.documents().policy.roles["approve"].keys.values()
    assert len([h for h in approvers if h.passkey]) == 2
    assert {h.person for h in approvers} == {"Ada"}


def test_one_passkey_goes_and_the_others_stay(desk: Desk, clock: FixedClock) -> None:
    first, second = key(), key()
    change_policy(desk, add_passkey("Ada", first, PLACE), clock.now)
    change_policy(desk, add_passkey("Ada", second, PLACE), clock.now)
    policy = change_policy(desk, remove_passkey(first.key_id), clock.now).policy
    assert first.key_id not in policy.keys
    assert second.key_id in policy.roles["approve"].keys
    with pytest.raises(Refused) as refused:
        change_policy(desk, remove_passkey(desk.signer("root").public.key_id), clock.now)
    assert refused.value.reason == "unknown_passkey"


def test_who_leaves_takes_his_passkeys_along(desk: Desk, clock: FixedClock) -> None:
    made = key()
    change_policy(desk, add_passkey("Bo", made, PLACE), clock.now)
    assert made.key_id not in change_policy(desk, remove_person("Bo"), clock.now).policy.keys


def test_a_key_stands_once(desk: Desk, clock: FixedClock) -> None:
    made = key()
    change_policy(desk, add_person("Ada", made, ["approve"]), clock.now)
    with pytest.raises(Refused, match="already"):
        change_policy(desk, add_passkey("Ada", made, PLACE), clock.now)
    with pytest.raises(Malformed):
        add_passkey("Ada", key(), Passkey(RP_ID, ()))


def test_the_commands_show_and_remove_it(
    desk: Desk, clock: FixedClock, passphrase_file: Path
) -> None:
    made = key()
    change_policy(desk, add_passkey("Ada", made, PLACE), clock.now)
    owner = ["--owner", str(desk.folder.path)]
    shown = CliRunner().invoke(owner_app, ["policy", "show", *owner])
    assert f"passkey  Ada, {made.key_id}, at {ORIGIN}" in shown.output
    told = json.loads(CliRunner().invoke(owner_app, ["policy", "show", *owner, "--json"]).output)
    assert told["passkeys"] == [
        {"key_id": made.key_id, "person": "Ada", "rp_id": RP_ID, "origins": [ORIGIN]}
    ]
    command = ["policy", "remove-passkey", made.key_id, *owner]
    done = CliRunner().invoke(owner_app, [*command, "--passphrase-file", str(passphrase_file)])
    assert done.exit_code == 0, done.output
    assert made.key_id not in desk.documents().policy.keys
