"""Add sessions: requests, what came for them, recordings.

Expand first: a release that runs beside this schema must go on working.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add sessions: requests, what came for them, recordings."""
    op.create_table(
        "access_note",
        sa.Column("note_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("request_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("said_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("detail", sa.String(length=64), server_default="", nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("note_id", name=op.f("pk_access_note")),
    )
    op.create_index(op.f("ix_access_note_owner_id"), "access_note", ["owner_id"], unique=False)
    op.create_index(op.f("ix_access_note_request_id"), "access_note", ["request_id"], unique=False)
    op.create_index(op.f("ix_access_note_subject"), "access_note", ["subject"], unique=False)
    op.create_table(
        "access_recording",
        sa.Column("session_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_access_recording")),
    )
    op.create_index(
        op.f("ix_access_recording_owner_id"), "access_recording", ["owner_id"], unique=False
    )
    op.create_table(
        "access_recording_piece",
        sa.Column("session_id", sa.String(length=64), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "start", name=op.f("pk_access_recording_piece")),
    )
    op.create_index(
        op.f("ix_access_recording_piece_owner_id"),
        "access_recording_piece",
        ["owner_id"],
        unique=False,
    )
    op.create_table(
        "access_request",
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("session_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("requester", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=80), nullable=False),
        sa.Column("org", sa.String(length=80), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("case_name", sa.String(length=100), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("seconds", sa.BigInteger(), nullable=False),
        sa.Column("serial", sa.String(length=64), server_default="", nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("offered_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("granted_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("opened_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ended_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ended_by", sa.String(length=64), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_access_request")),
    )
    op.create_index(
        op.f("ix_access_request_device_id"), "access_request", ["device_id"], unique=False
    )
    op.create_index(
        op.f("ix_access_request_owner_id"), "access_request", ["owner_id"], unique=False
    )
    op.create_index(
        op.f("ix_access_request_session_id"), "access_request", ["session_id"], unique=False
    )
    op.create_index(
        "ix_access_request_state_asked_at", "access_request", ["state", "asked_at"], unique=False
    )
