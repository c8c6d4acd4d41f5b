"""Tables of owners and their documents. All SQL of this capability stands here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol, cast

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetward.server.schema.tables import identifier, instant, metadata, ownership
from fleetward.trust.roster import RosterEntry

POLICY: Final = "policy"
ROSTER: Final = "roster"
HEAD: Final = "head"
LEASE: Final = "lease"

owners: Final = sa.Table(
    "directory_owner",
    metadata,
    sa.Column("owner_id", sa.String(64), primary_key=True),
    identifier("maker_id", server_default=""),
    sa.Column("name", sa.String(80), nullable=False),
    sa.Column("root", sa.LargeBinary(), nullable=False),
    sa.Column("issuing_chain", sa.Text(), nullable=False),
    instant("created_at"),
)

documents: Final = sa.Table(
    "directory_document",
    metadata,
    *ownership(),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("version", sa.BigInteger(), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("body", sa.LargeBinary(), nullable=False),
    instant("received_at"),
    sa.PrimaryKeyConstraint("owner_id", "kind", "version"),
)

entries: Final = sa.Table(
    "directory_entry",
    metadata,
    *ownership(),
    identifier("device_id"),
    sa.Column("position", sa.BigInteger(), nullable=False),
    sa.Column("name", sa.String(80), nullable=False),
    sa.Column("site", sa.String(80), nullable=False),
    sa.Column("model", sa.String(80), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("body", sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint("owner_id", "device_id"),
)

announced: Final = sa.Table(
    "directory_announced",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    *ownership(),
    sa.Column("version", sa.BigInteger(), nullable=False),
    sa.Column("body", sa.LargeBinary(), nullable=False),
    sa.Column("people", sa.Text(), nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    instant("announced_at"),
    instant("earliest_at"),
    instant("ended_at", server_default="0"),
)
"""Policies that recovery keys signed; `outcome` is empty while one waits."""


class AnnouncedRow(Protocol):
    """A row of `announced`."""

    hash: str
    version: int
    body: bytes
    people: str
    outcome: str
    announced_at: int
    earliest_at: int


class Announcement(Protocol):
    """What is written there."""

    @property
    def hash(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def raw(self) -> bytes: ...

    @property
    def people(self) -> tuple[str, ...]: ...

    @property
    def outcome(self) -> str: ...

    @property
    def announced_at_ms(self) -> int: ...

    @property
    def earliest_ms(self) -> int: ...


def select_announced(conn: Connection, outcome: str) -> list[AnnouncedRow]:
    """Return the announced policies with this outcome, oldest first."""
    query = sa.select(announced).where(announced.c.outcome == outcome)
    rows = conn.execute(query.order_by(announced.c.announced_at, announced.c.hash)).all()
    return cast("list[AnnouncedRow]", rows)


def insert_announced(conn: Connection, owner_id: str, row: Announcement) -> None:
    """Write a policy that was announced."""
    conn.execute(
        announced.insert().values(
            hash=row.hash,
            owner_id=owner_id,
            version=row.version,
            body=row.raw,
            people="\n".join(row.people),
            outcome=row.outcome,
            announced_at=row.announced_at_ms,
            earliest_at=row.earliest_ms,
        )
    )


def update_announced(conn: Connection, digest: str, outcome: str, at_ms: int) -> None:
    """Write what became of an announced policy."""
    conn.execute(
        announced.update().where(announced.c.hash == digest).values(outcome=outcome, ended_at=at_ms)
    )


def select_owner(conn: Connection) -> sa.Row[*tuple[Any, ...]] | None:
    """Return owner id, name, root and issuing chain of the one owner of this server, if any."""
    return conn.execute(
        sa.select(owners.c.owner_id, owners.c.name, owners.c.root, owners.c.issuing_chain)
    ).first()


def insert_owner(
    conn: Connection, owner_id: str, name: str, root: bytes, chain: str, at_ms: int
) -> None:  # fmt: skip
    """Write the owner that this server serves."""
    conn.execute(
        owners.insert().values(
            owner_id=owner_id, name=name, root=root, issuing_chain=chain, created_at=at_ms
        )
    )


def update_chain(conn: Connection, owner_id: str, chain: str) -> None:
    """Replace the issuing chain that the owner's fleet CA signed."""
    conn.execute(owners.update().where(owners.c.owner_id == owner_id).values(issuing_chain=chain))


def insert_document(
    conn: Connection,
    owner_id: str,
    kind: str,
    version: int,
    document: tuple[str, bytes],
    at_ms: int,
) -> bool:
    """Store a document, given by hash and bytes. Returns False when that version is stored."""
    known = conn.execute(
        sa.select(documents.c.hash).where(
            documents.c.owner_id == owner_id,
            documents.c.kind == kind,
            documents.c.version == version,
        )
    ).first()
    if known is not None:
        return False
    conn.execute(
        documents.insert().values(
            owner_id=owner_id,
            kind=kind,
            version=version,
            hash=document[0],
            body=document[1],
            received_at=at_ms,
        )
    )
    return True


def select_documents(conn: Connection, owner_id: str, kind: str) -> list[bytes]:
    """Return all documents of a kind, oldest version first."""
    rows = conn.execute(
        sa.select(documents.c.body)
        .where(documents.c.owner_id == owner_id, documents.c.kind == kind)
        .order_by(documents.c.version)
    )
    return [row.body for row in rows]


def select_newest(conn: Connection, owner_id: str, kind: str) -> bytes:
    """Return the newest document of a kind, or empty bytes."""
    row = conn.execute(
        sa.select(documents.c.body)
        .where(documents.c.owner_id == owner_id, documents.c.kind == kind)
        .order_by(documents.c.version.desc())
        .limit(1)
    ).first()
    return row.body if row else b""


def replace_entries(conn: Connection, owner_id: str, rows: Sequence[RosterEntry]) -> None:
    """Replace the roster's entries by those of the newest roster, in its order."""
    conn.execute(entries.delete().where(entries.c.owner_id == owner_id))
    if rows:
        conn.execute(
            entries.insert(),
            [
                {
                    "owner_id": owner_id,
                    "maker_id": row.maker,
                    "device_id": row.device,
                    "position": position,
                    "name": row.name,
                    "site": row.site,
                    "model": row.model,
                    "state": row.state,
                    "body": row.to_bytes(),
                }
                for position, row in enumerate(rows)
            ],
        )


def select_entries(conn: Connection, owner_id: str) -> list[bytes]:
    """Return the entries of the newest roster, in its order."""
    rows = conn.execute(
        sa.select(entries.c.body).where(entries.c.owner_id == owner_id).order_by(entries.c.position)
    )
    return [row.body for row in rows]
