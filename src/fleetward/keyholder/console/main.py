"""Running the owner's console: one process, on loopback, until it is stopped."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import uvicorn

from fleetward.keyholder.console.app import HOST, STATIC, create_app
from fleetward.keyholder.console.keeper import Keeper
from fleetward.keyholder.console.port import bind_port
from fleetward.runtime.clock import Clock
from fleetward.runtime.files import atomic_write

LOOK_EVERY_SECONDS: Final = 5
RENEW_EVERY_SECONDS: Final = 600
"""How often it looks whether the lease is a day old."""
STOP_SECONDS: Final = 3
MAX_CONNECTIONS: Final = 64
_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class ConsoleWish:
    """How the console shall run. Port 0 takes the one of last time; see `port`."""

    port: int = 0
    ready_file: Path | None = None
    static: Path = STATIC


class _Server(uvicorn.Server):
    """Ends the pages' streams first: they would hold up the end."""

    def __init__(self, config: uvicorn.Config, keeper: Keeper) -> None:
        super().__init__(config)
        self._keeper = keeper

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._keeper.changes.close()
        await super().shutdown(sockets)


def serve_console(
    keeper: Keeper, clock: Clock, wish: ConsoleWish, on_ready: Callable[[str], None]
) -> None:
    """Serve until a signal comes. `on_ready` is given the address with the secret in it.

    Raises `Unreachable` when the port is taken.
    """
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    with bind_port(keeper.desk, wish.port) as listening:
        origin = f"http://{HOST}:{listening.getsockname()[1]}"
        keeper.passkeys.serve_at(origin)
        url = f"{origin}/"
        app = create_app(keeper, secret, clock, wish.static)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        opened = f"{url}#secret={secret}"
        if wish.ready_file is not None:
            ready = {"url": url, "open": opened, "pid": os.getpid()}
            atomic_write(wish.ready_file, msgspec.json.encode(ready))
        on_ready(opened)
        asyncio.run(_serve(_Server(config, keeper), listening, keeper))


async def _serve(server: uvicorn.Server, listening: socket.socket, keeper: Keeper) -> None:
    duties = [
        asyncio.create_task(_repeat(keeper.look, LOOK_EVERY_SECONDS)),
        asyncio.create_task(_repeat(keeper.renew_when_due, RENEW_EVERY_SECONDS)),
    ]
    try:
        await server.serve(sockets=[listening])
    finally:
        for duty in duties:
            duty.cancel()
        await asyncio.gather(*duties, return_exceptions=True)


async def _repeat(act: Callable[[], None], every_seconds: int) -> None:
    while True:
        await asyncio.to_thread(act)
        await asyncio.sleep(every_seconds)
