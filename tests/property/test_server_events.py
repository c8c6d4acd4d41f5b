"""The event store against a list: whatever is sent, in whatever order, however often."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.trust_world import Machine, World

from fleetward.runtime.database import Database
from fleetward.server.events import store
from fleetward.server.events.act import EventStore
from fleetward.server.schema.migrate import migrate
from fleetward.trust.journal import Batch, verify_batch

WORLD = World.make()
BATCHES = 5


def cut_journals() -> list[tuple[Machine, list[Batch]]]:
    """Two machines with a journal each; the third is the first one's twin with another past."""
    machines = [WORLD.machine("one"), WORLD.machine("two")]
    machines.append(Machine("twin", WORLD.owner, machines[0].identity))
    made: list[tuple[Machine, list[Batch]]] = []
    for number, machine in enumerate(machines):
        batches = []
        for size in (1, 3, 2, 4, 1)[:BATCHES]:
            for _ in range(size):
                machine.write("agent.started", {"who": number})
            batches.append(verify_batch(machine.cut(), machine.key, WORLD.owner))
        made.append((machine, batches))
    return made


JOURNALS = cut_journals()
sends = st.lists(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, BATCHES - 1)), min_size=1, max_size=6
    ),
    max_size=14,
)  # fmt: skip


class Oracle:
    """What must be stored, kept as plainly as can be."""

    def __init__(self) -> None:
        self.batches: dict[str, list[Batch]] = {}

    def judge(self, batch: Batch) -> str:
        device = batch.header.device
        kept = self.batches.setdefault(device, [])
        last = kept[-1].header.last if kept else 0
        if any(b.header.hash == batch.header.hash for b in kept):
            return "known"
        if batch.header.first == last + 1:
            head = kept[-1].header.head if kept else batch.header.previous
            if batch.header.previous != head:
                return "forked_journal"
            kept.append(batch)
            return "fresh"
        if batch.header.last <= last:
            return "forked_journal"  # these journals are all cut at the same places
        return "out_of_sequence"


@settings(max_examples=60, deadline=None)
@given(groups=sends, forget=st.booleans())
def test_what_is_stored_is_one_unbroken_journal_of_each_machine(
    groups: list[list[tuple[int, int]]], *, forget: bool
) -> None:
    oracle = Oracle()
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(f"sqlite:///{Path(folder) / 'state.db'}")
        migrate(database, backup=lambda: None)
        events = EventStore(database)
        for at, group in enumerate(groups):
            batches = [JOURNALS[who][1][which] for who, which in group]
            for batch, stored in zip(batches, events.store_batches(batches, at), strict=True):
                expected = oracle.judge(batch)
                came = stored.error.reason if stored.error else "fresh"
                if stored.error is None and not stored.fresh:
                    came = "known"
                assert came == expected
            if forget:
                events = EventStore(database)
        with database.read() as conn:
            for device, kept in oracle.batches.items():
                rows, total = store.select_events(conn, device=device, span=(0, 100))
                entries = [entry for batch in kept for entry in batch.entries]
                assert total == len(entries)
                assert [r.body for r in reversed(rows)] == [e.raw for e in entries]
                last = kept[-1].header if kept else None
                place = store.select_place(conn, device)
                assert (
                    (place.last, place.head) == (last.last, last.head) if last and place else True
                )
                assert (place is None) == (last is None)
        database.close()
