"""Tables of inventories, of each machine's newest summary, and of changes. All SQL stands here."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetward.server.schema.tables import identifier, instant, metadata, ownership
from fleetward.wire.posture import Change, Summary

MAX_IDS_IN_A_QUERY: Final = 500
"""SQLite takes 32,766 parameters, PostgreSQL 65,535; plans stay good far below."""

_TEXT: Final = sa.String(1024)

inventories: Final = sa.Table(
    "posture_inventory",
    metadata,
    *ownership(),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("size", sa.BigInteger(), nullable=False),
    sa.Column("body", sa.LargeBinary(), nullable=False),
    instant("stored_at"),
    sa.PrimaryKeyConstraint("owner_id", "digest"),
)
"""One row per content: a fleet of one image shares it. `body` is compressed by zlib."""

devices: Final = sa.Table(
    "posture_device",
    metadata,
    sa.Column("device_id", sa.String(64), primary_key=True),
    *ownership(),
    sa.Column("inventory_digest", sa.String(64), nullable=False),
    sa.Column("sequence", sa.BigInteger(), nullable=False),
    instant("as_of"),
    instant("received_at"),
    sa.Column("root", sa.Boolean(), nullable=False),
    sa.Column("os", _TEXT, nullable=False),
    sa.Column("kernel", _TEXT, nullable=False),
    sa.Column("packages", sa.BigInteger()),
    sa.Column("open_ports", sa.BigInteger()),
    sa.Column("lan_ports", sa.BigInteger()),
    sa.Column("exposed_ports", sa.BigInteger()),
    sa.Column("updates_pending", sa.BigInteger()),
    sa.Column("security_updates", sa.BigInteger()),
    instant("exposed_since", nullable=True),
    instant("updates_since", nullable=True),
    sa.Column("held_digest", sa.String(64)),
    instant("held_as_of", nullable=True),
    sa.Index(None, "owner_id", "inventory_digest"),
)
"""The newest that each machine said of itself. A number that is null was not visible.

