"""The port of the owner's console: the same one at each start, for passkeys are bound to it.

A policy names the whole origin of a passkey, its port too. So the port that was taken once is
remembered in the owner's folder. While no passkey needs it, another is taken when it is not free.
"""

from __future__ import annotations

import socket
import weakref
from typing import Any, Final

from fleetward.keyholder.console.app import HOST
from fleetward.keyholder.desk import Desk
from fleetward.runtime.http.loopback import bind_address, bind_loopback
from fleetward.trust.errors import Unreachable

PORT_FILE: Final = "console-port"
_ADVICE: Final = (
    "End what holds it, or name another by --port; passkeys work at their own port alone."
)
ALL_ADDRESSES: Final = "0.0.0.0"  # noqa: S104
MAX_PHONE_CONNECTIONS: Final = 128
MAX_OF_ONE_ADDRESS: Final = 32
"""A browser opens six connections; five phones behind one address open thirty."""
FIRST_PORTS: Final = range(7480, 7490)
"""Tried before any other: no system hands them out for connections of its own."""


def bind_port(desk: Desk, wished: int = 0) -> list[socket.socket]:
    """Return listening sockets on loopback. They serve plain HTTP, and never elsewhere.

    Port 0 takes the one of last time. Raises `Unreachable` when the port that is wished for, or
    that passkeys need, is taken.
    """
    last = read_port(desk)
    if wished:
        listening = bind_loopback(wished, _ADVICE)
    elif last and _is_needed(desk, last):
        listening = bind_loopback(last, _ADVICE)
    else:
        listening = _bind_first([*([last] if last else []), *FIRST_PORTS])
    port = listening[0].getsockname()[1]
    if port != last:
        desk.folder.replace(PORT_FILE, f"{port}\n".encode())
    return listening


def read_port(desk: Desk) -> int:
    """Return the port of last time, or 0."""
    if not desk.folder.has(PORT_FILE):
        return 0
    text = desk.folder.read(PORT_FILE, 16).strip()
    return int(text) if text.isdigit() and int(text) < 65_536 else 0


def _is_needed(desk: Desk, port: int) -> bool:
    origin = f"http://{HOST}:{port}"
    keys = desk.documents().policy.keys.values()
    return any(origin in holder.passkey.origins for holder in keys if holder.passkey)


def _bind_first(ports: list[int]) -> list[socket.socket]:
    for port in ports:
        try:
            return bind_loopback(port, _ADVICE)
        except Unreachable:
            continue
    return bind_loopback(0, _ADVICE)


def bind_phone_port(port: int) -> socket.socket:
    """Return a socket that listens on all of this computer's IPv4 addresses, for TLS alone.

    It takes so many connections and no more. Raises `Unreachable` when the port is taken.
    """
    return BoundedSocket(fileno=bind_address(ALL_ADDRESSES, port, _ADVICE).detach())


class BoundedSocket(socket.socket):
    """A listening socket that closes at once what is too much, before a byte of it is read.

    Somebody who opens connections and says nothing must not use up the descriptors of the whole
    program, whose own pages are on loopback.
    """

    def __init__(self, *, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self._open: list[tuple[weakref.ref[socket.socket], str]] = []

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection. Raises `BlockingIOError` when that was one too many."""
        connection, address = super().accept()
        self._open = [each for each in self._open if _is_open(each[0]())]
        same = sum(host == address[0] for _, host in self._open)
        if len(self._open) >= MAX_PHONE_CONNECTIONS or same >= MAX_OF_ONE_ADDRESS:
            connection.close()
            raise BlockingIOError
        self._open.append((weakref.ref(connection), address[0]))
        return connection, address


def _is_open(connection: socket.socket | None) -> bool:
    return connection is not None and connection.fileno() >= 0
