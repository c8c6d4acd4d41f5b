"""A lying server and a lying machine meet the roster, invitations, journals and the record."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.trust_world import DAY_MS, NOW_MS, World, alter, reader_of, refused, resign

from fleetward.runtime.keys import make_key
from fleetward.trust.canonical import JsonObject
from fleetward.trust.documents import advance, first_view
from fleetward.trust.envelope import document_hash, seal
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.generation import make_opening_payload, verify_opening
from fleetward.trust.invitation import read_join_string, verify_invitation
from fleetward.trust.journal import (
    SeenCheckpoint,
    join_batch,
    make_batch_header,
    make_entry,
    verify_batch,
)
from fleetward.trust.keys import ED25519, ES256
from fleetward.trust.merkle import hash_leaf, prove_inclusion
from fleetward.trust.note import (
    Checkpoint,
    origin_of,
    sign_checkpoint,
    verify_checkpoint,
    verify_cosignature,
)
from fleetward.trust.roster import verify_entries
from fleetward.trust.statements import verify_hello, verify_join, verify_renewal

# The roster.


@pytest.fixture
def owner() -> World:
    return World.make()


def test_a_roster_that_hides_a_machine(owner: World) -> None:
    """The owner checks the list: every machine he signed for must be there, and no other."""
    owner.confirm(*[owner.machine(f"pump {n}") for n in range(4)])
    roster, entries = owner.rosters[-1], [e.to_bytes() for e in owner.entries]
    with refused(Untrusted, "hidden_machine"):
        verify_entries(roster, entries[:3])
    with refused(Untrusted, "bad_entries"):
        verify_entries(roster, [*entries[:3], entries[0]])
    with refused(Untrusted, "bad_signature"):
        shorter = alter(owner.rosters[-1].raw, {"count": 3})
        first_view(
            owner.anchor(owner.machines[0].device),
            replace(owner.bundle(owner.machines[0].device), roster=shorter),
        )


def test_a_roster_that_adds_a_machine(owner: World) -> None:
    """An intruder with a true bundle and an entry of its own, proven in a tree of the server's."""
    owner.confirm(owner.machine("pump"), owner.machine("valve"))
    intruder = owner.machine("intruder")
    entry = intruder.entry().to_bytes()
    leaves = [hash_leaf(e.to_bytes()) for e in owner.entries] + [hash_leaf(entry)]
    forged = replace(
        owner.bundle(intruder.device),
        entry=entry,
        entry_index=2,
        entry_proof=tuple(prove_inclusion(2, 3, reader_of(leaves))),
    )
    with refused(Malformed, "bad_index"):
        first_view(owner.anchor(intruder.device), forged)
    with refused(Untrusted, "bad_inclusion_proof"):
        first_view(owner.anchor(intruder.device), replace(forged, entry_index=1))
    with refused(Untrusted, "bad_entries"):
        verify_entries(owner.rosters[-1], [entry, owner.entries[0].to_bytes()])


def test_another_machines_place(owner: World) -> None:
    """The server shows a test rig the entry of the pump, name, site and all."""
    pump, rig = owner.machine("pump"), owner.machine("rig")
    owner.confirm(pump)
    shown = owner.bundle(pump.device)
    with refused(Untrusted, "another_device"):
        first_view(owner.anchor(rig.device), shown)
    swapped = shown.entry.replace(pump.device.encode(), rig.device.encode())
    with refused(Untrusted, "bad_inclusion_proof"):
        first_view(owner.anchor(rig.device), replace(shown, entry=swapped))


def test_a_retired_machine_that_is_told_it_lives(owner: World) -> None:
    pump = owner.machine("pump")
    owner.confirm(pump)
    alive = owner.bundle(pump.device)
    owner.retire(pump)
    view = owner.view(pump)
    assert not view.confirmed
    with refused(Untrusted, "old_head"):
        advance(view, alive)
    retired = owner.bundle(pump.device)
    revived = retired.entry.replace(b"retired", b"active")
    with refused(Untrusted, "bad_inclusion_proof"):
        advance(view, replace(retired, entry=revived))


# The invitation.


def test_an_invitation_that_the_server_altered(owner: World) -> None:
    """One use becomes a thousand, a day becomes a year, unconfirmed becomes preapproved."""
    invitation = owner.invitation(uses=1)
    changes: list[JsonObject] = [
        {"uses": 1000},
        {"expires_at": NOW_MS + 365 * DAY_MS},
        {"preapproved": True},
        {"site": "Elsewhere"},
        {"epoch": 2},
    ]
    for change in changes:
        with refused(Untrusted, "bad_signature"):
            verify_invitation(alter(invitation.raw, change), owner.policy, NOW_MS)
        with refused(Untrusted, "too_few_signatures"):
            servers = resign(invitation.raw, change, [make_key(ED25519), owner.log])
            verify_invitation(servers, owner.policy, NOW_MS)


def test_an_expired_invitation(owner: World) -> None:
    invitation = owner.invitation(ttl_ms=60_000)
    verify_invitation(invitation.raw, owner.policy, NOW_MS + 59_999)
    with refused(Refused, "invitation_expired"):
        verify_invitation(invitation.raw, owner.policy, NOW_MS + 60_000)


def test_another_owners_invitation(owner: World) -> None:
    thief = World.make(name="Thief")
    with refused(Untrusted, "too_few_signatures"):
        verify_invitation(thief.invitation().raw, owner.policy, NOW_MS)
    # Two owners share a person: his signature for the one is none for the other.
    shared = resign(owner.invitation().raw, {"owner": thief.owner}, owner.signers)
    with refused(Untrusted, "another_owner"):
        verify_invitation(shared, owner.policy, NOW_MS)


