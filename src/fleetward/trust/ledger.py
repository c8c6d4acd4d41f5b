"""Checking an exported record with nothing trusted but the owner root's hash.

The caller feeds the pieces of an export in their order and gets three lists: what is **proven**,
what is **contradicted**, what **cannot be known yet**. The rules:

1. The owner's documents follow from the root whose hash the auditor was given (`ledger_documents`).
2. Each generation's checkpoint is signed by the log key that the owner's policy names.
3. The entries of a generation, hashed in their order, give the root of its checkpoint. Where they
   do not, the hashes in the export or the machines' own statements tell which entry is the first.
4. A generation above the first opens with the owner's signature, under the policy that it names,
   and still stands under the newest (`generation`); it names the newest state of the one before,
   and that state is in the record.
5. Each machine's signed batches are one unbroken run (`ledger_machines`).
6. Each state of the record that a machine had journalled before it signed is a state of this
   record, and was reached before the place where the batch stands.
7. So is every older checkpoint, and every state that a witness signed.
8. Who was inside a machine had its owner's permission (`ledger_sessions`).
9. Each entry is a batch, a deed or a document of this owner, and a document in the record was
   signed by those who might (`ledger_documents`).
10. Before each join stands the invitation that it names (`ledger_documents`).
11. What machines closed, kept or opened again, its owner's people had ordered (`ledger_closings`).
12. What machines installed, its owner's people had approved (`ledger_updates`).

What no machine, witness or older checkpoint has seen could still be rewritten by the server; the
report says how much that is. What a machine said and the server never recorded is the age of the
machine's newest word, and is never called whole.

    audit = LedgerAudit(owner, handed, Auditor(now_ms), generations=1)
    audit.open_generation(1, checkpoint)
    for leaf in leaves:
        audit.add(audit.reader.read(leaf), leaf)
    audit.close_generation()
    report = audit.finish()
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from fleetward.trust.errors import FleetwardError, Misuse, Untrusted
from fleetward.trust.generation import GENERATION_TYPE, verify_opening
from fleetward.trust.keys import PublicKey
from fleetward.trust.ledger_closings import ClosingsInAudit
from fleetward.trust.ledger_documents import DocumentsInAudit, HandedOver, OwnFolder
from fleetward.trust.ledger_findings import AuditReport, Finding, Findings
from fleetward.trust.ledger_generation import Generation, judge_tree
from fleetward.trust.ledger_leaves import (
    BAD,
    BATCH,
    CLOSING_TYPES,
    DEED,
    DOCUMENT,
    SESSION_TYPES,
    STRANGE,
    UPDATE_TYPES,
    BatchFact,
    LeafFact,
    LeafReader,
)
from fleetward.trust.ledger_machines import MachinesInAudit
from fleetward.trust.ledger_running import RunningInAudit
from fleetward.trust.ledger_seen import StatesSeen
from fleetward.trust.ledger_sessions import SessionsInAudit
from fleetward.trust.ledger_tree import RecordTree
from fleetward.trust.ledger_updates import UpdatesInAudit
from fleetward.trust.note import Checkpoint, origin_of, read_checkpoint, verify_checkpoint
from fleetward.trust.roster import RosterEntry

MAX_GENERATIONS: Final = 1000
"""Restores of one server. Each is signed by a person."""


@dataclass(frozen=True, slots=True)
class Auditor:
    """What the auditor brings, besides the owner root's hash."""

    now_ms: int
    older: tuple[bytes, ...] = ()
    """Checkpoints that the auditor, or a witness, kept from before."""
    witnesses: Mapping[str, PublicKey] = field(default_factory=dict)
    """Witnesses that the auditor knows himself, by the names under which they sign."""
    own: OwnFolder | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """What a record shows of machines: the owner's newest roster, what each signed that it runs,
    what recalls were opened about (canonical JSON by their ids), and how many entries were read."""

    machines: Mapping[str, RosterEntry]
    roster: int
    running: RunningInAudit
    recalls: Mapping[str, bytes]
    sizes: Mapping[int, int]


