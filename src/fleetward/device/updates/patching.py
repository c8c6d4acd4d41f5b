"""Making a part out of the active one and a delta: the one place where a delta is applied."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO

from fleetward.device.updates.installer_words import PartWord
from fleetward.device.updates.installers.contract import Source, Tell
from fleetward.trust.errors import Refused


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a delta is applied: opens the active part for reading, at its first byte, and where
    the new one goes, which is forgotten as it opens. The caller verifies what lies there then."""

    open_source: Callable[[], AbstractContextManager[BinaryIO]]
    open_target: Callable[[], AbstractContextManager[BinaryIO]]


def patch_part(part: PartWord, ends: Ends, delta: Source, tell: Tell) -> None:
    """Refuse: this version of the agent applies no deltas. Guard has the whole part fetched then.

    Nothing is opened, and so nothing is forgotten.
    """
    del ends, delta, tell
    raise no_delta(part)


def no_delta(part: PartWord) -> Refused:
    """Return the error for a part that cannot be made out of a delta here."""
    return Refused(
        f"Part {part.name} cannot be made out of a delta here. It is fetched whole instead.",
        reason="no_delta",
    )