def test_a_join_string_leads_to_one_owner_alone(owner: World) -> None:
    """Whoever answers at the address: root and policy must be those of the join string."""
    join = read_join_string(owner.join_string().to_text())
    device = owner.machine().device
    anchor = replace(owner.anchor(device), owner=join.owner, policy_hash=join.policy_hash)
    thief = World.make(name="Thief")
    with refused(Untrusted, "another_owner"):
        first_view(anchor, thief.bundle(device))
    with refused(Untrusted, "too_few_signatures"):
        first_view(anchor, replace(thief.bundle(device), root=owner.owner_root.raw))


# What machines say.


def test_a_batch_for_another_owner(owner: World) -> None:
    """A machine was sold. Its evidence for the buyer is not slipped into the seller's record."""
    machine = owner.machine()
    machine.write()
    batch = machine.cut()
    with refused(Untrusted, "another_owner"):
        verify_batch(batch, machine.key, World.make(name="Seller").owner)


def test_a_batch_that_the_server_edited(owner: World) -> None:
    machine = owner.machine()
    for port in (22, 23, 80):
        machine.write("posture.changed", {"port": port})
    header, *entries = machine.cut().split(b"\n")
    edited = make_entry(2, NOW_MS + 2, machine.boot, "posture.changed", {"port": 24})
    edits = [
        [entries[0], edited, entries[2]],
        [entries[0], entries[2], entries[1]],
        [entries[0], entries[0], entries[2]],
    ]
    for edit in edits:
        with refused(Untrusted, "bad_chain"):
            verify_batch(join_batch(header, edit), machine.key, owner.owner)
    with refused(Malformed, "bad_batch_range"):
        verify_batch(join_batch(header, entries[:2]), machine.key, owner.owner)


def test_a_stolen_issuing_ca_speaks_for_nobody(owner: World) -> None:
    """It can make certificates. A statement needs the identity key, whose hash is the id."""
    machine, thief = owner.machine("pump"), owner.machine("thief")
    machine.write()
    batch, nonce = machine.cut(), bytes(32)
    header = make_batch_header(machine.header(1, 1), thief.identity)
    with refused(Untrusted, "wrong_signer"):
        verify_batch(join_batch(header, batch.split(b"\n")[1:]), machine.key, owner.owner)
    with refused(Untrusted, "wrong_signer"):
        verify_hello(resign(machine.hello(nonce), {}, [thief.identity]), machine.key, nonce)
    with refused(Untrusted, "wrong_signer"):
        verify_renewal(resign(machine.renewal(), {}, [thief.identity]), machine.key)
    with refused(Untrusted, "wrong_signer"):
        verify_join(resign(machine.join("ab" * 32), {}, [thief.identity]))


def test_a_hello_cannot_be_replayed(owner: World) -> None:
    machine = owner.machine()
    hello = machine.hello(bytes(32))
    with refused(Untrusted, "wrong_nonce"):
        verify_hello(hello, machine.key, bytes(31) + b"\x01")


# The record.


def test_a_log_of_another_key_origin_or_generation(owner: World) -> None:
    checkpoint = Checkpoint(origin_of(owner.owner, 1), 7, bytes(32))
    log_key = owner.policy.roots.log_key
    note = sign_checkpoint(checkpoint, owner.log)
    assert verify_checkpoint(note, checkpoint.origin, log_key) == checkpoint
    with refused(Untrusted, "unsigned_note"):
        verify_checkpoint(
            sign_checkpoint(checkpoint, make_key(ED25519)), checkpoint.origin, log_key
        )
    with refused(Untrusted, "wrong_origin"):
        verify_checkpoint(note, origin_of(owner.owner, 2), log_key)
    with refused(Untrusted, "not_cosigned"):
        verify_cosignature(note, "witness", make_key(ED25519).public)


def test_a_server_cannot_declare_its_own_loss(owner: World) -> None:
    """To forget the newest part of the record, it would need the owner's policy keys."""
    payload = make_opening_payload(owner.policy, SeenCheckpoint(1, 5, "ab" * 32), "oops", NOW_MS)
    for thief in (owner.log, owner.lease_signer, make_key(ES256)):
        with refused(Untrusted, "too_few_signatures"):
            verify_opening(seal(payload, [thief]), owner.policies)


def test_a_retired_key_declares_no_loss(owner: World) -> None:
    """Whoever kept the keys of a policy that was replaced dates an opening back, or on."""
    before, known = owner.policy, SeenCheckpoint(1, 5, "ab" * 32)
    honest = make_opening_payload(before, known, "the disk died", NOW_MS)
    stands = seal(honest, owner.signers)
    retired = owner.rotate_keys([document_hash(honest)])
    assert verify_opening(stands, owner.policies).last_known == known
    smaller: JsonObject = {"generation": 1, "root": "cd" * 32, "size": 2}
    changes: list[JsonObject] = [
        {"last_known": smaller}, {"reason": "another"}, {"issued_at": NOW_MS - 1}
    ]  # fmt: skip
    for change in changes:
        with refused(Untrusted, "retired_policy"):
            verify_opening(seal({**honest, **change}, retired), owner.policies)
    newest = make_opening_payload(owner.policy, known, "oops", NOW_MS)
    with refused(Untrusted, "too_few_signatures"):
        verify_opening(seal(newest, retired), owner.policies)
    # The named opening does not become another by other signatures over it.
    with refused(Untrusted, "too_few_signatures"):
        verify_opening(seal(honest, [make_key(ED25519)]), owner.policies)
