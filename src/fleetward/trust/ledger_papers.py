"""Papers of one kind in an audit, by what they are about: those in force, and those that are not.

What anybody can hand to a server stands in a record beside what counts. It takes no room of it: the
limits below are for the two apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from fleetward.trust.errors import FleetwardError
from fleetward.trust.policy import Policy

MAX_PAPERS: Final = 10_000
"""Papers of one kind, in one record, that are remembered: one a day for 27 years."""
MAX_WAITING: Final = 16
"""Copies of one paper without force that are tried under a newer policy."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in the record."""

    generation: int
    entry: int


@dataclass(slots=True)
class Papers(Generic[_T]):
    """Papers by what they are about: those in force, and those that are not, or not yet.

    Signatures are not part of a document's hash, so that several copies of one can stand there.
    """

    verify: Callable[[bytes, Policy], _T]
    good: dict[str, _T] = field(default_factory=dict)
    waiting: dict[str, list[bytes]] = field(default_factory=dict)
    copies: int = 0
    """How many are waiting, or were."""
    dropped: int = 0
    full: bool = False
    """Whether one in force had to be left out. What nobody signed takes no room of those."""

    def take(self, subject: str, leaf: bytes, policy: Policy) -> None:
        """Remember a paper about `subject`. It does not raise."""
        if subject in self.good:
            return
        try:
            found = self.verify(leaf, policy)
        except FleetwardError:
            crowded = len(self.waiting.get(subject, ())) >= MAX_WAITING
            if crowded or self.copies >= MAX_PAPERS:
                self.dropped += 1
            else:
                self.waiting.setdefault(subject, []).append(leaf)
                self.copies += 1
            return
        # Signed by some before, perhaps, and now by enough.
        self._put(subject, found)

    def count_idle(self) -> int:
        """Return how many are not in force."""
        return self.dropped + sum(len(papers) for papers in self.waiting.values())

    def find(self, subject: str, policy: Policy) -> _T | None:
        """Return the paper that is in force, or None. Raises what is wrong with the one there."""
        problem: FleetwardError | None = None
        for leaf in tuple(self.waiting.get(subject, ())):
            try:
                found = self.verify(leaf, policy)
            except FleetwardError as e:
                problem = problem or e
            else:
                self._put(subject, found)
                return found
        if problem is not None:
            raise problem
        return self.good.get(subject)

    def _put(self, subject: str, paper: _T) -> None:
        self.waiting.pop(subject, None)
        if len(self.good) < MAX_PAPERS:
            self.good[subject] = paper
        else:
            self.full = True
