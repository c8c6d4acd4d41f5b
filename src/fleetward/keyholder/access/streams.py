"""One stream of a session, at the requester's end: ordered bytes both ways, with credits.

Each direction begins with `WINDOW_BYTES`; who receives gives back what he has handed on, in halves
of a window. So a slow reader holds up his own stream and no other, and never fills a memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from fleetward.trust.errors import FleetwardError, Refused, Untrusted
from fleetward.wire.access import MAX_DATA_BYTES, WINDOW_BYTES, Frame, Piece

CREDIT_BYTES: Final = 4
Send = Callable[[Piece], Awaitable[None]]


class Stream:
    """A stream that was asked for. `wait_ready` before anything else."""

    def __init__(self, scope: int, number: int, send: Send) -> None:
        self.scope: Final = scope
        self.number: Final = number
        self._send = send
        self._ready: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._arrived: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._window = WINDOW_BYTES
        self._room = WINDOW_BYTES
        self._owed = 0
        self._may_send = asyncio.Event()
        self._may_send.set()
        self._ended_here = False
        self._ended_there = False
        self._error: FleetwardError | None = None
        self.closed = False
        self.words = ""
        """What the machine said when it closed the stream; empty when all is well."""

    async def wait_ready(self) -> bytes:
        """Return what the handler says of itself. Raises `Refused` when nothing is opened."""
        return await asyncio.shield(self._ready)

    async def send(self, data: bytes) -> None:
        """Send bytes, as the machine takes them. Raises `Refused` on a stream that is over."""
        for start in range(0, len(data), MAX_DATA_BYTES):
            await self._send_one(data[start : start + MAX_DATA_BYTES])

    async def receive(self) -> bytes:
        """Return the next bytes, or none at their end. Raises what ended the session."""
        while not self._arrived:
            if self._error is not None:
                raise self._error
            if self._ended_there or self.closed:
                return b""
            self._changed.clear()
            await self._changed.wait()
        data = self._arrived.popleft()
        await self._give_back(len(data))
        return data

    async def end(self) -> None:
        """Say that no more comes from here."""
        if not self._ended_here and not self.closed and self._error is None:
            self._ended_here = True
            await self._send(Piece(Frame.END, self.scope, self.number))

    async def resize(self, columns: int, rows: int) -> None:
        """Tell a terminal its size."""
        if not self.closed and self._error is None:
            size = columns.to_bytes(2, "big") + rows.to_bytes(2, "big")
            await self._send(Piece(Frame.RESIZE, self.scope, self.number, size))

    async def close(self) -> None:
        """Be done with it, whatever is still on its way."""
        if not self.closed and self._error is None:
            self.closed = True
            await self._send(Piece(Frame.CLOSE, self.scope, self.number))
            self._wake()

    async def wait_closed(self) -> str:
        """Return what the machine said when it closed the stream."""
        while not self.closed:
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()
        return self.words

    def take(self, piece: Piece) -> None:
        """Take a frame of this stream. Raises `Untrusted` for one that breaks the contract."""
        if piece.kind is Frame.READY:
            if not self._ready.done():
                self._ready.set_result(piece.data)
        elif piece.kind is Frame.DATA:
            self._take_data(piece.data)
        elif piece.kind is Frame.CREDIT:
            self._take_credit(piece.data)
        elif piece.kind is Frame.END:
            self._ended_there = True
        elif piece.kind is Frame.CLOSE:
            self.closed = True
            self.words = piece.data.decode("utf-8", "replace")
            self._refuse_ready()
        else:
            raise Untrusted("The machine sent what only a requester sends.", reason="bad_frame")
        self._wake()

    def fail(self, error: FleetwardError) -> None:
        """End it with the session."""
        self._error = error
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # it may be that nobody waits any more
        self._wake()

    async def _send_one(self, data: bytes) -> None:
        while data:
            if self._error is not None:
                raise self._error
            if self.closed or self._ended_here:
                raise Refused(self.words or "The stream is over.", reason="stream_closed")
            if self._window == 0:
                self._may_send.clear()
                await self._may_send.wait()
                continue
            size = min(len(data), self._window)
            self._window -= size
            part, data = data[:size], data[size:]
            await self._send(Piece(Frame.DATA, self.scope, self.number, part))

    async def _give_back(self, size: int) -> None:
        self._owed += size
        if self._owed >= WINDOW_BYTES // 2 and not self.closed and not self._ended_there:
            owed, self._owed = self._owed, 0
            self._room += owed
            credit = owed.to_bytes(CREDIT_BYTES, "big")
            await self._send(Piece(Frame.CREDIT, self.scope, self.number, credit))

    def _take_data(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room < 0 or self._ended_there:
            raise Untrusted("The machine sent more than it may.", reason="over_window")
        if data:
            self._arrived.append(data)

    def _take_credit(self, data: bytes) -> None:
        self._window += int.from_bytes(data, "big")
        if len(data) != CREDIT_BYTES or self._window > 2 * WINDOW_BYTES:
            raise Untrusted("The machine gave a credit that it may not.", reason="over_window")

    def _refuse_ready(self) -> None:
        if not self._ready.done():
            words = self.words or "The machine did not open it."
            self._ready.set_exception(Refused(words, reason="stream_refused"))
            self._ready.exception()

    def _wake(self) -> None:
        self._changed.set()
        self._may_send.set()
