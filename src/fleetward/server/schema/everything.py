"""All tables of the server, gathered: importing them fills `tables.metadata`.

The slices do not know each other; only the migrations and their tests need them all at once.
"""

from __future__ import annotations

import importlib
import pkgutil

import sqlalchemy as sa

import fleetward.server
from fleetward.server.schema.tables import metadata

_WITH_TABLES = frozenset({"store", "recall_tables", "standing_store", "tables"})


def all_tables() -> sa.MetaData:
    """Return the metadata with the tables of every slice: its `store`s or `tables` module."""
    for found in pkgutil.walk_packages(fleetward.server.__path__, "fleetward.server."):
        if found.name.count(".") == 3 and found.name.rpartition(".")[2] in _WITH_TABLES:
            importlib.import_module(found.name)
    return metadata
