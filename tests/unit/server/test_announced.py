"""Recoveries and handovers at the server: recorded, shown, told, and never finished too early."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tests.keys_world import hand_over, name_recovery, recovered, take_recovered
from tests.server_world import DAY_MS, ServerWorld
from tests.trust_world import Machine, payload_of
from tests.unit.server.overview_world import overview

from fleetward.runtime import x509
from fleetward.server.directory.announced import MOST_ANNOUNCED
from fleetward.server.events import store as events
from fleetward.server.overview.store import Filter
from fleetward.server.owner_cards import owner_cards
from fleetward.trust.canonical import JsonObject
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.journal import join_batch, verify_batch
from fleetward.trust.keys import Signer
from fleetward.wire.subjects import Up

DAYS = 7


@pytest.fixture
def keepers(world: ServerWorld) -> list[Signer]:
    made = name_recovery(world.trust, days=DAYS)
    world.trust.publish()
    world.publish()
    return made


def announce(world: ServerWorld, raw: bytes) -> None:
    world.house.directory.announce(raw, "person:rita", world.clock.now)


def finish(world: ServerWorld, raw: bytes, people: Mapping[str, Signer]) -> None:
    """Upload what the recovered owner's tools upload; when it is refused, all is as before."""
    trust = world.trust
    held = (trust.people, trust.lease_signer)
    kept = [list(x) for x in (trust.policies, trust.rosters, trust.heads, trust.leases)]
    take_recovered(trust, raw, people)
    trust.publish()
    try:
        world.publish()
    except Refused:
        trust.people, trust.lease_signer = held
        trust.policies, trust.rosters, trust.heads, trust.leases = kept  # type: ignore[assignment]
        raise


def test_a_recovery_is_announced_shown_and_finished_after_its_delay(
    world: ServerWorld, keepers: list[Signer]
) -> None:
    machine = world.join("pump", preapproved=True)
    told: list[str] = []
    world.house.directory.announcements.listen(lambda: told.append("told"))
    raw, people = recovered(world.trust, keepers)
    with pytest.raises(Refused) as early:  # Never announced.
        finish(world, raw, people)
    assert early.value.reason == "recovery_waits"
    announce(world, raw)
    announce(world, raw)
    assert told == ["told"]
    (deed,) = world.deeds("owner.recovery_announced")
    assert "RECOVERY ANNOUNCED" in deed["body"]["words"]
    assert world.count("directory_announced") == 1
    (card,) = owner_cards(world.house.directory, world.house.devices)
    assert card.title.startswith("RECOVERY ANNOUNCED: ada would decide")
    # It is beside the chain: machines get what they got, and the announcement.
    assert world.house.directory.policy.version == 3
    ((version, bundle),) = world.house.directory.announced_bundles()
    assert (version, bundle.policies) == (3, (raw,))
    assert raw not in world.house.directory.bundle(machine.device).policies
    world.restart()
    assert len(world.house.directory.announcements.waiting()) == 1
    world.clock.now += DAYS * DAY_MS - 1
    with pytest.raises(Refused):
        finish(world, raw, people)
    world.clock.now += 1
    finish(world, raw, people)
    assert world.house.directory.documents is not None
    assert world.house.directory.policy.recovered
    assert world.house.directory.announcements.waiting() == []
    assert len(world.deeds("owner.recovery_held")) == 1
    world.restart()
    assert world.house.directory.policy.recovered


def test_the_present_keys_refuse(world: ServerWorld, keepers: list[Signer]) -> None:
    raw, people = recovered(world.trust, keepers)
    announce(world, raw)
    world.trust.next_policy()
    world.trust.publish()
    world.publish()
    assert world.house.directory.announcements.waiting() == []
    assert len(world.deeds("owner.recovery_refused")) == 1
    assert owner_cards(world.house.directory, world.house.devices) == []
    world.clock.now += DAYS * DAY_MS
    with pytest.raises(Untrusted):
        announce(world, raw)
    with pytest.raises(Untrusted):
        take_recovered(world.trust, raw, people)


def test_what_is_no_recovery_is_not_announced(world: ServerWorld, keepers: list[Signer]) -> None:
    bad = [
        recovered(world.trust, keepers[:1])[0],
        recovered(world.trust, keepers, {"never_ports": []})[0],
        world.trust.policy.raw,
        b"{}",
    ]
    for raw in bad:
        with pytest.raises((Malformed, Untrusted)):
            announce(world, raw)
    for number in range(MOST_ANNOUNCED):
        announce(world, recovered(world.trust, keepers, label=f"no {number}")[0])
    with pytest.raises(Refused):
        announce(world, recovered(world.trust, keepers, label="one more")[0])
    assert world.count("directory_announced") == MOST_ANNOUNCED


def say(world: ServerWorld, machine: Machine, version: int, digest: str) -> None:
    body: JsonObject = {"policy": digest, "policy_version": version, "words": "It holds now."}
    machine.write("gate.accepted", body)
    assert world.send(machine, Up.BATCH, machine.cut())["type"] == "receipt"


def test_a_handover_is_done_when_each_machine_has_said_so(world: ServerWorld) -> None:
    one, two = world.join("one"), world.join("two")
    world.confirm(one, two)
    trust, roots = world.trust, payload_of(world.trust.policy.raw)["roots"]
    assert isinstance(roots, dict)
    fleet = x509.make_authority(
        "buyer", not_before_ms=world.clock.now - DAY_MS, days=3650, path_length=1
    )
    request = x509.verify_request(world.authorities.issuing_request())
    issuing = x509.issue_intermediate(
        fleet, request, "issuing", owner_id=trust.owner,
        not_before_ms=world.clock.now - DAY_MS, days=365,
    )  # fmt: skip
    ca = x509.certificate_sha256(fleet.certificate)
    hand_over(trust, "Care Ltd", {"roots": {**roots, "fleet_ca": ca}})
    trust.publish()
    with pytest.raises(Untrusted):  # The seller's chain is nothing to the buyer.
        world.publish()
    world.chain = x509.write_certificates([issuing, fleet.certificate]).decode()
    world.publish()
    rooms = world.house
    assert rooms.directory.show().name == "Care Ltd"
    (card,) = owner_cards(rooms.directory, rooms.devices)
    assert card.title == "2 devices have not said yet that they were handed over to Care Ltd"
    say(world, one, trust.policy.version, trust.policy.hash)
    (card,) = owner_cards(rooms.directory, rooms.devices)
    assert card.title == "two has not said yet that it was handed over to Care Ltd"
    say(world, two, trust.policy.version, trust.policy.hash)
    assert owner_cards(rooms.directory, rooms.devices) == []


def test_the_newest_signed_batch_of_each_machine(world: ServerWorld) -> None:
    one, two = world.join("one", preapproved=True), world.join("two", preapproved=True)
    for version in (1, 2):
        say(world, one, version, f"{version:064x}")
        one.write("agent.started")
    one.write("agent.stopped")
    world.send(one, Up.BATCH, one.cut())
    two.write("agent.started")
    world.send(two, Up.BATCH, two.cut())
    with world.database.read() as conn:
        rows, total = events.select_signed(conn, "gate.accepted", 0, (0, 10), None)
    assert total == 1
    ((device, sequence, header, entries),) = rows
    assert device == one.device
    batch = verify_batch(join_batch(header, entries), one.key, world.trust.owner)
    found = next(e for e in batch.entries if e.sequence == sequence)
    assert found.body["policy_version"] == 2
    assert world.house.devices.policy_of(one.device) == 2
    assert world.house.devices.policy_of(two.device) == 0
    assert overview(world).today(Filter()).counts.total == 2
