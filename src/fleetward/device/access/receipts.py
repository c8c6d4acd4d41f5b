"""How sessions end on paper: the entry, what changed on the machine, and the signed receipt.

A session is over when nothing of it is left. Then its recording is sealed and the end is on the
disk; what changed is compared, which takes a moment; and only after that the receipt is signed,
because it names the comparison. A crash between any two is made good at the next start.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import msgspec

from fleetward.device.access.comparer import (
    MOST_TOLD,
    Compared,
    Comparer,
    Subject,
    describe_compared,
)
from fleetward.device.access.recordings import follow_to_end
from fleetward.device.audit.diary import Diary
from fleetward.device.timekeeper import Timekeeper
from fleetward.trust.canonical import JsonObject, from_base64url, to_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.errors import Unreachable
from fleetward.trust.grants.report import Receipt, make_receipt_payload
from fleetward.wire.posture import Change

if TYPE_CHECKING:
    from fleetward.device.access.kept import KeptSession, KeptSessions
    from fleetward.device.access.machine import Machine
    from fleetward.device.access.notes import Notes
    from fleetward.device.access.recordings import Recordings

NOTHING_RECORDED: Final = "00" * 32


class Receipts:
    """Part of guard's single thread. Without a comparer a receipt says that nothing looked."""

    def __init__(
        self,
        papers: tuple[KeptSessions, Recordings, Notes],
        machine: Machine,
        diary: Diary,
        time: Timekeeper,
        comparer: Comparer | None,
    ) -> None:
        self.comparer: Final = comparer
        self._kept, self._recordings, self._notes = papers
        self._machine = machine
        self._diary = diary
        self._time = time

    def write_end(self, kept: KeptSession, by: str, who: str, words: str) -> None:
        """Seal the recording and write down how a session ended."""
        tail = self._recordings.tail(kept)
        with contextlib.suppress(Unreachable):
            follow_to_end(tail)
        kept.ended_at_ms = self._time.wall_ms()
        kept.ended_by, kept.ended_who, kept.ended_words = by, who, words
        kept.records = tail.records
        kept.head = tail.head.hex() if tail.size else NOTHING_RECORDED
        with contextlib.suppress(Unreachable):
            self._diary.order("session.ended", _describe_end(kept))
        with contextlib.suppress(Unreachable):
            self._kept.write(kept)

    def compare(self, kept: KeptSession, subject: Subject | None) -> None:
        """Have what changed compared, and sign the receipt after that, or at once without."""
        if self.comparer is None or subject is None:
            kept.not_compared = "nothing_looks"
            self._sign_receipt(kept)
            return
        self.comparer.close(subject, self._kept.before(kept))

    def take_compared(self) -> None:
        """Write down what was compared meanwhile, and sign the receipts that waited for it."""
        for compared in self.comparer.take() if self.comparer is not None else []:
            kept = self._kept.sessions.get(compared.session)
            if kept is not None and not kept.receipt:
                self._write_compared(kept, compared)
                self._sign_receipt(kept)
                self._kept.before(kept).unlink(missing_ok=True)

    def _write_compared(self, kept: KeptSession, compared: Compared) -> None:
        notice = describe_compared(kept, compared)
        if notice is None or compared.comparison is None:
            kept.not_compared = compared.why_not or "failed"
            words = f"What changed during the session of {kept.person} is not known."
            body: JsonObject = {
                "session": kept.session,
                "why": kept.not_compared,
                "words": f"{words} {compared.problem}"[:500].rstrip(),
            }
            self._diary.evidence("session.not_compared", body)
            return
        kept.changes, kept.findings = compared.digest, notice.findings
        with contextlib.suppress(Unreachable):
            self._diary.order("session.compared", msgspec.to_builtins(notice))
        for finding in compared.comparison.findings[:MOST_TOLD]:
            change = Change(
                key=f"session/{kept.name}/{finding.rule}",
                what=f"session.{finding.rule}",
                words=f"During the session of {kept.person}: {finding.words}"[:1000],
                before="",
                after=finding.evidence,
                severity=finding.severity,
            )
            self._diary.evidence("posture.changed", msgspec.to_builtins(change))

    def _sign_receipt(self, kept: KeptSession) -> None:
        receipt = Receipt(
            device=self._machine.device,
            owner=self._machine.owner,
            session=kept.session,
            opened_at_ms=kept.opened_at_ms,
            ended_at_ms=kept.ended_at_ms,
            ended_by=kept.ended_by,
            ended_who=kept.ended_who[:80],
            bytes_in=kept.bytes_in,
            bytes_out=kept.bytes_out,
            records=kept.records,
            recording_head=kept.head,
            hash="",
            raw=b"",
            changes=kept.changes,
            findings=kept.findings,
            not_compared=kept.not_compared,
        )
        signed = seal(make_receipt_payload(receipt), [self._machine.signer])
        kept.receipt = to_base64url(signed)
        with contextlib.suppress(Unreachable):
            self._kept.write(kept)
        self._notes.put("receipt", kept.session, signed)

    def finish_old(self) -> None:
        """End what a crash cut off, and say again what the server may not have."""
        for kept in list(self._kept.sessions.values()):
            if not kept.ended_at_ms:
                self.write_end(kept, "restarted", "", "The agent of this machine ended.")
            if not kept.receipt:
                self.compare(kept, self._recall(kept))
            elif not kept.receipt_taken:
                self.say_again(kept)
            if kept.stored_powered_ms < 0:
                with contextlib.suppress(Unreachable):
                    follow_to_end(self._recordings.tail(kept))

    def _recall(self, kept: KeptSession) -> Subject | None:
        """Return a session of an earlier run of the agent as one that can still be compared."""
        return Subject(
            session=kept.session,
            folders=(),
            opened_at_ms=kept.opened_at_ms,
            ended_at_ms=kept.ended_at_ms,
            restarted=True,
            late=kept.before_late,
            before_at_ms=kept.before_at_ms,
        )

    def say_again(self, kept: KeptSession) -> None:
        """Have the receipt of an ended session said, once more."""
        if kept.receipt:
            self._notes.put("receipt", kept.session, from_base64url(kept.receipt))


def _describe_end(kept: KeptSession) -> JsonObject:
    who = f" by {kept.ended_who}" if kept.ended_who else ""
    loud = "BREAK-GLASS: " if kept.break_glass else ""
    mark: JsonObject = {"break_glass": True} if kept.break_glass else {}
    return {
        **mark,
        "by": kept.ended_by,
        "head": kept.head,
        "records": kept.records,
        "session": kept.session,
        "who": kept.ended_who,
        "words": f"{loud}The session of {kept.person} ended{who}: "
        f"{kept.ended_words or kept.ended_by}",
    }
