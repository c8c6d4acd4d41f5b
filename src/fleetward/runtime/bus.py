"""One connection to the bus, over mutually authenticated TLS 1.3 from its first byte.

Three profiles. A **device** connects with its certificate alone, has its own inbox, and its session
ends when the connection ends: `stay_connected` then makes another after a random pause, so that a
whole fleet does not return in one second. A part of the **server** also signs the broker's
challenge with a key made at this start; its connection comes back by itself, with its
subscriptions. The requester of one **session** connects as a device does, and speaks on the two
subjects of that session alone.

`connect_bus` returning proves TLS and nothing more: the broker may still be asking whether the
certificate may come in. A device must prove the session by a request that is answered.

This module is the only one that imports the NATS client. Failures of the client are translated
here: `Unreachable` (try later), `Refused` (the broker said no), `Untrusted` (not our server).
"""

import asyncio
import contextlib
import logging
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, cast

from fleetward.trust.errors import (
    FleetwardError,
    Malformed,
    Misuse,
    Refused,
    Unreachable,
    Untrusted,
)
from fleetward.wire.subjects import (
    INTAKE_QUEUE,
    INTAKE_SUBJECTS,
    Up,
    check_reply,
    inbox_prefix,
    parse_up,
)

# The client imports aiohttp when it finds it, for WebSocket, which we do not speak: 17 MB more in
# two agent processes. A None in sys.modules makes that one import fail; it is removed at once, so
# that a program which does want aiohttp can still have it.
_modules = cast(dict[str, Any], sys.modules)
_hide_aiohttp = "aiohttp" not in _modules
if _hide_aiohttp:
    _modules["aiohttp"] = None
try:
    import nats.errors
    from nats.aio.client import Client
    from nats.aio.msg import Msg
finally:
    if _hide_aiohttp:
        del _modules["aiohttp"]

CONNECT_SECONDS: Final = 5
"""One whole attempt: TCP, TLS and the first exchange."""
CLOSE_SECONDS: Final = 1
PING_SECONDS: Final = 30
RECONNECT_WINDOW_SECONDS: Final = 10.0
"""A device returns at a random moment of this window, so that 5,000 need ten seconds."""
LONGEST_WINDOW_SECONDS: Final = 120.0
INTERNAL_RECONNECT_SECONDS: Final = 0.25
DEVICE_PENDING: Final = (256, 4 * 1024 * 1024)
SERVER_PENDING: Final = (65_536, 64 * 1024 * 1024)
"""Messages and bytes that may wait in one subscription; more are dropped and reported."""
SESSION_PENDING: Final = (65_536, 96 * 1024 * 1024)
"""All windows of all streams of a session: a message that is dropped would end it."""


class Signer(Protocol):
    """Answers the broker's challenge for a part of the server."""

    @property
    def public(self) -> str:
        """The public nkey."""
        ...

    def sign_nonce(self, nonce: str) -> bytes:
        """The signature, as the protocol carries it."""
        ...


@dataclass(frozen=True, slots=True)
class BusEndpoint:
    """Where the broker is, whom to believe, and the certificate to show (leaf first, then CAs)."""

    host: str
    port: int
    server_ca_pem: str
    certificate_file: Path
    key_file: Path

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tls://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """The connection of one machine."""

    device_id: str


@dataclass(frozen=True, slots=True)
class SessionProfile:
    """The connection of who was granted one session, for its two subjects alone."""

    session: str


@dataclass(frozen=True, slots=True)
class InternalProfile:
    """A connection of the server itself. `name` is shown in the broker's lists."""

    name: str
    signer: Signer


