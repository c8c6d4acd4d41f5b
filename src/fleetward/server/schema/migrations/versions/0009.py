"""Add updates: releases, approvals, the director, reports and rollouts.

Expand first: a release that runs beside this schema must go on working.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add updates: releases, approvals, the director, reports and rollouts."""
    op.create_table(
        "updates_approval",
        sa.Column("copy_id", sa.String(length=64), nullable=False),
        sa.Column("approval_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("product", sa.String(length=48), nullable=False),
        sa.Column("release_id", sa.String(length=64), nullable=False),
        sa.Column("withdraws", sa.String(length=64), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("copy_id", name=op.f("pk_updates_approval")),
    )
    op.create_index(
        op.f("ix_updates_approval_approval_id"), "updates_approval", ["approval_id"], unique=False
    )
    op.create_index(
        op.f("ix_updates_approval_owner_id"), "updates_approval", ["owner_id"], unique=False
    )
    op.create_index(
        op.f("ix_updates_approval_withdraws"), "updates_approval", ["withdraws"], unique=False
    )
    op.create_table(
        "updates_blob",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_updates_blob")),
    )
    op.create_index(op.f("ix_updates_blob_owner_id"), "updates_blob", ["owner_id"], unique=False)
    op.create_table(
        "updates_day",
        sa.Column("product", sa.String(length=48), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("spread", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("product", "day", name=op.f("pk_updates_day")),
    )
    op.create_index(op.f("ix_updates_day_owner_id"), "updates_day", ["owner_id"], unique=False)
    op.create_table(
        "updates_director",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.String(length=64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("signed_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_updates_director")),
    )
    op.create_index(
        op.f("ix_updates_director_owner_id"), "updates_director", ["owner_id"], unique=False
    )
    op.create_table(
        "updates_metadata",
        sa.Column("repository_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=255), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "name", name=op.f("pk_updates_metadata")),
    )
    op.create_index(
        op.f("ix_updates_metadata_owner_id"), "updates_metadata", ["owner_id"], unique=False
    )
    op.create_index(
        op.f("ix_updates_metadata_sha256"), "updates_metadata", ["sha256"], unique=False
    )
    op.create_table(
        "updates_offer",
        sa.Column("release_id", sa.String(length=64), nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("release_id", "device_id", name=op.f("pk_updates_offer")),
    )
    op.create_index(
        op.f("ix_updates_offer_device_id"), "updates_offer", ["device_id"], unique=False
    )
    op.create_index(op.f("ix_updates_offer_owner_id"), "updates_offer", ["owner_id"], unique=False)
    op.create_table(
        "updates_part",
        sa.Column("rollout_id", sa.String(length=64), nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("wave", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("cause", sa.String(length=300), server_default="", nullable=False),
        sa.Column("words", sa.Text(), server_default="", nullable=False),
        sa.Column("report_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("placed_at", sa.BigInteger(), nullable=False),
        sa.Column("offered_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ended_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("rollout_id", "device_id", name=op.f("pk_updates_part")),
    )
    op.create_index(op.f("ix_updates_part_device_id"), "updates_part", ["device_id"], unique=False)
    op.create_index(op.f("ix_updates_part_owner_id"), "updates_part", ["owner_id"], unique=False)
    op.create_table(
        "updates_release",
        sa.Column("release_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("repository_id", sa.String(length=64), nullable=False),
        sa.Column("product", sa.String(length=48), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("released_at", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("release_id", name=op.f("pk_updates_release")),
        sa.UniqueConstraint("product", "version", name=op.f("uq_updates_release_product_version")),
    )
    op.create_index(
        op.f("ix_updates_release_owner_id"), "updates_release", ["owner_id"], unique=False
    )
    op.create_table(
        "updates_report",
        sa.Column("report_id", sa.String(length=64), nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("product", sa.String(length=48), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("release_id", sa.String(length=64), nullable=False),
        sa.Column("approval_id", sa.String(length=64), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("cause", sa.String(length=300), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("said_at", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("report_id", name=op.f("pk_updates_report")),
    )
    op.create_index(
        "ix_updates_report_device_id_sequence",
        "updates_report",
        ["device_id", "sequence"],
        unique=False,
    )
    op.create_index(
        op.f("ix_updates_report_owner_id"), "updates_report", ["owner_id"], unique=False
    )
    op.create_index(
        op.f("ix_updates_report_release_id"), "updates_report", ["release_id"], unique=False
    )
    op.create_table(
        "updates_repository",
        sa.Column("repository_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", name=op.f("pk_updates_repository")),
    )
    op.create_index(
        op.f("ix_updates_repository_owner_id"), "updates_repository", ["owner_id"], unique=False
    )
    op.create_table(
        "updates_rollout",
        sa.Column("rollout_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("release_id", sa.String(length=64), nullable=False),
        sa.Column("product", sa.String(length=48), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("selector", sa.Text(), nullable=False),
        sa.Column("canaries", sa.Text(), nullable=False),
        sa.Column("stages", sa.Text(), nullable=False),
        sa.Column("soak_seconds", sa.BigInteger(), nullable=False),
        sa.Column("allowed_failures", sa.BigInteger(), nullable=False),
        sa.Column("forgiven_failures", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bandwidth", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("words", sa.Text(), server_default="", nullable=False),
        sa.Column("open_stages", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("rollout_id", name=op.f("pk_updates_rollout")),
    )
    op.create_index(
        op.f("ix_updates_rollout_owner_id"), "updates_rollout", ["owner_id"], unique=False
    )
    op.create_index(
        op.f("ix_updates_rollout_release_id"), "updates_rollout", ["release_id"], unique=False
    )
    op.create_table(
        "updates_state",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("product", sa.String(length=48), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("version", sa.String(length=64), server_default="", nullable=False),
        sa.Column("counter", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("release_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("floor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("outcome", sa.String(length=16), server_default="", nullable=False),
        sa.Column("target_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("target_version", sa.String(length=64), server_default="", nullable=False),
        sa.Column("attempt", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("cause", sa.String(length=300), server_default="", nullable=False),
        sa.Column("words", sa.Text(), server_default="", nullable=False),
        sa.Column("report_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("said_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("committed_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "product", name=op.f("pk_updates_state")),
    )
    op.create_index(op.f("ix_updates_state_owner_id"), "updates_state", ["owner_id"], unique=False)