class LedgerAudit:
    """One audit. In order: `open_generation`, `add` for each entry, `close_generation`; `finish`.

    Nothing here raises for what is wrong with a record: that is what the report says. `Misuse` is
    raised for calls out of order.
    """

    def __init__(
        self, owner: str, handed: HandedOver, auditor: Auditor, *, generations: int
    ) -> None:
        self._owner = owner
        self._auditor = auditor
        self._newest = generations
        self._findings = Findings()
        # 1.
        self._documents = DocumentsInAudit(owner, handed, self._findings)
        if auditor.own:
            self._documents.compare(auditor.own)
        machines = self._documents.machines
        self._machines = MachinesInAudit(owner, machines, generations, self._findings)
        self._seen = StatesSeen(owner, self._findings)
        self._sessions = SessionsInAudit(owner, self._documents, self._findings)
        self._closings = ClosingsInAudit(owner, self._documents, self._findings)
        self._updates = UpdatesInAudit(owner, self._documents, self._findings)
        self._current: Generation | None = None
        self._recalls: dict[str, bytes] = {}
        self._strange = 0

    @property
    def sight(self) -> Sight:
        """What a record shows of machines, for who compares something with it."""
        roster = self._documents.roster.version if self._documents.roster else 0
        generations = self._seen.generations.values()
        sizes = {each.number: each.tree.size for each in generations}
        running = self._updates.running
        return Sight(self._documents.machines, roster, running, self._recalls, sizes)

    @property
    def hopeless(self) -> bool:
        """Whether the owner's documents are so wrong that no entry can be judged."""
        return self._documents.policy is None

    @property
    def keys(self) -> dict[str, PublicKey]:
        """The machines' identity keys, by device id."""
        return {device: entry.key for device, entry in self._documents.machines.items()}

    @property
    def reader(self) -> LeafReader:
        """A reader of this record's entries. It can be made anywhere from `keys`."""
        return LeafReader(self._owner, self.keys)

    def open_generation(
        self, number: int, note: bytes, cosigned: tuple[bytes, ...] = ()
    ) -> Checkpoint | None:
        """Begin a generation, and return its checkpoint when it can be read at all (rule 2).

        `cosigned` are checkpoints that came with the record because witnesses had signed them.
        """
        if self._current is not None or self.hopeless or number in self._seen.generations:
            raise Misuse("A generation is opened once, after the one before.", reason="bad_order")
        checkpoint = self._judge_checkpoint(number, note)
        self._current = Generation(number, checkpoint, (note, *cosigned), RecordTree())
        self._seen.generations[number] = self._current
        return checkpoint

    def claim(self, hashes: bytes) -> None:
        """Take hashes that the export gives for the entries in order, 32 bytes each."""
        self._open.tree.claim(hashes)

    def add(self, fact: LeafFact, leaf: bytes) -> None:
        """Take the next entry, as `LeafReader.read` saw it."""
        current = self._open
        entry = current.tree.size
        current.tree.append(fact.hash)
        if entry == 0 and current.number > 1 and fact.type != GENERATION_TYPE:
            words = f"Generation {current.number} does not open with the owner's signature."
            self._contradict("no_opening", words, current.number, 0)
        if fact.kind == BATCH and fact.batch is not None:
            self._take_batch(current, fact.batch, entry)
        elif fact.kind == DEED:
            current.deeds, current.deed_at_ms = current.deeds + 1, fact.at_ms
            # 10.
            if fact.join is not None:
                self._documents.judge_join(fact.join, current.number, entry)
            if fact.recall is not None:
                self._recalls.setdefault(fact.recall.recall, fact.recall.scope)
        elif fact.kind == DOCUMENT:
            self._take_document(current, fact, leaf, entry)
        elif fact.kind == STRANGE:
            self._strange += 1
        elif fact.kind == BAD:
            current.bad += 1
            words = f"Entry {entry} is nothing that a record of this owner holds: {fact.words}"
            self._contradict("unreadable", words, current.number, entry)

    def break_off(self, words: str) -> None:
        """Say that what follows of this generation cannot be read."""
        entry = self._open.tree.size
        words = f"What follows from entry {entry} on cannot be read: {words}"
        self._contradict("unreadable", words, self._open.number, entry)

    def close_generation(self) -> None:
        """End a generation. It is judged as a whole when all of them were read."""
        if self._open:
            self._current = None

    def finish(self) -> AuditReport:
        """Return the report."""
        if self._current is not None:
            raise Misuse("Close the generation before the end.", reason="bad_order")
        if not self.hopeless:
            for number in range(1, self._newest + 1):
                if number not in self._seen.generations:
                    words = f"Generation {number} of the record is missing."
                    self._contradict("generation_missing", words, number)
            for generation in self._seen.generations.values():
                self._judge_whole(generation)
            self._documents.finish()
            self._sessions.finish()
            self._closings.finish()
            self._updates.finish()
            self._machines.finish(self._auditor.now_ms)
            self._seen.finish()
        if self._strange:
            words = f"{self._strange} entries are of kinds that this release does not know."
            self._findings.leave_open(Finding("strange_entries", words))
        return self._findings.report()

    def _judge_whole(self, generation: Generation) -> None:
        # 7.
        policies, notes = self._documents.policies, self._auditor.older
        self._seen.judge_notes(
            generation, notes, {p.roots.log_key.key_id: p.roots.log_key for p in policies}
        )
        witnesses = {**policies[-1].roots.witnesses, **self._auditor.witnesses}
        for name, key in sorted(witnesses.items()):
            found = self._seen.judge_witness(
                generation, name, key, (*generation.notes, *notes), self._auditor.now_ms
            )
            if not found and generation.number == self._newest:
                words = f"Nothing that the witness {name} signed came with the record."
                self._findings.leave_open(Finding("no_witness", words, generation.number))
        # 3., after 6. and 7., which tell up to where the record is sound.
        judge_tree(generation, self._findings)
        self._seen.settle(generation)

    def _judge_checkpoint(self, number: int, note: bytes) -> Checkpoint | None:
        # 2. Only the newest policy's key signs the newest generation; an older one ended under an
        #    older key, perhaps.
        keys = [policy.roots.log_key for policy in reversed(self._documents.policies)]
        problem = ""
        for key in keys[:1] if number == self._newest else keys:
            try:
                return verify_checkpoint(note, origin_of(self._owner, number), key)
            except FleetwardError as e:
                problem = problem or e.message
        self._contradict(
            "checkpoint_not_signed",
            "The record's summary is not signed by the key that the owner's policy names for it: "
            f"somebody else made this record. {problem}",
            number,
        )
        try:
            return read_checkpoint(note).checkpoint
        except FleetwardError:
            return None

    def _take_batch(self, current: Generation, fact: BatchFact, entry: int) -> None:
        # 5.
        signed = self._machines.follow(fact, current.number, entry, current.deed_at_ms)
        # 11.
        if signed and fact.closings:
            self._closings.take_journal(fact.device, fact.closings, current.number, entry)
        # 12.
        if signed and fact.updates:
            self._updates.take_journal(fact.device, fact.updates, current.number, entry)
        # 6.
        if not signed or fact.seen_generation == 0:
            return
        who = f"{self._machines.name(fact.device)}, in entry {entry},"
        seen = self._seen.generations.get(fact.seen_generation)
        if seen is None:
            words = f"{who} has seen generation {fact.seen_generation}, which is not here."
            self._contradict("generation_hidden", words, current.number, entry, fact.device)
        elif seen is current and fact.seen_size > entry:
            words = (
                f"{who} had seen {fact.seen_size} entries already; only {entry} stand before it: "
                "some were taken out."
            )
            self._contradict("entries_removed", words, current.number, entry, fact.device)
        else:
            self._seen.judge(seen, fact.seen_size, fact.seen_root, who, fact.device)

    def _take_document(self, current: Generation, fact: LeafFact, leaf: bytes, entry: int) -> None:
        # 8.
        if fact.type in SESSION_TYPES:
            self._sessions.take(leaf, fact.type, current.number, entry)
            return
        # 11.
        if fact.type in CLOSING_TYPES:
            self._closings.take(leaf, fact.type, current.number, entry)
            return
        # 12.
        if fact.type in UPDATE_TYPES:
            self._updates.take(leaf, fact.type, current.number, entry)
            return
        # 9.
        if fact.type != GENERATION_TYPE:
            self._documents.take(leaf, fact.type, current.number, entry)
            return
        # 4.
        try:
            opening = verify_opening(leaf, self._documents.policies)
            if entry or opening.generation != current.number:
                raise Untrusted("It opens another generation than this.", reason="bad_opening")
        except FleetwardError as e:
            words = f"Entry {entry} opens a generation without the owner's right: {e.message}"
            self._contradict("bad_opening", words, current.number, entry)
            return
        known = opening.last_known
        before = self._seen.generations.get(known.generation)
        if before is not None:
            who = f"The owner, who opened generation {current.number},"
            self._seen.judge(before, known.size, bytes.fromhex(known.root), who)
        current.opening = opening

    @property
    def _open(self) -> Generation:
        if self._current is None:
            raise Misuse("Open a generation first.", reason="bad_order")
        return self._current

    def _contradict(
        self, finding: str, words: str, generation: int, entry: int | None = None, device: str = ""
    ) -> None:  # fmt: skip
        self._findings.contradict(Finding(finding, words, generation, entry, device))
