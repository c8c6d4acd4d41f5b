"""A release on which the three opinions do not meet is refused by name, and changes nothing.

The attacker has the server, the director's key, one product's key, or one approver; each row says
which attack it is and by which rule it fails. What fails is in a signed report, or in an entry of
the journal that a batch signs; the installer was told nothing that writes; and the metadata that
the machine keeps is never of an older state.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.adversary.release_repository import signer
from tests.adversary.update_watch import (
    direct,
    file_of,
    lie,
    machine_with_a_release,
    names_rule,
    nothing_changes,
)
from tests.trust_world import NOW_MS, World, alter, resign
from tests.update_world import DAY_MS, PRODUCT, Director, UpdateGuard, make_manifest
from tuf.api.metadata import Metadata, TargetFile

from fleetward.trust.canonical import to_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.release_approval import make_approval_payload, make_standing_payload
from fleetward.trust.release_manifest import (
    Conflict,
    Delta,
    Needed,
    Part,
    make_blob,
    write_manifest,
)
from fleetward.trust.roster import RETIRED
from fleetward.trust.selector import Selector

YEAR_MS = 365 * DAY_MS


@pytest.fixture
def guard() -> Iterator[UpdateGuard]:
    with machine_with_a_release() as guard:
        yield guard


# --- the maker's metadata in the wrong hands


def sign_otherwise(guard: UpdateGuard, signers: list[Any]) -> None:
    """Serve a next version of the product's metadata, signed by these."""
    guard.repository.with_hashes = False
    guard.release("1.1", 11)
    guard.approve()
    role = guard.repository.roles[PRODUCT]
    role.signed.version += 1
    guard.repository.serve(PRODUCT, guard.repository.sign(PRODUCT, signers))
    guard.repository.snapshot.meta[f"{PRODUCT}.json"].version = role.signed.version
    guard.repository.publish("snapshot", "timestamp")


def unsigned(guard: UpdateGuard) -> None:
    sign_otherwise(guard, [])


def signed_by_another_products_key(guard: UpdateGuard) -> None:
    guard.repository.delegate("targets", "pump", "pump/*/release.json")
    guard.repository.publish_all("pump", "targets")
    sign_otherwise(guard, guard.repository.signers["pump"])


def next_root(guard: UpdateGuard, count: int) -> bytes:
    guard.release("1.1", 11)
    guard.approve()
    repository = guard.repository
    repository.roles["root"].signed.version += 1
    data = repository.sign("root", repository.signers["root"][:count])
    repository.serve("root", data)
    return data


def root_with_too_few_signatures(guard: UpdateGuard) -> None:
    next_root(guard, 1)


def root_with_one_signature_twice(guard: UpdateGuard) -> None:
    metadata = json.loads(next_root(guard, 1))
    metadata["signatures"] *= 2
    guard.repository.files["2.root.json"] = json.dumps(metadata).encode()


def frozen(guard: UpdateGuard) -> None:
    """The server shows the state of a month ago, whose timestamp has ended."""
    guard.repository.timestamp.expires = Metadata.from_bytes(
        guard.repository.files["timestamp.json"]
    ).signed.expires - timedelta(days=364)
    guard.release("1.1", 11)
    guard.approve()
    guard.clock.wall += 2 * DAY_MS


def mixed(guard: UpdateGuard) -> None:
    """The newest timestamp, with the snapshot of another state."""
    before = guard.repository.snapshot.version
    old = guard.repository.files[f"{before}.snapshot.json"]
    guard.release("1.1", 11)
    guard.approve()
    guard.repository.files[f"{guard.repository.snapshot.version}.snapshot.json"] = old


def replayed(guard: UpdateGuard) -> None:
    """A timestamp that the machine has seen a newer one of."""
    old = guard.repository.files["timestamp.json"]
    guard.release("1.1", 11)
    guard.run()
    assert names_rule(guard) == {"not_approved"}
    guard.approve()
    guard.repository.files["timestamp.json"] = old


