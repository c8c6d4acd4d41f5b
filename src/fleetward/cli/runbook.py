"""`fleetward runbook`: what a maker lets technicians start without giving them a shell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from fleetward.cli.access_options import PLAIN, Arguments, AsJson, PassphraseFile
from fleetward.keyholder.access.requester_line import read_requester_key, write_requester_key
from fleetward.keyholder.access.runbooks import (
    check_runbook,
    draft_runbook,
    load_runbook,
    parse_arguments,
    show_runbook,
    sign_runbook,
    tell_plan,
)
from fleetward.keyholder.auditor import read_public_pem
from fleetward.keyholder.named_key import open_named_key
from fleetward.keyholder.speak import emit, refusals
from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.trust.errors import Refused
from fleetward.trust.keys import PublicKey
from fleetward.trust.runbook import MAX_RUNBOOK_BYTES, Runbook, fill_in

runbook_app = typer.Typer(
    help="Make, sign and look at runbooks: signed steps that a technician may start.",
    no_args_is_help=True,
    **PLAIN,
)

File = Annotated[Path, typer.Argument(help="A runbook.")]
KeyFile = Annotated[
    str | None,
    typer.Option("--key", help="Your sealed key, of `owner policy make-key`; or pkcs11:…"),
]


@runbook_app.command("make")
def make(
    toml: Annotated[Path, typer.Argument(help="What you wrote, in TOML.")],
    out: Annotated[Path, typer.Option("--out", help="Where the runbook goes.")],
    key: KeyFile = None,
    signer: Annotated[
        str, typer.Option("--signer", help="Leave it unsigned, for this key: its line, or PEM.")
    ] = "",
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a runbook of a TOML file, and sign it with your key.

    fleetward owner policy make-key --out maker.key

    fleetward runbook make bundle.toml --out bundle.runbook --key maker.key
    """
    with refusals():
        if (key is None) == (not signer):
            raise Refused("Name your key by --key, or who will sign by --signer.", reason="no_key")
        text = read_bounded(toml, MAX_RUNBOOK_BYTES)
        if key is None:
            raw = draft_runbook(text, _read_key(signer).key_id)
            runbook, line = check_runbook(raw, None), signer
        else:
            own = open_named_key(key, passphrase_file)
            runbook = sign_runbook(draft_runbook(text, own.public.key_id), own)
            line = write_requester_key(own.public)
        atomic_write(out, runbook.raw, 0o644)
        shown = {**show_runbook(runbook), "file": str(out), "signed": key is not None}
        words = f"{out}: {runbook.name} {runbook.version}, digest {runbook.digest}\n"
        if key is None:
            words += f"It is not signed yet: fleetward runbook sign {out} --key KEY"
        else:
            words += (
                "An owner lets it be asked for by:\n\n  fleetward owner policy access allow "
                f"runbook --signer {line} --person NAME --digest {runbook.digest}"
            )
        emit(shown, as_json, words)


@runbook_app.command("sign")
def sign(
    file: File,
    key: Annotated[str, typer.Option("--key", help="Your sealed key, or pkcs11:…")],
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign a runbook that names your key, in its place.

    fleetward runbook sign bundle.runbook --key maker.key
    """
    with refusals():
        signer = open_named_key(key, passphrase_file)
        runbook = sign_runbook(load_runbook(file), signer)
        atomic_write(file, runbook.raw, 0o644)
        emit(show_runbook(runbook), as_json, f"Signed: {_name(runbook)}.")


@runbook_app.command("check")
def check(
    file: File,
    signer: Annotated[
        str, typer.Option("--signer", help="Whose signature it must have: the line, or PEM.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Say whether a runbook is one, and with --signer whether that key signed it.

    fleetward runbook check bundle.runbook --signer maker.key.pub
    """
    with refusals():
        key = _read_key(signer) if signer else None
        runbook = check_runbook(load_runbook(file), key)
        said = "signed by that key" if key else "well formed; no signature was looked at"
        shown = {**show_runbook(runbook), "signature_checked": key is not None}
        emit(shown, as_json, f"{_name(runbook)}: {said}.")


@runbook_app.command("show")
def show(file: File, argument: Arguments = None, as_json: AsJson = False) -> None:
    """Show what a runbook does; with its arguments, the very steps that would run.

    fleetward runbook show bundle.runbook --argument day=2026-11-26
    """
    with refusals():
        runbook = check_runbook(load_runbook(file), None)
        shown = show_runbook(runbook)
        lines = [_name(runbook), f"signer {runbook.signer} (no signature was looked at)"]
        if argument or not runbook.arguments:
            plan = fill_in(runbook, parse_arguments(argument or []))
            shown["plan"] = [list(step) for step in plan.steps]
            lines += tell_plan(runbook, plan)
        else:
            lines += [f"--argument {a.name}=…  {a.words()}" for a in runbook.arguments]
        emit(shown, as_json, "\n".join(lines))


def _name(runbook: Runbook) -> str:
    return f"{runbook.name} {runbook.version}, digest {runbook.digest}"


def _read_key(text: str) -> PublicKey:
    if ":" in text:
        return read_requester_key(text)
    return read_public_pem(Path(text), (ed25519.Ed25519PublicKey, ec.EllipticCurvePublicKey))
