"""Streams of a session, as its inner half sees them: windows, the recorder, a descriptor.

What comes from the requester is recorded, then written to the descriptor; what comes from there is
recorded, then sent. A stream takes no more than its window, and sends no more than its credit.
"""

from __future__ import annotations

import os
import socket
from typing import Final, Protocol

from fleetward.device.access.http_gate import HttpGate, Passed
from fleetward.device.access.recorder import Recorder, Text
from fleetward.device.access.terminal import is_echoing, set_size
from fleetward.trust.errors import Refused, Untrusted
from fleetward.wire.access import MAX_DATA_BYTES, WINDOW_BYTES, Frame

READ_BYTES: Final = MAX_DATA_BYTES


class Hub(Protocol):
    """What a stream needs of its session."""

    recorder: Recorder

    def say(self, stream: Stream, kind: Frame, data: bytes = b"") -> None:
        """Send a frame of this stream."""

    def close_stream(self, stream: Stream, words: str) -> None:
        """End the stream, with words for the requester; empty when all is well."""


class Stream:
    """One stream. `descriptor` is -1 until the attendant has given it."""

    label = "stream"
    counted = False
    """Whether its bytes are recorded as counts and not as text."""

    def __init__(self, hub: Hub, number: int, place: int) -> None:
        self.hub = hub
        self.number = number
        self.place = place
        self.descriptor = -1
        self.ready = False
        self.send_left = WINDOW_BYTES
        self.receive_left = WINDOW_BYTES
        self.waiting = bytearray()
        self.ended = False
        self._moved_in = self._moved_out = self._consumed = 0
        self._marked = (0, 0)

    # --- what the session calls

    def begin(self, descriptor: int) -> None:
        """The attendant has given the descriptor."""
        self.descriptor = descriptor
        os.set_blocking(descriptor, False)
        self.ready = True
        self.hub.say(self, Frame.READY, b"{}")

    def take(self, data: bytes) -> None:
        """Take bytes of the requester. Raises `Untrusted` beyond the window or the end."""
        if len(data) > self.receive_left or self.ended:
            raise Untrusted("More came than a stream takes.", reason="window_passed")
        self.receive_left -= len(data)
        self._moved_in += len(data)
        self.accept(data)

    def take_credit(self, size: int) -> None:
        """The requester takes `size` bytes more. Raises `Untrusted` beyond the window."""
        if self.send_left + size > WINDOW_BYTES:
            raise Untrusted("More credit came than was used.", reason="window_passed")
        self.send_left += size

    def take_end(self) -> None:
        """The requester sends no more."""
        self.ended = True
        if not self.waiting:
            self.finish_input()

    def take_exit(self, code: int) -> None:
        """What was started for this stream has ended."""
        del code

    @property
    def wants_read(self) -> bool:
        """Whether there is credit for what the machine has to say."""
        return self.ready and self.send_left > 0

    @property
    def wants_write(self) -> bool:
        """Whether bytes wait to be written."""
        return self.ready and bool(self.waiting)

    def write(self) -> None:
        """Write what waits, and give credit back for it."""
        try:
            written = os.write(self.descriptor, self.waiting[:READ_BYTES])
        except BlockingIOError:
            return
        except OSError as e:
            self.hub.close_stream(self, f"{self.label}: {e.strerror}.")
            return
        del self.waiting[:written]
        self.give_back(written)
        if self.ended and not self.waiting:
            self.finish_input()

    def give_back(self, size: int) -> None:
        """Give credit for bytes that were consumed, half a window at a time."""
        self._consumed += size
        if self._consumed >= WINDOW_BYTES // 2:
            self.hub.say(self, Frame.CREDIT, self._consumed.to_bytes(4, "big"))
            self.receive_left += self._consumed
            self._consumed = 0

    def mark_counts(self) -> None:
        """Record how much went through, when it is more than was recorded."""
        counts = (self._moved_in, self._moved_out)
        if counts != self._marked:
            self._marked = counts
            self.hub.recorder.mark(
                f"stream {self.number}: {counts[0]} bytes in, {counts[1]} bytes out"
            )

    def send(self, data: bytes) -> None:
        """Send bytes for which there is credit."""
        self.send_left -= len(data)
        self._moved_out += len(data)
        self.hub.say(self, Frame.DATA, data)

    # --- what each kind of stream does by itself

    def accept(self, data: bytes) -> None:
        """Record bytes of the requester, and have them wait to be written."""
        self.waiting += data

    def read(self) -> None:
        """Read what the machine has to say, record it, and send it. Every kind has its own."""
        raise NotImplementedError

    def resize(self, columns: int, rows: int) -> None:
        """Another size. Raises `Untrusted`: only a terminal has one."""
        raise Untrusted("Only a terminal has a size.", reason="bad_frame")

    def finish_input(self) -> None:
        """The requester sends no more, and all of it is written."""

    def read_some(self) -> bytes | None:
        """Read once; None when there is nothing now, empty at the end."""
        try:
            return os.read(self.descriptor, min(READ_BYTES, self.send_left))
        except BlockingIOError:
            return None
        except OSError:
            return b""  # A connection that was reset.


