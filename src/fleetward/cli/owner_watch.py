"""`fleetward owner session …`: who is and was inside; watch, replay, verify."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetward.cli.access_options import PLAIN, SessionId
from fleetward.cli.owner_options import (
    AsJson,
    Data,
    Owner,
    PassphraseFile,
    Server,
    TokenFile,
    open_desk,
)
from fleetward.keyholder.access.comparing import (
    read_changes,
    show_changes,
    tell_changes,
    verify_changes,
)
from fleetward.keyholder.access.judging import Case, Judge, require_named
from fleetward.keyholder.access.recordings import (
    Event,
    RecordingReader,
    compare_receipt,
    fetch_recording,
    read_file,
    recording_key,
    subject_of,
)
from fleetward.keyholder.access.replaying import play, say_mark, write_cast
from fleetward.keyholder.access.server_rows import AccessApi
from fleetward.keyholder.access.telling import show_case, show_row, tell_case, tell_row
from fleetward.keyholder.access.terminal_safe import RESET, VIEW, Filter
from fleetward.keyholder.access.verifying import (
    verify_in_record,
    verify_papers,
    verify_recording,
)
from fleetward.keyholder.access.watching import Beats, follow
from fleetward.keyholder.audit_words import show_finding
from fleetward.keyholder.auditor import own_folder
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import OwnerDocuments, load_documents
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.hand import reach_server
from fleetward.keyholder.place import find_owner
from fleetward.keyholder.speak import emit, refusals, say, write_json
from fleetward.keyholder.verify import verify_export
from fleetward.runtime.clock import SystemClock
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.ledger import Auditor
from fleetward.trust.ledger_findings import AuditReport, Finding, Findings

owner_session_app = typer.Typer(
    help="Who is and was inside: list, watch, replay, verify.", no_args_is_help=True, **PLAIN
)


@owner_session_app.command("list")
def list_sessions(
    state: Annotated[str, typer.Option("--state", help="One state only, as offered.")] = "",
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """List requests and sessions as the server tells them. `show` checks one.

    fleetward owner session list --state offered --data DIR
    """
    with refusals():
        folder = OwnerFolder.open(find_owner(owner, data))
        rows = AccessApi(reach_server(folder, data, server, token_file)).rows(state=state)
        lines = [tell_row(row) for row in rows]
        emit([show_row(row) for row in rows], as_json, "\n".join(lines) or "None yet.")


@owner_session_app.command("show")
def show_session(
    session: SessionId,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one request or session and what changed, its papers checked by your own folder.

    fleetward owner session show 3f9a01bc --data DIR
    """
    with refusals():
        folder = OwnerFolder.open(find_owner(owner, data))
        api = AccessApi(reach_server(folder, data, server, token_file))
        papers = api.find(session)
        case = require_named(_judge(load_documents(folder)).read_case(papers), session)
        shown, told = show_case(case, papers.state), tell_case(case, papers.state)
        if case.grant is not None:
            changed = read_changes(api, case)
            shown["changes"] = show_changes(changed)
            told = "\n".join([told, *tell_changes(changed)])
        emit(shown, as_json, told)


