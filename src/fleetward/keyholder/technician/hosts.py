"""The host names of this program, and what belongs to which. Pure.

A page of the machine gets a host of its own for each port of the grant, so that a browser keeps
its cookies, storage and scripts apart from our page and from other sessions. The label is an HMAC
of the session under the secret of this start: 130 bits, so that neither another site nor the server
knows where to send a request.

    >>> hosts = Hosts(b"secret", 7490)
    >>> len(hosts.page_label("ab" * 32, 0)) <= MAX_LABEL
    True
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

HOME: Final = "technician.localhost"
MAX_LABEL: Final = 63
"""Characters of one label of a name (RFC 1035, section 2.3.4)."""
_TAG_CHARACTERS: Final = 26
_AUTHORITY: Final = re.compile(r"([a-z0-9.-]{1,253})(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Hosts:
    """The names under one secret and one port."""

    secret: bytes
    port: int

    @property
    def home(self) -> str:
        """The origin of our page."""
        return f"http://{HOME}:{self.port}"

    @property
    def frame_host(self) -> str:
        """The host of the terminal's frame."""
        return f"terminal-{self._tag('frame')}.localhost"

    @property
    def frame(self) -> str:
        """The origin of the terminal's frame."""
        return f"http://{self.frame_host}:{self.port}"

    def page_label(self, session: str, place: int) -> str:
        """Return the label for the machine's page on the scope at this place of a grant."""
        return f"page-{self._tag(f'page {session} {place}')}"

    def page_origin(self, session: str, place: int) -> str:
        """Return the origin of the machine's page on the scope at this place of a grant."""
        return f"http://{self.page_label(session, place)}.localhost:{self.port}"

    def _tag(self, what: str) -> str:
        digest = hmac.new(self.secret, what.encode("utf-8"), hashlib.sha256).digest()
        return base64.b32encode(digest).decode("ascii").lower()[:_TAG_CHARACTERS]


def read_host(value: str) -> str:
    """Return the host of a Host header in small letters; nothing for one that is none of ours."""
    found = _AUTHORITY.fullmatch(value.strip(" \t").lower())
    return found[1] if found is not None else ""
