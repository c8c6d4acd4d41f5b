"""How uplink reaches guard over a Unix socket. A descriptor can come with an answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from typing import Final

from fleetward.device.port import (
    LENGTH,
    Answer,
    Reply,
    Request,
    decode_downward,
    encode_frame,
    frame_length,
)
from fleetward.trust.errors import FleetwardError, Malformed, Unreachable

READ_BYTES: Final = 256 * 1024
MAX_DESCRIPTORS: Final = 4
"""In one message; guard passes one with an answer."""


class SocketPort:
    """Guard behind a socket. Answers come in the order of the questions."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._in = bytearray()
        self._out = bytearray()
        self._passed: deque[int] = deque()
        self._waiting: deque[asyncio.Future[Reply]] = deque()
        self._news = asyncio.Event()
        self._gone = False
        self._loop.add_reader(sock, self._read)

    async def ask(self, request: Request, body: bytes = b"") -> Reply:
        """Return guard's answer. Raises what guard raised, or `Unreachable` (`guard_gone`)."""
        if self._gone:
            raise _guard_gone()
        answer: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting.append(answer)
        # Whoever asks may be cancelled; half a question is never left behind.
        self._out += encode_frame(request, body)
        self._write()
        return await answer

    async def wait_wake(self) -> None:
        """Return when guard has something new. Raises `Unreachable` when it is gone."""
        await self._news.wait()
        if self._gone:
            raise _guard_gone()
        self._news.clear()

    async def close(self) -> None:
        """End the connection."""
        self._end()

    def _write(self) -> None:
        try:
            sent = self._sock.send(self._out)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end()
            return
        del self._out[:sent]
        if self._out:
            self._loop.add_writer(self._sock, self._write)
        else:
            self._loop.remove_writer(self._sock)

    def _read(self) -> None:
        try:
            data, passed, _, _ = socket.recv_fds(self._sock, READ_BYTES, MAX_DESCRIPTORS)
        except BlockingIOError:
            return
        except OSError:
            data, passed = b"", []
        self._passed.extend(passed)
        self._in += data
        try:
            self._take_frames()
        except FleetwardError:
            data = b""  # Whoever sends this is not our guard.
        if not data:
            self._end()

    def _take_frames(self) -> None:
        while len(self._in) >= LENGTH.size:
            length = frame_length(bytes(self._in[: LENGTH.size]))
            if len(self._in) < LENGTH.size + length:
                return
            frame = bytes(self._in[LENGTH.size : LENGTH.size + length])
            del self._in[: LENGTH.size + length]
            self._take(*decode_downward(frame))

    def _take(self, word: object, body: bytes) -> None:
        if not isinstance(word, Answer):
            self._news.set()
            return
        descriptor = self._take_descriptor() if word.descriptor else None
        waiting = self._waiting.popleft() if self._waiting else None
        if waiting is None or waiting.done():
            if descriptor is not None:
                os.close(descriptor)
        elif word.problem is not None:
            waiting.set_exception(word.problem.to_error())
        else:
            waiting.set_result(Reply(body, word.hint, descriptor))

    def _take_descriptor(self) -> int:
        if not self._passed:
            raise Malformed("Expected a descriptor with this answer.", reason="bad_frame")
        return self._passed.popleft()

    def _end(self) -> None:
        if self._gone:
            return
        self._gone = True
        with contextlib.suppress(OSError, ValueError):
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
        self._sock.close()
        while self._passed:
            os.close(self._passed.popleft())
        self._news.set()
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(_guard_gone())
                waiting.exception()  # Seen: whoever asked may be gone himself.


def _guard_gone() -> Unreachable:
    return Unreachable("Guard has ended; it is started again.", reason="guard_gone")