class TerminalStream(Stream):
    """A terminal: every byte in both directions is recorded."""

    label = "terminal"

    def __init__(self, hub: Hub, number: int, place: int) -> None:
        super().__init__(hub, number, place)
        self._typed, self._shown = Text(), Text()
        self._code: int | None = None

    def accept(self, data: bytes) -> None:
        """Record what is typed, as asterisks while the terminal shows nothing."""
        text = self._typed.take(data)
        if not self.ready or not is_echoing(self.descriptor):
            text = "".join(c if c in "\r\n" else "*" for c in text)
        self.hub.recorder.input(text)
        self.waiting += data

    def read(self) -> None:
        """Read as much as is there: a terminal gives small pieces."""
        gathered = bytearray()
        most = min(READ_BYTES, self.send_left)
        over = False
        while len(gathered) < most and not over:
            try:
                data = os.read(self.descriptor, most - len(gathered))
            except BlockingIOError:
                break
            except OSError:
                data = b""  # Nobody has the other end open any more.
            over = not data
            gathered += data
        if gathered:
            self.hub.recorder.output(self._shown.take(bytes(gathered)))
            self.send(bytes(gathered))
        if over:
            self.ready = False
        self._close_when_over(silent=len(gathered) < most)

    def take_exit(self, code: int) -> None:
        """The shell has ended: say what it still said, then close."""
        self._code = code
        if self.wants_read:
            self.read()
        else:
            self._close_when_over(silent=False)

    def resize(self, columns: int, rows: int) -> None:
        """Record, then tell the terminal its size."""
        self.hub.recorder.resize(columns, rows)
        if self.ready:
            set_size(self.descriptor, columns, rows)

    def finish_input(self) -> None:
        """Type the end of input, as a terminal has it."""
        self.waiting += b"\x04"
        self.ended = False

    def _close_when_over(self, *, silent: bool) -> None:
        if self._code is not None and (silent or not self.ready):
            self.hub.close_stream(self, f"exit {self._code}")


class TcpStream(Stream):
    """A connection to a port: bytes are counted, request lines recorded where it is HTTP."""

    label = "connection"
    counted = True

    def __init__(self, hub: Hub, number: int, place: int, mode: str) -> None:
        super().__init__(hub, number, place)
        self._gate = HttpGate() if mode == "http" else None
        self._closed_in = self._closed_out = False

    def begin(self, descriptor: int) -> None:
        """The connection stands; the requester may have ended his half already."""
        super().begin(descriptor)
        if self.ended and not self.waiting:
            self.finish_input()

    def accept(self, data: bytes) -> None:
        """Let a request pass when its line is recorded; close at what is none."""
        if self._gate is None:
            self.waiting += data
            return
        try:
            passed = self._gate.take(data)
        except Refused as e:
            self.hub.close_stream(self, e.message)
            return
        self._pass_on(passed)
        # What is held back to be read whole counts as consumed: the gate bounds it.
        self.give_back(len(data) - len(passed.data))

    def _pass_on(self, passed: Passed) -> None:
        for label in passed.labels:
            self.hub.recorder.mark(f"stream {self.number}: {label}")
        self.waiting += passed.data

    def read(self) -> None:
        """Read once and send it; at the end say so."""
        data = self.read_some()
        if data is None:
            return
        if data:
            try:
                passed = self._gate.see(data) if self._gate else None
            except Refused as e:
                self.hub.close_stream(self, e.message)
                return
            if passed is not None:
                self._pass_on(passed)
                self.give_back(-len(passed.data))  # It counted when it was held back.
            self.send(data)
            return
        self._closed_out = True
        self.hub.say(self, Frame.END)
        self._close_when_done()

    @property
    def wants_read(self) -> bool:
        """Whether there is credit, and more may come."""
        return self.ready and self.send_left > 0 and not self._closed_out

    def finish_input(self) -> None:
        """Close our half of the connection."""
        if not self.ready or self._closed_in:
            return
        self._closed_in = True
        sock = socket.socket(fileno=self.descriptor)
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._closed_out = True  # The other side has ended both halves.
        finally:
            sock.detach()
        self._close_when_done()

    def _close_when_done(self) -> None:
        if self._closed_in and self._closed_out:
            self.hub.close_stream(self, "")


class LogsStream(Stream):
    """Lines of the journal, recorded as they are shown."""

    label = "logs"

    def __init__(self, hub: Hub, number: int, place: int) -> None:
        super().__init__(hub, number, place)
        self._shown = Text()

    def accept(self, data: bytes) -> None:
        """Nothing is typed into logs. Raises `Untrusted`."""
        raise Untrusted("Nothing is typed into logs.", reason="bad_frame")

    def read(self) -> None:
        """Read once, record it, send it; close at the end."""
        data = self.read_some()
        if data is None:
            return
        if data:
            self.hub.recorder.output(self._shown.take(data))
            self.send(data)
            return
        self.hub.say(self, Frame.END)
        self.hub.close_stream(self, "")
