"""All tables of the server, gathered: importing this module fills `tables.metadata`.

The slices do not know each other; only the migrations and their tests need them all at once.
"""

from __future__ import annotations

import importlib
from typing import Final

import sqlalchemy as sa

from fleetward.server.schema.tables import metadata

MODULES: Final = (
    "fleetward.server.audit.store",
    "fleetward.server.directory.store",
    "fleetward.server.events.store",
    "fleetward.server.identity.store",
    "fleetward.server.people.tables",
    "fleetward.server.posture.store",
)


def all_tables() -> sa.MetaData:
    """Return the metadata with the tables of every slice."""
    for name in MODULES:
        importlib.import_module(name)
    return metadata
