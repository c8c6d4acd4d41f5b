"""The wired server: every route has its row, every error its form."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fleetward.runtime.clock import SystemClock
from fleetward.runtime.database import Database
from fleetward.runtime.http.hosts import HostPolicy
from fleetward.server.handlers import make_handlers
from fleetward.server.listeners import free_port
from fleetward.server.program import Program
from fleetward.server.schema.migrate import migrate
from fleetward.server.settings import Places, ServerSettings
from fleetward.server.web.app import Services, create_app
from fleetward.server.web.coverage import find_gaps


def test_every_route_of_the_whole_server_has_its_row(tmp_path: Path) -> None:
    async def look() -> list[str]:
        settings = ServerSettings(bus_port=free_port())
        program = Program(Places(tmp_path / "data"), settings, SystemClock(), make_handlers)
        database = Database.open(f"sqlite:///{program.places.database}")
        await asyncio.to_thread(migrate, database, backup=lambda: None)
        await program.start(database)
        try:
            handlers = [*program.house.people.handlers, *make_handlers(program)]
            app = create_app(
                Services(
                    handlers=handlers,
                    authenticator=program.house.people.sessions,
                    hosts=HostPolicy(frozenset({"localhost"})),
                )
            )
            return find_gaps(app)
        finally:
            await program.stop()

    assert asyncio.run(look()) == []
