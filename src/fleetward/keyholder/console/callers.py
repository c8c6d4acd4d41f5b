"""Who acts through a page, and at which address his passkeys count.

The program has up to two doors: one on loopback, for who started it, and one for phones. A caller
is made by the door's own check and stands in the request; nothing that a page says makes one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from litestar.connection import ASGIConnection

from fleetward.trust.errors import Misuse
from fleetward.trust.passkey import Passkey

_IN_SCOPE: Final = "fleetward_caller"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who acts. Without a phone it is who has the secret of this start, on this computer."""

    place: Passkey | None
    """Where his passkeys are used; None while no page is served there."""
    phone: str = ""
    name: str = ""
    """The phone's name, as its owner gave it."""

    @property
    def has_keys(self) -> bool:
        """Whether the keys of the owner's folder sign for him: never for a phone."""
        return not self.phone


def put_caller(connection: ASGIConnection[Any, Any, Any, Any], caller: Caller) -> None:
    """Keep the caller in the request. Only a door's check does."""
    connection.scope["state"][_IN_SCOPE] = caller


def caller_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    """Return who acts. Raises `Misuse` where no door has checked."""
    caller = connection.scope["state"].get(_IN_SCOPE)
    if not isinstance(caller, Caller):
        raise Misuse("A request came through no door.", reason="no_caller")
    return caller