Profile = DeviceProfile | SessionProfile | InternalProfile


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message that arrived. `reply` is empty when no answer is wanted."""

    subject: str
    reply: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class BusProblem:
    """Something went wrong while nobody was waiting: a stable kind, and words."""

    kind: str
    words: str


Handler = Callable[[Inbound], Awaitable[None]]
DeviceHandler = Callable[[str, Up, bytes], Awaitable[bytes | None]]
OnProblem = Callable[[BusProblem], None]


class Subscription:
    """One subscription, to end before its connection does."""

    def __init__(self, subscription: Any, forget: Callable[[], None]) -> None:
        self._subscription = subscription
        self._forget = forget

    async def end(self) -> None:
        """Hear no more. Raises `Unreachable` when the connection is gone, and with it this."""
        self._forget()
        with _translated("unsubscribe"):
            await self._subscription.unsubscribe()


class Bus:
    """A connection, made by `connect_bus`. Close it, or use it as a context manager.

    The client's own reconnecting is not used: it cannot be stopped reliably, and it gives up for
    good at an error that the next attempt would not meet.
    """

    def __init__(
        self,
        endpoint: BusEndpoint,
        profile: Profile,
        on_problem: OnProblem,
    ) -> None:
        self._endpoint = endpoint
        self._profile = profile
        self._on_problem = on_problem
        self._returns = isinstance(profile, InternalProfile)
        self._context = make_tls_context(endpoint)
        logging.getLogger("asyncio").addFilter(_is_worth_a_line)
        self._client = Client()
        self._subscriptions: list[tuple[str, str, Handler]] = []
        self._reopening: asyncio.Task[None] | None = None
        self._closing = False
        self._closed = asyncio.Event()

    async def __aenter__(self) -> "Bus":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def is_connected(self) -> bool:
        """Whether messages flow now. A server's connection comes back by itself."""
        return self._client.is_connected

    async def wait_closed(self) -> None:
        """Return when the connection has ended for good."""
        await self._closed.wait()

    async def request(self, subject: str, payload: bytes, *, timeout_seconds: float) -> bytes:
        """Ask and return the answer. Raises `Unreachable` when none comes in time."""
        with _translated(subject):
            answer = await self._client.request(subject, payload, timeout=timeout_seconds)
        return answer.data

    async def publish(self, subject: str, payload: bytes) -> None:
        """Say it once; nobody promises that it arrives. Raises `Unreachable` when closed."""
        with _translated(subject):
            await self._client.publish(subject, payload)

    async def flush(self, *, timeout_seconds: int = CONNECT_SECONDS) -> None:
        """Return when the broker has seen all that was said. Raises `Unreachable`."""
        with _translated("flush"):
            await self._client.flush(timeout_seconds)

    async def subscribe(
        self,
        subject: str,
        handler: Handler,
        *,
        queue: str = "",
        pending: tuple[int, int] | None = None,
    ) -> Subscription:
        """Give every message on `subject` to `handler`, one after the other.

        `pending` are messages and bytes that may wait for the handler; more are dropped.

        An error that the handler lets out goes to `on_problem`; the subscription goes on.
        Raises `Unreachable` when the connection is closed.
        """
        with _translated(subject):
            found = await self._subscribe(self._client, subject, queue, handler, pending)
        kept = (subject, queue, handler)
        self._subscriptions.append(kept)
        return Subscription(found, lambda: self._subscriptions.remove(kept))

    def reload_certificate(self) -> None:
        """Show the renewed certificate from the next connection on. Raises `Malformed`."""
        _load_certificate(self._context, self._endpoint)

    async def close(self) -> None:
        """Say what is still waiting, then close. Closing twice is fine."""
        self._closing = True
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.gather(self._reopening, return_exceptions=True)
        await _close_client(self._client)
        self._closed.set()

    async def open(self) -> None:
        """Connect; `connect_bus` calls it. Raises as `connect_bus` does."""
        client = Client()
        early: list[Exception] = []
        connected = False

        async def on_error(error: Exception) -> None:
            if connected:
                self._on_problem(_describe(error))
            else:
                early.append(error)

        options = _client_options(client, self._endpoint, self._profile)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await client.connect(tls=self._context, error_cb=on_error, **options)
                for subject, queue, handler in self._subscriptions:
                    await self._subscribe(client, subject, queue, handler)
        except (OSError, nats.errors.Error, TimeoutError) as e:
            await _close_client(client)
            raise _connect_error(self._endpoint, early[-1] if early else e) from e
        except BaseException:
            await _close_client(client)
            raise
        connected = True
        self._client = client
        # Not the client's own word of its end: that never comes when its last bytes could not be
        # written. Who reads no more has ended; one that has already is told in a moment.
        assert client._reading_task is not None
        client._reading_task.add_done_callback(lambda _: self._ended(client))

    def _ended(self, client: Client) -> None:
        if client is not self._client:
            return
        if self._closing or not self._returns:
            self._closed.set()
        elif self._reopening is None or self._reopening.done():
            self._reopening = asyncio.create_task(self._reopen(), name="reopen the bus")

    async def _reopen(self) -> None:
        await _close_client(self._client)
        while not self._closing:
            await asyncio.sleep(INTERNAL_RECONNECT_SECONDS)
            try:
                await self.open()
            except FleetwardError as e:
                self._on_problem(BusProblem(e.reason, e.message))
            else:
                return

    async def _subscribe(
        self,
        client: Client,
        subject: str,
        queue: str,
        handler: Handler,
        pending: tuple[int, int] | None = None,
    ) -> Any:
        async def deliver(message: Msg) -> None:
            await handler(Inbound(message.subject, message.reply, message.data))

        messages, size = pending or _pending_of(self._profile)
        return await client.subscribe(
            subject,
            queue=queue,
            cb=deliver,
            pending_msgs_limit=messages,
            pending_bytes_limit=size,
        )


