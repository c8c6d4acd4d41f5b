"""Which machine is told of which releases, by which version, and what of the owner's it is given:
pure.

A word of the director decides nothing alone; the machine demands the maker's and the owner's
signatures besides. So what stands here is as good as what people handed in, and no better.

1. A machine is told of a release that its owner's papers approve for it: not withdrawn, not over,
   of the owner's present epoch, for this machine by its roster entry, for this release or standing
   for its product. A release that replaces the agent needs an approval of its own.
2. It is told of releases for its hardware alone.
3. It is told only of what a rollout lets it have (`decide_rollout`): nothing goes to all at once
   because somebody forgot to say how.
4. Of each product it is told the newest such release; and where that one is not reached from what
   the machine runs, the newest that comes before it, unless a rollout keeps that one back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.server.updates.reading import WITHDRAWAL, Paper
from fleetward.trust.release_manifest import ANY_HARDWARE, make_path
from fleetward.trust.roster import ACTIVE, RosterEntry
from fleetward.wire.updates import MAX_APPROVALS

MAX_DIRECTED: Final = 16
"""Releases of one word; a machine takes no more."""
MAX_ENVELOPES_BYTES: Final = 640 * 1024
"""Bytes of the papers of one answer: in base64 they stay below the broker's limit of a message."""


@dataclass(frozen=True, slots=True)
class Release:
    """A published release, as far as it decides. `length` is that of its manifest."""

    id: str
    product: str
    version: str
    counter: int
    length: int
    hardware: tuple[str, ...]
    least_before: int
    replaces_agent: bool
    released_at_ms: int

    @property
    def path(self) -> str:
        """The path of its target."""
        return make_path(self.product, self.version)

    def fits(self, entry: RosterEntry) -> bool:
        """Whether it is for this hardware."""
        return ANY_HARDWARE in self.hardware or entry.model in self.hardware


@dataclass(frozen=True)
class Papers:
    """What the owner's people handed in, withdrawals apart. Copies of one approval are one."""

    approvals: tuple[Paper, ...]
    withdrawn: frozenset[str]

    def hold(self, epoch: int, now_ms: int) -> list[Paper]:
        """Return the approvals that are neither withdrawn nor over, each once."""
        found: dict[str, Paper] = {}
        for paper in self.approvals:
            fresh = paper.epoch == epoch and now_ms < paper.not_after_ms
            if fresh and paper.approval not in self.withdrawn:
                found.setdefault(paper.approval, paper)
        return list(found.values())


def approves(paper: Paper, release: Release, entry: RosterEntry) -> bool:
    """Whether a paper that holds is for this release and this machine (rule 1)."""
    if paper.product != release.product or not paper.selector.selects(entry):
        return False
    if release.replaces_agent and not paper.agent:
        return False
    return not paper.release or paper.release == release.id


def is_eligible(release: Release, entry: RosterEntry, holding: Iterable[Paper]) -> bool:
    """Whether a machine may be told of a release at all (rules 1 and 2)."""
    if entry.state != ACTIVE or not release.fits(entry):
        return False
    return any(approves(paper, release, entry) for paper in holding)


def decide_targets(
    releases: Sequence[Release],
    holding: Sequence[Paper],
    entry: RosterEntry,
    gates: Mapping[str, bool],
    running: Mapping[str, int],
) -> tuple[Release, ...]:
    """Return what a machine is told of, each product's newest first.

    `gates` says of the releases that a rollout is about whether it lets this machine in; `running`
    has the counters of what runs there, by product.
    """
    mine = [each for each in holding if each.selector.selects(entry)]
    by_product: dict[str, list[Release]] = {}
    for release in releases:
        # Rules 1 and 2.
        if gates.get(release.id, True) and is_eligible(release, entry, mine):
            by_product.setdefault(release.product, []).append(release)
    named: list[Release] = []
    for product in sorted(by_product):
        named += _choose(by_product[product], gates, running.get(product, 0))
    return tuple(named[:MAX_DIRECTED])


def _choose(
    candidates: Sequence[Release], gates: Mapping[str, bool], running: int
) -> list[Release]:
    """Rules 3 and 4."""
    ordered = sorted(candidates, key=lambda each: each.counter, reverse=True)
    first = next((at for at, each in enumerate(ordered) if gates.get(each.id)), len(ordered))
    chosen = ordered[first : first + 1]
    for release in ordered[first + 1 :]:
        last = chosen[-1]
        if not running or running >= last.least_before:
            break
        if last.least_before <= release.counter:
            chosen.append(release)
    return chosen


def digest_content(who: Sequence[str], named: Sequence[Release]) -> str:
    """Return the hash of what a word says, by which it is seen whether it would say anything new.

    A word that says the same again is not signed again until half of its life is over. `who` is
    the owner, and the director's key.
    """
    lines = [*who, *(f"{release.path} {release.id}" for release in named)]
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


def next_version(before: int, now_ms: int) -> int:
    """Return the version of the next word to a machine: above the last one.

    It is at least the present second, so that a server which was put back from an older copy does
    not fall behind what its machines have seen.
    """
    return max(before + 1, now_ms // 1000)


def choose_papers(
    approvals: Sequence[Paper], withdrawals: Sequence[Paper], entry: RosterEntry | None,
    epoch: int, now_ms: int,
) -> list[bytes]:  # fmt: skip
    """Return the papers that a machine is given, newest first: approvals that can be for it, and
    withdrawals of those. What is over or of another epoch says nothing to it any more."""
    mine = [
        paper
        for paper in approvals
        if paper.epoch == epoch
        and now_ms < paper.not_after_ms
        and (entry is None or paper.selector.selects(entry))
    ]
    named = {paper.approval for paper in mine}
    mine += [p for p in withdrawals if p.epoch == epoch and p.withdraws in named]
    mine.sort(key=lambda paper: (paper.issued_at_ms, paper.kind == WITHDRAWAL), reverse=True)
    chosen, size = [], 0
    for paper in mine[:MAX_APPROVALS]:
        size += len(paper.raw)
        if size > MAX_ENVELOPES_BYTES:
            break
        chosen.append(paper.raw)
    return chosen


def is_news(before: tuple[str, int, str], release: str, attempt: int, outcome: str) -> bool:
    """Say whether a report belongs into the record: another outcome than that which the machine
    said last (release, attempt, outcome) of this product."""
    return before != (release, attempt, outcome)
