"""`fleetward owner policy break-glass …`: who may let somebody in when the approvers are away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
from fleetward.keyholder.access.break_glass_rules import (
    Change,
    StandIns,
    describe_break_glass,
    remove_break_glass,
    set_break_glass,
    tell_break_glass,
)
from fleetward.keyholder.access.policy_rules import Limits
from fleetward.keyholder.access.scope_words import parse_length
from fleetward.keyholder.auditor import read_public_pem
from fleetward.keyholder.documents import load_documents
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.hand import hand_over, reach_server
from fleetward.keyholder.place import find_owner
from fleetward.keyholder.policy_changes import change_policy
from fleetward.keyholder.speak import emit, refusals
from fleetward.runtime.clock import SystemClock
from fleetward.trust.errors import Malformed
from fleetward.trust.keys import PublicKey

break_glass_app = typer.Typer(
    help="BREAK-GLASS: who lets somebody in when your approvers are away.", no_args_is_help=True,
    add_completion=False, rich_markup_mode=None,
)  # fmt: skip


@break_glass_app.command("set")
def set_rules(
    allow: Annotated[
        list[str], typer.Option("--allow", help="root, terminal:USER, tcp:PORTS, logs:UNIT, …")
    ],
    person: Annotated[
        list[str] | None, typer.Option("--person", help="Somebody of the policy; may repeat.")
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option("--key", help="NAME=FILE: another's public key, as PEM.")
    ] = None,
    threshold: Annotated[
        int, typer.Option("--people", min=2, max=32, help="How many people must say yes.")
    ] = 2,
    longest: Annotated[str, typer.Option("--for", help="Longest session, as 30m.")] = "30m",
    watched: Annotated[
        bool, typer.Option("--watched/--unwatched", help="End it when nobody watches.")
    ] = False,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Name who stands in for your approvers. Two of them say yes, and somebody at the machine
    presses; it is shown to everybody, and recorded.

    fleetward owner policy break-glass set --person Ada --key Cleo=cleo.pub --allow root --for 30m
    """
    with refusals():
        keys = tuple(_read_key(text) for text in key or ())
        change = set_break_glass(
            StandIns(tuple(person or ()), keys),
            allow,
            Limits(parse_length(longest), None, watched),
            threshold,
        )
        _apply(change, (owner, data, passphrase_file), (server, token_file), as_json)


@break_glass_app.command("show")
def show(owner: Owner = None, data: Data = None, as_json: AsJson = False) -> None:
    """Show who may let somebody in when your approvers are away.

    fleetward owner policy break-glass show
    """
    with refusals():
        policy = load_documents(OwnerFolder.open(find_owner(owner, data))).policy
        emit(describe_break_glass(policy), as_json, tell_break_glass(policy))


@break_glass_app.command("remove")
def remove(
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Let nobody break in any more. Machines drop what waits when they learn of it.

    fleetward owner policy break-glass remove
    """
    with refusals():
        change = remove_break_glass()
        _apply(change, (owner, data, passphrase_file), (server, token_file), as_json)


def _read_key(text: str) -> tuple[str, PublicKey]:
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise Malformed(f"Expected NAME=FILE, got {text[:80]!r}.", reason="bad_key")
    kinds = (ed25519.Ed25519PublicKey, ec.EllipticCurvePublicKey)
    return name, read_public_pem(Path(path), kinds)


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
    said = f"Policy {policy.version} is signed. {words}\n{tell_break_glass(policy)}"
    emit({"version": policy.version, **describe_break_glass(policy)}, as_json, said)
