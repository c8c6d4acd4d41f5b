"""Handing verified entries to the capability that reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from fleetward.runtime.clock import Clock
from fleetward.server.posture.act import Posture
from fleetward.server.posture.store import DeviceKey
from fleetward.trust.journal import Entry


class OtherDocuments(Protocol):
    """A capability whose documents come the same way as inventories."""

    def take_entries(self, device: str, entries: Sequence[Entry]) -> list[str]:
        """Read a machine's entries; return the documents to ask it for."""

    def take_document(self, device: str, digest: str, body: bytes) -> bool:
        """Store a document and say so, or say that it is none of these. Raises `Malformed`."""


class PostureSink:
    """An `intake.EvidenceSink` over the posture of machines, and what changed in sessions."""

    def __init__(
        self,
        posture: Posture,
        clock: Clock,
        on_change: Callable[[str, Sequence[Entry]], None],
        others: OtherDocuments | None = None,
    ) -> None:
        self._posture = posture
        self._clock = clock
        self._on_change = on_change
        self._others = others

    def take_groups(self, groups: Sequence[tuple[str, str, Sequence[Entry]]]) -> list[list[str]]:
        """Store what entries of machines say about posture; return the inventories wanted."""
        ingested = self._posture.take_groups(
            [(DeviceKey(device, owner), entries) for device, owner, entries in groups],
            self._clock.wall_ms(),
        )
        for device, _, entries in groups:
            self._on_change(device, entries)
        return [
            [*each.wanted, *self._wanted_of_others(device, entries)]
            for each, (device, _, entries) in zip(ingested, groups, strict=True)
        ]

    def take_document(self, device: str, owner: str, digest: str, body: bytes) -> None:
        """Store a document that was wanted. Raises `Malformed` or `Untrusted`."""
        if self._others is not None and self._others.take_document(device, digest, body):
            return
        self._posture.take_inventory(DeviceKey(device, owner), digest, body, self._clock.wall_ms())
        self._on_change(device, ())

    def _wanted_of_others(self, device: str, entries: Sequence[Entry]) -> list[str]:
        return [] if self._others is None else self._others.take_entries(device, entries)


def acknowledged_policies(entries: Sequence[Entry]) -> list[int]:
    """Return the policies that entries of a machine say it has taken."""
    found = (e.body.get("policy_version") for e in entries if e.kind == "gate.accepted")
    return [version for version in found if isinstance(version, int)]
