"""Tables of the ledger. All SQL of this capability stands here.

Leaves are rows; inner hashes are kept as tiles of 256 (C2SP tlog-tiles), so that a proof reads a
few rows and a million leaves cost eight thousand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from fleetward.runtime.database import Database
from fleetward.server.audit.decide import Leaf, start_of
from fleetward.server.schema.tables import identifier, instant, metadata, ownership

leaves: Final = sa.Table(
    "audit_leaf",
    metadata,
    # No index of its own on the owner: the primary key begins with it.
    identifier("owner_id", server_default=""),
    identifier("maker_id", server_default=""),
    sa.Column("generation", sa.Integer(), nullable=False),
    sa.Column("position", sa.BigInteger(), nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("actor", sa.String(160), nullable=False),
    sa.Column("subject", sa.String(160), nullable=False),
    sa.Column("reference", sa.String(64), nullable=False),
    # The reference's first 8 bytes. Hashes come at random places: an index over the whole ones
    # outgrows the memory soon, and then every leaf reads and writes a page of its own. Not
    # unique: who can choose what is hashed could make two that begin alike.
    sa.Column("reference_start", sa.BigInteger(), nullable=False, index=True),
    instant("at"),
    sa.Column("body", sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint("owner_id", "generation", "position"),
)
PlacedLeaf: TypeAlias = tuple[int, Leaf]
NOT_BATCH: Final = leaves.c.kind != sa.literal_column("'batch'")
"""Literal, so that the databases see that it is what the indexes cover."""
for _name, _columns in (
    ("subject", (leaves.c.subject, leaves.c.at)),
    ("at", (leaves.c.at, leaves.c.kind)),
):
    sa.Index(
        f"ix_audit_leaf_{_name}", *_columns, sqlite_where=NOT_BATCH, postgresql_where=NOT_BATCH
    )

tiles: Final = sa.Table(
    "audit_tile",
    metadata,
    identifier("owner_id", server_default=""),
    identifier("maker_id", server_default=""),
    sa.Column("generation", sa.Integer(), nullable=False),
    sa.Column("level", sa.Integer(), nullable=False),
    sa.Column("position", sa.BigInteger(), nullable=False),
    sa.Column("hashes", sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint("owner_id", "generation", "level", "position"),
)

checkpoints: Final = sa.Table(
    "audit_checkpoint",
    metadata,
    *ownership(),
    sa.Column("generation", sa.Integer(), nullable=False),
    sa.Column("size", sa.BigInteger(), nullable=False),
    sa.Column("note", sa.LargeBinary(), nullable=False),
    instant("at"),
    sa.PrimaryKeyConstraint("owner_id", "generation"),
)

generations: Final = sa.Table(
    "audit_generation",
    metadata,
    *ownership(),
    sa.Column("generation", sa.Integer(), nullable=False),
    sa.Column("opening", sa.LargeBinary(), nullable=False),
    sa.Column("restored", sa.Boolean(), nullable=False, server_default=sa.false()),
    instant("at"),
    sa.PrimaryKeyConstraint("owner_id", "generation"),
)

cosignatures: Final = sa.Table(
    "audit_cosignature",
    metadata,
    *ownership(),
    sa.Column("generation", sa.Integer(), nullable=False),
    sa.Column("witness", sa.String(80), nullable=False),
    sa.Column("size", sa.BigInteger(), nullable=False),
    sa.Column("note", sa.LargeBinary(), nullable=False),
    instant("at"),
    sa.PrimaryKeyConstraint("owner_id", "generation", "witness"),
)


def select_generation(conn: Connection) -> tuple[str, int, bool]:
    """Return owner, number, and whether restored, of the newest generation; ("", 0, False) first.

    A restored generation is closed: the owner must open the next.
    """
    row = conn.execute(
        sa.select(generations.c.owner_id, generations.c.generation, generations.c.restored)
        .order_by(generations.c.generation.desc())
        .limit(1)
    ).first()
    return (row.owner_id, row.generation, bool(row.restored)) if row else ("", 0, False)


def close_restored(conn: Connection) -> None:
    """Close every generation: the database was restored from a backup."""
    conn.execute(generations.update().values(restored=True))


def select_early(conn: Connection) -> list[sa.Row[*tuple[Any, ...]]]:
    """Return deeds that wait for a generation to stand in, oldest first."""
    return list(
        conn.execute(sa.select(leaves).where(leaves.c.generation == 0).order_by(leaves.c.position))
    )


def delete_early(conn: Connection) -> None:
    """Forget deeds that waited: they are leaves now."""
    conn.execute(leaves.delete().where(leaves.c.generation == 0))


def insert_generation(
    conn: Connection, owner_id: str, generation: int, opening: bytes, at_ms: int
) -> None:
    """Open a generation; `opening` is empty for the first."""
    conn.execute(
        generations.insert().values(
            owner_id=owner_id, generation=generation, opening=opening, at=at_ms
        )
    )


def select_opening(conn: Connection, owner_id: str, generation: int) -> bytes:
    """Return the signed opening of a generation, empty for the first."""
    row = conn.execute(
        sa.select(generations.c.opening).where(
            generations.c.owner_id == owner_id, generations.c.generation == generation
        )
    ).first()
    return row.opening if row else b""


def count_leaves(conn: Connection, owner_id: str, generation: int) -> int:
    """Return how many leaves a generation has: its last position plus one."""
    last = conn.execute(
        sa.select(sa.func.max(leaves.c.position)).where(
            leaves.c.owner_id == owner_id, leaves.c.generation == generation
        )
    ).scalar()
    return 0 if last is None else last + 1


def insert_leaves(
    conn: Connection, database: Database, owner_id: str, generation: int, new: Sequence[PlacedLeaf]
) -> None:
    """Append leaves, each with its position."""
    database.insert_rows(
        conn,
        leaves,
        [
            (
                owner_id,
                leaf.maker_id,
                generation,
                position,
                leaf.kind,
                leaf.actor,
                leaf.subject,
                leaf.reference,
                start_of(leaf.reference),
                leaf.at_ms,
                leaf.body,
            )
            for position, leaf in new
        ],
    )


def upsert_tiles(conn: Connection, database: Database, rows: Sequence[dict[str, Any]]) -> None:
    """Write tiles, replacing the partial ones."""
    insert = sqlite.insert if database.dialect == "sqlite" else postgresql.insert
    statement = insert(tiles)
    conn.execute(
        statement.on_conflict_do_update(
            index_elements=["owner_id", "generation", "level", "position"],
            set_={"hashes": statement.excluded.hashes},
        ),
        list(rows),
    )


def select_tile(
    conn: Connection, owner_id: str, generation: int, level: int, position: int
) -> bytes:
    """Return the hashes of a tile, or empty bytes."""
    row = conn.execute(
        sa.select(tiles.c.hashes).where(
            tiles.c.owner_id == owner_id,
            tiles.c.generation == generation,
            tiles.c.level == level,
            tiles.c.position == position,
        )
    ).first()
    return row.hashes if row else b""


def select_references(
    conn: Connection, owner_id: str, generation: int | None, references: Sequence[str]
) -> dict[str, int]:
    """Return the positions of the leaves with these references; None is for any generation."""
    return {
        row.reference: row.position
        for row in _select_by_reference(conn, owner_id, references)
        if generation in (None, row.generation)
    }


def select_places(
    conn: Connection, owner_id: str, references: Sequence[str]
) -> dict[str, tuple[int, int]]:
    """Return generation and position of the newest leaves with these references."""
    return {
        row.reference: (row.generation, row.position)
        for row in _select_by_reference(conn, owner_id, references)
    }


def _select_by_reference(
    conn: Connection, owner_id: str, references: Sequence[str]
) -> list[sa.Row[*tuple[Any, ...]]]:
    """Return reference, generation and position of leaves, in the order of the record.

    The database is asked for the start of references alone: told of owner and generation too,
    SQLite reads the whole record by its primary key.
    """
    wanted = set(references)
    starts = [start_of(reference) for reference in wanted]
    rows = conn.execute(
        sa.select(
            leaves.c.reference, leaves.c.owner_id, leaves.c.generation, leaves.c.position
        ).where(leaves.c.reference_start.in_(starts))
    )
    found = [row for row in rows if row.reference in wanted and row.owner_id == owner_id]
    return sorted(found, key=lambda row: (row.generation, row.position))


def write_checkpoint(
    conn: Connection, owner_id: str, generation: int, size: int, note: tuple[bytes, int]
) -> None:
    """Keep the newest checkpoint, given by note and time."""
    where = (checkpoints.c.owner_id == owner_id) & (checkpoints.c.generation == generation)
    values = {"size": size, "note": note[0], "at": note[1]}
    if conn.execute(checkpoints.update().where(where).values(**values)).rowcount == 0:
        conn.execute(
            checkpoints.insert().values(owner_id=owner_id, generation=generation, **values)
        )


def select_checkpoint(
    conn: Connection, owner_id: str, generation: int
) -> sa.Row[*tuple[Any, ...]] | None:
    """Return size, note and time of a generation's newest checkpoint."""
    return conn.execute(
        sa.select(checkpoints.c.size, checkpoints.c.note, checkpoints.c.at).where(
            checkpoints.c.owner_id == owner_id, checkpoints.c.generation == generation
        )
    ).first()


