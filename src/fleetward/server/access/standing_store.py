"""Tables of permissions given ahead, and what each machine said of them. All SQL stands here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetward.server.schema.tables import identifier, instant, metadata, ownership

Row: TypeAlias = "sa.Row[*tuple[Any, ...]]"

standings: Final = sa.Table(
    "access_standing",
    metadata,
    identifier("standing_id", primary_key=True),
    *ownership(),
    sa.Column("envelope", sa.LargeBinary(), nullable=False),
    sa.Column("requesters", sa.Text(), nullable=False),
    instant("last_at", index=True),
    instant("stored_at"),
    sa.Column("stop", sa.LargeBinary(), nullable=True),
    instant("stopped_at", server_default="0"),
)
"""`requesters` are key ids with spaces around each; `last_at` is the end of the last window."""

machines: Final = sa.Table(
    "access_standing_device",
    metadata,
    identifier("standing_id"),
    identifier("device_id", index=True),
    *ownership(),
    sa.Column("state", sa.String(16), nullable=False, server_default=""),
    sa.Column("next_window", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Column("words", sa.String(500), nullable=False, server_default=""),
    sa.Column("envelope", sa.LargeBinary(), nullable=True),
    instant("said_at", server_default="0"),
    sa.Column("times", sa.BigInteger(), nullable=False, server_default="0"),
    sa.PrimaryKeyConstraint("standing_id", "device_id"),
)
"""The last that each machine has signed about a document, and how often it said something new;
empty before."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which documents to list. Empty parts filter nothing; `after_ms` leaves out those that were
    over by then or were taken back; 0 leaves out none."""

    device: str = ""
    requester: str = ""
    after_ms: int = 0


def insert_standing(
    conn: Connection, values: Mapping[str, Any], devices: Sequence[str], owner: str
) -> None:
    """Write a document, and a line for each of its machines."""
    conn.execute(standings.insert().values(owner_id=owner, **values))
    rows = [
        {"standing_id": values["standing_id"], "device_id": device, "owner_id": owner}
        for device in devices
    ]
    conn.execute(machines.insert(), rows)


def select_one(conn: Connection, standing: str) -> Row | None:
    """Return a document, or None."""
    return conn.execute(standings.select().where(standings.c.standing_id == standing)).first()


def select_by_prefix(conn: Connection, prefix: str) -> list[Row]:
    """Return at most two documents whose id begins so. The prefix is of hexadecimal digits."""
    clause = standings.c.standing_id.between(prefix, prefix + "g")
    return list(conn.execute(standings.select().where(clause).limit(2)))


def select_some(conn: Connection, wanted: Wanted, limit: int) -> list[Row]:
    """Return documents, the newest first."""
    clauses: list[sa.ColumnElement[bool]] = [sa.true()]
    if wanted.device:
        of_device = sa.select(machines.c.standing_id).where(machines.c.device_id == wanted.device)
        clauses.append(standings.c.standing_id.in_(of_device))
    if wanted.requester:
        named = standings.c.requesters.contains(f" {wanted.requester} ", autoescape=True)
        clauses.append(named)
    if wanted.after_ms:
        clauses += [standings.c.last_at > wanted.after_ms, standings.c.stopped_at == 0]
    query = standings.select().where(*clauses).order_by(standings.c.stored_at.desc()).limit(limit)
    return list(conn.execute(query))


def count_current(conn: Connection, device: str, now_ms: int) -> int:
    """Return how many documents for a machine are neither over nor taken back."""
    joined = machines.join(standings, standings.c.standing_id == machines.c.standing_id)
    found = conn.execute(
        sa.select(sa.func.count())
        .select_from(joined)
        .where(
            machines.c.device_id == device,
            standings.c.last_at > now_ms,
            standings.c.stopped_at == 0,
        )
    ).scalar()
    return int(found or 0)


def select_machines(conn: Connection, standing: str) -> list[Row]:
    """Return the lines of a document's machines, with their names."""
    device = metadata.tables["identity_device"]
    return list(
        conn.execute(
            sa.select(
                machines,
                sa.func.coalesce(device.c.name, "").label("device_name"),
                sa.func.coalesce(device.c.site, "").label("site"),
            )
            .select_from(machines.outerjoin(device, device.c.device_id == machines.c.device_id))
            .where(machines.c.standing_id == standing)
            .order_by(machines.c.device_id)
        )
    )


def select_line(conn: Connection, standing: str, device: str) -> Row | None:
    """Return what a machine said last of a document, or None when it is not for that machine."""
    return conn.execute(
        machines.select().where(machines.c.standing_id == standing, machines.c.device_id == device)
    ).first()


def select_owed(conn: Connection, device: str, now_ms: int) -> list[Row]:
    """Return the documents of which a machine has not said what is true of them now.

    Each with `state`, what the machine said last.
    """
    joined = machines.join(standings, standings.c.standing_id == machines.c.standing_id)
    stopped = sa.and_(standings.c.stopped_at > 0, machines.c.state != "revoked")
    wanted = sa.and_(standings.c.stopped_at == 0, machines.c.state != "held")
    return list(
        conn.execute(
            sa.select(standings, machines.c.state)
            .select_from(joined)
            .where(
                machines.c.device_id == device,
                standings.c.last_at > now_ms,
                sa.or_(stopped, wanted),
            )
            .order_by(standings.c.stored_at)
        )
    )


def update_envelope(conn: Connection, standing: str, envelope: bytes) -> None:
    """Write a document again, with other signatures."""
    conn.execute(
        standings.update().where(standings.c.standing_id == standing).values(envelope=envelope)
    )


def update_stop(conn: Connection, standing: str, stop: bytes, at_ms: int) -> None:
    """Write that a document was taken back."""
    conn.execute(
        standings.update()
        .where(standings.c.standing_id == standing)
        .values(stop=stop, stopped_at=at_ms)
    )


def update_line(conn: Connection, standing: str, device: str, values: Mapping[str, Any]) -> None:
    """Write what a machine said of a document."""
    conn.execute(
        machines.update()
        .where(machines.c.standing_id == standing, machines.c.device_id == device)
        .values(**values)
    )
