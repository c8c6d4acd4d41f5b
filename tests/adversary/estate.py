"""A whole estate, all of it real: a server, an owner made elsewhere, and machines that joined.

The server is the program itself with its broker, database and listeners, in a folder of its own.
The owner's folder lies in another one, as on another computer. Machines are the real agent in this
process, over a fixture. Nothing here lies yet: `thief.py` takes the server over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.adversary.machine import FieldMachine, hurried

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.fetch_export import fetch_export
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.hand import hand_over
from fleetward.keyholder.init import NamedServer, init_owner
from fleetward.keyholder.pending import Confirmation, confirm_machine, fetch_pending
from fleetward.keyholder.verify import verify_export
from fleetward.runtime.clock import Clock, SystemClock
from fleetward.runtime.database import Database
from fleetward.server.handlers import make_handlers
from fleetward.server.listeners import free_port
from fleetward.server.program import Program
from fleetward.server.schema.migrate import migrate
from fleetward.server.settings import Places, ServerSettings
from fleetward.trust.invitation import JoinString, read_join_string
from fleetward.trust.ledger import Auditor
from fleetward.trust.ledger_findings import AuditReport
from fleetward.trust.words import device_words

PASSPHRASE = b"a long sentence that only the owner knows"
SITE = "Hall 1"
PATIENCE_SECONDS = 30.0


async def until(what: Callable[[], object], words: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until `what` is true; fail with `words` otherwise."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not what():
        assert asyncio.get_running_loop().time() < deadline, f"waited in vain: {words}"
        await asyncio.sleep(0.02)


@dataclass
class Estate:
    """A running server with its owner and machines. Make it by `open_estate`."""

    folder: Path
    clock: Clock
    settings: ServerSettings
    owner_root: str = ""
    machines: list[FieldMachine] = field(default_factory=list)

    # --- the server

    async def start_server(self) -> Program:
        """Start the server on its folder and its ports."""
        places = Places(self.folder / "server")
        self.program = Program(places, self.settings, self.clock, make_handlers)
        database = Database.open(f"sqlite:///{places.database}")
        await asyncio.to_thread(migrate, database, backup=lambda: None)
        await self.program.start(database)
        self.settings = self.program.settings
        return self.program

    async def stop_server(self) -> None:
        """Stop the server in order; its folder stays."""
        await self.program.stop()

    # --- the owner, on another computer

    async def settle_owner(self) -> None:
        """Have the owner make root, policy, roster and head, and hand them to the server."""
        server = NamedServer(
            enrol=self.program.enrol_addresses[0],
            server_ca=self.program.authorities.server_ca_sha256,
            api=self.program.api,
            token=self.program.host_secret,
            same_host=False,
        )
        made = await asyncio.to_thread(
            init_owner, self.owner_folder, PASSPHRASE, server, ("Acme", "Ada"), self.clock
        )
        self.owner_root = made.documents.owner

    @property
    def owner_folder(self) -> Path:
        """The owner's folder, which no part of the server ever sees."""
        return self.folder / "elsewhere" / "owner"

    @property
    def desk(self) -> Desk:
        """The owner's desk."""
        return Desk(OwnerFolder.open(self.owner_folder), PASSPHRASE, self.clock)

    @property
    def client(self) -> ApiClient:
        """The owner's way to the server's API."""
        return ApiClient(self.program.api, self.program.host_secret, "")

    async def publish(self) -> None:
        """Hand the owner's newest documents to the server."""
        desk = self.desk
        await asyncio.to_thread(hand_over, desk.folder, self.client, desk.documents())

    async def renew_lease(self) -> None:
        """Sign a new lease and hand it over."""
        await asyncio.to_thread(self.desk.renew)
        await self.publish()

    async def confirm(self, machine: FieldMachine) -> None:
        """Confirm a machine by its six words, as its owner standing before it."""
        waiting = await asyncio.to_thread(fetch_pending, self.client)
        said = Confirmation(machine.device, device_words(self.owner_root, machine.device))
        await asyncio.to_thread(confirm_machine, self.desk, waiting, said)
        await self.publish()

    def invite(self, *, preapproved: bool = True) -> JoinString:
        """Sign an invitation for one machine."""
        invited = self.desk.invite(SITE, 1, 3600, preapproved=preapproved)
        return read_join_string(invited.join)

    # --- machines

    async def add_machine(self, name: str = "pump", *, run: bool = True) -> FieldMachine:
        """Join a machine by the real way, have its owner confirm it, and let it run."""
        machine = FieldMachine(self.folder / f"machine-{name}", name, self.clock)
        await machine.join(await asyncio.to_thread(self.invite))
        self.machines.append(machine)
        await self.confirm(machine)
        if run:
            machine.start()
            await machine.settled()
            await until(lambda: machine.core.view.confirmed, "the machine learns of the roster")
            await machine.settled()
        return machine

    # --- the record

    async def export(self, name: str) -> Path:
        """Fetch a fresh export of the record, as the owner does."""
        return await asyncio.to_thread(fetch_export, self.client, self.folder / name)

    async def audit(
        self, export: Path, *, older: Sequence[bytes] = (), auditor: Auditor | None = None
    ) -> AuditReport:
        """Check an export with nothing trusted but the owner root."""
        given = auditor or Auditor(now_ms=self.clock.wall_ms(), older=tuple(older))
        result = await asyncio.to_thread(verify_export, export, self.owner_root, given)
        return result.report


@contextlib.asynccontextmanager
async def open_estate(folder: Path, clock: Clock | None = None) -> AsyncIterator[Estate]:
    """Open a server with an owner. Everything is stopped at the end."""
    settings = replace(ServerSettings(), bus_port=free_port())
    estate = Estate(folder, clock or SystemClock(), settings)
    await estate.start_server()
    with hurried():
        try:
            await estate.settle_owner()
            yield estate
        finally:
            for machine in estate.machines:
                await machine.stop()
            await estate.stop_server()
