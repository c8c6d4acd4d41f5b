"""What a phone may do: one row for each route. What has no row, no phone may do.

The door for phones asks this table and nothing else. A phone sees requests and sessions, and hands
over what a passkey has signed; no route with a row but `NEVER` signs with a key of the folder,
opens a recording, or changes roster, policy or invitations.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final


class Right(Enum):
    """What a phone may do with a route."""

    NEVER = "never"
    SEES = "sees"
    """It is shown something; nothing is signed."""
    PASSKEY = "passkey"
    """It hands over what a passkey signed, or makes one that the owner may name."""
    OPEN = "open"
    """It needs no secret of a phone: the one-use code is in the question."""


_NEVER: Final = (
    ("GET", "/state"), ("GET", "/pending"), ("GET", "/roster"), ("GET", "/policy"),
    ("POST", "/confirm"), ("POST", "/retire"), ("POST", "/invitations"), ("POST", "/verify"),
    ("POST", "/passkeys/begin"), ("POST", "/passkeys/add"), ("POST", "/passkeys/remove"),
    # By the folder's key; and a recording is opened by its recording key.
    ("POST", "/access/approve"), ("POST", "/access/deny"), ("POST", "/access/stop"),
    ("GET", "/access/{request_id}/recording"),
    ("GET", "/phones"), ("POST", "/phones/code"), ("POST", "/phones/remove"),
    ("POST", "/phones/passkey"), ("POST", "/access/acknowledge"),
    ("GET", "/access/{request_id}/changes"),
    ("GET", "/windows"), ("POST", "/windows/prepare"), ("POST", "/windows/allow"),
    ("POST", "/windows/revoke"),
    ("GET", "/closing"), ("POST", "/closing/close"), ("POST", "/closing/open"),
    ("POST", "/closing/keep"), ("POST", "/recovery/refuse"),
)  # fmt: skip
_SEES: Final = (
    ("GET", "/stream"), ("GET", "/access"), ("GET", "/access/{request_id}"),
    ("POST", "/access/prepare"), ("GET", "/phone"),
)  # fmt: skip
_PASSKEY: Final = (
    ("POST", "/access/passkey/approve"), ("POST", "/access/passkey/ending"),
    ("POST", "/access/passkey/end"), ("POST", "/phone/passkey/begin"),
    ("POST", "/phone/passkey/offer"),
)  # fmt: skip
_OPEN: Final = (("POST", "/phone/enrol"),)

API: Final = "/api/v1"
PHONE_RIGHTS: Final[Mapping[tuple[str, str], Right]] = MappingProxyType(
    {
        (method, API + path): right
        for right, routes in (
            (Right.NEVER, _NEVER), (Right.SEES, _SEES), (Right.PASSKEY, _PASSKEY),
            (Right.OPEN, _OPEN),
        )
        for method, path in routes
    }
)  # fmt: skip


def right_of(method: str, path: str) -> Right:
    """Return what a phone may do with a route, by its method and its path with `{names}`."""
    return PHONE_RIGHTS.get(("GET" if method == "HEAD" else method, path), Right.NEVER)
