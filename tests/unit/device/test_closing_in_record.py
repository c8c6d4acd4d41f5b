"""What the agent writes down about closings, as the owner's own check of a record reads it."""

from __future__ import annotations

from pathlib import Path

from tests.closing_record import ids, words
from tests.closing_wishes import sign_kept, wish
from tests.closing_world import ClosingGuard

from fleetward.trust.closing import CLOSING_TYPE, KEPT_TYPE, REPORT_TYPE
from fleetward.trust.journal import read_entry
from fleetward.trust.ledger_closings import ClosingsInAudit
from fleetward.trust.ledger_documents import DocumentsInAudit, HandedOver
from fleetward.trust.ledger_findings import AuditReport, Findings
from fleetward.trust.ledger_leaves import ClosingFact, read_closing
from fleetward.trust.policy import POLICY_TYPE


def said(guard: ClosingGuard) -> list[ClosingFact]:
    """Return what the journal says of closings, in its order."""
    lines = [
        line
        for path in sorted((guard.folder / "journal").glob("*.entries"))
        for line in path.read_bytes().splitlines()
        if line.startswith(b'{"at"')
    ]
    return [fact for line in lines if (fact := read_closing(read_entry(line)))]


def audit(guard: ClosingGuard, papers: dict[str, bytes], *, journal: bool) -> AuditReport:
    """Record each paper before the first word about it, then what the machine said of it."""
    trust, findings = guard.access.trust, Findings()
    handed = HandedOver(
        trust.owner_root.raw,
        tuple(policy.raw for policy in trust.policies),
        trust.rosters[-1].raw,
        tuple(entry.to_bytes() for entry in trust.entries),
        trust.heads[-1].raw,
    )
    documents = DocumentsInAudit(trust.owner, handed, findings)
    for policy in trust.policies:
        documents.take(policy.raw, POLICY_TYPE, 1, 0)
    judge = ClosingsInAudit(trust.owner, documents, findings)
    for entry, fact in enumerate(said(guard)):
        order = papers.pop(fact.closing, b"")
        if order:
            judge.take(order, CLOSING_TYPE, 1, entry)
        if fact.outcome == "confirmed":
            judge.take(papers.pop("kept " + fact.closing), KEPT_TYPE, 1, entry)
        if journal:
            judge.take_journal(guard.access.machine.device, [fact], 1, entry)
        elif fact.report:
            judge.take(fact.report, REPORT_TYPE, 1, entry)
    judge.finish()
    return findings.report()


def test_a_machine_that_lives_through_all_of_it_is_never_blamed(tmp_path: Path) -> None:
    guard = ClosingGuard.of(tmp_path / "m")
    first = guard.shut(22)
    kept = sign_kept(guard.access, first.hash)
    guard.push(kept.raw)
    second = guard.shut(80, 443)
    guard.pass_seconds(601)  # nobody confirms it: back to the first
    assert guard.refusal(second.raw) == "old_serial"
    guard.closer.tcp, guard.closer.mark = set(), ""  # somebody flushes the filter
    guard.pass_seconds(601)
    guard.push(first.raw)  # a server that has lost what holds
    guard.start()
    guard.settle()
    opened = guard.order(wish())
    guard.pass_seconds(601)
    guard.push(opened.raw)
    third = guard.order(wish(23, ways=("ssh",)))
    papers = {closing.hash: closing.raw for closing in (first, second, opened, third)}
    papers["kept " + first.hash] = kept.raw
    outcomes = [fact.outcome for fact in said(guard)]
    assert {"accepted", "applied", "confirmed", "kept", "restored", "refused", "undone"} == set(
        outcomes
    )
    for journal in (False, True):
        report = audit(guard, dict(papers), journal=journal)
        assert report.contradicted == ()
        (trial,) = [f for f in report.unknown if f.id == "closing_on_trial"]
        assert (trial.device, third.hash[:12] in trial.words) == (guard.access.machine.device, True)
        # The other machine on the roster has never said anything.
        assert ids(report.unknown) == {"closing_on_trial", "closing_unanswered"}
        assert len(words(report.proven, "closing")) == 4
    for missing in (first, second, opened, third):
        left = {name: raw for name, raw in papers.items() if name != missing.hash}
        assert ids(audit(guard, left, journal=False).contradicted) == {"closing_not_signed"}
    guard.close()
