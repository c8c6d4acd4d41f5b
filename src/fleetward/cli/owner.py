"""`fleetward owner …`: the commands of whoever holds the owner's keys.

They run on the owner's computer, from the owner's folder. None needs the server to sign; those
that hand something over say so. This file only names commands: what they do is in `keyholder`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fleetward.cli.owner_access import approve, cosign_grant, deny, stop
from fleetward.cli.owner_access_policy import access_app, requester_app
from fleetward.cli.owner_break_glass import break_glass_app
from fleetward.cli.owner_close import close_app
from fleetward.cli.owner_console import console_app
from fleetward.cli.owner_keys import acknowledged, rotate, take_over_app, transfer
from fleetward.cli.owner_options import (
    AsJson,
    Data,
    Owner,
    PassphraseFile,
    Server,
    TokenFile,
    open_desk,
)
from fleetward.cli.owner_policy import policy_app, roster_app
from fleetward.cli.owner_recovery import recover_app, recovery_app
from fleetward.cli.owner_updates import list_approvals, withdraw_approval
from fleetward.cli.owner_watch import owner_session_app
from fleetward.cli.owner_window import window_app
from fleetward.cli.owner_witness import witness_app
from fleetward.cli.plain import PLAIN
from fleetward.keyholder.desk import find_entry
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.keyholder.folder import DEFAULT_FOLDER, OwnerFolder
from fleetward.keyholder.hand import hand_over, reach_server
from fleetward.keyholder.init import (
    SAME_HOST_WORDS,
    RemoteServer,
    init_owner,
    name_local_server,
    name_remote_server,
)
from fleetward.keyholder.passphrase import ask_passphrase
from fleetward.keyholder.pending import (
    Confirmation,
    compute_words,
    confirm_machine,
    fetch_pending,
)
from fleetward.keyholder.place import Unnamed, find_owner
from fleetward.keyholder.reopen import open_anew
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.keyholder.updates.desk import hand_missing
from fleetward.keyholder.updates.server_rows import ApprovalApi
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.errors import Misuse
from fleetward.trust.sayings import say_count

owner_app = typer.Typer(
    name="owner", help="Make an owner, invite and confirm machines, sign policy and roster.",
    no_args_is_help=True, **PLAIN,
)  # fmt: skip

policy_app.add_typer(requester_app, name="requester")
policy_app.add_typer(access_app, name="access")
policy_app.add_typer(recovery_app, name="recovery")
policy_app.command("rotate")(rotate)
policy_app.command("transfer")(transfer)
policy_app.command("acknowledged")(acknowledged)
owner_app.add_typer(take_over_app, name="take-over")
owner_app.add_typer(recover_app, name="recover")
policy_app.add_typer(break_glass_app, name="break-glass")
owner_app.add_typer(policy_app, name="policy")
owner_app.add_typer(close_app, name="close")
owner_app.add_typer(witness_app, name="witness")
owner_app.add_typer(roster_app, name="roster")
owner_app.add_typer(owner_session_app, name="session")
owner_app.add_typer(window_app, name="window")
owner_app.add_typer(console_app, name="console")
for _name, _command in (
    ("approve", approve),
    ("deny", deny),
    ("stop", stop),
    ("cosign", cosign_grant),
    ("withdraw", withdraw_approval),
    ("approvals", list_approvals),
):
    owner_app.command(_name)(_command)


@owner_app.command("init")
def init(
    name: Annotated[str, typer.Option("--name", help="The owner, as machines will know it.")],
    person: Annotated[str, typer.Option("--person", help="Who holds the keys.")],
    data: Data = None,
    server: Annotated[str, typer.Option("--server", help="HOST:PORT for enrolment.")] = "",
    server_ca: Annotated[str, typer.Option("--server-ca", help="SHA-256 that `up` printed.")] = "",
    api: Annotated[str, typer.Option("--api", help="https://HOST[:PORT] of its API.")] = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where to make the folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make an owner: keys, root, first policy and roster; take a new server into service.

    Do it on your own computer, never on the server's:

    fleetward owner init --name "Ward 3" --person Ada --server fleet.example:8443 --server-ca 5f1c…
    --token-file setup-token
    """
    with refusals():
        if data is not None:
            named = name_local_server(data)
        elif server and server_ca and token_file is not None:
            named = name_remote_server(RemoteServer(server, server_ca, api, token_file))
        else:
            raise Unnamed(
                "Expected --data DIR, or --server HOST:PORT with --server-ca and --token-file.",
                reason="no_server_named",
            )
        path = out or Path.home() / DEFAULT_FOLDER
        passphrase = ask_passphrase(passphrase_file, twice=True)
        made = init_owner(path, passphrase, named, (name, person), SystemClock())
        if named.same_host:
            say(SAME_HOST_WORDS)
        shown: dict[str, Any] = {
            "owner_root": made.documents.owner,
            "words": made.words,
            "folder": str(path),
            "policy": made.documents.policy.version,
            "same_host": named.same_host,
        }
        words = (
            f"{name} is the owner now. Its root: {made.documents.owner}\n"
            f"In six words: {made.words}\nIts folder: {path} (keep a copy of it in a safe)."
        )
        emit(shown, as_json, words)


