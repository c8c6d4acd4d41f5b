"""A fleet is sold: from the buyer's first policy on, nobody of the seller is obeyed.

The seller keeps every key that he ever had, and may hold the server too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.keys_world import hand_over, handover, name_recovery, recovered
from tests.trust_world import NOW_MS, Machine, World, payload_of, refused, resign
from tests.unit.device.device_world import Fleet, Guarded, pushed
from tests.unit.device.session_guard import SessionGuard

from fleetward.device.gate import ACCEPTED, HANDED_OVER
from fleetward.device.port import TakeCertificate, TakePushed, Vouch
from fleetward.runtime.keys import make_key
from fleetward.runtime.x509 import certificate_sha256, make_authority
from fleetward.trust.canonical import Json, to_base64url
from fleetward.trust.documents import Bundle, advance, first_view
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError, Untrusted
from fleetward.trust.grants.ending import make_beat_payload, make_stop_payload
from fleetward.trust.head import make_head_payload, make_lease_payload
from fleetward.trust.keys import ED25519, ES256, Signer
from fleetward.trust.policy import verify_following_policy, verify_next_policy
from fleetward.trust.roster import make_roster_payload
from fleetward.wire.identity import CertificateReply


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[SessionGuard]:
    made = SessionGuard.make(tmp_path)
    yield made
    made.close()


@pytest.fixture
def seller() -> World:
    world = World.make(("ada", "ben"), {"policy": 2})
    name_recovery(world)
    world.confirm(world.machine("pump"))
    return world


def machine_of(world: World) -> Machine:
    return world.machines[0]


def test_everything_of_the_seller_ends_at_once(guard: SessionGuard) -> None:
    trust = guard.access.trust
    opened = guard.enter()
    waiting, offer = guard.ask()
    grant = guard.access.grant(waiting, offer)
    ada = trust.signers[0]
    live = next(iter(guard.core.sessions.live))
    stop = seal(make_stop_payload(trust.policy, live, "no", NOW_MS), [ada])
    beat = seal(make_beat_payload(trust.policy, live, 10**9), [ada])
    hand_over(trust, "Care Ltd")
    trust.publish()
    guard.publish()
    assert guard.core.view.owner_name == "Care Ltd"
    assert guard.core.view.confirmed
    said = guard.entries(HANDED_OVER)[0]["words"]
    assert said == ("This machine was handed over to Care Ltd; nobody of Plant is obeyed any more.")
    opened.close()
    guard.core.tick()
    assert guard.entries("session.ended")[0]["by"] == "policy"
    accepted = guard.entries(ACCEPTED)[-1]
    assert (accepted["epoch"], accepted["policy"]) == (2, trust.policy.hash)
    for order in (grant, stop, beat, waiting.raw):
        with pytest.raises(FleetwardError):
            guard.push(order)
    assert guard.doors is not None
    assert guard.doors.opened == 1
    # And after a restart of the agent too.
    guard.start()
    assert guard.core.view.policy.epoch == 2


def test_the_sellers_documents_after_the_sale(seller: World) -> None:
    machine = machine_of(seller)
    old_policy, old_roster, old_head = seller.policy, seller.rosters[-1], seller.heads[-1]
    dead = hand_over(seller)
    seller.publish()
    view = seller.view(machine)
    honest = seller.bundle(machine.device)
    roster = seal(make_roster_payload(seller.policy, 99, NOW_MS, seller.entries), dead)
    head = seal(make_head_payload(seller.policy, seller.rosters[-1], 99, NOW_MS), dead)
    lease = seal(make_lease_payload(seller.heads[-1], 10**9, NOW_MS, 3600), dead)
    for bundle in (
        replace(honest, head=head),
        replace(honest, roster=roster),
        replace(honest, lease=lease),
        Bundle(root=b"", lease=lease),
        replace(honest, head=old_head.raw, roster=old_roster.raw),
    ):
        with pytest.raises(Untrusted):
            advance(view, bundle)
    # Nor a policy of theirs: not the next, not one in the place of the buyer's.
    for payload in (seller.next_payload(), {**payload_of(old_policy.raw), "version": 3}):
        with pytest.raises(Untrusted):
            advance(view, Bundle(root=b"", policies=(seal(payload, dead),)))


def _sale(seller: World, changes: dict[str, Json]) -> None:
    """Sign the sale by everybody, with these changes; it is verified as a next policy."""
    before = (seller.people, seller.lease_signer)
    seller.people = {"buyer": make_key(ED25519), "second": make_key(ES256)}
    seller.lease_signer = make_key(ED25519)
    try:
        payload = handover(seller, changes=changes)
        everybody = [*before[0].values(), *seller.signers]
        verify_next_policy(seal(payload, everybody), seller.policy)
    finally:
        seller.people, seller.lease_signer = before


def test_a_sale_with_an_old_key_left_in(seller: World) -> None:
    _sale(seller, {})
    before = payload_of(seller.policy.raw)
    old_rows, old_roots = before["keys"], before["roots"]
    assert isinstance(old_rows, list)
    assert isinstance(old_roots, dict)
    for row in old_rows:  # People, the refresher, and both keepers of recovery keys.
        held = dict(seller.people)
        with refused(Untrusted, "old_key_kept"):
            _sale_with_row(seller, row)
        assert seller.people == held
    with refused(Untrusted, "old_key_kept"):
        _sale(seller, {"roots": old_roots})  # The fleet CA, which signs who may connect.


def _sale_with_row(seller: World, row: Json) -> None:
    fresh: dict[str, Signer] = {"buyer": make_key(ED25519), "second": make_key(ES256)}
    held, lease = seller.people, seller.lease_signer
    seller.people, seller.lease_signer = fresh, make_key(ED25519)
    try:
        payload = handover(seller)
        keys = payload["keys"]
        assert isinstance(keys, list)
        payload["keys"] = [*keys, row]
        signers = [*held.values(), *fresh.values()]
        verify_next_policy(seal(payload, signers), seller.policy)
    finally:
        seller.people, seller.lease_signer = held, lease


def test_a_recording_key_that_stays_or_turns_up_as_a_persons(seller: World) -> None:
    recording = make_key(ES256)
    roots = payload_of(seller.policy.raw)["roots"]
    assert isinstance(roots, dict)

    text = f"{ES256}:{to_base64url(recording.public.spki)}"
    seller.next_policy({"roots": {**roots, "recording_key": text}})
    new_ca: dict[str, Json] = {**roots, "recording_key": text, "fleet_ca": "ee" * 32}
    with refused(Untrusted, "old_key_kept"):
        _sale(seller, {"roots": new_ca})
    row: dict[str, Json] = {**recording.public.to_json(), "org": "", "person": "late"}
    with refused(Untrusted, "old_key_kept"):
        _sale_with_row(seller, row)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epoch": 3}, "skipped_epoch"),
        ({"epoch": 10**9}, "skipped_epoch"),
        ({"version": 9}, "wrong_version"),
        ({"epoch": 1}, "renamed_owner"),
    ],
)
def test_epochs_rise_by_one(seller: World, changes: dict[str, Json], reason: str) -> None:
    with refused(Untrusted, reason):
        _sale(seller, changes)


def test_a_sale_without_a_name_and_a_name_without_a_sale(seller: World) -> None:
    with refused(Untrusted, "renamed_owner"):
        seller.next_policy({"name": "Care Ltd"})
    with refused(Untrusted, "unnamed_owner"):
        payload = seller.next_payload({"epoch": 2})
        verify_next_policy(seal(payload, seller.signers), seller.policy)


def test_a_sale_that_only_one_side_signed(seller: World) -> None:
    held = dict(seller.people)
    version = len(seller.policies)
    hand_over(seller)
    sold = seller.policies.pop()
    before = seller.policy
    assert before.version == version
    sides: list[list[Signer]] = [
        list(held.values()), list(seller.people.values()), list(held.values())[:1],
    ]  # fmt: skip
    for signers in sides:
        with refused(Untrusted, "too_few_signatures"):
            verify_following_policy(resign(sold.raw, {}, signers), before)


def test_recovery_keys_of_the_seller_after_the_sale(seller: World) -> None:
    keepers = name_recovery(seller, ("rosa", "ron"))
    raw, _ = recovered(seller, keepers)
    before = seller.policy
    hand_over(seller)
    with refused(Untrusted, "too_few_signatures"):
        later = resign(raw, {"version": seller.policy.version + 1, "epoch": 2}, keepers)
        verify_following_policy(later, seller.policy)
    # They cannot sell either: a recovery keeps the epoch.
    sold = payload_of(seller.policy.raw)
    forged = seal(sold, [*keepers, *seller.signers])
    with pytest.raises(Untrusted):
        verify_following_policy(forged, before)


def test_a_sale_replayed_on_a_fork(guard: SessionGuard) -> None:
    """The seller changes his mind by an ordinary policy; the draft that the buyer holds is dead."""
    trust = guard.access.trust
    held, lease = dict(trust.people), trust.lease_signer
    hand_over(trust, "Care Ltd")
    sold = trust.policies.pop()
    trust.people, trust.lease_signer = held, lease
    trust.next_policy()
    trust.publish()
    guard.publish()
    version = guard.core.view.policy.version
    with pytest.raises(FleetwardError) as caught:
        word = pushed(Bundle(root=b"", policies=(sold.raw,)))
        guard.core.handle(TakePushed(), word)
    assert caught.value.reason == "forked_policy"
    assert guard.core.view.policy.version == version
    assert guard.core.view.policy.epoch == 1


def test_who_joins_after_the_sale_joins_the_buyer(seller: World) -> None:
    before = seller.anchor(machine_of(seller).device)
    hand_over(seller, "Care Ltd")
    seller.publish()
    device = seller.machine("new").device
    assert first_view(seller.anchor(device), seller.bundle(device)).owner_name == "Care Ltd"
    # A join string of the seller's leads to the buyer too: its policy is in the chain.
    view = first_view(replace(before, device=device), seller.bundle(device))
    assert view.policy.epoch == 2


def renewed(machine: Guarded, chain_of: Fleet, bundle: Bundle) -> str:
    """Let the machine renew, with a chain by this fleet CA; return why that was refused."""
    transport = make_key(ES256).public
    machine.core.handle(Vouch(), transport.spki)
    reply = CertificateReply(
        certificate=chain_of.issue(machine.device, transport),
        bundle=to_base64url(bundle.to_bytes()),
    )
    try:
        machine.core.handle(TakeCertificate(), msgspec.json.encode(reply))
    except FleetwardError as e:
        return e.reason
    return ""


def test_a_sale_reaches_a_machine_by_its_renewal_and_a_strangers_chain_does_not(
    tmp_path: Path,
) -> None:
    """The buyer's fleet CA comes with his policy: first whom to obey, then whose certificate."""
    fleet = Fleet.make()
    machine = Guarded(tmp_path / "guard", fleet)
    other = make_authority("buyer", not_before_ms=NOW_MS, days=9, path_length=0)
    buyer = Fleet(fleet.world, fleet.server_ca, other)
    before = fleet.world.bundle(machine.device)
    assert renewed(machine, buyer, before) == "wrong_fleet_ca"
    roots = payload_of(fleet.world.policy.raw)["roots"]
    assert isinstance(roots, dict)
    sold: dict[str, Json] = {**roots, "fleet_ca": certificate_sha256(other.certificate)}
    hand_over(fleet.world, "Care Ltd", {"roots": sold})
    fleet.world.publish()
    after = fleet.world.bundle(machine.device)
    assert renewed(machine, buyer, replace(after, lease=b"x")) != ""
    assert machine.core.view.policy.epoch == 1
    assert renewed(machine, buyer, after) == ""
    assert machine.core.view.owner_name == "Care Ltd"
    # The seller's fleet CA vouches for nothing any more, whatever comes with it.
    for bundle in (before, after):
        assert renewed(machine, fleet, bundle) == "wrong_fleet_ca"
    machine.core.close()
