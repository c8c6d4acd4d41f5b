"""What machines installed, and by whose approval: releases in an audit.

Approvals, their withdrawals, and what machines said of releases stand in the record as they were
signed; here they are judged from the record alone:

1. A report is signed by the machine that it names. What a machine's journal says counts as much,
   where a copy of the record holds the journal.
2. A release that a machine accepted, installed, committed or went back from was approved: the
   approval that the report names stands before its word, signed by as many people as the policy
   demanded that was in force where it stands, or where the word does. It is of that release, or
   standing for that product, and names the machine where it names machines. Whether a group, model
   or site selected the machine is known by the newest roster alone; it may have been moved since,
   so that nobody is blamed for it.
3. A machine commits nothing below the highest counter that it has committed of a product: neither
   below the floor in the same report, nor below what it said before. Where the record's order and
   the machine's clock disagree about what came first, nobody is blamed.
4. What anybody can hand to the server proves nothing: an approval or withdrawal that no machine
   would obey is counted, and is no contradiction.
5. A machine that accepts a release whose approval was taken back before is named, and is no
   contradiction: it may not have heard of it.
6. A machine that has said nothing contradicts nothing.

Manifests are no part of the record. That a release is what its maker signed, that it replaces no
agent under a standing approval, that its time had come and a window was open, is the word of the
machine that judged it.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from fleetward.trust.envelope import read_envelope
from fleetward.trust.errors import FleetwardError, Refused, Untrusted
from fleetward.trust.keys import PublicKey
from fleetward.trust.ledger_documents import DocumentsInAudit
from fleetward.trust.ledger_findings import Finding, Findings
from fleetward.trust.ledger_leaves import REPORT_OF_UPDATE, WITHDRAWAL_OF_RELEASE, UpdateFact
from fleetward.trust.ledger_papers import Papers, Place
from fleetward.trust.ledger_running import RunningInAudit
from fleetward.trust.release_approval import (
    Approval,
    Withdrawal,
    verify_approval,
    verify_withdrawal,
)
from fleetward.trust.roster import ACTIVE
from fleetward.trust.sayings import say_count
from fleetward.trust.update_report import ENDS, UpdateReport, verify_report

MAX_SAID: Final = 1_000_000
"""Machines and releases, in pairs, whose newest word is remembered."""
MAX_TOLD: Final = 50
"""Approvals that are told one by one, the newest; those before them are counted."""
MAX_NAMES: Final = 5
"""Machines that one finding calls by their names; more are a number."""
DEEDS: Final = {
    "accepted": "accepted it", "installed": "installed it", "committed": "runs it for good",
    "rolled_back": "went back from it",
}  # fmt: skip
_TALLY: Final = (
    ("committed", "committed it"), ("installed", "installed it, on trial"),
    ("accepted", "accepted it"), ("rolled_back", "went back"), ("failed", "failed"),
    ("refused", "refused it"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Highest:
    """The highest counter of a product that a machine said it had committed."""

    counter: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class _Newest:
    """A machine's newest word about a release."""

    outcome: str
    approval: str
    at_ms: int


