"""Recovering by recovery keys from folder to folder, and what the tools refuse to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.keyholder.owner_fixtures import FixedClock
from tests.unit.keyholder.small_server import TOKEN, SmallServer

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.begun import Begun, BegunFolder, begin_folder
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import load_documents
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.policy_changes import (
    change_policy,
    keep_as_it_is,
    remove_person,
    remove_recovery,
    set_recovery,
    sign_draft,
)
from fleetward.keyholder.recovering import (
    fetch_waiting,
    name_recording_key,
    read_draft,
    read_heard,
    read_papers,
    sign_recovery,
    veto_change,
)
from fleetward.keyholder.signing import Person
from fleetward.keyholder.taking_over import finish_folder
from fleetward.runtime.files import atomic_write
from fleetward.runtime.http.times import to_rfc3339
from fleetward.runtime.keys import FileSigner, make_key
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.keys import ED25519
from fleetward.trust.policy import verify_next_policy

NEW = b"another horse battery staple"
DAY = 86_400
pytestmark = pytest.mark.usefixtures("quick_keys")


@pytest.fixture
def keepers(desk: Desk, clock: FixedClock) -> list[FileSigner]:
    keys = [make_key(ED25519) for _ in range(2)]
    people = [Person(k.public, p) for k, p in zip(keys, ("Rita", "Rob"), strict=True)]
    change_policy(desk, set_recovery(people, 2, 7 * DAY), clock.now)
    return keys


@pytest.fixture
def begun(tmp_path: Path, clock: FixedClock) -> BegunFolder:
    return begin_folder(tmp_path / "new", NEW, Begun("recovery", "Ward 3", "Nora", "", clock.now))


def test_a_folder_is_recovered(
    desk: Desk, clock: FixedClock, keepers: list[FileSigner], begun: BegunFolder, tmp_path: Path
) -> None:
    papers = read_papers(desk.folder)
    raw, policy = sign_recovery(begun, papers, keepers[:1], clock.now)
    assert policy is None
    draft = begun.folder.path / "drafts/recovery-00003.json"
    atomic_write(tmp_path / "travelled.json", draft.read_bytes())
    # The second keeper signs elsewhere, by the same command as any draft.
    atomic_write(draft, sign_draft(tmp_path / "travelled.json", keepers[1]))
    raw, policy = sign_recovery(begun, papers, [], clock.now)
    assert policy is not None
    assert policy.recovered
    assert raw == draft.read_bytes()
    assert {h.person for h in policy.roles["policy"].keys.values()} == {"Nora"}
    assert policy.roots == papers.policies[-1].roots
    assert policy.recovery is not None
    assert set(policy.recovery.role.keys) == {k.public.key_id for k in keepers}
    documents = finish_folder(begun, papers, read_draft(begun, papers), NEW, clock)
    assert documents.settled
    recovered = Desk(OwnerFolder.open(tmp_path / "new"), NEW, clock)
    after = change_policy(recovered, name_recording_key(begun.recording_key), clock.now)
    assert after.policy.roots.recording_key == begun.recording_key
    assert load_documents(recovered.folder).policies[2].recovered
    assert recovered.invite("Hall", 1, 600, preapproved=False).owner_root == papers.root.owner


def test_what_is_not_signed_for_a_recovery(
    desk: Desk, clock: FixedClock, keepers: list[FileSigner], begun: BegunFolder
) -> None:
    papers = read_papers(desk.folder)
    with pytest.raises(Refused) as strange:
        sign_recovery(begun, papers, [make_key(ED25519)], clock.now)
    assert strange.value.reason == "no_recovery_key"
    with pytest.raises(Refused) as unsigned:
        read_draft(begun, papers)
    assert unsigned.value.reason == "nothing_announced"
    sign_recovery(begun, papers, keepers, clock.now)
    change_policy(desk, keep_as_it_is(), clock.now)
    with pytest.raises(Refused):  # The present keys have moved on.
        read_draft(begun, read_papers(desk.folder))
    change_policy(desk, remove_recovery(), clock.now)
    with pytest.raises(Refused) as none:
        sign_recovery(begun, read_papers(desk.folder), keepers, clock.now)
    assert none.value.reason == "no_recovery"


def test_naming_recovery_keys(desk: Desk, clock: FixedClock, keepers: list[FileSigner]) -> None:
    root = desk.signer("root").public
    for people, threshold, delay, family in (
        ([Person(root, "Ada")], 1, 7 * DAY, Refused),
        ([Person(make_key(ED25519).public, "Cy")], 1, DAY - 1, Malformed),
        ([Person(make_key(ED25519).public, "Cy")], 1, 91 * DAY, Malformed),
        ([Person(make_key(ED25519).public, "Cy")], 2, 7 * DAY, Refused),
    ):
        with pytest.raises(family):
            change_policy(desk, set_recovery(people, threshold, delay), clock.now)
    # New ones take the place of those before, who are in the policy no more.
    new = [Person(make_key(ED25519).public, "Cy")]
    policy = change_policy(desk, set_recovery(new, 1, DAY), clock.now).policy
    assert not {k.public.key_id for k in keepers} & set(policy.keys)
    with pytest.raises(Refused):  # The last keeper cannot go alone: the recovery goes first.
        change_policy(desk, remove_person("Cy"), clock.now)
    assert change_policy(desk, remove_recovery(), clock.now).policy.recovery is None
    with pytest.raises(Refused):
        change_policy(desk, remove_recovery(), clock.now)


def test_a_veto_takes_the_keys_with_it(
    desk: Desk, clock: FixedClock, keepers: list[FileSigner], begun: BegunFolder
) -> None:
    before = desk.documents().policy
    sign_recovery(begun, read_papers(desk.folder), keepers, clock.now)
    kept = change_policy(desk, veto_change(desk.documents(), keep_keys=True), clock.now).policy
    assert kept.recovery is not None
    gone = change_policy(desk, veto_change(desk.documents(), keep_keys=False), clock.now).policy
    assert gone.recovery is None
    assert verify_next_policy(kept.raw, before).hash == kept.hash


def test_a_server_that_lies_about_recoveries(
    desk: Desk,
    clock: FixedClock,
    keepers: list[FileSigner],
    begun: BegunFolder,
    server: SmallServer,
) -> None:
    papers = read_papers(desk.folder)
    raw, policy = sign_recovery(begun, papers, keepers, clock.now)
    assert policy is not None
    rows = [
        {"hash": "0", "version": 9, "people": ["Mallory"], "announced_at": "", "earliest_at": "",
         "policy": to_base64url(data)}
        for data in (raw, raw[:-3], papers.policies[-1].raw, b"{}")
    ]  # fmt: skip
    server.answers["/owner/recovery"] = {"items": rows}
    client = ApiClient(server.api, TOKEN)
    ((_, found),) = fetch_waiting(client, papers.policies[-1])
    assert found.hash == policy.hash  # What verifies counts, and its own words.
    for kind in ("recovery.announced", "recovery.counting", "recovery.ready"):
        since = to_rfc3339(clock.now - 86_400_000)
        path = f"/events/signed?kind={kind}&since={since}&page=1&per_page=100"
        lie = {"device_id": "a" * 32, "sequence": 1, "batch": "AAAA"}
        server.answers[path] = {"items": [lie], "total": 1}
    assert read_heard(client, papers.root.owner, papers.entries, policy) == []
    assert json.loads(raw)
