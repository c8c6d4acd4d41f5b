"""`fleetward request` and `session`: ask for a session, and see what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fleetward.cli.access_options import (
    PLAIN,
    Arguments,
    As,
    AsJson,
    AskOwner,
    BreakGlass,
    CaseName,
    For,
    Machine,
    PassphraseFile,
    Reason,
    RunbookFile,
    SessionId,
    open_api,
    open_folder,
    read_wanted_runbook,
)
from fleetward.keyholder.access.asking import ask
from fleetward.keyholder.access.coming import enter_ahead, find_fit, list_ahead, say_next
from fleetward.keyholder.access.judging import require_named
from fleetward.keyholder.access.scope_words import EXAMPLES, parse_length, parse_scope
from fleetward.keyholder.access.server_rows import AccessApi
from fleetward.keyholder.access.standing_rows import StandingApi
from fleetward.keyholder.access.telling import (
    show_case,
    show_request,
    show_row,
    tell_case,
    tell_row,
)
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.place import find_server
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.runtime.clock import SystemClock
from fleetward.trust.access import Scope
from fleetward.trust.errors import Refused
from fleetward.trust.grants.request import Wish
from fleetward.trust.sayings import say_length

request_app = typer.Typer(**PLAIN)
session_app = typer.Typer(help="See requests and sessions.", no_args_is_help=True, **PLAIN)

Data = Annotated[Path | None, typer.Option("--data", help="A server on this computer.")]
Server = Annotated[str, typer.Option("--server", help="A server elsewhere: https://HOST[:PORT].")]
TokenFile = Annotated[Path | None, typer.Option("--token-file", help="File of mode 600.")]


@request_app.command()
def request(
    machine: Machine,
    reason: Reason,
    scope: Annotated[list[str] | None, typer.Option("--scope", help=f"{EXAMPLES}.")] = None,
    runbook: RunbookFile = None,
    argument: Arguments = None,
    length: For = "30m",
    case: CaseName = "",
    break_glass: BreakGlass = False,
    ask_owner: AskOwner = False,
    as_: As = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a session and return. `fleetward connect --request R` goes on once it is granted.

    fleetward request pump-7 --scope terminal:app --for 30m --reason "the pump does not start"

    fleetward request pump-7 --runbook bundle.runbook --argument day=2026-11-26 --reason "look"
    """
    with refusals():
        folder = open_folder(as_)
        api = open_api(folder)
        learned = folder.learn(api.client)
        entry = learned.find_machine(machine)
        wanted = read_wanted_runbook(runbook, argument)
        scopes: tuple[Scope, ...] = tuple(parse_scope(text) for text in scope or ())
        scopes += (wanted[0],) if wanted else ()
        if not scopes:
            raise Refused("Expected what to ask for: --scope, or --runbook.", reason="no_scope")
        wish = Wish(
            entry.device, scopes, parse_length(length), reason, case, break_glass=break_glass
        )
        signer = folder.open_signer(passphrase_file)
        documents = (wanted[1],) if wanted else ()
        now_ms = SystemClock().wall_ms()
        ahead = list_ahead(StandingApi(api.client), learned, signer.public.key_id, entry.device)
        fit = None if ask_owner or break_glass else find_fit(ahead, wish, now_ms)
        made = ask(folder, api, learned, wish, (signer, now_ms), documents)
        shown = {**show_request(made), "machine": entry.name}
        if fit is not None:
            enter_ahead(folder, (api, learned), made, fit, signer)
            shown |= {"window": fit.window, "standing": fit.case.standing.hash}
            words = (
                f"You may come at once, {fit.words}:\n"
                f"fleetward connect {entry.name} --request {made.hash[:16]}"
            )
            emit(shown, as_json, words)
            return
        if later := say_next(ahead, wish, now_ms):
            say(later)
        words = (
            f"{'BREAK-GLASS. ' if break_glass else ''}Asked {entry.name} for "
            f"{'; '.join(s.words() for s in scopes)}, "
            f"{say_length(made.seconds)}.\nRequest {made.hash}\nWhen the owner has said yes: "
            f"fleetward connect {entry.name} --request {made.hash[:16]}"
        )
        emit(shown, as_json, words)


@session_app.command("list")
def list_sessions(
    state: Annotated[str, typer.Option("--state", help="One state only, as open.")] = "",
    as_: As = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """List requests and sessions as the server tells them, newest first.

    fleetward session list --state open
    """
    with refusals():
        rows = _api(as_, data, server, token_file).rows(state=state)
        lines = [tell_row(row) for row in rows]
        emit([show_row(row) for row in rows], as_json, "\n".join(lines) or "None yet.")


@session_app.command("show")
def show_session(
    named: SessionId,
    as_: As = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one request and what became of it; from a technician's folder its papers are checked.

    fleetward session show 3f9a01bc
    """
    with refusals():
        if data is not None or server:
            row = _api(as_, data, server, token_file).find(named)
            emit(show_row(row), as_json, f"{tell_row(row)}\n{'; '.join(show_row(row)['scopes'])}")
            return
        folder = open_folder(as_)
        api = open_api(folder)
        papers = api.find(named)
        case = require_named(folder.learn(api.client).judge.read_case(papers), named)
        shown: dict[str, Any] = show_case(case, papers.state)
        emit(shown, as_json, tell_case(case, papers.state))


def _api(as_: Path | None, data: Path | None, server: str, token_file: Path | None) -> AccessApi:
    if data is None and not server:
        return open_api(open_folder(as_))
    place = find_server(data, server, token_file)
    return AccessApi(ApiClient(place.api, place.token, place.server_ca_pem))
