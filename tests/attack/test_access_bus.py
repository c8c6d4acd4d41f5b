"""Who is granted a session comes to its two subjects and nowhere else; the relay sees sizes.

A real broker, real certificates, the real channel, and the server's own store as the judge.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.access_server import OPERATOR, AccessServer, access_server
from tests.attack.test_broker_refuses import kinds, refused
from tests.system.broker_world import NOT_LET_IN, World, broker_world, now_ms
from tests.trust_world import Machine

from fleetward.runtime import broker as broker_module
from fleetward.runtime import x509
from fleetward.runtime.broker import Account
from fleetward.runtime.broker_log import RefusalKind
from fleetward.runtime.bus import Bus, BusEndpoint, DeviceProfile, Inbound, connect_bus
from fleetward.runtime.channel import open_as_machine, open_as_requester
from fleetward.runtime.database import Database
from fleetward.runtime.files import make_private_directory
from fleetward.runtime.keys import FileSigner
from fleetward.runtime.recording import Sealer
from fleetward.server.bus_side import BusSide
from fleetward.server.identity.issuing import fleet_root
from fleetward.server.identity.judge import RosterJudge
from fleetward.trust.access import TerminalScope
from fleetward.trust.canonical import to_base64url
from fleetward.trust.connection import make_connection_payload
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.errors import FleetwardError
from fleetward.trust.grants.request import Request
from fleetward.trust.keys import Signer
from fleetward.trust.statements import make_renewal_payload
from fleetward.wire.subjects import Up, down, session_in, session_name, session_out, up


@dataclass
class Session:
    """A session that was granted, with all keys of both its ends."""

    request: Request
    hash: str
    requester_private: bytes
    machine_private: bytes
    machine_public: bytes


@dataclass
class Scene:
    """A server, its broker, and what people and machines of it can do there."""

    there: AccessServer
    world: World

    def grant(self, raw_seconds: int = 600) -> Session:
        """Ask for a session and have it granted."""
        there = self.there
        request = there.ask(TerminalScope("app"), seconds=raw_seconds)
        requester_private = there.side.session_private
        offer = there.note_offer(request)
        now = there.world.clock.now
        terms = replace(
            there.side.terms(request), not_before_ms=now - 1000, not_after_ms=now + 60_000
        )
        raw = there.side.grant(request, offer, terms)
        there.house.access.grant(request.hash, raw, OPERATOR)
        return Session(
            request, read_envelope(raw).hash, requester_private, there.side.machine_private,
            offer.session_key,
        )  # fmt: skip

    def certificate(self, session: Session, signer: Signer | None = None) -> BusEndpoint:
        """Fetch the certificate of a session's requester."""
        key = x509.new_key()
        public = FileSigner(key).public
        payload = make_connection_payload(self.there.world.trust.owner, session.hash, public)
        proof = seal(payload, [signer or self.there.side.technician])
        made = self.there.house.connections.connect(
            session.request.hash,
            (to_base64url(public.spki), to_base64url(proof)),
            ["here:1"],
            OPERATOR,
        )
        return self.store(made.certificate, key)

    def machine_endpoint(self, machine: Machine) -> BusEndpoint:
        """Renew a machine's certificate for a key that this test holds."""
        key = x509.new_key()
        machine.lineage += 1
        payload = make_renewal_payload(
            machine.device, machine.owner, FileSigner(key).public, machine.lineage
        )
        issued, _ = self.there.world.house.devices.renew(seal(payload, [machine.identity]))
        return self.store(issued.chain_pem, key)

    def store(self, chain_pem: str, key: Any) -> BusEndpoint:
        """Write a certificate and its key, and say how to connect with them."""
        return self.world.store(
            list(x509.read_certificates(chain_pem.encode())), x509.write_key(key)
        )

    async def connect(self, endpoint: BusEndpoint) -> Bus:
        """Connect. A session's requester uses no inbox, so any machine's profile serves."""
        profile = DeviceProfile(self.there.pump.device)
        bus = await connect_bus(endpoint, profile, on_problem=self.world.problems.append)
        self.world._open.append(bus)
        return bus


