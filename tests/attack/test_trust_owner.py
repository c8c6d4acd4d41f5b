"""A server that has everything but the owner's keys tries to change whom a machine obeys.

Claim: a machine obeys the owner whose hash it joined with, by the newest documents it has seen.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.keys_world import hand_over
from tests.trust_world import (
    NOW_MS,
    Machine,
    World,
    alter,
    key_row,
    payload_of,
    refused,
    resign,
    strange_signature,
)

from fleetward.runtime.keys import make_key
from fleetward.trust import canonical
from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.documents import Bundle, OwnerView, advance, first_view, restore_view
from fleetward.trust.envelope import seal, signed_bytes
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.head import make_head_payload
from fleetward.trust.keys import ED25519


@pytest.fixture
def owner() -> World:
    return World.make(("ada", "ben"), {"policy": 2})


@pytest.fixture
def machine(owner: World) -> Machine:
    machine = owner.machine()
    owner.confirm(machine)
    return machine


@pytest.fixture
def view(owner: World, machine: Machine) -> OwnerView:
    return owner.view(machine)


def test_another_owners_root(owner: World, machine: Machine, view: OwnerView) -> None:
    """The server makes an owner of its own, complete and in order, with this machine on it."""
    thief = World.make(("mallory",), name="Plant")
    thief.publish([machine.entry()])
    everything = thief.bundle(machine.device)
    with refused(Untrusted, "another_owner"):
        advance(view, everything)
    with refused(Untrusted, "too_few_signatures"):
        advance(view, replace(everything, root=b""))
    with refused(Untrusted, "too_few_signatures"):
        advance(view, replace(everything, root=b"", policies=()))
    with refused(Untrusted, "another_owner"):
        first_view(owner.anchor(machine.device), everything)


def test_a_root_that_lists_one_more_key(owner: World, machine: Machine) -> None:
    mallory = make_key(ED25519)
    root = canonical.decode_object(owner.owner_root.raw)
    keys = root["keys"]
    assert isinstance(keys, list)
    row: JsonObject = {**mallory.public.to_json(), "person": "ada"}
    forged = canonical.encode({**root, "keys": [*keys, row]})
    with refused(Untrusted, "another_owner"):
        first_view(owner.anchor(machine.device), replace(owner.bundle(machine.device), root=forged))


def test_a_forged_policy(owner: World, view: OwnerView) -> None:
    """The next policy, by nobody, by the server's keys, by one of two, by the refresh key."""
    mallory = make_key(ED25519)
    payload = owner.next_payload()
    keys, roles = payload["keys"], payload["roles"]
    assert isinstance(keys, list)
    assert isinstance(roles, dict)
    keys.append(key_row(mallory.public, "mallory"))
    roles["policy"] = {"keys": [mallory.public.key_id], "threshold": 1}
    for signers in (
        [],
        [mallory],
        [owner.log],
        [owner.lease_signer],
        [mallory, owner.people["ada"]],
        [mallory, owner.people["ada"], owner.lease_signer],
    ):
        with refused(Untrusted, "too_few_signatures"):
            advance(view, Bundle(root=b"", policies=(seal(payload, signers),)))
    with refused(Untrusted, "bad_signature"):
        advance(view, Bundle(root=b"", policies=(alter(owner.policy.raw, {"version": 2}),)))


def test_one_person_with_two_keys(owner: World, machine: Machine) -> None:
    """Ada is one of two. She gives herself a second key, lawfully, and then tries alone."""
    second = make_key(ED25519)
    payload = owner.next_payload()
    keys, roles = payload["keys"], payload["roles"]
    assert isinstance(keys, list)
    assert isinstance(roles, dict)
    keys.append(key_row(second.public, "ada", org="Another firm"))
    members: list[Json] = [s.public.key_id for s in (*owner.signers, second)]
    roles["policy"] = {"keys": members, "threshold": 2}
    owner.next_policy(payload)
    owner.publish()
    alone = seal(owner.next_payload(), [owner.people["ada"], second])
    with refused(Untrusted, "too_few_signatures"):
        advance(owner.view(machine), Bundle(root=b"", policies=(alone,)))


def test_policy_rollback(owner: World, machine: Machine) -> None:
    """Ben's key was stolen and taken out. The server hands out the old policy that names it."""
    before = owner.bundle(machine.device)
    owner.next_policy()
    owner.publish()
    view = owner.view(machine)
    rolled = advance(view, Bundle(root=before.root, policies=before.policies))
    assert rolled == view  # Known already; nothing moved.
    with refused(Untrusted, "old_head"):
        advance(view, before)
    # A new machine is told the lowest policy by its join string, not by the server.
    with refused(Untrusted, "policy_below_lowest"):
        first_view(owner.anchor(owner.machine("new").device), before)
    # And a machine that restarts has not forgotten.
    again = restore_view(view.anchor, view.to_bundle(), view.lease_serial)
    with refused(Untrusted, "old_head"):
        advance(again, before)


