"""The technician's page, served over a session, for browsers and for attacks.

    with served(folder) as stage:
        stage.allow()
        answer = stage.client().get("/api/v1/visit")

The program is the real one. `MemorySession` has a small machine in memory behind it, whose web
pages are served by whoever the test puts on a port of loopback; `RealSession` is a real agent with
its sandbox, over a real broker (`tests.session_world`).

python -m tests.technician_stage     prints an address to look at, until Ctrl-C
"""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import httpx
from tests.access_world import AccessWorld
from tests.adversary.session_end import MachineEnd, make_wires
from tests.session_world import SessionWorld, now_ms, rules_for, session_world

from fleetward.keyholder.access.asking import Wait
from fleetward.keyholder.access.connecting import BusWire, SessionLink
from fleetward.keyholder.access.judging import Case
from fleetward.keyholder.technician.app import STATIC
from fleetward.keyholder.technician.main import (
    House,
    Ready,
    Serving,
    serve_house,
)
from fleetward.keyholder.technician.views import Subject
from fleetward.keyholder.technician.visit import Doors
from fleetward.runtime.clock import SystemClock
from fleetward.trust.access import FilesScope, LogsScope, Scope, TcpScope, TerminalScope
from fleetward.trust.access_rule import Rule
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.grants.grant import Situation, verify_grant
from fleetward.trust.grants.offer import Offer
from fleetward.trust.grants.report import verify_receipt
from fleetward.trust.grants.request import Request
from fleetward.wire.access import Frame, Piece
from fleetward.wire.subjects import session_name

T = TypeVar("T")
PAGE_PORT = 8080
OTHER_PORT = 8081
FOLDER = "/srv/app"


class Session(Protocol):
    """What is behind a stage: a case that grows, and a way in."""

    case: Case

    def granted(self) -> Coroutine[Any, Any, Case]: ...
    def open(self, case: Case) -> AbstractAsyncContextManager[SessionLink]: ...
    def stop(self, words: str) -> Coroutine[Any, Any, None]: ...
    def receipt(self) -> Case | None: ...


class WebEnd(MachineEnd):
    """A machine in memory whose TCP ports are real ones of loopback."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.ports: dict[int, int] = {}
        self.joined: dict[int, asyncio.StreamWriter] = {}
        self.dialled: list[asyncio.StreamWriter] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def _begin(self, piece: Piece) -> None:
        await super()._begin(piece)
        scope = self.scopes[piece.scope]
        if isinstance(scope, TcpScope):
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self.ports.get(scope.port, 1)
                )
            except OSError:
                await self._close(piece.stream, f"Nothing listens on port {scope.port}.")
                return
            self.joined[piece.stream] = writer
            self.dialled.append(writer)
            self.tasks.add(asyncio.create_task(self._pump(piece.stream, reader)))

    async def hang_up(self) -> None:
        """Close what was dialled."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for writer in self.dialled:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _pump(self, number: int, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(65536):
            if number not in self._open:
                return
            await self.output(number, data)
        if number in self._open:
            await self._finish(number, "")

    async def _take(self, piece: Piece) -> None:
        if piece.kind is Frame.CLOSE and (writer := self.joined.pop(piece.stream, None)):
            writer.close()
        await super()._take(piece)

    async def _take_data(self, piece: Piece) -> None:
        writer = self.joined.get(piece.stream)
        if writer is None:
            await super()._take_data(piece)
            return
        writer.write(piece.data)
        await writer.drain()

    async def _take_end(self, piece: Piece) -> None:
        writer = self.joined.get(piece.stream)
        if writer is None:
            await super()._take_end(piece)
        elif writer.can_write_eof():
            writer.write_eof()


