"""What the cache says over one connection: HTTP/1.1, one kind of path, one range.

    GET /blobs/SHA256                     200 206 404 416 503
    HEAD /blobs/SHA256

1. Heads are read strictly (h11), within a size and a time. A body is not read.
2. A name is 64 hex digits and nothing else. No list, no other path, no word of a client in a log.
3. An answer begins when its first bytes are here, within seconds, or is 503: ask again.
4. A reader gets bytes as fast as he takes them, and ends where he takes less than a trickle.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Final

import h11

from fleetward.gateway.updates.counts import Counts
from fleetward.gateway.updates.filling import Fills
from fleetward.trust.errors import FleetwardError, Unreachable

MAX_HEAD_BYTES: Final = 8 * 1024
HEAD_SECONDS: Final = 10.0
"""For a whole question, its beginning included: a machine asks for the next piece much sooner."""
READY_SECONDS: Final = 8.0
"""Before this a machine's own patience (10 seconds) is not over."""
READY_BYTES: Final = 512 * 1024
"""So much of a range is here before its answer begins: the piece that a machine asks for."""
BLOCK_BYTES: Final = 256 * 1024
"""Read from the disk at once, and in memory for each answer that is slow to be taken."""
WRITE_BYTES: Final = 64 * 1024
WRITE_SECONDS: Final = 10.0
BLOCK_SECONDS: Final = 60.0
"""For one block: less than five kilobytes a second is a trickle."""
RETRY_SECONDS: Final = 2

_PATH: Final = re.compile(rb"/blobs/([0-9a-f]{64})")
_RANGE: Final = re.compile(rb"bytes=([0-9]{0,15})-([0-9]{0,15})")
_PHRASES: Final = {
    200: b"OK",
    206: b"Partial Content",
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    416: b"Range Not Satisfiable",
    503: b"Service Unavailable",
}
_Fields = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a blob, from `begin` up to and without `end`."""

    begin: int
    end: int


class Answers:
    """Speaks with whoever comes in by the door."""

    def __init__(self, fills: Fills, counts: Counts) -> None:
        self._fills = fills
        self._counts = counts

    async def talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, group: str
    ) -> None:
        """Answer one question after another. Raises `OSError` and `TimeoutError` at its end."""
        conn = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        talk = _Talk(conn, reader, writer)
        try:
            while (request := await talk.next_question()) is not None:
                await self._answer(talk, request, group)
                if conn.our_state is not h11.DONE or conn.their_state is not h11.DONE:
                    return
                conn.start_next_cycle()
        except h11.RemoteProtocolError:
            if conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                await talk.say(400)

    async def _answer(self, talk: _Talk, request: h11.Request, group: str) -> None:
        if request.method not in (b"GET", b"HEAD"):
            await talk.say(405, [(b"Allow", b"GET, HEAD")])
            return
        named = _PATH.fullmatch(request.target)
        if named is None:
            await talk.say(404)
            return
        sha256 = named[1].decode("ascii")
        asked = [value for name, value in request.headers if name == b"range"]
        try:
            async with asyncio.timeout(READY_SECONDS):
                total = await self._fills.find(sha256, group)
                span = read_range(asked, total)
                if span is not None and request.method == b"GET":
                    end = min(span.end, span.begin + READY_BYTES)
                    await self._fills.reach(sha256, end, group)
        except (FleetwardError, TimeoutError) as e:
            await self._say_no(talk, e)
            return
        if span is None:
            await talk.say(416, [(b"Content-Range", b"bytes */%d" % total)])
            return
        fields: _Fields = [(b"Accept-Ranges", b"bytes")]
        if asked:
            said = b"bytes %d-%d/%d" % (span.begin, span.end - 1, total)
            fields.append((b"Content-Range", said))
        await talk.begin(206 if asked else 200, span.end - span.begin, fields)
        if request.method == b"GET":
            await self._send(talk, sha256, span, group)
        await talk.finish()

    async def _send(self, talk: _Talk, sha256: str, span: Span, group: str) -> None:
        """Send the bytes of a range. Raises `OSError` and `TimeoutError`: it ends early then.

        Whoever reads sees by the length that an answer ended early.
        """
        for place in range(span.begin, span.end, BLOCK_BYTES):
            length = min(BLOCK_BYTES, span.end - place)
            async with asyncio.timeout(BLOCK_SECONDS):
                try:
                    data = await self._fills.read(sha256, place, length, group)
                except FleetwardError as e:
                    raise ConnectionAbortedError from e
                await talk.give(data)
            self._counts.served_bytes += length

    async def _say_no(self, talk: _Talk, error: FleetwardError | TimeoutError) -> None:
        if isinstance(error, (Unreachable, TimeoutError)):
            self._counts.turned_away += 1
            await talk.say(503, [(b"Retry-After", b"%d" % RETRY_SECONDS)])
        else:
            self._counts.missing += 1
            await talk.say(404)


class _Talk:
    """The bytes of one connection."""

    def __init__(
        self, conn: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._conn = conn
        self._reader = reader
        self._writer = writer

    async def next_question(self) -> h11.Request | None:
        """Return a question, whole, or None at the end. Raises `h11.RemoteProtocolError`."""
        request: h11.Request | None = None
        async with asyncio.timeout(HEAD_SECONDS):
            while True:
                event = self._conn.next_event()
                if event is h11.NEED_DATA:
                    self._conn.receive_data(await self._reader.read(MAX_HEAD_BYTES))
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.EndOfMessage):
                    return request
                elif isinstance(event, h11.Data):
                    raise h11.RemoteProtocolError("a question with a body")
                else:
                    return None

    async def say(self, status: int, fields: _Fields | None = None) -> None:
        """Give an answer without a body."""
        await self.begin(status, 0, fields or [])
        await self.finish()

    async def begin(self, status: int, length: int, fields: _Fields) -> None:
        """Send the head of an answer."""
        head: _Fields = [
            (b"Content-Type", b"application/octet-stream"),
            (b"Content-Length", b"%d" % length),
            (b"X-Content-Type-Options", b"nosniff"),
            *fields,
        ]
        response = h11.Response(status_code=status, headers=head, reason=_PHRASES[status])
        await self._write(self._conn.send(response))

    async def give(self, data: bytes) -> None:
        """Send bytes of the body as fast as they are taken. Raises `TimeoutError`."""
        view = memoryview(data)
        for at in range(0, len(view), WRITE_BYTES):
            await self._write(self._conn.send(h11.Data(data=bytes(view[at : at + WRITE_BYTES]))))

    async def finish(self) -> None:
        """End the answer."""
        await self._write(self._conn.send(h11.EndOfMessage()))

    async def _write(self, data: bytes | None) -> None:
        if data:
            self._writer.write(data)
            async with asyncio.timeout(WRITE_SECONDS):
                await self._writer.drain()


def read_range(asked: list[bytes], total: int) -> Span | None:
    """Return which bytes are asked for, or None where there are none such (RFC 9110, 14.1.2)."""
    if not asked:
        return Span(0, total)
    found = _RANGE.fullmatch(asked[0]) if len(asked) == 1 else None
    if found is None or (not found[1] and not found[2]):
        return None
    if not found[1]:
        begin, end = max(0, total - int(found[2])), total
    else:
        begin = int(found[1])
        end = min(total, int(found[2]) + 1) if found[2] else total
    return Span(begin, end) if begin < end else None
