"""One TCP port of the machine's own loopback, dialled by the attendant; never another host."""

from __future__ import annotations

import errno
import select
import socket
from typing import Final

from fleetward.trust.errors import Unreachable

HOSTS: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
"""All that is ever dialled. The port is the scope's; nothing else comes from the requester."""
DIAL_SECONDS: Final = 0.25
"""On loopback an answer comes at once, or the program there is stuck."""


def dial(port: int) -> socket.socket:
    """Return a connection to this port of the machine itself. Raises `Unreachable`."""
    problem = "nothing answers"
    for family, host in HOSTS:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError:
            continue
        number = sock.connect_ex((host, port))
        if number == errno.EINPROGRESS:
            select.select([], [sock], [], DIAL_SECONDS)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number == 0 and _is_connected(sock, (host, port)):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        problem = errno.errorcode.get(number, "no answer") if number else "no answer in time"
        sock.close()
    raise Unreachable(
        f"Nothing on this machine answers on port {port} ({problem}).", reason="port_closed"
    )


def _is_connected(sock: socket.socket, to: tuple[str, int]) -> bool:
    """Return whether it leads where it should, and not to itself: a port of our own choosing may
    be the one that is dialled."""
    try:
        return bool(sock.getpeername()[:2] == to and sock.getsockname()[:2] != to)
    except OSError:
        return False
