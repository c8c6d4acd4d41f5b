"""A serial port as the inner half of a session sees it: bytes in both directions, recorded."""

from __future__ import annotations

from fleetward.device.access.recorder import Text
from fleetward.device.access.streams import Hub, Stream


class SerialStream(Stream):
    """Both directions are recorded as text, before they go on.

    What is no text is recorded as U+FFFD, so a binary protocol is seen to have taken place, and
    when, but cannot be read back; counts stand beside it. Nothing is masked: a port does not say
    whether what is typed is shown.
    """

    label = "serial"
    counted = True

    def __init__(self, hub: Hub, number: int, place: int) -> None:
        super().__init__(hub, number, place)
        self._typed, self._shown = Text(), Text()

    def accept(self, data: bytes) -> None:
        """Record what is sent to the port."""
        self.hub.recorder.input(self._typed.take(data))
        self.waiting += data

    def read(self) -> None:
        """Read once, record it, send it; the end means that the port is gone."""
        data = self.read_some()
        if data is None:
            return
        if data:
            self.hub.recorder.output(self._shown.take(data))
            self.send(data)
        else:
            self.hub.close_stream(self, "The serial port is gone.")
