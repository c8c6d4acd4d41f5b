"""Tables of machines and invitations. All SQL of this capability stands here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetward.server.schema.tables import instant, metadata, ownership

RESTORED: Final = "restored"
"""In the place of an invitation's id: no invitation that was issued before it is good."""
Row: TypeAlias = "sa.Row[*tuple[Any, ...]]"

devices: Final = sa.Table(
    "identity_device",
    metadata,
    sa.Column("device_id", sa.String(64), primary_key=True),
    *ownership(),
    sa.Column("suite", sa.String(16), nullable=False),
    sa.Column("public", sa.LargeBinary(), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(500), nullable=False, server_default=""),
    sa.Column("name", sa.String(80), nullable=False),
    sa.Column("site", sa.String(80), nullable=False),
    sa.Column("model", sa.String(80), nullable=False),
    sa.Column("system", sa.String(80), nullable=False),
    sa.Column("simulated", sa.Boolean(), nullable=False),
    sa.Column("confirmed", sa.Boolean(), nullable=False),
    sa.Column("preapproved", sa.Boolean(), nullable=False),
    sa.Column("invitation", sa.String(64), nullable=False),
    sa.Column("lineage", sa.BigInteger(), nullable=False),
    sa.Column("serial", sa.String(64), nullable=False, server_default=""),
    instant("not_after", server_default="0"),
    sa.Column("agent", sa.String(64), nullable=False, server_default=""),
    sa.Column("wall", sa.String(16), nullable=False, server_default=""),
    sa.Column("policy_version", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Column("roster_version", sa.BigInteger(), nullable=False, server_default="0"),
    instant("joined_at"),
    instant("state_at", server_default="0"),
    instant("last_seen_at", server_default="0"),
    sa.Column("connected", sa.Boolean(), nullable=False, server_default=sa.false()),
    sa.Index("ix_identity_device_site", "site"),
    sa.Index("ix_identity_device_state", "state"),
)

invitations: Final = sa.Table(
    "identity_invitation",
    metadata,
    sa.Column("invitation_id", sa.String(64), primary_key=True),
    *ownership(),
    sa.Column("site", sa.String(80), nullable=False),
    sa.Column("uses", sa.BigInteger(), nullable=False),
    sa.Column("used", sa.BigInteger(), nullable=False),
    sa.Column("body", sa.LargeBinary(), nullable=False),
    instant("expires_at"),
    instant("first_used_at"),
)


def select_covered(device_ids: frozenset[str], sites: frozenset[str]) -> sa.Select[Any]:
    """Return the selection of the ids of machines that are named, or stand at one of the sites."""
    return sa.select(devices.c.device_id).where(
        sa.or_(devices.c.device_id.in_(sorted(device_ids)), devices.c.site.in_(sorted(sites)))
    )


def select_device(conn: Connection, device: str) -> Row | None:
    """Return a machine, or None."""
    return conn.execute(sa.select(devices).where(devices.c.device_id == device)).first()


def select_devices(conn: Connection, states: Sequence[str] = ()) -> list[Row]:
    """Return machines, in these states when given, oldest first."""
    query = sa.select(devices).order_by(devices.c.joined_at)
    if states:
        query = query.where(devices.c.state.in_(list(states)))
    return list(conn.execute(query))


def insert_device(conn: Connection, values: dict[str, Any]) -> None:
    """Write a machine that joined."""
    conn.execute(devices.insert().values(**values))


def update_device(conn: Connection, device: str, **values: Any) -> None:
    """Change fields of a machine."""
    conn.execute(devices.update().where(devices.c.device_id == device).values(**values))


def update_state(
    conn: Connection, device: str, state: str, reason: str, at_ms: int, *, unless: str
) -> bool:
    """Change a machine's state unless it is `unless`; say whether it was changed."""
    changed = conn.execute(
        devices.update()
        .where(devices.c.device_id == device, devices.c.state != unless)
        .values(state=state, reason=reason, state_at=at_ms)
    )
    return int(changed.rowcount) > 0


def update_seen(conn: Connection, seen: Iterable[tuple[str, int]]) -> None:
    """Write when machines were last heard of: (device, time). Heartbeats come coalesced."""
    rows = [{"b_device": device, "b_at": at} for device, at in seen]
    if rows:
        conn.execute(
            devices.update()
            .where(devices.c.device_id == sa.bindparam("b_device"))
            .values(last_seen_at=sa.bindparam("b_at"), connected=True),
            rows,
        )


def update_connected(conn: Connection, device: str | None, connected: bool) -> None:  # noqa: FBT001 - the value to store
    """Write whether a machine (or, with None, every machine) is connected."""
    query = devices.update().values(connected=connected)
    if device is not None:
        query = query.where(devices.c.device_id == device)
    conn.execute(query)


def silence_before(conn: Connection, before_ms: int) -> int:
    """Mark machines not heard of since as not connected; return how many."""
    result = conn.execute(
        devices.update()
        .where(devices.c.connected.is_(True), devices.c.last_seen_at < before_ms)
        .values(connected=False)
    )
    return int(result.rowcount)


def select_invitation(conn: Connection, invitation: str) -> Row | None:
    """Return an invitation that was used at least once, or None."""
    return conn.execute(
        sa.select(invitations).where(invitations.c.invitation_id == invitation)
    ).first()


def use_invitation(conn: Connection, values: dict[str, Any]) -> None:
    """Count one use; the first writes the invitation."""
    changed = conn.execute(
        invitations.update()
        .where(invitations.c.invitation_id == values["invitation_id"])
        .values(used=invitations.c.used + 1)
    ).rowcount
    if changed == 0:
        conn.execute(invitations.insert().values(**values, used=1))


def end_invitations(conn: Connection, at_ms: int) -> None:
    """End every invitation that was issued until now, also those that were never seen here.

    After a restore nobody knows how often they were used.
    """
    conn.execute(invitations.update().values(used=invitations.c.uses))
    conn.execute(invitations.delete().where(invitations.c.invitation_id == RESTORED))
    conn.execute(
        invitations.insert().values(
            invitation_id=RESTORED, site="", uses=0, used=0, body=b"", expires_at=0,
            first_used_at=at_ms,
        )
    )  # fmt: skip


def select_restored_at(conn: Connection) -> int:
    """Return when this server was last restored, 0 for never."""
    row = select_invitation(conn, RESTORED)
    return 0 if row is None else int(row.first_used_at)
