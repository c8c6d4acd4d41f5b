"""Replacing keys: in one version, whatever a crash interrupts, and for good."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.unit.keyholder.owner_fixtures import PASSPHRASE, FixedClock

from fleetward.keyholder.ceremony import NewOwner
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.policy_changes import (
    add_person,
    adopt_draft,
    change_policy,
    set_lease,
    set_threshold,
    sign_draft,
)
from fleetward.keyholder.rotating import (
    OWN_KEYS,
    check_person,
    drop_old_keys,
    is_rotated,
    rotate_own,
    rotate_person,
)
from fleetward.runtime.files import atomic_write
from fleetward.runtime.keys import make_key
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.keys import ED25519

pytestmark = pytest.mark.usefixtures("quick_keys")


def fresh(desk: Desk, clock: FixedClock) -> Desk:
    """Return a desk as another run of the command has it."""
    return Desk(desk.folder, PASSPHRASE, clock)


def test_own_keys_are_replaced_in_one_version(desk: Desk, clock: FixedClock) -> None:
    before = desk.documents()
    old = {name: desk.folder.key_id(name) for name in OWN_KEYS}
    after = rotate_own(desk, clock.now)
    assert after.policy.version == before.policy.version + 1
    assert after.settled
    assert not set(old.values()) & set(after.policy.keys)
    assert {k.person for k in after.policy.keys.values()} == {"Ada"}
    # Once more changes nothing: it waits for the machines.
    again = rotate_own(fresh(desk, clock), clock.now)
    assert again.policy.hash == after.policy.hash
    # Every other command signs with the new keys, before the old ones go and after.
    for number in range(2):
        policy = change_policy(fresh(desk, clock), set_lease(20 + number), clock.now).policy
        assert policy.version == after.policy.version + 1 + number
        if number == 0:
            drop_old_keys(fresh(desk, clock))
    assert sorted(p.name for p in (desk.folder.path / "keys").iterdir()) == [
        "approver.key", "fleet-ca.key", "recording.key", "refresh.key", "root.key",
    ]  # fmt: skip
    assert fresh(desk, clock).renew().settled
    with pytest.raises(Refused, match="being replaced"):
        drop_old_keys(fresh(desk, clock))


KINDS = {"policy": "policies", "roster": "rosters", "head": "heads"}


class PowerCutError(Exception):
    """The machine went off."""


@pytest.mark.parametrize("at", ["key", "draft", "policy", "roster", "head", "promote"])
def test_a_rotation_that_was_cut_off_goes_on(
    desk: Desk, clock: FixedClock, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object, **__: object) -> None:
        raise PowerCutError

    write_once = OwnerFolder.write_once

    def write(self: OwnerFolder, name: str, content: bytes) -> None:
        if f"documents/{KINDS.get(at, at)}/" in name:
            raise PowerCutError
        write_once(self, name, content)

    version = desk.documents().policy.version
    with monkeypatch.context() as patched:
        if at == "key":
            desk.following("root")  # One key is there, and two are not.
        elif at == "draft":
            patched.setattr("fleetward.keyholder.rotating.adopt_signed", cut)
            with pytest.raises(PowerCutError):
                rotate_own(desk, clock.now)
        elif at == "promote":
            rotate_own(desk, clock.now)
            desk.folder.promote_key("root")
        else:
            patched.setattr(OwnerFolder, "write_once", write)
            with pytest.raises(PowerCutError):
                rotate_own(desk, clock.now)
    if at in ("roster", "head"):
        # Any other command mends it, with the right keys.
        assert fresh(desk, clock).renew().settled
    if at == "promote":
        drop_old_keys(fresh(desk, clock))
    else:
        documents = rotate_own(fresh(desk, clock), clock.now)
        assert documents.policy.version == version + 1
        assert documents.settled
        assert is_rotated(fresh(desk, clock), documents.policy)
        drop_old_keys(fresh(desk, clock))
    named = desk.documents().policy.keys
    assert all(desk.folder.key_id(name) in named for name in OWN_KEYS)


def test_where_two_must_sign_the_rotation_waits_as_a_draft(
    desk: Desk, clock: FixedClock, tmp_path: Path
) -> None:
    bo = make_key(ED25519)
    change_policy(desk, add_person("Bo", bo.public, ["policy"]), clock.now)
    with pytest.raises(Refused):
        change_policy(desk, set_threshold(2), clock.now)
    draft = desk.folder.path / "drafts/policy-00003.json"
    atomic_write(draft, sign_draft(draft, bo))
    adopt_draft(desk, draft)
    for _ in range(2):  # Again, it keeps the draft that waits.
        with pytest.raises(Refused) as refused:
            rotate_own(fresh(desk, clock), clock.now)
        assert refused.value.reason == "more_signatures_needed"
    draft = desk.folder.path / "drafts/policy-00004.json"
    shutil.copy(draft, tmp_path / "draft.json")
    atomic_write(draft, sign_draft(tmp_path / "draft.json", bo))
    documents = adopt_draft(fresh(desk, clock), draft)
    assert documents.settled
    assert is_rotated(fresh(desk, clock), documents.policy)


def test_another_persons_key(desk: Desk, clock: FixedClock) -> None:
    old, new = make_key(ED25519).public, make_key(ED25519).public
    change_policy(desk, add_person("Bo", old, ["roster", "approve"]), clock.now)
    policy = change_policy(desk, rotate_person("Bo", new), clock.now).policy
    assert old.key_id not in policy.keys
    assert policy.roles["roster"].keys[new.key_id].person == "Bo"
    for person, key, reason in (
        ("Bo", new, "known_key"),
        ("Cy", old, "unknown_person"),
        ("Ada", old, "unknown_person"),  # She has three: they are replaced in her folder.
    ):
        with pytest.raises(Refused) as refused:
            change_policy(desk, rotate_person(person, key), clock.now)
        assert refused.value.reason == reason
    with pytest.raises(Malformed, match="--key"):
        check_person("Bo", "Ada")
    check_person("", "Ada")


def test_a_desk_that_forgot_its_passphrase_makes_no_key(owner: NewOwner, clock: FixedClock) -> None:
    desk = Desk(owner.folder, PASSPHRASE, clock)
    desk.forget_passphrase(("approver",))
    with pytest.raises(Refused, match="passphrase"):
        desk.following("root")
