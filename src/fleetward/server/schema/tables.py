"""The one MetaData that every table of the server hangs from.

A capability declares its own tables in its own `store.py` (or `tables.py`), on this metadata, with
names that begin with the capability's name. Rules for a table:

- times are `instant()`: integer Unix milliseconds;
- ids are `identifier()`: text;
- every table of devices, people, keys and records has `*ownership()`;
- a blob of JSON is text that `msgspec` wrote and reads back, never the database's own JSON type.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

ID_LENGTH: Final = 64
"""The longest id is a document hash: 64 hexadecimal digits."""

metadata: Final = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def identifier(name: str, **options: Any) -> sa.Column[str]:
    """Return a text column for an id, not null unless `nullable=True` is given."""
    options.setdefault("nullable", False)
    return sa.Column(name, sa.String(ID_LENGTH), **options)


def instant(name: str, **options: Any) -> sa.Column[int]:
    """Return a column for a time in Unix milliseconds, not null unless `nullable=True` is given."""
    options.setdefault("nullable", False)
    return sa.Column(name, sa.BigInteger(), **options)


def ownership() -> tuple[sa.Column[str], sa.Column[str]]:
    """Return fresh `owner_id` and `maker_id` columns.

    The owner is the hash of its root document, or empty before there is one; the maker is empty
    where nobody has said who made it.
    """
    return (
        identifier("owner_id", server_default="", index=True),
        identifier("maker_id", server_default=""),
    )
