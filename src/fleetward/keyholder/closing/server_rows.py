"""What the server hands out about closings. It is hearsay, but for the reports inside it, which
`judging` verifies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

import msgspec

from fleetward.keyholder.api import ApiClient
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Untrusted

PER_PAGE: Final = 500
MAX_PAGES: Final = 400
NAMED_AT_ONCE: Final = 50
_Text = Annotated[str, msgspec.Meta(max_length=2000)]
_Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Device = Annotated[str, msgspec.Meta(pattern="^[a-z2-7]{32}$")]


class ClosingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One closing as the server tells it."""

    id: _Hash
    serial: int
    words: _Text = ""
    opens_all: bool = False
    for_all: bool = False
    people: list[_Text] = []
    reason: _Text = ""
    restore_seconds: int = 0
    issued_at: str = ""
    kept_at: str | None = None
    counts: dict[str, int] = {}


class PartRow(msgspec.Struct, frozen=True, kw_only=True):
    """Where it stands at one machine. `report` is what the machine signed."""

    device_id: _Device
    name: _Text = ""
    site: _Text = ""
    state: _Text = ""
    words: _Text = ""
    at: str = ""
    report: Annotated[str, msgspec.Meta(max_length=32 * 1024)] = ""


class ClosingDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A closing with a page of its machines."""

    closing: ClosingRow
    envelope: str
    kept: str = ""
    machines: list[PartRow] = []
    total: int = 0


class TierRow(msgspec.Struct, frozen=True, kw_only=True):
    """One of the three tiers, as the server says."""

    number: int
    title: _Text
    state: _Text
    words: _Text
    as_of: str | None = None


class PortRow(msgspec.Struct, frozen=True, kw_only=True):
    """A port that waits for others."""

    protocol: _Text
    port: int
    exposure: _Text = ""
    process: _Text | None = None
    closed: bool = False


class PeerRow(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who was connected."""

    port: int
    address: _Text
    process: _Text | None = None


class MachineRow(msgspec.Struct, frozen=True, kw_only=True):
    """A machine: its tiers, what waits there, and who was connected."""

    device_id: _Device
    name: _Text = ""
    site: _Text = ""
    connected: bool = False
    simulated: bool = False
    tiers: list[TierRow] = []
    ports: list[PortRow] = []
    looked_at: str | None = None
    peers: list[PeerRow] = []
    peers_more: int = 0
    peers_at: str | None = None
    closed: _Text = ""
    seconds_left: int = 0
    report: Annotated[str, msgspec.Meta(max_length=32 * 1024)] = ""
    reported_at: str | None = None


class _Page(msgspec.Struct, frozen=True):
    items: list[ClosingRow]
    total: int = 0


class _Machines(msgspec.Struct, frozen=True):
    items: list[MachineRow]
    total: int = 0


class ClosingApi:
    """The server's half of closings, over one client."""

    def __init__(self, client: ApiClient) -> None:
        self.client: Final = client

    def submit(self, envelope: bytes) -> ClosingRow:
        """Hand over a signed closing. Raises `Refused`, `Unreachable` or `Malformed`."""
        return self.client.post("/closings", _wrap(envelope), ClosingRow)

    def keep(self, closing: str, envelope: bytes) -> None:
        """Hand over the confirmation of a closing."""
        path = f"/closings/{quote(closing, safe='')}/kept"
        self.client.post(path, _wrap(envelope), dict[str, Any])

    def rows(self) -> list[ClosingRow]:
        """Return the newest closings."""
        return self.client.get(f"/closings?per_page={PER_PAGE}", _Page).items

    def detail(self, closing: str) -> ClosingDetail:
        """Return a closing with all its machines, by its id or the beginning of it.

        Raises `Untrusted` for another closing: what is kept is what was named.
        """
        path = f"/closings/{quote(closing, safe='')}"
        whole = self.client.get(f"{path}?per_page={PER_PAGE}", ClosingDetail)
        if not whole.closing.id.startswith(closing):
            raise Untrusted(
                f"The server answers about closing {whole.closing.id[:16]}; asked was "
                f"{closing[:16]!r}. Nothing was done.",
                reason="another_closing",
            )
        machines = list(whole.machines)
        for number in range(2, MAX_PAGES + 1):
            if len(machines) >= whole.total:
                break
            page = self.client.get(f"{path}?per_page={PER_PAGE}&page={number}", ClosingDetail)
            machines += page.machines
            if not page.machines:
                break
        return msgspec.structs.replace(whole, machines=machines)

    def machines(self, devices: Sequence[str] = ()) -> list[MachineRow]:
        """Return these machines, or all."""
        found: list[MachineRow] = []
        for at in range(0, len(devices), NAMED_AT_ONCE):
            named = ",".join(devices[at : at + NAMED_AT_ONCE])
            query = urlencode({"device_id": named, "per_page": str(PER_PAGE)})
            found += self.client.get(f"/closing-machines?{query}", _Machines).items
        if devices:
            return found
        for number in range(1, MAX_PAGES + 1):
            query = urlencode({"page": str(number), "per_page": str(PER_PAGE)})
            page = self.client.get(f"/closing-machines?{query}", _Machines)
            found += page.items
            if len(found) >= page.total or not page.items:
                break
        return found


def _wrap(envelope: bytes) -> dict[str, str]:
    return {"envelope": to_base64url(envelope)}