async def connect_bus(endpoint: BusEndpoint, profile: Profile, *, on_problem: OnProblem) -> Bus:
    """Open one connection.

    Raises `Unreachable` when nothing answers in time or the broker hangs up, `Untrusted` when the
    server's certificate is not by the CA that we expect, `Refused` when the broker says that it
    does not take ours, `Malformed` when our own certificate or key cannot be read. A refusal can
    be overtaken by the end of the connection (reason `bus_hung_up`): do not tell them apart.
    """
    bus = Bus(endpoint, profile, on_problem)
    await bus.open()
    return bus


def make_tls_context(endpoint: BusEndpoint) -> ssl.SSLContext:
    """TLS 1.3 only, our server's CA only, our certificate. Raises `Malformed`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(cadata=endpoint.server_ca_pem)
    except (ssl.SSLError, ValueError) as e:
        raise Malformed(
            "expected the CA certificate of the server as PEM; other text came; join again",
            reason="server_ca_malformed",
        ) from e
    _load_certificate(context, endpoint)
    return context


async def serve_devices(
    bus: Bus, handler: DeviceHandler, *, concurrency: int, on_problem: OnProblem
) -> None:
    """Answer what machines say, `concurrency` of them at a time, as one of the intake's queue.

    The handler gets the id of the machine (the broker has checked it), the word and the bytes. What
    it returns is the answer; None or an error means none, and the machine tries again. A message
    whose answer would go anywhere but to the machine's own inbox is dropped.
    """
    room = asyncio.Semaphore(concurrency)
    running: set[asyncio.Task[None]] = set()

    async def answer(device_id: str, word: Up, message: Inbound) -> None:
        try:
            said = await handler(device_id, word, message.payload)
            if said is not None and message.reply:
                await bus.publish(message.reply, said)
        except Exception as e:  # noqa: BLE001  the boundary of one message: recorded, never silent
            on_problem(BusProblem("handler_failed", f"{message.subject}: {e!r}"))
        finally:
            room.release()

    async def take(message: Inbound) -> None:
        try:
            device_id, word = parse_up(message.subject)
            if message.reply:
                check_reply(device_id, message.reply)
        except Malformed as e:
            on_problem(BusProblem(e.reason, e.message))
            return
        await room.acquire()
        task = asyncio.create_task(answer(device_id, word, message))
        running.add(task)
        task.add_done_callback(running.discard)

    await bus.subscribe(INTAKE_SUBJECTS, take, queue=INTAKE_QUEUE)


def reconnect_delay_seconds(failures: int, spread: float) -> float:
    """How long a device waits before it connects again. `spread` is random, from 0 to below 1."""
    window = min(RECONNECT_WINDOW_SECONDS * 2.0 ** min(failures, 8), LONGEST_WINDOW_SECONDS)
    return spread * window


async def stay_connected(
    connect: Callable[[], Awaitable[Bus]],
    session: Callable[[Bus], Awaitable[None]],
    *,
    delay_seconds: Callable[[int], float],
    on_failure: Callable[[FleetwardError], None],
) -> None:
    """Run `session` on one connection after another, until cancelled.

    `session` starts with the hello that proves the connection, and is cancelled when it ends.
    `delay_seconds` gets the number of failures in a row; a session that was proved and then lost is
    not one. Errors of our families are told to `on_failure`; every other error goes up.
    """
    failures = 0
    while True:
        try:
            async with await connect() as bus:
                await _run_session(bus, session)
            failures = 0
        except FleetwardError as e:
            failures += 1
            on_failure(e)
        _stay_cancelled()
        await asyncio.sleep(delay_seconds(failures))


def _stay_cancelled() -> None:
    """End a task that was cancelled: the client forgets it when that happens while it flushes."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _run_session(bus: Bus, session: Callable[[Bus], Awaitable[None]]) -> None:
    working = asyncio.ensure_future(session(bus))
    ending = asyncio.ensure_future(bus.wait_closed())
    try:
        await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in (working, ending):
            task.cancel()
        await asyncio.gather(working, ending, return_exceptions=True)


