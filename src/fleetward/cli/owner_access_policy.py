"""`fleetward owner policy requester|access …`: who may ask for sessions, and for what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from fleetward.cli.owner_options import (
    AsJson,
    Data,
    Owner,
    PassphraseFile,
    Server,
    TokenFile,
    open_desk,
)
from fleetward.keyholder.access.policy_rules import (
    Limits,
    allow_scope,
    forbid_scope,
    name_requester,
    remove_requester,
    set_delegating,
    set_walls,
)
from fleetward.keyholder.access.policy_telling import (
    describe_access,
    describe_requesters,
    tell_access,
)
from fleetward.keyholder.access.requester_line import read_requester_key
from fleetward.keyholder.access.runbook_rules import (
    allow_runbooks,
    forbid_signer,
    read_digest,
    read_signer,
)
from fleetward.keyholder.access.scope_words import parse_length
from fleetward.keyholder.auditor import read_public_pem
from fleetward.keyholder.documents import load_documents
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.hand import hand_over, reach_server
from fleetward.keyholder.place import find_owner
from fleetward.keyholder.policy_changes import Change, change_policy
from fleetward.keyholder.speak import emit, refusals
from fleetward.runtime.clock import SystemClock
from fleetward.trust.policy import Policy

requester_app = typer.Typer(
    help="Name who may ask for sessions.", no_args_is_help=True,
    add_completion=False, rich_markup_mode=None,
)  # fmt: skip
access_app = typer.Typer(
    help="Say what may be asked for.", no_args_is_help=True,
    add_completion=False, rich_markup_mode=None,
)  # fmt: skip

Person = Annotated[str, typer.Option("--person", help="The person's name.")]
Kind = Literal["terminal", "root", "tcp", "logs", "files", "serial", "runbook"]
KindArgument = Annotated[Kind, typer.Argument(help="The kind of scope.")]
What = Annotated[str, typer.Argument(help="User, ports, unit, folder or serial port.")]


@requester_app.command("add")
def add_requester(
    person: Person,
    key: Annotated[str, typer.Option("--key", help="The key that the technician printed, or PEM.")],
    org: Annotated[str, typer.Option("--org", help="Their organisation.")] = "",
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Let somebody ask for sessions. Compare the six words with those on his own screen first.

    fleetward owner policy requester add --person Tom --org "Makers Ltd" --key ed25519:MCow…
    """
    with refusals():
        kinds = (ed25519.Ed25519PublicKey, ec.EllipticCurvePublicKey)
        found = read_requester_key(key) if ":" in key else read_public_pem(Path(key), kinds)
        _apply(
            name_requester(person, found, org),
            (owner, data, passphrase_file),
            (server, token_file),
            as_json,
        )


