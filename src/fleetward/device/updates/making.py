"""Which installer a place has."""

from __future__ import annotations

from pathlib import Path

from fleetward.device.updates.installers.agent import AgentInstaller
from fleetward.device.updates.installers.choices import ActiveFile, Choice, GrubChoice
from fleetward.device.updates.installers.contract import Installer
from fleetward.device.updates.installers.directory import DirectoryInstaller
from fleetward.device.updates.installers.dpkg import DpkgInstaller
from fleetward.device.updates.installers.file_slot import FileSlotInstaller
from fleetward.device.updates.installers.rauc import RaucInstaller
from fleetward.device.updates.places import (
    AgentPlace,
    DirectoryPlace,
    DpkgPlace,
    FileSlotPlace,
    Place,
)


def make_installer(place: Place, folder: Path, lock: int, data: Path) -> Installer:
    """Return the installer of a place. `folder` is below the agent's data, for what it remembers;
    `lock` is held by whatever it starts that writes."""
    if isinstance(place, AgentPlace):
        return AgentInstaller(data)
    if isinstance(place, DirectoryPlace):
        return DirectoryInstaller(Path(place.path))
    if isinstance(place, FileSlotPlace):
        first, second = map(Path, place.slots)
        names = (first.name, second.name)
        choice: Choice = ActiveFile(Path(place.active), names)
        if place.grub:
            choice = GrubChoice(Path(place.grub), names)
        return FileSlotInstaller((first, second), choice, folder)
    if isinstance(place, DpkgPlace):
        path = Path(place.path) if place.path else folder
        return DpkgInstaller(path, Path(place.root or "/"), lock)
    return RaucInstaller(Path(place.config), place.bus, folder)
