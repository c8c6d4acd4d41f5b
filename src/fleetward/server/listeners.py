"""Running two web listeners on the server's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import ssl
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn

from fleetward.trust.errors import Unreachable

STOP_SECONDS: Final = 5
KEEP_ALIVE_SECONDS: Final = 30
MAX_CONCURRENT: Final = 512
READY_SECONDS: Final = 20.0
PORTS: Final = 12_000
TRIES: Final = 200


class _QuietServer(uvicorn.Server):
    """A listener that leaves signals to the program around it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signal."""
        yield


class Listener:
    """One web listener: HTTP on loopback, or HTTPS with TLS 1.3."""

    def __init__(
        self, app: Any, sock: socket.socket, certificate: tuple[Path, Path] | None = None
    ) -> None:
        self._sock = sock
        options: dict[str, Any] = {}
        if certificate is not None:
            options = {
                "ssl_certfile": str(certificate[0]),
                "ssl_keyfile": str(certificate[1]),
                "ssl_context_factory": _tls13_only,
            }
        self._server = _QuietServer(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                lifespan="off",
                ws="none",
                limit_concurrency=MAX_CONCURRENT,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=STOP_SECONDS,
                **options,
            )
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._sock.getsockname()[1])

    async def start(self) -> None:
        """Begin to serve. Raises `Unreachable` when it does not come up."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._sock]))
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while not self._server.started:
            if self._task.done() or asyncio.get_running_loop().time() > deadline:
                raise Unreachable("A web listener did not start.", reason="listener")
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Finish what is being answered and stop."""
        self._server.should_exit = True
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `Unreachable` when the port is taken."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as e:
        sock.close()
        raise Unreachable(
            f"Port {port} on {host} is taken ({e.strerror}). Stop what uses it, or name another "
            "port in fleetward.toml.",
            reason="port_taken",
        ) from e
    sock.listen(1024)
    return sock


def free_port(apart_from: Collection[int] = ()) -> int:
    """Return a port of loopback that is free now.

    It lies below those that the system gives to outgoing connections, so that none of them takes
    it before it is bound. Raises `Unreachable` when there is none.
    """
    first_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    low = max(1024, first_given - PORTS)
    for _ in range(TRIES):
        port = low + secrets.randbelow(max(1, first_given - low))
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            if port not in apart_from:
                return port
    raise Unreachable("No free port was found on 127.0.0.1.", reason="no_port")


def _tls13_only(config: uvicorn.Config, make: Any) -> ssl.SSLContext:
    context: ssl.SSLContext = make()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
