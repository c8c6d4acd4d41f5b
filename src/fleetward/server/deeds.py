"""The deed: what a person, the server or a machine does, written down before it is done.

Every `act.py` receives a `DeedRecorder` and calls `record` first and changes state after. A deed
that was recorded and then failed leaves an entry too many; the other order would leave one too
few, and nobody could tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from fleetward.trust.canonical import JsonLike

JsonValue: TypeAlias = JsonLike
"""What a deed may say about itself: no floats, no null."""


@dataclass(frozen=True, slots=True)
class Deed:
    """One deed, as it becomes a leaf of the owner's ledger.

    `kind` is dotted (`person.added`), `actor` says who (`person:ID`, `token:ID`, `device:ID`,
    `server`), `subject` to whom or what (`device:ID`, `person:ID`, …), `body` holds the details,
    without secrets and without floats.
    """

    kind: str
    actor: str
    subject: str
    owner_id: str
    body: Mapping[str, JsonValue]
    at_ms: int


class DeedRecorder(Protocol):
    """Writes deeds into the owner's ledger."""

    def record(self, deed: Deed) -> int:
        """Store the deed durably and return the index of its leaf.

        Raises Unreachable when the ledger cannot take it; the act must then not happen.
        """
        ...
