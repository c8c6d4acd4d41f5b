"""What the tour remembers: a few short values."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetward.server.schema.tables import metadata, ownership

notes: Final = sa.Table(
    "guide_note",
    metadata,
    *ownership(),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.String(500), nullable=False),
)


def select_notes(conn: Connection) -> dict[str, str]:
    """Return everything that is remembered."""
    return {row.name: row.value for row in conn.execute(sa.select(notes.c.name, notes.c.value))}


def write_note(conn: Connection, name: str, value: str) -> None:
    """Remember a value."""
    changed = conn.execute(notes.update().where(notes.c.name == name).values(value=value)).rowcount
    if changed == 0:
        conn.execute(notes.insert().values(name=name, value=value))


def delete_notes(conn: Connection) -> None:
    """Forget everything."""
    conn.execute(notes.delete())
