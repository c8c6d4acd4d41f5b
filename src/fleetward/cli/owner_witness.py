"""`fleetward owner witness …`: sign what you have seen of somebody's record."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from fleetward.cli.owner_options import AsJson, Data, Server, TokenFile
from fleetward.cli.plain import PLAIN
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.place import Unnamed, find_server
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.keyholder.witness import (
    WitnessFolder,
    make_witness,
    sign_export,
    sign_shown,
    watch_once,
)
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.files import read_bounded
from fleetward.trust.errors import Unreachable
from fleetward.trust.note import MAX_NOTE_BYTES

witness_app = typer.Typer(help="Cosign a record that only grows.", no_args_is_help=True, **PLAIN)

Folder = Annotated[Path, typer.Option("--folder", help="The witness's own folder.")]
MIN_EVERY_SECONDS = 5


@witness_app.command("init")
def init(
    name: Annotated[str, typer.Option("--name", help="The name you sign under.")],
    root: Annotated[str, typer.Option("--root", help="The owner root's hash.")],
    folder: Folder,
    as_json: AsJson = False,
) -> None:
    """Make a witness: a key in a folder of its own.

    fleetward owner witness init --name notary --root 5f1c… --folder ~/witness
    """
    with refusals():
        made = make_witness(folder, name, root)
        public = made.path / "public.pem"
        shown = {"folder": str(folder), "name": name, "public": str(public)}
        emit(shown, as_json, f"Give {public} to the owner: fleetward owner policy set witness "
             f"{name} {public}")  # fmt: skip


@witness_app.command("sign")
def sign(
    folder: Folder,
    checkpoint: Annotated[
        Path | None, typer.Argument(help="A checkpoint; the server proves that it extends.")
    ] = None,
    export: Annotated[
        Path | None, typer.Option("--export", help="A whole record, which is checked first.")
    ] = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign a checkpoint, but only one that extends the last one signed; print the signed note.

    fleetward owner witness sign --folder ~/witness --export record-2026-11
    """
    with refusals():
        witness, now_ms = WitnessFolder(folder), SystemClock().wall_ms()
        if export is not None and checkpoint is None:
            signed = sign_export(witness, export, now_ms)
        elif checkpoint is not None and export is None:
            client = _client(data, server, token_file)
            signed = sign_shown(witness, client, read_bounded(checkpoint, MAX_NOTE_BYTES), now_ms)
        else:
            raise Unnamed("Expected a checkpoint or --export DIR.", reason="no_checkpoint")
        text = signed.decode("utf-8")
        emit({"note": text}, as_json, text.rstrip("\n"))


@witness_app.command("watch")
def watch(
    folder: Folder,
    every: Annotated[int, typer.Option("--every", help="Seconds between two looks.")] = 60,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign every checkpoint that extends the last one, and hand the signature to the server.

    It ends with an error at the first checkpoint that does not: that is what it is for.

    fleetward owner witness watch --folder ~/witness --server https://fleet.example
    --token-file token
    """
    with refusals():
        witness = WitnessFolder(folder)
        while True:
            try:
                client = _client(data, server, token_file)
                state = watch_once(witness, client, SystemClock().wall_ms())
            except Unreachable as e:
                if once:
                    raise
                say(e.message)
            else:
                words = f"Signed {state.size} entries of {state.origin}."
                if once:
                    emit({"size": state.size, "origin": state.origin}, as_json, words)
                    return
                say(words)
            time.sleep(max(every, MIN_EVERY_SECONDS))


def _client(data: Path | None, server: str, token_file: Path | None) -> ApiClient:
    place = find_server(data, server, token_file)
    return ApiClient(place.api, place.token, place.server_ca_pem)
