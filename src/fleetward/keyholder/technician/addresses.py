"""What of a grant is to be had at an address: web pages at hosts of their own, plain ports here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fleetward.keyholder.access.connecting import SessionLink
from fleetward.keyholder.access.front_port import LOOPBACK, PortListener
from fleetward.keyholder.technician.hosts import Hosts
from fleetward.keyholder.technician.locations import OwnPages
from fleetward.keyholder.technician.relay_heads import Page
from fleetward.trust.access import TcpScope


class Addresses:
    """The pages and ports of one session. Empty until it is open; pages stay known at its end."""

    def __init__(self, hosts: Hosts, tell: Callable[[str], None]) -> None:
        self._hosts = hosts
        self._tell = tell
        self._pages: dict[str, Page] = {}
        self._listeners: list[PortListener] = []
        self.shown: Final[dict[int, str]] = {}
        """Where a scope is to be had, by its place in the grant."""

    def find_page(self, host: str) -> Page | None:
        """Return the machine's page at a host."""
        return self._pages.get(host)

    async def open(self, link: SessionLink) -> None:
        """Give every port of the grant an address. Raises `Unreachable` for none to be had."""
        session = link.session
        web = {
            place: scope.port
            for place, scope in enumerate(link.scopes)
            if isinstance(scope, TcpScope) and scope.mode == "http"
        }
        origins = {port: self._hosts.page_origin(session, place) for place, port in web.items()}
        for place, port in web.items():
            page = Page(place, port, origins[port], OwnPages(origins, port))
            self._pages[page.host] = page
            self.shown[place] = page.origin
        for place, scope in enumerate(link.scopes):
            if isinstance(scope, TcpScope) and scope.mode != "http":
                listener = PortListener(link, place, self._tell)
                self.shown[place] = f"{LOOPBACK}:{await listener.start(0)}"
                self._listeners.append(listener)

    async def close(self) -> None:
        """Close the plain ports. Pages stay, to say that the session is over."""
        for listener in self._listeners:
            await listener.stop()
        self._listeners.clear()
