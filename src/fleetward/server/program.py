"""The running control plane: database, broker, door, listeners; start and stop in order."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from fleetward.runtime.broker import Account, Broker, BrokerSettings
from fleetward.runtime.broker_log import BrokerLogFollower, BrokerRefusal
from fleetward.runtime.bus import Bus, BusProblem, Inbound, connect_bus, serve_devices
from fleetward.runtime.clock import Clock
from fleetward.runtime.database import Database
from fleetward.runtime.files import atomic_write, make_private_directory, read_bounded
from fleetward.runtime.http.hosts import HostPolicy
from fleetward.runtime.keys import FileSigner, from_pkcs8, make_key, to_pkcs8
from fleetward.server.access.notice_send import send_by_apprise
from fleetward.server.access.notifying import Notifier
from fleetward.server.announcing import Announcer
from fleetward.server.audit.check import RecordCheck
from fleetward.server.bus_side import BusSide
from fleetward.server.callout import Callout, Verdict, read_disconnect
from fleetward.server.enrol import create_enrol_app
from fleetward.server.identity.issuing import CertificateAuthorities, fleet_root
from fleetward.server.identity.judge import RosterJudge
from fleetward.server.listeners import Listener, bind
from fleetward.server.people.wiring import PeopleSettings
from fleetward.server.refusals import RefusalBook
from fleetward.server.rooms import House, open_house
from fleetward.server.settings import CONSOLE_NAME, Places, ServerSettings
from fleetward.server.tls import ListenerFiles, make_listener_files
from fleetward.server.updates.book import UpdatePlace
from fleetward.server.updates.director import open_director
from fleetward.server.web.app import Services, create_app
from fleetward.server.web.host import HostAuthenticator, make_host_secret
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import FleetwardError, Misuse
from fleetward.trust.keys import ED25519
from fleetward.wire.identity import Introduction

CONCURRENCY: Final = 256
"""Messages of machines in work at once."""
BEAT_FLUSH_SECONDS: Final = 5.0
TELL_SECONDS: Final = 3.0
CHECK_SECONDS: Final = 10
ROLL_SECONDS: Final = 1.0
FRESH_SECONDS: Final = 3600.0
DISCONNECTS: Final = "$SYS.ACCOUNT.*.DISCONNECT"
CHECK_WHOLE_SECONDS: Final = 3600
INVENTORY_KEPT_MS: Final = 30 * 86_400_000
PARTS_KEPT_MS: Final = 7 * 86_400_000
SILENT_AFTER_MS: Final = 150_000
"""Two and a half heartbeats of 60 s."""
_log: Final = logging.getLogger(__name__)

Handlers = Callable[["Program"], list[Any]]


class Program:
    """One control plane. `start` returns when machines and people can come."""

    def __init__(
        self, places: Places, settings: ServerSettings, clock: Clock, handlers: Handlers
    ) -> None:
        self.places = places
        self.settings = settings
        self.clock = clock
        self._make_handlers = handlers
        self.loop = asyncio.get_running_loop()
        self.host_secret = make_host_secret()
        self._tasks: list[asyncio.Task[None]] = []
        self._closers: list[Callable[[], Any]] = []
        self._sockets: list[socket.socket] = []
        self._database: Database | None = None
        self._opened: House | None = None
        for folder in (places.data, places.server, places.authorities, places.logs, places.run):
            make_private_directory(folder)
        self.authorities = CertificateAuthorities(places.authorities, clock.wall_ms())
        self.log_key = _load_or_make_log_key(places)
        self.director = open_director(places.director, clock.wall_ms())
        self.tls = make_listener_files(
            places.tls,
            self.authorities.server_ca,
            [*settings.public_names, "localhost", *([settings.host] if settings.host else [])],
            clock.wall_ms(),
        )

    async def start(self, database: Database) -> None:
        """Open everything, in the order in which it is needed. `stop` closes it, also half-way."""
        self._database = database
        for port in (self.settings.port, self.settings.enrol_port):
            self._sockets.append(bind(self.settings.listen_host, port))
        self.settings = replace(
            self.settings,
            port=int(self._sockets[0].getsockname()[1]),
            enrol_port=int(self._sockets[1].getsockname()[1]),
        )
        self._opened = await asyncio.to_thread(self._open_house)
        self.record_check = RecordCheck(database, self.house.ledger, self.clock)
        await self._start_bus()
        await self._start_listeners()
        self._tasks.append(asyncio.create_task(self._keep_seen()))
        self._tasks.append(asyncio.create_task(self._keep_checking()))
        self._tasks.append(asyncio.create_task(self._keep_telling()))
        self._tasks.append(asyncio.create_task(self._keep_rolling()))

    async def stop(self) -> None:
        """Close everything in the reverse order; nothing that was acknowledged is lost."""
        if self._opened is not None:
            self._opened.hub.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for close in reversed(self._closers):
            try:
                result = close()
                if asyncio.iscoroutine(result):
                    await result
            except Exception:  # noqa: BLE001 - one part that will not close: said, the rest closes
                _log.exception("a part of the server did not close")
        for sock in self._sockets:
            sock.close()
        if self._opened is not None:
            await asyncio.to_thread(self._opened.intake.close)
            with contextlib.suppress(FleetwardError):  # no owner, or the database is what is broken
                await asyncio.to_thread(self._opened.ledger.checkpoint)
        if self._database is not None:
            self._database.close()

    @property
    def house(self) -> House:
        """The slices of the running server. Raises `Misuse` before it was started."""
        if self._opened is None:
            raise Misuse("The server was not started.", reason="not_started")
        return self._opened

    @property
    def database(self) -> Database:
        """The state database. Raises `Misuse` before it was started."""
        if self._database is None:
            raise Misuse("The server was not started.", reason="not_started")
        return self._database

    @property
    def origin(self) -> str:
        """The console's origin, as a browser shows it."""
        scheme = "http" if self.settings.loopback_only else "https"
        return f"{scheme}://{self.settings.console_host}:{self.settings.port}"

    @property
    def api(self) -> str:
        """Where programs on this host reach the API."""
        if self.settings.loopback_only:
            return f"http://127.0.0.1:{self.settings.port}/api/v1"
        return f"{self.origin}/api/v1"

    @property
    def enrol_addresses(self) -> list[str]:
        """Where machines join and renew."""
        return [f"{name}:{self.settings.enrol_port}" for name in self.settings.public_names]

    @property
    def bus_addresses(self) -> list[str]:
        """Where machines connect."""
        return [f"{name}:{self.settings.bus_port}" for name in self.settings.public_names]

    def introduce(self) -> Introduction:
        """Say who this server is, to an owner who pinned its CA."""
        public = self.log_key.public
        return Introduction(
            server_ca=self.authorities.server_ca_sha256,
            log_key={
                "key_id": public.key_id,
                "public": to_base64url(public.spki),
                "suite": public.suite,
            },
            issuing_request=to_base64url(self.authorities.issuing_request()),
            enrol=self.enrol_addresses,
            bus=self.bus_addresses,
            owner=self.house.directory.owner_id,
        )

    def _open_house(self) -> House:
        people = PeopleSettings(
            host=self.settings.console_host,
            origin=self.origin,
            loopback_only=self.settings.loopback_only,
        )
        place = UpdatePlace(self.places.blobs, self.director)
        return open_house(self.database, self.clock, self.authorities, self.log_key, people, place)

    async def _start_bus(self) -> None:
        house = self.house
        self.broker = Broker(self._broker_settings(self.tls), on_change=_log.info)
        bind(self.settings.listen_host, self.settings.bus_port).close()  # to say that it is taken
        self._closers.append(self.broker.stop)
        await self.broker.start(fleet_root(house.directory.issuing_chain()))
        endpoint = self.broker.endpoint()
        buses: dict[Account, Bus] = {}
        for account in (Account.AUTH, Account.SYS, Account.DEVICES, Account.QUARANTINE):
            buses[account] = await connect_bus(
                endpoint, self.broker.profile(account), on_problem=_note_problem
            )
            self._closers.append(buses[account].close)
        self._book = RefusalBook(house.deeds, lambda: house.directory.owner_id, self.clock)
        follower = BrokerLogFollower(
            self.broker.log_path, self.clock, on_refusal=self._note_broker_refusal
        )
        self._tasks.append(asyncio.create_task(follower.run()))
        callout = Callout(
            buses[Account.AUTH],
            self.broker.issuer,
            RosterJudge(house.devices, house.directory),
            self.clock,
            device_roots=self.broker.device_roots,
            on_verdict=self._note_verdict,
        )
        callout.admit_sessions(house.access.connections)
        for account in (Account.DEVICES, Account.QUARANTINE):
            await serve_devices(
                buses[account],
                house.intake.handle,
                concurrency=CONCURRENCY,
                on_problem=_note_problem,
            )
        await callout.start()
        self._closers.append(callout.stop)
        self.bus_side = BusSide(
            self.broker,
            buses,
            house.directory,
            house.devices,
            asyncio.get_running_loop(),
            house.waiting,
        )
        self.bus_side.watch_asking(lambda: house.intake.asking)
        await buses[Account.SYS].subscribe(DISCONNECTS, self._note_disconnect)
        house.directory.listen(self.bus_side.documents_changed)
        house.directory.announcements.listen(self.bus_side.recovery_changed)
        house.devices.listen(self.bus_side.device_changed)
        house.devices.on_greeting(self.bus_side.greeted)
        house.devices.on_acknowledgement(self.bus_side.acknowledged)
        house.access.book.carry(self.bus_side.carry_order)
        house.closing.closings.carry(self.bus_side.carry_order)
        house.updates.book.on_look(self.bus_side.look_for_updates)
        house.access.book.on_end(self.bus_side.session_ended)
        self.notifier = Notifier(house.access.book, self.places.notices, send_by_apprise)
        house.access.shown.use_notifier(self.notifier)
        self.announcer = Announcer(house.updates, self.places.notices, send_by_apprise)

    def _clean(self) -> None:
        """Forget inventories that no machine has had for a month, and uploads that stopped."""
        owner = self.house.directory.owner_id
        self.house.posture.clean(owner, self.clock.wall_ms() - INVENTORY_KEPT_MS)
        self.house.updates.book.blobs.forget_parts(self.clock.wall_ms() - PARTS_KEPT_MS)

    async def _note_disconnect(self, message: Inbound) -> None:
        """A connection ended: its machine is silent from now on, not minutes later."""
        device = read_disconnect(message.payload)
        if device:
            await asyncio.to_thread(self.house.devices.lose, device)

    def _note_verdict(self, verdict: Verdict) -> None:
        self.loop.run_in_executor(None, self._book.note_verdict, verdict)

    def _note_broker_refusal(self, refusal: BrokerRefusal) -> None:
        self.loop.run_in_executor(None, self._book.note_broker, refusal)

    def _broker_settings(self, tls: ListenerFiles) -> BrokerSettings:
        return BrokerSettings(
            directory=self.places.broker,
            log_path=self.places.logs / "broker.log",
            host=self.settings.listen_host,
            port=self.settings.bus_port,
            server_ca_pem=self.authorities.server_ca_pem.encode("ascii"),
            certificate_file=tls.server_certificate,
            key_file=tls.server_key,
            internal_certificate_file=tls.internal_certificate,
            internal_key_file=tls.internal_key,
        )

    async def _start_listeners(self) -> None:
        house = self.house
        names = {self.settings.console_host, "127.0.0.1", "localhost", CONSOLE_NAME}
        app = create_app(
            Services(
                handlers=[*house.people.handlers, *self._make_handlers(self)],
                authenticator=HostAuthenticator(house.people.sessions, self.host_secret),
                hosts=HostPolicy(
                    frozenset(names if self.settings.loopback_only else {self.settings.host}),
                    "http" if self.settings.loopback_only else "https",
                ),
                hub=house.hub,
                api_only=self.settings.api_only,
            )
        )
        pair = (self.tls.server_certificate, self.tls.server_key)
        console = Listener(app, self._sockets[0], self._console_certificate(pair))
        enrol = Listener(create_enrol_app(house.devices, self.introduce), self._sockets[1], pair)
        for listener in (console, enrol):
            await listener.start()
            self._closers.append(listener.stop)

    def _console_certificate(self, own: tuple[Path, Path]) -> tuple[Path, Path] | None:
        """Return the certificate and key that the console shows; None for plain loopback."""
        if self.settings.loopback_only:
            return None
        if self.settings.console_certificate and self.settings.console_key:
            return Path(self.settings.console_certificate), Path(self.settings.console_key)
        return own

    async def _keep_seen(self) -> None:
        """Write heartbeats together, and notice who fell silent."""
        while True:
            await asyncio.sleep(BEAT_FLUSH_SECONDS)
            try:
                await asyncio.to_thread(self.house.devices.flush_seen, SILENT_AFTER_MS)
            except Exception:  # noqa: BLE001 - one failed flush: said, and tried again
                _log.exception("heartbeats could not be written")

    async def _keep_telling(self) -> None:
        """Tell approvers who asks, and of recalls, and others when nobody answers."""
        while True:
            await asyncio.sleep(TELL_SECONDS)
            try:
                await asyncio.to_thread(self.notifier.run_round)
                await asyncio.to_thread(self.announcer.run_round)
            except Exception:  # noqa: BLE001 - one failed round: said, and tried again
                _log.exception("approvers could not be told")

    async def _keep_rolling(self) -> None:
        """Let rollouts and recalls go on, and write down every hour how fresh the fleet is."""
        updates = self.house.updates
        for round_number in itertools.count():
            try:
                await asyncio.to_thread(updates.motion.advance)
                await asyncio.to_thread(updates.recalls.advance)
                if round_number % int(FRESH_SECONDS / ROLL_SECONDS) == 0:
                    await asyncio.to_thread(updates.rollouts_shown.note_day)
                    await asyncio.to_thread(updates.support.advance)
                    await asyncio.to_thread(updates.rollouts.begin_standing)
            except Exception:  # noqa: BLE001 - one failed round: said, and tried again
                _log.exception("rollouts could not go on")
            await asyncio.sleep(ROLL_SECONDS)

    async def _keep_checking(self) -> None:
        """Check what is new in the record every few seconds, and the whole of it once an hour."""
        for round_number in itertools.count():
            whole = round_number % (CHECK_WHOLE_SECONDS // CHECK_SECONDS) == 0
            before = self.record_check.last.state
            try:
                checked = await asyncio.to_thread(self.record_check.run, whole=whole)
            except Exception:  # noqa: BLE001 - one failed check: said, and tried again
                _log.exception("the record could not be checked")
            else:
                if whole:
                    await asyncio.to_thread(self._clean)
                if checked.state != before:
                    self.house.hub.publish("record.changed", {"state": checked.state})
            await asyncio.sleep(CHECK_SECONDS)


def _load_or_make_log_key(places: Places) -> FileSigner:
    if places.log_key.exists():
        return from_pkcs8(read_bounded(places.log_key, 4096))
    signer = make_key(ED25519)
    atomic_write(places.log_key, to_pkcs8(signer))
    return signer


def _note_problem(problem: BusProblem) -> None:
    _log.warning("bus: %s: %s", problem.kind, problem.words)