def test_a_policy_of_the_epoch_before_a_sale(owner: World, machine: Machine) -> None:
    seller = dict(owner.people)
    before = owner.next_payload()
    hand_over(owner)
    owner.publish()
    view = owner.view(machine)
    third = {**owner.next_payload(), "epoch": 1}
    with refused(Untrusted, "too_few_signatures"):
        advance(view, Bundle(root=b"", policies=(seal(third, list(seller.values())),)))
    with refused(Untrusted, "old_epoch"):
        advance(view, Bundle(root=b"", policies=(seal(third, owner.signers),)))
    with refused(Untrusted, "too_few_signatures"):  # Not even as a fork of the buyer's.
        sellers = [seller["ada"]]
        advance(view, Bundle(root=b"", policies=(seal({**before, "epoch": 2}, sellers),)))


def test_mixed_documents(owner: World, machine: Machine) -> None:
    """A retired machine is kept alive by its old roster under the newest policy."""
    view = owner.view(machine)
    old = owner.bundle(machine.device)
    owner.next_policy()
    owner.retire(machine)
    new = owner.bundle(machine.device)
    for mixed in (
        replace(new, roster=old.roster, entry=old.entry, entry_proof=old.entry_proof),
        replace(new, head=old.head, roster=old.roster, lease=old.lease),
        replace(old, policies=new.policies),
        Bundle(root=b"", policies=new.policies),
        replace(old, roster=new.roster),
        Bundle(root=b"", roster=new.roster),
        Bundle(root=b"", entry=new.entry),
    ):
        with refused(Untrusted, "mixed_documents"):
            advance(view, mixed)


def test_a_forked_head(owner: World, machine: Machine, view: OwnerView) -> None:
    """Even with the owner's head key, two machines cannot be shown two heads of one version."""
    payload = make_head_payload(
        owner.policy, owner.rosters[-1], owner.heads[-1].version, NOW_MS + 9
    )
    fork = replace(owner.bundle(machine.device), head=seal(payload, owner.signers), lease=b"")
    with refused(Untrusted, "forked_head"):
        advance(view, fork)


def test_a_replayed_lease(owner: World, machine: Machine) -> None:
    """A lease is kept back, and replayed to a machine that the owner let run out."""
    early = owner.bundle(machine.device)
    owner.lease()
    view = owner.view(machine)
    with refused(Untrusted, "old_lease"):
        advance(view, early)
    same = advance(view, owner.bundle(machine.device))
    assert same.lease_serial == view.lease_serial  # The caller's clock runs on.
    restarted = restore_view(view.anchor, view.to_bundle(), view.lease_serial)
    with refused(Untrusted, "old_lease"):
        advance(restarted, early)


def test_the_refresh_key_refreshes_and_nothing_else(owner: World, view: OwnerView) -> None:
    """It lies online, so it will be stolen. It can then prolong, and no more."""
    thief = [owner.lease_signer]
    for document in (owner.heads[-1].raw, owner.rosters[-1].raw):
        stolen = resign(document, {"version": 99}, thief)
        for bundle in (Bundle(root=b"", head=stolen), Bundle(root=b"", head=owner.heads[-1].raw,
                                                             roster=stolen)):  # fmt: skip
            with pytest.raises((Untrusted, Malformed)):
                advance(view, bundle)
    longer = resign(owner.leases[-1].raw, {"seconds": 400 * 86_400, "serial": 99}, thief)
    with refused(Untrusted, "lease_too_long"):
        advance(view, Bundle(root=b"", lease=longer))


def test_a_signature_moved_to_another_type(owner: World, view: OwnerView) -> None:
    """The owner signed a lease. The server puts the signature under a head with the same fields."""
    lease = payload_of(owner.leases[-1].raw)
    for kind in ("head", "roster", "owner-policy", "invitation", "generation"):
        payload: JsonObject = {**lease, "type": f"fleetward.{kind}.v1"}
        signature = strange_signature(owner.people["ada"], signed_bytes(lease))
        moved = canonical.encode({"payload": payload, "signatures": [signature]})
        slots = {
            "head": Bundle(root=b"", head=moved),
            "roster": Bundle(root=b"", head=owner.heads[-1].raw, roster=moved),
            "owner-policy": Bundle(root=b"", policies=(moved,)),
        }
        for slot, bundle in slots.items():
            expected = (Untrusted, "bad_signature") if slot == kind else (Malformed, "wrong_type")
            with refused(*expected):
                advance(view, bundle)


def test_a_machines_signature_is_not_an_owners(
    owner: World, machine: Machine, view: OwnerView
) -> None:
    """A machine that was broken into signs documents of its owner."""
    signers = [machine.identity]
    policy = seal(owner.next_payload(), signers)
    head = resign(owner.heads[-1].raw, {"version": 99}, signers)
    lease = resign(owner.leases[-1].raw, {"serial": 99}, signers)
    for bundle in (
        Bundle(root=b"", policies=(policy,)),
        Bundle(root=b"", head=head),
        Bundle(root=b"", lease=lease),
    ):
        with refused(Untrusted, "too_few_signatures"):
            advance(view, bundle)
