"""`fleetward window list`: in which windows a technician may come without asking."""

from __future__ import annotations

from typing import Annotated

import typer

from fleetward.cli.access_options import (
    PLAIN,
    As,
    AsJson,
    open_api,
    open_folder,
)
from fleetward.keyholder.access.coming import list_ahead
from fleetward.keyholder.access.standing_rows import StandingApi
from fleetward.keyholder.access.standing_telling import show_standing_case, tell_standing_line
from fleetward.keyholder.speak import emit, refusals
from fleetward.runtime.clock import SystemClock

window_app = typer.Typer(
    help="See in which windows you may enter without asking.", no_args_is_help=True, **PLAIN
)


@window_app.command("list")
def list_windows(
    machine: Annotated[str, typer.Option("--machine", help="For this machine only.")] = "",
    as_: As = None,
    as_json: AsJson = False,
) -> None:
    """List what was allowed ahead to you, verified here, with the next window of each.

    fleetward window list --machine pump-7
    """
    with refusals():
        folder = open_folder(as_)
        api = open_api(folder)
        learned = folder.learn(api.client)
        device = learned.find_machine(machine).device if machine else ""
        keys = learned.keys_of(folder.facts().person)
        cases = [c for k in keys for c in list_ahead(StandingApi(api.client), learned, k, device)]
        now_ms = SystemClock().wall_ms()
        lines = [tell_standing_line(case, now_ms) for case in cases]
        shown = [show_standing_case(case, now_ms) for case in cases]
        emit(shown, as_json, "\n".join(lines) or "Nothing was allowed ahead to you.")


@window_app.callback()
def root() -> None:
    """See in which windows you may enter without asking."""
