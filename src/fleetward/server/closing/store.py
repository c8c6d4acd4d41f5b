"""Tables of closings, of what machines said of them, and of who is connected to machines. All SQL.

The names and sites of machines are read from the identity's table, and the number of their
reports from the record's; neither is ever written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetward.server.schema.tables import identifier, instant, metadata, ownership

Row: TypeAlias = "sa.Row[*tuple[Any, ...]]"

RECORDED: Final = "document.closing-report"
"""The kind under which a report stands in the record."""

orders: Final = sa.Table(
    "closing_order",
    metadata,
    identifier("closing_id", primary_key=True),
    *ownership(),
    sa.Column("serial", sa.BigInteger(), nullable=False),
    sa.Column("for_all", sa.Boolean(), nullable=False),
    sa.Column("opens_all", sa.Boolean(), nullable=False),
    sa.Column("words", sa.Text(), nullable=False),
    sa.Column("people", sa.Text(), nullable=False),
    sa.Column("reason", sa.String(200), nullable=False),
    sa.Column("restore_seconds", sa.BigInteger(), nullable=False),
    sa.Column("envelope", sa.LargeBinary(), nullable=False),
    sa.Column("kept_envelope", sa.LargeBinary(), nullable=False),
    instant("issued_at"),
    instant("kept_at", server_default="0"),
    instant("at"),
    sa.Index("ix_closing_order_serial", "serial"),
)

parts: Final = sa.Table(
    "closing_part",
    metadata,
    identifier("closing_id"),
    identifier("device_id", index=True),
    *ownership(),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("rule", sa.String(64), nullable=False, server_default=""),
    sa.Column("words", sa.String(500), nullable=False, server_default=""),
    sa.Column("seconds_left", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Column("report", sa.LargeBinary(), nullable=False),
    instant("said_at", server_default="0"),
    instant("at"),
    sa.PrimaryKeyConstraint("closing_id", "device_id"),
)
"""Where a closing stands at one machine, with the machine's newest report of it."""

machines: Final = sa.Table(
    "closing_machine",
    metadata,
    identifier("device_id", primary_key=True),
    *ownership(),
    sa.Column("report", sa.LargeBinary(), nullable=False),
    instant("reported_at", server_default="0"),
    sa.Column("crowd", sa.LargeBinary(), nullable=False),
    instant("crowd_at", server_default="0"),
)
"""The newest report of each machine, whatever it is about, and who is connected to it."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which machines to list. None means every site and machine."""

    ids: tuple[str, ...] = ()
    sites: frozenset[str] | None = None
    devices: frozenset[str] | None = None


def insert_order(conn: Connection, values: Mapping[str, Any]) -> None:
    """Write a closing."""
    conn.execute(orders.insert().values(**values))


def select_order(conn: Connection, closing: str) -> Row | None:
    """Return a closing, or None."""
    return conn.execute(sa.select(orders).where(orders.c.closing_id == closing)).first()


def select_by_prefix(conn: Connection, prefix: str) -> list[Row]:
    """Return at most two closings whose id begins so. The prefix is of hexadecimal digits."""
    clause = orders.c.closing_id.between(prefix, prefix + "g")
    return list(conn.execute(sa.select(orders).where(clause).limit(2)))


def select_orders(conn: Connection, offset: int, limit: int) -> tuple[list[Row], int]:
    """Return a page of closings, newest first, and how many there are."""
    rows = conn.execute(
        sa.select(orders).order_by(orders.c.serial.desc()).offset(offset).limit(limit)
    ).all()
    total = conn.execute(sa.select(sa.func.count()).select_from(orders)).scalar()
    return list(rows), int(total or 0)


def update_kept(conn: Connection, closing: str, envelope: bytes, at_ms: int) -> None:
    """Write the confirmation of a closing."""
    conn.execute(
        orders.update()
        .where(orders.c.closing_id == closing)
        .values(kept_envelope=envelope, kept_at=at_ms)
    )


def insert_parts(
    conn: Connection, closing: str, devices: Sequence[str], owner: str, at_ms: int
) -> None:
    """Write that machines are handed a closing."""
    if devices:
        values = {"closing_id": closing, "owner_id": owner, "state": "handed", "at": at_ms}
        conn.execute(parts.insert(), [{**values, "device_id": d, "report": b""} for d in devices])


def select_part(conn: Connection, closing: str, device: str) -> Row | None:
    """Return where a closing stands at a machine, or None."""
    clause = sa.and_(parts.c.closing_id == closing, parts.c.device_id == device)
    return conn.execute(sa.select(parts).where(clause)).first()


def update_part(conn: Connection, closing: str, device: str, values: Mapping[str, Any]) -> None:
    """Write where a closing stands at a machine."""
    conn.execute(
        parts.update()
        .where(parts.c.closing_id == closing, parts.c.device_id == device)
        .values(**values)
    )


