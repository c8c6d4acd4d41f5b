"""Tables of events. All SQL of this capability stands here.

Deduplication is the primary key (device, sequence). Arrival orders; a machine's own clock never
does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from fleetward.runtime.database import Database
from fleetward.server.schema.tables import identifier, instant, metadata
from fleetward.trust.journal import Batch

events: Final = sa.Table(
    "events_event",
    metadata,
    identifier("device_id"),
    sa.Column("sequence", sa.BigInteger(), nullable=False),
    identifier("owner_id", server_default=""),
    identifier("maker_id", server_default=""),
    sa.Column("kind", sa.String(64), nullable=False),
    instant("at"),
    instant("received_at"),
    sa.Column("body", sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint("device_id", "sequence"),
    # The kind is in it so that routine is passed over, and counted, without reading a row.
    sa.Index("ix_events_event_received_at", "received_at", "kind"),
    sqlite_with_rowid=False,
)

batches: Final = sa.Table(
    "events_batch",
    metadata,
    identifier("device_id"),
    sa.Column("first", sa.BigInteger(), nullable=False),
    sa.Column("last", sa.BigInteger(), nullable=False),
    identifier("owner_id", server_default=""),
    identifier("maker_id", server_default=""),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("header", sa.LargeBinary(), nullable=False),
    instant("received_at"),
    sa.PrimaryKeyConstraint("device_id", "first"),
    sqlite_with_rowid=False,
)

machines: Final = sa.Table(
    "events_machine",
    metadata,
    sa.Column("device_id", sa.String(64), primary_key=True),
    identifier("owner_id", server_default=""),
    identifier("maker_id", server_default=""),
    sa.Column("last", sa.BigInteger(), nullable=False),
    sa.Column("head", sa.String(64), nullable=False),
    instant("head_at"),
    sa.Column("restored", sa.Boolean(), nullable=False, server_default=sa.false()),
    sqlite_with_rowid=False,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the stored journal of a machine ends; `restored` until it is heard of again."""

    last: int
    head: str
    restored: bool = False


def select_place(conn: Connection, device: str) -> Place | None:
    """Return where a machine's stored journal ends, or None when nothing is stored."""
    row = conn.execute(
        sa.select(machines.c.last, machines.c.head, machines.c.restored).where(
            machines.c.device_id == device
        )
    ).first()
    return Place(row.last, row.head, bool(row.restored)) if row else None


def mark_restored(conn: Connection) -> None:
    """Note that this store was restored: machines may lack what they sent since."""
    conn.execute(machines.update().values(restored=True))


def upsert_machines(conn: Connection, database: Database, rows: Sequence[dict[str, Any]]) -> None:
    """Write where the journals of machines end; who was heard of is restored no more."""
    insert = sqlite.insert if database.dialect == "sqlite" else postgresql.insert
    statement = insert(machines)
    conn.execute(
        statement.on_conflict_do_update(
            index_elements=["device_id"],
            set_={n: statement.excluded[n] for n in ("last", "head", "head_at", "restored")},
        ),
        list(rows),
    )


def insert_batches(
    conn: Connection, database: Database, group: Sequence[Batch], at_ms: int
) -> None:
    """Write batch headers."""
    headers = (batch.header for batch in group)
    database.insert_rows(
        conn,
        batches,
        [(h.device, h.first, h.last, h.owner, "", h.hash, h.raw, at_ms) for h in headers],
    )


def insert_events(conn: Connection, database: Database, group: Sequence[Batch], at_ms: int) -> None:
    """Write the entries of batches as events."""
    database.insert_rows(
        conn,
        events,
        [
            (device, entry.sequence, owner, "", entry.kind, entry.at_ms, at_ms, entry.raw)
            for device, owner, entries in (
                (batch.header.device, batch.header.owner, batch.entries) for batch in group
            )
            for entry in entries
        ],
    )


def select_batch_headers(
    conn: Connection, device: str, hashes: Sequence[str]
) -> list[tuple[str, bytes]]:
    """Return hash and header of a machine's stored batches among `hashes`."""
    rows = conn.execute(
        sa.select(batches.c.hash, batches.c.header).where(
            batches.c.device_id == device, batches.c.hash.in_(list(hashes))
        )
    )
    return [(row.hash, row.header) for row in rows]


def select_batch_hash(conn: Connection, device: str, first: int) -> str | None:
    """Return the hash of the stored batch that begins at a sequence, or None."""
    row = conn.execute(
        sa.select(batches.c.hash).where(batches.c.device_id == device, batches.c.first == first)
    ).first()
    return None if row is None else str(row.hash)


