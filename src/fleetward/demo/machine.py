"""The eyes of a simulated machine: a script in the place of the collector and of the kernel.

Everything else of such a machine is the code of a real one: guard, journal, uplink, joining. It
says of itself that it is simulated, in its join statement and by its wall.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from fleetward.demo.inventories import Play, inventory_at
from fleetward.device.guard_core import Seat
from fleetward.device.looking import Collected, Eyes
from fleetward.device.updates.simulated import SimulatedLink
from fleetward.runtime.clock import Clock
from fleetward.wire.posture import Inventory, SectionName, digest_inventory, encode_inventory

PACKAGE_LIST: Final = "package-list"
"""A file in the machine's folder that is written when its packages change, as dpkg's is."""


class ScriptedMachine:
    """What a machine looks like, moment by moment. It is its own collector and its own watch."""

    def __init__(self, base: Inventory, play: Play, clock: Clock, folder: Path) -> None:
        self._base = base
        self._play = play
        self._clock = clock
        self._list = folder / PACKAGE_LIST
        self._packages = ""
        self._asked: tuple[SectionName, ...] | None = None

    @property
    def eyes(self) -> Eyes:
        """Return what guard looks with."""
        return Eyes(collector=self, watch=self, files=(str(self._list),))

    def start(self, sections: tuple[SectionName, ...]) -> None:
        """Begin to look at these sections; an empty tuple means all."""
        self._asked = sections

    def poll(self) -> Collected | None:
        """Return the result once."""
        asked, self._asked = self._asked, None
        if asked is None:
            return None
        now = self._now()
        if asked:
            seen = {name: getattr(now, name) for name in asked}
            now = Inventory(type=now.type, machine=now.machine, **seen)
        return Collected(encode_inventory(now))

    def fingerprint(self) -> bytes:
        """Return bytes that differ when the listening sockets differ."""
        now = self._now()
        self._write_list(now)
        return msgspec.json.encode(now.sockets)

    def _now(self) -> Inventory:
        return inventory_at(self._base, self._play, self._clock.wall_ms())

    def _write_list(self, now: Inventory) -> None:
        packages = digest_inventory(msgspec.json.encode(now.packages))
        if packages != self._packages:
            self._packages = packages
            self._list.write_text(packages, "ascii")


def make_seat(
    clock: Clock, eyes: Eyes, spread: float, *, seed: str = "", failing: float = 0.0
) -> Seat:
    """Return the seat of a simulated guard: its wall is never a real one, and it says so.

    `seed` is the machine's own, and `failing` the share of machines on which a release fails.
    """
    return Seat(
        clock=clock,
        eyes=eyes,
        boot=f"simulated-{os.getpid()}",
        wall="simulated",
        root=True,
        spread=spread,
        installers=lambda clock: SimulatedLink(clock, seed, failing),
    )
