"""Storing batches in groups: one commit for many machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fleetward.runtime.database import Database
from fleetward.server.events import store
from fleetward.server.events.decide import Fresh, decide_place, first_head
from fleetward.server.events.store import Place
from fleetward.trust.errors import FleetwardError, Unreachable
from fleetward.trust.journal import Batch


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of one batch: where the journal ends now, or why it was refused."""

    batch: Batch
    place: Place
    fresh: bool
    error: FleetwardError | None = None

    @property
    def last(self) -> int:
        """The newest sequence that is stored for the machine."""
        return self.place.last


class EventStore:
    """The stored journals. `store_batches` must run in one thread at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._places: dict[str, Place] = {}
        self._listeners: list[Callable[[Sequence[Batch]], None]] = []

    def listen(self, listener: Callable[[Sequence[Batch]], None]) -> None:
        """Call `listener` with every group of fresh batches, after the commit."""
        self._listeners.append(listener)

    def place(self, device: str, owner: str) -> Place:
        """Return where a machine's stored journal ends."""
        known = self._places.get(device)
        if known is None:
            with self._database.read() as conn:
                known = store.select_place(conn, device)
            known = known or Place(0, first_head(owner, device))
            # Not an assignment: the writer may have gone on while this thread was reading.
            known = self._places.setdefault(device, known)
        return known

    def last_of(self, device: str, owner: str) -> int:
        """Return the newest sequence that is stored for a machine, 0 for none."""
        return self.place(device, owner).last

    def store_batches(self, group: Sequence[Batch], at_ms: int) -> list[Stored]:
        """Store what is fresh in one transaction; return what became of each, in order.

        Raises `Unreachable` when the store cannot take them; then none was stored.
        """
        try:
            return self._store_group(group, at_ms)
        except Unreachable:
            raise
        except FleetwardError as e:
            # One batch holds what this database cannot: the others must not suffer for it.
            if len(group) == 1:
                place = self.place(group[0].header.device, group[0].header.owner)
                return [Stored(group[0], place, fresh=False, error=e)]
            return [self.store_batches([batch], at_ms)[0] for batch in group]

    def _store_group(self, group: Sequence[Batch], at_ms: int) -> list[Stored]:
        results: list[Stored] = []
        places: dict[str, Place] = {}
        fresh: list[Batch] = []
        for batch in group:
            header = batch.header
            place = places.get(header.device) or self.place(header.device, header.owner)
            try:
                decision = decide_place(
                    header,
                    place.last,
                    place.head,
                    self._stored_hash(batch, place, fresh),
                    restored=place.restored,
                )
            except FleetwardError as e:
                results.append(Stored(batch, place, fresh=False, error=e))
                continue
            if isinstance(decision, Fresh):
                place = Place(header.last, header.head)
                places[header.device] = place
                fresh.append(batch)
            results.append(Stored(batch, place, fresh=isinstance(decision, Fresh)))
        if fresh:
            try:
                self._write(fresh, places, at_ms)
            except BaseException:
                # Whether it is stored, only the store knows: look there before the next batch.
                for device in places:
                    self._places.pop(device, None)
                raise
            self._places.update(places)
            for listener in self._listeners:
                listener(fresh)
        return results

    def _stored_hash(self, batch: Batch, place: Place, fresh: Sequence[Batch]) -> str | None:
        header = batch.header
        if header.first > place.last:
            return None
        for other in fresh:
            if (other.header.device, other.header.first) == (header.device, header.first):
                return other.header.hash
        with self._database.read() as conn:
            return store.select_batch_hash(conn, header.device, header.first)

    def _write(self, fresh: Sequence[Batch], places: dict[str, Place], at_ms: int) -> None:
        owners = {b.header.device: b.header.owner for b in fresh}
        with self._database.write() as conn:
            store.insert_events(conn, self._database, fresh, at_ms)
            store.insert_batches(conn, self._database, fresh, at_ms)
            store.upsert_machines(
                conn,
                self._database,
                [
                    {
                        "device_id": d,
                        "owner_id": owners[d],
                        "last": place.last,
                        "head": place.head,
                        "head_at": at_ms,
                        "restored": False,
                    }
                    for d, place in places.items()
                ],
            )

    def headers_of(self, device: str, hashes: Sequence[str]) -> list[tuple[str, bytes]]:
        """Return hash and header of a machine's stored batches among `hashes`."""
        with self._database.read() as conn:
            return store.select_batch_headers(conn, device, hashes)

    def newest_batches(self) -> list[tuple[str, int, str]]:
        """Return device, first sequence and hash of the newest batch of every machine."""
        with self._database.read() as conn:
            return [
                (row.device_id, row.first, row.hash) for row in store.select_newest_hashes(conn)
            ]

    def batches_before(self, device: str, first: int, most: int) -> list[tuple[int, str, bytes]]:
        """Return first sequence, hash and header of a machine's batches that begin up to `first`,
        the newest first, `most` of them."""
        with self._database.read() as conn:
            rows = store.select_batches_before(conn, device, first, most)
            return [(row.first, row.hash, row.header) for row in rows]

    def newest_journals(self) -> list[tuple[str, int, bytes]]:
        """Return device, first sequence and entries (a line each) of every newest batch."""
        with self._database.read() as conn:
            return [
                (row.device_id, row.first, b"\n".join(entries) + b"\n")
                for row in store.select_newest_ranges(conn)
                if (entries := store.select_journal(conn, row.device_id, row.first, row.last))
            ]
