"""The machine's side of a session, small: for the requester's tools and for attacks on them.

    >>> wire, machine = join(world_keys, …)
    >>> async with machine.running():
    ...     async with SessionLink(wire, case, private) as link:
    ...         await link.open()

It speaks the wire contract of `wire.access` over messages in memory. A relay between (`alter`) may
drop, double, change and reorder what passes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from fleetward.runtime.channel import ENC_BYTES, Channel, open_as_machine
from fleetward.trust.access import FilesScope, LogsScope, Scope, TcpScope
from fleetward.trust.access_runbook import RunbookScope
from fleetward.trust.errors import Unreachable
from fleetward.wire.access import (
    MAX_DATA_BYTES,
    WINDOW_BYTES,
    Frame,
    OpenStream,
    Piece,
    read_piece,
)

Alter = Callable[[str, bytes], Sequence[bytes]]
"""From a direction (`in`, `out`) and a message to what the relay hands on."""


def hand_on(direction: str, data: bytes) -> Sequence[bytes]:
    """Be an honest relay."""
    del direction
    return [data]


class MemoryWire:
    """One end of two queues. `None` in a queue is the end."""

    def __init__(
        self,
        direction: str,
        out: asyncio.Queue[bytes | None],
        back: asyncio.Queue[bytes | None],
        alter: Alter,
    ) -> None:
        self._direction = direction
        self._out = out
        self._back = back
        self._alter = alter
        self.sent: list[bytes] = []

    async def send(self, data: bytes) -> None:
        self.sent.append(data)
        for each in self._alter(self._direction, data):
            self._out.put_nowait(each)

    async def receive(self) -> bytes:
        data = await self._back.get()
        if data is None:
            raise Unreachable("The connection to the bus ended.", reason="bus_closed")
        return data

    def cut(self) -> None:
        """End both directions."""
        for queue in (self._out, self._back):
            queue.put_nowait(None)


def make_wires(alter: Alter = hand_on) -> tuple[MemoryWire, MemoryWire]:
    """Return the requester's end and the machine's."""
    going: asyncio.Queue[bytes | None] = asyncio.Queue()
    coming: asyncio.Queue[bytes | None] = asyncio.Queue()
    return MemoryWire("in", going, coming, alter), MemoryWire("out", coming, going, alter)


@dataclass
class MachineEnd:
    """A machine with one session. Terminal: echoes in capitals, `exit` ends it; tcp: echoes;
    files: a dictionary; logs: lines."""

    wire: MemoryWire
    private: bytes
    requester_key: bytes
    session: str
    scopes: tuple[Scope, ...]
    files: dict[str, bytes] = field(default_factory=dict)
    lines: tuple[str, ...] = ("one", "two")
    banner: bytes = b"$ "
    ran_words: str = ""
    silent_for: int = 0
    """How many knocks it does not answer."""
    seen: list[Piece] = field(default_factory=list)
    over: bool = False
    _channel: Channel | None = None
    _first: bytes = b""
    _open: dict[int, tuple[int, OpenStream]] = field(default_factory=dict)
    _putting: dict[int, bytearray] = field(default_factory=dict)
    _window: dict[int, int] = field(default_factory=dict)
    _waiting: dict[int, list[bytes]] = field(default_factory=dict)
    _consumed: dict[int, int] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[MachineEnd]:
        """Serve while the context lasts."""
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Unreachable):
                await task

    async def say(self, piece: Piece) -> None:
        """Send a frame."""
        assert self._channel is not None
        await self.wire.send(self._channel.seal(piece.to_bytes()))

    async def end(self, words: str) -> None:
        """End the session, as a stop or its length does."""
        self.over = True
        await self.say(Piece(Frame.LEAVE, 0, 0, words.encode()))

    async def _run(self) -> None:
        while not self.over:
            data = await self.wire.receive()
            if self._channel is None:
                await self._take_first(data)
            elif data != self._first:  # which comes again until our answer has arrived
                await self._take(read_piece(self._channel.open(data)))

    async def _take_first(self, data: bytes) -> None:
        if len(data) != ENC_BYTES:
            return
        if self.silent_for:
            self.silent_for -= 1
            return
        self._first = data
        self._channel = open_as_machine(self.private, self.requester_key, data, self.session)
        first = {
            "session": self.session,
            "scopes": [scope.to_json() for scope in self.scopes],
            "sandbox": "bubblewrap",
            "seconds_left": 600,
        }
        await self.say(Piece(Frame.READY, 0, 0, msgspec.json.encode(first)))

    async def _take(self, piece: Piece) -> None:
        self.seen.append(piece)
        if piece.kind is Frame.LEAVE:
            self.over = True
        elif piece.kind is Frame.OPEN:
            await self._begin(piece)
        elif piece.stream not in self._open:
            return
        elif piece.kind is Frame.CREDIT:
            self._window[piece.stream] += int.from_bytes(piece.data, "big")
            await self._flush(piece.stream)
        elif piece.kind is Frame.DATA:
            await self._take_data(piece)
        elif piece.kind is Frame.END:
            await self._take_end(piece)
        elif piece.kind is Frame.CLOSE:
            self._open.pop(piece.stream, None)

    async def _begin(self, piece: Piece) -> None:
        wanted = msgspec.json.decode(piece.data, type=OpenStream)
        scope, number = self.scopes[piece.scope], piece.stream
        self._open[number] = (piece.scope, wanted)
        self._window[number] = WINDOW_BYTES
        if isinstance(scope, FilesScope):
            await self._begin_file(piece.scope, number, wanted)
            return
        await self._ready(number)
        if isinstance(scope, LogsScope):
            text = "".join(f"{line}\n" for line in self.lines[-wanted.lines :])
            await self.output(number, text.encode())
            if not wanted.follow:
                await self._finish(number, "")
        elif isinstance(scope, RunbookScope):
            await self.output(number, b"[1/1] /opt/pump/bundle\n\x1b]52;c;eA==\x07done\n")
            await self._finish(number, self.ran_words)
        elif not isinstance(scope, TcpScope):
            await self.output(number, self.banner)

    async def _begin_file(self, scope: int, number: int, wanted: OpenStream) -> None:
        if wanted.verb == "put":
            self._putting[number] = bytearray()
            await self._ready(number)
        elif wanted.verb == "list":
            await self._ready(number)
            rows = [
                msgspec.json.encode({"name": n, "kind": "file", "size": len(d), "modified": 1})
                for n, d in self.files.items()
            ]
            await self.output(number, b"\n".join(rows))
            await self._finish(number, "")
        elif wanted.path not in self.files:
            await self._close(number, f"{wanted.path}: No such file or directory.")
        else:
            data = self.files[wanted.path]
            await self._ready(number, msgspec.json.encode({"size": len(data)}))
            await self.output(number, data)
            await self._finish(number, "")

    async def output(self, number: int, data: bytes) -> None:
        """Send bytes of a stream, as the requester's credits let them."""
        waiting = self._waiting.setdefault(number, [])
        waiting += [data[i : i + MAX_DATA_BYTES] for i in range(0, len(data), MAX_DATA_BYTES)]
        await self._flush(number)

    async def _flush(self, number: int) -> None:
        scope = self._open[number][0] if number in self._open else 0
        waiting = self._waiting.get(number, [])
        while waiting:
            if waiting[0][:1] == b"\x00" and waiting[0].startswith(b"\x00fin"):
                await self._really_finish(number, waiting.pop(0)[4:].decode())
                return
            if self._window[number] < len(waiting[0]):
                return
            part = waiting.pop(0)
            self._window[number] -= len(part)
            await self.say(Piece(Frame.DATA, scope, number, part))

    async def _finish(self, number: int, words: str) -> None:
        self._waiting.setdefault(number, []).append(b"\x00fin" + words.encode())
        await self._flush(number)

    async def _really_finish(self, number: int, words: str) -> None:
        scope = self._open[number][0]
        await self.say(Piece(Frame.END, scope, number))
        await self._close(number, words)

    async def _take_data(self, piece: Piece) -> None:
        number = piece.stream
        self._consumed[number] = self._consumed.get(number, 0) + len(piece.data)
        if self._consumed[number] >= WINDOW_BYTES // 2:
            credit = self._consumed.pop(number).to_bytes(4, "big")
            await self.say(Piece(Frame.CREDIT, piece.scope, number, credit))
        scope = self.scopes[piece.scope]
        if number in self._putting:
            self._putting[number] += piece.data
        elif isinstance(scope, TcpScope):
            await self.output(number, piece.data)
        elif b"exit" in piece.data:
            await self._close(number, "The shell ended.")
        else:
            await self.output(number, piece.data.upper())

    async def _take_end(self, piece: Piece) -> None:
        number = piece.stream
        if number in self._putting:
            data, wanted = bytes(self._putting.pop(number)), self._open[number][1]
            words = "" if len(data) == wanted.size else "Another size came."
            if not words:
                self.files[wanted.path] = data
            await self._close(number, words)
        else:
            await self._finish(number, "")

    async def _ready(self, number: int, data: bytes = b"{}") -> None:
        await self.say(Piece(Frame.READY, self._open[number][0], number, data))

    async def _close(self, number: int, words: str) -> None:
        scope = self._open.pop(number)[0]
        await self.say(Piece(Frame.CLOSE, scope, number, words.encode()))
