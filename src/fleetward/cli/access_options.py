"""The options that the commands for sessions share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from fleetward.keyholder.access.requester_folder import DEFAULT_FOLDER, RequesterFolder
from fleetward.keyholder.access.runbooks import (
    check_runbook,
    load_runbook,
    make_runbook_scope,
    parse_arguments,
)
from fleetward.keyholder.access.server_rows import AccessApi
from fleetward.trust.access_runbook import RunbookScope
from fleetward.trust.errors import Refused

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
BreakGlass = Annotated[
    bool,
    typer.Option("--break-glass", help="The usual approvers are away: two others say yes, and "
                 "somebody presses at the machine. Everybody is told."),
]  # fmt: skip
For = Annotated[str, typer.Option("--for", help="How long, as 30m, 2h or 90s.")]
RunbookFile = Annotated[
    Path | None, typer.Option("--runbook", help="A signed runbook to be started, once.")
]
Arguments = Annotated[
    list[str] | None,
    typer.Option("--argument", help="NAME=VALUE for the runbook; may repeat."),
]
AskOwner = Annotated[
    bool, typer.Option("--ask-owner", help="Ask, also when a window lets you in ahead.")
]
SessionId = Annotated[
    str, typer.Argument(help="A request or session: its id, or 8 digits of its beginning.")
]


def open_folder(path: Path | None) -> RequesterFolder:
    """Return the technician's folder of a command. Raises `Refused`."""
    return RequesterFolder.open(path or Path.home() / DEFAULT_FOLDER)


def read_wanted_runbook(
    path: Path | None, arguments: list[str] | None
) -> tuple[RunbookScope, bytes] | None:
    """Return the scope and the document of a runbook to ask for. Raises `Refused`, `Malformed`."""
    if path is None:
        if arguments:
            raise Refused("Arguments belong to a runbook: name it by --runbook.", reason="no_file")
        return None
    raw = load_runbook(path)
    return make_runbook_scope(check_runbook(raw, None), parse_arguments(arguments or [])), raw


def open_api(folder: RequesterFolder) -> AccessApi:
    """Return the API of a technician's server. Raises `Refused`."""
    return AccessApi(folder.client())
