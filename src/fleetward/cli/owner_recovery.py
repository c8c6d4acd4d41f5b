"""`fleetward owner policy recovery …` and `fleetward owner recover …`: when the keys are lost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

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
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.auditor import read_public_pem
from fleetward.keyholder.begun import Begun, BegunFolder, begin_folder, open_begun
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import OwnerDocuments, load_documents
from fleetward.keyholder.folder import DEFAULT_FOLDER, OwnerFolder
from fleetward.keyholder.hand import hand_over, reach_server
from fleetward.keyholder.named_key import open_named_key
from fleetward.keyholder.passphrase import ask_passphrase
from fleetward.keyholder.place import Unnamed, find_owner, find_server, read_ready
from fleetward.keyholder.policy_changes import change_policy, remove_recovery, set_recovery
from fleetward.keyholder.recovering import (
    Heard,
    announce,
    fetch_papers,
    fetch_waiting,
    introduce,
    name_recording_key,
    read_draft,
    read_heard,
    read_papers,
    sign_recovery,
    veto_change,
)
from fleetward.keyholder.signing import Person
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.keyholder.taking_over import Papers, finish_folder
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.http.times import from_rfc3339, to_rfc3339
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.keys import Signer
from fleetward.trust.policy import Policy

recovery_app = typer.Typer(
    help="Name keys that may recover the machines when yours are lost.", no_args_is_help=True,
    **PLAIN,
)  # fmt: skip
recover_app = typer.Typer(
    help="Recover machines by recovery keys, or refuse that.", no_args_is_help=True, **PLAIN
)
DEFAULT_DELAY_DAYS: Final = 7

Folder = Annotated[
    Path | None, typer.Option("--folder", help="The new folder; ~/fleetward-owner if not named.")
]
From = Annotated[
    Path | None, typer.Option("--from", help="The old folder, whose documents are left.")
]
Root = Annotated[str, typer.Option("--root", help="The owner root; without --from.")]
Enrol = Annotated[str, typer.Option("--enrol", help="HOST:PORT for enrolment; without --from.")]
ServerCa = Annotated[str, typer.Option("--server-ca", help="SHA-256 of the server's CA.")]


@recovery_app.command("set")
def set_keys(
    key: Annotated[list[Path], typer.Option("--key", help="A public key in PEM; several.")],
    person: Annotated[
        list[str], typer.Option("--person", help="Whose it is; one for each --key, in order.")
    ],
    threshold: Annotated[int, typer.Option("--threshold", help="How many of them it takes.")] = 0,
    delay: Annotated[
        int, typer.Option("--delay", help="Days that machines wait; 1 to 90.")
    ] = DEFAULT_DELAY_DAYS,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Name recovery keys, made by `policy make-key` and kept apart. They replace those before.

    fleetward owner policy recovery set --key rita.pub --person Rita --key rob.pub --person Rob
    --threshold 2 --delay 7
    """
    with refusals():
        if len(key) != len(person):
            raise Malformed(
                f"Expected a --person for each --key; {len(key)} keys and {len(person)} people "
                "came.",
                reason="bad_people",
            )
        kinds = (ed25519.Ed25519PublicKey, ec.EllipticCurvePublicKey)
        keepers = [Person(read_public_pem(k, kinds), p) for k, p in zip(key, person, strict=True)]
        change = set_recovery(keepers, threshold or len(keepers), delay * 86_400)
        desk = open_desk(owner, data, passphrase_file)
        documents = change_policy(desk, change, SystemClock().wall_ms())
        _hand_over(desk.folder, documents, (data, server, token_file))
        _emit_recovery(documents.policy, as_json)


@recovery_app.command("show")
def show_keys(owner: Owner = None, data: Data = None, as_json: AsJson = False) -> None:
    """Show who may recover the machines, and how long they wait.

    fleetward owner policy recovery show --owner ~/fleetward-owner
    """
    with refusals():
        folder = OwnerFolder.open(find_owner(owner, data))
        _emit_recovery(load_documents(folder).policy, as_json)


