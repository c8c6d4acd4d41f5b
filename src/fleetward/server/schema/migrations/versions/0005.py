"""Add permissions given ahead.

Expand first: a release that runs beside this schema must go on working.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"


def upgrade() -> None:
    """Add permissions given ahead."""
    op.create_table(
        "access_standing",
        sa.Column("standing_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("requesters", sa.Text(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("stored_at", sa.BigInteger(), nullable=False),
        sa.Column("stop", sa.LargeBinary(), nullable=True),
        sa.Column("stopped_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("standing_id", name=op.f("pk_access_standing")),
    )
    op.create_index(
        op.f("ix_access_standing_last_at"), "access_standing", ["last_at"], unique=False
    )
    op.create_index(
        op.f("ix_access_standing_owner_id"), "access_standing", ["owner_id"], unique=False
    )
    op.create_table(
        "access_standing_device",
        sa.Column("standing_id", sa.String(length=64), nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("state", sa.String(length=16), server_default="", nullable=False),
        sa.Column("next_window", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("words", sa.String(length=500), server_default="", nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=True),
        sa.Column("said_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("times", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("standing_id", "device_id", name=op.f("pk_access_standing_device")),
    )
    op.create_index(
        op.f("ix_access_standing_device_device_id"),
        "access_standing_device",
        ["device_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_access_standing_device_owner_id"),
        "access_standing_device",
        ["owner_id"],
        unique=False,
    )
    op.add_column(
        "access_request",
        sa.Column("standing_id", sa.String(length=64), server_default="", nullable=False),
    )
