"""`owner session verify`: one session from its request to its end, trusting nobody.

Three lists as an audit has them. Proven is what signatures and hashes say; contradicted what they
deny; unknown what is not there, or not yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetward.keyholder.access.judging import Case, Judge
from fleetward.keyholder.access.recordings import RecordingReader, compare_receipt
from fleetward.keyholder.access.server_rows import AccessPapers
from fleetward.keyholder.export_folder import MAX_ENTRIES, ExportFolder
from fleetward.trust.errors import FleetwardError, Malformed
from fleetward.trust.journal import Entry, join_batch, read_batch_header, verify_batch
from fleetward.trust.ledger_findings import AuditReport, Finding, Findings
from fleetward.trust.note import read_checkpoint
from fleetward.trust.roster import RosterEntry
from fleetward.trust.tiles import decode_bundle, tiles_of

OPENED: Final = "session.opened"


@dataclass(frozen=True, slots=True)
class Verified:
    """A report about one session, and the case where its papers stand."""

    report: AuditReport
    case: Case | None


def verify_papers(judge: Judge, papers: AccessPapers, findings: Findings) -> Case | None:
    """Judge the signed papers of a session."""
    try:
        case = judge.read_case(papers)
    except FleetwardError as e:
        findings.contradict(Finding(f"papers_{e.reason}", f"Its papers do not stand: {e.message}"))
        return None
    request, entry = case.request, case.entry
    say = findings.prove
    say(Finding("request", f"{request.person} asked for it, by a key that your policy named."))
    if case.grant is None:
        findings.leave_open(Finding("no_grant", "Nobody said yes: there was no session."))
        return case
    people = " and ".join(case.grant.people)
    ahead = case.grant.ahead
    how = (
        f"allowed that ahead, in window {ahead.window + 1},"
        if ahead
        else "said yes to exactly that,"
    )
    say(Finding("offer", f"{entry.name} answered under its own key.", device=entry.device))
    say(
        Finding(
            "grant",
            f"{people} {how} under policy {case.policy.version}: "
            f"{'; '.join(s.words() for s in case.grant.scopes)}, {case.grant.seconds} s.",
        )
    )
    if case.receipt is None:
        findings.leave_open(
            Finding("no_receipt", "The machine has not signed its end yet.", device=entry.device)
        )
    else:
        ended = case.receipt
        by = f" ({ended.ended_who})" if ended.ended_who else ""
        say(
            Finding(
                "receipt",
                f"{entry.name} signed that it ended: {ended.ended_by}{by}.",
                device=entry.device,
            )
        )
        _check_times(case, findings)
    return case


def verify_recording(case: Case, reader: RecordingReader, findings: Findings) -> None:
    """Compare a recording that was read to its end with the machine's receipt."""
    state, words = compare_receipt(reader, case.receipt)
    finding = Finding(f"recording_{state}", f"The recording: {words}", device=case.entry.device)
    if state == "whole":
        findings.prove(finding)
    elif state == "false":
        findings.contradict(finding)
    else:
        findings.leave_open(finding)


def verify_in_record(
    case: Case, heads: list[bytes], export: Path, owner: str, findings: Findings
) -> None:
    """Look for a session in an exported record, which `audit verify` found whole.

    Its signed papers are entries of their own. Of what the machine wrote down, only what is behind
    a batch header that it signed and that stands in the log counts; an export brings the newest.
    """
    looked = _look_through(export, case, owner)
    device = case.entry.device
    for name, place in looked.places.items():
        if place is None:
            words = f"Its {name} is not in this copy of the record, which may be older."
            findings.leave_open(Finding(f"{name}_not_in_record", words, device=device))
        else:
            words = f"Its {name} is in the record, as it was signed."
            findings.prove(Finding(f"{name}_in_record", words, entry=place, device=device))
    granted, ended = looked.places["grant"], looked.places.get("receipt")
    if granted is not None and ended is not None and ended < granted:
        words = "The record has its end before the permission for it."
        findings.contradict(Finding("end_before_grant", words, entry=ended, device=device))
    if [entry.kind for entry in looked.entries].count(OPENED) > 1:
        words = "The machine opened it more than once."
        findings.contradict(Finding("opened_twice", words, device=device))
    for entry in looked.entries:
        _check_head(entry, heads, device, findings)


@dataclass(slots=True)
class _Looked:
    """Where the papers of a session stand in a record, and what its machine wrote down of it."""

    places: dict[str, int | None]
    entries: list[Entry]


def _look_through(export: Path, case: Case, owner: str) -> _Looked:
    folder, device = ExportFolder(export), case.entry.device.encode("ascii")
    papers = {
        paper.raw: name
        for name, paper in (
            ("request", case.request),
            ("offer", case.offer),
            ("grant", case.grant),
            ("receipt", case.receipt),
        )
        if paper is not None
    }
    if case.grant is not None and case.grant.ahead is not None:
        papers[case.grant.ahead.raw] = "permission ahead"
    looked = _Looked(dict.fromkeys(papers.values()), [])
    for place, leaf in enumerate(_leaves(folder)):
        if device not in leaf:
            continue
        if leaf in papers:
            looked.places[papers[leaf]] = place
        else:
            found = _entries_behind(folder, leaf, case.entry, owner)
            looked.entries += [e for e in found if e.body.get("session") == case.session]
    return looked


def _leaves(folder: ExportFolder) -> Iterator[bytes]:
    for generation in range(1, folder.head().generation + 1):
        note = folder.checkpoint(generation)
        if note is None:
            continue
        for index, width in tiles_of(min(read_checkpoint(note).checkpoint.size, MAX_ENTRIES)):
            data = folder.bundle(generation, index, width)
            yield from [] if data is None else decode_bundle(data)


def _entries_behind(
    folder: ExportFolder, leaf: bytes, machine: RosterEntry, owner: str
) -> Iterator[Entry]:
    try:
        header, _ = read_batch_header(leaf)
    except Malformed:
        return
    content = (
        folder.content(machine.device, header.first) if header.device == machine.device else None
    )
    if content is None:
        return
    lines = content.rstrip(b"\n").split(b"\n")
    batch = verify_batch(join_batch(leaf, lines), machine.key, owner)
    yield from (each for each in batch.entries if each.kind.startswith("session."))


def _check_head(entry: Entry, heads: list[bytes], device: str, findings: Findings) -> None:
    records, head = entry.body.get("records"), entry.body.get("head")
    if not isinstance(records, int) or not isinstance(head, str) or entry.kind == OPENED:
        return
    if records < len(heads) and heads[records].hex() != head:
        findings.contradict(
            Finding(
                "head_differs",
                f"After record {records} the machine wrote down another recording than this one.",
                device=device,
            )
        )
    elif records >= len(heads) and heads:
        findings.leave_open(
            Finding(
                "record_missing",
                f"The machine wrote down {records} records; fewer are here.",
                device=device,
            )
        )


def _check_times(case: Case, findings: Findings) -> None:
    grant, receipt = case.grant, case.receipt
    if grant is None or receipt is None:
        return
    length_ms = receipt.ended_at_ms - receipt.opened_at_ms
    if length_ms > grant.seconds * 1000 + 10_000:
        findings.contradict(
            Finding(
                "too_long",
                f"It lasted {length_ms // 1000} s; {grant.seconds} were allowed, by "
                "the machine's own clock.",
                device=case.entry.device,
            )
        )
