"""A server, a mirror or a thief of some keys hands a machine metadata of releases that is not true.

Claim: what a machine believes of a release was signed by as many of the maker's keys as the maker
said, and is not older than what it has seen. After a refusal it has kept what it had.
"""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest
from tests.adversary.release_repository import DAY_MS, NOW, NOW_MS, TOP, Machine, Repository
from tests.release_world import IMAGE, edit, make_world, refused, restate
from tuf.api.metadata import Key

from fleetward.trust.errors import Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.releases import limits
from fleetward.trust.releases.names import name_file
from fleetward.trust.releases.refresh import Refresh
from fleetward.trust.releases.search import Search
from fleetward.trust.releases.steps import Change
from fleetward.trust.releases.target import ArtifactCheck


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


def test_a_root_that_nobody_signed_is_no_beginning() -> None:
    """A root that was changed on its way from the owner to the machine."""
    repository, machine = make_world()
    machine.root = edit(machine.root, lambda d: d["signed"]["roles"]["root"].update(threshold=3))
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


def test_a_key_that_stands_twice_is_read_in_one_way_only() -> None:
    """Beside what was signed stands something else under the same name."""
    repository, machine = make_world()
    repository.publish("timestamp")
    data = repository.files["timestamp.json"]
    repository.files["timestamp.json"] = data.replace(b"{", b'{"signed":{"version":9},', 1)
    refused(Malformed, "timestamp_malformed", lambda: machine.refresh(repository.answer), machine)


def test_what_the_library_would_read_otherwise() -> None:
    """A float, a version of null, which python-tuf takes for 1, a date in another spelling."""
    repository = Repository.make()
    machine = Machine.make(repository)
    honest = repository.files["timestamp.json"]
    for change in (
        lambda d: d.update(x=1.5),
        lambda d: d["signed"].update(version=None),
        lambda d: d["signed"].update(expires=d["signed"]["expires"].replace("-06-", "-6-")),
    ):
        repository.files["timestamp.json"] = edit(honest, change)
        assert repository.files["timestamp.json"] != honest
        refused(
            Malformed, "timestamp_malformed", lambda: machine.refresh(repository.answer), machine
        )


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


def test_a_lost_timestamp_brings_no_older_snapshot_back() -> None:
    """The disk lost the kept timestamp; the server shows the whole of yesterday again."""
    repository, machine = make_world()
    yesterday = dict(repository.files)
    repository.publish("snapshot", "timestamp")
    machine.refresh(repository.answer)
    del machine.kept["timestamp.json"]
    repository.files = yesterday
    with pytest.raises(Untrusted) as caught:
        machine.refresh(repository.answer)
    assert caught.value.reason == "rollback_snapshot"


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


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_mixed_states_of_the_repository(role: str) -> None:
    """A file of one state among those of another, truly signed both; with hashes and without."""
    repository, machine = make_world()
    for with_hashes, reason in ((True, "wrong_hash"), (False, f"{role}_wrong_version")):
        repository.with_hashes = with_hashes
        repository.publish_all("targets")
        old = repository.files[name_file(role, repository.roles[role].signed.version)]
        repository.publish_all("targets")
        now = name_file(role, repository.roles[role].signed.version)
        repository.files[now] = pad(old, len(repository.files[now]))
        with pytest.raises(Untrusted) as caught:
            machine.refresh(repository.answer)
        assert caught.value.reason == reason
    assert machine.version(role) == 2


def pad(data: bytes, length: int) -> bytes:
    """Make a file as long as another one; white space means nothing."""
    return data + b" " * (length - len(data))


def test_a_kept_snapshot_of_another_content_is_not_the_one_named() -> None:
    """Two snapshots of one version: the machine takes the one whose hash the timestamp states."""
    repository, machine = make_world()
    repository.publish_all("targets")
    honest = repository.files["3.snapshot.json"]
    repository.snapshot.unrecognized_fields["x"] = 1
    machine.kept["snapshot.json"] = repository.sign("snapshot")
    machine.refresh(repository.answer)
    assert machine.kept["snapshot.json"] == honest


def test_a_role_that_the_snapshot_does_not_name() -> None:
    repository, machine = make_world()
    repository.delegate("targets", "valve", "valve/*")
    repository.add_target("valve", "valve/1", b"x")
    repository.publish_all("valve", "targets")
    del repository.snapshot.meta["valve.json"]
    repository.publish("snapshot", "timestamp")
    machine.asked.clear()
    with pytest.raises(Untrusted) as caught:
        machine.find(repository.answer, "valve/1")
    assert caught.value.reason == "role_not_in_snapshot"
    assert not [name for name in machine.asked if "valve" in name]


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


