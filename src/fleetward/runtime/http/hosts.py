"""Who may address this program: the check of Host and Origin.

A page of another site can make a browser send requests to loopback, and can rebind its own name to
it. So the Host must be one of ours, and a request that changes something must come from our own
origin where it comes from a page. The port is not compared with the configuration: a forwarded port
is another one; Origin and Host must name the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from litestar import Request
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from fleetward.runtime.http.headers import REPORT_PATH
from fleetward.trust.errors import Untrusted

_AUTHORITY: Final = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[0-9a-z_.-]+)(?::[0-9]{1,5})?")
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """The names under which a program may be addressed, lower case and without port."""

    hosts: frozenset[str]
    scheme: str = "http"

    def check(self, method: str, host: str | None, origin: str | None) -> None:
        """Raise Untrusted (`host_not_allowed`, `origin_not_allowed`) for a request of others."""
        authority = (host or "").lower()
        found = _AUTHORITY.fullmatch(authority)
        if found is None or found["host"] not in self.hosts:
            raise Untrusted(
                f"expected the Host {' or '.join(sorted(self.hosts))}, got {authority[:80]!a}",
                reason="host_not_allowed",
            )
        if method in _SAFE or origin is None:
            return
        if origin.lower() != f"{self.scheme}://{authority}":
            raise Untrusted(
                f"expected a request from {self.scheme}://{authority}, "
                f"got one from {origin[:80]!a}",
                reason="origin_not_allowed",
            )


class HostCheck(ASGIMiddleware):
    """Applies a `HostPolicy` to every request that has a route."""

    def __init__(self, policy: HostPolicy) -> None:
        self._policy = policy

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Check, then go on. Raises Untrusted."""
        if scope["type"] == ScopeType.HTTP:
            request: Request[Any, Any, Any] = Request(scope)
            origin = request.headers.get("origin")
            # A browser reports a policy violation with whatever origin the broken page had.
            if scope["path"] == REPORT_PATH and origin == "null":
                origin = None
            self._policy.check(request.method, request.headers.get("host"), origin)
        await next_app(scope, receive, send)
