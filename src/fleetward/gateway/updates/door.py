"""Letting connections in, so that nobody keeps the others out. Part of the gateway.

1. TLS 1.3, shaken within seconds. Whoever is not done by then is gone.
2. So many connections at most. One more takes the place of the oldest of whoever has most of them,
   counted by address (IPv6: by network of 64 bits), finished or not.
3. A connection that fails, in whatever way, ends alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from fleetward.gateway.updates.limits import group_of
from fleetward.trust.errors import Unreachable

MOST_CONNECTIONS: Final = 512
HANDSHAKE_SECONDS: Final = 8.0
SHUTDOWN_SECONDS: Final = 2.0
BUFFER_BYTES: Final = 64 * 1024
"""Bytes of an answer that wait for a slow reader, and bytes of a question."""
ACCEPT_PAUSE_SECONDS: Final = 0.2

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Awaitable[None]]


class Caller:
    """One connection, from the moment when it was accepted."""

    def __init__(self, group: str, sock: socket.socket) -> None:
        self.group: Final = group
        self.sock: Final = sock
        self.writer: asyncio.StreamWriter | None = None
        self.task: asyncio.Task[None] | None = None

    def end(self) -> None:
        """End it at once, whatever it is at."""
        if self.writer is not None:
            self.writer.transport.abort()
        if self.task is not None:
            self.task.cancel()


class Door:
    """Accepts connections and has `talk` speak with each."""

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        talk: Talk,
        *,
        most: int = MOST_CONNECTIONS,
    ) -> None:
        self._sock = sock
        self._context = context
        self._talk = talk
        self._most = most
        self._callers: dict[Caller, None] = {}

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._callers)

    async def close(self) -> None:
        """End all connections; nobody accepts any more."""
        tasks = [caller.task for caller in self._callers if caller.task is not None]
        for caller in list(self._callers):
            caller.end()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._sock.close()

    async def serve(self) -> None:
        """Accept until cancelled. Raises `OSError` when the socket is gone."""
        self._sock.setblocking(False)
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, place = await loop.sock_accept(self._sock)
            except OSError as e:
                if e.errno == errno.EBADF:
                    raise
                # Out of descriptors or memory, or whoever it was has gone again.
                await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
                continue
            caller = Caller(group_of(str(place[0])), sock)
            if len(self._callers) >= self._most:
                self._end_one()
            self._callers[caller] = None
            caller.task = asyncio.create_task(self._serve(caller))

    def _end_one(self) -> None:
        """Make room: the oldest connection of whoever has most (rule 2)."""
        most = Counter(caller.group for caller in self._callers).most_common(1)[0][0]
        oldest = next(caller for caller in self._callers if caller.group == most)
        del self._callers[oldest]
        oldest.end()

    async def _serve(self, caller: Caller) -> None:
        try:
            reader, writer = await _shake_hands(caller.sock, self._context)
            caller.writer = writer
            await self._talk(reader, writer, caller.group)
        except (OSError, TimeoutError, EOFError):
            pass  # It went away, or was too slow: nothing of ours.
        finally:
            self._callers.pop(caller, None)
            if caller.writer is not None:
                caller.writer.transport.abort()
            caller.sock.close()


async def _shake_hands(
    sock: socket.socket, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    reader = asyncio.StreamReader(BUFFER_BYTES, loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol,
        sock,
        ssl=context,
        ssl_handshake_timeout=HANDSHAKE_SECONDS,
        ssl_shutdown_timeout=SHUTDOWN_SECONDS,
    )
    transport.set_write_buffer_limits(high=BUFFER_BYTES)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `Unreachable` when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(1024)
    except OSError as e:
        sock.close()
        raise Unreachable(
            f"The cache cannot listen on {host}:{port} ({e.strerror}). Stop what uses it, or name "
            "another place as `listen` in cache.toml.",
            reason="port_taken",
        ) from e
    return sock


def make_context(chain: str, key: str) -> ssl.SSLContext:
    """Return what the cache shows. Raises `OSError` (`ssl.SSLError`) for files that are not so."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(chain, key)
    return context
