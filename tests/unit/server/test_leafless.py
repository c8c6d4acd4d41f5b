"""Batches that were stored and are no leaf yet: each gets one, in its place."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from tests.server_world import SetClock
from tests.trust_world import NOW_MS, Machine, World

from fleetward.runtime.database import Database
from fleetward.server.audit import store
from fleetward.server.audit.act import Ledger
from fleetward.server.events.act import EventStore
from fleetward.server.intake import Intake, Rooms
from fleetward.server.leafless import mend_leafless
from fleetward.server.schema.migrate import migrate
from fleetward.trust.errors import Refused, Unreachable
from fleetward.trust.journal import Batch, verify_batch


class Half:
    """A store of events and a ledger, between which something may come."""

    def __init__(self, database: Database) -> None:
        migrate(database, backup=lambda: None)
        self.database, self.trust = database, World.make()
        self.events = EventStore(database)
        self.ledger = Ledger(database, self.trust.log, SetClock())  # type: ignore[arg-type]
        self.ledger.append_document(self.trust.owner, "root", self.trust.owner_root.raw, NOW_MS)

    def store(self, machine: Machine, *, leaf: bool) -> Batch:
        """Store the machine's next batch, and make a leaf of it or not."""
        machine.write("agent.started")
        batch = verify_batch(machine.cut(), machine.key, self.trust.owner)
        assert self.events.store_batches([batch], NOW_MS)[0].fresh
        if leaf:
            header = batch.header
            self.ledger.append_batches([(header.device, header.hash, header.raw)], (), NOW_MS)
        return batch

    def leaves(self, machine: Machine) -> list[str]:
        """The machine's batches in the record, in the record's order."""
        with self.database.read() as conn:
            rows = conn.execute(
                store.leaves.select()
                .where(store.leaves.c.kind == "batch")
                .order_by(store.leaves.c.generation, store.leaves.c.position)
            ).all()
        return [row.reference for row in rows if machine.device in row.subject]


@pytest.fixture
def half(database: Database) -> Half:
    return Half(database)


def test_what_a_crash_left_gets_its_leaf_before_what_comes_next(half: Half) -> None:
    first, second, third = (half.trust.machine(f"m{n}") for n in range(3))
    whole = [half.store(first, leaf=True) for _ in range(3)]
    cut = [half.store(second, leaf=number < 2) for number in range(5)]
    never = [half.store(third, leaf=False) for _ in range(70)]
    assert mend_leafless(half.events, half.ledger, NOW_MS) == 3 + 70
    cut.append(half.store(second, leaf=True))
    for machine, batches in ((first, whole), (second, cut), (third, never)):
        assert half.leaves(machine) == [batch.header.hash for batch in batches]
    assert mend_leafless(half.events, half.ledger, NOW_MS) == 0


def test_what_an_earlier_generation_holds_is_not_recorded_anew(half: Half) -> None:
    machine = half.trust.machine()
    half.store(machine, leaf=True)
    with half.database.write() as conn:
        store.close_restored(conn)
    closed = Ledger(half.database, half.trust.log, SetClock())  # type: ignore[arg-type]
    assert mend_leafless(half.events, closed, NOW_MS) == 0
    half.store(machine, leaf=False)
    with pytest.raises(Refused) as caught:
        mend_leafless(half.events, closed, NOW_MS)
    assert caught.value.reason == "record_waits"


def test_of_no_machine_there_is_nothing_to_mend(half: Half) -> None:
    assert mend_leafless(half.events, half.ledger, NOW_MS) == 0


def intake_of(half: Half) -> Intake:
    """The door over both, with nothing behind it that these tests reach."""
    sink = SimpleNamespace(take_groups=lambda groups: [])
    rooms = SimpleNamespace(store=half.events, ledger=half.ledger, clock=SetClock(), sink=sink)
    return Intake(cast(Rooms, rooms))


def test_the_first_group_of_a_start_mends_before_it_stores(half: Half) -> None:
    machine = half.trust.machine()
    left = [half.store(machine, leaf=False) for _ in range(2)]
    intake = intake_of(half)
    assert intake._store_group([]) == []
    assert half.leaves(machine) == [batch.header.hash for batch in left]


def test_a_group_after_a_failure_mends_before_it_stores(
    half: Half, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = half.trust.machine()
    intake = intake_of(half)
    intake._store_group([])

    def fail(*_: object) -> None:
        raise Unreachable("The disk is full.", reason="disk_full")

    with monkeypatch.context() as broken:
        broken.setattr(half.ledger, "append_batches", fail)
        left = half.store(machine, leaf=False)
        with pytest.raises(Unreachable):
            intake._store_group([])
    intake._store_group([])
    assert half.leaves(machine) == [left.header.hash]
