"""What of a demo stands already, as its folder and its server say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fleetward.device.identity.joined import GuardFiles
from fleetward.device.status import read_status
from fleetward.keyholder.api import ApiClient
from fleetward.trust.errors import FleetwardError, Unreachable
from fleetward.trust.words import device_words


def read_device_id(machine: Path) -> str:
    """Return the id of the machine in a data directory, or an empty text before it joined."""
    try:
        joined = GuardFiles(machine / "guard").read_joined()
    except FleetwardError:
        return ""
    return joined.device if joined else ""


def read_panel_words(machine: Path) -> str:
    """Return the six words that the machine itself shows. Raises `Refused` when it has none."""
    try:
        return read_status(machine / "guard").words
    except Unreachable:
        joined = GuardFiles(machine / "guard").require_joined()
        return device_words(joined.owner, joined.device)


def has_inventory(client: ApiClient, device: str) -> bool:
    """Say whether the first page has this machine's packages, not only their number."""
    said = client.get(f"/devices/{device}", dict[str, Any])["software"]["packages"]
    if said is None:
        return False
    listed = client.get(f"/devices/{device}/packages?per_page=1", dict[str, Any])
    return bool(listed["total"] == said)
