"""What a machine knows of the moment: local times, its battery, the disk of its own folder."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fleetward.trust.errors import Refused
from fleetward.trust.update_windows import LocalTime

_POWER: Final = Path("/sys/class/power_supply")


def tell_local(now_ms: int, zone: str) -> LocalTime:
    """Return the time of day in a zone. Raises `Refused` for one that this machine knows not."""
    try:
        there = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError, OverflowError) as e:
        raise Refused(
            f"This machine does not know the time zone {zone}. Install the package tzdata on it.",
            reason="unknown_time_zone",
        ) from e
    return LocalTime(there.weekday(), there.hour * 60 + there.minute)


def read_battery(folder: Path = _POWER) -> int | None:
    """Return the battery's percent; None on mains, and where there is no battery."""
    percents: list[int] = []
    try:
        supplies = list(folder.iterdir())
    except OSError:
        return None
    for supply in supplies:
        kind = _read(supply / "type")
        if kind == "Mains" and _read(supply / "online") == "1":
            return None
        capacity = _read(supply / "capacity")
        if kind == "Battery" and _read(supply / "scope") != "Device" and capacity.isdecimal():
            percents.append(int(capacity))
    return min(percents) if percents else None


def free_bytes(folder: Path) -> int:
    """Return how much room there is on the disk of a folder for whoever runs this."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()[:32]
    except (OSError, UnicodeError):
        return ""
