"""What machines closed, and by whose order: closings in an audit.

Closings, their confirmations, and what machines said of them stand in the record as they were
signed. The server that wrote them down could not judge them; here they are judged as the machine
did (`trust.closing`), from the record alone:

1. A report is signed by the machine that it names. What a machine's journal says counts as much,
   where a copy of the record holds the journal.
2. A closing that a machine took, carried out, kept or went back from stands in the record before
   its word. It names that machine, and is signed by as many people as the policy demanded that was
   in force where the closing stands, or where the machine's word does.
3. A machine says that what the closing names is closed, under the closing's serial.
4. A closing that a machine takes has a serial above those that it took before in the epoch, and
   none is taken twice. Where the record's order and the machine's clock disagree about what came
   first, nobody is blamed.
5. What a machine keeps was confirmed: a `closing-kept` that names it stands before, signed as
   rule 2 has it. One that opens everything needs none, and is never said to be kept.
6. What anybody can hand to the server proves nothing: a closing or confirmation that no machine
   would obey is counted, and is no contradiction.
7. A machine that has said nothing contradicts nothing: it has not heard of the closing, or its
   word has not arrived, or the server keeps it back.

That a machine refused a closing, and that a trial took its time, is the machine's word alone.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from fleetward.trust.closing import (
    CLOSING_TYPE,
    KEPT_TYPE,
    Closing,
    ClosingReport,
    Kept,
    say_closed,
    verify_closing_of_owner,
    verify_closing_report,
    verify_kept,
)
from fleetward.trust.envelope import read_envelope
from fleetward.trust.errors import FleetwardError, Refused, Untrusted
from fleetward.trust.keys import PublicKey
from fleetward.trust.ledger_documents import DocumentsInAudit
from fleetward.trust.ledger_findings import Finding, Findings
from fleetward.trust.ledger_leaves import ClosingFact
from fleetward.trust.ledger_papers import Papers, Place
from fleetward.trust.roster import ACTIVE
from fleetward.trust.sayings import say_count

MAX_SAID: Final = 1_000_000
"""Machines and closings, in pairs, whose newest word is remembered."""
MAX_TOLD: Final = 50
"""Closings that are told one by one, the newest; those before them are counted."""
MAX_NAMES: Final = 5
"""Machines that one finding calls by their names; more are a number."""
ACCEPTED: Final = "accepted"
CONFIRMED: Final = "confirmed"
_DEEDS: Final = {
    ACCEPTED: "took it", "applied": "carried it out", "kept": "keeps it", CONFIRMED: "keeps it",
    "restored": "went back from it", "undone": "had it carried out",
}  # fmt: skip
_TALLY: Final = (
    ("kept", "keeps it", "keep it"),
    ("applied", "carried it out", "carried it out"),
    ("restored", "went back, since nobody had confirmed it", "went back, since nobody had "
     "confirmed it"),
    ("refused", "said no", "said no"),
    (ACCEPTED, "took it and has not said more", "took it and have not said more"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Word:
    """What a machine said of a closing. `report` is None where only its journal says so."""

    device: str
    closing: str
    outcome: str
    at_ms: int
    report: ClosingReport | None = None

    @property
    def keeps(self) -> bool:
        """Whether it says that the closing was confirmed."""
        return self.outcome in ("kept", CONFIRMED)

    def begins(self, closing: Closing) -> bool:
        """Say whether the machine took this closing a moment ago, and was not only asked again.

        A report says so by a trial that runs. What opens everything has none.
        """
        if self.report is None:
            return self.outcome == ACCEPTED
        trial = self.outcome == "applied" and self.report.seconds_left > 0
        return trial and not closing.opens_all


@dataclass(frozen=True, slots=True)
class _Taken:
    """The closing with the highest serial that a machine has spoken of in an epoch."""

    closing: str
    serial: int
    at_ms: int


@dataclass(slots=True)
class ClosingsInAudit:
    """Judges the closings of one audit. Findings go where `findings` says."""

    owner: str
    documents: DocumentsInAudit
    findings: Findings
    _orders: Papers[Closing] = field(default_factory=lambda: Papers(verify_closing_of_owner))
    _kept: Papers[Kept] = field(default_factory=lambda: Papers(verify_kept))
    _places: dict[str, Place] = field(default_factory=dict)
    _said: dict[tuple[str, str], _Word] = field(default_factory=dict)
    _taken: dict[tuple[str, int], _Taken] = field(default_factory=dict)
    _blamed: set[tuple[str, str, str]] = field(default_factory=set)
    _strangers: set[str] = field(default_factory=set)

    def take(self, leaf: bytes, kind: str, generation: int, entry: int) -> None:
        """Judge a paper of a closing that stands in the record."""
        place = Place(generation, entry)
        try:
            if kind == CLOSING_TYPE:
                digest = read_envelope(leaf).hash
                self._orders.take(digest, leaf, self.documents.policy_in_force)
                if digest in self._orders.good or digest in self._orders.waiting:
                    self._places.setdefault(digest, place)
            elif kind == KEPT_TYPE:
                subject = str(read_envelope(leaf).payload.get("closing"))[:64]
                self._kept.take(subject, leaf, self.documents.policy_in_force)
            else:
                self._judge(self._read_report(leaf), place)
        except Refused:  # not on the roster: a machine that its owner has not confirmed
            self._strangers.add(str(read_envelope(leaf).payload.get("device"))[:64])
        except FleetwardError as e:
            # 1.
            words = (
                f"Entry {entry} looks like a machine's word about a closing and is none: "
                f"{e.message}"
            )
            self.findings.contradict(Finding("not_by_machine", words, generation, entry))

    def take_journal(
        self, device: str, facts: Iterable[ClosingFact], generation: int, entry: int
    ) -> None:
        """Judge what a machine's journal says of closings, behind a batch that it signed."""
        for fact in facts:
            word = _Word(device, fact.closing, fact.outcome, fact.at_ms)
            # A report that is none, or of something else, changes nothing and hides nothing: the
            # machine signed the entry around it.
            with contextlib.suppress(FleetwardError):
                told = self._read_report(fact.report)
                if (told.device, told.closing, told.outcome) == (
                    device,
                    word.closing,
                    word.outcome,
                ):
                    word = told
            self._judge(word, Place(generation, entry))

    def finish(self) -> None:
        """Say what was closed by whom, and what cannot be known."""
        orders = sorted(self._orders.good.values(), key=lambda order: (order.epoch, order.serial))
        tallies = self._count()
        for order in orders[-MAX_TOLD:]:
            self._tell(order, tallies.get(order.hash, Counter()))
        if orders:
            confirmed = sum(order.hash in self._kept.good for order in orders)
            words = (
                f"{say_count(len(orders), 'closing stands', 'closings stand')} in the record, "
                "signed by as many people as the policy demanded; "
                f"{confirmed} of them confirmed."
            )
            self.findings.prove(Finding("closings", words))
        self._tell_open(orders)
        if idle := self._orders.count_idle() + self._kept.count_idle():
            said = say_count(idle, "closing or confirmation", "closings or confirmations")
            words = f"{said} in the record are signed so that no machine would obey."
            self.findings.leave_open(Finding("closings_without_force", words))
        for device in sorted(self._strangers):
            words = (
                f"{device} is on no roster, so that nobody can tell whether what it says of "
                "closings is its word."
            )
            self.findings.leave_open(Finding("closing_of_stranger", words, device=device))

    # --- what a machine said

    def _read_report(self, leaf: bytes) -> _Word:
        device = str(read_envelope(leaf).payload.get("device"))
        said = verify_closing_report(leaf, self._key_of(device), self.owner)
        return _Word(said.device, said.closing, said.outcome, said.at_ms, said)

    def _judge(self, word: _Word, place: Place) -> None:
        if word.outcome == "refused":
            self._remember(word)
            return
        # 2.
        order = self._find_order(word, place)
        if order is None:
            return
        # 3.
        if problem := _compare(word, order):
            self._blame("closing_said_otherwise", word, place, problem)
        # 4.
        self._judge_order(word, order, place)
        # 5.
        if word.keeps:
            self._judge_kept(word, order, place)
        self._remember(word)

    def _find_order(self, word: _Word, place: Place) -> Closing | None:
        lost = False
        try:
            order = self._orders.find(word.closing, self.documents.policy_in_force)
            lost = order is None
            if order is None:
                raise Untrusted("It does not stand before that.", reason="no_closing")
            if order.devices and word.device not in order.devices:
                raise Untrusted("It is for other machines.", reason="another_device")
        except FleetwardError as e:
            words = (
                f"{_DEEDS[word.outcome]}, and the record does not show that its owner ordered it: "
                f"{e.message}"
            )
            lost = lost and _may_lack(place, full=self._orders.full)
            self._blame("closing_not_signed", word, place, words, lost=lost)
            return None
        return order

    def _judge_order(self, word: _Word, order: Closing, place: Place) -> None:
        before = self._taken.get((word.device, order.epoch))
        newest = self._said.get((word.device, word.closing))
        if word.begins(order):
            ended = newest is not None and newest.outcome in ("kept", CONFIRMED, "restored")
            if newest is not None and ended and word.at_ms > newest.at_ms:
                words = f"took it again after it {_DEEDS[newest.outcome]}."
                self._blame("closing_out_of_order", word, place, words)
            elif (
                before is not None
                and before.closing != word.closing
                and before.serial >= order.serial
                and word.at_ms > before.at_ms
            ):
                words = (
                    f"took it, with the serial {order.serial}, after one with the serial "
                    f"{before.serial}."
                )
                self._blame("closing_out_of_order", word, place, words)
        if before is None or order.serial > before.serial:
            self._taken[word.device, order.epoch] = _Taken(word.closing, order.serial, word.at_ms)

    def _judge_kept(self, word: _Word, order: Closing, place: Place) -> None:
        lost = False
        try:
            kept = self._kept.find(word.closing, self.documents.policy_in_force)
            lost = kept is None
            if kept is None:
                raise Untrusted(
                    "No confirmation of it stands before that.", reason="no_confirmation"
                )
        except FleetwardError as e:
            words = f"keeps it, and the record does not show that anybody confirmed it: {e.message}"
            lost = lost and _may_lack(place, full=self._kept.full)
            self._blame("kept_not_confirmed", word, place, words, lost=lost)

    def _remember(self, word: _Word) -> None:
        key = word.device, word.closing
        before = self._said.get(key)
        if before is None and len(self._said) >= MAX_SAID:
            return
        if word.outcome == "undone":
            return  # it says what somebody did there, and nothing of the closing
        if before is not None and before.outcome not in (ACCEPTED, "refused"):
            again = word.outcome in (ACCEPTED, "refused")
            if again or (word.outcome == "applied" and before.keeps):
                return  # a repetition was refused, or it was closed once more
        self._said[key] = replace(word, report=None)

    def _blame(
        self, finding: str, word: _Word, place: Place, words: str, *, lost: bool = False
    ) -> None:
        """Say what is wrong with a machine's word; once, though it says so again."""
        told = finding, word.device, word.closing
        if told in self._blamed:
            return
        if len(self._blamed) < MAX_SAID:
            self._blamed.add(told)
        said = (
            f"Entry {place.entry}: of the closing {word.closing[:12]}… "
            f"{self._name(word.device)} says that it {words}"
        )
        where = place.generation, place.entry, word.device
        if lost:
            self.findings.leave_open(Finding("closing_lost", said, *where))
            return
        self.findings.contradict(Finding(finding, said, *where))

    # --- what is told in the end

    def _count(self) -> dict[str, Counter[str]]:
        tallies: dict[str, Counter[str]] = {}
        for (_, closing), word in self._said.items():
            if not word.keeps or closing in self._kept.good:
                outcome = "kept" if word.keeps else word.outcome
                tallies.setdefault(closing, Counter())[outcome] += 1
        return tallies

    def _tell(self, order: Closing, tally: Counter[str]) -> None:
        place = self._places[order.hash]
        whom = self._names(order.devices) if order.devices else "all machines"
        what = "open again all that was closed" if order.opens_all else f"close {order.words()}"
        said = [
            f"{tally[outcome]} {one if tally[outcome] == 1 else more}"
            for outcome, one, more in _TALLY
            if tally[outcome]
        ]
        kept = self._kept.good.get(order.hash)
        confirmed = f" {_join(kept.people)} confirmed it." if kept else ""
        words = (
            f"{_join(order.people)} had {whom} {what} (serial {order.serial}).{confirmed} "
            f"Of the machines, by their own words, {', '.join(said) or 'none has answered'}."
        )
        device = order.devices[0] if len(order.devices) == 1 else ""
        self.findings.prove(Finding("closing", words, place.generation, place.entry, device))

    def _tell_open(self, orders: Sequence[Closing]) -> None:
        """Say which machines have not said how the newest closing for them ended (rule 7)."""
        left = {d for d, machine in self.documents.machines.items() if machine.state == ACTIVE}
        for order in reversed(orders):
            named = left & set(order.devices) if order.devices else left
            left = left - named
            silent = sorted(d for d in named if self._outcome(d, order) in ("", ACCEPTED))
            trial = sorted(d for d in named if self._outcome(d, order) == "applied")
            if silent:
                words = (
                    f"What became of the closing {order.hash[:12]}… (serial {order.serial}) is not "
                    f"in this record yet for {self._names(silent)}: the word of it has not "
                    "arrived, or was kept back."
                )
                self._leave_open("closing_unanswered", words, silent)
            if trial and not order.opens_all:
                words = (
                    f"Whether the closing {order.hash[:12]}… (serial {order.serial}) still holds "
                    f"is not in this record yet for {self._names(trial)}: on trial, as last said."
                )
                self._leave_open("closing_on_trial", words, trial)
            if not left:
                return

    def _outcome(self, device: str, order: Closing) -> str:
        word = self._said.get((device, order.hash))
        return word.outcome if word else ""

    def _leave_open(self, finding: str, words: str, devices: Sequence[str]) -> None:
        device = devices[0] if len(devices) == 1 else ""
        self.findings.leave_open(Finding(finding, words, device=device))

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


def _compare(word: _Word, order: Closing) -> str:
    """Return in what a machine's report differs from the closing that it is about, or nothing."""
    report = word.report
    if report is None:
        return ""
    if report.serial != order.serial:
        return f"had its serial {report.serial}; its owner's people signed {order.serial}."
    wanted = order.ports, order.local_access
    if word.outcome in ("applied", "kept") and (report.closed, report.local_access) != wanted:
        said = say_closed(report.closed, report.local_access)
        return f"closes {said}; its owner's people signed {order.words()}."
    return ""


def _may_lack(place: Place, *, full: bool) -> bool:
    """Say whether a paper may be missing without a lie: by a restore, or because of a limit."""
    # A restore may have lost it, and the owner has signed for that loss.
    return full or place.generation > 1


def _join(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
