"""What an attack of the drill is: words for a person, and bytes for the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from fleetward.trust.canonical import to_base64url
from fleetward.trust.envelope import read_envelope
from fleetward.trust.head import Head
from fleetward.trust.policy import Policy
from fleetward.trust.root import OwnerRoot
from fleetward.trust.roster import Roster
from fleetward.wire.orders import Order


class HeldDocuments(Protocol):
    """The owner's documents as the server holds them."""

    @property
    def root(self) -> OwnerRoot: ...

    @property
    def policy(self) -> Policy: ...

    @property
    def roster(self) -> Roster: ...

    @property
    def head(self) -> Head: ...


@dataclass(frozen=True, slots=True)
class FalseTarget:
    """A release as the thief names it to the machine."""

    path: str
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack: what is tried, in words, and what is pushed at a machine, one after the other.

    `subjects` are hashes of what it pushes: an offer or an opening for one of them is a defeat.
    `target` is a release that the machine is told of when it asks; all of a drill at once.
    `skipped` says why it cannot be tried here.
    """

    id: str
    attack: str
    words: str
    channel: str
    payloads: tuple[bytes, ...]
    subjects: frozenset[str] = frozenset()
    target: FalseTarget | None = None
    skipped: str = ""


def make_order_attack(name: str, attack: str, words: str, envelopes: Sequence[bytes]) -> Attack:
    """Return an attack that pushes these envelopes as orders."""
    payloads = tuple(msgspec.json.encode(Order(envelope=to_base64url(e))) for e in envelopes)
    subjects = frozenset(read_envelope(e).hash for e in envelopes)
    return Attack(name, attack, words, "order", payloads, subjects)
