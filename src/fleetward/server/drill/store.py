"""Reading what a machine answered, from its signed journal as it arrived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetward.server.schema.tables import metadata
from fleetward.trust.journal import read_entry

ANSWERS: Final = ("gate.refused", "gate.accepted", "gate.refreshed", "gate.reduced")


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer of a machine."""

    sequence: int
    kind: str
    reason: str
    words: str


def newest_sequence(conn: Connection, device: str) -> int:
    """Return the newest stored sequence of a machine, 0 for none."""
    event = metadata.tables["events_event"]
    newest = conn.execute(
        sa.select(sa.func.max(event.c.sequence)).where(event.c.device_id == device)
    ).scalar()
    return int(newest or 0)


def select_heard(conn: Connection, device: str, after: int) -> Heard | None:
    """Return the first answer of a machine's gate behind a sequence, or None."""
    event = metadata.tables["events_event"]
    row = conn.execute(
        sa.select(event.c.sequence, event.c.kind, event.c.body)
        .where(event.c.device_id == device, event.c.sequence > after, event.c.kind.in_(ANSWERS))
        .order_by(event.c.sequence)
        .limit(1)
    ).first()
    if row is None:
        return None
    body = read_entry(row.body).body
    reason, words = body.get("reason", ""), body.get("words", "")
    return Heard(int(row.sequence), str(row.kind), str(reason), str(words))