@recovery_app.command("remove")
def remove_keys(
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Name no recovery keys any more.

    fleetward owner policy recovery remove --data DIR
    """
    with refusals():
        desk = open_desk(owner, data, passphrase_file)
        documents = change_policy(desk, remove_recovery(), SystemClock().wall_ms())
        _hand_over(desk.folder, documents, (data, server, token_file))
        _emit_recovery(documents.policy, as_json)


@recover_app.command("announce")
def announce_recovery(
    key: Annotated[
        list[str], typer.Option("--key", help="A sealed recovery key, or pkcs11:…; several.")
    ],
    person: Annotated[str, typer.Option("--person", help="Who will hold the new keys.")] = "",
    key_passphrase_file: Annotated[
        Path | None, typer.Option("--key-passphrase-file", help="File of mode 600 for the keys.")
    ] = None,
    folder: Folder = None,
    old: From = None,
    root: Root = "",
    enrol: Enrol = "",
    server_ca: ServerCa = "",
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make new keys, sign them with recovery keys, and announce it to every machine.

    Where more keepers must sign, copy the folder's draft to each of them (`fleetward owner policy
    sign DRAFT --key FILE`), put it back, and run this again.

    fleetward owner recover announce --key rita.key --key rob.key --person Ada
    --from ~/old-owner --folder ~/new-owner --server https://fleet.example --token-file token
    """
    with refusals():
        client, papers = _reach((data, server, token_file), (old, root, enrol, server_ca))
        path = folder or Path.home() / DEFAULT_FOLDER
        passphrase = ask_passphrase(passphrase_file, twice=not path.exists())
        now_ms = SystemClock().wall_ms()
        name = papers.policies[-1].name or papers.root.name
        begun = begin_folder(
            path, passphrase, Begun("recovery", name, person or "owner", "", now_ms)
        )
        raw, policy = sign_recovery(begun, papers, _open_keys(key, key_passphrase_file), now_ms)
        if policy is None:
            raise Refused(
                f"More keepers must sign. The draft is in {path / 'drafts'}: let them run "
                "`fleetward owner policy sign DRAFT --key FILE`, and run this again.",
                reason="more_signatures_needed",
            )
        row = announce(client, raw)
        words = (
            f"Announced: policy {row.version}, under which {', '.join(row.people)} would decide. "
            f"Each machine waits by itself; none takes it before {row.earliest_at}, and the "
            "present keys can refuse it until then.\n"
            "See each machine: fleetward owner recover status"
        )
        shown = {"policy": row.version, "hash": row.hash, "earliest_at": row.earliest_at}
        emit(shown, as_json, words)


@recover_app.command("status")
def status(
    owner: Owner = None,
    old: From = None,
    root: Root = "",
    enrol: Enrol = "",
    server_ca: ServerCa = "",
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Say of every machine whether it has heard of a recovery, and when it would take it.

    fleetward owner recover status --owner ~/fleetward-owner --data DIR
    """
    with refusals():
        known = old or (None if root else find_owner(owner, data))
        client, papers = _reach((data, server, token_file), (known, root, enrol, server_ca))
        found: list[dict[str, Any]] = []
        lines: list[str] = []
        for row, policy in fetch_waiting(client, papers.policies[-1]):
            heard = read_heard(client, papers.root.owner, papers.entries, policy)
            found.append(
                {
                    "policy": policy.version,
                    "hash": policy.hash,
                    "people": sorted(h.person for h in policy.roles["policy"].keys.values()),
                    "announced_at": row.announced_at,
                    "earliest_at": row.earliest_at,
                    "machines": [_show_heard(each) for each in heard],
                }
            )
            lines.append(
                f"Policy {policy.version}, announced {row.announced_at}: "
                f"{', '.join(found[-1]['people'])} would decide."
            )
            lines += [f"  {_say_heard(each)}" for each in heard]
        emit(found, as_json, "\n".join(lines) or "No recovery is announced.")


@recover_app.command("finish")
def finish(
    folder: Folder = None,
    old: From = None,
    root: Root = "",
    enrol: Enrol = "",
    server_ca: ServerCa = "",
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make of the new folder the owner's folder, and hand it over, after the delay.

    A machine that has not waited long enough goes on under the policy before, and takes the new
    one by itself later. It can be run again.

    fleetward owner recover finish --folder ~/new-owner --from ~/old-owner --data DIR
    """
    with refusals():
        path = folder or Path.home() / DEFAULT_FOLDER
        passphrase = ask_passphrase(passphrase_file)
        begun = open_begun(path, passphrase, "recovery")
        clock = SystemClock()
        if begun.folder.has("owner.toml"):
            desk = Desk(begun.folder, passphrase, clock)
            documents = desk.documents()
            documents = documents if documents.settled else desk.renew()
            client = reach_server(begun.folder, data, server, token_file)
        else:
            client, papers = _reach((data, server, token_file), (old, root, enrol, server_ca))
            policy = read_draft(begun, papers)
            _check_waited(client, papers, policy, clock.wall_ms())
            documents = finish_folder(begun, papers, policy, passphrase, clock)
        hand_over(begun.folder, client, documents)
        documents = _name_own_recording_key(begun, passphrase, documents, clock)
        hand_over(begun.folder, client, documents)
        words = (
            f"Recovered: policy {documents.policy.version} is in force, and {path} is the owner's "
            "folder. Machines that wait still: fleetward owner policy acknowledged. Recordings of "
            "before open with the old recording key alone. Name recovery keys again if theirs "
            "were used up: fleetward owner policy recovery set"
        )
        shown = {"policy": documents.policy.version, "folder": str(path)}
        emit(shown, as_json, words)


@recover_app.command("veto")
def veto(
    keep_keys: Annotated[
        bool, typer.Option("--keep-keys", help="Let the recovery keys stay in the policy.")
    ] = False,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Refuse a recovery that you did not ask for: sign the next policy yourself, without its keys.

    fleetward owner recover veto --owner ~/fleetward-owner --data DIR
    """
    with refusals():
        desk = open_desk(owner, data, passphrase_file)
        change = veto_change(desk.documents(), keep_keys=keep_keys)
        documents = change_policy(desk, change, SystemClock().wall_ms())
        done = _hand_over(desk.folder, documents, (data, server, token_file))
        words = (
            f"Refused: policy {documents.policy.version} is yours"
            + ("." if keep_keys else ", and names no recovery keys any more.")
            + (
                " Machines refuse the recovery as they hear of it; see `fleetward owner policy "
                "acknowledged`."
                if done
                else " IT COUNTS ONCE MACHINES HAVE IT: hand it over by `fleetward owner refresh`."
            )
        )
        shown = {"policy": documents.policy.version, "handed_over": done}
        emit(shown, as_json, words)


def _check_waited(client: ApiClient, papers: Papers, policy: Policy, now_ms: int) -> None:
    for row, announced in fetch_waiting(client, papers.policies[-1]):
        if announced.hash == policy.hash:
            if now_ms < from_rfc3339(row.earliest_at):
                raise Refused(
                    f"The delay is not over: no machine takes it before {row.earliest_at}. Until "
                    "then nothing is signed. See `fleetward owner recover status`.",
                    reason="recovery_waits",
                )
            return
    raise Refused(
        "The server knows of no such recovery. Announce it: fleetward owner recover announce",
        reason="nothing_announced",
    )


def _name_own_recording_key(
    begun: BegunFolder, passphrase: bytes, documents: OwnerDocuments, clock: SystemClock
) -> OwnerDocuments:
    """Let sessions from now on be recorded for a key that this folder has; once."""
    if documents.policy.roots.recording_key == begun.recording_key:
        return documents
    desk = Desk(begun.folder, passphrase, clock)
    return change_policy(desk, name_recording_key(begun.recording_key), clock.wall_ms())


def _reach(
    place: tuple[Path | None, str, Path | None], known: tuple[Path | None, str, str, str]
) -> tuple[ApiClient, Papers]:
    """Return a client of the server, and the owner's documents, out of a folder or from there."""
    old, root, enrol, server_ca = known
    if old is not None:
        folder = OwnerFolder.open(old)
        kept = read_papers(folder)
        client = reach_server(folder, *place)
        pinned = (kept.server, kept.server_ca_pem)
        return client, fetch_papers(client, kept.root.owner, pinned)
    if not root:
        raise Unnamed(
            "Expected --from OLD_FOLDER, or --root with --enrol and --server-ca (or --data).",
            reason="no_owner_named",
        )
    where = find_server(*place)
    if place[0] is not None:
        ready = read_ready(place[0])
        enrol, server_ca = ready.enrol, ready.ca_sha256
    pinned = introduce(enrol, server_ca, where.api)
    client = ApiClient(where.api, where.token, pinned[1])
    return client, fetch_papers(client, root, pinned)


def _open_keys(named: list[str], passphrase_file: Path | None) -> list[Signer]:
    return [open_named_key(each, passphrase_file, of=f"the key {each}") for each in named]


def _hand_over(
    folder: OwnerFolder,
    documents: OwnerDocuments,
    server: tuple[Path | None, str, Path | None],
) -> bool:
    if server[0] is None and not server[1]:
        say("No server was named: hand it over by `fleetward owner refresh`.")
        return False
    hand_over(folder, reach_server(folder, *server), documents)
    return True


def _emit_recovery(policy: Policy, as_json: bool) -> None:
    recovery = policy.recovery
    if recovery is None:
        words = (
            f"Policy {policy.version} names no recovery keys: whoever loses the keys that sign "
            "policies loses the machines. See `fleetward owner policy recovery set --help`."
        )
        emit({"policy": policy.version, "recovery": None}, as_json, words)
        return
    people = sorted({holder.person for holder in recovery.role.keys.values()})
    days = recovery.delay_seconds // 86_400
    shown = {
        "policy": policy.version,
        "recovery": {
            "threshold": recovery.role.threshold,
            "delay_seconds": recovery.delay_seconds,
            "keys": [
                {"key_id": key_id, "person": holder.person}
                for key_id, holder in recovery.role.keys.items()
            ],
        },
    }
    words = (
        f"Policy {policy.version}: {recovery.role.threshold} of {', '.join(people)} may recover "
        f"the machines, which then wait for {days} {'day' if days == 1 else 'days'}."
    )
    emit(shown, as_json, words)


def _show_heard(heard: Heard) -> dict[str, Any]:
    def when(at_ms: int) -> str | None:
        return to_rfc3339(at_ms) if at_ms else None

    return {
        "id": heard.machine.device,
        "name": heard.machine.name,
        "heard_at": when(heard.seen_at_ms),
        "counting_since": when(heard.counting_since_ms),
        "earliest_at": when(heard.earliest_ms),
        "ready": heard.ready,
    }


def _say_heard(heard: Heard) -> str:
    name = f"{heard.machine.name}, {heard.machine.site}"
    if heard.ready:
        return f"{name}: has waited, and takes it when it comes"
    if heard.earliest_ms:
        return f"{name}: takes it from {to_rfc3339(heard.earliest_ms)} on, if it is on until then"
    if heard.seen_at_ms:
        return f"{name}: has heard of it; its delay begins when its notice is in the record"
    return f"{name}: has not heard of it"