def _client_options(client: Client, endpoint: BusEndpoint, profile: Profile) -> dict[str, Any]:
    options: dict[str, Any] = {
        "servers": endpoint.url,
        "tls_handshake_first": True,
        "connect_timeout": CONNECT_SECONDS,
        "ping_interval": PING_SECONDS,
        "allow_reconnect": False,
        "max_reconnect_attempts": 1,
        "reconnect_time_wait": 0,
    }
    if isinstance(profile, DeviceProfile):
        return {
            **options,
            "name": profile.device_id,
            "inbox_prefix": inbox_prefix(profile.device_id),
        }
    if isinstance(profile, SessionProfile):
        return {**options, "name": profile.session}
    # The client sends a public nkey only when it read the seed itself, by another package.
    client._public_nkey = profile.signer.public
    return {**options, "name": profile.name, "signature_cb": profile.signer.sign_nonce}


def _pending_of(profile: Profile) -> tuple[int, int]:
    if isinstance(profile, DeviceProfile):
        return DEVICE_PENDING
    return SESSION_PENDING if isinstance(profile, SessionProfile) else SERVER_PENDING


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Drop the one notice that asyncio logs whenever a TLS connection of the client ends."""
    return not record.getMessage().startswith("returning true from eof_received()")


async def _close_client(client: Client) -> None:
    """Close, and wait a little. Where a TLS handshake failed, the client would wait for ever."""
    if not client.is_closed:
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await client.close()
    # What the client leaves behind when it could not write its last bytes.
    left = cast(Any, client)
    for subscription in left._subs.values():
        if subscription._wait_for_msgs_task is not None:
            subscription._wait_for_msgs_task.cancel()
    if left._transport is not None:
        left._transport.close()


def _load_certificate(context: ssl.SSLContext, endpoint: BusEndpoint) -> None:
    try:
        context.load_cert_chain(endpoint.certificate_file, endpoint.key_file)
    except (OSError, ssl.SSLError) as e:
        raise Malformed(
            f"expected a certificate in {endpoint.certificate_file} and its key beside it; "
            f"{e.strerror or e}; renew the certificate or join again",
            reason="own_certificate_malformed",
        ) from e


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
        _stay_cancelled()
    except (nats.errors.BadSubjectError, nats.errors.MaxPayloadError) as e:
        raise Misuse(f"the bus cannot carry this on {what}: {e}", reason="bus_misused") from e
    except nats.errors.NoRespondersError as e:
        raise Unreachable(
            f"expected somebody to answer on {what}; nobody listens; try again later",
            reason="bus_nobody_listens",
        ) from e
    except (nats.errors.TimeoutError, TimeoutError) as e:
        raise Unreachable(
            f"expected an answer on {what} in time; none came; try again later",
            reason="bus_no_answer",
        ) from e
    except (nats.errors.Error, OSError) as e:
        raise Unreachable(
            f"expected an open connection for {what}; {e}; connect again", reason="bus_closed"
        ) from e


def _connect_error(endpoint: BusEndpoint, error: BaseException) -> FleetwardError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Untrusted(
            f"expected our server at {endpoint.url}; its certificate says otherwise: "
            f"{error.verify_message}; somebody may stand between, or the server has a new CA",
            reason="server_certificate_untrusted",
        )
    if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
        return Refused(
            f"expected {endpoint.url} to take our certificate; it said {error.reason}; "
            "renew the certificate or join again",
            reason="certificate_refused",
        )
    if "authorization violation" in str(error).lower():
        return Refused(
            f"expected {endpoint.url} to let us in; it refused this certificate; "
            "ask the owner whether this machine is still on the roster",
            reason="bus_refused",
        )
    if isinstance(error, ConnectionResetError) or "empty response" in str(error):
        return Unreachable(
            f"expected {endpoint.url} to greet us; it hung up: it is stopping, or it does not let "
            "this certificate in; try again later, and look at the machine on the server",
            reason="bus_hung_up",
        )
    return Unreachable(
        f"expected a broker at {endpoint.url}; {error or type(error).__name__}; try again later",
        reason="bus_unreachable",
    )


def _describe(error: Exception) -> BusProblem:
    words = str(error) or type(error).__name__
    if "permissions violation" in words.lower():
        return BusProblem("permissions_violation", words)
    if isinstance(error, nats.errors.SlowConsumerError):
        return BusProblem("slow_consumer", words)
    if isinstance(error, FleetwardError):
        return BusProblem(error.reason, error.message)
    if isinstance(error, (OSError, nats.errors.Error)):
        return BusProblem("connection", words)
    return BusProblem("handler_failed", repr(error))
