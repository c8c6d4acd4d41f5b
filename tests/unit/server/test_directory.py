"""Owner documents: what the server takes, what it hands over, and how fast."""

from __future__ import annotations

import time

import pytest
from tests.server_world import ServerWorld
from tests.trust_world import Machine, World, payload_of

from fleetward.server.directory import store
from fleetward.server.directory.act import Directory
from fleetward.server.directory.decide import BundleMaker, judge_documents
from fleetward.trust.canonical import to_base64url
from fleetward.trust.documents import advance, first_view, read_bundle
from fleetward.trust.errors import FleetwardError, Unreachable
from fleetward.trust.roster import ACTIVE, RosterEntry


def refused(world: ServerWorld, **changes: object) -> str:
    """Upload documents that must be refused; nothing may have changed, also not in memory."""
    directory = world.house.directory
    before, rows = directory.show(), world.count("directory_document")
    with pytest.raises(FleetwardError) as caught:
        world.publish(**changes)
    assert directory.show() == before
    assert world.count("directory_document") == rows
    return caught.value.reason


def test_what_is_stored_is_what_machines_accept(world: ServerWorld) -> None:
    machine = world.join("pump")
    anchor = world.trust.anchor(machine.device)
    bundle = read_bundle(world.house.directory.bundle(machine.device).to_bytes())
    view = first_view(anchor, bundle)
    assert not view.confirmed
    world.confirm(machine)
    newer = read_bundle(
        world.house.directory.bundle(machine.device, view.policy.version).to_bytes()
    )
    assert newer.policies == ()
    assert advance(view, newer).confirmed
    before = world.house.directory.show()
    world.restart()
    assert world.house.directory.show() == before
    assert world.house.devices.state_of(machine.device) == "active"


def test_documents_that_no_machine_would_take(world: ServerWorld) -> None:
    older = world.documents()
    world.trust.publish()
    world.publish()
    names = ("roster", "head", "lease")
    assert refused(world, **{n: getattr(older, n) for n in names}) == "old_head"
    assert refused(world, roster=older.roster) == "mixed_documents"
    assert refused(world, lease=older.lease) in ("wrong_head", "another_head", "mixed_documents")
    stranger = World.make(name="Elsewhere")
    other = {
        "root": to_base64url(stranger.owner_root.raw),
        "policies": [to_base64url(p.raw) for p in stranger.policies],
        "roster": to_base64url(stranger.rosters[-1].raw),
        "head": to_base64url(stranger.heads[-1].raw),
        "lease": to_base64url(stranger.leases[-1].raw),
    }
    assert refused(world, **other) == "another_owner"
    assert refused(world, policies=older.policies[:1]) != ""
    assert refused(world, head="AAAA") != ""
    assert refused(world, entries=["AAAA"]) != ""
    assert refused(world, issuing_chain="no pem") != ""


def test_an_older_lease_or_roster_behind_a_newer_head(world: ServerWorld) -> None:
    """Each alone verifies; stored, no later start could load it."""
    trust = world.trust
    trust.lease()
    world.publish()
    del trust.leases[-1]
    trust.head()
    trust.leases.clear()
    trust.lease()  # serial 1 again, on the newest head
    assert refused(world) == "old_lease"
    trust.rosters.append(trust.rosters[0])
    trust.head()
    trust.leases.clear()
    for _ in range(8):
        trust.lease()
    assert refused(world) == "old_roster"
    world.restart()
    assert world.house.directory.documents is not None


def test_a_policy_with_another_fleet_ca_needs_its_chain(world: ServerWorld) -> None:
    roots = dict(payload_of(world.trust.policy.raw)["roots"])  # type: ignore[arg-type]
    world.trust.next_policy({"roots": {**roots, "fleet_ca": "33" * 32}})
    world.trust.publish()
    assert refused(world, issuing_chain="") == "no_issuing_chain"
    assert refused(world) == "wrong_fleet_ca"


def test_every_document_is_a_leaf_before_it_is_stored(
    world: ServerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count() -> int:
        return len(world.deeds("document.head"))

    before = count()
    world.trust.publish()

    def die(*_: object) -> None:
        raise Unreachable("gone", reason="gone")

    with monkeypatch.context() as patch:
        patch.setattr(store, "insert_document", die)
        with pytest.raises(Unreachable):
            world.publish()
    assert count() == before + 1
    world.publish()
    assert count() == before + 1
    assert len(world.deeds("owner.documents_stored")) == 3
    documents = world.house.directory.documents
    assert documents is not None
    assert documents.head.hash == world.trust.heads[-1].hash


def test_a_crash_before_machines_follow_the_roster(world: ServerWorld) -> None:
    machine = world.join("pump")
    world.trust.confirm(machine)
    # The directory alone takes the documents, as when the process dies right after.
    alone = Directory(
        world.database, world.house.ledger, world.house.ledger, world.authorities.check_chain
    )
    alone.take(world.documents(), "person:ada", world.clock.now)
    assert world.house.devices.state_of(machine.device) == "pending"
    world.restart()
    assert world.house.devices.state_of(machine.device) == "active"


def test_a_bundle_of_five_thousand_machines_takes_no_millisecond() -> None:
    trust = World.make()
    key = Machine("x", trust.owner, trust.new_key("es256", "x")).key
    entries = []
    for number in range(5000):
        # Distinct keys would take long to make: ids alone must differ for this purpose.
        entries.append(
            RosterEntry(
                device=f"{number:032d}".translate(str.maketrans("0189", "abcd")),
                key=key,
                name=f"machine {number}",
                site="Plant",
                groups=(),
                model="Pump P7",
                maker="Acme",
                state=ACTIVE,
            )
        )
    documents = judge_documents(
        trust.owner_root.raw,
        [p.raw for p in trust.policies],
        (trust.rosters[-1].raw, []),
        trust.heads[-1].raw,
        trust.leases[-1].raw,
    )
    ordered = tuple(sorted(entries, key=lambda e: e.device))
    object.__setattr__(documents, "entries", ordered)
    maker = BundleMaker(documents)
    for entry in ordered[:: len(ordered) // 10]:
        maker.bundle(entry.device)
    start = time.thread_time()
    for entry in ordered[::5]:
        maker.bundle(entry.device).to_bytes()
    each = (time.thread_time() - start) / len(ordered[::5])
    assert each <= 0.001, f"{each * 1000:.2f} ms"
