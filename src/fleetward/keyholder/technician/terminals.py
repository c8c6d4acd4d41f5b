"""Terminals of the machine behind the page: each is a stream, shown in one window at a time.

Output passes `terminal_safe.LIVE` before it leaves this program: no clipboard, no title, no link
and no other string of the machine reaches a browser. It is handed on as the window takes it; a
window that is slow holds up its own terminal. When the window is gone, the terminal is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from fleetward.keyholder.access.streams import Stream
from fleetward.keyholder.access.terminal_safe import LIVE, Filter, one_line
from fleetward.keyholder.technician.model import OpenTerminal, TerminalView
from fleetward.keyholder.technician.visit import Visit
from fleetward.trust.access import RootScope, TerminalScope
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.wire.access import MAX_DATA_BYTES, OpenStream

MAX_TERMINALS: Final = 2
"""A browser keeps six connections to a host: these, one log, one stream of news, one transfer, and
one that is left for everything else."""
TERM: Final = "xterm-256color"
FINISH_SECONDS: Final = 2.0
"""How long the machine's last words on a stream are waited for."""


@dataclass(slots=True)
class Terminal:
    """One terminal."""

    stream: Stream
    shown: Filter = field(default_factory=lambda: Filter(LIVE))
    watched: bool = False
    typing: asyncio.Lock = field(default_factory=asyncio.Lock)
    over: bool = False


class Terminals:
    """The terminals of a visit, by ids that only the page knows."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._terminals: dict[str, Terminal] = {}

    async def open(self, wanted: OpenTerminal) -> TerminalView:
        """Begin a terminal. Raises `Refused` for another scope, and what the machine says."""
        link = self._visit.require_link()
        self._forget_closed()
        if len(self._terminals) >= MAX_TERMINALS:
            raise Refused(
                f"{MAX_TERMINALS} terminals are open; close one.", reason="too_many_terminals"
            )
        if wanted.place >= len(link.scopes) or not isinstance(
            link.scopes[wanted.place], TerminalScope | RootScope
        ):
            raise Refused("This session has no terminal there.", reason="not_granted")
        opening = OpenStream(columns=wanted.columns, rows=wanted.rows, term=TERM)
        stream = await link.open_stream(wanted.place, opening)
        await stream.wait_ready()
        id_ = secrets.token_hex(16)
        self._terminals[id_] = Terminal(stream)
        return TerminalView(id=id_, open=True, words="")

    def show(self, id_: str) -> TerminalView:
        """Return how a terminal stands. Raises `Refused` for one that is not there."""
        terminal = self._find(id_)
        words = one_line(terminal.stream.words)
        return TerminalView(id=id_, open=not self._is_over(terminal), words=words)

    def watch(self, id_: str) -> AsyncIterator[bytes]:
        """Return what a terminal shows from here on, for one window.

        Raises `Refused` when another window shows it.
        """
        terminal = self._find(id_)
        if terminal.watched:
            raise Refused("Another window shows this terminal.", reason="shown_elsewhere")
        terminal.watched = True
        return self._outputs(terminal)

    async def type(self, id_: str, data: bytes) -> None:
        """Hand on what was typed, in its order. Raises `Refused` on a terminal that is over."""
        terminal = self._find(id_)
        if len(data) > MAX_DATA_BYTES:
            raise Refused("That is too much to type at once.", reason="too_much_typed")
        async with terminal.typing:
            await terminal.stream.send(data)

    async def resize(self, id_: str, columns: int, rows: int) -> None:
        """Give a terminal another size. Raises `Refused`."""
        await self._find(id_).stream.resize(columns, rows)

    async def close(self, id_: str) -> None:
        """Be done with a terminal. Raises `Refused` for one that is not there."""
        await self._end(self._find(id_))

    async def _outputs(self, terminal: Terminal) -> AsyncIterator[bytes]:
        try:
            while data := await terminal.stream.receive():
                if shown := terminal.shown.feed(data):
                    yield shown
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FINISH_SECONDS):
                    await terminal.stream.wait_closed()
        except FleetwardError:  # the session is over, and the page hears that by itself
            pass
        finally:
            await asyncio.shield(self._end(terminal))

    @staticmethod
    async def _end(terminal: Terminal) -> None:
        terminal.over = True
        with contextlib.suppress(FleetwardError):
            await terminal.stream.close()

    def _find(self, id_: str) -> Terminal:
        found = self._terminals.get(id_)
        if found is None:
            raise Refused("That terminal is not there any more.", reason="terminal_not_found")
        return found

    def _is_over(self, terminal: Terminal) -> bool:
        return terminal.over or terminal.stream.closed or self._visit.link is None

    def _forget_closed(self) -> None:
        self._terminals = {i: t for i, t in self._terminals.items() if not self._is_over(t)}