`inventory_digest` names the inventory that it said last; `held_digest` the last that is stored
here, which is another one until the document has arrived.
"""

changes: Final = sa.Table(
    "posture_change",
    metadata,
    *ownership(),
    identifier("device_id"),
    sa.Column("sequence", sa.BigInteger(), nullable=False),
    instant("at"),
    instant("received_at"),
    sa.Column("key", _TEXT, nullable=False),
    sa.Column("what", _TEXT, nullable=False),
    sa.Column("words", _TEXT, nullable=False),
    sa.Column("before", _TEXT, nullable=False),
    sa.Column("after", _TEXT, nullable=False),
    sa.Column("severity", sa.String(16), nullable=False),
    sa.PrimaryKeyConstraint("device_id", "sequence"),
    sa.Index(None, "owner_id", "received_at"),
)


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """Which machine something is about, and to whom it belongs."""

    device_id: str
    owner_id: str
    maker_id: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """The last inventory of a machine that is stored here, and when the machine made it."""

    digest: str
    as_of_ms: int


@dataclass(frozen=True, slots=True)
class Known:
    """The newest that a machine said about itself."""

    key: DeviceKey
    digest: str
    sequence: int
    as_of_ms: int
    received_ms: int
    summary: Summary
    held: Held | None = None
    exposed_since_ms: int | None = None
    updates_since_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """A change as it arrived."""

    key: DeviceKey
    sequence: int
    at_ms: int
    received_ms: int
    change: Change


def insert_inventory(
    conn: Connection, key: DeviceKey, digest: str, body: bytes, at_ms: int
) -> bool:
    """Store an inventory once. Returns False when it was stored already.

    `body` must have been verified against `digest` by the caller.
    """
    if has_inventory(conn, key.owner_id, digest):
        return False
    conn.execute(
        inventories.insert().values(
            owner_id=key.owner_id,
            maker_id=key.maker_id,
            digest=digest,
            size=len(body),
            body=zlib.compress(body, 6),
            stored_at=at_ms,
        )
    )
    return True


def has_inventory(conn: Connection, owner_id: str, digest: str) -> bool:
    """Say whether an inventory is stored."""
    query = sa.select(inventories.c.size).where(
        inventories.c.owner_id == owner_id, inventories.c.digest == digest
    )
    return conn.execute(query).first() is not None


def select_inventory(conn: Connection, owner_id: str, digest: str) -> bytes | None:
    """Return the bytes of an inventory, or None."""
    query = sa.select(inventories.c.body).where(
        inventories.c.owner_id == owner_id, inventories.c.digest == digest
    )
    row = conn.execute(query).first()
    return None if row is None else zlib.decompress(row.body)


def select_missing(conn: Connection, owner_id: str, digests: Collection[str]) -> list[str]:
    """Return those of the digests that are not stored, in their order."""
    wanted = list(dict.fromkeys(digests))
    stored: set[str] = set()
    for start in range(0, len(wanted), MAX_IDS_IN_A_QUERY):
        query = sa.select(inventories.c.digest).where(
            inventories.c.owner_id == owner_id,
            inventories.c.digest.in_(wanted[start : start + MAX_IDS_IN_A_QUERY]),
        )
        stored.update(row.digest for row in conn.execute(query))
    return [digest for digest in wanted if digest not in stored]


def delete_unused(conn: Connection, owner_id: str, before_ms: int) -> int:
    """Delete inventories stored before a time that no machine points at; return how many."""
    of_owner = devices.c.owner_id == owner_id
    used = sa.union(
        sa.select(devices.c.inventory_digest).where(of_owner),
        sa.select(devices.c.held_digest).where(of_owner, devices.c.held_digest.is_not(None)),
    )
    result = conn.execute(
        inventories.delete().where(
            inventories.c.owner_id == owner_id,
            inventories.c.stored_at < before_ms,
            inventories.c.digest.not_in(used),
        )
    )
    return result.rowcount


def upsert_device(conn: Connection, known: Known) -> bool:
    """Write what a machine said, unless something newer is stored; say whether it was written."""
    values: dict[str, Any] = {
        "owner_id": known.key.owner_id,
        "maker_id": known.key.maker_id,
        "inventory_digest": known.digest,
        "sequence": known.sequence,
        "as_of": known.as_of_ms,
        "received_at": known.received_ms,
        **_summary_values(known.summary),
    }
    if has_inventory(conn, known.key.owner_id, known.digest):
        values |= {"held_digest": known.digest, "held_as_of": known.as_of_ms}
    query = sa.select(devices.c.sequence).where(devices.c.device_id == known.key.device_id)
    row = conn.execute(query).first()
    if row is None:
        begun = {name: known.as_of_ms for name, is_so in _needs(known.summary).items() if is_so}
        conn.execute(devices.insert().values(device_id=known.key.device_id, **values, **begun))
        return True
    if row.sequence > known.sequence:
        return False
    match = devices.c.device_id == known.key.device_id
    since = _keep_since(known.summary, known.as_of_ms)
    conn.execute(devices.update().where(match).values(**values, **since))
    return True


def update_summaries(conn: Connection, owner_id: str, digest: str, summary: Summary) -> None:
    """Replace the summaries of all machines of an inventory by what the document itself says.

    It is the one that is held of them from now on.
    """
    match = sa.and_(devices.c.owner_id == owner_id, devices.c.inventory_digest == digest)
    since = _keep_since(summary, devices.c.as_of)
    held = {"held_digest": digest, "held_as_of": devices.c.as_of}
    conn.execute(devices.update().where(match).values(**_summary_values(summary), **since, **held))


def _needs(summary: Summary) -> dict[str, bool]:
    return {
        "exposed_since": bool(summary.exposed_ports),
        "updates_since": bool(summary.security_updates),
    }


def _keep_since(summary: Summary, as_of: Any) -> dict[str, Any]:
    """Keep since when a machine needs something; a need that ended has no beginning."""
    return {
        name: sa.func.coalesce(devices.c[name], as_of) if is_so else None
        for name, is_so in _needs(summary).items()
    }


def _summary_values(summary: Summary) -> dict[str, Any]:
    return {name: getattr(summary, name) for name in Summary.__struct_fields__}


def select_device(conn: Connection, device_id: str) -> Known | None:
    """Return the newest that a machine said, or None."""
    row = conn.execute(sa.select(devices).where(devices.c.device_id == device_id)).first()
    return None if row is None else _read_device(row)


def select_devices(conn: Connection, device_ids: Sequence[str]) -> Iterator[Known]:
    """Yield the newest that each of these machines said."""
    for start in range(0, len(device_ids), MAX_IDS_IN_A_QUERY):
        part = device_ids[start : start + MAX_IDS_IN_A_QUERY]
        for row in conn.execute(sa.select(devices).where(devices.c.device_id.in_(part))):
            yield _read_device(row)


def select_fleet(conn: Connection, owner_id: str) -> Iterator[Known]:
    """Yield the newest that each machine of an owner said."""
    for row in conn.execute(sa.select(devices).where(devices.c.owner_id == owner_id)):
        yield _read_device(row)


def _read_device(row: sa.Row[Any]) -> Known:
    summary = Summary(**{name: getattr(row, name) for name in Summary.__struct_fields__})
    key = DeviceKey(row.device_id, row.owner_id, row.maker_id)
    held = None if row.held_digest is None else Held(row.held_digest, row.held_as_of)
    return Known(
        key, row.inventory_digest, row.sequence, row.as_of, row.received_at, summary, held,
        row.exposed_since, row.updates_since,
    )  # fmt: skip


def insert_changes(conn: Connection, records: Sequence[ChangeRecord]) -> int:
    """Store the changes that are new by (device, sequence); return how many were."""
    fresh: dict[tuple[str, int], ChangeRecord] = {}
    for record in records:
        place = (record.key.device_id, record.sequence)
        query = sa.select(changes.c.sequence).where(
            changes.c.device_id == place[0], changes.c.sequence == place[1]
        )
        if place not in fresh and conn.execute(query).first() is None:
            fresh[place] = record
    if fresh:
        conn.execute(changes.insert(), [_change_values(record) for record in fresh.values()])
    return len(fresh)


def _change_values(record: ChangeRecord) -> dict[str, Any]:
    change = record.change
    return {
        "owner_id": record.key.owner_id,
        "maker_id": record.key.maker_id,
        "device_id": record.key.device_id,
        "sequence": record.sequence,
        "at": record.at_ms,
        "received_at": record.received_ms,
        **{name: getattr(change, name) for name in Change.__struct_fields__},
    }


def select_changes(
    conn: Connection, owner_id: str, device_id: str | None, since_ms: int, limit: int
) -> list[ChangeRecord]:
    """Return changes that arrived since a time, the newest first; of one machine or of all."""
    query = sa.select(changes).where(
        changes.c.owner_id == owner_id, changes.c.received_at >= since_ms
    )
    if device_id is not None:
        query = query.where(changes.c.device_id == device_id)
    query = query.order_by(changes.c.received_at.desc(), changes.c.sequence.desc()).limit(limit)
    return [_read_change(row) for row in conn.execute(query)]


def _read_change(row: sa.Row[Any]) -> ChangeRecord:
    key = DeviceKey(row.device_id, row.owner_id, row.maker_id)
    change = Change(**{name: getattr(row, name) for name in Change.__struct_fields__})
    return ChangeRecord(key, row.sequence, row.at, row.received_at, change)
