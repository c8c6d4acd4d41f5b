"""Whose sessions guard keeps: the machine's name, and its key."""

from __future__ import annotations

from dataclasses import dataclass

from fleetward.trust.keys import Signer


@dataclass(frozen=True, slots=True)
class Machine:
    """Whose sessions these are."""

    owner: str
    device: str
    signer: Signer
    hidden: tuple[str, ...]
