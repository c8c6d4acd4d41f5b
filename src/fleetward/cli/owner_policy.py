"""`fleetward owner policy …` and `owner roster …`: who may sign what, and which machines exist."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
from fleetward.keyholder.access.policy_telling import describe_rules, tell_access
from fleetward.keyholder.access.requester_line import write_requester_key
from fleetward.keyholder.auditor import read_public_pem, write_public_pem
from fleetward.keyholder.documents import OwnerDocuments, load_documents
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.hand import hand_over, reach_server
from fleetward.keyholder.named_key import open_named_key, open_named_token
from fleetward.keyholder.passphrase import ask_passphrase
from fleetward.keyholder.place import find_owner
from fleetward.keyholder.policy_changes import (
    Change,
    add_person,
    adopt_draft,
    change_policy,
    remove_passkey,
    remove_person,
    set_lease,
    set_never_ports,
    set_threshold,
    set_witness,
    sign_draft,
)
from fleetward.keyholder.policy_settings import NONE, SETTINGS, read_setting
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.keyholder.token_uri import read_token_uri
from fleetward.keyholder.updates.roots import (
    describe_roots,
    fetch_director,
    read_root,
    say_root,
    tell_roots,
)
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.files import atomic_write
from fleetward.runtime.http.times import to_rfc3339
from fleetward.runtime.keys import make_key, seal_key
from fleetward.trust.errors import Refused
from fleetward.trust.keys import ED25519, Signer
from fleetward.trust.policy import Policy
from fleetward.trust.sayings import say_count, say_length

policy_app = typer.Typer(help="Show and change who may sign what.", no_args_is_help=True, **PLAIN)
roster_app = typer.Typer(
    help="Show and export the machines of the roster.", no_args_is_help=True, **PLAIN
)

Person = Annotated[str, typer.Option("--person", help="The person's name.")]
KeyFile = Annotated[Path, typer.Option("--key", help="Public key in PEM (Ed25519 or P-256).")]


@policy_app.command("show")
def show(owner: Owner = None, data: Data = None, as_json: AsJson = False) -> None:
    """Show the newest policy.

    fleetward owner policy show --owner ~/fleetward-owner
    """
    with refusals():
        policy = _load(owner, data).policy
        shown = _describe(policy)
        lines = [f"Policy {policy.version}, epoch {policy.epoch}, {policy.hash}"]
        for scope, role in policy.roles.items():
            names = ", ".join(sorted({k.person for k in role.keys.values()}))
            lines.append(f"  {scope:8} {role.threshold} of: {names}")
        if policy.recovery is not None:
            names = ", ".join(sorted({k.person for k in policy.recovery.role.keys.values()}))
            days = policy.recovery.delay_seconds // 86_400
            many = policy.recovery.role.threshold
            lines.append(f"  recovery {many} of: {names}, after {days} days")
        lines += [
            f"  passkey  {holder.person}, {key_id}, at {', '.join(holder.passkey.origins)}"
            for key_id, holder in policy.keys.items()
            if holder.passkey is not None
        ]
        lines.append(f"Machines rely on it for {_say_days(policy.lease_seconds)} without news.")
        if policy.never_ports:
            ports = ", ".join(str(port) for port in policy.never_ports)
            lines.append(f"Never opened as raw ports: {ports}.")
        emit(shown, as_json, "\n".join([*lines, tell_roots(policy), tell_access(policy)]))


@policy_app.command("history")
def history(owner: Owner = None, data: Data = None, as_json: AsJson = False) -> None:
    """List every version of the policy.

    fleetward owner policy history --owner ~/fleetward-owner --json
    """
    with refusals():
        rows = [
            {"version": p.version, "issued_at": to_rfc3339(p.issued_at_ms), "hash": p.hash}
            for p in _load(owner, data).policies
        ]
        lines = [f"{r['version']:4}  {r['issued_at']}  {r['hash']}" for r in rows]
        emit(rows, as_json, "\n".join(lines))


@policy_app.command("add-person")
def add(
    person: Person,
    key: KeyFile,
    scope: Annotated[list[str], typer.Option("--scope", help="policy, roster, head, invite, …")],
    org: Annotated[str, typer.Option("--org", help="Their organisation.")] = "",
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a person's key sign for the owner.

    fleetward owner policy add-person --person Bo --key bo.pub --scope roster --scope head
    """
    with refusals():
        found = read_public_pem(key, (ed25519.Ed25519PublicKey, ec.EllipticCurvePublicKey))
        _change(add_person(person, found, scope, org), (owner, data, passphrase_file),
                (server, token_file), as_json)  # fmt: skip


