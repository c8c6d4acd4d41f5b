"""A whole server without its listeners: real stores, a real ledger, an owner with real documents.

    with server_world(database, folder) as world:
        pump = world.join("pump 7", preapproved=True)
        pump.write("agent.started")
        world.send(pump, Up.BATCH, pump.cut())

What a machine says goes through the one door, `Intake.handle`. Nothing is replaced by a double but
the clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from tests.trust_world import NOW_MS, Machine, World, payload_of

from fleetward.runtime import x509
from fleetward.runtime.database import Database
from fleetward.runtime.keys import FileSigner
from fleetward.server.directory.model import OwnerDocuments
from fleetward.server.identity.issuing import CertificateAuthorities
from fleetward.server.people.wiring import PeopleSettings
from fleetward.server.rooms import House, open_house
from fleetward.server.schema.migrate import migrate
from fleetward.server.schema.tables import metadata
from fleetward.server.updates.book import UpdatePlace
from fleetward.server.updates.director import open_director
from fleetward.trust.canonical import decode_object, from_base64url, to_base64url
from fleetward.trust.invitation import Invitation
from fleetward.wire.subjects import Up

DAY_MS = 86_400_000
PEOPLE = PeopleSettings("console.localhost", "http://console.localhost", loopback_only=True)


@dataclass
class SetClock:
    """A clock that a test sets."""

    now: int = NOW_MS

    def wall_ms(self) -> int:
        return self.now

    def monotonic_ms(self) -> int:
        return self.now

    def boottime_ms(self) -> int:
        return self.now


@dataclass
class ServerWorld:
    """One server with its owner."""

    database: Database
    folder: Path
    clock: SetClock
    trust: World
    authorities: CertificateAuthorities
    chain: str
    house: House
    machines: list[Machine] = field(default_factory=list)

    @classmethod
    def make(cls, database: Database, folder: Path, *, owned: bool = True) -> ServerWorld:
        """Migrate the database, open the house and hand over the owner's documents."""
        clock = SetClock()
        migrate(database, backup=lambda: None)
        authorities = CertificateAuthorities(folder, clock.now)
        trust = World.make()
        fleet = x509.make_authority(
            "fleet CA", not_before_ms=clock.now - DAY_MS, days=3650, path_length=1
        )
        request = x509.verify_request(authorities.issuing_request())
        issuing = x509.issue_intermediate(
            fleet,
            request,
            "issuing CA",
            owner_id=trust.owner,
            not_before_ms=clock.now - DAY_MS,
            days=365,
        )
        chain = x509.write_certificates([issuing, fleet.certificate]).decode("ascii")
        roots = dict(payload_of(trust.policy.raw)["roots"])  # type: ignore[arg-type]
        roots["fleet_ca"] = x509.certificate_sha256(fleet.certificate)
        roots["server_ca"] = authorities.server_ca_sha256
        trust.next_policy({"roots": roots})
        trust.publish()
        world = cls(
            database, folder, clock, trust, authorities, chain,
            cls.open(database, clock, authorities, trust, folder),
        )  # fmt: skip
        if owned:
            world.publish()
        return world

    @staticmethod
    def open(
        database: Database, clock: SetClock, authorities: CertificateAuthorities, trust: World,
        folder: Path,
    ) -> House:  # fmt: skip
        assert isinstance(trust.log, FileSigner)
        director = open_director(folder / "director", clock.now)
        place = UpdatePlace(folder / "updates", director)
        return open_house(database, clock, authorities, trust.log, PEOPLE, place)

    def restart(self) -> None:
        """Forget all that is in memory, as after kill -9, and open the house again."""
        self.house.intake.close()
        self.house = self.open(self.database, self.clock, self.authorities, self.trust, self.folder)

    def documents(self, **changes: Any) -> OwnerDocuments:
        """Return what the owner's tools upload."""
        trust = self.trust
        values: dict[str, Any] = {
            "root": to_base64url(trust.owner_root.raw),
            "policies": [to_base64url(p.raw) for p in trust.policies],
            "roster": to_base64url(trust.rosters[-1].raw),
            "entries": [to_base64url(e.to_bytes()) for e in trust.entries],
            "head": to_base64url(trust.heads[-1].raw),
            "lease": to_base64url(trust.leases[-1].raw),
            "issuing_chain": self.chain,
        }
        return OwnerDocuments(**{**values, **changes})

    def publish(self, **changes: Any) -> None:
        """Upload the owner's newest documents."""
        self.house.directory.take(self.documents(**changes), "person:ada", self.clock.now)

    def join(self, name: str, invitation: Invitation | None = None, **wish: Any) -> Machine:
        """Let a new machine join by an invitation; `preapproved` lets it in at once."""
        machine = self.trust.machine(name)
        invitation = invitation or self.trust.invitation(**wish)
        self.house.devices.join(machine.join(invitation.hash), invitation.raw)
        self.machines.append(machine)
        return machine

    def confirm(self, *machines: Machine) -> None:
        """Put machines on the roster and publish."""
        self.trust.confirm(*machines)
        self.publish()

    def send(self, sender: Machine | str, word: Up, payload: bytes) -> dict[str, Any]:
        """Say something to the door as this machine and return its answer."""
        device = sender if isinstance(sender, str) else sender.device
        answer = asyncio.run(self.house.intake.handle(device, word, payload))
        assert answer is not None
        said: dict[str, Any] = msgspec.json.decode(answer)
        return said

    def refusal(self, sender: Machine | str, word: Up, payload: bytes) -> str:
        """Say something that must be refused and return the reason."""
        said = self.send(sender, word, payload)
        assert said["type"] == "refusal", said
        assert said["message"]
        return str(said["reason"])

    def nonce(self, machine: Machine) -> bytes:
        """Ask for a nonce."""
        return from_base64url(self.send(machine, Up.NONCE, b"")["nonce"])

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        with self.database.read() as conn:
            return int(
                conn.execute(
                    sa.select(sa.func.count()).select_from(metadata.tables[table])
                ).scalar_one()
            )

    def deeds(self, kind: str) -> list[dict[str, Any]]:
        """Return the deeds of a kind that stand in the ledger, oldest first."""
        leaf = metadata.tables["audit_leaf"]
        with self.database.read() as conn:
            rows = conn.execute(
                sa.select(leaf.c.body)
                .where(leaf.c.kind == kind)
                .order_by(leaf.c.generation, leaf.c.position)
            ).all()
        return [decode_object(row.body) for row in rows]

    def reasons(self, kind: str) -> list[str]:
        """Return why things of this kind were refused, as the ledger says."""
        return [str(deed["body"]["reason"]) for deed in self.deeds(kind)]


@contextmanager
def server_world(database: Database, folder: Path, *, owned: bool = True) -> Iterator[ServerWorld]:
    """Yield a world; what it opened is closed at the end, the database apart."""
    world = ServerWorld.make(database, folder, owned=owned)
    try:
        yield world
    finally:
        world.house.intake.close()
