"""What the owner lets be asked for of one kind of scope: a row of the policy's field `access`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ANY: Final = "*"
"""In a list of what is allowed: whatever it is called."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What the owner lets be asked for of one kind. `allowed` are its names, folders or digests,
    `signers` the ids of keys whose runbooks are run."""

    threshold: int
    seconds: int
    watched: bool
    allowed: tuple[str, ...] = ()
    ports: tuple[tuple[int, int], ...] = ()
    signers: tuple[str, ...] = ()

    def allows(self, name: str) -> bool:
        """Return whether a name stands in the list, or the list takes any."""
        return ANY in self.allowed or name in self.allowed
