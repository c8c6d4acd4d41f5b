"""All SQL of rollouts, of the machines that they let in, and of the daily history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetward.server.schema.tables import metadata
from fleetward.server.updates.store import Row
from fleetward.server.updates.tables import days, parts, rollouts


def insert_rollout(conn: Connection, values: Mapping[str, Any]) -> None:
    """Write a rollout."""
    conn.execute(rollouts.insert().values(**values))


def select_rollouts(conn: Connection) -> list[Row]:
    """Return all rollouts, newest first."""
    return list(conn.execute(sa.select(rollouts).order_by(rollouts.c.created_at.desc())).all())


def select_by_prefix(conn: Connection, prefix: str) -> list[Row]:
    """Return at most two rollouts whose id begins so. The prefix is of hexadecimal digits."""
    clause = rollouts.c.rollout_id.between(prefix, prefix + "g")
    return list(conn.execute(sa.select(rollouts).where(clause).limit(2)).all())


def update_rollout(conn: Connection, rollout: str, values: Mapping[str, Any]) -> None:
    """Write how a rollout stands."""
    conn.execute(rollouts.update().where(rollouts.c.rollout_id == rollout).values(**values))


def insert_parts(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write that machines were let in."""
    if rows:
        conn.execute(parts.insert(), [dict(row) for row in rows])


def select_parts(conn: Connection, rollout: str) -> list[Row]:
    """Return all machines that a rollout let in."""
    return list(conn.execute(sa.select(parts).where(parts.c.rollout_id == rollout)).all())


@dataclass(frozen=True, slots=True)
class PartsWanted:
    """Which machines of a rollout: in one of these states, none named: all; holding these letters
    in their names, sites, ids or causes."""

    states: frozenset[str] = frozenset()
    text: str = ""


def select_parts_page(
    conn: Connection, rollout: str, wanted: PartsWanted, span: tuple[int, int]
) -> tuple[list[Row], int]:
    """Return a page (offset, limit) of the machines of a rollout with their names, and how many
    there are."""
    device = metadata.tables["identity_device"]
    joined = parts.outerjoin(device, device.c.device_id == parts.c.device_id)
    clause = sa.and_(parts.c.rollout_id == rollout, _is_wanted(device, wanted))
    rows = conn.execute(
        sa.select(
            parts,
            sa.func.coalesce(device.c.name, "").label("name"),
            sa.func.coalesce(device.c.site, "").label("site"),
        )
        .select_from(joined)
        .where(clause)
        .order_by(parts.c.wave, device.c.site, device.c.name, parts.c.device_id)
        .offset(span[0])
        .limit(span[1])
    ).all()
    counted = sa.select(sa.func.count()).select_from(joined).where(clause)
    return list(rows), int(conn.execute(counted).scalar() or 0)


def _is_wanted(device: sa.Table, wanted: PartsWanted) -> sa.ColumnElement[bool]:
    clauses: list[sa.ColumnElement[bool]] = []
    if wanted.states:
        # Told is no state of its own: it is placed, with the time at which it was told.
        told = sa.and_(parts.c.state == "placed", parts.c.offered_at > 0)
        named = parts.c.state.in_(sorted(wanted.states - {"offered"}))
        clauses.append(sa.or_(named, told) if "offered" in wanted.states else named)
    if wanted.text:
        fields = (device.c.name, device.c.site, parts.c.device_id, parts.c.cause)
        clauses.append(sa.or_(*(f.icontains(wanted.text, autoescape=True) for f in fields)))
    return sa.and_(sa.true(), *clauses)


def select_deeds(conn: Connection, owner: str, most: int) -> list[Row]:
    """Return what people did of rollouts, newest first, as the owner's record has it."""
    leaf = metadata.tables["audit_leaf"]
    # As the index has it: batches are left out of it.
    clause = (leaf.c.kind != sa.literal_column("'batch'")) & (leaf.c.subject == "fleet")
    asked = sa.select(leaf.c.at, leaf.c.kind, leaf.c.actor, leaf.c.body)
    mine = clause & leaf.c.kind.startswith("rollout.") & (leaf.c.owner_id == owner)
    return list(conn.execute(asked.where(mine).order_by(leaf.c.at.desc()).limit(most)).all())


