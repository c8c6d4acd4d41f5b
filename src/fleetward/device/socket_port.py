"""How uplink reaches guard over a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from fleetward.device.port import (
    LENGTH,
    Answer,
    Reply,
    Request,
    decode_downward,
    encode_frame,
    frame_length,
)
from fleetward.trust.errors import FleetwardError, Unreachable


class SocketPort:
    """Guard behind a socket. Answers come in the order of the questions."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._waiting: deque[asyncio.Future[Reply]] = deque()
        self._news = asyncio.Event()
        self._gone = False
        self._reading = asyncio.create_task(self._read_frames())

    async def ask(self, request: Request, body: bytes = b"") -> Reply:
        """Return guard's answer. Raises what guard raised, or `Unreachable` (`guard_gone`)."""
        if self._gone:
            raise _guard_gone()
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._writer.write(encode_frame(request, body))
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()
        return await answer

    async def wait_wake(self) -> None:
        """Return when guard has something new. Raises `Unreachable` when it is gone."""
        await self._news.wait()
        if self._gone:
            raise _guard_gone()
        self._news.clear()

    async def close(self) -> None:
        """End the connection."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.close()

    async def _read_frames(self) -> None:
        try:
            while True:
                length = frame_length(await self._reader.readexactly(LENGTH.size))
                self._take(*decode_downward(await self._reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError, FleetwardError):
            return
        finally:
            self._gone = True
            self._news.set()
            for waiting in self._waiting:
                if not waiting.done():
                    waiting.set_exception(_guard_gone())

    def _take(self, word: object, body: bytes) -> None:
        if not isinstance(word, Answer):
            self._news.set()
            return
        if not self._waiting:
            return
        waiting = self._waiting.popleft()
        if waiting.done():
            return
        if word.problem is not None:
            waiting.set_exception(word.problem.to_error())
        else:
            waiting.set_result(Reply(body, word.hint))


def _guard_gone() -> Unreachable:
    return Unreachable("Guard has ended; it is started again.", reason="guard_gone")
