"""Reading along in an HTTP/1 connection: every request line is recorded before it goes on.

Only requests for the machine's own pages pass: a target that names another host, or a tunnel, is
refused, and so is whatever two readers could understand differently (RFC 9112 section 11.2). That
includes a body where none is expected (RFC 9110 section 9.3.1): a server that does not read it
takes it for the next request.

Whether an upgrade (WebSocket) takes place, the server says. Until it has answered, what comes
behind the request is held back: after its yes (101) the bytes pass unread, and the recording says
so; after its no they are requests like all others. Only the first request of a connection may ask
for one, so that it is known which answer is meant; browsers make a connection of its own for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from fleetward.trust.errors import Refused

MAX_HEAD_BYTES: Final = 32 * 1024
MAX_CHUNK_LINE_BYTES: Final = 1024
_LINE: Final = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([\x21-\x7e]{1,16384}) HTTP/1\.[01]"
)
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*?)[ \t]*")
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[^\r\n]*)?")
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")
_ANSWER: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])")
_ANSWER_BYTES: Final = len("HTTP/1.1 101")
_BODILESS: Final = (b"GET", b"HEAD", b"TRACE")


@dataclass(frozen=True, slots=True)
class Passed:
    """Bytes that may go on, once the labels before them are recorded."""

    labels: tuple[str, ...]
    data: bytes


class HttpGate:
    """One connection, in the direction of the machine."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._left = 0
        self._state = "head"
        self._requests = 0
        self._answer = b""

    def take(self, data: bytes) -> Passed:
        """Return what may go on of all that came. Raises `Refused`."""
        self._held += data
        if self._state == "asked" and len(self._held) > MAX_HEAD_BYTES:
            raise _refuse("too much came before an upgrade was answered")
        return self._pass_on()

    def see(self, answer: bytes) -> Passed:
        """See what the server says, and return what of all that was held back may go on now.

        Raises `Refused` for an answer to an upgrade that is none.
        """
        if self._state != "asked":
            return Passed((), b"")
        self._answer += answer[: _ANSWER_BYTES - len(self._answer)]
        if len(self._answer) < _ANSWER_BYTES:
            return Passed((), b"")
        found = _ANSWER.fullmatch(self._answer)
        if found is None or (found[1].startswith(b"1") and found[1] != b"101"):
            raise _refuse("no answer to an upgrade came that can be read")
        if found[1] != b"101":
            self._state = "head"
            return self._pass_on()
        self._state = "open"
        passed = self._pass_on()
        return Passed(
            ("upgraded: from here on the bytes are not read", *passed.labels), passed.data
        )

    def _pass_on(self) -> Passed:
        labels: list[str] = []
        passed = bytearray()
        while self._held:
            before = len(self._held)
            piece = self._step(labels)
            passed += piece
            if len(self._held) == before:
                break
        return Passed(tuple(labels), bytes(passed))

    def _step(self, labels: list[str]) -> bytes:
        if self._state == "asked":
            return b""
        if self._state == "open":
            return self._cut(len(self._held))
        if self._state == "body":
            piece = self._cut(min(self._left, len(self._held)))
            self._left -= len(piece)
            if not self._left:
                self._state = "head"
            return piece
        if self._state == "chunk":
            return self._read_chunk_line()
        if self._state == "chunk body":
            piece = self._cut(min(self._left, len(self._held)))
            self._left -= len(piece)
            if not self._left:
                self._state = "chunk"
            return piece
        if self._state == "trailer":
            return self._read_trailer()
        return self._read_head(labels)

    def _read_head(self, labels: list[str]) -> bytes:
        end = self._held.find(b"\r\n\r\n")
        if end < 0 or end > MAX_HEAD_BYTES:
            if len(self._held) > MAX_HEAD_BYTES:
                raise _refuse("the head of a request is too long")
            return b""
        head = self._cut(end + 4)
        lines = head[:-4].split(b"\r\n")
        found = _LINE.fullmatch(lines[0])
        if found is None:
            raise _refuse("no request line of HTTP/1 came")
        method, target = found[1], found[2]
        if method == b"CONNECT" or not (target.startswith(b"/") or target == b"*"):
            asked = f"{method.decode()} {target[:200].decode()}"
            raise _refuse(f"only the machine's own pages are opened, not {asked}")
        labels.append(lines[0].decode("ascii"))
        self._requests += 1
        self._state, self._left = _frame(lines[1:])
        if self._state == "asked" and self._requests > 1:
            raise _refuse("an upgrade may only be the first request of a connection")
        if self._state not in ("head", "asked") and method.upper() in _BODILESS:
            raise _refuse(f"a body behind {method.decode()} can be read in two ways")
        if self._state == "chunk" and lines[0].endswith(b"1.0"):
            raise _refuse("chunks in HTTP/1.0 can be read in two ways")
        return head

    def _read_chunk_line(self) -> bytes:
        end = self._held.find(b"\r\n")
        if end < 0 or end > MAX_CHUNK_LINE_BYTES:
            if len(self._held) > MAX_CHUNK_LINE_BYTES:
                raise _refuse("the length of a chunk is too long")
            return b""
        found = _SIZE.fullmatch(bytes(self._held[:end]))
        if found is None:
            raise _refuse("the length of a chunk is no number")
        size = int(found[1], 16)
        # The chunk's own line break is moved with it.
        self._state, self._left = ("chunk body", size + 2) if size else ("trailer", 0)
        return self._cut(end + 2)

    def _read_trailer(self) -> bytes:
        end = self._held.find(b"\r\n")
        if end < 0:
            if len(self._held) > MAX_HEAD_BYTES:
                raise _refuse("a trailer is too long")
            return b""
        if end == 0:
            self._state = "head"
        return self._cut(end + 2)

    def _cut(self, size: int) -> bytes:
        piece = bytes(self._held[:size])
        del self._held[:size]
        return piece


def _frame(lines: list[bytes]) -> tuple[str, int]:
    """Return what follows a head: `head`, `body` with its length, `chunk`, or `asked`."""
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise _refuse("a line of a head is none")
        fields.setdefault(found[1].lower(), []).append(found[2])
    lengths = fields.get(b"content-length", [])
    codings = fields.get(b"transfer-encoding", [])
    if b"upgrade" in fields:
        if lengths or codings:
            raise _refuse("an upgrade with a body can be read in two ways")
        return "asked", 0
    if codings:
        if lengths or [c.lower() for c in codings] != [b"chunked"]:
            raise _refuse("the length of a body can be read in two ways")
        return "chunk", 0
    if not lengths:
        return "head", 0
    if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
        raise _refuse("the length of a body can be read in two ways")
    left = int(lengths[0])
    return ("body", left) if left else ("head", 0)


def _refuse(what: str) -> Refused:
    return Refused(f"The connection was closed: {what}.", reason="http_refused")
