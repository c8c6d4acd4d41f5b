"""The machine's view of its owner: the nine rules, each broken alone, and the view persisted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.keys_world import hand_over
from tests.trust_world import NOW_MS, Machine, World, refused, resign

from fleetward.runtime.keys import make_key
from fleetward.trust.canonical import JsonObject
from fleetward.trust.documents import (
    MAX_BUNDLE_BYTES,
    MAX_STORED_BYTES,
    Anchor,
    Bundle,
    OwnerView,
    advance,
    first_view,
    read_bundle,
    restore_view,
)
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.head import make_head_payload, make_lease_payload
from fleetward.trust.keys import ED25519
from fleetward.trust.roster import make_roster_payload


@pytest.fixture
def world() -> World:
    return World.make(("ada", "ben"), {"policy": 2})


@pytest.fixture
def machine(world: World) -> Machine:
    machine = world.machine()
    world.confirm(machine, world.machine("another"))
    return machine


def restored(view: OwnerView) -> OwnerView:
    stored = read_bundle(view.to_bundle().to_bytes(), max_bytes=MAX_STORED_BYTES)
    return restore_view(view.anchor, stored, view.lease_serial)


def test_a_view_follows_its_owner(world: World, machine: Machine) -> None:
    view = world.view(machine)
    assert (view.policy.version, view.confirmed, view.lease_serial) == (1, True, 2)
    world.next_policy()
    world.retire(machine)
    later = advance(view, world.bundle(machine.device))
    assert (later.policy.version, later.confirmed, later.lease_serial) == (2, False, 3)
    assert later.entry is not None
    assert later.entry.state == "retired"
    assert view.confirmed  # The one before is as it was.
    assert restored(later) == later
    assert restored(view) == view


def test_1_another_owners_root(world: World, machine: Machine) -> None:
    thief = World.make(name="Thief")
    stolen = thief.bundle(machine.device)
    with refused(Untrusted, "another_owner"):
        first_view(world.anchor(machine.device), stolen)
    with refused(Untrusted, "another_owner"):
        advance(world.view(machine), stolen)
    with refused(Malformed, "not_json"):
        first_view(world.anchor(machine.device), replace(stolen, root=b""))
    rootless = replace(world.bundle(machine.device), root=b"")
    assert advance(world.view(machine), rootless) == world.view(machine)


def test_2_policies_without_a_gap(world: World, machine: Machine) -> None:
    view = world.view(machine)
    world.next_policy()
    world.next_policy()
    world.publish()
    good = world.bundle(machine.device)
    with refused(Untrusted, "wrong_version"):
        advance(view, replace(good, policies=(good.policies[2],)))
    with refused(Untrusted, "wrong_version"):
        advance(view, replace(good, policies=(good.policies[2], good.policies[1])))
    with refused(Untrusted, "no_policy"):
        first_view(view.anchor, replace(good, policies=()))
    assert advance(view, replace(good, policies=good.policies[1:])).policy.version == 3


def test_2_a_policy_without_the_signatures_of_the_one_before(
    world: World, machine: Machine
) -> None:
    view = world.view(machine)
    forged = seal(world.next_payload(), [world.people["ada"]])
    with refused(Untrusted, "too_few_signatures"):
        advance(view, Bundle(root=b"", policies=(forged,)))


def test_3_a_known_policy_is_that_same_policy(world: World, machine: Machine) -> None:
    before = world.policy
    world.next_policy({"never_ports": [23]})
    world.publish()
    view = world.view(machine)
    double = resign(world.policy.raw, {"never_ports": []}, world.signers)
    with refused(Untrusted, "forked_policy"):
        advance(view, Bundle(root=b"", policies=(double,)))
    first = resign(before.raw, {"never_ports": []}, world.signers)
    with refused(Untrusted, "forked_policy"):
        advance(view, Bundle(root=b"", policies=(first,)))
    # Whoever is not the owner cannot make him look like a liar.
    for known in (before.raw, world.policy.raw):
        junk = resign(known, {"never_ports": []}, [make_key(ED25519)])
        with refused(Untrusted, "too_few_signatures"):
            advance(view, Bundle(root=b"", policies=(junk,)))


def test_4_the_lowest_acceptable_policy(world: World, machine: Machine) -> None:
    old = world.bundle(machine.device)
    world.next_policy()
    world.publish()
    anchor = world.anchor(machine.device)
    with refused(Untrusted, "policy_below_lowest"):
        first_view(anchor, old)
    fork = replace(anchor, policy_hash="00" * 32)
    with refused(Untrusted, "policy_below_lowest"):
        first_view(fork, world.bundle(machine.device))
    # Newer than the lowest is good.
    lowest = world.anchor(machine.device, world.policies[0])
    assert first_view(lowest, world.bundle(machine.device)).policy.version == 2


def test_5_a_head_is_not_older_and_not_another(world: World, machine: Machine) -> None:
    old = world.bundle(machine.device)
    world.publish()
    view = world.view(machine)
    with refused(Untrusted, "old_head"):
        advance(view, old)
    payload = make_head_payload(
        world.policy, world.rosters[-1], world.heads[-1].version, NOW_MS + 1
    )
    fork = replace(world.bundle(machine.device), head=seal(payload, world.signers))
    with refused(Untrusted, "forked_head"):
        advance(view, fork)


def test_6_old_and_new_documents_do_not_mix(world: World, machine: Machine) -> None:
    old = world.bundle(machine.device)
    view = world.view(machine)
    world.next_policy()
    world.publish()
    new = world.bundle(machine.device)
    for mixed in (
        replace(new, policies=old.policies),
        replace(new, head=old.head),
        replace(new, head=b"", roster=b"", entry=b"", lease=b""),
        replace(new, roster=old.roster),
        replace(old, roster=new.roster),
        replace(old, head=b""),
        replace(old, head=b"", roster=b""),
        replace(old, head=b"", entry=b""),
    ):
        with refused(Untrusted, "mixed_documents"):
            advance(view, mixed)
    with refused(Malformed, "not_json"):
        advance(view, replace(new, roster=b""))


def test_6_a_lease_without_any_head(world: World, machine: Machine) -> None:
    bundle = world.bundle(machine.device)
    headless = first_view(
        world.anchor(machine.device), Bundle(root=bundle.root, policies=bundle.policies)
    )
    assert (headless.head, headless.confirmed) == (None, False)
    with refused(Untrusted, "mixed_documents"):
        advance(headless, Bundle(root=b"", lease=bundle.lease))
    assert advance(headless, bundle) == world.view(machine)


def test_7_a_roster_is_not_older_and_not_another(world: World, machine: Machine) -> None:
    view = world.view(machine)
    good = world.bundle(machine.device)
    for version, reason in ((1, "old_roster"), (2, "forked_roster")):
        roster = seal(
            make_roster_payload(world.policy, version, NOW_MS + 1, world.entries), world.signers
        )
        names: JsonObject = {"hash": read_envelope(roster).hash, "version": version}
        head = resign(good.head, {"roster": names, "version": 99}, world.signers)
        with refused(Untrusted, reason):
            advance(view, replace(good, head=head, roster=roster, lease=b""))


def test_8_an_entry_is_proven_and_its_absence_means_unconfirmed(
    world: World, machine: Machine
) -> None:
    good = world.bundle(machine.device)
    view = world.view(machine)
    other = world.bundle(world.machines[1].device)
    stolen = replace(
        good, entry=other.entry, entry_index=other.entry_index, entry_proof=other.entry_proof
    )
    with refused(Untrusted, "another_device"):
        advance(view, stolen)
    with refused(Untrusted, "bad_inclusion_proof"):
        advance(view, replace(good, entry_proof=()))
    renamed = good.entry.replace(b"pump 7", b"pump 8")
    with refused(Untrusted, "bad_inclusion_proof"):
        advance(view, replace(good, entry=renamed))
    withheld = replace(good, entry=b"", entry_index=0, entry_proof=())
    assert first_view(view.anchor, withheld).confirmed is False
    assert advance(view, withheld).confirmed is True  # Shown before, under this very roster.
    world.publish()
    later = replace(world.bundle(machine.device), entry=b"", entry_index=0, entry_proof=())
    assert advance(view, later).confirmed is False


def test_9_a_lease_serves_once(world: World, machine: Machine) -> None:
    first = world.bundle(machine.device)
    world.lease()
    view = world.view(machine)
    with refused(Untrusted, "old_lease"):
        advance(view, first)
    assert advance(view, world.bundle(machine.device)) == view  # The running one again.
    payload = make_lease_payload(world.heads[-1], view.lease_serial, NOW_MS + 1, 3600)
    twin = replace(first, lease=seal(payload, [world.lease_signer]))
    with refused(Untrusted, "old_lease"):
        advance(view, twin)
    # A restart forgets nothing, a new head ends the lease, and its serial stays taken.
    world.roster(world.entries)
    world.head()
    leaseless = advance(view, replace(world.bundle(machine.device), lease=b""))
    assert (leaseless.lease, leaseless.lease_serial) == (None, view.lease_serial)
    again = restored(leaseless)
    assert again == leaseless
    old_serial = make_lease_payload(world.heads[-1], view.lease_serial, NOW_MS, 3600)
    with refused(Untrusted, "old_lease"):
        advance(again, Bundle(root=b"", lease=seal(old_serial, [world.lease_signer])))


def test_9_a_lease_may_come_alone(world: World, machine: Machine) -> None:
    view = world.view(machine)
    lease = world.lease()
    renewed = advance(view, Bundle(root=b"", lease=lease.raw))
    assert (renewed.lease, renewed.lease_serial) == (lease, lease.serial)
    assert replace(renewed, lease=view.lease, lease_serial=view.lease_serial) == view
    with refused(Untrusted, "another_head"):
        world.publish()
        advance(view, Bundle(root=b"", lease=world.leases[-1].raw))


def test_a_new_epoch_needs_everything_anew(world: World, machine: Machine) -> None:
    view = world.view(machine)
    hand_over(world)
    old_roster = world.bundle(machine.device)
    with refused(Untrusted, "too_few_signatures"):  # It is of keys that died.
        advance(view, old_roster)
    world.publish()
    assert advance(view, world.bundle(machine.device)).policy.epoch == 2


def test_a_hundred_policies_are_persisted_and_read_back() -> None:
    world = World.make()
    machine = world.machine()
    world.confirm(machine)
    view = world.view(machine)
    while len(world.policies) < 101:
        world.next_policy()
    world.publish()
    view = advance(view, replace(world.bundle(machine.device), policies=tuple(
        p.raw for p in world.policies[1:])))  # fmt: skip
    assert (view.policy.version, view.confirmed) == (101, True)
    assert restored(view) == view


def test_files_that_were_altered_are_not_believed(world: World, machine: Machine) -> None:
    view = world.view(machine)
    stored = view.to_bundle()
    for altered in (
        replace(stored, policies=()),
        replace(stored, entry=stored.entry.replace(b"active", b"retired")),
        replace(stored, head=stored.head.replace(b'"version":2', b'"version":3')),
    ):
        with pytest.raises((Malformed, Untrusted)):
            restore_view(view.anchor, altered, view.lease_serial)
    with refused(Untrusted, "policy_below_lowest"):
        restore_view(Anchor(world.owner, machine.device, 2, "00" * 32), stored, view.lease_serial)


def test_a_bundle_round_trips_and_has_exactly_its_fields(world: World, machine: Machine) -> None:
    bundle = world.bundle(machine.device)
    data = bundle.to_bytes()
    assert read_bundle(data) == bundle
    with refused(Malformed, "too_large"):
        read_bundle(b" " * (MAX_BUNDLE_BYTES + 1))
    with refused(Malformed, "unknown_field"):
        read_bundle(data.replace(b'{"entry"', b'{"aa":1,"entry"'))
    with refused(Malformed, "bad_field"):
        read_bundle(replace(bundle, policies=(b"",)).to_bytes())
    with refused(Malformed, "bad_field"):
        read_bundle(replace(bundle, entry_proof=(bytes(33),)).to_bytes())
    with refused(Malformed, "bad_field"):
        read_bundle(replace(bundle, entry_proof=(bytes(32),) * 65).to_bytes())
