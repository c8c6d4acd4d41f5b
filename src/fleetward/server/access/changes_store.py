"""SQL about what changed during sessions.

The document lies here as the machine made it, or not yet. Who compares it with the machine's
receipt is the owner, with his own tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetward.server.access.store import Row
from fleetward.server.access.tables import comparisons

MAX_WANTED: Final = 8
"""Documents that are asked of a machine at once."""


def upsert_notice(conn: Connection, values: Mapping[str, Any]) -> None:
    """Store what a machine said of a session; a later word about it takes the place of this one."""
    session = comparisons.c.session_id == values["session_id"]
    known = conn.execute(sa.select(comparisons.c.digest).where(session)).first()
    if known is None:
        conn.execute(comparisons.insert().values(body=None, **values))
    elif known.digest != values["digest"]:
        conn.execute(comparisons.update().where(session).values(body=None, **values))


def select_wanted(conn: Connection, device: str) -> list[str]:
    """Return digests of documents of a machine that are not here, the newest first."""
    rows = conn.execute(
        sa.select(comparisons.c.digest)
        .where(comparisons.c.device_id == device, comparisons.c.body.is_(None))
        .order_by(comparisons.c.at.desc(), comparisons.c.session_id)
        .limit(MAX_WANTED)
    )
    return [row.digest for row in rows]


def select_named(conn: Connection, device: str, digest: str) -> Row | None:
    """Return the session of a machine whose changes have this digest, or None."""
    return conn.execute(
        sa.select(comparisons).where(
            comparisons.c.device_id == device, comparisons.c.digest == digest
        )
    ).first()


def write_body(conn: Connection, session: str, body: bytes) -> None:
    """Store a document that has come."""
    conn.execute(comparisons.update().where(comparisons.c.session_id == session).values(body=body))


def select_comparison(conn: Connection, session: str) -> Row | None:
    """Return what is known of the changes during a session, or None."""
    return conn.execute(sa.select(comparisons).where(comparisons.c.session_id == session)).first()
