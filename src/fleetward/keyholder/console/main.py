"""Running the owner's console: one process, until it is stopped.

Its own pages are on loopback. With a name and a certificate it has a second door, for phones, at
which TLS 1.3 alone is spoken; the certificate is judged before either is opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import uvicorn
from litestar import Litestar

from fleetward.keyholder.console.app import HOST, STATIC, create_app, create_phone_app
from fleetward.keyholder.console.certificate import PhoneFiles, PhoneTls, check_certificate
from fleetward.keyholder.console.keeper import Keeper
from fleetward.keyholder.console.port import bind_phone_port, bind_port
from fleetward.keyholder.console.shunned import find_shunned
from fleetward.runtime.clock import Clock
from fleetward.runtime.files import atomic_write

LOOK_EVERY_SECONDS: Final = 5
RENEW_EVERY_SECONDS: Final = 600
"""How often it looks whether the lease is a day old."""
STOP_SECONDS: Final = 3
MAX_CONNECTIONS: Final = 64
PHONE_PORT: Final = 8443
HTTPS_PORT: Final = 443
"""Browsers leave it out of an origin."""
_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class PhoneWish:
    """How phones shall be served: under which name, by which files."""

    name: str
    files: PhoneFiles
    port: int = PHONE_PORT
    data_folders: tuple[Path, ...] = ()
    """Of servers on this computer: none of their keys may vouch for the console."""
    trusted: Path | None = None
    """CAs in the place of the system's own."""

    @property
    def origin(self) -> str:
        """The whole origin, as browsers write it."""
        return f"https://{self.name}" + (f":{self.port}" if self.port != HTTPS_PORT else "")


@dataclass(frozen=True, slots=True)
class ConsoleWish:
    """How the console shall run. Port 0 takes the one of last time; see `port`."""

    port: int = 0
    ready_file: Path | None = None
    static: Path = STATIC
    phones: PhoneWish | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """Where the console is. The first address has the secret of this start in it."""

    address: str
    phones: str = ""
    """The address for phones; empty when none is served."""
    code: str = ""
    phone_ca_sha256: str = ""
    phones_until_ms: int = 0
    passkeys: int = 0
    """How many of the policy's passkeys count at the phones' address."""


class _Server(uvicorn.Server):
    """Ends the pages' streams first: they would hold up the end."""

    def __init__(self, config: uvicorn.Config, keeper: Keeper) -> None:
        super().__init__(config)
        self._keeper = keeper

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._keeper.changes.close()
        await super().shutdown(sockets)


class Beside(uvicorn.Server):
    """The listener for phones: it leaves signals to the other."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signal."""
        yield


def serve_console(
    keeper: Keeper, clock: Clock, wish: ConsoleWish, on_ready: Callable[[Opened], None]
) -> None:
    """Serve until a signal comes. `on_ready` is told where.

    Raises `Unreachable` when a port is taken, and as `check_certificate` before anything is opened.
    """
    tls = _judge_phones(keeper, clock, wish.phones) if wish.phones else None
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    with contextlib.ExitStack() as sockets:
        listening = [sockets.enter_context(s) for s in bind_port(keeper.desk, wish.port)]
        origin = f"http://{HOST}:{listening[0].getsockname()[1]}"
        keeper.passkeys.serve_at(origin)
        server = _Server(configure(create_app(keeper, secret, clock, wish.static)), keeper)
        opened = Opened(f"{origin}/#secret={secret}")
        beside: tuple[uvicorn.Server, socket.socket] | None = None
        if wish.phones and tls:
            phone_socket = sockets.enter_context(bind_phone_port(wish.phones.port))
            keeper.phones.serve_at(wish.phones.name, wish.phones.origin, tls.ends_ms)
            app = create_phone_app(keeper, clock, wish.static)
            beside = (Beside(configure(app, tls.context)), phone_socket)
            opened = Opened(
                opened.address, wish.phones.origin, keeper.phones.code.make(),
                tls.phone_ca_sha256, tls.ends_ms, keeper.phones.count_passkeys(),
            )  # fmt: skip
        if wish.ready_file is not None:
            ready = {"url": f"{origin}/", "open": opened.address, "pid": os.getpid()}
            if opened.phones:
                ready |= {"phones": opened.phones, "code": opened.code}
            atomic_write(wish.ready_file, msgspec.json.encode(ready))
        on_ready(opened)
        asyncio.run(_serve(server, listening, keeper, beside))


def _judge_phones(keeper: Keeper, clock: Clock, wish: PhoneWish) -> PhoneTls:
    policy = keeper.desk.documents().policy
    shunned = find_shunned(keeper.desk.folder, policy, wish.data_folders)
    return check_certificate(wish.name, wish.files, shunned, clock.wall_ms(), wish.trusted)


def configure(app: Litestar, context: ssl.SSLContext | None = None) -> uvicorn.Config:
    """Return how a listener runs: with `context` by TLS alone, without it in the open."""
    options: dict[str, Any] = {}
    if context is not None:
        options["ssl_context_factory"] = lambda _config, _make: context
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=STOP_SECONDS,
        **options,
    )


async def _serve(
    server: uvicorn.Server,
    listening: list[socket.socket],
    keeper: Keeper,
    beside: tuple[uvicorn.Server, socket.socket] | None,
) -> None:
    duties = [
        asyncio.create_task(_repeat(keeper.look, LOOK_EVERY_SECONDS)),
        asyncio.create_task(_repeat(keeper.renew_when_due, RENEW_EVERY_SECONDS)),
    ]
    phones = asyncio.create_task(beside[0].serve(sockets=[beside[1]])) if beside else None
    try:
        await server.serve(sockets=listening)
    finally:
        if beside and phones:
            beside[0].should_exit = True
            await asyncio.gather(phones, return_exceptions=True)
        for duty in duties:
            duty.cancel()
        await asyncio.gather(*duties, return_exceptions=True)


async def _repeat(act: Callable[[], None], every_seconds: int) -> None:
    while True:
        await asyncio.to_thread(act)
        await asyncio.sleep(every_seconds)
