"""All SQL of recalls, of who was told of them, and of support that ends. Names, sites and when a
machine was heard last are read from the identity's table and never written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetward.server.schema.tables import metadata
from fleetward.server.updates.recall_tables import (
    notices,
    recall_days,
    recalled,
    recalls,
    support,
)
from fleetward.server.updates.store import Row
from fleetward.server.updates.tables import reports

AT_ONCE: Final = 500
"""Machines in one question to the database, which bounds how many values a question has."""


def insert_recall(conn: Connection, values: Mapping[str, Any]) -> None:
    """Write a recall."""
    conn.execute(recalls.insert().values(**values))


def update_recall(conn: Connection, recall: str, values: Mapping[str, Any]) -> None:
    """Write how a recall stands."""
    conn.execute(recalls.update().where(recalls.c.recall_id == recall).values(**values))


def select_recalls(conn: Connection) -> list[Row]:
    """Return all recalls, newest first."""
    return list(conn.execute(sa.select(recalls).order_by(recalls.c.created_at.desc())).all())


def select_by_prefix(conn: Connection, prefix: str) -> list[Row]:
    """Return at most two recalls whose id begins so. The prefix is of hexadecimal digits."""
    clause = recalls.c.recall_id.between(prefix, prefix + "g")
    return list(conn.execute(sa.select(recalls).where(clause).limit(2)).all())


def select_members(conn: Connection, recall: str) -> list[Row]:
    """Return all machines that a recall found."""
    return list(conn.execute(sa.select(recalled).where(recalled.c.recall_id == recall)).all())


def count_standings(conn: Connection, recall: str) -> dict[str, int]:
    """Return how many machines of a recall stand how."""
    asked = sa.select(recalled.c.standing, sa.func.count().label("number"))
    rows = conn.execute(asked.where(recalled.c.recall_id == recall).group_by(recalled.c.standing))
    return {row.standing: int(row.number) for row in rows}


def insert_members(conn: Connection, recall: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write machines that a recall found."""
    if rows:
        conn.execute(recalled.insert(), [{**row, "recall_id": recall} for row in rows])


