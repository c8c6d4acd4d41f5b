"""How guard has the process of a session started: it does not start one itself.

What guard starts inherits its filter against networks, and under systemd its read-only view of the
machine. So whoever started guard starts sessions too: `fleetward-agent run` over the control
socket, or systemd, which has a socket and a unit for each connection.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final, Protocol

from fleetward.device.access.accounts import account_named, account_of
from fleetward.device.access.words import make_pair
from fleetward.trust.access import RootScope, Scope, TerminalScope
from fleetward.trust.access_runbook import RunbookScope
from fleetward.trust.errors import Unreachable

SESSION_SOCKET: Final = Path("/run/fleetward/session.sock")
CLOSER_SOCKET: Final = Path("/run/fleetward/closer.sock")
INSTALLER_SOCKET: Final = Path("/run/fleetward/installer.sock")
SESSION_WORD: Final = b"s"
CLOSER_WORD: Final = b"c"
INSTALLER_WORD: Final = b"i"
"""Guard's only words to its supervisor; a descriptor comes along."""


class Doors(Protocol):
    """Starts processes of sessions."""

    def check(self, scope: Scope) -> None:
        """Return when this machine can do what the scope says. Raises `Refused`."""

    def start(self) -> socket.socket:
        """Start one, and return guard's end of the socket to it. Raises `Unreachable`."""


class Closers(Protocol):
    """Starts processes that close ports."""

    def start_closer(self) -> socket.socket:
        """Start one, and return guard's end of the socket to it. Raises `Unreachable`."""


class Installers(Protocol):
    """Starts processes that install software."""

    def start_installer(self) -> socket.socket:
        """Start one, and return guard's end of the socket to it. Raises `Unreachable`."""


class RealDoors:
    """What doors of a real machine have in common."""

    def check(self, scope: Scope) -> None:
        """Return when there is a user for a terminal or a runbook. Raises `Refused`."""
        if isinstance(scope, TerminalScope | RootScope):
            account_of(scope)
        elif isinstance(scope, RunbookScope):
            account_named(scope.run_as)


class SupervisedDoors(RealDoors):
    """`fleetward-agent run` starts them."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    def start(self) -> socket.socket:
        """Hand the other end to the supervisor. Raises `Unreachable`."""
        return self._start(SESSION_WORD)

    def start_closer(self) -> socket.socket:
        """Hand the other end to the supervisor. Raises `Unreachable`."""
        return self._start(CLOSER_WORD)

    def start_installer(self) -> socket.socket:
        """Hand the other end to the supervisor. Raises `Unreachable`."""
        return self._start(INSTALLER_WORD)

    def _start(self, word: bytes) -> socket.socket:
        ours, theirs = make_pair()
        with theirs:
            try:
                socket.send_fds(self._control, [word], [theirs.fileno()])
            except OSError as e:
                ours.close()
                raise _no_process(e) from e
        return ours


class ServiceDoors(RealDoors):
    """systemd starts one for each connection to its socket."""

    def __init__(
        self,
        path: Path = SESSION_SOCKET,
        closer: Path = CLOSER_SOCKET,
        installer: Path = INSTALLER_SOCKET,
    ) -> None:
        self._path = path
        self._closer = closer
        self._installer = installer

    def start(self) -> socket.socket:
        """Connect. Raises `Unreachable`."""
        return self._connect(self._path)

    def start_closer(self) -> socket.socket:
        """Connect. Raises `Unreachable`."""
        return self._connect(self._closer)

    def start_installer(self) -> socket.socket:
        """Connect. Raises `Unreachable`."""
        return self._connect(self._installer)

    @staticmethod
    def _connect(path: Path) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.connect(str(path))
        except OSError as e:
            sock.close()
            raise _no_process(e) from e
        return sock


def _no_process(error: OSError) -> Unreachable:
    return Unreachable(
        f"The process could not be started: {error.strerror}. Look at the units of "
        "the agent, or start it again.",
        reason="session_cannot_start",
    )