@dataclass(slots=True)
class UpdatesInAudit:
    """Judges the releases of one audit. Findings go where `findings` says."""

    owner: str
    documents: DocumentsInAudit
    findings: Findings
    running: RunningInAudit = field(default_factory=RunningInAudit)
    _approvals: Papers[Approval] = field(default_factory=lambda: Papers(verify_approval))
    _withdrawals: Papers[Withdrawal] = field(default_factory=lambda: Papers(verify_withdrawal))
    _places: dict[str, Place] = field(default_factory=dict)
    _highest: dict[tuple[str, str], _Highest] = field(default_factory=dict)
    _said: dict[tuple[str, str], _Newest] = field(default_factory=dict)
    _told: set[tuple[str, str, str]] = field(default_factory=set)
    _strangers: set[str] = field(default_factory=set)

    def take(self, leaf: bytes, kind: str, generation: int, entry: int) -> None:
        """Judge a paper of a release that stands in the record."""
        try:
            if kind == REPORT_OF_UPDATE:
                report = self._read_report(leaf)
                self.running.take(report, generation, entry, own_entry=True)
                self._judge(report, Place(generation, entry))
            elif kind == WITHDRAWAL_OF_RELEASE:
                subject = str(read_envelope(leaf).payload.get("approval"))[:64]
                self._withdrawals.take(subject, leaf, self.documents.policy_in_force)
            else:
                digest = read_envelope(leaf).hash
                self._approvals.take(digest, leaf, self.documents.policy_in_force)
                if digest in self._approvals.good or digest in self._approvals.waiting:
                    self._places.setdefault(digest, Place(generation, entry))
        except Refused:  # not on the roster: a machine that its owner has not confirmed
            self._strangers.add(str(read_envelope(leaf).payload.get("device"))[:64])
        except FleetwardError as e:
            # 1.
            words = (
                f"Entry {entry} looks like a machine's word about a release and is none: "
                f"{e.message}"
            )
            self.findings.contradict(Finding("update_not_by_machine", words, generation, entry))

    def take_journal(
        self, device: str, facts: Iterable[UpdateFact], generation: int, entry: int
    ) -> None:
        """Judge what a machine's journal says of releases, behind a batch that it signed.

        An entry whose report is none, or another machine's, says nothing that could be judged.
        """
        for fact in facts:
            with contextlib.suppress(FleetwardError):
                report = self._read_report(fact.report)
                if (report.device, report.outcome) == (device, fact.outcome):
                    self.running.take(report, generation, entry, own_entry=False)
                    self._judge(report, Place(generation, entry))

    def finish(self) -> None:
        """Say what was approved by whom, what machines said of it, and what cannot be known."""
        approvals = sorted(
            self._approvals.good.values(), key=lambda each: (each.issued_at_ms, each.hash)
        )
        for approval in approvals[-MAX_TOLD:]:
            self._tell(approval)
        if approvals:
            back = sum(each.hash in self._withdrawals.good for each in approvals)
            words = (
                f"{say_count(len(approvals), 'approval of releases', 'approvals of releases')} "
                f"in the record, signed by as many people as the policy demanded; {back} taken "
                "back."
            )
            self.findings.prove(Finding("approvals", words))
        self._tell_silent(approvals)
        if idle := self._approvals.count_idle() + self._withdrawals.count_idle():
            said = say_count(idle, "approval or withdrawal", "approvals or withdrawals")
            words = f"{said} in the record are signed so that no machine would obey."
            self.findings.leave_open(Finding("approvals_without_force", words))
        for device in sorted(self._strangers):
            words = (
                f"{device} is on no roster, so that nobody can tell whether what it says of "
                "releases is its word."
            )
            self.findings.leave_open(Finding("update_of_stranger", words, device=device))

    # --- what a machine said

    def _read_report(self, leaf: bytes) -> UpdateReport:
        device = str(read_envelope(leaf).payload.get("device"))
        return verify_report(leaf, self._key_of(device), self.owner)

    def _judge(self, report: UpdateReport, place: Place) -> None:
        if report.outcome in DEEDS:
            # 2.
            self._judge_approval(report, place)
        if report.outcome == "committed":
            # 3.
            self._judge_floor(report, place)
        self._remember(report)

    def _judge_approval(self, report: UpdateReport, place: Place) -> None:
        lost = False
        try:
            approval = self._approvals.find(report.approval, self.documents.policy_in_force)
            lost = approval is None
            if approval is None:
                raise Untrusted("No such approval stands before that.", reason="no_approval")
            self._require_meant(approval, report)
        except FleetwardError as e:
            words = (
                f"{DEEDS[report.outcome]}, and the record does not show that its owner approved "
                f"it: {e.message}"
            )
            # A restore may have lost it, and the owner has signed for that loss.
            lost = lost and (self._approvals.full or place.generation > 1)
            if lost:
                self._leave_open("approval_lost", report, place, words)
            else:
                self._blame("update_not_approved", report, place, words)
            return
        entry = self.documents.machines.get(report.device)
        if entry is not None and not approval.terms.selector.selects(entry):
            words = (
                f"{DEEDS[report.outcome]}. That was approved for "
                f"{approval.terms.selector.words()}, and by the newest roster this machine is none "
                "of them; whether it was then, the record does not show."
            )
            self._leave_open("update_for_others", report, place, words)
        # 5.
        if report.outcome == "accepted" and report.approval in self._withdrawals.good:
            words = "accepted it after its approval had been taken back: it had not heard of that."
            self._leave_open("update_after_withdrawal", report, place, words)

    def _require_meant(self, approval: Approval, report: UpdateReport) -> None:
        if approval.product != report.product:
            raise Untrusted(
                f"What it names is an approval of {approval.product}.", reason="another_product"
            )
        named = (approval.release, approval.version, approval.counter)
        if not approval.standing and named != (report.release, report.version, report.counter):
            raise Untrusted(
                f"What it names is an approval of {approval.version}, counter {approval.counter}: "
                "another release.",
                reason="another_release",
            )
        devices = approval.terms.selector.devices
        if devices and report.device not in devices:
            raise Untrusted("It names other machines.", reason="approved_for_others")

    def _judge_floor(self, report: UpdateReport, place: Place) -> None:
        floors = [each.floor for each in report.installed if each.product == report.product]
        key = report.device, report.product
        before = self._highest.get(key)
        if floors and report.counter < floors[0]:
            words = f"runs it for good below its own floor {floors[0]}."
            self._blame("update_below_floor", report, place, words)
        elif before and report.counter < before.counter and report.at_ms > before.at_ms:
            words = f"runs it for good after it had committed counter {before.counter}."
            self._blame("update_below_floor", report, place, words)
        if before is None or report.counter > before.counter:
            self._highest[key] = _Highest(report.counter, report.at_ms)

    def _remember(self, report: UpdateReport) -> None:
        key = report.device, report.release or f"{report.product}/{report.version}"
        before = self._said.get(key)
        if before is None and len(self._said) >= MAX_SAID:
            return
        if before is None or report.at_ms >= before.at_ms:
            self._said[key] = _Newest(report.outcome, report.approval, report.at_ms)

    def _blame(self, finding: str, report: UpdateReport, place: Place, words: str) -> None:
        if self._is_new(finding, report):
            where = place.generation, place.entry, report.device
            self.findings.contradict(Finding(finding, self._say(report, place, words), *where))

    def _leave_open(self, finding: str, report: UpdateReport, place: Place, words: str) -> None:
        if self._is_new(finding, report):
            where = place.generation, place.entry, report.device
            self.findings.leave_open(Finding(finding, self._say(report, place, words), *where))

    def _is_new(self, finding: str, report: UpdateReport) -> bool:
        """Whether this was not said yet: a machine says the same of a release at every step."""
        told = finding, report.device, report.release
        if told in self._told:
            return False
        if len(self._told) < MAX_SAID:
            self._told.add(told)
        return True

    def _say(self, report: UpdateReport, place: Place, words: str) -> str:
        return (
            f"Entry {place.entry}: of {report.product} {report.version} (counter "
            f"{report.counter}) {self._name(report.device)} says that it {words}"
        )

    # --- what is told in the end

    def _tell(self, approval: Approval) -> None:
        place = self._places[approval.hash]
        tally = Counter(
            word.outcome for word in self._said.values() if word.approval == approval.hash
        )
        said = [f"{tally[outcome]} {words}" for outcome, words in _TALLY if tally[outcome]]
        back = self._withdrawals.good.get(approval.hash)
        taken = f" {back.person} took it back." if back else ""
        what = (
            f"whatever the maker of {approval.product} releases"
            if approval.standing
            else f"{approval.product} {approval.version} (counter {approval.counter})"
        )
        words = (
            f"{_join(approval.people)} approved {what} for {approval.terms.selector.words()}."
            f"{taken} Of the machines, by their own words, "
            f"{', '.join(said) or 'none has answered'}."
        )
        self.findings.prove(Finding("approval", words, place.generation, place.entry))

    def _tell_silent(self, approvals: Sequence[Approval]) -> None:
        """Say which machines have not said how the newest approved release ended (rule 6)."""
        told: set[str] = set()
        for approval in reversed(approvals):
            if approval.standing or approval.product in told:
                continue
            told.add(approval.product)
            if approval.hash in self._withdrawals.good:
                continue
            silent = [
                device
                for device, entry in sorted(self.documents.machines.items())
                if entry.state == ACTIVE
                and approval.terms.selector.selects(entry)
                and not self._has_ended(device, approval.release)
            ]
            if silent:
                words = (
                    f"What became of {approval.product} {approval.version} is not in this record "
                    f"yet for {self._names(silent)}: it waits, or the word of it has not arrived, "
                    "or was kept back."
                )
                device = silent[0] if len(silent) == 1 else ""
                self.findings.leave_open(Finding("update_unanswered", words, device=device))

    def _has_ended(self, device: str, release: str) -> bool:
        word = self._said.get((device, release))
        return word is not None and word.outcome in ENDS

    def _key_of(self, device: str) -> PublicKey:
        entry = self.documents.machines.get(device)
        if entry is None:
            raise Refused("The machine is not on the owner's roster.", reason="unknown_device")
        return entry.key

    def _names(self, devices: Sequence[str]) -> str:
        named = [self._name(device) for device in devices[:MAX_NAMES]]
        if len(devices) > MAX_NAMES:
            named.append(say_count(len(devices) - MAX_NAMES, "other machine"))
        return _join(named)

    def _name(self, device: str) -> str:
        entry = self.documents.machines.get(device)
        return f"{entry.name} ({device[:8]}…)" if entry else device


def _join(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
