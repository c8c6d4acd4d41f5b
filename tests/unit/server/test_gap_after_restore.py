"""A machine that no longer keeps what a restored server lacks goes on behind the gap, once."""

from __future__ import annotations

from tests.trust_world import Machine, World

from fleetward.runtime.database import Database
from fleetward.server.events import store
from fleetward.server.events.act import EventStore
from fleetward.server.schema.migrate import migrate
from fleetward.trust.errors import Refused
from fleetward.trust.journal import Batch, verify_batch


def _cut(world: World, machine: Machine, entries: int = 3) -> Batch:
    for number in range(entries):
        machine.write("posture.changed", {"words": f"change {number}"})
    return verify_batch(machine.cut(), machine.key, world.owner)


def test_only_a_restored_store_takes_a_gap_and_only_once(database: Database) -> None:
    migrate(database, backup=lambda: None)
    world = World.make()
    machine = world.machine()
    first, lost, third, lost_too, fifth = (_cut(world, machine) for _ in range(5))
    events = EventStore(database)
    assert events.store_batches([first], 1)[0].fresh

    refused = events.store_batches([third], 2)[0]
    assert isinstance(refused.error, Refused)
    assert refused.error.reason == "out_of_sequence"

    with database.write() as conn:
        store.mark_restored(conn)
    events = EventStore(database)
    assert events.store_batches([third], 3)[0].fresh
    assert events.last_of(machine.device, world.owner) == third.header.last

    again = events.store_batches([fifth], 4)[0]
    assert isinstance(again.error, Refused)
    assert again.error.reason == "out_of_sequence"
    assert EventStore(database).store_batches([lost], 5)[0].error is not None
    assert events.store_batches([lost_too], 6)[0].fresh
    assert events.store_batches([fifth], 7)[0].fresh
