"""The options that the owner's commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleetward.keyholder.desk import Desk
from fleetward.keyholder.place import find_owner, find_passphrase
from fleetward.keyholder.speak import say
from fleetward.runtime.clock import SystemClock

Owner = Annotated[
    Path | None, typer.Option("--owner", help="The owner's folder; ~/fleetward-owner if not named.")
]
Data = Annotated[
    Path | None, typer.Option("--data", help="Data directory of a server on this computer.")
]
Server = Annotated[str, typer.Option("--server", help="Server elsewhere: https://HOST[:PORT].")]
TokenFile = Annotated[
    Path | None, typer.Option("--token-file", help="File of mode 600 with a token of that server.")
]
PassphraseFile = Annotated[
    Path | None, typer.Option("--passphrase-file", help="File of mode 600; else you are asked.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def open_desk(owner: Path | None, data: Path | None, passphrase_file: Path | None) -> Desk:
    """Return the desk of a command; a demo's own passphrase is found. Raises `Refused`."""
    if passphrase_file is None:
        passphrase_file = find_passphrase(owner, data)
        if passphrase_file is not None:
            say(f"The demo's passphrase is used: {passphrase_file}")
    return Desk.open(find_owner(owner, data), passphrase_file, SystemClock())
