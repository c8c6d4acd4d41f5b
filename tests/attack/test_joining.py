"""Attacks on joining and renewing: each is refused, stands in the ledger, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography import x509 as library
from tests.server_world import DAY_MS, ServerWorld, server_world
from tests.trust_world import Machine, World, payload_of
from tests.unit.server.overview_world import today

from fleetward.runtime.database import Database
from fleetward.runtime.files import make_private_directory
from fleetward.runtime.keys import make_key
from fleetward.server.audit import store as audit_store
from fleetward.server.callout import Decision, PeerCertificate
from fleetward.server.identity import store as identity_store
from fleetward.server.identity.judge import RosterJudge
from fleetward.server.schema.tables import metadata
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.errors import FleetwardError
from fleetward.trust.invitation import Invitation
from fleetward.trust.keys import ED25519, ES256
from fleetward.trust.statements import make_join_payload, make_renewal_payload

TABLES = ("identity_device", "identity_invitation")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ServerWorld]:
    database = Database.open(f"sqlite:///{tmp_path / 'state.db'}")
    with server_world(database, make_private_directory(tmp_path / "ca")) as made:
        yield made
    database.close()


def refused(world: ServerWorld, statement: bytes, invitation: bytes) -> str:
    """Join, which must be refused; nothing may have changed but the record."""
    before = [world.count(table) for table in TABLES]
    told = len(world.deeds("device.joined"))
    with pytest.raises(FleetwardError) as caught:
        world.house.devices.join(statement, invitation)
    assert [world.count(table) for table in TABLES] == before
    assert len(world.deeds("device.joined")) == told
    assert caught.value.reason in world.reasons("device.join_refused")
    return caught.value.reason


def altered(invitation: Invitation, **changes: object) -> bytes:
    """The invitation with another payload under the owner's old signatures."""
    raw = invitation.raw
    for name, value in changes.items():
        old = payload_of(raw)[name]
        before, after = (
            f'"{name}":{text}'.encode()
            for text in (
                str(old).lower() if isinstance(old, bool) else str(old),
                str(value).lower(),
            )
        )
        assert before in raw
        raw = raw.replace(before, after)
    return raw


def test_invitations_that_are_not_the_owners(world: ServerWorld) -> None:
    machine, invitation = world.trust.machine("new"), world.trust.invitation()
    # Altered by the server: more uses, longer, let in at once.
    for changes in (
        {"uses": 1000},
        {"expires_at": invitation.expires_at_ms + 10 * DAY_MS},
        {"preapproved": True},
    ):
        raw = altered(invitation, **changes)
        statement = machine.join(read_envelope(raw).hash)
        assert refused(world, statement, raw) == "bad_signature"
    # Forged by the server's own keys, and by a stranger's.
    for thief in (world.trust.log, make_key(ED25519)):
        raw = seal(payload_of(invitation.raw), [thief])
        assert refused(world, machine.join(invitation.hash), raw) == "too_few_signatures"
    # Of another owner, however well signed.
    other = World.make(name="Elsewhere").invitation()
    assert refused(world, machine.join(other.hash), other.raw) == "too_few_signatures"
    # No document at all.
    assert refused(world, machine.join(invitation.hash), b"") == "not_json"
    assert refused(world, b"\xff", invitation.raw) == "not_utf8"
    # And the honest one is still good.
    world.house.devices.join(machine.join(invitation.hash), invitation.raw)


def test_expired(world: ServerWorld) -> None:
    machine, invitation = world.trust.machine("new"), world.trust.invitation(ttl_ms=1000)
    world.clock.now += 1000
    reason = refused(world, machine.join(invitation.hash), invitation.raw)
    assert reason == "invitation_expired"


def test_signed_by_a_clock_that_ran_ahead(world: ServerWorld) -> None:
    machine, invitation = world.trust.machine("new"), world.trust.invitation(ttl_ms=9 * DAY_MS)
    world.clock.now -= DAY_MS + 1
    reason = refused(world, machine.join(invitation.hash), invitation.raw)
    assert reason == "invitation_from_the_future"


def test_used_up(world: ServerWorld) -> None:
    invitation = world.trust.invitation(uses=2)
    first = world.join("one", invitation)
    world.join("two", invitation)
    third = world.trust.machine("three")
    statement = third.join(invitation.hash)
    assert refused(world, statement, invitation.raw) == "invitation_used_up"
    # Who is in already may join again by it: that is no further use.
    world.house.devices.join(first.join(invitation.hash), invitation.raw)
    assert refused(world, statement, invitation.raw) == "invitation_used_up"


