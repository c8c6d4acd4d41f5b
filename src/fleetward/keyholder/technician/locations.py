"""Where a page of the machine may send the browser: to itself, and nowhere else. Pure.

A machine behind the relay believes that it is `http://localhost:PORT`. A redirect to there is one
to its own host here; any other address is shown as blocked, never followed: it could be a port of
the technician's own computer, his router, or another program of ours.

What a browser makes of an address differs from what it looks like (WHATWG URL, section 4.4): tabs
and line breaks vanish, `\\` is `/`, `http:x` may be relative, `2130706433` and `0x7f.1` are
127.0.0.1. So only what is plainly one of ours is let through, by equality.

    >>> own = OwnPages({8080: "http://page-a.localhost:7490"}, 8080)
    >>> own.judge("http://localhost:8080/login")
    'http://page-a.localhost:7490/login'
    >>> own.judge("/login")
    '/login'
    >>> own.judge("//evil.example/") is None
    True
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MAX_LOCATION: Final = 8192
"""Characters; longer addresses are refused by servers and browsers alike."""
MACHINE_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
"""What a machine calls itself when it is asked on its loopback."""
_PLAIN: Final = re.compile(r"[\x21-\x7e\xa0-\uffff]*")
_ABSOLUTE: Final = re.compile(
    r"http://(?P<host>[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::(?P<port>[0-9]{1,5}))?(?P<rest>[/?#].*)?"
)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_HTTP: Final = 80


@dataclass(frozen=True, slots=True)
class OwnPages:
    """The origins at which pages of this session are shown, by the machine's port."""

    origins: Mapping[int, str]
    port: int
    """The port of the page that answers."""

    def judge(self, location: str) -> str | None:
        """Return where a redirect leads here, or None for one that is not followed."""
        if len(location) > MAX_LOCATION or "\\" in location or not _PLAIN.fullmatch(location):
            return None
        found = _ABSOLUTE.fullmatch(location)
        if found is not None:
            return self._judge_absolute(found)
        if _SCHEME.match(location) or location.startswith("//"):
            return None
        return location

    def _judge_absolute(self, found: re.Match[str]) -> str | None:
        host, port = found["host"].lower(), int(found["port"] or _HTTP)
        rest = found["rest"] or ""
        rest = rest if rest.startswith("/") else f"/{rest}"
        origin = self.origins.get(port)
        if host in MACHINE_NAMES and origin is not None:
            return origin + rest
        here = f"http://{host}:{port}"
        return here + rest if here in self.origins.values() else None
