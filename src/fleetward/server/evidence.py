"""Handing verified entries to the capability that reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fleetward.runtime.clock import Clock
from fleetward.server.posture.act import Posture
from fleetward.server.posture.store import DeviceKey
from fleetward.trust.journal import Entry


class PostureSink:
    """An `intake.EvidenceSink` over the posture of machines."""

    def __init__(
        self, posture: Posture, clock: Clock, on_change: Callable[[str, Sequence[Entry]], None]
    ) -> None:
        self._posture = posture
        self._clock = clock
        self._on_change = on_change

    def take_groups(self, groups: Sequence[tuple[str, str, Sequence[Entry]]]) -> list[list[str]]:
        """Store what entries of machines say about posture; return the inventories wanted."""
        ingested = self._posture.take_groups(
            [(DeviceKey(device, owner), entries) for device, owner, entries in groups],
            self._clock.wall_ms(),
        )
        for device, _, entries in groups:
            self._on_change(device, entries)
        return [list(each.wanted) for each in ingested]

    def take_document(self, device: str, owner: str, digest: str, body: bytes) -> None:
        """Store an inventory that was wanted. Raises `Malformed` or `Untrusted`."""
        self._posture.take_inventory(DeviceKey(device, owner), digest, body, self._clock.wall_ms())
        self._on_change(device, ())


def acknowledged_policies(entries: Sequence[Entry]) -> list[int]:
    """Return the policies that entries of a machine say it has taken."""
    found = (e.body.get("policy_version") for e in entries if e.kind == "gate.accepted")
    return [version for version in found if isinstance(version, int)]
