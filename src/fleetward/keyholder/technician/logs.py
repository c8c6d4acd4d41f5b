"""Logs of the machine for the page: text without a single control sequence, as it comes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from typing import Final

from fleetward.keyholder.access.streams import Stream
from fleetward.keyholder.access.terminal_safe import VIEW, Filter
from fleetward.keyholder.technician.visit import Visit
from fleetward.trust.access import LogsScope
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.wire.access import OpenStream

_SEQUENCE: Final = re.compile("\x1b(?:\\[[0-?]*[ -/]*[@-~]|.)|[\x00-\x08\x0b-\x1f]", re.DOTALL)
"""Whatever `VIEW` lets through that is not text, a tab or the end of a line."""


async def open_logs(visit: Visit, place: int, lines: int, *, follow: bool) -> AsyncIterator[bytes]:
    """Open a unit's logs; return its lines as they come. Raises `Refused`, before it returns."""
    link = visit.require_link()
    if place >= len(link.scopes) or not isinstance(link.scopes[place], LogsScope):
        raise Refused("This session has no logs there.", reason="not_granted")
    stream = await link.open_stream(place, OpenStream(lines=lines, follow=follow))
    await stream.wait_ready()
    return _read(stream)


async def _read(stream: Stream) -> AsyncIterator[bytes]:
    shown = Filter(VIEW)
    try:
        while data := await stream.receive():
            text = _SEQUENCE.sub("", shown.feed(data).decode("utf-8", "replace"))
            if text:
                yield text.encode("utf-8")
    except FleetwardError:  # the session is over, and the page hears that by itself
        pass
    finally:
        with contextlib.suppress(FleetwardError):
            await stream.close()
