"""Add closings: orders, where they stand, what machines said.

Expand first: a release that runs beside this schema must go on working.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add closings: orders, where they stand, what machines said."""
    op.create_table(
        "closing_machine",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("report", sa.LargeBinary(), nullable=False),
        sa.Column("reported_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("crowd", sa.LargeBinary(), nullable=False),
        sa.Column("crowd_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_closing_machine")),
    )
    op.create_index(
        op.f("ix_closing_machine_owner_id"), "closing_machine", ["owner_id"], unique=False
    )
    op.create_table(
        "closing_order",
        sa.Column("closing_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("for_all", sa.Boolean(), nullable=False),
        sa.Column("opens_all", sa.Boolean(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("people", sa.Text(), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("restore_seconds", sa.BigInteger(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("kept_envelope", sa.LargeBinary(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("kept_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("closing_id", name=op.f("pk_closing_order")),
    )
    op.create_index(op.f("ix_closing_order_owner_id"), "closing_order", ["owner_id"], unique=False)
    op.create_index("ix_closing_order_serial", "closing_order", ["serial"], unique=False)
    op.create_table(
        "closing_part",
        sa.Column("closing_id", sa.String(length=64), nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("rule", sa.String(length=64), server_default="", nullable=False),
        sa.Column("words", sa.String(length=500), server_default="", nullable=False),
        sa.Column("seconds_left", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("report", sa.LargeBinary(), nullable=False),
        sa.Column("said_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("closing_id", "device_id", name=op.f("pk_closing_part")),
    )
    op.create_index(op.f("ix_closing_part_device_id"), "closing_part", ["device_id"], unique=False)
    op.create_index(op.f("ix_closing_part_owner_id"), "closing_part", ["owner_id"], unique=False)
