"""`fleetward release`: build, sign, show, publish and carry releases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleetward.cli.maker_options import AsJson, MakerOption, Named, PassphraseFile, open_desk
from fleetward.cli.plain import PLAIN
from fleetward.cli.release_failures import failures
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.maker.building import (
    STEADY_SECONDS,
    WITHIN_SECONDS,
    BuildWish,
    build_release,
)
from fleetward.keyholder.maker.bundling import Along, write_bundle
from fleetward.keyholder.maker.deltas import DeltaWish
from fleetward.keyholder.maker.leaving import gather
from fleetward.keyholder.maker.parts import (
    COMMAND_SECONDS,
    read_conflicts,
    read_health,
    read_needs,
    read_notes,
    read_parts,
)
from fleetward.keyholder.maker.publishing import publish_to_folder
from fleetward.keyholder.maker.released import split_release
from fleetward.keyholder.maker.releasing import sign_release
from fleetward.keyholder.maker.sending import read_authority, send_release
from fleetward.keyholder.maker.showing import (
    describe_release,
    find_release,
    list_all,
    say_bytes,
    show_release,
    tell_difference,
    tell_list,
    tell_release,
)
from fleetward.keyholder.place import Unnamed, find_server
from fleetward.keyholder.speak import emit, refusals, say

release_app = typer.Typer(
    help="Build, sign, show, publish and carry releases.", no_args_is_help=True, **PLAIN
)

Many = list[str] | None
release_app.command("failures")(failures)


@release_app.command("build")
def build(
    product: Annotated[str, typer.Argument(help="A product of yours.")],
    version: Annotated[str, typer.Argument(help="What people call it, such as 1.4.2.")],
    part: Annotated[
        Many, typer.Option("--part", help="NAME=PATH[:INSTALLER[:PLACE]]; once for each part.")
    ] = None,
    hook: Annotated[
        Many, typer.Option("--hook", help="PART=bin/hook: run after each switch.")
    ] = None,
    health: Annotated[
        Many,
        typer.Option(
            "--health",
            help="process:NAME, port:N, http:PORT/PATH=STATUS, file:PART/PATH, "
            "'command:PART/PATH ARGUMENTS'",
        ),
    ] = None,
    within: Annotated[
        int, typer.Option("--within", help="Seconds in which all checks must hold.")
    ] = WITHIN_SECONDS,
    steady: Annotated[
        int, typer.Option("--steady", help="Seconds for which they must hold then.")
    ] = STEADY_SECONDS,
    command_seconds: Annotated[
        int, typer.Option("--command-seconds", help="Seconds that a command may take.")
    ] = COMMAND_SECONDS,
    counter: Annotated[
        int, typer.Option("--counter", help="What 'older' means; the last one and 1 if not named.")
    ] = 0,
    hardware: Annotated[
        Many, typer.Option("--hardware", help="A model that it is for; every one if not named.")
    ] = None,
    needs: Annotated[Many, typer.Option("--needs", help="'PRODUCT>=COUNTER'")] = None,
    conflicts: Annotated[Many, typer.Option("--conflicts", help="PRODUCT:FIRST-LAST")] = None,
    from_at_least: Annotated[
        int, typer.Option("--from-at-least", help="Older machines take one in between first.")
    ] = 0,
    reboot: Annotated[bool, typer.Option("--reboot", help="The machine starts again.")] = False,
    replaces_agent: Annotated[
        bool,
        typer.Option(
            "--replaces-agent", help="It holds the agent itself, as an image of the system does."
        ),
    ] = False,
    notes: Annotated[str, typer.Option("--notes", help="What is new: TEXT, or @FILE.")] = "",
    fixes: Annotated[Many, typer.Option("--fixes", help="A weakness that it mends: CVE-…")] = None,
    sbom: Annotated[
        Path | None, typer.Option("--sbom", help="CycloneDX JSON; else one is made of the files.")
    ] = None,
    delta_from: Annotated[
        Many,
        typer.Option("--delta-from", help="A signed version; the newest one if not named."),
    ] = None,
    no_delta: Annotated[
        bool, typer.Option("--no-delta", help="No deltas: every machine fetches whole parts.")
    ] = False,
    best: Annotated[
        bool, typer.Option("--best", help="The smallest deltas; they take far longer.")
    ] = False,
    maker: MakerOption = None,
    as_json: AsJson = False,
) -> None:
    """Build a draft of a release: a folder, a file, a RAUC bundle, .deb files, or all of them.

    fleetward release build kiosk 1.1 --part app=build/app --health http:8080/healthz=200

    fleetward release build pump 7.0 --part firmware=mcu.bin --part system=os.raucb --reboot

    fleetward release build kiosk 1.2 --part app=build/app --delta-from 1.1 --delta-from 1.0
    """
    with refusals():
        wish = BuildWish(
            product=product,
            version=version,
            parts=read_parts(part or [], hook or []),
            counter=counter,
            hardware=tuple(hardware or ["*"]),
            checks=read_health(health or [], command_seconds),
            within_seconds=within,
            steady_seconds=steady,
            needs=read_needs(needs or []),
            conflicts=read_conflicts(conflicts or []),
            least_before=from_at_least,
            reboot=reboot,
            notes=read_notes(notes),
            fixes=tuple(fixes or ()),
            bill=sbom,
            deltas=DeltaWish(tuple(delta_from or ()), are_made=not no_delta, is_best=best),
            replaces_agent=replaces_agent,
        )
        manifest = build_release(open_desk(maker), wish)
        words = (
            f"{tell_release(manifest)}\nNobody has signed it yet: fleetward release sign "
            f"{product}/{version}"
        )
        emit({"state": "draft", **describe_release(manifest)}, as_json, words)


@release_app.command("sign")
def sign(
    release: Named,
    maker: MakerOption = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign a draft with the keys of its product, snapshot and timestamp.

    fleetward release sign kiosk/1.1
    """
    with refusals():
        desk = open_desk(maker, passphrase_file)
        say(f"You sign:\n{tell_release(find_release(desk, *split_release(release)).manifest)}")
        manifest = sign_release(desk, *split_release(release))
        words = (
            f"{release} is signed. Nobody has it yet:\n"
            f"  fleetward release publish {release} --to FOLDER\n"
            f"  fleetward release bundle {release} --out {manifest.product}.bundle"
        )
        emit({"state": "signed", **describe_release(manifest)}, as_json, words)