def select_parts_of(conn: Connection, devices: Sequence[str]) -> list[Row]:
    """Return how machines stand in each rollout that let them in, with that rollout's release."""
    joined = parts.join(rollouts, rollouts.c.rollout_id == parts.c.rollout_id)
    asked = sa.select(
        parts.c.rollout_id, parts.c.device_id, parts.c.state, rollouts.c.release_id
    ).select_from(joined)
    return list(conn.execute(asked.where(parts.c.device_id.in_(list(devices)))).all())


def select_gates(conn: Connection) -> list[Row]:
    """Return each rollout's id, release and state."""
    asked = sa.select(rollouts.c.rollout_id, rollouts.c.release_id, rollouts.c.state)
    return list(conn.execute(asked).all())


def update_offered(conn: Connection, fresh: Sequence[tuple[str, str]], at_ms: int) -> None:
    """Write that machines (machine, release) are told of what a rollout is about."""
    if not fresh:
        return
    mine = (
        sa.select(rollouts.c.rollout_id)
        .where(rollouts.c.release_id == sa.bindparam("of_release"))
        .scalar_subquery()
    )
    statement = (
        parts.update()
        .where(
            parts.c.device_id == sa.bindparam("of_device"),
            parts.c.rollout_id.in_(mine),
            parts.c.offered_at == 0,
        )
        .values(offered_at=at_ms)
    )
    conn.execute(statement, [{"of_device": device, "of_release": each} for device, each in fresh])


def select_unasked(conn: Connection, let_in_before_ms: int) -> list[str]:
    """Return machines that running rollouts let in before then, and that have not asked since."""
    joined = parts.join(rollouts, rollouts.c.rollout_id == parts.c.rollout_id)
    asked = sa.select(parts.c.device_id).select_from(joined).distinct()
    mine = sa.and_(
        rollouts.c.state.in_(["running", "done"]),
        parts.c.state == "placed",
        parts.c.offered_at == 0,
        parts.c.placed_at <= let_in_before_ms,
    )
    return [row.device_id for row in conn.execute(asked.where(mine).order_by(parts.c.device_id))]


def update_part(conn: Connection, rollout: str, device: str, values: Mapping[str, Any]) -> int:
    """Write how a machine stands in a rollout; return whether it is in."""
    clause = sa.and_(parts.c.rollout_id == rollout, parts.c.device_id == device)
    return conn.execute(parts.update().where(clause).values(**values)).rowcount


def update_failed(conn: Connection, rollout: str, states: Sequence[str], state: str) -> list[str]:
    """Put machines of these states into another one; return them."""
    clause = sa.and_(parts.c.rollout_id == rollout, parts.c.state.in_(list(states)))
    found = [row.device_id for row in conn.execute(sa.select(parts.c.device_id).where(clause))]
    values = {"state": state, "cause": "", "words": "", "ended_at": 0}
    conn.execute(parts.update().where(clause).values(**values))
    return found


def count_parts(conn: Connection, rollout: str, states: Sequence[str]) -> int:
    """Return how many machines of a rollout are in one of these states."""
    clause = sa.and_(parts.c.rollout_id == rollout, parts.c.state.in_(list(states)))
    counted = sa.select(sa.func.count()).select_from(parts).where(clause)
    return int(conn.execute(counted).scalar() or 0)


def select_oldest(conn: Connection, rollout: str, ended: Sequence[str]) -> tuple[int, int]:
    """Return how many machines of a rollout have not ended, and when the first was let in."""
    clause = sa.and_(parts.c.rollout_id == rollout, parts.c.state.not_in(list(ended)))
    asked = sa.select(sa.func.count(), sa.func.min(parts.c.placed_at)).where(clause)
    count, oldest = conn.execute(asked).one()
    return int(count), int(oldest or 0)


def upsert_day(conn: Connection, product: str, day: int, values: Mapping[str, Any]) -> None:
    """Write how fresh a product is today; the last of a day stands."""
    clause = sa.and_(days.c.product == product, days.c.day == day)
    changed = conn.execute(days.update().where(clause).values(**values)).rowcount
    if not changed:
        conn.execute(days.insert().values(product=product, day=day, **values))


def select_days(conn: Connection, since: int) -> list[Row]:
    """Return the daily history from a day on, oldest first."""
    clause = days.c.day >= since
    return list(conn.execute(sa.select(days).where(clause).order_by(days.c.day)).all())