class MemorySession:
    """A session with a machine in memory."""

    def __init__(self, *scopes: Scope, ports: dict[int, int] | None = None) -> None:
        self.world = AccessWorld.make(technician="tom")
        asked = scopes or (
            TerminalScope("app"),
            TcpScope(PAGE_PORT, "http"),
            TcpScope(OTHER_PORT, "http"),
            LogsScope("nginx.service"),
            FilesScope(FOLDER, "write", 10**8),
        )
        rules = replace(
            rules_for(Path(FOLDER)),
            rules={
                **(rules_for(Path(FOLDER)).rules or {}),
                "terminal": Rule(1, 3600, watched=False, allowed=("app",)),
            },
        )
        self.world.set_rules(rules)
        request = self.world.request(*asked)
        offer = self.world.offer(request)
        entry = self.world.machine.entry()
        self.case = Case(entry, self.world.trust.policy, request, offer)
        grant = self.world.judge(self.world.grant(request, offer), request, offer)
        self._granted = replace(self.case, grant=grant)
        self.wire, there = make_wires()
        self.machine = WebEnd(
            there, self.world.machine_private, request.session_key, grant.hash, grant.scopes
        )
        self.machine.ports = ports or {}

    async def granted(self) -> Case:
        return self._granted

    @contextlib.asynccontextmanager
    async def open(self, case: Case) -> AsyncIterator[SessionLink]:
        try:
            async with (
                self.machine.running(),
                SessionLink(self.wire, case, self.world.session_private) as link,
            ):
                yield link
        finally:
            await self.machine.hang_up()

    async def stop(self, words: str) -> None:
        await self.machine.end(words)

    def receipt(self) -> Case | None:
        return None


class RealSession:
    """A session of a real agent, behind a real broker, in its sandbox; without a server."""

    def __init__(self, world: SessionWorld, request: Request, offer: Offer, bus_case: Case) -> None:
        self.world = world
        self.case = bus_case
        self._request = request
        self._offer = offer
        self._private = world.access.session_private
        self._grant: bytes = b""

    async def granted(self) -> Case:
        """Sign the grant, and hand it to the machine."""
        world = self.world
        self._grant = world.make_grant(self._request, self._offer)
        here = Situation(
            world.access.trust.policy, self._offer.boot, now_ms(), 1000,
            sandboxed=self._offer.sandbox != "none",
        )  # fmt: skip
        grant = verify_grant(self._grant, here, self._request, self._offer)
        await world.push(self._grant)
        self.case = replace(self.case, grant=grant)
        return self.case

    @contextlib.asynccontextmanager
    async def open(self, case: Case) -> AsyncIterator[SessionLink]:
        wire = BusWire(self.world.bus, self.world.device, session_name(case.session))
        await wire.listen()
        async with SessionLink(wire, case, self._private) as link:
            yield link

    async def stop(self, words: str) -> None:
        await self.world.stop_session(self.case.session)

    def receipt(self) -> Case | None:
        """Wait for what the machine signs at the end."""
        deadline = time.monotonic() + 10
        counterpart = self.world.counterpart
        while time.monotonic() < deadline:
            for (note, _), raw in zip(counterpart.notes, counterpart.raw_notes, strict=True):
                if (note.kind, note.subject) == ("receipt", self.case.session):
                    key, owner = self.world.access.machine.key, self.case.request.owner
                    return replace(self.case, receipt=verify_receipt(raw, key, owner))
            time.sleep(0.05)
        return None


@contextlib.asynccontextmanager
async def real_session(folder: Path, *ports: int) -> AsyncIterator[RealSession]:
    """Start an agent, ask it for a terminal, pages, files; wait for its offer."""
    async with session_world(folder) as world:
        scopes: list[Scope] = [TerminalScope(world.user)]
        scopes += [TcpScope(port, "http") for port in ports]
        scopes += [FilesScope(str(world.files), "write", 10**8)]
        request = world.make_request(*scopes)
        offer = await world.offered(request)
        entry = world.access.machine.entry()
        case = Case(entry, world.access.trust.policy, request, offer)
        yield RealSession(world, request, offer, case)


