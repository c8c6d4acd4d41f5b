"""Running the technician's side in a browser: one process, on loopback, for one visit.

It ends when it is told to (Ctrl-C), or when the visit is over and no page is open any more. While
the session is open, its end leaves the session.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvicorn

from fleetward.keyholder.access.connecting import SessionLink
from fleetward.keyholder.console.stream import Changes
from fleetward.keyholder.technician.addresses import Addresses
from fleetward.keyholder.technician.app import STATIC, create_app
from fleetward.keyholder.technician.hosts import Hosts
from fleetward.keyholder.technician.relay import Relay
from fleetward.keyholder.technician.routes import Rooms
from fleetward.keyholder.technician.switch import Switch, Turn
from fleetward.keyholder.technician.terminals import Terminals
from fleetward.keyholder.technician.transfers import Transfers
from fleetward.keyholder.technician.views import Subject, show_visit
from fleetward.keyholder.technician.visit import Doors, Known, Visit
from fleetward.runtime.clock import Clock
from fleetward.runtime.http.loopback import bind_loopback

MAX_CONNECTIONS: Final = 64
STOP_SECONDS: Final = 3
LINGER_SECONDS: Final = 600
"""So long an open page can still be read after the end."""
UNREAD_SECONDS: Final = 5
"""So long a page may be away, as when it is loaded again."""
_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Ready:
    """Where the page is. `opened` holds the secret of this start."""

    url: str
    opened: str
    pid: int


@dataclass(frozen=True, slots=True)
class Serving:
    """How it shall be served. Port 0 takes a free one."""

    port: int
    on_ready: Callable[[Ready], None]
    tell: Callable[[str], None]
    static: Path = STATIC


class _Server(uvicorn.Server):
    """Leaves the signals to the visit."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class House:
    """All that one visit needs, put together."""

    def __init__(self, subject: Subject, doors: Doors, clock: Clock, serving: Serving) -> None:
        self.sockets: Final = bind_loopback(serving.port, "Name another by --listen.")
        port = self.sockets[0].getsockname()[1]
        self.secret: Final = secrets.token_urlsafe(_SECRET_BYTES)
        self.hosts: Final = Hosts(self.secret.encode("ascii"), port)
        self.visit: Final = Visit(doors, Changes(), clock)
        self.addresses: Final = Addresses(self.hosts, serving.tell)
        self.visit.on_open(self._open_addresses)
        self.turn: Final = Turn(self.addresses.find_page, Relay(lambda: self.visit.link))
        self.told: Final = asyncio.Event()
        """Set when the program shall end, whoever still reads the page."""
        rooms = Rooms(
            self.visit,
            Terminals(self.visit),
            Transfers(self.visit, clock),
            lambda: show_visit(
                subject,
                self.visit.known,
                self.hosts.frame,
                self.addresses.shown,
                clock.wall_ms(),
            ),
        )
        self.app: Final = create_app(rooms, self.hosts, serving.static)

    @property
    def ready(self) -> Ready:
        """Where the page is."""
        url = f"{self.hosts.home}/"
        return Ready(url, f"{url}#secret={self.secret}", os.getpid())

    def make_server(self) -> uvicorn.Server:
        """Return the server of everything that is no page of the machine."""
        switch: Any = functools.partial(Switch, self.turn)
        config = uvicorn.Config(
            self.app,
            http=switch,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        return _Server(config)

    def end(self) -> None:
        """Leave the session, and end the program."""
        self.told.set()
        self.visit.leave()

    async def _open_addresses(self, link: SessionLink) -> None:
        await self.addresses.open(link)


def serve_visit(subject: Subject, doors: Doors, clock: Clock, serving: Serving) -> Known:
    """Serve one visit from here to its end; return how it ended.

    Raises `Unreachable` when the port is taken.
    """
    return asyncio.run(_serve(subject, doors, clock, serving))


async def _serve(subject: Subject, doors: Doors, clock: Clock, serving: Serving) -> Known:
    house = House(subject, doors, clock, serving)
    with _signals(house):
        await serve_house(house, serving)
    return house.visit.known


async def serve_house(house: House, serving: Serving) -> None:
    """Serve until the visit is over and nobody reads its page, or until the house is `told`."""
    server = house.make_server()
    running = asyncio.create_task(server.serve(sockets=house.sockets))
    try:
        while not server.started and not running.done():
            await asyncio.sleep(0.01)
        serving.on_ready(house.ready)
        await house.visit.run()
        await house.addresses.close()
        await _linger(house.visit.changes, house.told)
    finally:
        house.visit.changes.close()
        await house.turn.stop()
        server.should_exit = True
        await running


async def _linger(changes: Changes, told: asyncio.Event) -> None:
    """Wait until nobody reads the page any more."""
    loop = asyncio.get_running_loop()
    last = loop.time() + LINGER_SECONDS
    unread_since = loop.time()
    while not told.is_set() and loop.time() < last:
        if changes.pages:
            unread_since = loop.time()
        elif loop.time() - unread_since > UNREAD_SECONDS:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await told.wait()


@contextlib.contextmanager
def _signals(house: House) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP leave the session and end the program."""
    loop = asyncio.get_running_loop()
    taken: list[signal.Signals] = []

    def act() -> None:
        """End in order; the next signal ends at once, as it would without us."""
        house.end()
        for number in taken:
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with contextlib.suppress(ValueError, RuntimeError):  # not the main thread
            loop.add_signal_handler(number, act)
            taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
