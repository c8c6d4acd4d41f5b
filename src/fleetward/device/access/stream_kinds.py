"""Which kind of stream each scope has."""

from __future__ import annotations

from fleetward.device.access.files_stream import FilesStream
from fleetward.device.access.runbook_stream import RunbookStream
from fleetward.device.access.serial_stream import SerialStream
from fleetward.device.access.streams import Hub, LogsStream, Stream, TcpStream, TerminalStream
from fleetward.trust.access import FilesScope, LogsScope, Scope, TcpScope
from fleetward.trust.access_runbook import RunbookScope
from fleetward.trust.access_serial import SerialScope


def make_stream(hub: Hub, number: int, place: int, scope: Scope) -> Stream:
    """Return a stream on this scope."""
    if isinstance(scope, TcpScope):
        return TcpStream(hub, number, place, scope.mode)
    if isinstance(scope, LogsScope):
        return LogsStream(hub, number, place)
    if isinstance(scope, FilesScope):
        return FilesStream(hub, number, place)
    if isinstance(scope, SerialScope):
        return SerialStream(hub, number, place)
    if isinstance(scope, RunbookScope):
        return RunbookStream(hub, number, place)
    return TerminalStream(hub, number, place)
