"""`fleetward audit …`: fetch the record, and check it with nothing trusted but the owner root."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from fleetward.cli.plain import PLAIN
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.audit_words import show_report, tell_report
from fleetward.keyholder.auditor import own_folder, read_older, read_witness
from fleetward.keyholder.documents import load_documents
from fleetward.keyholder.fetch_export import fetch_export
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.kept_checkpoint import read_kept
from fleetward.keyholder.pinned_record import read_authority
from fleetward.keyholder.place import find_owner, find_server
from fleetward.keyholder.speak import emit, refusals
from fleetward.keyholder.verify import verify_export
from fleetward.runtime.clock import SystemClock
from fleetward.trust.ledger import Auditor

audit_app = typer.Typer(
    name="audit", help="Export the record, and check it offline.", no_args_is_help=True, **PLAIN
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


@audit_app.command("export")
def export(
    out: Annotated[Path, typer.Option("--out", help="A folder that does not exist yet.")],
    data: Annotated[Path | None, typer.Option("--data", help="Server on this computer.")] = None,
    server: Annotated[str, typer.Option("--server", help="https://HOST[:PORT].")] = "",
    token_file: Annotated[Path | None, typer.Option("--token-file", help="Mode 600.")] = None,
    owner: Annotated[
        Path | None, typer.Option("--owner", help="Owner's folder: pins the server.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch the whole record into a folder, to keep or to check.

    fleetward audit export --out record-2026-11 --data DIR
    """
    with refusals():
        place = find_server(data, server, token_file)
        pinned = find_owner(owner, data)
        known = (pinned / "owner.toml").is_file()
        authority = read_authority(OwnerFolder.open(pinned)) if known else ""
        path = fetch_export(
            ApiClient(place.api, place.token, authority or place.server_ca_pem), out
        )
        emit({"out": str(path)}, as_json, f"The record lies in {path}.")


@audit_app.command("verify")
def verify(
    folder: Annotated[Path, typer.Argument(help="What `audit export` wrote.")],
    root: Annotated[str, typer.Option("--root", help="The owner root's hash, 64 digits.")],
    checkpoint: Annotated[
        list[Path] | None, typer.Option("--checkpoint", help="Older checkpoint that you kept.")
    ] = None,
    witness: Annotated[
        list[str] | None, typer.Option("--witness", help="NAME=KEYFILE of a witness you know.")
    ] = None,
    owner: Annotated[
        Path | None, typer.Option("--owner", help="Compare with what this owner's folder knows.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a record with no server and no network. Exit 0 only when nothing is contradicted.

    fleetward audit verify record-2026-11 --root 5f1c… --checkpoint last-year.txt
    """
    with refusals():
        own = OwnerFolder.open(owner) if owner else None
        auditor = Auditor(
            now_ms=SystemClock().wall_ms(),
            older=(*read_older(checkpoint or []), *(read_kept(own) if own else ())),
            witnesses=dict(read_witness(each) for each in witness or []),
            own=own_folder(load_documents(own)) if own else None,
        )
        result = verify_export(folder, root, auditor, _Meter())
        emit(show_report(result), as_json, tell_report(result))
    if not result.report.whole:
        raise typer.Exit(1)


class _Meter:
    """Tells on a terminal how far a long verification got."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if sys.stderr.isatty() and now - self._told > 1:
            self._told = now
            sys.stderr.write(f"\r{done} of {total} entries checked")
            sys.stderr.flush()