@requester_app.command("remove")
def drop_requester(
    person: Person,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Let somebody ask no more. Machines end his sessions when they learn of it.

    fleetward owner policy requester remove --person Tom
    """
    with refusals():
        _apply(
            remove_requester(person),
            (owner, data, passphrase_file),
            (server, token_file),
            as_json,
        )


@requester_app.command("delegating")
def set_delegating_requester(
    person: Person,
    allowed: Annotated[
        bool, typer.Option("--yes/--no", help="Whether he may send somebody in his place.")
    ] = True,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Let somebody who may ask send others in his place, for less. Every session takes your yes.

    With --no, whatever he delegated ends when machines learn of it.

    fleetward owner policy requester delegating --person Tom
    """
    with refusals():
        _apply(
            set_delegating(person, allowed=allowed),
            (owner, data, passphrase_file),
            (server, token_file),
            as_json,
        )


@requester_app.command("list")
def list_requesters(owner: Owner = None, data: Data = None, as_json: AsJson = False) -> None:
    """List who may ask, with the six words of their keys.

    fleetward owner policy requester list
    """
    with refusals():
        rows = describe_requesters(_load(owner, data))
        lines = [
            f"{r['person']}, {r['org'] or 'no organisation'}: {r['words']}"
            f"{'  (may send others)' if r['may_delegate'] else ''}"
            for r in rows
        ]
        emit(rows, as_json, "\n".join(lines) or "Nobody may ask for a session.")


@access_app.command("show")
def show_access(owner: Owner = None, data: Data = None, as_json: AsJson = False) -> None:
    """Show who may ask for what.

    fleetward owner policy access show
    """
    with refusals():
        policy = _load(owner, data)
        emit(describe_access(policy), as_json, tell_access(policy))


@access_app.command("allow")
def allow(
    kind: KindArgument,
    what: What = "",
    longest: Annotated[str, typer.Option("--for", help="Longest session, as 60m or 2h.")] = "",
    people: Annotated[
        int | None, typer.Option("--people", min=1, max=32, help="How many people must say yes.")
    ] = None,
    watched: Annotated[
        bool | None,
        typer.Option("--watched/--unwatched", help="End it when nobody watches for 15 seconds."),
    ] = None,
    signer: Annotated[
        list[str] | None,
        typer.Option("--signer", help="Whose runbooks: a key of the policy, or its line, or PEM."),
    ] = None,
    person: Annotated[str, typer.Option("--person", help="Who holds a new signer's key.")] = "",
    org: Annotated[str, typer.Option("--org", help="His organisation.")] = "",
    digest: Annotated[
        list[str] | None,
        typer.Option("--digest", help="This runbook: its digest or file. Else all of the signer."),
    ] = None,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a kind of scope be asked for. Every session still takes its own yes.

    A runbook that runs as root takes the rule for root too.

    fleetward owner policy access allow terminal app --for 60m --people 1

    fleetward owner policy access allow serial /dev/ttyUSB0 --for 30m

    fleetward owner policy access allow runbook --signer ed25519:MCow… --person Mia
    --digest bundle.runbook

    fleetward owner policy access allow tcp 8000-8999

    fleetward owner policy access allow root --people 2 --watched
    """
    with refusals():
        limits = Limits(parse_length(longest) if longest else None, people, watched)
        if kind == "runbook":
            signers = [read_signer(text, person, org) for text in signer or ()]
            digests = [read_digest(text) for text in (*(digest or ()), *([what] if what else ()))]
            change = allow_runbooks(signers, digests, limits)
        else:
            change = allow_scope(kind, what, limits)
        _apply(
            change,
            (owner, data, passphrase_file),
            (server, token_file),
            as_json,
        )


@access_app.command("forbid")
def forbid(
    kind: KindArgument,
    what: What = "",
    signer: Annotated[
        str, typer.Option("--signer", help="The id of a key whose runbooks are run no more.")
    ] = "",
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Let one user, unit, folder or range be asked for no more; without one, the whole kind.

    Machines end a session that could not begin any more.

    fleetward owner policy access forbid terminal app
    """
    with refusals():
        _apply(
            forbid_signer(signer) if signer else forbid_scope(kind, what),
            (owner, data, passphrase_file),
            (server, token_file),
            as_json,
        )


@access_app.command("walls")
def walls(
    walls: Annotated[Literal["any", "sandbox"], typer.Argument(help="sandbox: only behind one.")],
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Say whether machines without a sandbox may open sessions at all.

    fleetward owner policy access walls sandbox
    """
    with refusals():
        _apply(set_walls(walls), (owner, data, passphrase_file), (server, token_file), as_json)


def _apply(
    change: Change,
    desk_of: tuple[Path | None, Path | None, Path | None],
    server: tuple[str, Path | None],
    as_json: bool,
) -> None:
    desk = open_desk(*desk_of)
    documents = change_policy(desk, change, SystemClock().wall_ms())
    words = "It is handed over by `fleetward owner refresh`."
    if desk_of[1] is not None or server[0]:
        hand_over(desk.folder, reach_server(desk.folder, desk_of[1], *server), documents)
        words = "The server has it; machines follow when they hear of it."
    policy = documents.policy
    emit(
        describe_access(policy),
        as_json,
        f"Policy {policy.version} is signed. {words}\n{tell_access(policy)}",
    )


def _load(owner: Path | None, data: Path | None) -> Policy:
    return load_documents(OwnerFolder.open(find_owner(owner, data))).policy