def test_statements_that_are_not_the_machines_own(world: ServerWorld) -> None:
    invitation = world.trust.invitation(uses=9)
    victim, thief = world.join("victim", invitation), world.trust.machine("thief")
    transport = make_key(ES256)
    payload = make_join_payload(
        victim.key, victim.owner, invitation.hash, transport.public, 9, victim.facts()
    )
    # The victim's name with the thief's signature; a statement for another owner; an invitation
    # that the statement does not name.
    assert refused(world, seal(payload, [thief.identity]), invitation.raw) == "wrong_signer"
    stranger = Machine("new", World.make(name="Elsewhere").owner, make_key(ES256))
    assert refused(world, stranger.join(invitation.hash), invitation.raw) == "another_owner"
    assert refused(world, thief.join("0" * 64), invitation.raw) == "wrong_invitation"
    # An Ed25519 key where a machine has P-256.
    odd = Machine("odd", victim.owner, make_key(ED25519))
    refused(world, odd.join(invitation.hash), invitation.raw)


def test_a_lineage_that_does_not_rise(world: ServerWorld) -> None:
    invitation = world.trust.invitation()
    machine = world.join("pump", invitation)
    machine.lineage = 0
    assert refused(world, machine.join(invitation.hash), invitation.raw) == "lineage"
    machine.lineage = 0
    with pytest.raises(FleetwardError) as caught:
        world.house.devices.renew(machine.renewal())
    assert caught.value.reason == "lineage"
    assert world.reasons("device.renewal_refused") == ["lineage"]
    renewed, _ = world.house.devices.renew(machine.renewal())
    known = world.house.devices.known(machine.device)
    assert known is not None
    assert (known.serial, known.lineage) == (renewed.serial, 2)


def test_a_retired_machine_stays_out(world: ServerWorld) -> None:
    machine = world.join("pump")
    world.confirm(machine)
    world.trust.retire(machine)
    world.publish()
    invitation = world.trust.invitation()
    assert refused(world, machine.join(invitation.hash), invitation.raw) == "retired"
    with pytest.raises(FleetwardError, match="retired"):
        world.house.devices.renew(machine.renewal())
    # Also after a restart, and where this server has forgotten it but the roster has not.
    world.restart()
    assert refused(world, machine.join(invitation.hash), invitation.raw) == "retired"
    with world.database.write() as conn:
        conn.execute(identity_store.devices.delete())
    world.restart()
    assert refused(world, machine.join(invitation.hash), invitation.raw) == "retired"


def test_a_confirmed_machine_that_the_server_forgot_is_confirmed_when_it_returns(
    world: ServerWorld,
) -> None:
    machine = world.join("pump")
    world.confirm(machine)
    with world.database.write() as conn:
        conn.execute(identity_store.devices.delete())
    world.restart()
    invitation = world.trust.invitation()
    world.house.devices.join(machine.join(invitation.hash), invitation.raw)
    assert world.house.devices.state_of(machine.device) == "active"
    assert world.house.devices.pending() == []


def test_renewals_by_others(world: ServerWorld) -> None:
    machine, thief = world.join("pump"), world.join("thief")
    payload = make_renewal_payload(machine.device, machine.owner, make_key(ES256).public, 99)
    before = world.house.devices.known(machine.device)
    for statement, reason in (
        (seal(payload, [thief.identity]), "wrong_signer"),
        (seal({**payload, "owner": "0" * 64}, [machine.identity]), "another_owner"),
        (Machine("new", machine.owner, make_key(ES256)).renewal(), "unknown_device"),
        (b"[]", None),
    ):
        with pytest.raises(FleetwardError) as caught:
            world.house.devices.renew(statement)
        assert reason in (None, caught.value.reason)
    assert world.house.devices.known(machine.device) == before
    assert len(world.deeds("device.renewal_refused")) == 4


def test_knocking_does_not_fill_the_record(world: ServerWorld) -> None:
    for _ in range(100):
        with pytest.raises(FleetwardError):
            world.house.devices.join(b"noise", b"noise")
    assert len(world.deeds("device.join_refused")) == 1
    world.clock.now += 60_000
    with pytest.raises(FleetwardError):
        world.house.devices.join(b"noise", b"noise")
    assert [d["body"]["count"] for d in world.deeds("device.join_refused")] == [1, 100]