@policy_app.command("remove-person")
def remove(
    person: Person,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Take every key of a person out of the policy.

    fleetward owner policy remove-person --person Bo
    """
    with refusals():
        _change(remove_person(person), (owner, data, passphrase_file), (server, token_file),
                as_json)  # fmt: skip


@policy_app.command("remove-passkey")
def remove_one_passkey(
    key_id: Annotated[str, typer.Argument(help="Its key id, as `owner policy show` tells it.")],
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Take one passkey out of the policy; the person's other keys stay.

    fleetward owner policy remove-passkey KEY_ID
    """
    with refusals():
        _change(remove_passkey(key_id), (owner, data, passphrase_file), (server, token_file),
                as_json)  # fmt: skip


@policy_app.command("set")
def set_value(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(SETTINGS)}.")],
    values: Annotated[list[str] | None, typer.Argument(help="What it shall be; see below.")] = None,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Set one thing in the policy: who must sign, how long, which ports never, who makes software.

    threshold: how many people must sign a policy

    lease: for how many days machines rely on your documents without news from you

    ports: the ports that no grant will ever open; `none` for no such port

    walls: `sandbox`, where sessions take one, or `any`

    witness: a name, and the file of its public key, or `none` to name it no more

    maker: a product, and the root.json that its maker gave you, its SHA-256, or `none`

    director: nothing, to ask your server for its director; a file, a SHA-256, or `none`

    origins: web servers from which machines may fetch parts, as https://parts.example, or `none`

    fleetward owner policy set threshold 2

    fleetward owner policy set lease 30

    fleetward owner policy set ports 22 502

    fleetward owner policy set walls sandbox

    fleetward owner policy set witness notary notary.pem

    fleetward owner policy set maker kiosk root.json

    fleetward owner policy set director --data DIR
    """
    with refusals():
        given = _complete_setting(name, values or [], (owner, data, server, token_file))
        _change(read_setting(name, given), (owner, data, passphrase_file), (server, token_file),
                as_json)  # fmt: skip


def _complete_setting(
    name: str, values: list[str], near: tuple[Path | None, Path | None, str, Path | None]
) -> list[str]:
    """Return the values of a setting, the director's root asked of the server where it is not
    named, and say what two people compare. Raises `Refused` when the server has no director."""
    owner, data, server, token_file = near
    if name == "director" and not values:
        folder = OwnerFolder.open(find_owner(owner, data))
        found = fetch_director(reach_server(folder, data, server, token_file))
        if found is None:
            raise Refused(
                "Your server has no director of updates. Bring it to this release, start it once, "
                "and run this again.",
                reason="no_director",
            )
        values = [found.digest]
    if name in ("maker", "director") and values and values[-1] != NONE:
        product = values[0] if name == "maker" and len(values) == 2 else ""
        what = f"the maker of {product}" if product else "the director"
        undo = f"fleetward owner policy set {name} {product}".rstrip() + f" {NONE}"
        root = read_root(values[-1])
        say(say_root(what, root, undo))
        return [*values[:-1], root.digest]
    return values


@policy_app.command("set-threshold", hidden=True)
def threshold(
    people: Annotated[int, typer.Argument(help="How many people must sign a policy.")],
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Set how many people a new policy takes.

    fleetward owner policy set-threshold 2
    """
    with refusals():
        _change(set_threshold(people), (owner, data, passphrase_file), (server, token_file),
                as_json)  # fmt: skip


@policy_app.command("set-lease", hidden=True)
def lease(
    days: Annotated[int, typer.Argument(help="Days that machines rely on a head without news.")],
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Set how long machines rely on your documents without news from you.

    fleetward owner policy set-lease 30
    """
    with refusals():
        _change(set_lease(days), (owner, data, passphrase_file), (server, token_file), as_json)


@policy_app.command("set-ports", hidden=True)
def ports(
    never: Annotated[list[int], typer.Argument(help="Ports that no grant will ever open.")],
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Set the ports that no grant will ever open.

    fleetward owner policy set-ports 22 502
    """
    with refusals():
        _change(set_never_ports(never), (owner, data, passphrase_file), (server, token_file),
                as_json)  # fmt: skip


@policy_app.command("set-witness", hidden=True)
def witness(
    name: Annotated[str, typer.Option("--name", help="The name under which it signs.")],
    key: Annotated[
        Path | None, typer.Option("--key", help="Its public key; none removes it.")
    ] = None,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Name a witness of the record, or no longer name it.

    fleetward owner policy set-witness --name notary --key notary.pem
    """
    with refusals():
        found = read_public_pem(key, (ed25519.Ed25519PublicKey,)) if key else None
        _change(set_witness(name, found), (owner, data, passphrase_file), (server, token_file),
                as_json)  # fmt: skip


@policy_app.command("make-key")
def make(
    out: Annotated[
        Path | None, typer.Option("--out", help="The sealed key; FILE.pub is its public half.")
    ] = None,
    token: Annotated[
        str, typer.Option("--token", help="pkcs11:… : make it on this token; no file holds it.")
    ] = "",
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a key of your own, for another owner's folder to add by `policy add-person`.

    fleetward owner policy make-key --out bo.key

    fleetward owner policy make-key --token "pkcs11:token=Bo;object=approver?module-path=/usr/lib/…"
    """
    with refusals():
        public_file = out.with_name(out.name + ".pub") if out else None
        if out and public_file and (out.exists() or public_file.exists()):
            raise Refused(f"Expected nothing at {out}; a key is there.", reason="file_exists")
        key: Signer
        if token:
            uri = read_token_uri(token)
            key, kept = open_named_token(uri, passphrase_file, make=True), uri.text
        elif out:
            key, kept = _make_sealed(out, passphrase_file), str(out)
        else:
            raise Refused("Name a file by --out, or a token by --token.", reason="no_key_named")
        pem = write_public_pem(key.public)
        if public_file:
            atomic_write(public_file, pem, 0o644)
        shown = {
            "key_id": key.public.key_id,
            "key": kept,
            "public": str(public_file or ""),
            "line": write_requester_key(key.public),
        }
        words = f"Hand {public_file} to the owner; keep {kept}."
        if not public_file:
            words = f"Hand this to the owner:\n\n{pem.decode('ascii')}\nYour key is {kept}"
        emit(shown, as_json, words)


def _make_sealed(out: Path, passphrase_file: Path | None) -> Signer:
    signer = make_key(ED25519)
    passphrase = ask_passphrase(passphrase_file, twice=True, of="your key")
    atomic_write(out, seal_key(signer, passphrase, out.name))
    return signer


@policy_app.command("sign")
def sign(
    draft: Annotated[Path, typer.Argument(help="A draft that waits for more signatures.")],
    key: Annotated[str, typer.Option("--key", help="Your sealed key, or pkcs11:…")],
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Add your signature to a draft of a policy.

    fleetward owner policy sign draft.json --key bo.key
    """
    with refusals():
        signer = open_named_key(key, passphrase_file)
        atomic_write(draft, sign_draft(draft, signer))
        emit({"draft": str(draft)}, as_json, f"Signed. Give {draft} back to the owner.")


@policy_app.command("adopt")
def adopt(
    draft: Annotated[Path, typer.Argument(help="A draft with enough signatures.")],
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Adopt a draft that enough people signed.

    fleetward owner policy adopt draft.json --data DIR
    """
    with refusals():
        desk = open_desk(owner, data, passphrase_file)
        documents = adopt_draft(desk, draft)
        _finish(desk.folder, documents, (data, server, token_file), as_json)


@roster_app.command("show")
def show_roster(owner: Owner = None, data: Data = None, as_json: AsJson = False) -> None:
    """List the machines of the newest roster.

    fleetward owner roster show --owner ~/fleetward-owner
    """
    with refusals():
        rows = [
            {"id": e.device, "name": e.name, "site": e.site, "state": e.state, "model": e.model}
            for e in _load(owner, data).entries
        ]
        lines = [f"{r['id']}  {r['state']:8} {r['name']}, {r['site']}" for r in rows]
        emit(rows, as_json, "\n".join(lines) or "No machine is on the roster yet.")


@roster_app.command("export")
def export_roster(
    out: Annotated[Path, typer.Option("--out", help="A file: one machine a line, as signed.")],
    owner: Owner = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Write the newest roster's machines to a file, one line of canonical JSON each.

    fleetward owner roster export --out roster.jsonl
    """
    with refusals():
        documents = _load(owner, data)
        atomic_write(out, b"".join(e.to_bytes() + b"\n" for e in documents.entries))
        shown = {
            "out": str(out),
            "version": documents.roster.version,
            "count": documents.roster.count,
        }
        emit(shown, as_json, f"Roster {documents.roster.version} is in {out}.")


def _change(
    change: Change,
    desk_of: tuple[Path | None, Path | None, Path | None],
    server: tuple[str, Path | None],
    as_json: bool,
) -> None:
    desk = open_desk(*desk_of)
    documents = change_policy(desk, change, SystemClock().wall_ms())
    _finish(desk.folder, documents, (desk_of[1], *server), as_json)


def _finish(
    folder: OwnerFolder,
    documents: OwnerDocuments,
    server: tuple[Path | None, str, Path | None],
    as_json: bool,
) -> None:
    if server[0] is not None or server[1]:
        hand_over(folder, reach_server(folder, *server), documents)
        words = "and the server has it."
    else:
        words = "and is handed over by `fleetward owner refresh`."
    policy = documents.policy
    emit(_describe(policy), as_json, f"Policy {policy.version} is signed, {words}")


def _load(owner: Path | None, data: Path | None) -> OwnerDocuments:
    return load_documents(OwnerFolder.open(find_owner(owner, data)))


def _say_days(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    return say_length(seconds) if rest else say_count(days, "day")


def _describe(policy: Policy) -> dict[str, Any]:
    return {
        "owner": policy.owner,
        "version": policy.version,
        "epoch": policy.epoch,
        "name": policy.name,
        "recovered": policy.recovered,
        "recovery": None
        if policy.recovery is None
        else {
            "people": policy.recovery.role.threshold,
            "keys": list(policy.recovery.role.keys),
            "delay_seconds": policy.recovery.delay_seconds,
        },
        "hash": policy.hash,
        "issued_at": to_rfc3339(policy.issued_at_ms),
        "lease_seconds": policy.lease_seconds,
        "never_ports": list(policy.never_ports),
        "roles": {
            scope: {
                "people": role.threshold,
                "keys": [
                    {"key_id": key_id, "person": holder.person}
                    for key_id, holder in role.keys.items()
                ],
            }
            for scope, role in policy.roles.items()
        },
        "passkeys": [
            {
                "key_id": key_id,
                "person": holder.person,
                "rp_id": holder.passkey.rp_id,
                "origins": list(holder.passkey.origins),
            }
            for key_id, holder in policy.keys.items()
            if holder.passkey is not None
        ],
        "witnesses": sorted(policy.roots.witnesses),
        "updates": describe_roots(policy),
        "access": describe_rules(policy),
    }
