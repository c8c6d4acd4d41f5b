"""A terminal of a machine on the technician's own: raw keys in, output back, its size kept equal.

Whatever ends it, the local terminal is put back as it was. What comes from the machine passes
`terminal_safe.LIVE`: full-screen programs work, the clipboard and the title are out of reach.
`~.` at the beginning of a line leaves at once, also when the machine has fallen silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from typing import Final

from fleetward.keyholder.access.connecting import SessionLink
from fleetward.keyholder.access.local_bytes import read_some, write_all
from fleetward.keyholder.access.streams import Stream
from fleetward.keyholder.access.terminal_safe import LIVE, RESET_LIVE, Filter
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.wire.access import OpenStream

MAX_CELLS: Final = 1000
_DEFAULT: Final = (80, 24)


class Leaving:
    """Watches what is typed for `~.` at the beginning of a line; `~~` is one `~`."""

    def __init__(self) -> None:
        self._fresh = True
        self._tilde = False
        self.left = False

    def feed(self, data: bytes) -> bytes:
        """Return what of it goes to the machine."""
        out = bytearray()
        for number in data:
            key = bytes((number,))
            if self._tilde:
                self._tilde = False
                if key == b".":
                    self.left = True
                    return bytes(out)
                out += key if key == b"~" else b"~" + key
            elif self._fresh and key == b"~":
                self._tilde = True
                continue
            else:
                out += key
            self._fresh = key in b"\r\n"
        return bytes(out)


async def run_terminal(
    link: SessionLink, scope: int, source: int | None = None, sink: int | None = None
) -> str:
    """Be the terminal of a scope until either side ends it; return the machine's last words.

    Raises what ended the session. `source` and `sink` are descriptors: stdin and stdout.
    """
    source = sys.stdin.fileno() if source is None else source
    sink = sys.stdout.fileno() if sink is None else sink
    columns, rows = local_size(sink)
    term = os.environ.get("TERM", "xterm-256color")[:64]
    stream = await link.open_stream(scope, OpenStream(columns=columns, rows=rows, term=term))
    await stream.wait_ready()
    interactive = os.isatty(source)
    with raw_terminal(source, sink), _resizing(stream, sink):
        typing = asyncio.create_task(_type(stream, source, interactive=interactive))
        showing = asyncio.create_task(_show(stream, sink))
        try:
            await asyncio.wait({typing, showing}, return_when=asyncio.FIRST_COMPLETED)
            if showing.done() or (typing.done() and typing.result()):
                pass
            else:  # the input has ended; what the machine still says is shown
                await showing
            if showing.done():
                showing.result()
        finally:
            for task in (typing, showing):
                task.cancel()
            await asyncio.gather(typing, showing, return_exceptions=True)
    await stream.close()
    return stream.words


@contextlib.contextmanager
def raw_terminal(source: int, sink: int) -> Iterator[None]:
    """Hand every key on as it is typed, where there is a terminal; put all back afterwards."""
    if not os.isatty(source):
        yield
        return
    before = termios.tcgetattr(source)
    try:
        tty.setraw(source, termios.TCSANOW)
        yield
    finally:
        if os.isatty(sink):
            with contextlib.suppress(OSError):
                os.write(sink, RESET_LIVE)
        termios.tcsetattr(source, termios.TCSAFLUSH, before)


def local_size(descriptor: int) -> tuple[int, int]:
    """Return columns and rows of the local terminal, within what a machine takes."""
    try:
        size = os.get_terminal_size(descriptor)
    except OSError:
        size = shutil.get_terminal_size(_DEFAULT)
    return min(max(size.columns, 1), MAX_CELLS), min(max(size.lines, 1), MAX_CELLS)


async def _type(stream: Stream, source: int, *, interactive: bool) -> bool:
    """Send what is typed; return whether the person left."""
    leaving = Leaving()
    while data := await read_some(source):
        if interactive:
            data = leaving.feed(data)
            if leaving.left:
                return True
        with contextlib.suppress(Refused):  # closed there meanwhile: the other task says so
            await stream.send(data)
    await stream.end()
    return False


async def _show(stream: Stream, sink: int) -> None:
    shown = Filter(LIVE)
    while data := await stream.receive():
        await write_all(sink, shown.feed(data))


@contextlib.contextmanager
def _resizing(stream: Stream, sink: int) -> Iterator[None]:
    """Tell the machine when the local terminal changes its size."""
    loop = asyncio.get_running_loop()
    telling: set[asyncio.Task[None]] = set()

    async def tell() -> None:
        with contextlib.suppress(FleetwardError):
            await stream.resize(*local_size(sink))

    def note() -> None:
        task = asyncio.create_task(tell())
        telling.add(task)
        task.add_done_callback(telling.discard)

    try:
        loop.add_signal_handler(signal.SIGWINCH, note)
    except (ValueError, RuntimeError):  # not the main thread: there is no terminal to follow
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)
