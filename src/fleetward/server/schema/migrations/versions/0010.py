"""Add recalls, notices of them and support that ends.

Expand first: a release that runs beside this schema must go on working.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add recalls, notices of them and support that ends."""
    op.create_table(
        "updates_notice",
        sa.Column("notice_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("subject", sa.String(length=120), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("channel", sa.String(length=60), nullable=False),
        sa.Column("good", sa.Boolean(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("notice_id", name=op.f("pk_updates_notice")),
    )
    op.create_index(
        op.f("ix_updates_notice_owner_id"), "updates_notice", ["owner_id"], unique=False
    )
    op.create_index(op.f("ix_updates_notice_subject"), "updates_notice", ["subject"], unique=False)
    op.create_table(
        "updates_recall",
        sa.Column("recall_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("product", sa.String(length=48), nullable=False),
        sa.Column("versions", sa.String(length=400), nullable=False),
        sa.Column("title", sa.String(length=120), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("advisories", sa.Text(), nullable=False),
        sa.Column("remedy", sa.String(length=16), nullable=False),
        sa.Column("fix_version", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("words", sa.Text(), server_default="", nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("acknowledged_by", sa.String(length=200), server_default="", nullable=False),
        sa.Column("acknowledged_words", sa.Text(), server_default="", nullable=False),
        sa.Column("acknowledged_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("until", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("recall_id", name=op.f("pk_updates_recall")),
    )
    op.create_index(
        op.f("ix_updates_recall_owner_id"), "updates_recall", ["owner_id"], unique=False
    )
    op.create_table(
        "updates_recall_day",
        sa.Column("recall_id", sa.String(length=64), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("found", sa.BigInteger(), nullable=False),
        sa.Column("affected", sa.BigInteger(), nullable=False),
        sa.Column("unknown", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("recall_id", "day", name=op.f("pk_updates_recall_day")),
    )
    op.create_index(
        op.f("ix_updates_recall_day_owner_id"), "updates_recall_day", ["owner_id"], unique=False
    )
    op.create_table(
        "updates_recalled",
        sa.Column("recall_id", sa.String(length=64), nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("standing", sa.String(length=16), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("found_version", sa.String(length=64), nullable=False),
        sa.Column("report_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("note", sa.String(length=500), server_default="", nullable=False),
        sa.Column("note_by", sa.String(length=200), server_default="", nullable=False),
        sa.Column("note_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("said_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("found_at", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("recall_id", "device_id", name=op.f("pk_updates_recalled")),
    )
    op.create_index(
        op.f("ix_updates_recalled_device_id"), "updates_recalled", ["device_id"], unique=False
    )
    op.create_index(
        op.f("ix_updates_recalled_owner_id"), "updates_recalled", ["owner_id"], unique=False
    )
    op.create_table(
        "updates_support",
        sa.Column("product", sa.String(length=48), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("months", sa.BigInteger(), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("product", "ends_at", "months", name=op.f("pk_updates_support")),
    )
    op.create_index(
        op.f("ix_updates_support_owner_id"), "updates_support", ["owner_id"], unique=False
    )
