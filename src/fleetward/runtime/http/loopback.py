"""Listening on this computer alone, at both of its addresses.

A browser knows names below `localhost` as 127.0.0.1 and as ::1, and may try the latter first. A
program that listens on one of them leaves the other to any user of this computer, who then answers
under the same origin: he reads the secret in the address, and may ask the passkeys that belong to
it. So both are taken, or the port is not.
"""

from __future__ import annotations

import errno
import socket
from typing import Final

from fleetward.trust.errors import Unreachable

FOUR: Final = "127.0.0.1"
SIX: Final = "::1"
TRIES: Final = 16
"""Ports that are tried until one is free on both loopback addresses."""
_QUEUE: Final = 64


def bind_loopback(port: int, advice: str = "") -> list[socket.socket]:
    """Return sockets that listen on 127.0.0.1 and ::1, at one port; port 0 takes a free one.

    Raises `Unreachable` when the port is taken on either. Where there is no IPv6 it is left out.
    """
    for _ in range(TRIES):
        first = bind_address(FOUR, port, advice)
        try:
            second = bind_address(SIX, first.getsockname()[1], advice)
        except Unreachable as e:
            if e.reason == "no_address":
                return [first]
            first.close()
            if port:
                raise
            continue
        return [first, second]
    raise Unreachable("No port is free on both loopback addresses.", reason="port_taken")


def bind_address(address: str, port: int, advice: str = "") -> socket.socket:
    """Return a listening socket. Raises `Unreachable` (`port_taken`, `no_address`)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as e:
        raise Unreachable(f"This computer has no {address}.", reason="no_address") from e
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(_QUEUE)
    except OSError as e:
        listening.close()
        missing = family is socket.AF_INET6 and e.errno == errno.EADDRNOTAVAIL
        raise Unreachable(
            f"Expected port {port} of {address} to be free; the system says: {e.strerror}. "
            f"{advice}".strip(),
            reason="no_address" if missing else "port_taken",
        ) from e
    return listening
