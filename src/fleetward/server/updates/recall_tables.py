"""Tables of recalls, of who was told of them, and of support that ends.

Whom a recall found and how they stood is the server's word, written down so that a page has a
history. What proves it are the reports and the roster, which are signed.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from fleetward.server.schema.tables import identifier, instant, metadata, ownership

recalls: Final = sa.Table(
    "updates_recall",
    metadata,
    identifier("recall_id", primary_key=True),
    *ownership(),
    sa.Column("scope", sa.Text(), nullable=False),
    sa.Column("product", sa.String(48), nullable=False),
    sa.Column("versions", sa.String(400), nullable=False),
    sa.Column("title", sa.String(120), nullable=False),
    sa.Column("why", sa.Text(), nullable=False),
    sa.Column("advisories", sa.Text(), nullable=False),
    sa.Column("remedy", sa.String(16), nullable=False),
    sa.Column("fix_version", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("words", sa.Text(), nullable=False, server_default=""),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.Column("acknowledged_by", sa.String(200), nullable=False, server_default=""),
    sa.Column("acknowledged_words", sa.Text(), nullable=False, server_default=""),
    instant("acknowledged_at", server_default="0"),
    instant("until", server_default="0"),
    instant("created_at"),
    instant("opened_at"),
    instant("changed_at"),
)
"""Recalls. `scope` is what `trust.recall` reads; `versions` are the words somebody wrote."""

recalled: Final = sa.Table(
    "updates_recalled",
    metadata,
    identifier("recall_id"),
    identifier("device_id", index=True),
    *ownership(),
    sa.Column("standing", sa.String(16), nullable=False),
    sa.Column("version", sa.String(64), nullable=False),
    sa.Column("counter", sa.BigInteger(), nullable=False),
    sa.Column("found_version", sa.String(64), nullable=False),
    identifier("report_id", server_default=""),
    sa.Column("note", sa.String(500), nullable=False, server_default=""),
    sa.Column("note_by", sa.String(200), nullable=False, server_default=""),
    instant("note_at", server_default="0"),
    instant("said_at", server_default="0"),
    instant("found_at"),
    instant("done_at", server_default="0"),
    sa.PrimaryKeyConstraint("recall_id", "device_id"),
)
"""The machines that a recall found, and how each stands. Who is done stays in the list."""

recall_days: Final = sa.Table(
    "updates_recall_day",
    metadata,
    identifier("recall_id"),
    sa.Column("day", sa.BigInteger(), nullable=False),
    *ownership(),
    sa.Column("found", sa.BigInteger(), nullable=False),
    sa.Column("affected", sa.BigInteger(), nullable=False),
    sa.Column("unknown", sa.BigInteger(), nullable=False),
    sa.Column("done", sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint("recall_id", "day"),
)
"""One line a day and recall; the last of a day stands."""

notices: Final = sa.Table(
    "updates_notice",
    metadata,
    identifier("notice_id", primary_key=True),
    *ownership(),
    sa.Column("subject", sa.String(120), nullable=False, index=True),
    sa.Column("step", sa.BigInteger(), nullable=False),
    sa.Column("name", sa.String(60), nullable=False),
    sa.Column("channel", sa.String(60), nullable=False),
    sa.Column("good", sa.Boolean(), nullable=False),
    instant("at"),
)
"""Whom the server told, or tried to: its own word. No address stands here."""

support: Final = sa.Table(
    "updates_support",
    metadata,
    sa.Column("product", sa.String(48), nullable=False),
    instant("ends_at"),
    sa.Column("months", sa.BigInteger(), nullable=False),
    *ownership(),
    sa.Column("version", sa.String(64), nullable=False),
    instant("at"),
    sa.PrimaryKeyConstraint("product", "ends_at", "months"),
)
"""That the end of a product's support was announced, so many months ahead; once each."""
