"""What guard keeps of closings on its disk: one small file, replaced as a whole before it acts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from fleetward.device.access.closing_words import Port, Unit
from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.trust.closing import ClosedPort
from fleetward.trust.closing_standing import Held, Standing
from fleetward.trust.errors import FleetwardError

MAX_BYTES: Final = 256 * 1024
MOST_FOUND: Final = 64
"""Ports of programs of local access that are remembered."""


class _KeptPort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    protocol: str
    port: Port


class _KeptHeld(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    closing: str
    serial: int
    ports: tuple[_KeptPort, ...]
    local_access: tuple[str, ...]
    restore_seconds: int


class Owed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be said of a closing once it has been carried out."""

    outcome: str
    closing: str
    serial: int


class _KeptFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    epoch: int
    serial: int
    kept: _KeptHeld | None
    trial: _KeptHeld | None
    carried_out: bool
    until_powered_ms: int
    units: tuple[Unit, ...]
    found: tuple[Port, ...]
    owed: Owed | None


@dataclass(slots=True)
class Memory:
    """Everything that outlives a start. `units` were on before this machine switched them off;
    `found` are ports of programs of local access, as they were seen while these ran."""

    standing: Standing = field(default_factory=Standing)
    until_powered_ms: int = 0
    units: tuple[Unit, ...] = ()
    found: tuple[int, ...] = ()
    owed: Owed | None = None


class MemoryFile:
    """Reads and writes it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, lost: Standing) -> tuple[Memory, bool]:
        """Return what is remembered, and whether the file was damaged.

        Then nobody knows the highest serial any more, and `lost` holds: nothing is closed, and its
        epoch and serial are the present ones. Serials of the owner's tools are times, so that from
        the present on new ones are taken, and what was signed before is not.
        """
        try:
            kept = msgspec.json.decode(read_bounded(self._path, MAX_BYTES), type=_KeptFile)
        except FleetwardError as e:
            if e.reason == "file_missing":
                return Memory(), False
            return Memory(lost), True
        except (msgspec.MsgspecError, UnicodeError):
            return Memory(lost), True
        standing = Standing(
            kept.epoch, kept.serial, _from(kept.kept), _from(kept.trial), kept.carried_out
        )
        return Memory(standing, kept.until_powered_ms, kept.units, kept.found, kept.owed), False

    def save(self, memory: Memory) -> None:
        """Replace the file. Raises `Unreachable`."""
        standing = memory.standing
        kept = _KeptFile(
            epoch=standing.epoch,
            serial=standing.serial,
            kept=_to(standing.kept),
            trial=_to(standing.trial),
            carried_out=standing.carried_out,
            until_powered_ms=memory.until_powered_ms,
            units=memory.units,
            found=memory.found[:MOST_FOUND],
            owed=memory.owed,
        )
        atomic_write(self._path, msgspec.json.encode(kept))


def _from(held: _KeptHeld | None) -> Held | None:
    if held is None:
        return None
    ports = tuple(ClosedPort(p.protocol, p.port) for p in held.ports)
    return Held(held.closing, held.serial, ports, held.local_access, held.restore_seconds)


def _to(held: Held | None) -> _KeptHeld | None:
    if held is None:
        return None
    ports = tuple(_KeptPort(p.protocol, p.port) for p in held.ports)
    return _KeptHeld(held.closing, held.serial, ports, held.local_access, held.restore_seconds)
