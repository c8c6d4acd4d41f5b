"""Guard's end of the socket: bounded buffers, frames in, answers out, never blocking."""

from __future__ import annotations

import os
import socket
import sys
from collections import deque
from typing import Final

from fleetward.device.port import (
    LENGTH,
    MAX_FRAME_BYTES,
    Answer,
    Handler,
    Wake,
    decode_request,
    encode_frame,
    frame_length,
    problem_of,
)
from fleetward.trust.errors import FleetwardError, Malformed, Misuse

READ_BYTES: Final = 256 * 1024
MAX_WAITING_BYTES: Final = 2 * MAX_FRAME_BYTES
"""Answers that uplink has not taken yet; above it, nothing more is read from it."""


class Connection:
    """One connected uplink. The caller selects on `sock`, and calls `read` and `write`."""

    def __init__(self, sock: socket.socket, handler: Handler) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._handler = handler
        self._in = bytearray()
        self._out = bytearray()
        self._sent = 0
        self._passing: deque[tuple[int, int]] = deque()
        """Descriptors to pass, each with the place in the stream of the frame that it belongs to.
        """

    @property
    def wants_read(self) -> bool:
        """Whether there is room for answers."""
        return len(self._out) < MAX_WAITING_BYTES

    @property
    def wants_write(self) -> bool:
        """Whether answers wait to be taken."""
        return bool(self._out)

    def wake(self) -> None:
        """Say that there is something new."""
        if self.wants_read:
            self._out += encode_frame(Wake())

    def read(self) -> bool:
        """Read and answer what is there; return whether the connection is still good."""
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        self._in += data
        try:
            self._answer_all()
        except Malformed:
            return False  # Not a frame: whoever sends this is not our uplink.
        return True

    def write(self) -> bool:
        """Write what can be written; return whether the connection is still good."""
        passed = [fd for place, fd in self._passing if place == self._sent]
        places = [place for place, _ in self._passing if place > self._sent]
        piece = bytes(self._out[: places[0] - self._sent]) if places else self._out
        try:
            sent = socket.send_fds(self.sock, [piece], passed) if passed else self.sock.send(piece)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if passed:
            os.close(self._passing.popleft()[1])
        self._sent += sent
        del self._out[:sent]
        return True

    def close(self) -> None:
        """End the connection."""
        self.sock.close()
        for _, descriptor in self._passing:
            os.close(descriptor)
        self._passing.clear()

    def _answer_all(self) -> None:
        while len(self._in) >= LENGTH.size:
            length = frame_length(bytes(self._in[: LENGTH.size]))
            if len(self._in) < LENGTH.size + length:
                return
            frame = bytes(self._in[LENGTH.size : LENGTH.size + length])
            del self._in[: LENGTH.size + length]
            self._out += self._answer(frame)

    def _answer(self, frame: bytes) -> bytes:
        try:
            request, body = decode_request(frame)
            reply = self._handler.handle(request, body)
            passes = reply.descriptor is not None
            if reply.descriptor is not None:
                self._passing.append((self._sent + len(self._out), reply.descriptor))
            return encode_frame(Answer(hint=reply.hint, descriptor=passes), reply.body)
        except FleetwardError as e:
            return encode_frame(Answer(problem=problem_of(e)))
        except Exception as e:  # noqa: BLE001 - the boundary of one request: told, and guard goes on
            sys.stderr.write(f"guard: a request failed: {e!r}\n")
            bug = Misuse(f"Guard failed at a request: {type(e).__name__}.", reason="guard_bug")
            return encode_frame(Answer(problem=problem_of(bug)))
