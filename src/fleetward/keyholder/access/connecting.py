"""The requester's end of a session's channel: records over the bus, streams within them.

1. The certificate for the bus is asked for with a fresh transport key, for which the requester's
   key vouches. The server's CA is the one that the owner's policy names, and no other.
2. The first bytes open the channel (HPKE in auth mode, `runtime.channel`), by the session key that
   the signed request names and the machine's key that the verified offer names. They are sent again
   until the machine's first record comes: that it opens proves that the machine itself is there.
3. From then on a record that is missing, doubled, moved or altered ends the session.

The server between sees how much flows and when.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from random import SystemRandom
from typing import Final, Protocol

import msgspec

from fleetward.keyholder.access.judging import Case
from fleetward.keyholder.access.server_rows import AccessApi, Connection
from fleetward.keyholder.access.streams import Stream
from fleetward.keyholder.access.terminal_safe import one_line
from fleetward.runtime import x509
from fleetward.runtime.bus import (
    Bus,
    BusEndpoint,
    BusProblem,
    Inbound,
    SessionProfile,
    connect_bus,
)
from fleetward.runtime.channel import open_as_requester
from fleetward.runtime.files import atomic_write
from fleetward.trust.connection import make_connection_payload
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.invitation import split_address
from fleetward.trust.keys import Signer, public_key_of
from fleetward.wire.access import MAX_STREAMS, Frame, OpenStream, Piece, read_piece
from fleetward.wire.subjects import session_in, session_name, session_out

KNOCK_SECONDS: Final = 0.5
OPEN_SECONDS: Final = 30.0
LEAVE_SECONDS: Final = 2.0
DIAL_SECONDS: Final = 15.0
"""How long a bus that cannot be reached is tried again, before a person is told."""
DIAL_PAUSE_SECONDS: Final = 0.5


class Wire(Protocol):
    """What carries sealed records to the machine and back."""

    async def send(self, data: bytes) -> None:
        """Send one message. Raises `Unreachable`."""

    async def receive(self) -> bytes:
        """Return the next message. Raises `Unreachable` when none will come any more."""


class Welcome(msgspec.Struct, frozen=True):
    """The machine's first word in a session."""

    session: str
    scopes: list[object] = []
    sandbox: str = ""
    seconds_left: int = 0


