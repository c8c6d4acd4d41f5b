"""A web page of the machine, at its own host here: each request is a stream of the session.

1. The request is read strictly (h11), and is for this very host, from this very page.
2. A stream is opened on the scope; the head goes on as `relay_heads` says, its body as it comes.
3. The answer's head comes back as `relay_heads` says; its body as it comes. Both ways one piece is
   read only when the one before it was taken, so that a slow reader holds up his own stream alone.
4. After a yes (101) to an upgrade the bytes pass as they are, both ways, until either side ends.

Whatever the machine sends is bytes for the browser; nothing of it is understood here but heads.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, TypeAlias

import h11

from fleetward.keyholder.access.connecting import SessionLink
from fleetward.keyholder.access.streams import Stream
from fleetward.keyholder.technician.relay_heads import (
    Blocked,
    Page,
    check_request,
    pass_fields,
    to_browser,
    to_machine,
    wants_upgrade,
)
from fleetward.keyholder.technician.relay_words import blocked_words, make_refusal
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable, Untrusted
from fleetward.wire.access import OpenStream

READ_BYTES: Final = 64 * 1024
MAX_HEAD_BYTES: Final = 32 * 1024
"""As much as the machine's own reader takes (`device.access.http_gate`)."""
MAX_RELAYED: Final = 48
"""Connections at once; a session has 64 streams, and terminals and files need some."""
CLOSE_SECONDS: Final = 1.0
"""So long a browser may take to read what was sent last; then the connection is cut."""
IDLE_SECONDS: Final = 60
"""A browser's connection that asks for nothing is closed after so long."""

FindLink: TypeAlias = Callable[[], SessionLink | None]


