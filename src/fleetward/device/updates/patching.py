"""Making a part out of the active one and a delta: the one place where a delta is applied."""

from __future__ import annotations

from fleetward.device.updates.installer_words import PartWord, Patch
from fleetward.device.updates.installers.contract import Source, Tell
from fleetward.trust.errors import Refused


def patch_part(
    part: PartWord, active: Source | None, delta: Source, word: Patch, tell: Tell
) -> None:
    """Refuse: this version of the agent applies no deltas. Guard has the whole part fetched then.

    `active` are the bytes of the active part, where the installer has them.
    """
    del active, delta, word, tell
    raise Refused(
        f"Part {part.name} cannot be made out of a delta here. It is fetched whole instead.",
        reason="no_delta",
    )