def select_parts(conn: Connection, closing: str, offset: int, limit: int) -> tuple[list[Row], int]:
    """Return a page of the machines of a closing with their names, and how many there are."""
    device = metadata.tables["identity_device"]
    joined = parts.outerjoin(device, device.c.device_id == parts.c.device_id)
    rows = conn.execute(
        sa.select(
            parts,
            sa.func.coalesce(device.c.name, "").label("name"),
            sa.func.coalesce(device.c.site, "").label("site"),
        )
        .select_from(joined)
        .where(parts.c.closing_id == closing)
        .order_by(device.c.site, device.c.name, parts.c.device_id)
        .offset(offset)
        .limit(limit)
    ).all()
    total = conn.execute(
        sa.select(sa.func.count()).select_from(parts).where(parts.c.closing_id == closing)
    ).scalar()
    return list(rows), int(total or 0)


def count_states(conn: Connection, closings: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return for each closing how many machines are in which state."""
    found: dict[str, dict[str, int]] = {closing: {} for closing in closings}
    for row in conn.execute(
        sa.select(parts.c.closing_id, parts.c.state, sa.func.count().label("number"))
        .where(parts.c.closing_id.in_(list(closings)))
        .group_by(parts.c.closing_id, parts.c.state)
    ):
        found[row.closing_id][row.state] = int(row.number)
    return found


def select_of_device(conn: Connection, device: str) -> list[Row]:
    """Return the closings of a machine that it was handed, with their states there."""
    return list(
        conn.execute(
            sa.select(
                orders.c.closing_id, orders.c.serial, orders.c.opens_all, orders.c.envelope,
                orders.c.kept_envelope, parts.c.state,
            )
            .select_from(parts.join(orders, orders.c.closing_id == parts.c.closing_id))
            .where(parts.c.device_id == device)
            .order_by(orders.c.serial.desc())
            .limit(8)
        )
    )  # fmt: skip


def select_newest_for_all(conn: Connection) -> Row | None:
    """Return the newest closing for all machines, or None."""
    return conn.execute(
        sa.select(orders).where(orders.c.for_all).order_by(orders.c.serial.desc()).limit(1)
    ).first()


def select_said(conn: Connection, device: str) -> Row | None:
    """Return what a machine said newest, or None."""
    return conn.execute(sa.select(machines).where(machines.c.device_id == device)).first()


def count_recorded(conn: Connection, device: str, most: int) -> int:
    """Return how many reports of a machine are entries of the record; no more than `most`."""
    leaf = metadata.tables["audit_leaf"]
    # As the index has it: batches are left out of it.
    clause = (leaf.c.kind != sa.literal_column("'batch'")) & (leaf.c.subject == f"device:{device}")
    found = sa.select(leaf.c.position).where(clause, leaf.c.kind == RECORDED).limit(most).subquery()
    return int(conn.execute(sa.select(sa.func.count()).select_from(found)).scalar() or 0)


def upsert_machine(conn: Connection, device: str, owner: str, values: Mapping[str, Any]) -> None:
    """Write what a machine said newest."""
    changed = conn.execute(
        machines.update().where(machines.c.device_id == device).values(**values)
    ).rowcount
    if not changed:
        empty = {"report": b"", "crowd": b""}
        conn.execute(
            machines.insert().values(device_id=device, owner_id=owner, **{**empty, **values})
        )


def select_machines(
    conn: Connection, wanted: Filter, offset: int, limit: int
) -> tuple[list[Row], int]:
    """Return a page of machines with what they said newest, and how many there are."""
    device = metadata.tables["identity_device"]
    clause = _where(device, wanted)
    rows = conn.execute(
        sa.select(
            device,
            machines.c.report,
            machines.c.reported_at,
            machines.c.crowd,
            machines.c.crowd_at,
        )
        .select_from(device.outerjoin(machines, machines.c.device_id == device.c.device_id))
        .where(clause)
        .order_by(device.c.site, device.c.name, device.c.device_id)
        .offset(offset)
        .limit(limit)
    ).all()
    total = conn.execute(sa.select(sa.func.count()).select_from(device).where(clause)).scalar()
    return list(rows), int(total or 0)


def _where(device: sa.Table, wanted: Filter) -> sa.ColumnElement[bool]:
    clauses: list[sa.ColumnElement[bool]] = [device.c.state != "retired"]
    if wanted.ids:
        clauses = [device.c.device_id.in_(list(wanted.ids))]
    if wanted.sites is not None or wanted.devices is not None:
        clauses.append(
            sa.or_(
                device.c.site.in_(sorted(wanted.sites or ())),
                device.c.device_id.in_(sorted(wanted.devices or ())),
            )
        )
    return sa.and_(sa.true(), *clauses)
