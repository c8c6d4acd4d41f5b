"""New policies: signed by those of the one before, and never one that locks this folder out."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.keyholder.owner_fixtures import FixedClock

from fleetward.keyholder.desk import Desk
from fleetward.keyholder.policy_changes import (
    add_person,
    adopt_draft,
    change_policy,
    remove_person,
    set_lease,
    set_never_ports,
    set_threshold,
    set_witness,
    sign_draft,
)
from fleetward.runtime.files import atomic_write
from fleetward.runtime.keys import make_key
from fleetward.trust.documents import Anchor, Bundle, advance, first_view
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.keys import ED25519, ES256
from fleetward.trust.policy import ROLES


def test_a_machine_follows_a_changed_policy(desk: Desk, clock: FixedClock) -> None:
    before = desk.documents()
    assert before.lease is not None
    anchor = Anchor(before.owner, "a" * 32, 1, before.policy.hash)
    view = first_view(
        anchor,
        Bundle(before.root.raw, (before.policy.raw,), before.head.raw, before.roster.raw),
    )
    after = change_policy(desk, set_never_ports([22, 23, 5900]), clock.now)
    assert after.settled
    assert after.lease is not None
    moved = advance(
        view,
        Bundle(b"", (after.policy.raw,), after.head.raw, after.roster.raw, lease=after.lease.raw),
    )
    assert moved.policy.never_ports == (22, 23, 5900)


def test_a_person_is_added_and_removed(desk: Desk, clock: FixedClock) -> None:
    key = make_key(ES256).public
    change = add_person("Bo", key, ["roster", "head"], "Acme")
    roles = change_policy(desk, change, clock.now).policy.roles
    assert roles["roster"].keys[key.key_id].person == "Bo"
    assert key.key_id not in roles["policy"].keys
    with pytest.raises(Refused, match="already"):
        change_policy(desk, add_person("Bo", key, ["invite"]), clock.now)
    roles = change_policy(desk, remove_person("Bo"), clock.now).policy.roles
    assert all(key.key_id not in role.keys for role in roles.values())


def test_two_people_sign_a_policy_that_takes_two(
    desk: Desk, clock: FixedClock, tmp_path: Path
) -> None:
    bo = make_key(ED25519)
    change_policy(desk, add_person("Bo", bo.public, ["policy"]), clock.now)
    change_policy(desk, set_threshold(1), clock.now)
    # That two must sign is itself signed by two: the new policy needs its own threshold.
    with pytest.raises(Refused, match="policy sign") as refused:
        change_policy(desk, set_threshold(2), clock.now)
    assert refused.value.reason == "more_signatures_needed"
    draft = desk.folder.path / "drafts/policy-00004.json"
    with pytest.raises(Refused):
        adopt_draft(desk, draft)
    travelled = tmp_path / "draft.json"
    atomic_write(travelled, draft.read_bytes())
    atomic_write(travelled, sign_draft(travelled, bo))
    documents = adopt_draft(desk, travelled)
    assert documents.policy.roles["policy"].threshold == 2
    assert documents.settled
    with pytest.raises(Refused, match="policy sign"):
        change_policy(desk, set_lease(60), clock.now)
    assert desk.documents().policy.version == 4


def test_a_policy_that_locks_this_folder_out_is_not_signed(desk: Desk, clock: FixedClock) -> None:
    other = make_key(ED25519).public
    change_policy(desk, add_person("Bo", other, ROLES), clock.now)
    with pytest.raises(Refused) as refused:
        change_policy(desk, remove_person("Ada"), clock.now)
    assert refused.value.reason in {"folder_locked_out", "more_signatures_needed"}
    assert desk.documents().policy.version == 2


def test_the_last_person_cannot_be_removed(desk: Desk, clock: FixedClock) -> None:
    with pytest.raises(Refused, match="cannot be"):
        change_policy(desk, remove_person("Ada"), clock.now)


@pytest.mark.parametrize("days", [0, -1, 401])
def test_a_lease_out_of_bounds_is_refused(days: int) -> None:
    with pytest.raises(Malformed):
        set_lease(days)


def test_a_witness_is_named_and_dismissed(desk: Desk, clock: FixedClock) -> None:
    key = make_key(ED25519).public
    policy = change_policy(desk, set_witness("notary", key), clock.now).policy
    assert policy.roots.witnesses == {"notary": key}
    assert not change_policy(desk, set_witness("notary", None), clock.now).policy.roots.witnesses
    with pytest.raises(Refused):
        change_policy(desk, set_witness("notary", None), clock.now)
    with pytest.raises(Malformed):
        set_witness("notary", make_key(ES256).public)


def test_the_console_holds_no_root_key(desk: Desk, clock: FixedClock) -> None:
    desk.forget_passphrase(("approver", "refresh"))
    assert desk.renew().settled
    with pytest.raises(Refused):
        change_policy(desk, set_lease(60), clock.now)
