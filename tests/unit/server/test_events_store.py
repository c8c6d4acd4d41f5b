"""The event store on both databases: poisoned groups, lost connections, and a restored store."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy.engine import Connection
from tests.trust_world import Machine, World

from fleetward.runtime.database import Database
from fleetward.server.events import store
from fleetward.server.events.act import EventStore
from fleetward.server.events.decide import Fresh, Known, decide_place
from fleetward.server.schema.migrate import migrate
from fleetward.trust.errors import FleetwardError, Malformed, Unreachable
from fleetward.trust.journal import Batch, verify_batch


@pytest.fixture
def trust() -> World:
    return World.make()


@pytest.fixture
def events(database: Database) -> EventStore:
    migrate(database, backup=lambda: None)
    return EventStore(database)


def cut(trust: World, machine: Machine, entries: int = 2) -> Batch:
    for _ in range(entries):
        machine.write("agent.started")
    return verify_batch(machine.cut(), machine.key, trust.owner)


def test_where_a_batch_belongs(trust: World) -> None:
    machine = trust.machine()
    first, second = cut(trust, machine).header, cut(trust, machine).header
    assert isinstance(decide_place(first, 0, first.previous, None), Fresh)
    assert isinstance(decide_place(second, 2, first.head, None), Fresh)
    assert isinstance(decide_place(first, 2, first.head, first.hash), Known)
    for last, head, stored_hash, reason in (
        (0, first.previous, None, "out_of_sequence"),
        (2, "0" * 64, None, "forked_journal"),
        (4, second.head, "0" * 64, "forked_journal"),
        (3, second.head, None, "out_of_sequence"),
        (4, second.head, None, "out_of_sequence"),
    ):
        with pytest.raises(FleetwardError) as caught:
            decide_place(second, last, head, stored_hash)
        assert caught.value.reason == reason


def test_one_that_the_database_cannot_hold_harms_no_other(
    events: EventStore, trust: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = [trust.machine(f"m{n}") for n in range(3)]
    group = [cut(trust, machine) for machine in machines]
    poisoned = machines[1].device
    insert = store.insert_events

    def refuse(conn: Connection, base: Database, batches: Sequence[Batch], at_ms: int) -> None:
        if any(batch.header.device == poisoned for batch in batches):
            raise Malformed("a value that it cannot hold", reason="value_out_of_range")
        insert(conn, base, batches, at_ms)

    monkeypatch.setattr(store, "insert_events", refuse)
    stored = events.store_batches(group, 1)
    assert [s.error.reason if s.error else "fresh" for s in stored] == [
        "fresh",
        "value_out_of_range",
        "fresh",
    ]
    assert [events.last_of(m.device, trust.owner) for m in machines] == [2, 0, 2]


@pytest.mark.parametrize("step", ["insert_events", "insert_batches", "upsert_machines"])
def test_a_store_that_goes_away_takes_all_or_nothing(
    events: EventStore, trust: World, database: Database, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = trust.machine()
    batch = cut(trust, machine)

    def die(*_: object) -> None:
        raise Unreachable("gone", reason="gone")

    with monkeypatch.context() as patch:
        patch.setattr(store, step, die)
        with pytest.raises(Unreachable):
            events.store_batches([batch], 1)
    with database.read() as conn:
        assert store.select_events(conn) == ([], 0)
        assert store.select_place(conn, machine.device) is None
    assert events.store_batches([batch, batch], 1)[0].fresh
    assert not events.store_batches([batch], 1)[0].fresh


def test_a_commit_whose_answer_was_lost(
    events: EventStore, trust: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stored, and the store said that it is gone: the next look finds out."""
    machine = trust.machine()
    first, second = cut(trust, machine), cut(trust, machine)
    write = EventStore._write

    def lose(self: EventStore, *what: object) -> None:
        write(self, *what)  # type: ignore[arg-type]
        raise Unreachable("the connection was lost at COMMIT", reason="gone")

    with monkeypatch.context() as patch:
        patch.setattr(EventStore, "_write", lose)
        with pytest.raises(Unreachable):
            events.store_batches([first], 1)
    again, after = events.store_batches([first, second], 2)
    assert (again.error, again.fresh) == (None, False)
    assert (after.error, after.fresh, after.last) == (None, True, 4)


def test_a_restored_store_takes_up_a_machine_once_behind_what_is_lost(
    events: EventStore, trust: World, database: Database
) -> None:
    machine = trust.machine()
    events.store_batches([cut(trust, machine)], 1)
    lost, kept, later = (cut(trust, machine) for _ in range(3))
    assert events.store_batches([kept], 2)[0].error is not None
    with database.write() as conn:
        store.mark_restored(conn)
    events = EventStore(database)
    assert events.store_batches([kept], 3)[0].fresh
    events = EventStore(database)
    gap = events.store_batches([cut(trust, machine)], 4)[0].error
    assert gap is not None
    assert gap.reason == "out_of_sequence"
    assert events.store_batches([later], 5)[0].fresh
    assert events.store_batches([lost], 6)[0].error is not None
