"""Which installer a place has."""

from __future__ import annotations

from pathlib import Path

from fleetward.device.updates.installers.contract import Installer
from fleetward.device.updates.installers.directory import DirectoryInstaller
from fleetward.device.updates.places import DirectoryPlace, Place
from fleetward.trust.errors import Refused


def make_installer(place: Place, folder: Path, lock: int) -> Installer:
    """Return the installer of a place. `folder` is below the agent's data, for what it remembers;
    `lock` is held while anything that it starts may still write."""
    del folder, lock
    if isinstance(place, DirectoryPlace):
        return DirectoryInstaller(Path(place.path))
    raise Refused(
        f"This version of the agent has no installer {place.__struct_config__.tag}.",
        reason="wrong_installer",
    )
