"""Alembic's environment. The connection comes from `migrate.py`, which owns the transaction."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context

from fleetward.server.schema.everything import all_tables


def render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write boolean defaults so that both databases read them; leave the rest to Alembic."""
    if kind == "server_default" and isinstance(item, sa.DefaultClause):
        if isinstance(item.arg, sa.False_):
            return "sa.false()"
        if isinstance(item.arg, sa.True_):
            return "sa.true()"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=all_tables(),
    compare_type=True,
    render_item=render_item,
    transaction_per_migration=False,
)
context.run_migrations()
