"""What machines signed that they run for good, over a whole record: for the proof of a recall.

A machine never commits a release below the highest counter that it has committed. So of each
product its highest counter is its newest word, whatever its clock says and in whatever order a
server wrote its reports down. A lower one that came later both by the record's order and by the
machine's clock stands beside it: then the machine may have lost what it knew, or its clock was set
back and the server has turned the order round. Who judges takes both words, and the worse.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from fleetward.trust.update_report import Installed, UpdateReport

MAX_WORDS: Final = 1_000_000
"""Machines and products, in pairs, and reports, that are remembered."""


@dataclass(frozen=True, slots=True)
class Word:
    """What a machine signed that it runs of a product, and where that stands in the record."""

    installed: Installed
    report: str
    at_ms: int
    generation: int
    entry: int
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class ReportPlace:
    """Where a report stands as an entry of its own."""

    device: str
    generation: int
    entry: int


@dataclass(slots=True)
class RunningInAudit:
    """Collects what machines run while a record is read."""

    places: dict[str, ReportPlace] = field(default_factory=dict)
    """Reports that are entries of their own, by their hash."""
    _highest: dict[tuple[str, str], Word] = field(default_factory=dict)
    _fallen: dict[tuple[str, str], Word] = field(default_factory=dict)

    def take(self, report: UpdateReport, generation: int, entry: int, *, own_entry: bool) -> None:
        """Take a report that was verified, in the order of the record."""
        if own_entry and len(self.places) < MAX_WORDS:
            place = ReportPlace(report.device, generation, entry)
            self.places.setdefault(report.hash, place)
        for each in report.installed:
            word = Word(each, report.hash, report.at_ms, generation, entry, report.simulated)
            self._take(report.device, each.product, word)

    def find(self, device: str, product: str) -> tuple[Word, ...]:
        """Return what a machine may run of a product by its own words: none, one, or two that
        stand against each other, the highest first."""
        key = device, product
        found = (self._highest.get(key), self._fallen.get(key))
        return tuple(word for word in found if word is not None)

    def _take(self, device: str, product: str, word: Word) -> None:
        key = device, product
        before = self._highest.get(key)
        if before is None and len(self._highest) >= MAX_WORDS:
            return
        if before is None or word.installed.counter > before.installed.counter:
            self._highest[key] = word
            self._fallen.pop(key, None)
        elif word.at_ms > before.at_ms and word.installed.counter < before.installed.counter:
            self._fallen[key] = word
        elif word.at_ms > before.at_ms:
            self._highest[key] = word
            self._fallen.pop(key, None)
