"""Tables of updates: what makers published, what owners said of it, what machines were offered and
what they reported, and rollouts.

Whatever stands here is what somebody handed in. Nothing of it was verified, but for the reports,
which carry the signature of their machine's identity key.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from fleetward.server.schema.tables import identifier, instant, metadata, ownership

repositories: Final = sa.Table(
    "updates_repository",
    metadata,
    identifier("repository_id", primary_key=True),
    *ownership(),
    instant("at"),
)
"""Makers' repositories, named by the SHA-256 of their first root."""

files: Final = sa.Table(
    "updates_metadata",
    metadata,
    identifier("repository_id"),
    sa.Column("name", sa.String(255), nullable=False),
    *ownership(),
    identifier("sha256", index=True),
    sa.Column("role", sa.String(255), nullable=False),
    sa.Column("version", sa.BigInteger(), nullable=False),
    sa.Column("body", sa.LargeBinary(), nullable=False),
    instant("at"),
    sa.PrimaryKeyConstraint("repository_id", "name"),
)
"""TUF's files as they came. Only `timestamp.json` ever changes."""

releases: Final = sa.Table(
    "updates_release",
    metadata,
    identifier("release_id", primary_key=True),
    *ownership(),
    identifier("repository_id"),
    sa.Column("product", sa.String(48), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("counter", sa.BigInteger(), nullable=False),
    sa.Column("manifest", sa.LargeBinary(), nullable=False),
    instant("released_at"),
    instant("at"),
    sa.UniqueConstraint("product", "version"),
)
"""Releases, named by the SHA-256 of their manifests."""

blobs: Final = sa.Table(
    "updates_blob",
    metadata,
    identifier("sha256", primary_key=True),
    *ownership(),
    sa.Column("length", sa.BigInteger(), nullable=False),
    sa.Column("complete", sa.Boolean(), nullable=False),
    instant("at"),
)
"""What lies in the folder of blobs, or is on its way there."""

papers: Final = sa.Table(
    "updates_approval",
    metadata,
    identifier("copy_id", primary_key=True),
    identifier("approval_id", index=True),
    *ownership(),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("product", sa.String(48), nullable=False),
    identifier("release_id"),
    identifier("withdraws", index=True),
    sa.Column("envelope", sa.LargeBinary(), nullable=False),
    instant("issued_at"),
    instant("at"),
)
"""Approvals and withdrawals, each copy by the SHA-256 of its bytes: signatures are no part of the
hash that names an approval, and a copy that nobody signed must not keep the true one out."""

directed: Final = sa.Table(
    "updates_director",
    metadata,
    identifier("device_id", primary_key=True),
    *ownership(),
    sa.Column("version", sa.BigInteger(), nullable=False),
    identifier("content"),
    sa.Column("body", sa.LargeBinary(), nullable=False),
    instant("signed_at"),
    instant("expires_at"),
)
"""The newest word of the director to each machine. `content` is the hash of what it names."""

offers: Final = sa.Table(
    "updates_offer",
    metadata,
    identifier("release_id"),
    identifier("device_id", index=True),
    *ownership(),
    instant("at"),
    sa.PrimaryKeyConstraint("release_id", "device_id"),
)
"""Which machine was ever told of which release: what exposure is counted by."""

reports: Final = sa.Table(
    "updates_report",
    metadata,
    identifier("report_id", primary_key=True),
    identifier("device_id"),
    *ownership(),
    sa.Column("product", sa.String(48), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("counter", sa.BigInteger(), nullable=False),
    identifier("release_id", index=True),
    identifier("approval_id"),
    sa.Column("attempt", sa.BigInteger(), nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("rule", sa.String(64), nullable=False),
    sa.Column("cause", sa.String(300), nullable=False),
    sa.Column("words", sa.Text(), nullable=False),
    sa.Column("simulated", sa.Boolean(), nullable=False),
    sa.Column("envelope", sa.LargeBinary(), nullable=False),
    sa.Column("sequence", sa.BigInteger(), nullable=False),
    instant("said_at"),
    instant("at"),
    sa.Index("ix_updates_report_device_id_sequence", "device_id", "sequence"),
)
"""What machines reported, under their identity keys. `sequence` is that of the journal's entry."""

states: Final = sa.Table(
    "updates_state",
    metadata,
    identifier("device_id"),
    sa.Column("product", sa.String(48), nullable=False),
    *ownership(),
    sa.Column("version", sa.String(64), nullable=False, server_default=""),
    sa.Column("counter", sa.BigInteger(), nullable=False, server_default="0"),
    identifier("release_id", server_default=""),
    sa.Column("floor", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Column("outcome", sa.String(16), nullable=False, server_default=""),
    identifier("target_id", server_default=""),
    sa.Column("target_version", sa.String(64), nullable=False, server_default=""),
    sa.Column("attempt", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Column("cause", sa.String(300), nullable=False, server_default=""),
    sa.Column("words", sa.Text(), nullable=False, server_default=""),
    identifier("report_id", server_default=""),
    instant("said_at", server_default="0"),
    instant("committed_at", server_default="0"),
    instant("at"),
    sa.PrimaryKeyConstraint("device_id", "product"),
)
"""What runs on a machine by its newest report, and how its newest attempt stands."""

rollouts: Final = sa.Table(
    "updates_rollout",
    metadata,
    identifier("rollout_id", primary_key=True),
    *ownership(),
    identifier("release_id", index=True),
    sa.Column("product", sa.String(48), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("selector", sa.Text(), nullable=False),
    sa.Column("canaries", sa.Text(), nullable=False),
    sa.Column("stages", sa.Text(), nullable=False),
    sa.Column("soak_seconds", sa.BigInteger(), nullable=False),
    sa.Column("allowed_failures", sa.BigInteger(), nullable=False),
    sa.Column("forgiven_failures", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Column("bandwidth", sa.BigInteger(), nullable=False, server_default="0"),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("words", sa.Text(), nullable=False, server_default=""),
    sa.Column("open_stages", sa.BigInteger(), nullable=False),
    instant("opened_at"),
    sa.Column("created_by", sa.String(200), nullable=False),
    instant("created_at"),
    instant("changed_at"),
)

parts: Final = sa.Table(
    "updates_part",
    metadata,
    identifier("rollout_id"),
    identifier("device_id", index=True),
    *ownership(),
    sa.Column("wave", sa.BigInteger(), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("cause", sa.String(300), nullable=False, server_default=""),
    sa.Column("words", sa.Text(), nullable=False, server_default=""),
    identifier("report_id", server_default=""),
    instant("placed_at"),
    instant("offered_at", server_default="0"),
    instant("ended_at", server_default="0"),
    sa.PrimaryKeyConstraint("rollout_id", "device_id"),
)
"""The machines that a rollout has let in, and what each said of it last."""

days: Final = sa.Table(
    "updates_day",
    metadata,
    sa.Column("product", sa.String(48), nullable=False),
    sa.Column("day", sa.BigInteger(), nullable=False),
    *ownership(),
    sa.Column("spread", sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint("product", "day"),
)
"""One line a day: how many machines were how many days behind, so that any goal has a history."""
