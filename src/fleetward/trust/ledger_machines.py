"""What each machine said, one batch after the other, and whether anything is missing.

A machine's journal is one chain of hashes. Each signed batch names the head before and after, so
that what stands in the record must be one unbroken run from its first entry:

1. A batch is signed by the machine that it names.
2. It begins where the one before ended: at the next sequence, and at the same head.
3. After the owner opened a new generation, a machine may say again what it had said before, byte
   for byte; and what a restore lost may be missing, because the owner signed for that loss.
4. Where the journal entries themselves are given, they are those that were signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from fleetward.trust.journal import start_of_chain
from fleetward.trust.ledger_findings import Finding, Findings
from fleetward.trust.ledger_leaves import BatchFact
from fleetward.trust.roster import ACTIVE, RosterEntry
from fleetward.trust.sayings import say_age

MAX_TOLD: Final = 3
"""Contradictions of one machine that are told; those behind them follow from the first."""


@dataclass(slots=True)
class _Trail:
    """Where a machine's journal stands in the record so far."""

    head: bytes
    last: int = 0
    batches: int = 0
    contents: int = 0
    """Batches whose journal entries are in this copy, and are what was signed."""
    generation: int = 1
    entry: int = 0
    told: int = 0
    newest_at_ms: int = 0
    recorded_at_ms: int = 0
    ends: dict[int, bytes] = field(default_factory=dict)
    """Head by last sequence; kept only where a later generation may repeat them."""


