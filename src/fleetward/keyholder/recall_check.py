"""Checking a recall's proof against the owner's own copy of the record, with no server.

The proof is the server's word, and nothing in it is believed. From the record alone come the
machines (the owner's signed roster), what each signed that it runs, and what the recall was opened
about; `trust.recall` says how each stands. Then:

1. The recall is about what the record shows that somebody opened.
2. No machine of the roster that is affected, or of which nobody knows, is left out.
3. Who is said to run another version signed so, at the entry that is named.
4. Who is said to be retired is retired on the roster.
5. The counts are those of the lines.
6. A machine that the proof itself has as open is done for nobody, whatever the record shows.

What the proof says of the time after the copy of the record, or the copy after the proof, cannot be
known, is said, and counts as done for nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from fleetward.keyholder.audit_words import show_finding
from fleetward.keyholder.verify import verify_export
from fleetward.trust import canonical
from fleetward.trust.errors import Malformed
from fleetward.trust.ledger import Auditor, Sight
from fleetward.trust.ledger_findings import AuditReport, Finding, Findings
from fleetward.trust.ledger_running import Word
from fleetward.trust.recall import AFFECTED, CLEAR, RETIRED, UNKNOWN, RecallScope, read_scope
from fleetward.trust.roster import RosterEntry
from fleetward.trust.sayings import say_count

FORMAT: Final = "fleetward-recall/1"
UPDATED: Final = "updated"
DONE: Final = frozenset({UPDATED, RETIRED})
MAX_PROOF_LINES: Final = 1_000_000


class NamedReport(msgspec.Struct, frozen=True):
    """Where a report is said to stand."""

    hash: str
    generation: int
    entry: int


class Line(msgspec.Struct, frozen=True):
    """A machine, as the proof has it."""

    device: str
    standing: Literal["affected", "unknown", "updated", "retired"]
    version: str
    report: NamedReport | None = None


class Counts(msgspec.Struct, frozen=True):
    """How many machines, as the proof has it."""

    found: int
    affected: int
    unknown: int
    updated: int
    retired: int


class Proof(msgspec.Struct, frozen=True):
    """A proof, as it was handed over."""

    format: str
    as_of: str
    owner_root: str
    generation: int
    entries: int
    roster: int
    recall: str
    title: str
    scope: dict[str, Any]
    tally: Counts
    lines: list[Line]


@dataclass(frozen=True, slots=True)
class RecallCheck:
    """What came of it. `open` are machines that are not done by the record, with why."""

    proof: Proof
    scope: RecallScope
    report: AuditReport
    updated: int
    retired: int
    simulated: int
    open: tuple[Finding, ...]

    @property
    def is_over(self) -> bool:
        """Whether nothing is contradicted and every machine is proven to be done."""
        return self.report.whole and not self.open and not self.report.unknown


def read_proof(data: bytes) -> Proof:
    """Return what `recall export` wrote. Raises `Malformed`."""
    try:
        proof = msgspec.json.decode(data, type=Proof)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Malformed(
            f"Expected the proof of a recall, as `fleetward recall export` writes it; {e}.",
            reason="bad_proof",
        ) from e
    if proof.format != FORMAT or len(proof.lines) > MAX_PROOF_LINES:
        raise Malformed(f"Expected a proof of the form {FORMAT}.", reason="bad_proof")
    return proof


def check_recall(proof: Proof, record: Path, root: str, auditor: Auditor) -> RecallCheck:
    """Check a proof against the record in a folder. Raises as `verify_export` does, and
    `Malformed` for a proof that is about nothing."""
    scope = read_scope(proof.scope)
    verification = verify_export(record, root, auditor)
    check = _Check(proof, scope, verification.sight)
    if not verification.report.whole:
        words = (
            "The record itself is contradicted, so nothing is proven by it: `fleetward audit "
            "verify` says what is wrong."
        )
        check.findings.contradict(Finding("record_contradicted", words))
    if proof.owner_root != root:
        check.findings.contradict(Finding("another_owner", "The proof is of another owner."))
    return check.run()


@dataclass(slots=True)
class _Check:
    proof: Proof
    scope: RecallScope
    sight: Sight
    findings: Findings = field(default_factory=Findings)
    open: list[Finding] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    simulated: int = 0

    def run(self) -> RecallCheck:
        # 1.
        self._check_scope()
        lines: dict[str, Line] = {}
        for line in self.proof.lines:
            if line.device in lines:
                self._contradict("twice", "stands in the proof twice.", line.device)
            lines[line.device] = line
            if line.device not in self.sight.machines:
                self._judge_stranger(line)
        for device, entry in self.sight.machines.items():
            self._judge(device, entry, lines.get(device))
        # 5.
        self._check_counts(lines)
        return RecallCheck(
            self.proof, self.scope, self.findings.report(), self.done[UPDATED],
            self.done[RETIRED], self.simulated, tuple(self.open),
        )  # fmt: skip

    def _check_scope(self) -> None:
        opened = self.sight.recalls.get(self.proof.recall)
        if opened is None:
            words = "The record does not show that anybody opened this recall."
            self._leave("not_opened", words, newer=not self._covers(self.proof.entries))
        elif opened != canonical.encode(self.scope.to_json()):
            words = "The recall was opened about something else than the proof says."
            self.findings.contradict(Finding("another_scope", words))

    def _judge(self, device: str, entry: RosterEntry, line: Line | None) -> None:
        judged, word = self._judge_words(device, entry, found=line is not None)
        if line is None:
            # 2.
            if judged in (AFFECTED, UNKNOWN):
                self._judge_missing(device, judged, word)
            return
        if line.standing == UPDATED:
            # 3.
            self._judge_updated(line, judged, word)
        elif line.standing == RETIRED:
            # 4.
            self._judge_retired(line, judged)
        elif judged in (AFFECTED, UNKNOWN):
            self._leave_open(device, judged, word)
        else:
            # 6.
            self._judge_open(line)

    def _judge_words(
        self, device: str, entry: RosterEntry, *, found: bool
    ) -> tuple[str | None, Word | None]:
        """Return how a machine stands by the worse of its words, and that word. `found` is whether
        the proof has it: then it is judged as one that the recall found, wherever it is."""
        judged, decisive = self.scope.judge(entry, None, found=found), None
        for word in self.sight.running.find(device, self.scope.product):
            said = self.scope.judge(entry, (word.installed,), found=found)
            if decisive is None or said == AFFECTED:
                judged, decisive = said, word
        return judged, decisive

    def _judge_missing(self, device: str, judged: str, word: Word | None) -> None:
        words = (
            f"{self._say(judged, word)}, and the proof leaves it out, as if the recall were not "
            "about it."
        )
        # Who joined, or said so, after the proof was made could not stand in it.
        later = self.sight.roster > self.proof.roster or self._is_later(word)
        if later:
            self._leave_open(device, judged, word)
        else:
            self._contradict("left_out", words, device)

    def _judge_updated(self, line: Line, judged: str | None, word: Word | None) -> None:
        if judged == RETIRED:
            self.done[RETIRED] += 1
            return
        if judged == CLEAR and word is not None and self._stands_there(line):
            self._count_updated(word)
            return
        if judged == CLEAR:
            words = "is said to be done by an entry that is not its report."
            missing = line.report is not None and not self._covers_entry(line.report)
            self._leave("wrong_entry", words, device=line.device, newer=missing)
        elif word is not None and self._is_later(word):
            self._leave_open(line.device, AFFECTED, word)
            return
        else:
            words = f"is counted as done; {self._say(judged or UNKNOWN, word)}."
            newer = line.report is not None and not self._covers_entry(line.report)
            self._leave("not_proven", words, device=line.device, newer=newer)

    def _count_updated(self, word: Word) -> None:
        self.done[UPDATED] += 1
        self.simulated += word.simulated

    def _judge_retired(self, line: Line, judged: str | None) -> None:
        if judged == RETIRED:
            self.done[RETIRED] += 1
            return
        words = "is counted as retired; the owner's roster has it in service."
        newer = self.proof.roster > self.sight.roster
        self._leave("not_retired", words, device=line.device, newer=newer)

    def _judge_open(self, line: Line) -> None:
        """Leave open whom the proof itself has as open, and this record does not."""
        words = f"is {line.standing} by the proof itself, and this record does not show it."
        if self._covers(self.proof.entries):
            words = f"{self._name(line.device)} {words} Export the proof again."
            self.open.append(Finding("not_done", words, device=line.device))
        else:
            self._leave("not_done", words, device=line.device, newer=True)

    def _judge_stranger(self, line: Line) -> None:
        words = "stands in the proof and on no roster."
        newer = self.proof.roster > self.sight.roster
        self._leave("stranger", words, device=line.device, newer=newer)

    def _check_counts(self, lines: Mapping[str, Line]) -> None:
        counted = Counter[str](line.standing for line in lines.values())
        tally = self.proof.tally
        said = {"affected": tally.affected, "unknown": tally.unknown, "updated": tally.updated,
                "retired": tally.retired}  # fmt: skip
        if any(counted[name] != number for name, number in said.items()):
            words = "The counts of the proof are not those of its machines."
            self.findings.contradict(Finding("bad_counts", words))

    def _stands_there(self, line: Line) -> bool:
        """Whether the entry that a line names is a report of this machine (rule 3). One that names
        none is judged by the record alone."""
        if line.report is None:
            return True
        place = self.sight.running.places.get(line.report.hash)
        named = (line.device, line.report.generation, line.report.entry)
        return place is not None and (place.device, place.generation, place.entry) == named

    def _leave_open(self, device: str, judged: str, word: Word | None) -> None:
        words = f"{self._name(device)} is not done: {self._say(judged, word)}."
        self.open.append(Finding("not_done", words, device=device))

    def _leave(self, finding: str, words: str, *, newer: bool, device: str = "") -> None:
        """Contradict, or say that this copy of the record is older than the proof."""
        words = f"{self._name(device)} {words}" if device else words
        if newer:
            words += " This copy of the record is older than the proof; export it again."
            self.findings.leave_open(Finding(finding, words, device=device))
        else:
            self.findings.contradict(Finding(finding, words, device=device))

    def _contradict(self, finding: str, words: str, device: str) -> None:
        words = f"{self._name(device)} {words}"
        self.findings.contradict(Finding(finding, words, device=device))

    def _covers(self, entries: int) -> bool:
        return self.sight.sizes.get(self.proof.generation, 0) >= entries

    def _covers_entry(self, report: NamedReport) -> bool:
        return report.entry < self.sight.sizes.get(report.generation, 0)

    def _is_later(self, word: Word | None) -> bool:
        """Whether a machine said so after the proof was made."""
        made = (self.proof.generation, self.proof.entries)
        return word is not None and (word.generation, word.entry) >= made

    def _say(self, judged: str, word: Word | None) -> str:
        if judged == AFFECTED and word is not None and self.scope.product:
            runs = f"{self.scope.product} {word.installed.version}"
            return f"by entry {word.entry} it runs {runs}, which is recalled"
        if judged == AFFECTED:
            return "by the owner's roster it is in service"
        if judged == RETIRED:
            return "by the owner's roster it is retired"
        return "the record has no word of what it runs"

    def _name(self, device: str) -> str:
        entry = self.sight.machines.get(device)
        return f"{entry.name} ({device[:8]}…)" if entry else device[:64]


def show_check(check: RecallCheck) -> dict[str, Any]:
    """Return the result as JSON."""
    return {
        "recall": check.proof.recall,
        "title": check.proof.title,
        "scope": check.scope.to_json(),
        "over": check.is_over,
        "updated": check.updated,
        "retired": check.retired,
        "simulated": check.simulated,
        "open": [show_finding(each) for each in check.open],
        "contradicted": [show_finding(each) for each in check.report.contradicted],
        "unknown": [show_finding(each) for each in check.report.unknown],
    }


def say_scope(scope: RecallScope) -> str:
    """Say what a recall is about, by what decides."""
    if not scope.product:
        return scope.machines.words()
    counters = ", ".join(
        f"{each.first} and up" if not each.last else
        str(each.first) if each.first == each.last else f"{each.first} to {each.last}"
        for each in scope.ranges
    )  # fmt: skip
    which = f"releases with the counters {counters}" if counters else "every release"
    return f"{scope.product}, {which}, for {scope.machines.words()}"


def say_done(check: RecallCheck) -> str:
    """Say how many machines are proven to be done, and by what."""
    simulated = f" ({check.simulated} of them simulated)" if check.simulated else ""
    return (
        f"{say_count(check.updated, 'machine')} signed another version{simulated}, "
        f"{check.retired} retired by the owner's roster."
    )
