"""A server, a mirror or a thief of some keys hands a machine metadata of releases that is not true.

Claim: what a machine believes of a release was signed by as many of the maker's keys as the maker
said, and is not older than what it has seen. After a refusal it has kept what it had.
"""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import timedelta

import pytest
from tests.adversary.release_repository import DAY_MS, NOW, NOW_MS, TOP
from tests.release_world import IMAGE, edit, make_world, refused, restate
from tuf.api.metadata import Key

from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.releases import limits


@pytest.mark.parametrize("role", TOP)
def test_unsigned(role: str) -> None:
    repository, machine = make_world()
    repository.publish(*TOP)
    repository.serve(role, edit(repository.sign(role), lambda d: d["signatures"].clear()))
    if role in ("snapshot", "targets"):  # the thief of the lower roles states its hash
        restate(repository, role)
    with pytest.raises(Untrusted) as caught:
        machine.find(repository.answer, IMAGE)
    assert caught.value.reason == f"{role}_threshold"


def test_a_product_key_signs_for_its_product_alone() -> None:
    """Another product's key, and the server's own, sign the pump's release."""
    repository, machine = make_world()
    repository.delegate("targets", "valve", "valve/*")
    repository.publish_all("valve", "targets")
    for thieves in (repository.signers["valve"], repository.signers["snapshot"]):
        repository.roles["pump"].signed.version += 1
        repository.serve("pump", repository.sign("pump", thieves))
        restate(repository, "pump")
        with pytest.raises(Untrusted) as caught:
            machine.find(repository.answer, IMAGE)
        assert caught.value.reason == "delegated_threshold"
    assert machine.version("pump") == 1


def test_a_product_key_names_no_file_outside_its_paths() -> None:
    repository, machine = make_world()
    repository.add_target("pump", "valve/9.9.img", b"evil")
    repository.publish_all("pump")
    assert machine.find(repository.answer, "valve/9.9.img") is None


def test_too_few_signatures_on_a_root() -> None:
    """One stolen root key of three cannot name new keys, with its own as often as it likes."""
    repository, machine = make_world()
    repository.rotate("timestamp")
    repository.root.version += 1
    thief = repository.signers["root"][0]
    repository.serve("root", repository.sign("root", [thief, thief]))
    refused(Untrusted, "root_threshold", lambda: machine.find(repository.answer, IMAGE), machine)


def test_a_root_signed_by_its_own_new_keys_alone() -> None:
    repository, machine = make_world()
    repository.rotate("root")
    repository.publish("root")
    refused(Untrusted, "root_threshold", lambda: machine.find(repository.answer, IMAGE), machine)


def test_a_root_signed_by_the_old_keys_alone() -> None:
    repository, machine = make_world()
    old = repository.signers["root"]
    repository.rotate("root")
    repository.root.version += 1
    repository.serve("root", repository.sign("root", old))
    refused(Untrusted, "root_threshold", lambda: machine.find(repository.answer, IMAGE), machine)


