"""The options that the commands for sessions share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from fleetward.keyholder.access.requester_folder import DEFAULT_FOLDER, RequesterFolder
from fleetward.keyholder.access.server_rows import AccessApi

PLAIN: Final[dict[str, Any]] = {"add_completion": False, "rich_markup_mode": None}

As = Annotated[
    Path | None,
    typer.Option("--as", help="The technician's folder; ~/fleetward-requester if not named."),
]
PassphraseFile = Annotated[
    Path | None, typer.Option("--passphrase-file", help="File of mode 600; else you are asked.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Machine = Annotated[str, typer.Argument(help="The machine's id, the start of it, or its name.")]
Reason = Annotated[str, typer.Option("--reason", help="Why. The owner reads it; it is kept.")]
CaseName = Annotated[str, typer.Option("--case", help="A case or ticket it belongs to.")]
For = Annotated[str, typer.Option("--for", help="How long, as 30m, 2h or 90s.")]
AskOwner = Annotated[
    bool, typer.Option("--ask-owner", help="Ask, also when a window lets you in ahead.")
]
SessionId = Annotated[
    str, typer.Argument(help="A request or session: its id, or 8 digits of its beginning.")
]


def open_folder(path: Path | None) -> RequesterFolder:
    """Return the technician's folder of a command. Raises `Refused`."""
    return RequesterFolder.open(path or Path.home() / DEFAULT_FOLDER)


def open_api(folder: RequesterFolder) -> AccessApi:
    """Return the API of a technician's server. Raises `Refused`."""
    return AccessApi(folder.client())