@pytest.fixture
def there(tmp_path: Path) -> Iterator[AccessServer]:
    database = Database.open(f"sqlite:///{tmp_path / 'state.db'}")
    with access_server(database, make_private_directory(tmp_path / "ca")) as made:
        made.world.clock.now = now_ms()
        yield made
    database.close()


def run(there: AccessServer, tmp_path: Path, play: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        async with broker_world(tmp_path / "world") as world:
            house = there.world.house
            world.broker.replace_device_ca(fleet_root(there.world.chain))
            assert await until(lambda: "Reloaded" in world.broker.log_path.read_text())
            callout = await world.start_callout(RosterJudge(house.devices, house.directory))
            callout.admit_sessions(house.access.connections)
            await play(Scene(there, world))

    asyncio.run(asyncio.wait_for(main(), 90))


async def hear(bus: Bus, subject: str) -> list[bytes]:
    """Subscribe and return what will have come."""
    got: list[bytes] = []

    async def take(message: Inbound) -> None:
        got.append(message.payload)

    await bus.subscribe(subject, take)
    await bus.flush()
    return got


async def until(condition: Callable[[], bool], seconds: float = 5) -> bool:
    """Wait until it holds; say whether it did."""
    for _ in range(int(seconds / 0.02)):
        if condition():
            return True
        await asyncio.sleep(0.02)
    return False


def test_a_stolen_server_and_broker_see_ids_sizes_and_times(
    there: AccessServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = b"marker-" + secrets.token_hex(12).encode()
    everything = {**broker_module._INTERNAL_PERMISSIONS, Account.DEVICES: ([">"], [">"])}
    monkeypatch.setattr(broker_module, "_INTERNAL_PERMISSIONS", everything)

    async def play(scene: Scene) -> None:
        tapped: list[tuple[str, bytes]] = []

        async def tap(message: Inbound) -> None:
            tapped.append((message.subject, message.payload))

        thief = await scene.world.connect_internal(Account.DEVICES)
        await thief.subscribe(">", tap)
        await thief.flush()
        session = await asyncio.to_thread(scene.grant)
        name, device = session_name(session.hash), there.pump.device
        technician = await scene.connect(await asyncio.to_thread(scene.certificate, session))
        machine = await scene.connect(await asyncio.to_thread(scene.machine_endpoint, there.pump))
        arrived = await hear(machine, session_in(device, name))
        answers = await hear(technician, session_out(device, name))
        first, asking = open_as_requester(
            session.requester_private, session.machine_public, session.hash
        )
        await technician.publish(session_in(device, name), first)
        await technician.publish(session_in(device, name), asking.seal(b"type " + marker))
        assert await until(lambda: len(arrived) == 2)
        inside = open_as_machine(
            session.machine_private, session.request.session_key, arrived[0], session.hash
        )
        assert inside.open(arrived[1]) == b"type " + marker
        await machine.publish(session_out(device, name), inside.seal(marker * 100))
        assert await until(lambda: len(answers) == 1)
        assert asking.open(answers[0]) == marker * 100
        policy = there.world.trust.policy
        sealer = Sealer(policy.owner, device, session.hash, policy.roots.recording_key, 1)
        data = sealer.header + sealer.seal(b'[0.1,"o","' + marker + b'"]\n')
        await asyncio.to_thread(there.send_chunk, session.hash, 0, data)
        # The tap sees everything, and so does whoever copies the disk.
        assert await until(lambda: len(tapped) >= 3)
        assert {len(payload) for _, payload in tapped} >= {32, len(marker) * 100 + 24}
        seen = b"".join(subject.encode() + payload for subject, payload in tapped)
        disk = b"".join(
            path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.exists()
        )
        assert name.encode() in seen and session.hash.encode() in disk
        assert data in disk
        assert marker not in seen
        assert marker not in disk

    run(there, tmp_path, play)


def test_a_requester_speaks_and_hears_in_his_session_alone(
    there: AccessServer, tmp_path: Path
) -> None:
    async def play(scene: Scene) -> None:
        device = there.pump.device
        mine = await asyncio.to_thread(scene.grant)
        other = await asyncio.to_thread(scene.grant)
        theirs = session_name(other.hash)
        thief = await scene.connect(await asyncio.to_thread(scene.certificate, mine))
        victim = await scene.connect(await asyncio.to_thread(scene.certificate, other))
        machine = await scene.connect(await asyncio.to_thread(scene.machine_endpoint, there.pump))
        server = await scene.world.connect_internal(Account.DEVICES)
        orders = await hear(machine, f"fw.{device}.down.>")
        inputs = await hear(machine, f"fw.{device}.session.*.in")
        ups = await hear(server, "fw.*.up.*")
        outs = await hear(victim, session_out(device, theirs))
        stolen: list[list[bytes]] = []
        for subject in (
            session_out(device, theirs), session_in(device, theirs), f"fw.{device}.session.*.out",
            f"fw.{device}.down.>", f"fw.{device}.up.*", "_INBOX.>", "fw.>", ">", "$SYS.>",
        ):  # fmt: skip
            stolen.append(await hear(thief, subject))
        for subject in (
            session_in(device, theirs), session_out(device, theirs),
            session_out(device, session_name(mine.hash)), down(device, "order"),
            down(device, "documents"), *(up(device, word) for word in Up),
        ):  # fmt: skip
            await thief.publish(subject, b"forged")
        await thief.publish(session_in(device, session_name(mine.hash)), b"mine")
        await machine.publish(session_out(device, theirs), b"secret answer")
        await server.publish(down(device, "order"), b"an order")
        assert await until(lambda: bool(inputs and outs and orders))
        await asyncio.sleep(0.2)
        assert inputs == [b"mine"]
        assert outs == [b"secret answer"]
        assert orders == [b"an order"]
        assert ups == []
        assert stolen == [[] for _ in stolen]
        assert {RefusalKind.PUBLISH, RefusalKind.SUBSCRIBE} <= set(await kinds(scene.world, 2))

    run(there, tmp_path, play)


def test_a_sessions_certificate_is_no_machines_and_the_reverse(
    there: AccessServer, tmp_path: Path
) -> None:
    async def play(scene: Scene) -> None:
        session = await asyncio.to_thread(scene.grant)
        device, name = there.pump.device, session_name(session.hash)
        server = await scene.world.connect_internal(Account.DEVICES)
        ups = await hear(server, "fw.*.up.*")
        requester = await scene.connect(await asyncio.to_thread(scene.certificate, session))
        machine = await scene.connect(await asyncio.to_thread(scene.machine_endpoint, there.pump))
        inputs = await hear(machine, session_in(device, name))
        # As the machine: the door hears nothing.
        with pytest.raises(FleetwardError):
            await requester.request(up(device, Up.HELLO), b"x", timeout_seconds=0.5)
        # The machine's own certificate does not speak as the requester.
        await machine.publish(session_in(device, name), b"forged by the machine")
        await requester.publish(session_in(device, name), b"by the requester")
        assert await until(lambda: bool(inputs))
        await asyncio.sleep(0.2)
        assert (ups, inputs) == ([], [b"by the requester"])

    run(there, tmp_path, play)


def test_who_has_no_live_session_does_not_come_in(there: AccessServer, tmp_path: Path) -> None:
    async def play(scene: Scene) -> None:
        device = there.pump.device

        async def not_let_in(endpoint: BusEndpoint) -> None:
            error = await refused(scene.world, endpoint, device)
            assert error.reason in (*NOT_LET_IN, "bus_refused", "bus_closed"), error.reason

        session = await asyncio.to_thread(scene.grant)
        old = await asyncio.to_thread(scene.certificate, session)
        new = await asyncio.to_thread(scene.certificate, session)
        # An older certificate of the session.
        await not_let_in(old)
        # One that the stolen issuing CA made for the live session.
        key = x509.new_key()
        forged = there.world.authorities.issue_session(
            there.world.chain, there.world.trust.owner, session_name(session.hash),
            FileSigner(key).public, (now_ms() - 1000, now_ms() + 60_000),
        )  # fmt: skip
        await not_let_in(scene.store(forged.chain_pem, key))
        # One for a session that nobody granted; and one whose machine is contained.
        strange = there.world.authorities.issue_session(
            there.world.chain, there.world.trust.owner, "0" * 32, FileSigner(key).public,
            (now_ms() - 1000, now_ms() + 60_000),
        )  # fmt: skip
        await not_let_in(scene.store(strange.chain_pem, key))
        devices = there.world.house.devices
        await asyncio.to_thread(devices.quarantine, device, "person:p1", "a test")
        await not_let_in(new)
        await asyncio.to_thread(devices.readmit, device, "person:p1", "a test")
        bus = await scene.connect(new)
        await bus.flush()
        # After its end.
        receipt = there.receipt(session.hash)
        await asyncio.to_thread(there.note, "receipt", session.hash, receipt)
        await not_let_in(new)
        reasons = {verdict.admission.reason for verdict in scene.world.verdicts}
        assert {
            "superseded_certificate", "unknown_session", "device_contained", "not_live", "ok",
        } <= reasons  # fmt: skip

    run(there, tmp_path, play)


def test_an_ended_session_is_cut_off(there: AccessServer, tmp_path: Path) -> None:
    async def play(scene: Scene) -> None:
        house = there.world.house
        buses = {
            account: await scene.world.connect_internal(account)
            for account in (Account.SYS, Account.DEVICES, Account.QUARANTINE)
        }
        side = BusSide(
            scene.world.broker, buses, house.directory, house.devices,
            asyncio.get_running_loop(), house.access.standings,
        )  # fmt: skip
        house.access.book.on_end(side.session_ended)
        ending = await asyncio.to_thread(scene.grant)
        going_on = await asyncio.to_thread(scene.grant)
        cut = await scene.connect(await asyncio.to_thread(scene.certificate, ending))
        kept = await scene.connect(await asyncio.to_thread(scene.certificate, going_on))
        machine = await scene.connect(await asyncio.to_thread(scene.machine_endpoint, there.pump))
        for bus in (cut, kept, machine):
            await bus.flush()
        receipt = there.receipt(ending.hash)
        await asyncio.to_thread(there.note, "receipt", ending.hash, receipt)
        assert await until(lambda: not cut.is_connected)
        assert kept.is_connected
        assert machine.is_connected

    run(there, tmp_path, play)


def test_orders_reach_their_machine_and_come_again_after_its_hello(
    there: AccessServer, tmp_path: Path
) -> None:
    async def play(scene: Scene) -> None:
        house = there.world.house
        buses = {
            account: await scene.world.connect_internal(account)
            for account in (Account.SYS, Account.DEVICES, Account.QUARANTINE)
        }
        side = BusSide(
            scene.world.broker, buses, house.directory, house.devices,
            asyncio.get_running_loop(), house.access.access,
        )  # fmt: skip
        house.access.book.carry(side.carry_order)
        house.devices.on_greeting(side.greeted)
        machine = await scene.connect(await asyncio.to_thread(scene.machine_endpoint, there.pump))
        orders = await hear(machine, down(there.pump.device, "order"))
        request = await asyncio.to_thread(there.ask)
        assert await until(lambda: len(orders) == 1)
        assert to_base64url(request.raw).encode() in orders[0]

        def greet() -> None:
            nonce = there.world.nonce(there.pump)
            there.world.send(there.pump, Up.HELLO, there.pump.hello(nonce))

        await asyncio.to_thread(greet)
        assert await until(lambda: len(orders) == 2)
        assert orders[0] == orders[1]

    run(there, tmp_path, play)
