"""What the server hands out about permissions given ahead. All of it is hearsay."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlencode

import msgspec

from fleetward.keyholder.api import ApiClient
from fleetward.trust.canonical import to_base64url

_Text = Annotated[str, msgspec.Meta(max_length=2000)]
_Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class MachineRow(msgspec.Struct, frozen=True, kw_only=True):
    """A machine of a permission, and its signed word about it (base64url, or empty)."""

    device_id: Annotated[str, msgspec.Meta(pattern="^[a-z2-7]{32}$")]
    signed: str = ""


class EntryRow(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody came by a window."""

    request: _Hash
    device_id: _Text
    window: int
    session: _Text = ""
    state: _Text = ""


class StandingRow(msgspec.Struct, frozen=True, kw_only=True):
    """A permission given ahead; `envelope` and `stop` are base64url."""

    id: _Hash
    envelope: str
    stop: str = ""
    machines: list[MachineRow] = []
    entries: list[EntryRow] = []


class _List(msgspec.Struct, frozen=True):
    items: list[StandingRow]


class StandingApi:
    """The server's half of permissions given ahead, over one client."""

    def __init__(self, client: ApiClient) -> None:
        self.client: Final = client

    def rows(
        self, *, requester: str = "", device: str = "", current: bool = False
    ) -> list[StandingRow]:
        """Return permissions, the newest first. Raises as `ApiClient.get`."""
        asked = {"requester": requester, "device_id": device, "current": "true" if current else ""}
        words = urlencode({name: value for name, value in asked.items() if value})
        return self.client.get(f"/access/standing?{words}", _List).items

    def add(self, envelope: bytes) -> None:
        """Hand over a signed permission."""
        self.client.post("/access/standing", _wrap(envelope), StandingRow)

    def revoke(self, standing: str, stop: bytes) -> None:
        """Hand over a signed stop of it."""
        self.client.post(f"/access/standing/{standing}/stop", _wrap(stop), StandingRow)

    def enter(self, request: str, entry: bytes) -> None:
        """Hand over a signed entry for a request."""
        self.client.post(f"/access/requests/{request}/entry", _wrap(entry), _Taken)


class _Taken(msgspec.Struct, frozen=True):
    id: str


def _wrap(envelope: bytes) -> dict[str, str]:
    return {"envelope": to_base64url(envelope)}