@owner_app.command("invite")
def invite(
    site: Annotated[str, typer.Option("--site", help="Where the machines stand.")],
    uses: Annotated[int, typer.Option("--uses", help="How many machines may join by it.")] = 1,
    ttl: Annotated[int, typer.Option("--ttl", help="Seconds until it ends.")] = 3600,
    preapproved: Annotated[
        bool, typer.Option("--preapproved", help="Let them report before you compare words.")
    ] = False,
    owner: Owner = None,
    data: Data = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign an invitation and print the join string for the machine. Works without the server.

    fleetward owner invite --site "Ward 3" --uses 5 --ttl 86400
    """
    with refusals():
        desk = open_desk(owner, data, passphrase_file)
        invited = desk.invite(site, uses, ttl, preapproved=preapproved)
        shown = {
            "join": invited.join,
            "expires_at": to_rfc3339(invited.expires_at_ms),
            "owner_root": invited.owner_root,
        }
        emit(shown, as_json, invited.join)


@owner_app.command("pending")
def pending(
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """List machines that wait to be confirmed, with six words computed from their keys.

    fleetward owner pending --owner ~/fleetward-owner --server https://fleet.example
    --token-file token
    """
    with refusals():
        folder = OwnerFolder.open(find_owner(owner, data))
        root = folder.read_facts().owner_root
        machines = fetch_pending(reach_server(folder, data, server, token_file))
        rows = [
            {
                "id": m.id,
                "name": m.name_suggested,
                "site": m.site,
                "state": "unconfirmed" if m.preapproved else "pending",
                "words": compute_words(root, m),
            }
            for m in machines
        ]
        lines = [f"{r['id']}  {r['words']}  {r['name']}, {r['site']}" for r in rows]
        emit(rows, as_json, "\n".join(lines) or "No machine waits.")


@owner_app.command("confirm")
def confirm(
    device: Annotated[str, typer.Argument(help="The machine's id.")],
    words: Annotated[str, typer.Argument(help="The six words on the machine's own screen.")],
    name: Annotated[str, typer.Option("--name", help="Its name; else the one it gave.")] = "",
    site: Annotated[str, typer.Option("--site", help="Its site; else the invitation's.")] = "",
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Put a waiting machine on the roster, after comparing six words.

    fleetward owner confirm mfzw… "uptown pollen sombrero town energy shipmate"
    """
    with refusals():
        desk = open_desk(owner, data, passphrase_file)
        client = reach_server(desk.folder, data, server, token_file)
        said = Confirmation(device, words, name, site)
        documents = confirm_machine(desk, fetch_pending(client), said)
        hand_over(desk.folder, client, documents)
        _emit_entry(documents, device, as_json)


@owner_app.command("retire")
def retire(
    device: Annotated[str, typer.Argument(help="The machine's id.")],
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign a machine off the roster: it gets no certificate any more. What it said stays.

    fleetward owner retire mfzw… --owner ~/fleetward-owner --data DIR
    """
    with refusals():
        desk = open_desk(owner, data, passphrase_file)
        client = reach_server(desk.folder, data, server, token_file)
        documents = desk.retire(device)
        hand_over(desk.folder, client, documents)
        _emit_entry(documents, device, as_json)


@owner_app.command("refresh")
def refresh(
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign a new lease, and hand over whatever the server does not have yet.

    fleetward owner refresh --owner ~/fleetward-owner --server https://fleet.example
    --token-file token
    """
    with refusals():
        desk = open_desk(owner, data, passphrase_file)
        client = reach_server(desk.folder, data, server, token_file)
        documents = desk.renew()
        hand_over(desk.folder, client, documents)
        handed = hand_missing(desk.folder, ApprovalApi(client), SystemClock().wall_ms())
        lease = documents.lease
        until = to_rfc3339(lease.issued_at_ms + lease.seconds * 1000) if lease else ""
        shown = {"head": documents.head.version, "lease_until": until, "approvals_handed": handed}
        words = f"Head {documents.head.version} may be relied on until {until}."
        if handed:
            words += (
                f" {say_count(handed, 'paper')} about releases that the server lacked went too."
            )
        emit(shown, as_json, words)


@owner_app.command("restore-open")
def restore_open(
    reason: Annotated[str, typer.Option("--reason", help="Why the server was restored.")],
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Sign although entries are lost for good.")
    ] = False,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a restored server go on: sign the opening of a new generation of its record.

    fleetward owner restore-open --reason "disk failed on 3 May" --data DIR
    """
    with refusals():
        desk = open_desk(owner, data, passphrase_file)
        client = reach_server(desk.folder, data, server, token_file)
        opening = open_anew(desk, client, reason, SystemClock().wall_ms(), accept_loss=accept_loss)
        shown = {"generation": opening.generation, "last_known": opening.last_known.size}
        words = (
            f"Generation {opening.generation} is open; {opening.last_known.size} entries of the "
            "one before are kept. Machines send again what they kept."
        )
        emit(shown, as_json, words)


def _emit_entry(documents: OwnerDocuments, device: str, as_json: bool) -> None:
    entry = find_entry(documents, device)
    if entry is None:
        raise Misuse("A machine that was just signed is not on the roster.", reason="no_entry")
    shown = {
        "id": entry.device,
        "name": entry.name,
        "site": entry.site,
        "state": entry.state,
        "roster": documents.roster.version,
    }
    words = f"{entry.name} ({entry.site}) is {entry.state} on roster {documents.roster.version}."
    emit(shown, as_json, words)