@release_app.command("show")
def show(release: Named, maker: MakerOption = None, as_json: AsJson = False) -> None:
    """Show a release, and how its components differ from the one before.

    fleetward release show kiosk/1.1
    """
    with refusals():
        shown = find_release(open_desk(maker), *split_release(release))
        words = f"{tell_release(shown.manifest)}\n{shown.state}\n{tell_difference(shown)}"
        emit(show_release(shown), as_json, words)


@release_app.command("list")
def show_list(
    product: Annotated[str, typer.Argument(help="One product; else all.")] = "",
    maker: MakerOption = None,
    as_json: AsJson = False,
) -> None:
    """List releases: signed ones, and drafts.

    fleetward release list kiosk
    """
    with refusals():
        rows = list_all(open_desk(maker), product)
        shown = [{"state": state, **describe_release(each)} for each, state in rows]
        emit({"releases": shown}, as_json, tell_list(rows))


@release_app.command("publish")
def publish(
    release: Named,
    to: Annotated[
        Path | None, typer.Option("--to", help="A folder that a web server or share holds.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Data directory of a server on this computer.")
    ] = None,
    server: Annotated[str, typer.Option("--server", help="A server: https://HOST[:PORT].")] = "",
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File of mode 600 with a token of it.")
    ] = None,
    server_ca: Annotated[
        Path | None, typer.Option("--server-ca", help="The server's own CA in PEM, if it has one.")
    ] = None,
    maker: MakerOption = None,
    as_json: AsJson = False,
) -> None:
    """Bring a signed release to a folder or a server. Run it again after a cut: it goes on.

    fleetward release publish kiosk/1.1 --to /srv/releases

    fleetward release publish kiosk/1.1 --server https://fleet.example --token-file token
    """
    with refusals():
        if to is None and data is None and not server:
            raise Unnamed(
                "Expected where to: --to FOLDER, or --server URL with --token-file F.",
                reason="no_place_named",
            )
        desk = open_desk(maker)
        leaving = gather(desk, *split_release(release))
        if to is not None:
            copied = publish_to_folder(desk, leaving, to)
            words = (
                f"{release} is in {to}: {copied.blobs_copied} files copied, "
                f"{say_bytes(copied.copied_bytes)}."
            )
            emit({"release": release, "folder": str(to), "published": copied}, as_json, words)
            return
        place = find_server(data, server, token_file)
        authority = read_authority(server_ca) if server_ca else place.server_ca_pem
        client = ApiClient(place.api, place.token, authority)
        sent = send_release(client, desk, leaving)
        words = (
            f"{release} is at {place.api}: {sent.blobs_sent} files sent, "
            f"{say_bytes(sent.sent_bytes)}; {sent.blobs_there} were there.\nNo machine takes it "
            "before its owner has approved it."
        )
        emit({"release": release, "server": place.api, "published": sent}, as_json, words)


@release_app.command("bundle")
def bundle(
    release: Named,
    out: Annotated[Path, typer.Option("--out", help="The file for the stick.")],
    approval: Annotated[
        list[Path] | None, typer.Option("--approval", help="An owner's approval to carry along.")
    ] = None,
    documents: Annotated[
        Path | None, typer.Option("--documents", help="An owner's documents to carry along.")
    ] = None,
    with_deltas: Annotated[
        bool, typer.Option("--with-deltas", help="All deltas and whole parts too.")
    ] = False,
    maker: MakerOption = None,
    as_json: AsJson = False,
) -> None:
    """Write one file with a release, for a machine without a network.

    fleetward release bundle kiosk/1.1 --out kiosk.bundle --approval approval.json
    """
    with refusals():
        desk = open_desk(maker)
        leaving = gather(desk, *split_release(release))
        along = Along(tuple(approval or ()), documents, is_everything=with_deltas)
        made = write_bundle(desk, leaving, out, along)
        words = (
            f"{out}: {say_bytes(made.size_bytes)}, {made.files} files. On the machine: "
            f"fleetward-agent update apply-bundle {out.name}"
        )
        if not made.approvals:
            words += "\nIt carries no approval; the machine needs its owner's from elsewhere."
        emit({"release": release, "bundle": made}, as_json, words)
