"""A transfer of files as the inner half of a session sees it. Letters are told in `files`."""

from __future__ import annotations

import os
from collections import deque

from fleetward.device.access.streams import Hub, Stream
from fleetward.wire.access import MAX_DATA_BYTES, Frame


class FilesStream(Stream):
    """One transfer: what, how much and its digest are recorded, not the content."""

    label = "files"
    counted = True
    cut_off = "The transfer was cut off."

    def __init__(self, hub: Hub, number: int, place: int) -> None:
        super().__init__(hub, number, place)
        self._words: deque[bytes] = deque()
        """Words for the child that found no room yet."""

    def begin(self, descriptor: int) -> None:
        """The child has begun; it says itself when it is ready."""
        self.descriptor = descriptor
        os.set_blocking(descriptor, False)

    @property
    def wants_read(self) -> bool:
        """A message may hold a whole frame: there must be credit for one."""
        return self.descriptor >= 0 and self.send_left >= MAX_DATA_BYTES

    @property
    def wants_write(self) -> bool:
        """Whether words, or bytes that the child is ready for, wait."""
        return self.descriptor >= 0 and bool(self._words or (self.ready and self.waiting))

    def write(self) -> None:
        """Write one message of what waits."""
        if self._words:
            if self._put(self._words[0]):
                self._words.popleft()
            return
        piece = bytes(self.waiting[: MAX_DATA_BYTES // 2])
        if self._put(b"D" + piece):
            del self.waiting[: len(piece)]
            self.give_back(len(piece))
            if self.ended and not self.waiting:
                self.finish_input()

    def finish_input(self) -> None:
        """Tell the child that all has come."""
        if self.ready:
            self._words.append(b"E")

    def read(self) -> None:
        """Take one message of the child."""
        try:
            message = os.read(self.descriptor, MAX_DATA_BYTES + 1)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        letter, data = message[:1], message[1:]
        if letter == b"D":
            self.pass_on(data)
        elif letter == b"E":
            self.hub.say(self, Frame.END)
        elif letter == b"R":
            self.ready = True
            self.hub.say(self, Frame.READY, data)
            if self.ended and not self.waiting:
                self.finish_input()
        elif letter == b"M":
            self.hub.recorder.mark(f"stream {self.number}: {data.decode('utf-8', 'replace')}")
            self._words.append(b"G")
        elif letter == b"C":
            self.hub.close_stream(self, data.decode("utf-8", "replace"))
        else:
            self.hub.close_stream(self, self.cut_off)

    def pass_on(self, data: bytes) -> None:
        """Send what the child has read; of a file only the count is recorded."""
        self.send(data)

    def _put(self, message: bytes) -> bool:
        try:
            return os.write(self.descriptor, message) == len(message)
        except BlockingIOError:
            return False
        except OSError:
            # The child has ended; what it said last is still to be read.
            self.waiting.clear()
            self._words.clear()
            return False
