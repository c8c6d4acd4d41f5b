"""Add the runbooks that came with requests.

Expand first: a release that runs beside this schema must go on working.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the runbooks that came with requests."""
    op.create_table(
        "access_runbook",
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", "digest", name=op.f("pk_access_runbook")),
    )
    op.create_index(
        op.f("ix_access_runbook_owner_id"), "access_runbook", ["owner_id"], unique=False
    )