def fast_forwarded(guard: UpdateGuard) -> None:
    """A thief of the timestamp's key has raised its version, and then the maker signs again."""
    version = guard.repository.timestamp.version
    guard.repository.timestamp.version = 2**50
    guard.repository.publish("timestamp")
    guard.run()
    guard.repository.timestamp.version = version
    guard.release("1.1", 11)
    guard.approve()


def two_delegators_with_one_role_name(guard: UpdateGuard) -> None:
    """Somebody who may sign for a wider path delegates to a role that is named like the product's,
    with keys of his own, and signs the release by it."""
    repository = guard.repository
    repository.with_hashes = False
    repository.delegate("targets", "suite", "kiosk/*/release.json", ends=False)
    parent = repository.targets()
    assert parent.delegations is not None
    assert parent.delegations.roles is not None
    ours = parent.delegations.roles.pop(PRODUCT)
    parent.delegations.roles[PRODUCT] = ours
    real = list(repository.signers[PRODUCT])
    repository.delegate("suite", PRODUCT, "kiosk/*/release.json")
    repository.signers[PRODUCT] = [s for s in repository.signers[PRODUCT] if s not in real]
    repository.publish_all("suite", "targets")
    guard.release("1.1", 11)
    guard.approve()


def signed_by_the_targets_role(guard: UpdateGuard) -> None:
    """Whoever holds the key of `targets` alone releases past the product's own key."""
    manifest = make_manifest("1.1", 11, b"x")
    raw = write_manifest(manifest)
    guard.repository.add_target("targets", manifest.path, raw)
    guard.repository.publish_all("targets")
    guard.server.manifests[manifest.hash] = raw
    guard.server.directed = [file_of(manifest)]
    guard.approve(manifest)


def named_but_never_released(guard: UpdateGuard) -> None:
    manifest = make_manifest("6.6", 66, b"evil")
    guard.server.manifests[manifest.hash] = write_manifest(manifest)
    guard.server.directed = [file_of(manifest)]
    guard.approve(manifest)


def another_products_path(guard: UpdateGuard) -> None:
    """The key of one product signs what lies below another's path."""
    anchor = guard.fleet.world.policy.roots.makers[PRODUCT]
    name_maker(guard, {PRODUCT: anchor, "pump": anchor})
    manifest = make_manifest("1.0", 20, b"x", product="pump")
    raw = write_manifest(manifest)
    guard.repository.add_target(PRODUCT, manifest.path, raw)
    guard.repository.publish_all(PRODUCT)
    guard.server.manifests[manifest.hash] = raw
    guard.server.directed = [file_of(manifest)]
    guard.approve(manifest)


def no_maker(guard: UpdateGuard) -> None:
    manifest = make_manifest("1.0", 20, b"x", product="pump")
    guard.server.directed = [file_of(manifest)]


def name_maker(guard: UpdateGuard, makers: dict[str, str]) -> None:
    world = guard.fleet.world
    roots = world.next_payload()["roots"]
    assert isinstance(roots, dict)
    roots["makers"] = dict(makers)
    world.next_policy({"roots": roots})
    guard.confirm()


# --- the manifest


def under_another_path(guard: UpdateGuard) -> None:
    manifest = make_manifest("1.1", 11, b"x")
    raw = write_manifest(manifest)
    path = "kiosk/9.9/release.json"
    guard.repository.add_target(PRODUCT, path, raw)
    guard.repository.publish_all(PRODUCT)
    guard.server.manifests[manifest.hash] = raw
    guard.server.directed = [file_of(manifest, path)]
    guard.approve(manifest)


def not_as_signed(guard: UpdateGuard) -> None:
    manifest = guard.release("1.1", 11)
    guard.approve()
    raw = guard.server.manifests[manifest.hash]
    guard.server.manifests[manifest.hash] = raw.replace(b'"counter":11', b'"counter":99')


def older_counter(guard: UpdateGuard) -> None:
    guard.release("0.9", 9)
    guard.approve()


def wrong_hardware(guard: UpdateGuard) -> None:
    guard.release("1.1", 11, hardware=("P9",))
    guard.approve()


def lacks_what_it_needs(guard: UpdateGuard) -> None:
    guard.release("1.1", 11, needs=(Needed("firmware", 3),))
    guard.approve()


