"""Write what the server's API is into a file, from which the console's types are made.

The server is wired as it is when it runs, on an empty database in a folder that is removed again,
and is not started: no socket is bound, no broker runs. `make openapi` writes the file again, and a
test demands that the checked-in one is what the code says.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from fleetward.runtime.clock import SystemClock
from fleetward.runtime.database import Database
from fleetward.runtime.http.hosts import HostPolicy
from fleetward.runtime.http.openapi import describe
from fleetward.server.handlers import make_handlers
from fleetward.server.program import Program
from fleetward.server.schema.everything import all_tables
from fleetward.server.settings import Places, ServerSettings
from fleetward.server.web.app import Services, create_app

ROOT: Final = Path(__file__).resolve().parent.parent
FILE: Final = ROOT / "console" / "src" / "api" / "openapi.json"


class WiredProgram(Program):
    """A control plane whose slices are open and which listens nowhere."""

    def wire(self, database: Database) -> list[Any]:
        """Open the slices on an empty database, and return every handler of the API."""
        self._database = database
        with database.write() as conn:
            all_tables().create_all(conn)
        self._opened = self._open_house()
        return [*self.house.people.handlers, *make_handlers(self)]


async def build_document(folder: Path) -> dict[str, Any]:
    """Describe the API of a server that keeps its files in a folder for as long as this takes."""
    program = WiredProgram(Places(folder), ServerSettings(), SystemClock(), make_handlers)
    handlers = program.wire(Database.open(f"sqlite:///{program.places.database}"))
    try:
        app = create_app(
            Services(
                handlers=handlers,
                authenticator=program.house.people.sessions,
                hosts=HostPolicy(frozenset({"localhost"})),
                static=folder / "static",
            )
        )
        return describe(app, title="Fleetward", version=version("fleetward"))
    finally:
        await program.stop()


def build_text() -> str:
    """Return the document as the file holds it: sorted, so that a difference is a difference."""
    with tempfile.TemporaryDirectory(prefix="fleetward-openapi-") as folder:
        document = asyncio.run(build_document(Path(folder)))
    return json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(build_text(), encoding="utf-8")
    print(f"wrote {FILE.relative_to(ROOT)}")
