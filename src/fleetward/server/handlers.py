"""Every handler of the API, slice by slice: a list of names."""

from __future__ import annotations

from typing import Any

from fleetward.server.audit.routes import make_record_handlers, make_tile_handler
from fleetward.server.directory.routes import make_directory_handlers
from fleetward.server.events.routes import make_event_handlers
from fleetward.server.identity.routes import make_identity_handlers
from fleetward.server.program import Program


def make_handlers(program: Program) -> list[Any]:
    """Return the handlers below /api/v1, people's apart."""
    house = program.house
    return [
        *make_directory_handlers(house.directory, house.clock),
        *make_identity_handlers(house.devices),
        *make_event_handlers(house.database),
        *make_record_handlers(
            house.ledger,
            house.database,
            house.clock,
            house.deeds,
            lambda: house.directory.policy,
            house.directory.show,
        ),
        make_tile_handler(house.database, house.ledger),
    ]