@pytest.mark.parametrize("spelling", ["same", "capitals", "spaces"])
def test_one_key_under_two_ids_is_one_key(spelling: str) -> None:
    """A threshold of two is not met by one key that is listed twice, in any spelling."""
    repository, machine = make_world()
    thief = repository.new_signer()
    public: str = thief.public_key.keyval["public"]
    spelt = {"same": public, "capitals": public.upper(), "spaces": public[:8] + " " + public[8:]}
    twin = Key.from_dict(
        "ab" * 32,
        {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": spelt[spelling]}},
    )
    targets = repository.targets()
    assert targets.delegations is not None and targets.delegations.roles is not None
    role = targets.delegations.roles["pump"]
    role.keyids, role.threshold = [thief.public_key.keyid, "ab" * 32], 2
    targets.delegations.keys |= {thief.public_key.keyid: thief.public_key, "ab" * 32: twin}
    repository.publish("targets")
    repository.roles["pump"].signed.version += 1
    signed = json.loads(repository.sign("pump", [thief]))
    signed["signatures"].append({**signed["signatures"][0], "keyid": "ab" * 32})
    repository.serve("pump", json.dumps(signed).encode())
    restate(repository, "pump")
    with pytest.raises(Untrusted) as caught:
        machine.find(repository.answer, IMAGE)
    assert caught.value.reason == "delegated_threshold"


def test_one_signature_listed_twice_is_malformed() -> None:
    repository, machine = make_world()
    repository.publish("timestamp")
    data = repository.files["timestamp.json"]
    repository.files["timestamp.json"] = edit(
        data, lambda d: d["signatures"].extend(d["signatures"])
    )
    refused(Malformed, "timestamp_malformed", lambda: machine.refresh(repository.answer), machine)


def test_an_older_timestamp_is_not_taken_again() -> None:
    repository, machine = make_world()
    old = repository.files["timestamp.json"]
    repository.publish("timestamp")
    machine.refresh(repository.answer)
    repository.files["timestamp.json"] = old
    refused(Untrusted, "rollback_timestamp", lambda: machine.refresh(repository.answer), machine)


def test_a_thief_of_the_timestamp_key_cannot_bring_an_older_snapshot_back() -> None:
    repository, machine = make_world()
    old = deepcopy(repository.timestamp.snapshot_meta)
    repository.publish_all("targets")
    machine.refresh(repository.answer)
    repository.timestamp.snapshot_meta = old
    repository.publish("timestamp")
    refused(Untrusted, "rollback_snapshot", lambda: machine.refresh(repository.answer), machine)


@pytest.mark.parametrize("role", ["targets", "pump"])
def test_a_thief_of_the_online_keys_cannot_bring_an_older_release_back(role: str) -> None:
    """Timestamp and snapshot keys are on the server; they do not suffice."""
    repository, machine = make_world()
    old = deepcopy(repository.snapshot.meta[f"{role}.json"])
    repository.publish_all(role)
    machine.refresh(repository.answer)
    repository.snapshot.meta[f"{role}.json"] = old
    repository.publish("snapshot", "timestamp")
    reason = "rollback_targets" if role == "targets" else "rollback_delegated"
    with pytest.raises(Untrusted) as caught:
        machine.refresh(repository.answer)
    assert caught.value.reason == reason
    assert machine.version("snapshot") == 3


def test_a_role_cannot_vanish() -> None:
    repository, machine = make_world()
    del repository.snapshot.meta["pump.json"]
    repository.publish("snapshot", "timestamp")
    with pytest.raises(Untrusted) as caught:
        machine.refresh(repository.answer)
    assert caught.value.reason == "role_vanished"


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_a_frozen_repository_is_noticed_when_it_expires(role: str) -> None:
    """The server shows yesterday for ever: good until the first signature runs out."""
    repository, machine = make_world()
    repository.roles[role].signed.expires = NOW + timedelta(days=3)
    repository.publish("targets", "snapshot", "timestamp")
    machine.refresh(repository.answer)
    machine.refresh(repository.answer, NOW_MS + 3 * DAY_MS - 1)
    refused(
        Refused,
        f"{role}_expired",
        lambda: machine.refresh(repository.answer, NOW_MS + 3 * DAY_MS),
        machine,
    )


def test_mixed_states_of_the_repository() -> None:
    """Targets of one state with the snapshot of another, truly signed both."""
    repository, machine = make_world()
    repository.publish_all("targets")
    old = repository.files["3.targets.json"]
    repository.publish_all("targets")
    repository.files["4.targets.json"] = old
    with pytest.raises(Untrusted) as caught:
        machine.refresh(repository.answer)
    assert caught.value.reason == "wrong_hash"
    repository.with_hashes = False
    repository.publish_all("targets")
    repository.files["5.targets.json"] = old
    with pytest.raises(Untrusted) as caught:
        machine.refresh(repository.answer)
    assert caught.value.reason == "targets_wrong_version"
    assert machine.version("targets") == 2


def test_fast_forward_is_undone_by_new_keys() -> None:
    """A thief raises all versions so that nothing true is newer; the maker takes his keys away."""
    repository, machine = make_world()
    honest = deepcopy(repository)
    for role in ("snapshot", "timestamp"):
        repository.roles[role].signed.version = limits.MAX_VERSION - 1
    repository.snapshot.meta["targets.json"].version = 2
    repository.publish("snapshot", "timestamp")
    machine.refresh(repository.answer)
    assert machine.version("timestamp") == limits.MAX_VERSION
    honest.publish("timestamp")
    refused(Untrusted, "rollback_timestamp", lambda: machine.refresh(honest.answer), machine)
    honest.rotate("snapshot", "timestamp")
    honest.publish("root", "snapshot", "timestamp")
    assert machine.find(honest.answer, IMAGE)
    assert machine.versions() == (2, 2, 3, 4)


def test_a_recovery_is_not_undone_by_the_stolen_keys() -> None:
    repository, machine = make_world()
    thieves = list(repository.signers["timestamp"])
    repository.rotate("snapshot", "timestamp")
    repository.publish("root", "snapshot", "timestamp")
    machine.refresh(repository.answer)
    repository.roles["timestamp"].signed.version += 100
    repository.serve("timestamp", repository.sign("timestamp", thieves))
    refused(Untrusted, "timestamp_threshold", lambda: machine.refresh(repository.answer), machine)
