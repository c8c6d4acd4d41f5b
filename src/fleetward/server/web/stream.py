"""Live events for the console: `EventHub`, and the route that streams them.

Publishing never waits. Each client has a bounded queue; one that reads too slowly loses its queue
and is told so by an event named `lost`, after which it fetches what it shows again. The hub keeps
the last events, so that a client that comes back soon continues where it was.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from fleetward.runtime.http.openapi import MEDIA
from fleetward.server.deeds import JsonValue
from fleetward.server.web.caller import Authenticator
from fleetward.server.web.guard import identify
from fleetward.server.web.permissions import ACTION
from fleetward.server.web.request import ApiRequest
from fleetward.trust.errors import Misuse, Refused, Unreachable, Untrusted

HEARTBEAT_SECONDS: Final = 15.0
"""Also how soon a stream ends after its session has."""
CLIENT_QUEUE: Final = 256
KEPT_EVENTS: Final = 512
MAX_CLIENTS: Final = 256
_LOST: Final = b"event: lost\ndata: {}\n\n"
_HEARTBEAT: Final = b": still here\n\n"


@dataclass(frozen=True, slots=True)
class _Event:
    number: int
    frame: bytes


class _Client:
    """One reader, on one event loop. `offer` and `close` are called on that loop only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: Final = loop
        self._waiting: Final[deque[bytes]] = deque()
        self._ready: Final = asyncio.Event()
        self._closed = False

    def offer(self, frame: bytes) -> None:
        if len(self._waiting) >= CLIENT_QUEUE:
            self._waiting.clear()
            self._waiting.append(_LOST)
        self._waiting.append(frame)
        self._ready.set()

    def close(self) -> None:
        self._closed = True
        self._ready.set()

    async def take(self) -> bytes | None:
        """Return all that waits, a heartbeat after a silence, or None at the end."""
        try:
            await asyncio.wait_for(self._ready.wait(), HEARTBEAT_SECONDS)
        except TimeoutError:
            return _HEARTBEAT
        frames = b"".join(self._waiting)
        self._waiting.clear()
        self._ready.clear()
        if self._closed:
            self._ready.set()
            return frames or None
        return frames


class EventHub:
    """Where the program publishes what just changed. Safe to call from any thread."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._clients: Final[set[_Client]] = set()
        self._kept: Final[deque[_Event]] = deque(maxlen=KEPT_EVENTS)
        self._run: Final = secrets.token_hex(4)
        self._number = 0
        self._closed = False

    def publish(self, topic: str, payload: Mapping[str, JsonValue]) -> None:
        """Send an event to every client. It never waits and keeps no promise of delivery.

        Raises Misuse for a topic that is not one word.
        """
        if not topic.replace(".", "").replace("_", "").isalnum():
            raise Misuse(f"expected a dotted word, got {topic!r}", reason="topic")
        data = msgspec.json.encode(payload)
        with self._lock:
            self._number += 1
            head = f"id: {self._run}-{self._number}\nevent: {topic}\ndata: "
            frame = head.encode("ascii") + data + b"\n\n"
            self._kept.append(_Event(self._number, frame))
            for client in self._clients:
                client.loop.call_soon_threadsafe(client.offer, frame)

    def close(self) -> None:
        """End every stream, and all that come later. A server calls it before it waits for them."""
        with self._lock:
            self._closed = True
            for client in self._clients:
                client.loop.call_soon_threadsafe(client.close)

    @property
    def clients(self) -> int:
        """Return how many read now."""
        return len(self._clients)

    @contextmanager
    def connect(self, last_event_id: str = "") -> Iterator[_Client]:
        """Register a reader on the running loop, with what it missed since `last_event_id`.

        Raises Unreachable when there are too many, or the hub is closed.
        """
        client = _Client(asyncio.get_running_loop())
        with self._lock:
            if self._closed or len(self._clients) >= MAX_CLIENTS:
                raise Unreachable(
                    "no more live pages can be served now: this one refreshes by itself",
                    reason="too_many_streams",
                )
            for frame in self._missed(last_event_id):
                client.offer(frame)
            self._clients.add(client)
        try:
            yield client
        finally:
            with self._lock:
                self._clients.discard(client)

    def _missed(self, last_event_id: str) -> list[bytes]:
        if not last_event_id:
            return []
        run, _, number = last_event_id.partition("-")
        if run != self._run or not (number.isascii() and number.isdigit()) or len(number) > 18:
            return [_LOST]
        missed = [event.frame for event in self._kept if event.number > int(number)]
        complete = self._number - len(missed) <= int(number)
        return missed[-CLIENT_QUEUE // 2 :] if complete and len(missed) < CLIENT_QUEUE else [_LOST]


def make_stream_handler(hub: EventHub, authenticator: Authenticator) -> HTTPRouteHandler:
    """Return the handler of GET /stream."""

    @get("/stream", opt={ACTION: "stream.read", MEDIA: "text/event-stream"})
    async def stream_events(request: ApiRequest) -> Stream:
        """Stream live events.

        Each event has a topic and a small JSON object, which says what to fetch again. A comment
        comes every 15 seconds. With a Last-Event-ID header the stream continues; where it cannot,
        the first event is named `lost`. The stream ends with the session.
        """
        last = request.headers.get("last-event-id", "")
        return Stream(
            _frames(hub, authenticator, request, last),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    return stream_events


async def _frames(
    hub: EventHub, authenticator: Authenticator, request: ApiRequest, last_event_id: str
) -> AsyncIterator[bytes]:
    with hub.connect(last_event_id) as client:
        yield _HEARTBEAT
        while (frame := await client.take()) is not None:
            if frame is _HEARTBEAT:
                try:
                    await identify(request, authenticator)
                except (Untrusted, Refused):
                    return
                except Unreachable:
                    pass  # The database is busy: the next heartbeat asks again.
            yield frame
