"""A run of a runbook as the inner half of a session sees it. Letters are told in `runbook`."""

from __future__ import annotations

from fleetward.device.access.files_stream import FilesStream
from fleetward.device.access.recorder import Text
from fleetward.device.access.streams import Hub
from fleetward.trust.errors import Untrusted


class RunbookStream(FilesStream):
    """One run: its steps are marked, and what they say is recorded before it is sent."""

    label = "runbook"
    counted = False
    cut_off = "The run was cut off."

    def __init__(self, hub: Hub, number: int, place: int) -> None:
        super().__init__(hub, number, place)
        self._shown = Text()

    def accept(self, data: bytes) -> None:
        """Nothing is typed into a runbook. Raises `Untrusted`."""
        raise Untrusted("Nothing is typed into a runbook.", reason="bad_frame")

    def finish_input(self) -> None:
        """There is no input that could end."""

    def pass_on(self, data: bytes) -> None:
        """Record what a step said, then send it."""
        self.hub.recorder.output(self._shown.take(data))
        self.send(data)