@owner_session_app.command("watch")
def watch(
    session: SessionId,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Watch a session live, and tell the machine so while you do. Ctrl-C ends the watching.

    fleetward owner session watch 3f9a01bc --data DIR
    """
    with refusals():
        desk = open_desk(owner, data, passphrase_file)
        api = AccessApi(reach_server(desk.folder, data, server, token_file))
        case = require_named(_judge(desk.documents()).read_case(api.find(session)), session)
        watch_case(desk, api, case, as_json=as_json)


def watch_case(desk: Desk, api: AccessApi, case: Case, *, as_json: bool) -> None:
    """Show a session as it goes on, with beats. It returns when the session has ended."""
    reader = RecordingReader(subject_of(case), recording_key(desk.signer("recording")))
    stream = Filter(VIEW)

    def show(events: list[Event]) -> None:
        for event in events:
            if as_json:
                sys.stdout.write(write_json(event) + "\n")
            elif event.code == "o":
                sys.stdout.buffer.write(stream.feed_text(event.text).encode("utf-8"))
            elif event.code == "m":
                sys.stdout.buffer.write(say_mark(event.text))
        sys.stdout.flush()

    def is_over() -> bool:
        return api.papers(case.request.hash).state in ("ended", "denied", "stopped")

    say(f"Watching {case.request.person} at {case.entry.name}. Ctrl-C ends the watching.")
    try:
        with Beats(api, case, desk.signer("approver"), SystemClock()) as beats:
            follow(api, case.session, reader, show, is_over)
        if beats.trouble:
            say(f"The last beat did not arrive: {beats.trouble}")
    except KeyboardInterrupt:
        say("No longer watching.")
    finally:
        if not as_json and sys.stdout.isatty():
            sys.stdout.buffer.write(RESET)
            sys.stdout.flush()


@owner_session_app.command("replay")
def replay(
    session: SessionId,
    speed: Annotated[
        float, typer.Option("--speed", min=0, help="2 is twice as fast; 0 at once.")
    ] = 1,
    cast: Annotated[
        Path | None, typer.Option("--cast", help="Write an asciinema v2 file instead.")
    ] = None,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Replay a session here. What was shown cannot touch your clipboard, title or keys.

    fleetward owner session replay 3f9a01bc --speed 4 --data DIR
    """
    with refusals(), tempfile.TemporaryFile() as file:
        desk = open_desk(owner, data, passphrase_file)
        api = AccessApi(reach_server(desk.folder, data, server, token_file))
        case = require_named(_judge(desk.documents()).read_case(api.find(session)), session)
        reader = RecordingReader(subject_of(case), recording_key(desk.signer("recording")))
        fetch_recording(api, case.session, file)
        file.seek(0)
        if cast is not None:
            with cast.open("xb") as out:
                count = write_cast(read_file(reader, file), _started(reader, case), out.write)
            state, words = compare_receipt(reader, case.receipt)
            shown: dict[str, Any] = {"cast": str(cast), "events": count, "recording": state}
            emit(shown, as_json, f"{cast}: {count} events. {words}")
        elif as_json:
            events = list(read_file(reader, file))
            state, words = compare_receipt(reader, case.receipt)
            emit({"session": case.session, "recording": state, "words": words, "events": events},
                 as_json, "")  # fmt: skip
        else:
            _play(read_file(reader, file), speed)
            state, words = compare_receipt(reader, case.receipt)
            say(words)
        if state == "false":
            raise SystemExit(1)


@owner_session_app.command("verify")
def verify(
    session: SessionId,
    export: Annotated[
        Path | None, typer.Option("--export", help="A record by `fleetward audit export`.")
    ] = None,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Check a session from request to end. Exit 0 only when nothing is contradicted.

    fleetward owner session verify 3f9a01bc --export record-2026-11 --data DIR
    """
    with refusals():
        desk = open_desk(owner, data, passphrase_file)
        api = AccessApi(reach_server(desk.folder, data, server, token_file))
        report = _verify(desk, api, session, export)
        shown = {
            "session": session,
            "whole": report.whole,
            "proven": [show_finding(f) for f in report.proven],
            "contradicted": [show_finding(f) for f in report.contradicted],
            "unknown": [show_finding(f) for f in report.unknown],
        }
        emit(shown, as_json, _tell(report))
    if not report.whole:
        raise typer.Exit(1)


def _verify(desk: Desk, api: AccessApi, session: str, export: Path | None) -> AuditReport:
    documents, findings = desk.documents(), Findings()
    papers = api.find(session)
    case = verify_papers(_judge(documents), papers, findings)
    if case is not None:
        require_named(case, session)
    if case is None or case.grant is None:
        return findings.report()
    reader = RecordingReader(subject_of(case), recording_key(desk.signer("recording")))
    with tempfile.TemporaryFile() as file:
        try:
            fetch_recording(api, case.session, file)
            file.seek(0)
            for _ in read_file(reader, file):
                pass
            verify_recording(case, reader, findings)
        except FleetwardError as e:
            findings.contradict(_broken(e))
    verify_changes(case, read_changes(api, case), findings)
    if export is not None:
        _check_export(export, documents)
        verify_in_record(case, reader.heads, export, documents.owner, findings)
    return findings.report()


def _check_export(export: Path, documents: OwnerDocuments) -> None:
    auditor = Auditor(now_ms=SystemClock().wall_ms(), own=own_folder(documents))
    result = verify_export(export, documents.owner, auditor)
    if not result.report.whole:
        raise Refused(
            f"The record itself is contradicted: {result.report.contradicted[0].words} "
            "See: fleetward audit verify",
            reason="record_contradicted",
        )


def _broken(error: FleetwardError) -> Finding:
    return Finding(f"recording_{error.reason}", f"The recording does not stand: {error.message}")


def _play(events: Iterable[Event], speed: float) -> None:
    def show(data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()

    try:
        play(events, show, speed)
    except KeyboardInterrupt:
        say("Stopped.")


def _started(reader: RecordingReader, case: Case) -> int:
    if reader.header is not None:
        return reader.header.started_at_ms
    return case.receipt.opened_at_ms if case.receipt else 0


def _tell(report: AuditReport) -> str:
    lines: list[str] = []
    for title, found in (
        ("Proven", report.proven),
        ("Contradicted", report.contradicted),
        ("Cannot be known yet", report.unknown),
    ):
        lines += [f"{title}: {len(found) or 'nothing'}", *(f"  {f.words}" for f in found), ""]
    lines.append("Nothing here is contradicted." if report.whole else "This is contradicted.")
    return "\n".join(lines)


def _judge(documents: OwnerDocuments) -> Judge:
    return Judge(documents.policies, documents.entries)
