"""The inner half of a session's process: channel, scope gate, recorder, streams.

    decrypt -> scope gate -> recorder (in the file first) -> handler, and back the same way

When it begins it has given up everything but its descriptors: it can open no file, start no
program, reach no network and no other process. What it may use it gets through its hatch, one
descriptor at a time, for scopes of the grant.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
from collections import deque
from typing import Final

import msgspec

from fleetward.device.access.hatch import Ask, Drop, Given, Leave, read_to_session, say
from fleetward.device.access.recorder import Recorder
from fleetward.device.access.stream_kinds import make_stream
from fleetward.device.access.streams import Stream
from fleetward.device.access.words import (
    MAX_WORD_BYTES,
    Ending,
    OpenOrder,
    Pulse,
    clean,
    receive,
)
from fleetward.runtime.channel import ENC_BYTES, MAX_RECORD_BYTES, Channel, open_as_machine
from fleetward.trust.access import Scope
from fleetward.trust.errors import FleetwardError, Malformed, Untrusted
from fleetward.wire.access import (
    MAX_LABEL_BYTES,
    MAX_STREAMS,
    Frame,
    OpenStream,
    Piece,
    read_piece,
)

PULSE_SECONDS: Final = 0.05
"""How often guard hears that something moved, at most."""
RECORDS_A_TURN: Final = 32
MOST_WAITING: Final = 512
"""Records that the bus has not taken; above it nothing more is read from the requester."""
COUNT_SECONDS: Final = 1.0

_opening: Final[msgspec.json.Decoder[OpenStream]] = msgspec.json.Decoder(OpenStream)


class Session:
    """One session, from the requester's first bytes to its end."""

    def __init__(
        self,
        order: OpenOrder,
        scopes: tuple[Scope, ...],
        ends: tuple[socket.socket, socket.socket],
        recorder: Recorder,
    ) -> None:
        self._order = order
        self._scopes = scopes
        self._bus, self._hatch = ends
        self.recorder = recorder
        self._channel: Channel | None = None
        self._enc = b""
        self._streams: dict[int, Stream] = {}
        self._newest = 0
        self._waiting: deque[bytes] = deque()
        self._selector = selectors.DefaultSelector()
        self._masks: dict[int, int] = {}
        self._moved = self._recorded = False
        self._pulsed_at = self._counted_at = self._began_at = time.monotonic()
        self._bytes_in = self._bytes_out = 0
        self._ending: Ending | None = None

    def run(self) -> None:
        """Be the session until it ends, and say how it ended."""
        self._bus.setblocking(False)
        self._hatch.setblocking(False)
        self._selector.register(self._hatch, selectors.EVENT_READ)
        self._selector.register(self._bus, selectors.EVENT_READ)
        try:
            while self._ending is None:
                for key, events in self._selector.select(self._do_due()):
                    if self._ending is None:
                        self._serve(key.fileobj, key.data, events)
        except FleetwardError as e:
            self._end("failed", e.message)
        except Exception as e:  # noqa: BLE001 - the boundary of a session: said, and it is over
            self._end("failed", f"A fault of the session: {type(e).__name__}: {e}")
        self._say_goodbye()

    # --- what a stream calls

    def say(self, stream: Stream, kind: Frame, data: bytes = b"") -> None:
        """Send a frame of a stream."""
        if kind is Frame.DATA:
            self._moved = True
            self._bytes_out += len(data)
        self._send(Piece(kind, stream.place, stream.number, data))

    def close_stream(self, stream: Stream, words: str) -> None:
        """End a stream, with words for the requester."""
        if self._forget(stream, words):
            data = words.encode()[:MAX_LABEL_BYTES]
            self._send(Piece(Frame.CLOSE, stream.place, stream.number, data))

    # --- the loop

    def _do_due(self) -> float | None:
        """Do what time makes due; return in how many seconds there is more."""
        now = time.monotonic()
        due = [self._count_when_due(now), self.recorder.sync_when_due(now)]
        if self._recorded or self._moved:
            if now - self._pulsed_at >= PULSE_SECONDS:
                say(self._hatch, Pulse(self._moved, self._bytes_in, self._bytes_out))
                self._pulsed_at, self._moved, self._recorded = now, False, False
            else:
                due.append(self._pulsed_at + PULSE_SECONDS)
        waits = [at - now for at in due if at is not None]
        return max(0.0, min(waits)) if waits else None

    def _count_when_due(self, now: float) -> float | None:
        counted = [stream for stream in self._streams.values() if stream.counted]
        if not counted:
            return None
        if now - self._counted_at >= COUNT_SECONDS:
            self._counted_at = now
            for stream in counted:
                stream.mark_counts()
        return self._counted_at + COUNT_SECONDS

    def _serve(self, source: object, stream: Stream | None, events: int) -> None:
        if stream is not None:
            if events & selectors.EVENT_WRITE and self._is_open(stream):
                stream.write()
            if events & selectors.EVENT_READ and self._is_open(stream):
                stream.read()
            self._watch(stream)
        elif source is self._hatch:
            self._take_from_attendant()
        else:
            if events & selectors.EVENT_WRITE:
                self._flush()
            if events & selectors.EVENT_READ:
                self._take_records()

    def _is_open(self, stream: Stream) -> bool:
        return self._streams.get(stream.number) is stream

    def _watch(self, stream: Stream) -> None:
        """Have the selector look at what this stream can do now, and at nothing else."""
        if not self._is_open(stream) or stream.descriptor < 0:
            return
        mask = selectors.EVENT_READ if stream.wants_read and not self._waiting else 0
        mask |= selectors.EVENT_WRITE if stream.wants_write else 0
        before = self._masks.get(stream.number, 0)
        if mask == before:
            return
        self._masks[stream.number] = mask
        if not before:
            self._selector.register(stream.descriptor, mask, stream)
        elif mask:
            self._selector.modify(stream.descriptor, mask, stream)
        else:
            self._selector.unregister(stream.descriptor)

    # --- the channel

    def _take_records(self) -> None:
        for _ in range(RECORDS_A_TURN):
            try:
                record = receive(self._bus, MAX_RECORD_BYTES + 1)
            except BlockingIOError:
                return
            except OSError:
                record = b""
            if not record:
                self._end("closed", "The connection of this machine ended.")
            else:
                self._take_record(record)
            if self._ending is not None:
                return

    def _take_record(self, record: bytes) -> None:
        if self._channel is None:
            if len(record) == ENC_BYTES:
                self._open_channel(record)
        elif record != self._enc:  # Which is sent until our answer arrives.
            self._take_piece(read_piece(self._channel.open(record)))

    def _open_channel(self, enc: bytes) -> None:
        order = self._order
        self._channel = open_as_machine(
            order.machine_private, order.requester_key, enc, order.session
        )
        self._enc = enc
        left = order.seconds_left - int(time.monotonic() - self._began_at)
        said = {
            "session": order.session,
            "scopes": [scope.to_json() for scope in self._scopes],
            "sandbox": order.sandbox,
            "seconds_left": max(0, left),
        }
        self.recorder.mark("the channel is open")
        self._send(Piece(Frame.READY, 0, 0, msgspec.json.encode(said)))

    def _send(self, piece: Piece) -> None:
        if self._channel is None:
            return
        self._recorded = True
        record = self._channel.seal(piece.to_bytes())
        if not self._waiting and self._try(record):
            return
        self._waiting.append(record)
        if len(self._waiting) in (1, MOST_WAITING):
            self._watch_all()

    def _try(self, record: bytes) -> bool:
        try:
            self._bus.send(record)
        except BlockingIOError:
            return False
        except OSError:
            self._end("closed", "The connection of this machine ended.")
        return True

    def _flush(self) -> None:
        while self._waiting and self._try(self._waiting[0]):
            self._waiting.popleft()
        self._watch_all()

    def _watch_all(self) -> None:
        """The bus takes nothing now, or takes again: streams wait meanwhile."""
        mask = selectors.EVENT_READ if len(self._waiting) < MOST_WAITING else 0
        mask |= selectors.EVENT_WRITE if self._waiting else 0
        self._selector.modify(self._bus, mask)
        for stream in self._streams.values():
            self._watch(stream)

    # --- the scope gate

    def _take_piece(self, piece: Piece) -> None:
        if piece.kind is Frame.LEAVE:
            self._end("closed", piece.data.decode("utf-8", "replace"))
        elif piece.kind is Frame.OPEN:
            self._open_stream(piece)
        elif piece.kind is Frame.READY:
            raise Untrusted("Only the machine is ready.", reason="bad_frame")
        else:
            self._take_for_stream(piece)

    def _open_stream(self, piece: Piece) -> None:
        if piece.scope >= len(self._scopes):
            raise Untrusted("A scope that the grant has not.", reason="no_such_scope")
        if piece.stream <= self._newest or len(self._streams) >= MAX_STREAMS:
            raise Untrusted("Too many streams, or one twice.", reason="too_many_streams")
        try:
            wanted = _opening.decode(piece.data or b"{}")
        except (msgspec.MsgspecError, UnicodeDecodeError) as e:
            raise Malformed("Expected how to open a stream.", reason="bad_frame") from e
        self._newest = piece.stream
        scope = self._scopes[piece.scope]
        stream = make_stream(self, piece.stream, piece.scope, scope)
        self._streams[piece.stream] = stream
        self.recorder.mark(f"stream {piece.stream} asked for: {scope.words()}")
        if stream.label == "terminal":
            self.recorder.resize(wanted.columns, wanted.rows)
        if not say(self._hatch, Ask(piece.stream, piece.scope, wanted)):
            raise Untrusted("More was asked for at once than may be.", reason="bad_frame")

    def _take_for_stream(self, piece: Piece) -> None:
        stream = self._streams.get(piece.stream)
        if stream is None:
            if 0 < piece.stream <= self._newest:
                return  # It was on its way when the stream ended.
            raise Untrusted("A stream that was never opened.", reason="no_such_stream")
        if piece.scope != stream.place:
            raise Untrusted("A stream of another scope.", reason="no_such_stream")
        if piece.kind is Frame.DATA:
            self._moved = True
            self._bytes_in += len(piece.data)
            stream.take(piece.data)
            # Most of what comes fits at once; asking the selector first would cost a turn.
            if self._is_open(stream) and stream.wants_write:
                stream.write()
        elif piece.kind is Frame.CREDIT:
            stream.take_credit(_read_number(piece.data))
        elif piece.kind is Frame.RESIZE:
            both = _read_number(piece.data)
            stream.resize(both >> 16, both & 0xFFFF)
        elif piece.kind is Frame.END:
            stream.take_end()
        else:
            self._forget(stream, "closed by the requester")
        self._watch(stream)

    def _forget(self, stream: Stream, words: str) -> bool:
        if self._streams.pop(stream.number, None) is None:
            return False
        if stream.counted:
            stream.mark_counts()
        self.recorder.mark(f"stream {stream.number} closed: {words or 'done'}")
        if self._masks.pop(stream.number, 0):
            self._selector.unregister(stream.descriptor)
        if stream.descriptor >= 0:
            os.close(stream.descriptor)
        stream.descriptor, stream.ready = -1, False
        say(self._hatch, Drop(stream.number))
        return True

    # --- the hatch

    def _take_from_attendant(self) -> None:
        try:
            data, passed, _, _ = socket.recv_fds(self._hatch, MAX_WORD_BYTES, 1)
        except BlockingIOError:
            return
        if not data:
            self._end("failed", "The other half of the session is gone.")
            return
        word = read_to_session(data)
        if isinstance(word, Leave):
            self._end("closed", word.words)
            return
        stream = self._streams.get(word.stream)
        if isinstance(word, Given):
            self._take_given(word, stream, passed[0] if passed else -1)
        elif stream is not None:
            stream.take_exit(word.code)
        if stream is not None:
            self._watch(stream)

    def _take_given(self, given: Given, stream: Stream | None, descriptor: int) -> None:
        if stream is None:
            if descriptor >= 0:
                os.close(descriptor)
        elif given.good and descriptor >= 0:
            self.recorder.mark(f"stream {stream.number} opened")
            stream.begin(descriptor)
        else:
            self.close_stream(stream, given.words)

    # --- the end

    def _end(self, by: str, words: str) -> None:
        if self._ending is None:
            self._ending = Ending(by, clean(words), self._bytes_in, self._bytes_out)

    def _say_goodbye(self) -> None:
        ending = self._ending or Ending("failed", "", 0, 0)
        with contextlib.suppress(FleetwardError, OSError):
            for stream in self._streams.values():
                if stream.counted:
                    stream.mark_counts()
            self.recorder.mark(f"the session ended: {ending.words or ending.by}")
            self.recorder.sync()
        with contextlib.suppress(FleetwardError, OSError):
            self._send(Piece(Frame.LEAVE, 0, 0, ending.words.encode()[:MAX_LABEL_BYTES]))
        say(self._hatch, ending)


def _read_number(data: bytes) -> int:
    if len(data) != 4:
        raise Malformed("Expected four bytes.", reason="bad_frame")
    return int.from_bytes(data, "big")
