"""Telling open pages what changed: a server-sent event stream with a few words in it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

HEARTBEAT_SECONDS: Final = 15
MAX_WAITING: Final = 64
"""Events that a slow page may have waiting; beyond that it is told to fetch everything."""
MAX_PAGES: Final = 32
MAX_PAGES_OF_ONE: Final = 4


class Changes:
    """Hands events to every open page. `tell` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: dict[asyncio.Queue[str], asyncio.AbstractEventLoop] = {}
        self._who: dict[asyncio.Queue[str], str] = {}
        self._closed = False

    def tell(self, topic: str) -> None:
        """Say that something changed. It never waits."""
        with self._lock:
            for queue, loop in self._pages.items():
                loop.call_soon_threadsafe(_offer, queue, topic)

    @property
    def pages(self) -> int:
        """How many pages listen now."""
        return len(self._pages)

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        self.tell("")

    async def frames(
        self, who: str = "", is_there: Callable[[], bool] = lambda: True
    ) -> AsyncIterator[bytes]:
        """Yield the frames of one page's stream until the program ends, or `is_there` says no.

        A caller with a name has a few streams only: phones leave room for this computer's pages.
        """
        queue: asyncio.Queue[str] = asyncio.Queue(MAX_WAITING)
        with self._lock:
            others = sum(each == who for each in self._who.values()) if who else 0
            if self._closed or len(self._pages) >= MAX_PAGES or others >= MAX_PAGES_OF_ONE:
                return
            self._pages[queue] = asyncio.get_running_loop()
            self._who[queue] = who
        try:
            yield frame("hello")
            while not self._closed and is_there():
                try:
                    topic = await asyncio.wait_for(queue.get(), HEARTBEAT_SECONDS)
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                if topic and is_there():
                    yield frame(topic)
        finally:
            with self._lock:
                self._pages.pop(queue, None)
                self._who.pop(queue, None)


def frame(topic: str) -> bytes:
    """Return one event."""
    data = msgspec.json.encode({"topic": topic})
    return b"event: " + topic.encode("ascii") + b"\ndata: " + data + b"\n\n"


def _offer(queue: asyncio.Queue[str], topic: str) -> None:
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
        topic = topic and "lost"
    queue.put_nowait(topic)