def update_members(conn: Connection, recall: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write how machines stand that a recall found before."""
    if not rows:
        return
    clause = sa.and_(
        recalled.c.recall_id == recall, recalled.c.device_id == sa.bindparam("of_device")
    )
    names = [name for name in rows[0] if name != "device_id"]
    statement = (
        recalled.update().where(clause).values({name: sa.bindparam(f"to_{name}") for name in names})
    )
    values = [
        {"of_device": row["device_id"], **{f"to_{name}": row[name] for name in names}}
        for row in rows
    ]
    conn.execute(statement, values)


def delete_members(conn: Connection, recall: str, devices: Iterable[str]) -> None:
    """Forget machines that a recall is not about any more."""
    for device in devices:
        conn.execute(recalled.delete().where(_is_member(recall, device)))


def update_note(conn: Connection, recall: str, device: str, values: Mapping[str, Any]) -> int:
    """Write what somebody says of a machine; return whether the recall found it."""
    return conn.execute(
        recalled.update().where(_is_member(recall, device)).values(**values)
    ).rowcount


@dataclass(frozen=True, slots=True)
class MembersWanted:
    """Which machines of a recall: standing so, none named: all; holding these letters in their
    names, sites, models, serials or ids; and whether only those that are not connected."""

    standings: frozenset[str] = frozenset()
    text: str = ""
    silent: bool = False


def select_members_page(
    conn: Connection, recall: str, wanted: MembersWanted, span: tuple[int, int]
) -> tuple[list[Row], int]:
    """Return a page (offset, limit) of the machines of a recall, with what is known of them: the
    affected first, the done last, of each the longest silent on top; and how many there are."""
    device = metadata.tables["identity_device"]
    joined = recalled.outerjoin(device, device.c.device_id == recalled.c.device_id)
    clause = sa.and_(recalled.c.recall_id == recall, _is_wanted(device, wanted))
    rows = conn.execute(
        sa.select(
            recalled,
            sa.func.coalesce(device.c.name, "").label("name"),
            sa.func.coalesce(device.c.site, "").label("site"),
            sa.func.coalesce(device.c.model, "").label("model"),
            sa.func.coalesce(device.c.state, "").label("state"),
            sa.func.coalesce(device.c.connected, sa.false()).label("connected"),
            sa.func.coalesce(device.c.last_seen_at, 0).label("last_seen_at"),
            sa.func.coalesce(device.c.simulated, sa.false()).label("simulated"),
        )
        .select_from(joined)
        .where(clause)
        .order_by(
            recalled.c.done_at > 0,
            recalled.c.standing,
            sa.text("last_seen_at"),
            recalled.c.device_id,
        )
        .offset(span[0])
        .limit(span[1])
    ).all()
    counted = sa.select(sa.func.count()).select_from(joined).where(clause)
    return list(rows), int(conn.execute(counted).scalar() or 0)


def _is_wanted(device: sa.Table, wanted: MembersWanted) -> sa.ColumnElement[bool]:
    clauses: list[sa.ColumnElement[bool]] = []
    if wanted.standings:
        clauses.append(recalled.c.standing.in_(sorted(wanted.standings)))
    if wanted.silent:
        clauses.append(sa.func.coalesce(device.c.connected, sa.false()).is_(sa.false()))
    if wanted.text:
        fields = (device.c.name, device.c.site, device.c.model, recalled.c.device_id)
        clauses.append(sa.or_(*(f.icontains(wanted.text, autoescape=True) for f in fields)))
    return sa.and_(sa.true(), *clauses)


def count_silent(conn: Connection, recall: str, standings: Sequence[str]) -> tuple[int, int]:
    """Return how many machines of these standings are not connected, and since when the one that
    was heard least lately was not (0: one never was)."""
    device = metadata.tables["identity_device"]
    joined = recalled.join(device, device.c.device_id == recalled.c.device_id)
    clause = sa.and_(
        recalled.c.recall_id == recall,
        recalled.c.standing.in_(list(standings)),
        device.c.connected.is_(sa.false()),
    )
    counted = sa.select(sa.func.count(), sa.func.min(device.c.last_seen_at))
    row = conn.execute(counted.select_from(joined).where(clause)).one()
    return int(row[0] or 0), int(row[1] or 0)


def count_late(
    conn: Connection, recall: str, standings: Sequence[str], since_ms: int
) -> tuple[int, int]:
    """Return how many machines of these standings were found after a time, and when the first."""
    clause = sa.and_(
        recalled.c.recall_id == recall,
        recalled.c.standing.in_(list(standings)),
        recalled.c.found_at > since_ms,
    )
    asked = sa.select(sa.func.count(), sa.func.min(recalled.c.found_at)).where(clause)
    row = conn.execute(asked).one()
    return int(row[0] or 0), int(row[1] or 0)


def select_proofs(conn: Connection, devices: Sequence[str]) -> dict[tuple[str, str], Row]:
    """Return the newest report of machines that says that a release was committed, by machine and
    release."""
    found: dict[tuple[str, str], Row] = {}
    for at in range(0, len(devices), AT_ONCE):
        clause = sa.and_(
            reports.c.device_id.in_(list(devices[at : at + AT_ONCE])),
            reports.c.outcome == "committed",
        )
        asked = sa.select(
            reports.c.device_id, reports.c.release_id, reports.c.report_id, reports.c.envelope,
            reports.c.said_at,
        )  # fmt: skip
        for row in conn.execute(asked.where(clause).order_by(reports.c.sequence)):
            found[(row.device_id, row.release_id)] = row
    return found


def upsert_day(conn: Connection, recall: str, day: int, values: Mapping[str, Any]) -> None:
    """Write how far a recall is today; the last of a day stands."""
    clause = sa.and_(recall_days.c.recall_id == recall, recall_days.c.day == day)
    if not conn.execute(recall_days.update().where(clause).values(**values)).rowcount:
        conn.execute(recall_days.insert().values(recall_id=recall, day=day, **values))


def select_days(conn: Connection, recall: str, most: int) -> list[Row]:
    """Return the newest days of a recall's history, oldest first."""
    asked = sa.select(recall_days).where(recall_days.c.recall_id == recall)
    rows = conn.execute(asked.order_by(recall_days.c.day.desc()).limit(most)).all()
    return list(reversed(rows))


def select_deeds(conn: Connection, owner: str, most: int) -> list[Row]:
    """Return what people did of recalls, newest first, as the owner's record has it."""
    leaf = metadata.tables["audit_leaf"]
    # As the index has it: batches are left out of it.
    clause = (leaf.c.kind != sa.literal_column("'batch'")) & (leaf.c.subject == "fleet")
    asked = sa.select(leaf.c.at, leaf.c.kind, leaf.c.actor, leaf.c.body)
    mine = clause & leaf.c.kind.startswith("recall.") & (leaf.c.owner_id == owner)
    order = (leaf.c.at.desc(), leaf.c.generation.desc(), leaf.c.position.desc())
    return list(conn.execute(asked.where(mine).order_by(*order).limit(most)).all())


def insert_notice(conn: Connection, values: Mapping[str, Any]) -> None:
    """Write that somebody was told, or that it was tried."""
    conn.execute(notices.insert().values(**values))


def select_notices(conn: Connection, subject: str) -> list[Row]:
    """Return who was told of a subject, oldest first."""
    clause = notices.c.subject == subject
    return list(conn.execute(sa.select(notices).where(clause).order_by(notices.c.at)).all())


def select_notices_under(conn: Connection, prefix: str, most: int) -> list[Row]:
    """Return who was told of the subjects that begin so, newest first."""
    clause = notices.c.subject.startswith(prefix, autoescape=True)
    asked = sa.select(notices).where(clause).order_by(notices.c.at.desc()).limit(most)
    return list(conn.execute(asked).all())


def insert_support(conn: Connection, values: Mapping[str, Any]) -> None:
    """Write that the end of support was announced. Raises `Refused` (conflict) for once more."""
    conn.execute(support.insert().values(**values))


def select_support(conn: Connection) -> list[Row]:
    """Return which ends of support were announced."""
    return list(conn.execute(sa.select(support)).all())


def _is_member(recall: str, device: str) -> sa.ColumnElement[bool]:
    return sa.and_(recalled.c.recall_id == recall, recalled.c.device_id == device)
