"""Who calls: the person or token behind a request, its role, and what it may see.

A handler takes an `ApiRequest` (see `request.py`) and reads `request.user`. Whoever lists or shows
devices asks `caller.scope`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, Protocol, TypeAlias

RoleName: TypeAlias = Literal["viewer", "operator", "admin"]


class Role(IntEnum):
    """What a person or token may do. Each role may do what those below it may."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @classmethod
    def named(cls, name: RoleName) -> Role:
        """Return the role with this name."""
        return cls[name.upper()]


@dataclass(frozen=True, slots=True)
class Scope:
    """Which devices a caller may see. None means all; a device needs to be in one of the two."""

    sites: frozenset[str] | None = None
    devices: frozenset[str] | None = None

    @property
    def whole_fleet(self) -> bool:
        """Say whether nothing is held back."""
        return self.sites is None and self.devices is None

    def covers(self, device_id: str, site: str) -> bool:
        """Say whether a device at a site is in the scope."""
        if self.whole_fleet:
            return True
        return device_id in (self.devices or ()) or site in (self.sites or ())


WHOLE_FLEET = Scope()


@dataclass(frozen=True, slots=True)
class Caller:
    """A request's author, authenticated.

    `host` is whoever may read the server's own data directory, by the command line.
    `passkey_only` marks a session that may do nothing but register a passkey.
    """

    kind: Literal["person", "token", "host"]
    id: str
    name: str
    role: Role
    scope: Scope = WHOLE_FLEET
    session_id: str = ""
    passkey_only: bool = False

    @property
    def actor(self) -> str:
        """Return the name under which deeds are recorded."""
        return f"{self.kind}:{self.id}"


class Authenticator(Protocol):
    """Turns a credential into a caller. Called in a worker thread."""

    def authenticate(self, bearer: str, address: str) -> Caller:
        """Return the caller.

        Raises Untrusted (`not_signed_in`, `session_ended`), Refused (`rate_limited`) when this
        address has failed too often, or Unreachable.
        """
        ...


ON_THE_HOST = Caller("host", "local", "the command line on this host", Role.ADMIN)
