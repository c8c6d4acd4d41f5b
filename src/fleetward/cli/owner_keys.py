"""`fleetward owner policy rotate|transfer|acknowledged`, `owner take-over …`: keys change hands."""

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
from fleetward.cli.plain import PLAIN
from fleetward.keyholder.acknowledged import (
    Acknowledgement,
    read_acknowledgements,
    say_acknowledgements,
)
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.auditor import read_public_pem
from fleetward.keyholder.begun import Begun, begin_folder, open_begun
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.keyholder.folder import DEFAULT_FOLDER, OwnerFolder
from fleetward.keyholder.hand import hand_over, reach_server
from fleetward.keyholder.passphrase import ask_passphrase
from fleetward.keyholder.place import find_owner
from fleetward.keyholder.policy_changes import change_policy, keep_as_it_is
from fleetward.keyholder.rotating import (
    check_person,
    drop_old_keys,
    is_rotated,
    rotate_own,
    rotate_person,
)
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.keyholder.taking_over import (
    finish_folder,
    make_offer_of,
    read_transfer,
    sign_as_buyer,
)
from fleetward.keyholder.transfer import (
    cancel_transfer,
    describe_transfer,
    draft_transfer,
    read_offer,
    say_transfer,
    sign_transfer,
    write_transfer,
)
from fleetward.keyholder.updates.roots import ask_director, set_director
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.files import atomic_write
from fleetward.trust.errors import Malformed
from fleetward.trust.words import six_words

take_over_app = typer.Typer(
    help="Take a fleet over from its owner, who sells it to you.", no_args_is_help=True, **PLAIN
)

Folder = Annotated[
    Path | None, typer.Option("--folder", help="Your folder; ~/fleetward-owner if not named.")
]


