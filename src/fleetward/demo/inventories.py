"""The inventories of simulated machines: small documents of our own, and what changes in them.

Changes follow the time of day, not the start of the program: the same moment always gives the same
document, so that stopping and starting a demo brings no change that nobody made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from fleetward.runtime.files import read_bounded
from fleetward.trust.errors import Misuse
from fleetward.wire.posture import MAX_INVENTORY_BYTES, Inventory, Package, Socket

FOLDER: Final = Path(__file__).parent / "fixtures"
_MINUTE_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Play:
    """What a machine does by itself: it opens a port now and then, and upgrades a package.

    The port is open for the first `open_minutes` of every `every_minutes`; the package gets a new
    version every `upgrade_minutes`. Zero means never.
    """

    socket: Socket | None = None
    every_minutes: int = 0
    open_minutes: int = 0
    package: str = ""
    upgrade_minutes: int = 0


STILL: Final = Play()


@cache
def read_fixture(name: str) -> Inventory:
    """Return the inventory of `fixtures/NAME.json`. Raises `Misuse` when it is none."""
    try:
        value = json.loads(read_bounded(FOLDER / f"{name}.json", MAX_INVENTORY_BYTES))
        return msgspec.convert(value, Inventory)
    except (msgspec.ValidationError, ValueError) as e:
        raise Misuse(f"The fixture {name} is no inventory: {e}", reason="bad_fixture") from e


def inventory_at(base: Inventory, play: Play, wall_ms: int) -> Inventory:
    """Return what the machine looks like at this moment. Pure."""
    minute = wall_ms // _MINUTE_MS
    changed = base
    if play.socket is not None and minute % play.every_minutes < play.open_minutes:
        changed = _with_socket(changed, play.socket)
    if play.upgrade_minutes:
        changed = _with_package(changed, play.package, f"4.{minute // play.upgrade_minutes}")
    return changed


def _with_socket(base: Inventory, socket: Socket) -> Inventory:
    if base.sockets is None:
        return base
    rows = sorted((*base.sockets.items, socket), key=lambda r: (r.proto, r.port, r.address))
    return msgspec.structs.replace(
        base, sockets=msgspec.structs.replace(base.sockets, items=tuple(rows))
    )


def _with_package(base: Inventory, name: str, version: str) -> Inventory:
    if base.packages is None:
        return base
    added = Package(manager="dpkg", name=name, version=version, arch="all", source=name)
    rows = sorted((*base.packages.items, added), key=lambda row: row.name)
    return msgspec.structs.replace(
        base, packages=msgspec.structs.replace(base.packages, items=tuple(rows))
    )
