"""A session as the requester has it: the channel over the bus, and its streams."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from fleetward.runtime.bus import Bus, Inbound
from fleetward.runtime.channel import open_as_requester
from fleetward.wire.access import WINDOW_BYTES, Frame, OpenStream, Piece, read_piece
from fleetward.wire.subjects import session_in, session_name, session_out

REQUIRE_MUCH: Final = 20.0


async def until(what: Callable[[], object], words: str, seconds: float = REQUIRE_MUCH) -> None:
    """Wait until `what` is true; fail with `words` otherwise."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"waited in vain: {words}"
        await asyncio.sleep(0.01)


@dataclass
class StreamEnd:
    """One stream, as the requester has it."""

    session: RequesterEnd
    number: int
    scope: int
    data: bytearray = field(default_factory=bytearray)
    ready: dict[str, Any] | None = None
    ended: bool = False
    closed: str | None = None
    received: int = 0
    unreturned: int = 0
    credit: int = WINDOW_BYTES
    keep: bool = True

    async def type(self, text: str) -> None:
        """Send text."""
        await self.send(text.encode())

    async def send(self, data: bytes) -> None:
        """Send bytes within the credit."""
        while data:
            await until(lambda: self.credit > 0 or self.closed is not None, "credit comes")
            assert self.closed is None, self.closed
            piece = data[: min(65536, self.credit)]
            data = data[len(piece) :]
            self.credit -= len(piece)
            await self.session.say(Piece(Frame.DATA, self.scope, self.number, piece))

    async def end(self) -> None:
        """Say that no more comes."""
        await self.session.say(Piece(Frame.END, self.scope, self.number))

    async def close(self) -> None:
        """Close the stream."""
        await self.session.say(Piece(Frame.CLOSE, self.scope, self.number))

    async def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size."""
        data = columns.to_bytes(2, "big") + rows.to_bytes(2, "big")
        await self.session.say(Piece(Frame.RESIZE, self.scope, self.number, data))

    async def until(self, text: bytes, seconds: float = REQUIRE_MUCH) -> bytes:
        """Wait for text, and return what came up to its end, which is taken away."""
        await until(
            lambda: text in self.data, f"{text!r}; came {bytes(self.data[-500:])!r}", seconds
        )
        place = self.data.index(text) + len(text)
        taken = bytes(self.data[:place])
        del self.data[:place]
        return taken

    async def until_closed(self, seconds: float = REQUIRE_MUCH) -> str:
        """Wait for the stream's end, and return its words."""
        await until(lambda: self.closed is not None, "the stream closes", seconds)
        assert self.closed is not None
        return self.closed


class RequesterEnd:
    """A session as the requester has it: the channel over the bus, and its streams."""

    def __init__(self, bus: Bus, device: str, session: str, keys: tuple[bytes, bytes]) -> None:
        self.bus = bus
        self.session = session
        self._in = session_in(device, session_name(session))
        self._out = session_out(device, session_name(session))
        self.enc, self.channel = open_as_requester(keys[0], keys[1], session)
        self.ready: dict[str, Any] | None = None
        self.left: str | None = None
        self.streams: dict[int, StreamEnd] = {}
        self.records = 0
        self.answered = asyncio.Event()
        self.on_data: Callable[[StreamEnd, bytes], None] | None = None

    async def begin(self) -> RequesterEnd:
        """Open the channel: send the first bytes until the machine answers."""
        self._subscription = await self.bus.subscribe(
            self._out, self._take, pending=(65_536, 64 * 1024 * 1024)
        )
        deadline = time.monotonic() + REQUIRE_MUCH
        while not self.records:
            assert time.monotonic() < deadline, "the machine answers"
            await self.bus.publish(self._in, self.enc)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.answered.wait(), 0.05)
        return self

    async def open(self, scope: int, **wanted: Any) -> StreamEnd:
        """Open a stream, and wait until it is ready or closed."""
        stream = await self.ask(scope, **wanted)
        await until(lambda: stream.ready is not None or stream.closed is not None, "it opens")
        return stream

    async def ask(self, scope: int, **wanted: Any) -> StreamEnd:
        """Open a stream without waiting."""
        number = len(self.streams) + 1
        stream = self.streams[number] = StreamEnd(self, number, scope)
        data = msgspec.json.encode(OpenStream(**wanted))
        await self.say(Piece(Frame.OPEN, scope, number, data))
        return stream

    async def say(self, piece: Piece) -> None:
        """Send one frame."""
        await self.say_raw(self.channel.seal(piece.to_bytes()))

    async def say_raw(self, record: bytes) -> None:
        """Send whatever bytes."""
        await self.bus.publish(self._in, record)

    async def leave(self) -> None:
        """End the session."""
        await self.say(Piece(Frame.LEAVE, 0, 0, b"done"))

    async def _take(self, message: Inbound) -> None:
        piece = read_piece(self.channel.open(message.payload))
        self.records += 1
        self.answered.set()
        if piece.kind is Frame.READY and piece.stream == 0:
            self.ready = json.loads(piece.data)
        elif piece.kind is Frame.LEAVE:
            self.left = piece.data.decode()
        else:
            await self._take_for(self.streams[piece.stream], piece)

    async def _take_for(self, stream: StreamEnd, piece: Piece) -> None:
        if piece.kind is Frame.DATA:
            stream.received += len(piece.data)
            if stream.keep:
                stream.data += piece.data
            if self.on_data is not None:
                self.on_data(stream, piece.data)
            stream.unreturned += len(piece.data)
            if stream.unreturned >= WINDOW_BYTES // 2:
                size = stream.unreturned.to_bytes(4, "big")
                stream.unreturned = 0
                await self.say(Piece(Frame.CREDIT, stream.scope, stream.number, size))
        elif piece.kind is Frame.READY:
            stream.ready = json.loads(piece.data)
        elif piece.kind is Frame.CREDIT:
            stream.credit += int.from_bytes(piece.data, "big")
        elif piece.kind is Frame.END:
            stream.ended = True
        elif piece.kind is Frame.CLOSE:
            stream.closed = piece.data.decode()