def conflicts_with_what_is_there(guard: UpdateGuard) -> None:
    guard.release("1.1", 11, conflicts=(Conflict(PRODUCT, 10, 10),))
    guard.approve()


def leaves_one_out(guard: UpdateGuard) -> None:
    guard.release("1.2", 12, least_before=11)
    guard.approve()


# --- the owner's approval


def not_approved(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)


def for_another_group(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.approve(selector=Selector(groups=("trial",)))


def over(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.approve(not_after_ms=NOW_MS - 1)


def over_and_the_clock_is_in_1970(guard: UpdateGuard) -> None:
    over(guard)
    guard.server.now_ms = lambda: NOW_MS
    guard.clock.wall = 0


def withdrawn(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.withdraw(guard.approve())


def withdrawn_and_replayed(guard: UpdateGuard) -> None:
    """The withdrawal was heard once; after it, and after a start, the server leaves it out."""
    withdrawn(guard)
    guard.run()
    guard.crash()
    guard.server.approvals.pop()


def of_the_same_version_by_name(guard: UpdateGuard) -> None:
    guard.approve(make_manifest("1.1", 11, b"what the owner was shown"))
    guard.release("1.1", 11, b"what the maker signs now")


def standing_for_the_agent(guard: UpdateGuard) -> None:
    blob = make_blob(b"agent")
    parts = (Part("agent", "agent", "agent", blob, (), 5, 1),)
    guard.release("2.0", 20, b"agent", parts=parts, replaces_agent=True)
    guard.allow_all()


def standing_for_a_marked_one(guard: UpdateGuard) -> None:
    """A release of another installer whose maker says that it holds the agent."""
    guard.release("2.0", 20, replaces_agent=True)
    guard.allow_all()


def agent_without_the_word(guard: UpdateGuard) -> None:
    """An approval of the very release that does not say that it replaces the agent."""
    standing_for_the_agent(guard)
    world = guard.fleet.world
    payload = make_approval_payload(world.policy, guard.newest, guard.terms(), NOW_MS)
    guard.server.approvals.append(seal({**payload, "agent": False}, world.signers))


def forged(guard: UpdateGuard, **changes: Any) -> None:
    guard.release("1.1", 11)
    world = guard.fleet.world
    payload = make_approval_payload(world.policy, guard.newest, guard.terms(), NOW_MS)
    guard.server.approvals.append(seal({**payload, **changes}, world.signers))


def of_another_owner(guard: UpdateGuard) -> None:
    forged(guard, owner="ab" * 32)


def of_another_epoch(guard: UpdateGuard) -> None:
    forged(guard, epoch=2)


def by_a_stranger(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    other = World.make(name="Other")
    payload = make_approval_payload(guard.fleet.world.policy, guard.newest, guard.terms(), NOW_MS)
    guard.server.approvals.append(seal(payload, other.signers))


def with_a_word_changed(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.approve(selector=Selector(groups=("trial",)))
    raw = guard.server.approvals.pop()
    guard.server.approvals.append(alter(raw, {"selector": "all"}))


def by_the_refresh_key(guard: UpdateGuard) -> None:
    forged(guard)
    world = guard.fleet.world
    raw = guard.server.approvals.pop()
    guard.server.approvals.append(resign(raw, {}, [world.lease_signer]))


# --- the director


def say(guard: UpdateGuard, *files: TargetFile, **changes: Any) -> None:
    guard.release("1.1", 11)
    guard.approve()
    lie(guard, "director", "targets", direct(guard, *(files or guard.server.directed), **changes))


def for_another_device(guard: UpdateGuard) -> None:
    say(guard, device="a" * 32)


def for_another_owner(guard: UpdateGuard) -> None:
    say(guard, owner="ab" * 32)


def older_word(guard: UpdateGuard) -> None:
    say(guard, version=1)
    guard.director.version = 9


def forked_word(guard: UpdateGuard) -> None:
    """Two words of one version."""
    say(guard, version=50)
    guard.server.directed = []
    lie(guard, "director", "targets", direct(guard, version=50))
    guard.run()
    say(guard, version=50)


def director_by_another_key(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.approve()
    word = guard.director.direct(
        guard.device, guard.fleet.world.owner, guard.server.directed, by=signer(901)
    )
    lie(guard, "director", "targets", word)


def director_root_not_following(guard: UpdateGuard) -> None:
    """A second root that the first one's keys did not sign."""
    other = Director(key=signer(902))
    root = Metadata.from_bytes(other.root)
    root.signed.version = 2
    root.sign(other.key)
    guard.release("1.1", 11)
    guard.approve()
    lie(guard, "director", "root", root.to_bytes())


def another_hash(guard: UpdateGuard) -> None:
    """The director names the path of a release with a hash that the maker never signed."""
    guard.release("1.1", 11)
    guard.approve()
    evil = make_manifest("1.1", 11, b"evil")
    guard.server.manifests[evil.hash] = write_manifest(evil)
    guard.server.directed = [file_of(evil)]
    guard.approve(evil)


def too_many(guard: UpdateGuard) -> None:
    say(guard, *(file_of(make_manifest(f"1.{n}", n, b"x")) for n in range(1, 18)))


def delegates(guard: UpdateGuard) -> None:
    say(guard, delegations={"keys": {}, "roles": []})


def director_without_end(guard: UpdateGuard) -> None:
    say(guard)
    lie(guard, "director", "targets", b" " * 20_000)


Attack = Callable[[UpdateGuard], None]
ATTACKS: dict[Attack, str] = {
    unsigned: "delegated_threshold",
    signed_by_another_products_key: "delegated_threshold",
    root_with_too_few_signatures: "root_threshold",
    root_with_one_signature_twice: "root_malformed",
    frozen: "timestamp_expired",
    mixed: "wrong_hash",
    replayed: "rollback_timestamp",
    fast_forwarded: "rollback_timestamp",
    two_delegators_with_one_role_name: "another_products_key",
    signed_by_the_targets_role: "another_products_key",
    named_but_never_released: "not_released",
    another_products_path: "not_released",
    no_maker: "unknown_maker",
    under_another_path: "another_release",
    not_as_signed: "wrong_hash",
    older_counter: "older_counter",
    wrong_hardware: "wrong_hardware",
    lacks_what_it_needs: "missing_dependency",
    conflicts_with_what_is_there: "conflicting_release",
    leaves_one_out: "must_pass_through",
    not_approved: "not_approved",
    for_another_group: "approved_for_others",
    over: "approval_over",
    over_and_the_clock_is_in_1970: "approval_over",
    withdrawn: "not_approved",
    withdrawn_and_replayed: "not_approved",
    of_the_same_version_by_name: "not_approved",
    standing_for_the_agent: "not_approved",
    standing_for_a_marked_one: "not_approved",
    agent_without_the_word: "not_approved",
    of_another_owner: "another_owner",
    of_another_epoch: "old_epoch",
    by_a_stranger: "too_few_signatures",
    with_a_word_changed: "bad_signature",
    by_the_refresh_key: "too_few_signatures",
    for_another_device: "another_device",
    for_another_owner: "another_device",
    older_word: "rollback_director",
    forked_word: "forked_director",
    director_by_another_key: "director_threshold",
    director_root_not_following: "root_threshold",
    another_hash: "director_differs",
    too_many: "too_many_targets",
    delegates: "director_delegates",
    director_without_end: "targets_too_large",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_it_is_refused_by_name_and_changes_nothing(guard: UpdateGuard, attack: Attack) -> None:
    attack(guard)
    with nothing_changes(guard):
        guard.run()
    assert ATTACKS[attack] in names_rule(guard)
    assert guard.core.updates.memory.attempt is None
    # A release that is refused is in a report that the machine signed; what is wrong with a word
    # that names none is in an entry.
    if guard.server.directed and "director" not in guard.server.lies:
        assert guard.outcomes()[-1] == "refused"


PATHS = (
    *("../../etc/passwd", "/etc/passwd", "kiosk/../release.json", "kiosk//release.json"),
    *("kiosk/$(reboot)/release.json", "kiosk/1;reboot/release.json", "kiosk/`x`/release.json"),
    *("kiosk/1 1/release.json", "kiosk/-rf/release.json", "kiosk/1\n1/release.json"),
    *("kiosk/\u202e/release.json", ".ssh/authorized_keys", "kiosk/%2e%2e/release.json"),
)


@pytest.mark.parametrize("path", PATHS)
def test_no_path_of_the_directors_leads_anywhere(guard: UpdateGuard, path: str) -> None:
    say(guard, file_of(make_manifest("1.1", 11, b"x"), path))
    files = sorted(p for p in guard.folder.rglob("*") if "journal" not in str(p))
    with nothing_changes(guard):
        guard.run()
    assert "bad_target_path" in names_rule(guard)
    assert sorted(p for p in guard.folder.rglob("*") if "journal" not in str(p)) == files


def test_another_root_for_the_director(tmp_path: Path) -> None:
    """Whoever answers first hands a root of his own to a machine that has none yet."""
    guard = UpdateGuard.make(tmp_path / "m")
    guard.release("1.1", 11)
    guard.approve()
    other = Director(key=signer(902))
    lie(guard, "root", guard.director.anchor, other.root)
    with nothing_changes(guard):
        guard.run()
    assert "another_root" in names_rule(guard)
    guard.server.lies.clear()
    guard.run()
    assert guard.core.updates.memory.held[PRODUCT].version == "1.1"


def test_a_clock_twenty_years_ahead_forgets_nothing(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.approve()
    now = guard.clock.wall
    guard.clock.wall += 20 * YEAR_MS
    with nothing_changes(guard):
        guard.run()
    assert "root_expired" in names_rule(guard)
    guard.clock.wall = now
    guard.run()
    assert guard.core.updates.memory.held[PRODUCT].version == "1.1"


def test_past_its_lease_a_machine_takes_nothing(guard: UpdateGuard) -> None:
    guard.clock.pass_ms(2 * DAY_MS)
    guard.release("1.1", 11)
    guard.approve()
    with nothing_changes(guard):
        guard.run()
    assert guard.reports()[-1].rule == "lease_expired"


def test_a_machine_that_was_retired_takes_nothing(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.approve()
    entry = replace(guard._entry((), "P7"), state=RETIRED)
    guard.fleet.world.publish([entry])
    guard.core._take_documents(text_of(guard))
    with nothing_changes(guard):
        guard.run()
    assert guard.reports()[-1].rule == "not_confirmed"


def text_of(guard: UpdateGuard) -> str:
    return to_base64url(guard.fleet.world.bundle(guard.device).to_bytes())


def test_a_delta_from_what_is_not_there_is_never_asked_for(guard: UpdateGuard) -> None:
    """Its source differs in one byte from what is active: all of the part is fetched instead."""
    payload, patch = b"n" * 50_000, b"a patch"
    almost = make_blob(b"the files of 1.0".replace(b"1.0", b"1.O"))
    delta = Delta(almost.sha256, make_blob(patch))
    part = Part("app", "directory", "app", make_blob(payload), (delta,), len(payload), 1)
    manifest = make_manifest("1.1", 11, payload, parts=(part,))
    guard.publish(manifest, payload, patch)
    guard.approve()
    guard.server.asked.clear()
    guard.run()
    assert guard.core.updates.memory.held[PRODUCT].version == "1.1"
    assert "patch" not in guard.installer.words
    asked = {q.name for q in guard.server.asked if q.what == "blob"}
    assert asked == {part.blob.sha256}


def test_who_may_approve_alone_is_the_owners_policy(tmp_path: Path) -> None:
    """One of two approvers signs twice, or in the other's name."""
    guard = UpdateGuard.make(tmp_path / "m")
    world = guard.fleet.world
    guard.release("1.1", 11)
    payload = make_standing_payload(world.policy, PRODUCT, guard.terms(), 0, NOW_MS)
    raw = seal(payload, [World.make(name="X").signers[0]])
    guard.server.approvals = [raw, raw.replace(b'"signatures":[', b'"signatures":[ ')]
    with nothing_changes(guard):
        guard.run()
    assert {"too_few_signatures", "not_canonical", "not_approved"} <= names_rule(guard)
