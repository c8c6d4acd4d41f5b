"""Who gets a new connection: the machine's page, by the host of its first request, or our page.

Both read strictly, and both check the host of every request themselves; here it is only looked up.
A connection that does not say its host in time is closed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from uvicorn.protocols.http.h11_impl import H11Protocol

from fleetward.keyholder.technician.hosts import read_host
from fleetward.keyholder.technician.relay import READ_BYTES, Relay
from fleetward.keyholder.technician.relay_heads import Page

HEAD_SECONDS: Final = 10
MAX_LOOKED_AT: Final = 32 * 1024
"""Bytes in which the host must stand; a head is not longer."""
_HOST: Final = re.compile(rb"\r\nhost:([^\r\n]*)(?=\r\n)", re.IGNORECASE)

FindPage: TypeAlias = Callable[[str], Page | None]


@dataclass(frozen=True, slots=True)
class Turn:
    """What connections are handed over to, and those that have not said their host yet."""

    find_page: FindPage
    relay: Relay
    waiting: set[asyncio.Transport] = field(default_factory=set)

    async def stop(self) -> None:
        """End every connection that is not of our page."""
        for transport in list(self.waiting):
            transport.abort()
        await self.relay.stop()


class Switch(asyncio.Protocol):
    """Holds what comes until its host is known, then hands the connection over for good."""

    def __init__(self, turn: Turn, **for_uvicorn: Any) -> None:
        self._turn = turn
        self._for_uvicorn = for_uvicorn
        self._held = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a head."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._turn.waiting.add(transport)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HEAD_SECONDS, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        del exc
        self._wait_no_longer()

    def data_received(self, data: bytes) -> None:
        """Look for the host."""
        self._held += data
        end = self._held.find(b"\r\n\r\n")
        if end >= 0 or len(self._held) > MAX_LOOKED_AT:
            self._hand_over(bytes(self._held[: end + 2] if end >= 0 else b""))

    def _hand_over(self, head: bytes) -> None:
        self._wait_no_longer()
        named = [read_host(each.decode("latin-1")) for each in _HOST.findall(head)]
        page = self._turn.find_page(named[0]) if len(named) == 1 else None
        transport = self._transport
        assert transport is not None
        inner: asyncio.Protocol
        inner = H11Protocol(**self._for_uvicorn) if page is None else self._make_relay(page)
        transport.set_protocol(inner)
        inner.connection_made(transport)
        inner.data_received(bytes(self._held))

    def _wait_no_longer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._turn.waiting.discard(self._transport)

    def _make_relay(self, page: Page) -> asyncio.Protocol:
        reader = asyncio.StreamReader(limit=2 * READ_BYTES)

        async def serve(incoming: asyncio.StreamReader, outgoing: asyncio.StreamWriter) -> None:
            await self._turn.relay.serve(page, incoming, outgoing)

        return asyncio.StreamReaderProtocol(reader, serve)
