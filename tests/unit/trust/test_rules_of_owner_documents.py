"""Root, policy, roster, head, lease, opening: each numbered rule broken by a document that is
otherwise right, and signed by the people that a real attack would have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.keys_world import hand_over
from tests.trust_world import (
    NOW_MS,
    World,
    alter,
    key_row,
    payload_of,
    reader_of,
    refused,
    resign,
)

from fleetward.runtime.keys import make_key
from fleetward.trust import canonical
from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.envelope import seal
from fleetward.trust.errors import Malformed, Misuse, Untrusted
from fleetward.trust.generation import make_opening_payload, verify_opening
from fleetward.trust.head import verify_head, verify_lease
from fleetward.trust.journal import SeenCheckpoint
from fleetward.trust.keys import ED25519, ES256
from fleetward.trust.merkle import hash_leaf, prove_inclusion
from fleetward.trust.policy import (
    ROLES,
    verify_first_policy,
    verify_next_policy,
    verify_policy_chain,
)
from fleetward.trust.root import make_root, root_hash, verify_root
from fleetward.trust.roster import (
    make_roster_payload,
    read_entry,
    verify_entries,
    verify_entry,
    verify_roster,
)

# The owner root.


@pytest.fixture
def world() -> World:
    return World.make(("ada", "ben", "cleo"), {"root": 2, "policy": 2})


def test_root_1_the_hash_is_the_one_that_was_given(world: World) -> None:
    other = World.make(("ada",), name="Elsewhere")
    with refused(Untrusted, "another_owner"):
        verify_root(other.owner_root.raw, world.owner)
    renamed = canonical.encode({**canonical.decode_object(world.owner_root.raw), "name": "Plant!"})
    with refused(Untrusted, "another_owner"):
        verify_root(renamed, world.owner)
    with refused(Malformed, "wrong_type"):
        root_hash(canonical.encode({"type": "fleetward.other.v1"}))


def root_with(changes: JsonObject) -> bytes:
    key = make_key(ED25519).public
    root = canonical.decode_object(make_root("Plant", [("ada", key)], 1, NOW_MS))
    return canonical.encode({**root, **changes})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"extra": 1}, "unknown_field"),  # 2.
        ({"name": ""}, "bad_field"),
        ({"epoch": 0}, "bad_field"),
        ({"created_at": -1}, "bad_field"),
        ({"threshold": 0}, "bad_threshold"),  # 3.
        ({"threshold": 2}, "bad_threshold"),
        ({"keys": []}, "bad_threshold"),
    ],
)
def test_root_2_and_3_its_fields(changes: JsonObject, reason: str) -> None:
    data = root_with(changes)
    with refused(Malformed, reason):
        verify_root(data, root_hash(data))


def test_root_3_a_key_stands_once_and_people_are_counted() -> None:
    one, two = make_key(ED25519).public, make_key(ES256).public
    twice = make_root("Plant", [("ada", one), ("ben", one)], 1, NOW_MS)
    with refused(Malformed, "duplicate_key"):
        verify_root(twice, root_hash(twice))
    same_person = make_root("Plant", [("ada", one), ("ada", two)], 2, NOW_MS)
    with refused(Malformed, "bad_threshold"):
        verify_root(same_person, root_hash(same_person))


# The owner policy.


def test_policy_1_the_first_needs_the_roots_threshold(world: World) -> None:
    payload = payload_of(world.policies[0].raw)
    with refused(Untrusted, "too_few_signatures"):
        verify_first_policy(seal(payload, [world.people["ada"]]), world.owner_root)
    both = [world.people["ada"], world.people["cleo"]]
    assert verify_first_policy(seal(payload, both), world.owner_root).version == 1


def test_policy_1_its_own_role_must_have_signed_it_too(world: World) -> None:
    payload = payload_of(world.policies[0].raw)
    dan = make_key(ED25519)
    roles, keys = payload["roles"], payload["keys"]
    assert isinstance(roles, dict)
    assert isinstance(keys, list)
    roles["policy"] = {"keys": [dan.public.key_id], "threshold": 1}
    keys.append(key_row(dan.public, "dan"))
    with refused(Untrusted, "too_few_signatures"):
        verify_first_policy(seal(payload, world.signers), world.owner_root)
    assert verify_first_policy(seal(payload, [*world.signers, dan]), world.owner_root)


def handover(world: World) -> tuple[JsonObject, JsonObject, list[Json]]:
    payload = world.next_payload()
    roles, keys = payload["roles"], payload["keys"]
    assert isinstance(roles, dict)
    assert isinstance(keys, list)
    return payload, roles, keys


def test_policy_2_the_keys_of_the_one_before_decide(world: World) -> None:
    mallory = make_key(ED25519)
    payload, roles, keys = handover(world)
    roles["policy"] = {"keys": [mallory.public.key_id], "threshold": 1}
    keys.append(key_row(mallory.public, "mallory"))
    for signers in ([mallory], [mallory, world.people["ada"]]):
        with refused(Untrusted, "too_few_signatures"):
            verify_next_policy(seal(payload, signers), world.policy)
    # The owner may hand over; then the new key must have signed as well.
    with refused(Untrusted, "too_few_signatures"):
        verify_next_policy(seal(payload, world.signers), world.policy)
    assert verify_next_policy(seal(payload, [*world.signers, mallory]), world.policy).version == 2


@pytest.mark.parametrize(
    ("changes", "family", "reason"),
    [
        ({"version": 1}, Untrusted, "wrong_version"),  # 3.
        ({"version": 2}, Untrusted, "wrong_version"),
        ({"version": 4}, Untrusted, "wrong_version"),
        ({"epoch": 1}, Untrusted, "old_epoch"),
        ({"owner": "00" * 32}, Untrusted, "another_owner"),  # 4.
        ({"type": "fleetward.roster.v1"}, Malformed, "wrong_type"),
        ({"extra": 1}, Malformed, "unknown_field"),
        ({"lease_seconds": 59}, Malformed, "bad_field"),
        ({"never_ports": [0]}, Malformed, "bad_field"),
        ({"never_ports": [22, 22]}, Malformed, "bad_field"),
        ({"never_ports": [True]}, Malformed, "bad_field"),
        ({"keys": []}, Malformed, "bad_role"),
        ({"version": True}, Malformed, "bad_field"),
    ],
)
def test_policy_3_and_4_version_epoch_owner_and_form(
    world: World, changes: JsonObject, family: type[Malformed] | type[Untrusted], reason: str
) -> None:
    hand_over(world)
    data = seal({**world.next_payload(), "epoch": 2, **changes}, world.signers)
    with refused(family, reason):
        verify_next_policy(data, world.policy)


def test_policy_4_the_first_has_the_roots_owner_and_epoch(world: World) -> None:
    first = world.policies[0].raw
    cases: list[tuple[JsonObject, str]] = [
        ({"owner": "00" * 32}, "another_owner"),
        ({"epoch": 2}, "another_owner"),
        ({"version": 2}, "wrong_version"),
    ]
    for changes, reason in cases:
        with refused(Untrusted, reason):
            verify_first_policy(resign(first, changes, world.signers), world.owner_root)


def roots_of(world: World) -> JsonObject:
    roots = payload_of(world.policy.raw)["roots"]
    assert isinstance(roots, dict)
    return roots


P256 = make_key(ES256).public


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"extra": ""}, "unknown_field"),
        ({"server_ca": "ff"}, "bad_field"),
        ({"log_key": P256.to_json()}, "bad_key"),
        ({"witnesses": {"w": P256.to_json()}}, "bad_key"),
        ({"witnesses": {"w w": make_key(ED25519).public.to_json()}}, "bad_note_name"),
        ({"makers": {"pump": 1}}, "bad_field"),
        ({"makers": {"pump": "ff"}}, "bad_field"),
        ({"download_origins": ["a", "a"]}, "bad_field"),
    ],
)
def test_policy_5_the_roots_stand_here_in_full(
    world: World, changes: JsonObject, reason: str
) -> None:
    roots: JsonObject = {**roots_of(world), **changes}
    with refused(Malformed, reason):
        verify_next_policy(seal(world.next_payload({"roots": roots}), world.signers), world.policy)


def test_policy_5_no_root_is_optional(world: World) -> None:
    for name in roots_of(world):
        roots = {k: v for k, v in roots_of(world).items() if k != name}
        with refused(Malformed, "missing_field"):
            verify_next_policy(
                seal(world.next_payload({"roots": roots}), world.signers), world.policy
            )


@pytest.mark.parametrize("role", ROLES)
def test_every_role_has_people_enough(world: World, role: str) -> None:
    for threshold in (0, 1):
        payload, roles, _ = handover(world)
        roles[role] = {"keys": [], "threshold": threshold}
        with refused(Malformed, "bad_threshold"):
            verify_next_policy(seal(payload, world.signers), world.policy)
    payload, roles, _ = handover(world)
    del roles[role]
    with refused(Malformed, "missing_field"):
        verify_next_policy(seal(payload, world.signers), world.policy)


def test_a_policy_lists_each_key_once(world: World) -> None:
    payload, _, keys = handover(world)
    keys.append(key_row(world.people["ada"].public, "eve"))
    with refused(Malformed, "duplicate_key"):
        verify_next_policy(seal(payload, world.signers), world.policy)


def test_a_chain_is_walked_from_the_root(world: World) -> None:
    chain = [world.policy.raw, world.next_policy().raw, world.next_policy().raw]
    assert verify_policy_chain(world.owner_root, chain).version == 3
    with refused(Untrusted, "wrong_version"):
        verify_policy_chain(world.owner_root, [chain[0], chain[2]])
    with refused(Untrusted, "wrong_version"):
        verify_policy_chain(world.owner_root, chain[1:])
    with refused(Malformed, "no_policy"):
        verify_policy_chain(world.owner_root, [])


# The roster.


def test_roster_1_needs_the_role(world: World) -> None:
    with refused(Untrusted, "too_few_signatures"):
        verify_roster(resign(world.rosters[0].raw, {}, [world.lease_signer]), world.policy)
    with refused(Untrusted, "bad_signature"):
        verify_roster(alter(world.rosters[0].raw, {"count": 1}), world.policy)


@pytest.mark.parametrize(
    ("changes", "family", "reason"),
    [
        ({"owner": "00" * 32}, Untrusted, "another_owner"),  # 2.
        ({"epoch": 2}, Untrusted, "old_epoch"),
        ({"version": 0}, Malformed, "bad_field"),
        ({"entries": []}, Malformed, "unknown_field"),
        ({"type": "fleetward.head.v1"}, Malformed, "wrong_type"),
    ],
)
def test_roster_2_owner_epoch_and_form(
    world: World, changes: JsonObject, family: type[Malformed] | type[Untrusted], reason: str
) -> None:
    with refused(family, reason):
        verify_roster(resign(world.rosters[0].raw, changes, world.signers), world.policy)


def test_roster_3_an_entry_has_exactly_its_fields(world: World) -> None:
    entry = world.machine().entry(groups=("wards", "icu"))
    value = canonical.decode_object(entry.to_bytes())
    assert read_entry(entry.to_bytes()) == entry
    cases: list[tuple[JsonObject, str]] = [
        ({"extra": 1}, "unknown_field"),
        ({"state": "lost"}, "bad_field"),
        ({"name": ""}, "bad_field"),
        ({"name": "a" * 81}, "bad_field"),
        ({"name": "pump\u202e7"}, "bad_field"),
        ({"groups": ["a", "a"]}, "bad_field"),
        ({"key_id": "a" * 32}, "bad_key_id"),
        (make_key(ED25519).public.to_json(), "bad_key"),
    ]
    for changes, reason in cases:
        with refused(Malformed, reason):
            read_entry(canonical.encode({**value, **changes}))


def test_roster_4_entries_are_all_there_and_in_order(world: World) -> None:
    world.confirm(*[world.machine(f"pump {n}") for n in range(5)])
    leaves = [e.to_bytes() for e in world.entries]
    roster = world.rosters[-1]
    assert verify_entries(roster, leaves) == tuple(world.entries)
    with refused(Untrusted, "hidden_machine"):
        verify_entries(roster, leaves[:-1])
    with refused(Untrusted, "hidden_machine"):
        verify_entries(roster, [*leaves, leaves[-1]])
    with refused(Untrusted, "bad_entries"):
        verify_entries(roster, [*leaves[1:], leaves[0]])
    with refused(Untrusted, "bad_entries"):
        verify_entries(roster, [world.machine("other").entry().to_bytes(), *leaves[1:]])


def test_roster_4_is_refused_even_when_the_owner_signed_it(world: World) -> None:
    one, two = sorted((world.machine("a").entry(), world.machine("b").entry()),
                      key=lambda e: e.device)  # fmt: skip
    for entries in ([two, one], [one, one], [one, replace(one, state="retired")]):
        with refused(Misuse, "bad_order"):
            make_roster_payload(world.policy, 2, NOW_MS, entries)
        leaves = [hash_leaf(e.to_bytes()) for e in entries]
        signed = make_roster_payload(world.policy, 2, NOW_MS, [one, two])
        signed["entries_root"] = prove_root(leaves)
        roster = verify_roster(seal(signed, world.signers), world.policy)
        with refused(Untrusted, "bad_order"):
            verify_entries(roster, [e.to_bytes() for e in entries])


def prove_root(leaves: list[bytes]) -> str:
    return reader_of(leaves)(1, 0).hex()


def test_a_machine_takes_its_own_entry_alone(world: World) -> None:
    mine, theirs = world.machine("mine"), world.machine("theirs")
    world.confirm(mine, theirs)
    roster, leaves = world.rosters[-1], [e.to_bytes() for e in world.entries]
    place = [e.device for e in world.entries].index(theirs.device)
    proof = prove_inclusion(place, 2, reader_of(hash_leaf(e) for e in leaves))
    entry = leaves[place]
    assert verify_entry(roster, entry, place, proof, theirs.device).name == "theirs"
    with refused(Untrusted, "another_device"):
        verify_entry(roster, entry, place, proof, mine.device)
    with refused(Untrusted, "bad_inclusion_proof"):
        verify_entry(roster, entry, 1 - place, proof, theirs.device)
    retired = entry.replace(b'"active"', b'"retired"')
    with refused(Untrusted, "bad_inclusion_proof"):
        verify_entry(roster, retired, place, proof, theirs.device)
    with refused(Malformed, "bad_index"):
        verify_entry(roster, entry, 2, proof, theirs.device)


# The head and the lease.


def test_head_1_needs_the_role(world: World) -> None:
    with refused(Untrusted, "too_few_signatures"):
        verify_head(resign(world.heads[0].raw, {}, [world.lease_signer]), world.policy)


@pytest.mark.parametrize(
    ("changes", "family", "reason"),
    [
        ({"owner": "00" * 32}, Untrusted, "another_owner"),
        ({"epoch": 2}, Untrusted, "old_epoch"),
        ({"policy": {"version": 1}}, Malformed, "missing_field"),  # 2.
        ({"roster": {"hash": "00" * 32, "version": 0}}, Malformed, "bad_field"),
        ({"version": 0}, Malformed, "bad_field"),
        ({"seconds": 60}, Malformed, "unknown_field"),
    ],
)
def test_head_2_and_its_form(
    world: World, changes: JsonObject, family: type[Malformed] | type[Untrusted], reason: str
) -> None:
    with refused(family, reason):
        verify_head(resign(world.heads[0].raw, changes, world.signers), world.policy)


def test_lease_3_is_signed_by_the_refresher_and_nobody_else(world: World) -> None:
    lease, head = world.leases[0], world.heads[0]
    with refused(Untrusted, "too_few_signatures"):
        verify_lease(resign(lease.raw, {}, world.signers), world.policy, head)


@pytest.mark.parametrize(
    ("changes", "family", "reason"),
    [
        ({"head": "00" * 32}, Untrusted, "another_head"),
        ({"owner": "00" * 32}, Untrusted, "another_owner"),
        ({"epoch": 2}, Untrusted, "old_epoch"),
        ({"seconds": 7 * 86_400 + 1}, Untrusted, "lease_too_long"),
        ({"seconds": 59}, Malformed, "bad_field"),
        ({"serial": 0}, Malformed, "bad_field"),
    ],
)
def test_lease_3_names_its_head_and_is_bounded(
    world: World, changes: JsonObject, family: type[Malformed] | type[Untrusted], reason: str
) -> None:
    raw = resign(world.leases[0].raw, changes, [world.lease_signer])
    with refused(family, reason):
        verify_lease(raw, world.policy, world.heads[0])


# The opening of a generation.

KNOWN = SeenCheckpoint(generation=1, size=42, root="ab" * 32)


@pytest.fixture
def opening(world: World) -> Callable[..., bytes]:
    payload = make_opening_payload(world.policy, KNOWN, "the disk died", NOW_MS)

    def make(changes: JsonObject | None = None, signers: list[str] | None = None) -> bytes:
        names = ["ada", "ben"] if signers is None else signers
        return seal({**payload, **(changes or {})}, [world.people[n] for n in names])

    return make


def test_an_opening_is_read(world: World, opening: Callable[..., bytes]) -> None:
    opened = verify_opening(opening(), world.policies)
    assert (opened.generation, opened.last_known, opened.reason) == (2, KNOWN, "the disk died")


@pytest.mark.parametrize(
    ("changes", "signers", "family", "reason"),
    [
        ({"policy": {"hash": "00" * 32, "version": 1}}, None, Untrusted, "unknown_policy"),  # 1.
        ({"owner": "00" * 32}, None, Untrusted, "another_owner"),
        ({"epoch": 2}, None, Untrusted, "wrong_epoch"),
        ({}, ["ada"], Untrusted, "too_few_signatures"),  # 2.
        ({"generation": 3}, None, Untrusted, "wrong_generation"),  # 4.
        ({"generation": 1}, None, Malformed, "bad_field"),
        ({"reason": "a\nb"}, None, Malformed, "bad_field"),
    ],
)
def test_opening_1_2_and_4(
    world: World,
    opening: Callable[..., bytes],
    changes: JsonObject,
    signers: list[str] | None,
    family: type[Malformed] | type[Untrusted],
    reason: str,
) -> None:
    with refused(family, reason):
        verify_opening(opening(changes, signers), world.policies)


def test_opening_3_counts_under_a_later_policy_that_names_it(
    world: World, opening: Callable[..., bytes]
) -> None:
    raw = opening()
    opened = verify_opening(raw, world.policies)
    world.next_policy({"openings": [opened.hash]})
    world.next_policy({"openings": []})
    assert verify_opening(raw, world.policies) == opened


def test_opening_3_does_not_count_when_no_later_policy_names_it(
    world: World, opening: Callable[..., bytes]
) -> None:
    raw = opening()
    world.next_policy({"openings": ["00" * 32]})
    with refused(Untrusted, "retired_policy"):
        verify_opening(raw, world.policies)
    # Nor does a policy name an opening in advance for the keys that come after it.
    with refused(Untrusted, "unknown_policy"):
        verify_opening(raw, world.policies[1:])


def test_the_openings_of_a_policy_are_digests(world: World) -> None:
    bad: list[list[Json]] = [["ab"], ["AB" * 32], ["ab" * 32, "ab" * 32], [1]]
    for openings in bad:
        raw = seal(world.next_payload({"openings": openings}), world.signers)
        with refused(Malformed, "bad_field"):
            verify_next_policy(raw, world.policy)