def rotate(
    person: Annotated[str, typer.Option("--person", help="Whose key; yours if not named.")] = "",
    key: Annotated[
        Path | None, typer.Option("--key", help="Another person's new public key in PEM.")
    ] = None,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Replace your own keys, in every role and in one version of the policy.

    Run it again until it says that the old keys are gone: it goes on where it was, also after a
    crash. Another person's key, which is not in this folder, is replaced by --person and --key.

    fleetward owner policy rotate --owner ~/fleetward-owner --data DIR
    """
    with refusals():
        desk = open_desk(owner, data, passphrase_file)
        if key is not None:
            new = read_public_pem(key, (ed25519.Ed25519PublicKey, ec.EllipticCurvePublicKey))
            if not person:
                raise Malformed("Expected whose key it is: --person.", reason="no_person")
            documents = change_policy(desk, rotate_person(person, new), SystemClock().wall_ms())
        else:
            check_person(person, desk.folder.read_facts().person)
            documents = rotate_own(desk, SystemClock().wall_ms())
        rows = _hand_over(desk.folder, documents, (data, server, token_file))
        late = [row for row in rows or () if row.version < documents.policy.version]
        dropped = rows is not None and not late and is_rotated(desk, documents.policy)
        if dropped:
            drop_old_keys(desk)
        said = _say_rotation(rows, documents.policy.version, own=key is None, dropped=dropped)
        shown = {
            "policy": documents.policy.version,
            "keys": sorted(documents.policy.keys),
            "old_keys_gone": dropped,
            "not_acknowledged": [row.machine.device for row in late],
        }
        emit(shown, as_json, f"Policy {documents.policy.version} names the new keys.\n{said}")


def transfer(
    to: Annotated[
        Path | None, typer.Option("--to", help="The buyer's offer, from `take-over prepare`.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The file for the buyer.")] = Path(
        "fleetward-transfer.json"
    ),
    draft: Annotated[
        Path | None, typer.Option("--draft", help="The draft with others' signatures.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it, sign nothing.")] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Sign another policy in the place of the sale's.")
    ] = False,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sell the whole fleet: sign a policy under which the buyer's keys stand, and none of yours.

    Nothing changes before the buyer has signed it too. Until then --cancel undoes it. A single
    machine is not sold so: see docs/operate/transfer.md.

    fleetward owner policy transfer --to offer.json --dry-run

    fleetward owner policy transfer --to offer.json --out for-the-buyer.json

    fleetward owner policy transfer --cancel --data DIR
    """
    with refusals():
        desk = open_desk(owner, data, passphrase_file)
        if cancel:
            _cancel(desk, (data, server, token_file), as_json)
            return
        if to is None:
            raise Malformed("Expected the buyer's offer: --to offer.json.", reason="no_offer")
        offer = read_offer(to)
        plan = describe_transfer(desk.documents(), offer, draft_transfer(desk, offer))
        if dry_run:
            emit(plan, as_json, f"{say_transfer(plan)}\nNothing was signed.")
            return
        write_transfer(out, sign_transfer(desk, offer, draft, SystemClock().wall_ms()))
        words = (
            f"{say_transfer(plan)}\nSigned. Hand {out} to {offer.name}: the sale takes place when "
            "they run `fleetward owner take-over finish`. It names every machine, and holds no "
            f"secret. Tell them the owner root by another way: {plan.owner_root}\n"
            f"  in six words: {six_words(bytes.fromhex(plan.owner_root))}\n"
            "Until then: fleetward owner policy transfer --cancel"
        )
        emit({"plan": plan, "file": str(out)}, as_json, words)


def acknowledged(
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Say which machines have signed that they took your newest policy, and name the others.

    fleetward owner policy acknowledged --owner ~/fleetward-owner --data DIR
    """
    with refusals():
        folder = OwnerFolder.open(find_owner(owner, data))
        desk = Desk(folder, b"", SystemClock())
        documents = desk.documents()
        client = reach_server(folder, data, server, token_file)
        rows = read_acknowledgements(client, documents)
        _emit_rows(rows, documents, as_json)


@take_over_app.command("prepare")
def prepare(
    name: Annotated[str, typer.Option("--name", help="Your name, as machines will know it.")],
    person: Annotated[str, typer.Option("--person", help="Who holds the keys.")],
    out: Annotated[Path, typer.Option("--out", help="The offer, for the seller.")],
    org: Annotated[str, typer.Option("--org", help="Your organisation.")] = "",
    folder: Folder = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make your keys, and an offer for the seller. Again, it writes the same offer.

    fleetward owner take-over prepare --name "Care Ltd" --person Cleo --out offer.json
    """
    with refusals():
        path = folder or Path.home() / DEFAULT_FOLDER
        passphrase = ask_passphrase(passphrase_file, twice=not path.exists())
        said = Begun("take-over", name, person, org, SystemClock().wall_ms())
        begun = begin_folder(path, passphrase, said)
        offer = make_offer_of(begun)
        atomic_write(out, offer, 0o644)
        shown = {"offer": str(out), "folder": str(path), "name": begun.said.name}
        words = (
            f"Your keys are in {path}. Hand {out} to the seller, who runs `fleetward owner policy "
            "transfer --to`; it holds public keys alone."
        )
        emit(shown, as_json, words)


@take_over_app.command("finish")
def finish(
    file: Annotated[Path, typer.Argument(help="The file that the seller signed.")],
    root: Annotated[
        str, typer.Option("--root", help="The owner root that the seller told you.")
    ] = "",
    folder: Folder = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Take the fleet over: verify everything that the seller handed over, and sign the policy.

    From then on your folder is the owner's folder. Without the server's options it is handed over
    later, by `fleetward owner refresh`. It can be run again.

    fleetward owner take-over finish for-the-buyer.json --root 5f1c… --server https://fleet.example
    --token-file token
    """
    with refusals():
        path = folder or Path.home() / DEFAULT_FOLDER
        passphrase = ask_passphrase(passphrase_file)
        begun = open_begun(path, passphrase, "take-over")
        draft, papers = read_transfer(file, root)
        if not root:
            say(
                f"The owner root is {papers.root.owner}\n  in six words: "
                f"{six_words(bytes.fromhex(papers.root.owner))}\nCompare it with the seller's."
            )
        policy = sign_as_buyer(begun, draft, papers)
        documents = finish_folder(begun, papers, policy, passphrase, SystemClock())
        if data is not None or server:
            client = reach_server(begun.folder, data, server, token_file)
            documents = _take_director(Desk(begun.folder, passphrase, SystemClock()), client)
        rows = _hand_over(begun.folder, documents, (data, server, token_file))
        said = (
            say_acknowledgements(rows, documents.policy.version)
            if rows is not None
            else "Hand it over: fleetward owner refresh --server … --token-file …"
        )
        shown = {
            "owner_root": documents.owner,
            "name": documents.name,
            "policy": documents.policy.version,
            "epoch": documents.policy.epoch,
            "machines": len(documents.entries),
            "folder": str(path),
            "handed_over": rows is not None,
        }
        words = (
            f"{documents.name} is the owner now, under policy {documents.policy.version}, epoch "
            f"{documents.policy.epoch}. Its folder: {path}\n{said}\n"
            "See who has not heard of it yet: fleetward owner policy acknowledged"
        )
        emit(shown, as_json, words)


def _take_director(desk: Desk, client: ApiClient) -> OwnerDocuments:
    """Name the server's director where the fleet that was taken over has none; return what holds.

    Another one than the policy names is told, and nothing else is done.
    """
    documents = desk.documents()
    known, offered = documents.policy.roots.director, ask_director(client)
    if known and offered and known != offered:
        say(
            "The server shows another director of updates than the policy that you took over "
            "names. Machines believe the policy; see `fleetward owner policy set director`."
        )
    if known or not offered:
        return documents
    return change_policy(desk, set_director(offered), SystemClock().wall_ms())


def _say_rotation(
    rows: list[Acknowledgement] | None, version: int, *, own: bool, dropped: bool
) -> str:
    if rows is None:
        said = "It is handed over by `fleetward owner refresh`; run this command again then."
    else:
        said = say_acknowledgements(rows, version)
    if dropped:
        return f"{said}\nThe old keys are gone."
    if own:
        said += (
            "\nThe old keys lie in the folder still, and sign nothing that counts. Run this "
            "command again when every machine has taken it."
        )
    return said


def _cancel(desk: Desk, server: tuple[Path | None, str, Path | None], as_json: bool) -> None:
    cancel_transfer(desk)
    documents = change_policy(desk, keep_as_it_is(), SystemClock().wall_ms())
    rows = _hand_over(desk.folder, documents, server)
    words = (
        f"Policy {documents.policy.version} is yours, and whoever has it takes no sale of that "
        "version any more. "
    )
    words += (
        say_acknowledgements(rows, documents.policy.version)
        if rows is not None
        else "It counts once it is handed over: fleetward owner refresh. Do that now."
    )
    shown = {"policy": documents.policy.version, "handed_over": rows is not None}
    emit(shown, as_json, words)


def _hand_over(
    folder: OwnerFolder,
    documents: OwnerDocuments,
    server: tuple[Path | None, str, Path | None],
) -> list[Acknowledgement] | None:
    """Hand documents over where a server is named; return who has taken them, or None."""
    if server[0] is None and not server[1]:
        return None
    client = reach_server(folder, *server)
    hand_over(folder, client, documents)
    return read_acknowledgements(client, documents)


def _emit_rows(
    rows: list[Acknowledgement],
    documents: OwnerDocuments,
    as_json: bool,
) -> None:
    version = documents.policy.version
    shown = {
        "policy": version,
        "machines": [
            {"id": r.machine.device, "name": r.machine.name, "policy": r.version} for r in rows
        ],
        "not_acknowledged": [r.machine.device for r in rows if r.version < version],
    }
    emit(shown, as_json, say_acknowledgements(rows, version))
