"""A port of a machine on the technician's own loopback, or on stdin and stdout (ProxyCommand)."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import Final

from fleetward.keyholder.access.connecting import SessionLink
from fleetward.keyholder.access.local_bytes import read_some, write_all
from fleetward.keyholder.access.streams import Stream
from fleetward.trust.errors import FleetwardError, Refused, Unreachable
from fleetward.wire.access import OpenStream

LOOPBACK: Final = "127.0.0.1"
READ_BYTES: Final = 64 * 1024


class PortListener:
    """A listener on loopback; each connection is a stream of the session."""

    def __init__(self, link: SessionLink, scope: int, tell: Callable[[str], None]) -> None:
        self._link = link
        self._scope = scope
        self._tell = tell
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self, port: int) -> int:
        """Listen; return the port. 0 takes a free one. Raises `Unreachable` when it is taken."""
        try:
            self._server = await asyncio.start_server(self._accept, LOOPBACK, port)
        except OSError as e:
            raise Unreachable(
                f"Expected port {port} of {LOOPBACK} to be free; the system says: {e.strerror}. "
                "Name another by --listen.",
                reason="port_taken",
            ) from e
        taken: int = self._server.sockets[0].getsockname()[1]
        return taken

    async def stop(self) -> None:
        """Close the listener and what it serves."""
        if self._server is not None:
            self._server.close()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        try:
            await self._serve(reader, writer)
        except FleetwardError as e:
            self._tell(e.message)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = await self._link.open_stream(self._scope, OpenStream())
        await stream.wait_ready()

        async def go_out() -> None:
            while data := await reader.read(READ_BYTES):
                await stream.send(data)
            await stream.end()

        async def come_in() -> None:
            while data := await stream.receive():
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()

        await _both(stream, go_out(), come_in())


async def join_stdio(
    link: SessionLink, scope: int, source: int | None = None, sink: int | None = None
) -> None:
    """Join stdin and stdout with one stream, until the machine's side has ended."""
    source = sys.stdin.fileno() if source is None else source
    sink = sys.stdout.fileno() if sink is None else sink
    stream = await link.open_stream(scope, OpenStream())
    await stream.wait_ready()

    async def go_out() -> None:
        while data := await read_some(source):
            await stream.send(data)
        await stream.end()

    async def come_in() -> None:
        while data := await stream.receive():
            await write_all(sink, data)

    out = asyncio.create_task(go_out())
    try:
        await come_in()
    except BrokenPipeError:  # who reads has gone
        pass
    finally:
        out.cancel()
        await asyncio.gather(out, return_exceptions=True)
        with contextlib.suppress(FleetwardError):
            await stream.close()


async def _both(stream: Stream, *halves: object) -> None:
    """Run both halves to their ends; when one fails, so does the other."""
    try:
        async with asyncio.TaskGroup() as group:
            for half in halves:
                group.create_task(half)  # type: ignore[arg-type]  # coroutines of this file
    except* Refused:  # closed there
        pass
    except* OSError:  # closed here
        pass
    finally:
        with contextlib.suppress(FleetwardError):
            await stream.close()
