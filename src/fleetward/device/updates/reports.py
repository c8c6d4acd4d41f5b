"""Saying what came of a release: signed, in an entry of the journal, once at least."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from fleetward.device.audit.diary import Diary
from fleetward.device.timekeeper import Timekeeper
from fleetward.device.updates.floors import Keeping
from fleetward.device.updates.memory import Attempt, KeptFinding, Memory, Owed
from fleetward.trust.canonical import JsonObject, to_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.errors import Unreachable
from fleetward.trust.keys import Signer
from fleetward.trust.release_manifest import Manifest
from fleetward.trust.update_report import (
    MAX_FINDING_CHARACTERS,
    MAX_PRODUCTS,
    MAX_REPORT_BYTES,
    Finding,
    Slot,
    UpdateReport,
    make_report_payload,
)

MAX_WORDS: Final = 800
MAX_SHORT_WORDS: Final = 200
"""Characters of a report that would be too long otherwise."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Whose machine says so, and whether it is one at all."""

    owner: str
    device: str
    signer: Signer
    simulated: bool


def owe(
    attempt: Attempt,
    manifest: Manifest,
    outcome: str,
    rule: str,
    words: str,
) -> Owed:
    """Return the report that is owed of an attempt."""
    return Owed(
        outcome=outcome,
        product=manifest.product,
        version=manifest.version,
        counter=manifest.counter,
        release=manifest.hash,
        approval=attempt.approval,
        number=attempt.number,
        rule=rule,
        words=words[:MAX_WORDS],
        findings=attempt.findings if outcome in ("committed", "rolled_back") else (),
    )


class Reports:
    """Writes reports. Part of guard's single thread."""

    def __init__(
        self, speaker: Speaker, diary: Diary, time: Timekeeper, keeping: Callable[[], Keeping]
    ) -> None:
        """`keeping` says how the highest counters are kept."""
        self._keeping = keeping
        self._speaker = speaker
        self._diary = diary
        self._time = time

    def say(self, owed: Owed, memory: Memory) -> None:
        """Write a report. Raises `Unreachable` when the disk says no."""
        words = _plain(owed.words)
        report = self._make(owed, memory, words)
        raw = seal(make_report_payload(report), [self._speaker.signer])
        if len(raw) > MAX_REPORT_BYTES:
            # What a check printed may be in letters of four bytes. That it is said at all comes
            # before what it said.
            words = words[:MAX_SHORT_WORDS]
            report = replace(report, findings=(), words=words)
            raw = seal(make_report_payload(report), [self._speaker.signer])
        body: JsonObject = {
            "product": owed.product,
            "release": owed.release,
            "report": to_base64url(raw),
            "rule": owed.rule,
            "version": owed.version,
            "words": words,
        }
        self._diary.order(f"update.{owed.outcome}", body)

    def try_to_say(self, owed: Owed, memory: Memory) -> None:
        """The same, for what may be lost to a full disk."""
        with contextlib.suppress(Unreachable):
            self.say(owed, memory)

    def _make(self, owed: Owed, memory: Memory, words: str) -> UpdateReport:
        held = memory.held.get(owed.product)
        return UpdateReport(
            device=self._speaker.device,
            owner=self._speaker.owner,
            product=owed.product,
            version=owed.version,
            counter=owed.counter,
            release=owed.release,
            approval=owed.approval,
            attempt=owed.number,
            outcome=owed.outcome,
            rule=owed.rule,
            words=words,
            slots=tuple(Slot(part.place, part.sha256) for part in held.parts) if held else (),
            installed=memory.list_installed()[:MAX_PRODUCTS],
            findings=tuple(_cut(finding) for finding in owed.findings),
            at_ms=self._time.wall_ms(),
            simulated=self._speaker.simulated,
            counters=self._keeping(),
        )


def _cut(finding: KeptFinding) -> Finding:
    most = MAX_FINDING_CHARACTERS
    return Finding(_plain(finding.check, most), finding.good, _plain(finding.words, most))


def _plain(words: str, most: int = MAX_WORDS) -> str:
    """Return words as a report may hold them: what a release's own program printed is among them,
    and a report that the server cannot read would be none."""
    return "".join(c if c.isprintable() else " " for c in words)[:most]