def test_a_stranger_cannot_make_it_look_as_if_an_identity_were_shared(world: ServerWorld) -> None:
    machine, stranger = world.join("pump"), make_key(ES256)
    payload = make_renewal_payload(machine.device, machine.owner, make_key(ES256).public, 99)
    with pytest.raises(FleetwardError):
        world.house.devices.renew(seal(payload, [stranger]))
    assert world.reasons("device.renewal_refused") == ["wrong_signer"]
    assert [card.kind for card in today(world).cards if card.kind == "broken"] == []
    machine.lineage = 0
    with pytest.raises(FleetwardError):
        world.house.devices.renew(machine.renewal())
    assert [card.kind for card in today(world).cards if card.kind == "broken"] == ["broken"]


def test_a_restore_ends_invitations_that_the_backup_never_saw(world: ServerWorld) -> None:
    seen, unseen = world.trust.invitation(uses=5), world.trust.invitation(uses=5)
    inside = world.join("inside", seen)
    with world.database.write() as conn:
        audit_store.close_restored(conn)
        identity_store.end_invitations(conn, world.clock.now + 10)
    world.restart()
    for invitation in (seen, unseen):
        machine = world.trust.machine("late")
        with pytest.raises(FleetwardError) as caught:
            world.house.devices.join(machine.join(invitation.hash), invitation.raw)
        assert caught.value.reason == "invitation_ended"
    # Who is in renews as before.
    world.house.devices.renew(inside.renewal())


def test_who_may_connect(world: ServerWorld) -> None:
    machine = world.join("pump")
    judge = RosterJudge(world.house.devices, world.house.directory)
    chain, _ = world.house.devices.renew(machine.renewal())
    serial = library.load_pem_x509_certificates(chain.chain_pem.encode())[0].serial_number

    def decide(device: str, owner: str, serial_number: int) -> tuple[Decision, str]:
        fields = {"device_id": device, "owner_id": owner, "serial": serial_number}
        names = PeerCertificate.__dataclass_fields__
        peer = PeerCertificate(**{n: fields.get(n, 0) for n in names})  # type: ignore[arg-type]
        admission = judge.judge(peer)
        return admission.decision, admission.reason

    owner = world.trust.owner
    assert decide(machine.device, owner, serial) == (Decision.DEVICES, "ok")
    assert decide(machine.device, owner, serial + 1)[1] == "superseded_certificate"
    assert decide(machine.device, "0" * 64, serial)[1] == "another_owner"
    assert decide("a" * 32, owner, serial)[1] == "unknown_device"
    world.house.devices.quarantine(machine.device, "person:ada", "looks odd")
    assert decide(machine.device, owner, serial) == (Decision.QUARANTINE, "ok")
    world.house.devices.readmit(machine.device, "person:ada", "fine")
    world.confirm(machine)
    world.trust.retire(machine)
    world.publish()
    assert decide(machine.device, owner, serial)[1] == "retired"
    with pytest.raises(FleetwardError, match="retired"):
        world.house.devices.quarantine(machine.device, "person:ada", "too late")


def test_the_owners_word_stands_before_the_first_join_by_it_and_once(world: ServerWorld) -> None:
    """A refused invitation is no leaf; an accepted one is, as it was signed, before the join."""
    used = world.trust.invitation(uses=2, preapproved=True)
    refused(world, world.trust.machine("late").join("0" * 64), used.raw)
    leaf = metadata.tables["audit_leaf"]

    def leaves() -> list[tuple[str, bytes]]:
        kinds = ("document.invitation", "device.joined")
        with world.database.read() as conn:
            rows = conn.execute(
                sa.select(leaf.c.kind, leaf.c.body)
                .where(leaf.c.kind.in_(kinds))
                .order_by(leaf.c.position)
            ).all()
        return [(row.kind, row.body) for row in rows]

    assert leaves() == []
    for name in ("one", "two"):
        world.join(name, used)
    assert [kind for kind, _ in leaves()] == [
        "document.invitation", "device.joined", "device.joined",
    ]  # fmt: skip
    assert leaves()[0][1] == used.raw
    world.restart()
    assert refused(world, world.trust.machine("three").join(used.hash), used.raw) == (
        "invitation_used_up"
    )
    assert len(leaves()) == 3