def test_raised_versions_of_targets_are_forgotten_with_the_snapshots_key() -> None:
    """The kept snapshot bears a thief's signature beside the maker's, whose other key stays."""
    repository, machine = make_world()
    repository.add_key("snapshot")
    repository.publish("root", "snapshot", "timestamp")
    machine.refresh(repository.answer)
    true = repository.snapshot.meta["targets.json"].version
    repository.snapshot.meta["targets.json"].version = 1000
    repository.publish("snapshot", "timestamp")
    with pytest.raises(Unreachable):
        machine.refresh(repository.answer)
    thief, honest = repository.signers["snapshot"]
    repository.root.revoke_key(thief.public_key.keyid, "snapshot")
    repository.signers["snapshot"] = [honest]
    repository.snapshot.meta["targets.json"].version = true
    repository.publish("root", "snapshot", "timestamp")
    assert machine.find(repository.answer, IMAGE)


def test_a_recovery_is_not_undone_by_the_stolen_keys() -> None:
    repository, machine = make_world()
    thieves = list(repository.signers["timestamp"])
    repository.rotate("snapshot", "timestamp")
    repository.publish("root", "snapshot", "timestamp")
    machine.refresh(repository.answer)
    repository.roles["timestamp"].signed.version += 100
    repository.serve("timestamp", repository.sign("timestamp", thieves))
    refused(Untrusted, "timestamp_threshold", lambda: machine.refresh(repository.answer), machine)


def test_two_delegators_with_one_role_name() -> None:
    """Both delegate to `release`, each with a key of its own; one of them signed.

    What is believed by way of the one is not believed by way of the other: not in the same set of
    metadata, and not from what was kept.
    """
    repository, machine = make_world()
    for side in ("a", "b"):
        repository.delegate("targets", side, f"{side}/*")
        repository.delegate(side, "release", f"{side}/*")
    repository.add_target("release", "a/1", b"true")
    repository.add_target("release", "b/1", b"evil")
    repository.signers["release"] = repository.signers["release"][:1]
    repository.publish_all("release", "a", "b", "targets")
    assert machine.find(repository.answer, "a/1")
    kept = machine.kept["release.json"]
    trusted = machine.refresh(repository.answer)
    machine.drive(Search(trusted, "a/1"), repository.answer)
    with pytest.raises(Untrusted) as caught:
        machine.drive(Search(trusted, "b/1"), repository.answer)
    assert caught.value.reason == "delegated_threshold"
    with pytest.raises(Untrusted) as caught:
        machine.find(repository.answer, "b/1")
    assert caught.value.reason == "delegated_threshold"
    assert machine.kept["release.json"] == kept


def test_a_file_that_is_not_the_signed_one() -> None:
    repository, machine = make_world()
    target = machine.find(repository.answer, IMAGE)
    assert target is not None
    for served, reason in ((b"onf", "wrong_hash"), (b"on", "wrong_length"), (b"", "wrong_length")):
        check = ArtifactCheck(target)
        check.update(served)
        with pytest.raises(Untrusted) as caught:
            check.finish()
        assert caught.value.reason == reason
    check = ArtifactCheck(target)
    with pytest.raises(Untrusted) as caught:
        check.update(b"more than was signed")
    assert caught.value.reason == "wrong_length"


def test_hashes_that_prove_nothing() -> None:
    """A target known by a hash that can be forged, or that nobody knows, is not handed out."""
    for name in ("md5", "sha1", "none"):
        repository, machine = make_world()
        file = repository.targets("pump").targets[IMAGE]
        file.hashes[name] = "00"
        repository.publish_all("pump")
        with pytest.raises(Malformed) as caught:
            machine.find(repository.answer, IMAGE)
        assert caught.value.reason == "bad_hash"


def test_a_clock_in_1970_forgets_nothing() -> None:
    """Nothing looks expired, so a frozen state is believed, but never one older than was seen."""
    repository, machine = make_world()
    old = dict(repository.files)
    repository.add_target("pump", "pump/1.1.img", b"two")
    repository.publish_all("pump")
    assert machine.find(repository.answer, "pump/1.1.img")
    repository.files = old
    refused(Untrusted, "rollback_timestamp", lambda: machine.refresh(repository.answer, 0), machine)