def select_events(
    conn: Connection, *, device: str = "", kinds: Sequence[str] = (), since_ms: int = 0,
    span: tuple[int, int] = (0, 50), within: sa.Select[Any] | None = None,
) -> tuple[list[sa.Row[*tuple[Any, ...]]], int]:  # fmt: skip
    """Return events, newest arrival first, and how many there are.

    `span` is offset and limit. `within` selects the ids of the machines that may be seen; without
    it, all may. What may not be seen is not counted either.
    """
    clause = events.c.received_at >= since_ms
    if within is not None:
        clause &= events.c.device_id.in_(within)
    if device:
        clause &= events.c.device_id == device
    if kinds:
        clause &= events.c.kind.in_(list(kinds))
    order = (
        (events.c.sequence.desc(),)
        if device
        else (events.c.received_at.desc(), events.c.device_id, events.c.sequence.desc())
    )
    rows = conn.execute(
        sa.select(events).where(clause).order_by(*order).offset(span[0]).limit(span[1])
    ).all()
    total = conn.execute(sa.select(sa.func.count()).select_from(events).where(clause)).scalar()
    return list(rows), int(total or 0)


def select_signed(
    conn: Connection, kind: str, since_ms: int, span: tuple[int, int],
    within: sa.Select[Any] | None,
) -> tuple[list[tuple[str, int, bytes, list[bytes]]], int]:  # fmt: skip
    """Return of each machine the newest batch with an entry of `kind`, and how many machines.

    Each as device, sequence of the entry, header and entries. `since_ms` is a time of arrival;
    `span` and `within` are as above.
    """
    clause = (events.c.received_at >= since_ms) & (events.c.kind == kind)
    if within is not None:
        clause &= events.c.device_id.in_(within)
    newest = (
        sa.select(events.c.device_id, sa.func.max(events.c.sequence).label("sequence"))
        .where(clause)
        .group_by(events.c.device_id)
    )
    total = conn.execute(sa.select(sa.func.count()).select_from(newest.subquery())).scalar()
    page = newest.order_by(events.c.device_id).offset(span[0]).limit(span[1])
    found: list[tuple[str, int, bytes, list[bytes]]] = []
    for device, sequence in conn.execute(page).all():
        row = conn.execute(
            sa.select(batches.c.first, batches.c.last, batches.c.header)
            .where(batches.c.device_id == device, batches.c.first <= sequence)
            .order_by(batches.c.first.desc())
            .limit(1)
        ).first()
        if row is not None and row.last >= sequence:
            entries = select_journal(conn, device, row.first, row.last)
            found.append((device, sequence, row.header, entries))
    return found, int(total or 0)


def select_machines(conn: Connection) -> list[sa.Row[*tuple[Any, ...]]]:
    """Return where each machine's stored journal ends, and since when."""
    return list(conn.execute(sa.select(machines)))


def select_journal(conn: Connection, device: str, first: int, last: int) -> list[bytes]:
    """Return the entries of a batch, in order."""
    rows = conn.execute(
        sa.select(events.c.body)
        .where(
            events.c.device_id == device,
            events.c.sequence >= first,
            events.c.sequence <= last,
        )
        .order_by(events.c.sequence)
    )
    return [row.body for row in rows]


def select_batch_ranges(conn: Connection, device: str) -> list[sa.Row[*tuple[Any, ...]]]:
    """Return first, last and header of every batch of a machine, in order."""
    return list(
        conn.execute(
            sa.select(batches.c.first, batches.c.last, batches.c.header)
            .where(batches.c.device_id == device)
            .order_by(batches.c.first)
        )
    )


def select_newest_hashes(conn: Connection) -> list[sa.Row[*tuple[Any, ...]]]:
    """Return device, first and hash of the newest batch of every machine."""
    its = batches.alias()
    newest = (
        sa.select(its.c.first)
        .where(its.c.device_id == machines.c.device_id)
        .order_by(its.c.first.desc())
        .limit(1)
        .correlate(machines)
        .scalar_subquery()
    )
    both = (batches.c.device_id == machines.c.device_id) & (batches.c.first == newest)
    return list(
        conn.execute(
            sa.select(batches.c.device_id, batches.c.first, batches.c.hash).select_from(
                machines.join(batches, both)
            )
        )
    )


def select_batches_before(
    conn: Connection, device: str, first: int, most: int
) -> list[sa.Row[*tuple[Any, ...]]]:
    """Return first, hash and header of a machine's batches that begin up to `first`, newest
    first."""
    return list(
        conn.execute(
            sa.select(batches.c.first, batches.c.hash, batches.c.header)
            .where(batches.c.device_id == device, batches.c.first <= first)
            .order_by(batches.c.first.desc())
            .limit(most)
        )
    )


def select_newest_ranges(conn: Connection) -> list[sa.Row[*tuple[Any, ...]]]:
    """Return device, first and last of the newest batch of every machine."""
    newest = (
        sa.select(batches.c.device_id, sa.func.max(batches.c.first).label("first"))
        .group_by(batches.c.device_id)
        .subquery()
    )
    return list(
        conn.execute(
            sa.select(batches.c.device_id, batches.c.first, batches.c.last).join(
                newest,
                (newest.c.device_id == batches.c.device_id) & (newest.c.first == batches.c.first),
            )
        )
    )
