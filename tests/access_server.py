"""A server over which a technician asks for a session, an owner answers, and a machine speaks.

    with access_server(database, folder) as there:
        request = there.ask()
        offer = there.note_offer(request)
        grant = there.grant(request, offer)

Documents are the real ones of `tests.access_world`; the machine speaks through the one door.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from tests.access_world import RULES, AccessWorld
from tests.server_world import ServerWorld, server_world
from tests.trust_world import Machine

from fleetward.runtime.database import Database
from fleetward.runtime.keys import make_key
from fleetward.server.access.model import AccessDetail
from fleetward.server.access.store import Row
from fleetward.server.web.caller import Caller, Role
from fleetward.trust.access import Scope
from fleetward.trust.canonical import to_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.grants.ending import make_stop_payload
from fleetward.trust.grants.grant import Grant
from fleetward.trust.grants.offer import Offer
from fleetward.trust.grants.report import (
    Denial,
    Receipt,
    make_denial_payload,
    make_receipt_payload,
)
from fleetward.trust.grants.request import Request
from fleetward.trust.keys import ED25519, ES256
from fleetward.wire.access import AccessNote, RecordingChunk
from fleetward.wire.subjects import Up

OPERATOR = Caller("person", "p1", "Otto", Role.OPERATOR)


@dataclass
class AccessServer:
    """One server, one machine, one technician."""

    world: ServerWorld
    side: AccessWorld
    pump: Machine
    orders: list[tuple[str, bytes]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)

    @classmethod
    def make(cls, world: ServerWorld) -> AccessServer:
        """Let a machine join, and name a requester in the owner's policy."""
        pump = world.join("pump 7", preapproved=True)
        side = AccessWorld(world.trust, make_key(ED25519), make_key(ES256), pump)
        side.set_rules(RULES)
        world.confirm(pump)
        there = cls(world, side, pump)
        there.listen()
        return there

    def listen(self) -> None:
        """Hear what the server would tell the bus and the pages."""
        book = self.world.house.access.book
        book.carry(lambda device, *raws: self.orders.extend((device, raw) for raw in raws))
        book.on_end(self.ended.append)
        book.listen(lambda change: self.states.append(change.state))

    @property
    def house(self) -> Any:
        return self.world.house.access

    def ask(self, *scopes: Scope, **wish: Any) -> Request:
        """Hand in a new request."""
        request = self.side.request(*scopes, **wish)
        self.house.access.ask(request.raw, OPERATOR)
        return request

    def note(self, kind: str, subject: str, raw: bytes, sender: Machine | None = None) -> Any:
        """Let a machine say something of a session."""
        said = AccessNote(kind=kind, subject=subject, envelope=to_base64url(raw))  # type: ignore[arg-type]
        return self.world.send(sender or self.pump, Up.ACCESS, msgspec.json.encode(said))

    def note_offer(self, request: Request) -> Offer:
        """Let the machine offer."""
        offer = self.side.offer(request)
        assert self.note("offer", request.hash, offer.raw)["type"] == "access"
        return offer

    def grant(self, request: Request, offer: Offer) -> Grant:
        """Sign a grant and hand it in."""
        raw = self.side.grant(request, offer)
        self.house.access.grant(request.hash, raw, OPERATOR)
        return self.side.judge(raw, request, offer)

    def live(self, *scopes: Scope) -> tuple[Request, Grant]:
        """Ask, offer, grant."""
        request = self.ask(*scopes)
        return request, self.grant(request, self.note_offer(request))

    def open(self, grant: Grant) -> None:
        """Let the machine's journal say that the session was opened."""
        body = {"session": grant.hash, "words": "tom is inside."}
        self.pump.write("session.opened", body)
        assert self.world.send(self.pump, Up.BATCH, self.pump.cut())["type"] == "receipt"

    def stop(self, request: Request, subject: str, reason: str = "enough") -> bytes:
        """Sign a stop and hand it in."""
        payload = make_stop_payload(self.world.trust.policy, subject, reason, self.world.clock.now)
        raw = seal(payload, [self.world.trust.signers[0]])
        self.house.access.stop(request.hash, raw, OPERATOR)
        return raw

    def receipt(self, session: str, **changes: Any) -> bytes:
        """Return the machine's receipt of a session."""
        now = self.world.clock.now
        values: dict[str, Any] = {
            "device": self.pump.device, "owner": self.world.trust.owner, "session": session,
            "opened_at_ms": now - 5000, "ended_at_ms": now, "ended_by": "closed",
            "ended_who": "tom", "bytes_in": 10, "bytes_out": 2000, "records": 3,
            "recording_head": "0" * 64, "hash": "", "raw": b"",
        }  # fmt: skip
        payload = make_receipt_payload(Receipt(**(values | changes)))
        return seal(payload, [self.pump.identity])

    def denial(self, subject: str, rule: str = "too_few_signatures") -> bytes:
        """Return the machine's denial of a request or grant."""
        denial = Denial(
            self.pump.device, self.world.trust.owner, subject, rule, "Two people must say yes.",
            self.world.clock.now, "", b"",
        )  # fmt: skip
        return seal(make_denial_payload(denial), [self.pump.identity])

    def chunk(self, session: str, offset: int, data: bytes, *, done: bool = False) -> bytes:
        """Return the message of a piece of a recording."""
        return msgspec.json.encode(
            RecordingChunk(session=session, offset=offset, data=to_base64url(data), done=done)
        )

    def send_chunk(self, session: str, offset: int, data: bytes, *, done: bool = False) -> Any:
        """Let the machine hand over a piece of a recording."""
        return self.world.send(
            self.pump, Up.RECORDING, self.chunk(session, offset, data, done=done)
        )

    def row(self, request: Request) -> Row:
        """Return what is stored of a request."""
        found: Row = self.house.access.find(request.hash, OPERATOR)
        return found

    def detail(self, request: Request) -> AccessDetail:
        """Return what the API says of a request."""
        shown: AccessDetail = self.house.shown.detail(self.row(request))
        return shown


@contextmanager
def access_server(database: Database, folder: Path) -> Iterator[AccessServer]:
    """Yield a server with a machine that can be asked for."""
    with server_world(database, folder) as world:
        yield AccessServer.make(world)