class Relay:
    """Serves the machine's pages, over the link that there is."""

    def __init__(self, find_link: FindLink) -> None:
        self._find_link = find_link
        self._serving: set[asyncio.Task[None]] = set()

    async def serve(
        self, page: Page, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve one connection of a browser until it ends. Raises nothing."""
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        try:
            await self._serve(Exchange(page, reader, writer))
        except (OSError, h11.ProtocolError, asyncio.CancelledError, TimeoutError):
            pass
        finally:
            await _close(writer)

    async def stop(self) -> None:
        """End every connection."""
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, exchange: Exchange) -> None:
        while (request := await exchange.next_request()) is not None:
            try:
                await self._answer(exchange, request)
            except Untrusted as e:
                await exchange.refuse(403, "This page was not asked for here", e.message)
            except Refused as e:
                await exchange.refuse(403, "The machine’s page is not shown", e.message)
            except (Unreachable, Malformed) as e:
                await exchange.refuse(502, "The machine’s page does not answer", e.message)
            if not exchange.may_go_on:
                return

    async def _answer(self, exchange: Exchange, request: h11.Request) -> None:
        # 1.
        check_request(exchange.page, request.method, request.target, list(request.headers))
        link = self._find_link()
        if link is None:
            await exchange.refuse(
                410,
                "The session is over",
                "Nothing of the machine can be reached by it any more. Ask for another session.",
                over=True,
            )
            return
        if len(self._serving) > MAX_RELAYED:
            raise Unreachable("Too many connections are open.", reason="too_many_streams")
        # 2.
        stream = await link.open_stream(exchange.page.place, OpenStream())
        try:
            await stream.wait_ready()
            await exchange.run(request, stream)
        finally:
            with contextlib.suppress(FleetwardError):
                await stream.close()


class Exchange:
    """A browser's connection, and the one request of it that is under way."""

    def __init__(
        self, page: Page, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.page: Final = page
        self._reader = reader
        self._writer = writer
        self._browser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)

    @property
    def may_go_on(self) -> bool:
        """Whether another request may come on this connection."""
        return self._browser.our_state is h11.DONE and self._browser.their_state is h11.DONE

    async def next_request(self) -> h11.Request | None:
        """Return the next request, or None at the end of the connection."""
        if self.may_go_on:
            self._browser.start_next_cycle()
        async with asyncio.timeout(IDLE_SECONDS):
            event = await self._next_from_browser()
        return event if isinstance(event, h11.Request) else None

    async def refuse(self, status: int, title: str, words: str, *, over: bool = False) -> None:
        """Show words in the place of an answer; where one has begun, cut it off."""
        if self._browser.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self._writer.transport.abort()
            return
        shown = make_refusal(title, words, over=over)
        await self._send(h11.Response(status_code=status, headers=shown.fields))
        await self._send(h11.Data(data=shown.body))
        await self._send(h11.EndOfMessage())

    async def run(self, request: h11.Request, stream: Stream) -> None:
        """Carry one request to the machine and its answer back. Raises as the steps say."""
        fields = list(request.headers)
        upgrade = wants_upgrade(fields)
        machine = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        head = h11.Request(
            method=request.method,
            target=request.target,
            headers=to_machine(self.page, fields, upgrade=upgrade),
        )
        await self._to_machine(machine, stream, head)
        # 3.
        going = asyncio.create_task(self._carry_body(machine, stream, watch=not upgrade))
        coming = asyncio.create_task(self._carry_answer(machine, stream))
        try:
            await asyncio.wait({going, coming}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                _check_there(going)
            switched = await coming
        finally:
            for task in (going, coming):
                task.cancel()
            await asyncio.gather(going, coming, return_exceptions=True)
        if switched:
            # 4.
            await self._join(machine, stream)

    async def _carry_body(self, machine: h11.Connection, stream: Stream, *, watch: bool) -> None:
        """Carry the body; then, with `watch`, return only when the browser is gone.

        Else an answer that never ends would hold a stream for a window that was closed.
        """
        while not isinstance(event := await self._next_from_browser(), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise ConnectionResetError
            await self._to_machine(machine, stream, event)
        await self._to_machine(machine, stream, event)
        early = 0
        while watch and (data := await self._reader.read(READ_BYTES)):
            self._browser.receive_data(data)
            early += len(data)
            if early > MAX_HEAD_BYTES:
                raise ConnectionResetError
        if watch:
            raise ConnectionResetError

    async def _carry_answer(self, machine: h11.Connection, stream: Stream) -> bool:
        """Carry an answer back; return whether the protocol was switched."""
        while True:
            event = await self._next_from_machine(machine, stream)
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    await self._send(_switching(event))
                    return True
            elif isinstance(event, h11.Response):
                if not await self._begin_answer(event):
                    return False
            elif isinstance(event, h11.Data):
                await self._send(h11.Data(data=event.data))
            elif isinstance(event, h11.EndOfMessage):
                await self._send(h11.EndOfMessage())
                return False
            else:
                raise Unreachable(
                    "The machine closed the connection without an answer.", reason="page_cut_off"
                )

    async def _begin_answer(self, event: h11.Response) -> bool:
        """Send the head of an answer; return False when words were shown in its place."""
        fields = to_browser(self.page, list(event.headers))
        if isinstance(fields, Blocked):
            await self.refuse(403, "This redirect was blocked", blocked_words(fields.location))
            return False
        await self._send(h11.Response(status_code=event.status_code, headers=fields))
        return True

    async def _join(self, machine: h11.Connection, stream: Stream) -> None:
        early_here, early_there = self._browser.trailing_data[0], machine.trailing_data[0]

        async def go_out() -> None:
            await stream.send(early_here)
            while data := await self._reader.read(READ_BYTES):
                await stream.send(data)
            await stream.end()

        async def come_in() -> None:
            self._writer.write(early_there)
            while data := await stream.receive():
                self._writer.write(data)
                await self._writer.drain()

        halves = {asyncio.create_task(go_out()), asyncio.create_task(come_in())}
        try:
            await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for half in halves:
                half.cancel()
            await asyncio.gather(*halves, return_exceptions=True)

    async def _next_from_browser(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._browser.next_event()) is h11.NEED_DATA:
            if self._browser.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._browser.receive_data(await self._reader.read(READ_BYTES))
        return event

    @staticmethod
    async def _next_from_machine(
        machine: h11.Connection, stream: Stream
    ) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            while (event := machine.next_event()) is h11.NEED_DATA:
                machine.receive_data(await stream.receive())
                if stream.closed and stream.words and machine.their_state is h11.SEND_RESPONSE:
                    raise Refused(stream.words, reason="page_refused")
        except h11.RemoteProtocolError as e:
            raise Malformed(
                f"The machine's answer cannot be read as HTTP: {e}.", reason="bad_answer"
            ) from e
        return event

    @staticmethod
    async def _to_machine(
        machine: h11.Connection, stream: Stream, event: h11.Request | h11.Data | h11.EndOfMessage
    ) -> None:
        if data := machine.send(event):
            await stream.send(data)

    async def _send(
        self, event: h11.InformationalResponse | h11.Response | h11.Data | h11.EndOfMessage
    ) -> None:
        if data := self._browser.send(event):
            self._writer.write(data)
            await self._writer.drain()


def _check_there(going: asyncio.Task[None]) -> None:
    """Raise what says that the browser is gone; that the machine takes no more is its answer's."""
    error = going.exception()
    if isinstance(error, OSError | h11.ProtocolError):
        raise error


def _switching(event: h11.InformationalResponse) -> h11.InformationalResponse:
    """Return the machine's yes to an upgrade as the browser gets it."""
    fields = list(event.headers)
    kept = pass_fields(fields) + [(n, v) for n, v in fields if n == b"upgrade"]
    return h11.InformationalResponse(status_code=101, headers=[*kept, (b"connection", b"Upgrade")])


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await writer.wait_closed()
    except (OSError, TimeoutError, asyncio.CancelledError):
        writer.transport.abort()