def select_bodies(
    conn: Connection, owner_id: str, generation: int, start: int, end: int
) -> list[bytes]:
    """Return the leaves `start` to `end` (excluded) in order."""
    rows = conn.execute(
        sa.select(leaves.c.body)
        .where(
            leaves.c.owner_id == owner_id,
            leaves.c.generation == generation,
            leaves.c.position >= start,
            leaves.c.position < end,
        )
        .order_by(leaves.c.position)
    )
    return [row.body for row in rows]


def select_deeds(
    conn: Connection, *, subject: str = "", kinds: Sequence[str] = (), since_ms: int = 0,
    offset: int = 0, limit: int = 50,
) -> tuple[list[sa.Row[*tuple[Any, ...]]], int]:  # fmt: skip
    """Return deeds and documents, newest first, and how many there are."""
    clause = NOT_BATCH & (leaves.c.at >= since_ms)
    if subject:
        clause &= leaves.c.subject == subject
    if kinds:
        clause &= leaves.c.kind.in_(list(kinds))
    rows = conn.execute(
        sa.select(leaves)
        .where(clause)
        .order_by(leaves.c.generation.desc(), leaves.c.position.desc())
        .offset(offset)
        .limit(limit)
    ).all()
    total = conn.execute(sa.select(sa.func.count()).select_from(leaves).where(clause)).scalar()
    return list(rows), int(total or 0)


def write_cosignature(
    conn: Connection, owner_id: str, generation: int, witness: str, signed: tuple[int, bytes, int]
) -> None:  # fmt: skip
    """Keep a witness's newest cosignature: size, note and time."""
    where = (
        (cosignatures.c.owner_id == owner_id)
        & (cosignatures.c.generation == generation)
        & (cosignatures.c.witness == witness)
    )
    values = {"size": signed[0], "note": signed[1], "at": signed[2]}
    if conn.execute(cosignatures.update().where(where).values(**values)).rowcount == 0:
        conn.execute(
            cosignatures.insert().values(
                owner_id=owner_id, generation=generation, witness=witness, **values
            )
        )


def select_cosignatures(
    conn: Connection, owner_id: str, generation: int
) -> list[sa.Row[*tuple[Any, ...]]]:
    """Return the witnesses' newest cosignatures."""
    return list(
        conn.execute(
            sa.select(cosignatures).where(
                cosignatures.c.owner_id == owner_id, cosignatures.c.generation == generation
            )
        )
    )
