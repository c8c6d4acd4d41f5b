"""The tables of the slice."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from fleetward.server.people.model import NAME_LENGTH
from fleetward.server.schema.tables import identifier, instant, metadata, ownership

PERSONS: Final = sa.Table(
    "people_persons",
    metadata,
    identifier("id", primary_key=True),
    *ownership(),
    sa.Column("name", sa.String(NAME_LENGTH), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    instant("created_at"),
    instant("last_seen_at", nullable=True),
    instant("removed_at", nullable=True),
)

LINKS: Final = sa.Table(
    "people_links",
    metadata,
    identifier("code_hash", primary_key=True),
    *ownership(),
    identifier("person_id"),
    instant("expires_at"),
    instant("used_at", nullable=True),
    sa.ForeignKeyConstraint(["person_id"], ["people_persons.id"]),
)

SESSIONS: Final = sa.Table(
    "people_sessions",
    metadata,
    identifier("id", primary_key=True),
    *ownership(),
    identifier("secret_hash", unique=True),
    identifier("person_id"),
    sa.Column("made_by", sa.String(16), nullable=False),
    sa.Column("passkey_only", sa.Boolean(create_constraint=False), nullable=False),
    instant("created_at"),
    instant("expires_at"),
    instant("last_used_at"),
    instant("ended_at", nullable=True),
    sa.ForeignKeyConstraint(["person_id"], ["people_persons.id"]),
)

PASSKEYS: Final = sa.Table(
    "people_passkeys",
    metadata,
    # A credential id has up to 1,023 bytes; base64url makes them 1,364 characters.
    sa.Column("id", sa.String(1364), primary_key=True),
    *ownership(),
    identifier("person_id", index=True),
    sa.Column("public_key", sa.Text, nullable=False),
    sa.Column("sign_count", sa.BigInteger, nullable=False),
    instant("created_at"),
    instant("last_used_at", nullable=True),
    sa.ForeignKeyConstraint(["person_id"], ["people_persons.id"]),
)

CHALLENGES: Final = sa.Table(
    "people_challenges",
    metadata,
    identifier("id", primary_key=True),
    *ownership(),
    identifier("person_id"),
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("value", sa.String(128), nullable=False),
    instant("expires_at", index=True),
)

TOKENS: Final = sa.Table(
    "people_tokens",
    metadata,
    identifier("id", primary_key=True),
    *ownership(),
    identifier("secret_hash", unique=True),
    sa.Column("name", sa.String(NAME_LENGTH), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    identifier("made_by"),
    instant("created_at"),
    instant("expires_at"),
    instant("last_used_at", nullable=True),
    instant("revoked_at", nullable=True),
)