class FakeWait:
    """Looks as `Wait` does, at what the test has decided."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.allowed = threading.Event()
        self.denied: FleetwardError | None = None
        self.case = session.case
        self.loop: asyncio.AbstractEventLoop | None = None

    def look(self) -> tuple[Case, bool]:
        if self.denied is not None:
            raise self.denied
        if not self.allowed.is_set():
            return self.case, False
        assert self.loop is not None
        granted = asyncio.run_coroutine_threadsafe(self.session.granted(), self.loop)
        return granted.result(30), True


@dataclass
class Stage:
    """A served page."""

    session: Session
    wait: FakeWait
    ready: Ready
    house: House
    loop: asyncio.AbstractEventLoop
    told: list[str] = field(default_factory=list)

    @property
    def secret(self) -> str:
        return self.ready.opened.partition("#secret=")[2]

    @property
    def port(self) -> int:
        return self.house.hosts.port

    def do(self, act: Coroutine[Any, Any, T]) -> T:
        """Do something on the program's own loop."""
        return asyncio.run_coroutine_threadsafe(act, self.loop).result(30)

    def allow(self) -> None:
        """Let the owner say yes, and wait until the session is open."""
        self.wait.allowed.set()
        self.until(lambda: self.house.visit.known.phase == "open", "it opens")

    def deny(self, words: str = "The owner said no.") -> None:
        self.wait.denied = Refused(words, reason="stopped")

    def stop(self, words: str = "Ada stopped the session: enough") -> None:
        """Let the owner end it."""
        self.do(self.session.stop(words))
        self.until(lambda: self.house.visit.known.phase == "over", "it is over")

    def until(self, what: Any, words: str, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, f"waited in vain: {words}"
            time.sleep(0.02)

    def page(self, place: int) -> str:
        """Return the origin of the machine's page on a scope."""
        return self.house.addresses.shown[place]

    def client(self, *, secret: bool = True, **headers: str) -> httpx.Client:
        """Return a client of the page's API, as the page is."""
        known = {"Host": f"technician.localhost:{self.port}", **headers}
        if secret:
            known["Authorization"] = f"Bearer {self.secret}"
        base = f"http://127.0.0.1:{self.port}"
        # Plain HTTP: loading authorities would take a tenth of a second each time.
        return httpx.Client(base_url=base, headers=known, timeout=10, verify=False)


def _enter(session: Any) -> Any:
    if session is None:
        session = MemorySession()
    return session if hasattr(session, "__aenter__") else contextlib.nullcontext(session)


@contextlib.contextmanager
def served(session: Any = None, static: Path = STATIC) -> Iterator[Stage]:
    """Serve a page over a session; `session` is one, or an async context manager of one."""
    begun: list[Stage] = []
    failed: list[BaseException] = []

    async def run() -> None:
        async with _enter(session) as one:
            wait = FakeWait(one)
            wait.loop = asyncio.get_running_loop()
            doors = Doors(cast(Wait, wait), one.open, one.receipt)
            subject = Subject(one.case.request, one.case.entry, one.case.policy)
            told: list[str] = []
            serving = Serving(0, lambda ready: None, told.append, static)
            house = House(subject, doors, SystemClock(), serving)

            def begin(ready: Ready) -> None:
                begun.append(Stage(one, wait, ready, house, asyncio.get_running_loop(), told))

            await serve_house(house, replace(serving, on_ready=begin))

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as e:  # noqa: BLE001  raised again by the test
            failed.append(e)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not begun and not failed:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    if failed:
        raise failed[0]
    try:
        yield begun[0]
    finally:
        with contextlib.suppress(RuntimeError):  # it has ended by itself, and so has its loop
            begun[0].loop.call_soon_threadsafe(begun[0].house.end)
        thread.join(30)
        assert not thread.is_alive()
        if failed:
            raise failed[0]


@contextlib.contextmanager
def site(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[int]:
    """Serve web pages on a port of loopback: the machine's, or those of another site."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class _Hello(http.server.BaseHTTPRequestHandler):
    """A page of a machine, for looking."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>Pump</title><h1>The pump's own page</h1><p>pressure 4.2</p>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp(prefix="technician-stage-"))
    try:
        with site(_Hello) as port, served(real_session(place, port)) as shown:
            print(shown.ready.opened, flush=True)
            shown.allow()
            while True:
                time.sleep(1)
    finally:
        shutil.rmtree(place, ignore_errors=True)