class SessionLink:
    """An open session. Use it as a context manager: leaving it leaves the session."""

    def __init__(self, wire: Wire, case: Case, private: bytes) -> None:
        if case.grant is None or case.offer is None:
            raise Refused("There is no grant to open a session with.", reason="not_granted")
        self._wire = wire
        self.session: Final = case.grant.hash
        self.scopes: Final = case.grant.scopes
        self._first, self._channel = open_as_requester(
            private, case.offer.session_key, case.grant.hash
        )
        self._streams: dict[int, Stream] = {}
        self._count = 0
        self._sealing = asyncio.Lock()
        self._welcome: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> SessionLink:
        self._reader = asyncio.create_task(self._read(), name="session")
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._over.done():
            with contextlib.suppress(FleetwardError, TimeoutError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await self._send(Piece(Frame.LEAVE, 0, 0))
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        self._end(Unreachable("The session was left.", reason="session_left"), "")

    async def open(self) -> Welcome:
        """Knock until the machine answers. Raises `Unreachable`, or what ended it before."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + OPEN_SECONDS
        while not self._welcome.done():
            if loop.time() > deadline:
                raise Unreachable(
                    f"The machine did not open within {OPEN_SECONDS:.0f} s. It may have lost its "
                    "connection; the grant stands while the machine runs: try again.",
                    reason="machine_silent",
                )
            await self._wire.send(self._first)
            await asyncio.wait({self._welcome}, timeout=KNOCK_SECONDS)
        return await self._welcome

    async def open_stream(self, scope: int, wanted: OpenStream) -> Stream:
        """Begin a stream on a scope, by its place in the grant. Raises `Refused` for too many."""
        self._streams = {n: s for n, s in self._streams.items() if not s.closed}
        if len(self._streams) >= MAX_STREAMS:
            raise Refused(f"{MAX_STREAMS} streams are open; close one.", reason="too_many_streams")
        self._count += 1
        stream = Stream(scope, self._count, self._send)
        self._streams[stream.number] = stream
        await self._send(Piece(Frame.OPEN, scope, stream.number, msgspec.json.encode(wanted)))
        return stream

    async def wait_over(self) -> str:
        """Return the machine's words when it ended the session. Raises what broke it."""
        return await asyncio.shield(self._over)

    async def _send(self, piece: Piece) -> None:
        async with self._sealing:
            await self._wire.send(self._channel.seal(piece.to_bytes()))

    async def _read(self) -> None:
        try:
            while not self._over.done():
                self._take(read_piece(self._channel.open(await self._wire.receive())))
        except FleetwardError as e:
            self._end(e, None)

    def _take(self, piece: Piece) -> None:
        if not self._welcome.done():
            self._take_welcome(piece)
        elif piece.kind is Frame.LEAVE:
            words = one_line(piece.data.decode("utf-8", "replace"))
            self._end(Refused(words or "The session is over.", reason="session_over"), words)
        else:
            stream = self._streams.get(piece.stream)
            if stream is None:  # closed here a moment ago
                return
            stream.take(piece)
            if stream.closed:
                self._streams.pop(stream.number, None)

    def _take_welcome(self, piece: Piece) -> None:
        if piece.kind is Frame.LEAVE:
            words = one_line(piece.data.decode("utf-8", "replace"))
            raise Refused(words or "The machine ended the session.", reason="session_over")
        if piece.kind is not Frame.READY or piece.stream != 0:
            raise Untrusted("The machine began with another word.", reason="bad_frame")
        try:
            welcome = msgspec.json.decode(piece.data, type=Welcome)
        except (msgspec.MsgspecError, UnicodeDecodeError) as e:
            raise Malformed(f"Expected the machine's first word; {e}.", reason="bad_frame") from e
        if welcome.session not in (self.session, session_name(self.session)):
            raise Untrusted("The machine opened another session.", reason="another_session")
        self._welcome.set_result(welcome)

    def _end(self, error: FleetwardError, words: str | None) -> None:
        """End everything: in order with `words`, or broken by `error`."""
        for future in (self._welcome, self._over):
            if future.done():
                continue
            if words is None or future is self._welcome:
                future.set_exception(error)
                future.exception()  # seen: somebody may ask later, or nobody
            else:
                future.set_result(words)  # type: ignore[arg-type]  # the other of the two
        for stream in self._streams.values():
            stream.fail(error)
        self._streams.clear()


class BusWire:
    """The two subjects of a session on the bus."""

    def __init__(self, bus: Bus, device: str, session: str) -> None:
        self._bus = bus
        self._in = session_in(device, session)
        self._out = session_out(device, session)
        self._arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def listen(self) -> None:
        """Subscribe, and return when the broker has it: then the connection was let in."""
        await self._bus.subscribe(self._out, self._put)
        await self._bus.flush()

    async def send(self, data: bytes) -> None:
        """Send one message."""
        await self._bus.publish(self._in, data)

    async def receive(self) -> bytes:
        """Return the next message."""
        if not self._arrived.empty():
            return self._arrived.get_nowait()
        getting = asyncio.ensure_future(self._arrived.get())
        ending = asyncio.ensure_future(self._bus.wait_closed())
        try:
            await asyncio.wait({getting, ending}, return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                return getting.result()
        finally:
            for task in (getting, ending):
                task.cancel()
        raise Unreachable(
            "The connection to the bus ended, and with it the session.", reason="bus_closed"
        )

    async def _put(self, message: Inbound) -> None:
        self._arrived.put_nowait(message.payload)


@contextlib.asynccontextmanager
async def open_session(
    api: AccessApi, case: Case, signer: Signer, private: bytes
) -> AsyncIterator[SessionLink]:
    """Connect to the bus and open the session of a granted case. Raises as the steps above say."""
    if case.grant is None:
        raise Refused("There is no grant to open a session with.", reason="not_granted")
    session = session_name(case.grant.hash)
    # 1.
    key = x509.new_key()
    transport = public_key_of(key.public_key())
    payload = make_connection_payload(case.request.owner, case.grant.hash, transport)
    proof = seal(payload, [signer])
    given = await asyncio.to_thread(api.connect, case.request.hash, transport.spki, proof)
    check_connection(given, case)
    async with await _connect(given, x509.write_key(key), session) as bus:
        wire = BusWire(bus, case.request.device, session)
        await wire.listen()
        # 2. and 3.
        async with SessionLink(wire, case, private) as link:
            yield link


def check_connection(given: Connection, case: Case) -> None:
    """Raise `Untrusted` unless the server that is to be dialled stands under the owner's CA."""
    try:
        der = ssl.PEM_cert_to_DER_cert(given.server_ca.strip() + "\n")
    except ValueError as e:
        raise Malformed("Expected the server's CA in PEM.", reason="bad_answer") from e
    if hashlib.sha256(der).hexdigest() != case.policy.roots.server_ca:
        raise Untrusted(
            "The server names a CA that the owner's policy does not. Somebody may stand between.",
            reason="wrong_server_ca",
        )


async def _connect(given: Connection, key_pem: bytes, session: str) -> Bus:
    """Return a connection to the first of the given addresses that takes it.

    Where none can be reached, or a busy broker hangs up, all are tried again for a while.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DIAL_SECONDS
    with tempfile.TemporaryDirectory(prefix="fleetward-session-") as name:
        certificate, key = Path(name) / "certificate.pem", Path(name) / "key.pem"
        atomic_write(certificate, given.certificate.encode("utf-8"))
        atomic_write(key, key_pem)
        pause = DIAL_PAUSE_SECONDS
        while True:
            try:
                return await _dial(given, certificate, key, session)
            except Unreachable as e:
                if e.reason == "no_bus" or loop.time() + pause > deadline:
                    raise
            await asyncio.sleep(pause * SystemRandom().uniform(0.5, 1.5))  # not all at once
            pause *= 2


async def _dial(given: Connection, certificate: Path, key: Path, session: str) -> Bus:
    last: FleetwardError = Unreachable("The server named no bus.", reason="no_bus")
    for address in given.bus[:8]:
        host, port = split_address(address)
        endpoint = BusEndpoint(host, port, given.server_ca, certificate, key)
        try:
            return await connect_bus(endpoint, SessionProfile(session), on_problem=_drop)
        except FleetwardError as e:
            last = e
    raise last


def _drop(problem: BusProblem) -> None:
    """A message that the client dropped is a gap, which the channel finds by itself."""
