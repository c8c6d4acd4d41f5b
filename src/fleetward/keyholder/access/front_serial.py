"""A serial port of a machine at the technician's own terminal, or between two pipes.

At a terminal every key goes to the port as it is typed, and what comes is drawn like a terminal's
output: `~.` at the beginning of a line leaves. Without a terminal the bytes pass as they are; when
no more are given, what still comes is shown until the port has been quiet for a moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import Final

from fleetward.keyholder.access.connecting import SessionLink
from fleetward.keyholder.access.front_terminal import Leaving, raw_terminal
from fleetward.keyholder.access.local_bytes import read_some, write_all
from fleetward.keyholder.access.streams import Stream
from fleetward.keyholder.access.terminal_safe import LIVE, Filter
from fleetward.trust.errors import Refused
from fleetward.wire.access import OpenStream

QUIET_SECONDS: Final = 2.0
"""A device that was asked something answers within this, or is taken to have said all."""


async def run_serial(
    link: SessionLink, scope: int, source: int | None = None, sink: int | None = None
) -> str:
    """Join the port of a scope until either side ends it; return the machine's last words.

    Raises what ended the session, and `Refused` when the machine does not open the port.
    """
    source = sys.stdin.fileno() if source is None else source
    sink = sys.stdout.fileno() if sink is None else sink
    stream = await link.open_stream(scope, OpenStream())
    await stream.wait_ready()
    heard = asyncio.Event()
    with raw_terminal(source, sink):
        typing = asyncio.create_task(_type(stream, source, heard))
        showing = asyncio.create_task(_show(stream, sink, heard))
        try:
            await asyncio.wait({typing, showing}, return_when=asyncio.FIRST_COMPLETED)
            if showing.done():
                showing.result()
        finally:
            for task in (typing, showing):
                task.cancel()
            await asyncio.gather(typing, showing, return_exceptions=True)
    await stream.close()
    return stream.words


async def _type(stream: Stream, source: int, heard: asyncio.Event) -> None:
    """Send what is given; return when the person leaves, or all is given and the port is quiet."""
    interactive = os.isatty(source)
    leaving = Leaving()
    while data := await read_some(source):
        if interactive:
            data = leaving.feed(data)
            if leaving.left:
                return
        with contextlib.suppress(Refused):  # closed there meanwhile: the other task says so
            await stream.send(data)
    heard.set()
    while heard.is_set():
        heard.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(heard.wait(), QUIET_SECONDS)


async def _show(stream: Stream, sink: int, heard: asyncio.Event) -> None:
    shown = Filter(LIVE) if os.isatty(sink) else None
    while data := await stream.receive():
        heard.set()
        await write_all(sink, shown.feed(data) if shown else data)