class MachinesInAudit:
    """Follows every machine through the record. Findings go where `findings` says."""

    def __init__(
        self, owner: str, machines: Mapping[str, RosterEntry], generations: int, findings: Findings
    ) -> None:
        self._owner = owner
        self._machines = machines
        self._keep_ends = generations > 1
        self._findings = findings
        self._trails: dict[str, _Trail] = {}
        self._strangers: dict[str, int] = {}

    def name(self, device: str) -> str:
        """Return a machine's name on the roster with the start of its id."""
        entry = self._machines.get(device)
        return f"{entry.name} ({device[:8]}…)" if entry else device

    def follow(self, fact: BatchFact, generation: int, entry: int, deed_at_ms: int) -> bool:
        """Take the next batch of a machine, and say whether its machine signed it."""
        if fact.signed is None:
            self._strangers[fact.device] = self._strangers.get(fact.device, 0) + 1
            return False
        trail = self._trails.get(fact.device)
        if trail is None:
            head = start_of_chain(self._owner, fact.device)
            trail = self._trails[fact.device] = _Trail(head)
        # 1.
        if not fact.signed:
            self._tell(trail, fact, "bad_signature", generation, entry,
                       f"Entry {entry} says that it is by {self.name(fact.device)}, whose key did "
                       "not sign it: it was altered or made up.")  # fmt: skip
            return False
        # 4.
        if fact.content not in ("", "whole"):
            self._tell(trail, fact, "content_altered", generation, entry,
                       f"The journal of {self.name(fact.device)} behind entry {entry} "
                       f"({fact.first} to {fact.last}) is not what it signed: {fact.content}"
                       )  # fmt: skip
        # 2., 3.
        if self._check_order(trail, fact, generation, entry):
            self._advance(trail, fact, generation, entry, deed_at_ms)
        return True

    def finish(self, now_ms: int) -> None:
        """Say of each machine what is proven, and how old its newest word is."""
        for device, trail in sorted(self._trails.items()):
            if not trail.told:
                self._findings.prove(
                    Finding(
                        "journal_whole",
                        f"{self.name(device)}: its signatures over entries 1 to {trail.last} of "
                        f"its journal are all there, in order ({_count_batches(trail.batches)}).",
                        device=device,
                    )
                )
            if absent := trail.batches - trail.contents:
                self._findings.leave_open(
                    Finding(
                        "contents_absent",
                        f"{self.name(device)}: this copy holds the signature of "
                        f"{_count_batches(absent)} and not the words. Whether the server still "
                        "has them as they were signed, it does not say.",
                        device=device,
                    )
                )
        for device, machine in sorted(self._machines.items()):
            if machine.state == ACTIVE:
                self._findings.leave_open(self._tail_of(device, now_ms))
        for device, batches in sorted(self._strangers.items()):
            self._findings.leave_open(
                Finding(
                    "not_on_roster",
                    f"{device} spoke {batches} times and is not on the roster: without its key, "
                    "nothing that it said can be checked.",
                    device=device,
                )
            )

    def _check_order(self, trail: _Trail, fact: BatchFact, generation: int, entry: int) -> bool:
        """Judge the place of a batch behind the one before; say whether it moves the trail on."""
        if fact.first == trail.last + 1 and fact.previous == trail.head:
            return True
        name = self.name(fact.device)
        if fact.last <= trail.last and trail.ends.get(fact.last) == fact.head:
            if generation > 1:
                return False
            self._tell(trail, fact, "repeated", generation, entry,
                       f"Entry {entry} repeats what {name} had said before.")  # fmt: skip
            return False
        if fact.first == trail.last + 1:
            self._tell(trail, fact, "journal_forked", generation, entry,
                       f"Entry {entry} of {name} does not follow from what it said before: two "
                       f"histories from {trail.last} on. Its key or its disk was copied, or an "
                       "earlier entry of it was exchanged.")  # fmt: skip
        elif fact.first <= trail.last:
            self._tell(trail, fact, "out_of_order", generation, entry,
                       f"Entry {entry} of {name} begins at {fact.first}; what it said up to "
                       f"{trail.last} stands before it: the record was reordered.")  # fmt: skip
        elif generation > trail.generation:
            self._findings.leave_open(
                Finding("lost_at_restore",
                        f"{name}: entries {trail.last + 1} to {fact.first - 1} were lost when the "
                        "server was restored, as the owner signed.",
                        generation, entry, fact.device)
            )  # fmt: skip
        else:
            self._tell(trail, fact, "entries_missing", generation, entry,
                       f"Before entry {entry}, what {name} said from {trail.last + 1} to "
                       f"{fact.first - 1} is missing or out of order.")  # fmt: skip
        return fact.last > trail.last

    def _advance(
        self, trail: _Trail, fact: BatchFact, generation: int, entry: int, deed_at_ms: int
    ) -> None:
        trail.last, trail.head = fact.last, fact.head
        trail.batches, trail.generation, trail.entry = trail.batches + 1, generation, entry
        trail.newest_at_ms, trail.recorded_at_ms = fact.newest_at_ms, deed_at_ms
        trail.contents += fact.content == "whole"
        if self._keep_ends:
            trail.ends[fact.last] = fact.head

    def _tail_of(self, device: str, now_ms: int) -> Finding:
        name, trail = self.name(device), self._trails.get(device)
        if trail is None or not trail.batches:
            return Finding("never_reported", f"{name} has never reported.", device=device)
        at_ms, by = trail.newest_at_ms, "by its own clock"
        if not at_ms:
            at_ms, by = trail.recorded_at_ms, "by the server's clock, which nobody vouches for"
        if not at_ms:
            words = f"Its newest word is entry {trail.entry}, of unknown age"
            age = None
        else:
            age = max(0, (now_ms - at_ms) // 1000)
            words = f"Its newest word is {say_age(age)} old ({by})"
        return Finding(
            "tail_unknown",
            f"{name}: {words}. What it may have said since then is not in this record.",
            trail.generation,
            trail.entry,
            device,
            age,
        )

    def _tell(
        self, trail: _Trail, fact: BatchFact, finding: str, generation: int, entry: int, words: str
    ) -> None:  # fmt: skip
        trail.told += 1
        if trail.told <= MAX_TOLD:
            self._findings.contradict(Finding(finding, words, generation, entry, fact.device))


def _count_batches(number: int) -> str:
    return "1 batch" if number == 1 else f"{number} batches"