def test_a_clock_ten_years_ahead_changes_nothing() -> None:
    """All looks expired; nothing is believed, nothing forgotten, and the right time mends it."""
    repository, machine = make_world()
    ahead = NOW_MS + 3653 * DAY_MS
    refused(Refused, "root_expired", lambda: machine.find(repository.answer, IMAGE, ahead), machine)
    assert machine.find(repository.answer, IMAGE)


def test_a_server_that_withholds() -> None:
    """What is not there is said to be unreachable, and is asked for again the next time."""
    for missing in ("timestamp.json", "3.snapshot.json", "3.targets.json", "2.pump.json"):
        repository, machine = make_world()
        repository.publish_all("pump", "targets")
        held = repository.files.pop(missing)
        with pytest.raises(Unreachable):
            machine.find(repository.answer, IMAGE)
        repository.files[missing] = held
        assert machine.find(repository.answer, IMAGE)


def test_a_root_that_skips_a_version() -> None:
    repository, machine = make_world()
    repository.publish("root", "root")
    repository.files["2.root.json"] = repository.files["3.root.json"]
    refused(Untrusted, "root_wrong_version", lambda: machine.refresh(repository.answer), machine)


def test_one_kind_of_file_does_not_serve_as_another() -> None:
    """A snapshot that the timestamp's key signed as well is no timestamp."""
    repository, machine = make_world()
    repository.files["timestamp.json"] = repository.sign(
        "snapshot", repository.signers["timestamp"]
    )
    refused(Malformed, "timestamp_wrong_type", lambda: machine.refresh(repository.answer), machine)


@pytest.mark.parametrize("scheme", ["pgp+rsa-pkcsv1.5", "rsa-pkcs1v15-sha256"])
def test_keys_of_other_kinds_sign_for_nobody(scheme: str) -> None:
    """The library knows keys whose check is no plain signature; a file that names one is refused.

    The file is truly signed, and the key is no signer's.
    """
    repository, machine = make_world()
    targets = repository.targets()
    assert targets.delegations is not None
    public: Any = {"public": {"e": "1", "n": "1"}} if scheme.startswith("pgp") else "x"
    raw = {"keytype": "rsa", "scheme": scheme, "keyval": {"private": "", "public": public}}
    if scheme.startswith("pgp"):
        raw |= {"method": scheme, "hashes": ["pgp+SHA2"], "keyval": public | {"private": ""}}
    targets.delegations.keys["ab"] = Key.from_dict("ab", deepcopy(raw))
    repository.publish_all("targets")
    with pytest.raises(Malformed) as caught:
        machine.refresh(repository.answer)
    assert caught.value.reason == "targets_malformed"


def test_a_power_cut_between_any_two_files() -> None:
    """What was stored up to then is enough to go on, and to take nothing older."""
    repository, machine = make_world()
    repository.rotate("snapshot")
    repository.publish("root", "root", "snapshot", "timestamp")
    yesterday = dict(repository.files)
    repository.add_target("pump", "pump/1.1.img", b"two")
    repository.publish_all("pump", "targets")
    refresh = Refresh(machine.root, NOW_MS)
    changes: list[Change] = []
    while (want := refresh.want) is not None:
        refresh.give(machine.kept.get(want.file_name) if want.is_kept else repository.answer(want))
        changes += refresh.take_changes()
    roles = ("root", "snapshot", "timestamp")
    assert [change.role for change in changes] == [
        *roles,
        "root",
        "timestamp",
        *roles[1:2],
        "targets",
    ]
    for cut in range(len(changes) + 1):
        again = Machine(machine.root, dict(machine.kept))
        again.store(changes[:cut])
        has_newest = again.version("timestamp") == repository.timestamp.version
        if has_newest:
            older = Machine(again.root, dict(again.kept))
            with pytest.raises(Untrusted) as caught:
                older.find(lambda want: yesterday.get(want.file_name), IMAGE)
            assert caught.value.reason == "rollback_timestamp"
        assert again.find(repository.answer, "pump/1.1.img"), cut


def test_what_was_kept_is_judged_again() -> None:
    """Kept files that were cut, changed or swapped are fetched again, and nothing worse."""
    repository, machine = make_world()
    good = dict(machine.kept)
    for name in sorted(good):
        for bad in (
            b"",
            good[name][:-9],
            good[name].replace(b'"version"', b'"versioN"'),
            b"[" * 9**6,
        ):
            machine.kept = {**good, name: bad}
            assert machine.find(repository.answer, IMAGE)
            assert machine.kept == good, name
    machine.kept = dict.fromkeys(good, good["pump.json"])
    assert machine.find(repository.answer, IMAGE)
    assert machine.kept == good
