"""The table of what changed during sessions."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from fleetward.server.schema.tables import identifier, instant, metadata, ownership

comparisons: Final = sa.Table(
    "access_comparison",
    metadata,
    identifier("session_id", primary_key=True),
    *ownership(),
    identifier("device_id", index=True),
    identifier("request_id", index=True),
    identifier("digest"),
    sa.Column("size", sa.BigInteger(), nullable=False),
    sa.Column("findings", sa.BigInteger(), nullable=False),
    sa.Column("changes", sa.BigInteger(), nullable=False),
    sa.Column("severity", sa.String(16), nullable=False),
    sa.Column("top", sa.Text(), nullable=False),
    sa.Column("body", sa.LargeBinary(), nullable=True),
    instant("said_at"),
    instant("at"),
)
"""`top` is a JSON list of the gravest findings, in words."""
