"""A window from end to end: the owner's tools, a real server over its API, and a whole guard.

Only what lies between server and machine is short: what a bus would carry is carried by the test.
The machine joins the real server by its real code, and judges everything itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from litestar.testing import TestClient
from tests.access_server import OPERATOR, AccessServer
from tests.access_world import LOGS, RULES, TERMINAL, AccessWorld
from tests.server_world import ServerWorld, server_world
from tests.standing_world import HOUR_MS, weekly
from tests.trust_world import NOW_MS, Machine
from tests.unit.device.device_world import FACTS, Fleet, HeldClock
from tests.unit.device.session_guard import HeldDoors, SessionGuard
from tests.unit.keyholder.owner_fixtures import PASSPHRASE
from tests.unit.trust.test_ledger_sessions import audit, words
from tests.unit.web.floor import HOST, Names

from fleetward.device.identity.join import Joining, Newcomer
from fleetward.device.identity.keys import load_identity
from fleetward.device.port import (
    GetBatch,
    Greet,
    TakeCertificate,
    TakeGreeting,
    TakeReceipt,
    TakeServerCa,
    Vouch,
)
from fleetward.keyholder.access.asking import ask
from fleetward.keyholder.access.coming import enter_ahead, find_fit, list_ahead, say_next
from fleetward.keyholder.access.judging import Judge
from fleetward.keyholder.access.requester_folder import (
    RequesterFacts,
    RequesterFolder,
    make_requester,
)
from fleetward.keyholder.access.server_rows import AccessApi
from fleetward.keyholder.access.standing import (
    Wanted,
    prepare_standing,
    read_standing_case,
    sign_revocation,
    sign_standing,
)
from fleetward.keyholder.access.standing_rows import StandingApi
from fleetward.keyholder.api import ApiClient
from fleetward.runtime.database import Database
from fleetward.runtime.files import make_private_directory
from fleetward.runtime.http.hosts import HostPolicy
from fleetward.runtime.keys import make_key
from fleetward.server.access.routes import AccessRooms, make_access_handlers
from fleetward.server.directory.routes import make_directory_handlers
from fleetward.server.web.app import Services, create_app
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.grants.request import Wish
from fleetward.trust.keys import ES256, Signer
from fleetward.wire.identity import CertificateReply, JoinRequest
from fleetward.wire.subjects import Up


class AppClient(ApiClient):
    """The real client over the real application, without a socket between."""

    def __init__(self, client: Any) -> None:
        super().__init__(f"http://{HOST}/api/v1", "operator")
        object.__setattr__(self, "_client", client)

    def request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = {"authorization": "Bearer operator", "content-type": "application/json"}
        answer = cast(Any, self)._client.request(
            method, f"/api/v1{path}", content=body, headers=headers
        )
        if answer.status_code >= 300:
            problem = answer.json()
            raise Refused(problem["detail"], reason=problem["reason"])
        return bytes(answer.content)


@dataclass
class Everybody:
    """Owner, technician, server and machine."""

    server: AccessServer
    guard: SessionGuard
    folder: RequesterFolder
    signer: Signer
    client: AppClient
    orders: list[bytes] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def carry(self, seconds: float = 0.0) -> None:
        """Carry what waits, as the bus does: orders down; notes and batches up."""
        del seconds
        orders, self.orders[:] = list(self.orders), []
        for raw in orders:
            try:
                self.guard.push(raw)
            except FleetwardError as e:
                self.refused.append(e.reason)
        self.guard.tick(1000)
        device = self.guard.access.machine.device
        world = self.server.world
        for note in self.guard.notes():
            assert world.send(device, Up.ACCESS, msgspec.json.encode(note))["type"] == "access"
        while batch := self.guard.core.handle(GetBatch(), b"").body:
            said = world.send(device, Up.BATCH, batch)
            self.guard.core.handle(TakeReceipt(), msgspec.json.encode(said))

    def greet(self) -> None:
        """Let the machine greet the server, so that it hands its record over."""
        device, world, core = self.guard.access.machine.device, self.server.world, self.guard.core
        nonce = msgspec.json.encode(world.send(device, Up.NONCE, b""))
        hello = core.handle(Greet(), nonce).body
        core.handle(TakeGreeting(), msgspec.json.encode(world.send(device, Up.HELLO, hello)))

    @property
    def api(self) -> StandingApi:
        return StandingApi(self.client)

    def judge(self) -> Judge:
        trust = self.server.world.trust
        return Judge(trust.policies, trust.entries)

    def allow(self, **changes: Any) -> str:
        """Have the first approver allow something ahead."""
        judge = self.judge()
        entry = judge.entries[self.guard.access.machine.device]
        values: dict[str, Any] = {
            "machines": (entry,), "people": ("tom",), "scopes": (TERMINAL,), "windows": weekly(),
            "reason": "the weekly update", "time_zone": "Europe/Berlin",
        }  # fmt: skip
        prepared = prepare_standing(judge.policy, Wanted(**(values | changes)), NOW_MS - HOUR_MS)
        self.api.add(sign_standing(prepared, [self.server.world.trust.signers[0]]))
        self.carry()
        return prepared.hash

    def come(self, *scopes: Any) -> str:
        """Have the technician ask and use a window; return by what."""
        near = (AccessApi(self.client), self.folder.learn(self.client))
        wish = Wish(self.guard.access.machine.device, scopes or (TERMINAL,), 600, "update")
        cases = list_ahead(self.api, near[1], self.signer.public.key_id, wish.device)
        fit = find_fit(cases, wish, self.guard.clock.wall)
        if fit is None:
            return say_next(cases, wish, self.guard.clock.wall)
        made = ask(self.folder, near[0], near[1], wish, (self.signer, self.guard.clock.wall))
        self.carry()
        enter_ahead(self.folder, near, made, fit, self.signer, self.carry)
        return fit.words


@contextlib.contextmanager
def everybody(folder: Path) -> Iterator[Everybody]:
    database = Database.open(f"sqlite:///{folder / 'state.db'}")
    with server_world(database, make_private_directory(folder / "ca")) as world:
        token = folder / "token"
        token.write_text("operator\n")
        token.chmod(0o600)
        tom = RequesterFacts(
            "tom", "Makers Ltd", world.trust.owner, "now", server=f"http://{HOST}",
            token_file=str(token),
        )  # fmt: skip
        requester, signer = make_requester(folder / "tom", PASSPHRASE, tom)
        guard = join(folder, world, signer)
        server = AccessServer(world, guard.access, guard.access.machine)
        house = world.house.access
        rooms = AccessRooms(
            house.access, house.shown, house.connections, house.replays, house.standings,
            house.changes, list,
        )  # fmt: skip
        handlers = [
            *make_access_handlers(rooms),
            *make_directory_handlers(world.house.directory, world.clock),
        ]
        hosts = HostPolicy(frozenset({"console.localhost"}))
        app = create_app(Services(handlers, Names(), hosts, static=folder / "static"))
        with TestClient(app, base_url=f"http://{HOST}") as client:
            there = Everybody(server, guard, requester, signer, AppClient(client))
            house.book.carry(lambda device, *raws: there.orders.extend(raws))
            there.greet()
            yield there
        guard.close()
    database.close()


def join(folder: Path, world: ServerWorld, technician: Signer) -> SessionGuard:
    """Let a machine join the server by its real code, and confirm it."""
    trust, clock = world.trust, HeldClock()
    side = AccessWorld(trust, technician, cast(Any, make_key(ES256)), cast(Any, None))
    side.set_rules(RULES)
    trust.publish()
    world.publish()
    place = folder / "data" / "guard"
    place.parent.mkdir()
    joining = Joining(
        place, trust.join_string(trust.invitation(preapproved=True)), Newcomer(FACTS, "boot-1"),
        clock,
    )  # fmt: skip
    joining.handle(TakeServerCa(), _der(world))
    asked = joining.handle(Vouch(), make_key(ES256).public.spki).body
    said = msgspec.json.decode(asked, type=JoinRequest)
    issued, bundle = world.house.devices.join(
        from_base64url(said.statement), from_base64url(said.invitation)
    )
    reply = CertificateReply(certificate=issued.chain_pem, bundle=to_base64url(bundle.to_bytes()))
    joining.handle(TakeCertificate(), msgspec.json.encode(reply))
    side.machine = Machine(name="pump 7", owner=trust.owner, identity=load_identity(place))
    fleet = Fleet(trust, cast(Any, None), cast(Any, None))
    guard = SessionGuard(place, side, fleet, clock, HeldDoors())
    guard.start()
    world.confirm(side.machine)
    guard.publish()
    return guard


def _der(world: ServerWorld) -> bytes:
    return world.authorities.server_ca.certificate.public_bytes(Encoding.DER)


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Everybody]:
    with everybody(tmp_path) as made:
        yield made


def test_a_window_from_the_owner_to_the_audit(there: Everybody) -> None:
    standing = there.allow()
    (row,) = there.api.rows()
    case = read_standing_case(there.judge(), row)
    assert case.machines[0].said is not None
    assert (case.machines[0].said.state, case.people, case.doubt) == ("held", ("tom",), "")
    assert there.come(LOGS) == ""
    said = there.come()
    assert said.endswith("allowed ahead by ada")
    assert there.guard.doors is not None
    session = there.guard.doors.take()
    there.carry()
    (shown,) = there.server.house.shown.page("open", "", (0, 9), OPERATOR)[0]
    assert shown.standing == standing
    session.record(b'[0.0,"o","hello"]')
    session.end()
    there.carry()
    there.carry()
    # The same window again: the tool knows, and says when the next one is.
    assert "The next window in which you need not ask: " in there.come()
    report = audit(there.server)
    assert report.whole, report.contradicted
    (told,) = words(report.proven, "session")
    assert "in window 1 of what was allowed ahead by ada" in told
    assert words(report.proven, "allowed_ahead")
    # Taken back is done when the machine has signed it.
    trust = there.server.world.trust
    stop = sign_revocation(trust.policy, standing, "enough", trust.signers[0], NOW_MS)
    there.api.revoke(standing, stop)
    case = read_standing_case(there.judge(), there.api.rows()[0])
    assert (case.revoked_by, case.waiting_for) == ("ada", ("pump 7",))
    there.carry()
    case = read_standing_case(there.judge(), there.api.rows()[0])
    assert case.done
    assert there.come() == ""
    assert words(audit(there.server).proven, "taken_back")
    assert there.refused == []


def test_a_machine_that_was_away_is_handed_what_it_missed(there: Everybody) -> None:
    standing = there.allow()
    trust = there.server.world.trust
    stop = sign_revocation(trust.policy, standing, "enough", trust.signers[0], NOW_MS)
    there.api.revoke(standing, stop)
    there.orders.clear()  # nothing arrives
    device = there.guard.access.machine.device
    standings = there.server.house.standings
    assert standings.orders_for(device) == [stop]
    there.orders.extend(standings.orders_for(device))
    there.carry()
    assert standings.orders_for(device) == []


def test_a_clock_that_follows_no_source_is_told_to_who_comes(there: Everybody) -> None:
    there.allow()
    there.guard.clock.synchronised = False
    with pytest.raises(Refused) as e:
        there.come()
    assert e.value.reason == "clock_untrusted"
    assert "press at its panel" in e.value.message
