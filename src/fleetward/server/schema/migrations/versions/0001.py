"""Make the first tables.

Expand first: a release that runs beside this schema must go on working.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:  # noqa: PLR0915 -- a list of tables, no procedure
    """Make the first tables."""
    op.create_table(
        "audit_checkpoint",
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "generation", name=op.f("pk_audit_checkpoint")),
    )
    op.create_index(
        op.f("ix_audit_checkpoint_owner_id"), "audit_checkpoint", ["owner_id"], unique=False
    )
    op.create_table(
        "audit_cosignature",
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("witness", sa.String(length=80), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "owner_id", "generation", "witness", name=op.f("pk_audit_cosignature")
        ),
    )
    op.create_index(
        op.f("ix_audit_cosignature_owner_id"), "audit_cosignature", ["owner_id"], unique=False
    )
    op.create_table(
        "audit_generation",
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("opening", sa.LargeBinary(), nullable=False),
        sa.Column("restored", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "generation", name=op.f("pk_audit_generation")),
    )
    op.create_index(
        op.f("ix_audit_generation_owner_id"), "audit_generation", ["owner_id"], unique=False
    )
    op.create_table(
        "audit_leaf",
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=160), nullable=False),
        sa.Column("subject", sa.String(length=160), nullable=False),
        sa.Column("reference", sa.String(length=64), nullable=False),
        sa.Column("reference_start", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "generation", "position", name=op.f("pk_audit_leaf")),
    )
    op.create_index(
        "ix_audit_leaf_at",
        "audit_leaf",
        ["at", "kind"],
        unique=False,
        sqlite_where=sa.text("kind != 'batch'"),
        postgresql_where=sa.text("kind != 'batch'"),
    )
    op.create_index(
        op.f("ix_audit_leaf_reference_start"), "audit_leaf", ["reference_start"], unique=False
    )
    op.create_index(
        "ix_audit_leaf_subject",
        "audit_leaf",
        ["subject", "at"],
        unique=False,
        sqlite_where=sa.text("kind != 'batch'"),
        postgresql_where=sa.text("kind != 'batch'"),
    )
    op.create_table(
        "audit_tile",
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint(
            "owner_id", "generation", "level", "position", name=op.f("pk_audit_tile")
        ),
    )
    op.create_table(
        "directory_document",
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "kind", "version", name=op.f("pk_directory_document")),
    )
    op.create_index(
        op.f("ix_directory_document_owner_id"), "directory_document", ["owner_id"], unique=False
    )
    op.create_table(
        "directory_entry",
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("site", sa.String(length=80), nullable=False),
        sa.Column("model", sa.String(length=80), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "device_id", name=op.f("pk_directory_entry")),
    )
    op.create_index(
        op.f("ix_directory_entry_owner_id"), "directory_entry", ["owner_id"], unique=False
    )
    op.create_table(
        "directory_owner",
        sa.Column("owner_id", sa.String(length=64), nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("issuing_chain", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", name=op.f("pk_directory_owner")),
    )
    op.create_table(
        "events_batch",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("header", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "first", name=op.f("pk_events_batch")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "events_event",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "sequence", name=op.f("pk_events_event")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_events_event_received_at", "events_event", ["received_at", "kind"], unique=False
    )
    op.create_table(
        "events_machine",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.String(length=64), nullable=False),
        sa.Column("head_at", sa.BigInteger(), nullable=False),
        sa.Column("restored", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_events_machine")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "guide_note",
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=500), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_guide_note")),
    )
    op.create_index(op.f("ix_guide_note_owner_id"), "guide_note", ["owner_id"], unique=False)
    op.create_table(
        "identity_device",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("suite", sa.String(length=16), nullable=False),
        sa.Column("public", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=500), server_default="", nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("site", sa.String(length=80), nullable=False),
        sa.Column("model", sa.String(length=80), nullable=False),
        sa.Column("system", sa.String(length=80), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("confirmed", sa.Boolean(), nullable=False),
        sa.Column("preapproved", sa.Boolean(), nullable=False),
        sa.Column("invitation", sa.String(length=64), nullable=False),
        sa.Column("lineage", sa.BigInteger(), nullable=False),
        sa.Column("serial", sa.String(length=64), server_default="", nullable=False),
        sa.Column("not_after", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("agent", sa.String(length=64), server_default="", nullable=False),
        sa.Column("wall", sa.String(length=16), server_default="", nullable=False),
        sa.Column("policy_version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("roster_version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("joined_at", sa.BigInteger(), nullable=False),
        sa.Column("state_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_seen_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("connected", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_identity_device")),
    )
    op.create_index(
        op.f("ix_identity_device_owner_id"), "identity_device", ["owner_id"], unique=False
    )
    op.create_index("ix_identity_device_site", "identity_device", ["site"], unique=False)
    op.create_index("ix_identity_device_state", "identity_device", ["state"], unique=False)
    op.create_table(
        "identity_invitation",
        sa.Column("invitation_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("site", sa.String(length=80), nullable=False),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("first_used_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("invitation_id", name=op.f("pk_identity_invitation")),
    )
    op.create_index(
        op.f("ix_identity_invitation_owner_id"), "identity_invitation", ["owner_id"], unique=False
    )
    op.create_table(
        "people_challenges",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("person_id", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("value", sa.String(length=128), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people_challenges")),
    )
    op.create_index(
        op.f("ix_people_challenges_expires_at"), "people_challenges", ["expires_at"], unique=False
    )
    op.create_index(
        op.f("ix_people_challenges_owner_id"), "people_challenges", ["owner_id"], unique=False
    )
    op.create_table(
        "people_persons",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=True),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people_persons")),
    )
    op.create_index(
        op.f("ix_people_persons_owner_id"), "people_persons", ["owner_id"], unique=False
    )
    op.create_table(
        "people_tokens",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("made_by", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people_tokens")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_people_tokens_secret_hash")),
    )
    op.create_index(op.f("ix_people_tokens_owner_id"), "people_tokens", ["owner_id"], unique=False)
    op.create_table(
        "posture_change",
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.String(length=1024), nullable=False),
        sa.Column("what", sa.String(length=1024), nullable=False),
        sa.Column("words", sa.String(length=1024), nullable=False),
        sa.Column("before", sa.String(length=1024), nullable=False),
        sa.Column("after", sa.String(length=1024), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "sequence", name=op.f("pk_posture_change")),
    )
    op.create_index(
        op.f("ix_posture_change_owner_id"), "posture_change", ["owner_id"], unique=False
    )
    op.create_index(
        op.f("ix_posture_change_owner_id_received_at"),
        "posture_change",
        ["owner_id", "received_at"],
        unique=False,
    )
    op.create_table(
        "posture_device",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("inventory_digest", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("as_of", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.Boolean(), nullable=False),
        sa.Column("os", sa.String(length=1024), nullable=False),
        sa.Column("kernel", sa.String(length=1024), nullable=False),
        sa.Column("packages", sa.BigInteger(), nullable=True),
        sa.Column("open_ports", sa.BigInteger(), nullable=True),
        sa.Column("lan_ports", sa.BigInteger(), nullable=True),
        sa.Column("exposed_ports", sa.BigInteger(), nullable=True),
        sa.Column("updates_pending", sa.BigInteger(), nullable=True),
        sa.Column("security_updates", sa.BigInteger(), nullable=True),
        sa.Column("exposed_since", sa.BigInteger(), nullable=True),
        sa.Column("updates_since", sa.BigInteger(), nullable=True),
        sa.Column("held_digest", sa.String(length=64), nullable=True),
        sa.Column("held_as_of", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_posture_device")),
    )
    op.create_index(
        op.f("ix_posture_device_owner_id"), "posture_device", ["owner_id"], unique=False
    )
    op.create_index(
        op.f("ix_posture_device_owner_id_inventory_digest"),
        "posture_device",
        ["owner_id", "inventory_digest"],
        unique=False,
    )
    op.create_table(
        "posture_inventory",
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("stored_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "digest", name=op.f("pk_posture_inventory")),
    )
    op.create_index(
        op.f("ix_posture_inventory_owner_id"), "posture_inventory", ["owner_id"], unique=False
    )
    op.create_table(
        "people_links",
        sa.Column("code_hash", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("person_id", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["people_persons.id"],
            name=op.f("fk_people_links_person_id_people_persons"),
        ),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_people_links")),
    )
    op.create_index(op.f("ix_people_links_owner_id"), "people_links", ["owner_id"], unique=False)
    op.create_table(
        "people_passkeys",
        sa.Column("id", sa.String(length=1364), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("person_id", sa.String(length=64), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["people_persons.id"],
            name=op.f("fk_people_passkeys_person_id_people_persons"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people_passkeys")),
    )
    op.create_index(
        op.f("ix_people_passkeys_owner_id"), "people_passkeys", ["owner_id"], unique=False
    )
    op.create_index(
        op.f("ix_people_passkeys_person_id"), "people_passkeys", ["person_id"], unique=False
    )
    op.create_table(
        "people_sessions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("maker_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.String(length=64), nullable=False),
        sa.Column("made_by", sa.String(length=16), nullable=False),
        sa.Column("passkey_only", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["people_persons.id"],
            name=op.f("fk_people_sessions_person_id_people_persons"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people_sessions")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_people_sessions_secret_hash")),
    )
    op.create_index(
        op.f("ix_people_sessions_owner_id"), "people_sessions", ["owner_id"], unique=False
    )
