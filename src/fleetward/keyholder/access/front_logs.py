"""Logs of a machine, as they are or as they come. What they hold does nothing but draw."""

from __future__ import annotations

import sys

from fleetward.keyholder.access.connecting import SessionLink
from fleetward.keyholder.access.local_bytes import write_all
from fleetward.keyholder.access.terminal_safe import VIEW, Filter, one_line
from fleetward.trust.errors import Refused
from fleetward.wire.access import OpenStream


async def show_logs(
    link: SessionLink, scope: int, lines: int, *, follow: bool, sink: int | None = None
) -> None:
    """Write a unit's last lines to stdout, and with `follow` the new ones. Raises `Refused`."""
    sink = sys.stdout.fileno() if sink is None else sink
    stream = await link.open_stream(scope, OpenStream(lines=lines, follow=follow))
    await stream.wait_ready()
    shown = Filter(VIEW)
    try:
        while data := await stream.receive():
            await write_all(sink, shown.feed(data))
    except BrokenPipeError:  # who reads has gone
        await stream.close()
        return
    if words := one_line(await stream.wait_closed()):
        raise Refused(words, reason="logs_refused")
