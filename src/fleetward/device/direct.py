"""How uplink reaches a guard in the same process: simulated machines, and tests."""

from __future__ import annotations

import asyncio

from fleetward.device.port import Handler, Reply, Request


class DirectPort:
    """Guard in the same process, for simulated machines and for joining."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._news = asyncio.Event()

    async def ask(self, request: Request, body: bytes = b"") -> Reply:
        """Return guard's answer."""
        return self._handler.handle(request, body)

    async def wait_wake(self) -> None:
        """Return when guard has something new."""
        await self._news.wait()
        self._news.clear()

    def wake(self) -> None:
        """Guard calls this; on the event loop's own thread."""
        self._news.set()
