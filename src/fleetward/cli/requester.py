"""`fleetward requester …`: a technician's own folder, made once for each owner."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fleetward.cli.access_options import (
    PLAIN,
    As,
    AsJson,
    For,
    PassphraseFile,
    open_api,
    open_folder,
)
from fleetward.keyholder.access.delegating import (
    accept,
    delegate,
    show_delegation,
    tell_delegation,
    write_delegation,
)
from fleetward.keyholder.access.requester_folder import (
    DEFAULT_FOLDER,
    RequesterFacts,
    RequesterFolder,
    make_requester,
    make_requester_on_token,
)
from fleetward.keyholder.access.requester_line import (
    read_requester_key,
    write_owner_command,
    write_requester_key,
)
from fleetward.keyholder.access.scope_words import EXAMPLES, parse_length, parse_scope
from fleetward.keyholder.passphrase import ask_passphrase
from fleetward.keyholder.speak import emit, refusals
from fleetward.keyholder.token_uri import read_token_uri
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.delegation import MAX_DAYS, Delegate
from fleetward.trust.errors import Refused
from fleetward.trust.keys import PublicKey
from fleetward.trust.words import device_words

requester_app = typer.Typer(
    help="Be somebody who asks for sessions.", no_args_is_help=True, **PLAIN
)


@requester_app.command("init")
def init(
    person: Annotated[str, typer.Option("--person", help="Your name.")],
    owner_root: Annotated[
        str, typer.Option("--owner-root", help="The owner root's 64 digits; from the owner.")
    ],
    org: Annotated[str, typer.Option("--org", help="Your organisation.")] = "",
    out: Annotated[Path | None, typer.Option("--out", help="Where to make the folder.")] = None,
    server: Annotated[str, typer.Option("--server", help="https://HOST[:PORT] of it.")] = "",
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File of mode 600; role operator.")
    ] = None,
    server_ca: Annotated[
        Path | None, typer.Option("--server-ca", help="The server's own CA in PEM, if it has one.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="A server on this computer: its folder.")
    ] = None,
    token: Annotated[
        str, typer.Option("--token", help="pkcs11:… : your key is on a token; made if not there.")
    ] = "",
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make your key, pin the owner whose machines you service, and print a line for the owner.

    fleetward requester init --person Tom --org "Makers Ltd" --owner-root 5f1c…
    --server https://fleet.example --token-file token

    With a key on a token: --token "pkcs11:token=Tom;object=fleet?module-path=/usr/lib/…"
    """
    with refusals():
        if data is None and not (server and token_file):
            raise Refused(
                "Expected --server URL with --token-file F, or --data DIR on the server's own "
                "computer.",
                reason="no_server_named",
            )
        facts = RequesterFacts(
            person=person,
            org=org,
            owner_root=owner_root.strip().lower(),
            created_at=to_rfc3339(SystemClock().wall_ms()),
            server=server if data is None else "",
            token_file=str(token_file.absolute()) if token_file else "",
            data=str(data.absolute()) if data else "",
        )
        path = out or Path.home() / DEFAULT_FOLDER
        if token:
            on_token = make_requester_on_token(
                path, read_token_uri(token), facts, server_ca, passphrase_file
            )
            _tell(*on_token, as_json)
            return
        passphrase = ask_passphrase(passphrase_file, twice=True, of="your folder")
        folder, signer = make_requester(path, passphrase, facts, server_ca)
        _tell(folder, signer.public, as_json)


@requester_app.command("show")
def show(as_: As = None, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Print the line for the owner again.

    fleetward requester show
    """
    with refusals():
        folder = open_folder(as_)
        _tell(folder, folder.open_signer(passphrase_file).public, as_json)


@requester_app.command("delegate")
def delegate_to(
    to: Annotated[str, typer.Option("--to", help="The key that `requester show` prints there.")],
    person: Annotated[str, typer.Option("--person", help="Who it is.")],
    machine: Annotated[list[str], typer.Option("--machine", help="A machine; may repeat.")],
    scope: Annotated[list[str], typer.Option("--scope", help=f"{EXAMPLES}; may repeat.")],
    out: Annotated[Path, typer.Option("--out", help="The file to send to that person.")],
    org: Annotated[str, typer.Option("--org", help="That person's organisation.")] = "",
    length: For = "30m",
    days: Annotated[
        int, typer.Option("--days", min=1, max=MAX_DAYS - 1, help="For so many days.")
    ] = 30,
    as_: As = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Let somebody else ask in your place, for less than you may. The owner still says yes.

    fleetward requester delegate --to ed25519:MCow… --person Ana --org "Drives Ltd"
    --machine pump-7 --scope tcp:8080/raw --for 30m --days 14 --out ana.json
    """
    with refusals():
        folder = open_folder(as_)
        learned = folder.learn(open_api(folder).client)
        devices = tuple(learned.find_machine(each).device for each in machine)
        scopes = tuple(parse_scope(text) for text in scope)
        wanted = Delegate(
            read_requester_key(to), person, org, devices, scopes, parse_length(length)
        )
        signer = folder.open_signer(passphrase_file)
        made = delegate(learned, wanted, signer, days, SystemClock().wall_ms())
        write_delegation(out, made)
        words = f"{tell_delegation(learned, made)}\n\nSend {out} to {person}; there: fleetward "
        shown = {**show_delegation(learned, made), "file": str(out)}
        emit(shown, as_json, f"{words}requester accept {out.name}")


@requester_app.command("accept")
def accept_delegation(
    file: Annotated[Path, typer.Argument(help="What somebody who may delegate sent you.")],
    as_: As = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Ask by a delegation from now on: somebody who may ask sent you in his place.

    fleetward requester accept ana.json
    """
    with refusals():
        folder = open_folder(as_)
        learned = folder.learn(open_api(folder).client)
        own = folder.open_signer(passphrase_file).public
        made = accept(folder, learned, file, own)
        emit(show_delegation(learned, made), as_json, tell_delegation(learned, made))


def _tell(folder: RequesterFolder, key: PublicKey, as_json: bool) -> None:
    facts = folder.facts()
    line = write_owner_command(facts.person, facts.org, key)
    shown: dict[str, Any] = {
        "folder": str(folder.path),
        "person": facts.person,
        "org": facts.org,
        "key_id": key.key_id,
        "key": write_requester_key(key),
        "owner_root": facts.owner_root,
        "words": device_words(facts.owner_root, key.key_id),
        "owner_command": line,
    }
    words = (
        f"Your folder: {folder.path}\nGive this line to the owner, and compare these six words "
        f"with him:\n\n  {line}\n\n  {shown['words']}\n"
    )
    emit(shown, as_json, words)
