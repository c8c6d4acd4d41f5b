"""`fleetward owner console`: the owner's own pages, on this computer and on his phones."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.hand import reach_server
from fleetward.keyholder.place import Unnamed, find_owner
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.http.times import to_rfc3339

if TYPE_CHECKING:
    from fleetward.keyholder.console.main import Opened, PhoneWish

PHONE_PORT = 8443

console_app = typer.Typer(invoke_without_command=True, **PLAIN)
phones_app = typer.Typer(
    help="The phones that may show requests and take a passkey's word.",
    no_args_is_help=True, **PLAIN,
)  # fmt: skip
console_app.add_typer(phones_app, name="phones")


@console_app.callback()
def console(
    context: typer.Context,
    port: Annotated[
        int,
        typer.Option(
            "--port",
            help="Port on loopback; 0 takes that of last time. With --host: the phones' port, "
            f"{PHONE_PORT} if not named.",
        ),
    ] = 0,
    host: Annotated[
        str, typer.Option("--host", help="Serve phones too, under this DNS name of this computer.")
    ] = "",
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="Certificate and chain for it, PEM.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", help="Key of the certificate, PEM.")] = None,
    phone_ca: Annotated[
        Path | None,
        typer.Option("--phone-ca", help="The CA that you have put on your phones, if it is yours."),
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address.")
    ] = False,
    ready_file: Annotated[
        Path | None, typer.Option("--ready-file", help="Write {url, open, pid} here, mode 600.")
    ] = None,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Open the owner's own pages on this computer: let in, confirm, invite, check the record.

    fleetward owner console --owner ~/fleetward-owner --server https://fleet.example
    --token-file token

    With --host phones and tablets of your own network reach requests and sessions, by HTTPS alone,
    and answer by passkeys alone:

    fleetward owner console --host console.ward3.example --certificate chain.pem --key key.pem
    """
    if context.invoked_subcommand is not None:
        return
    # The web libraries are loaded for this command alone.
    from fleetward.keyholder.console.keeper import Keeper
    from fleetward.keyholder.console.main import ConsoleWish, serve_console

    with refusals():
        phones = _wish_phones(host, port, (certificate, key, phone_ca), data)
        desk = open_desk(owner, data, passphrase_file)
        named = data is not None or bool(server)
        reach = lambda: reach_server(desk.folder, data, server, token_file)  # noqa: E731
        keeper = Keeper(desk, reach if named else None, SystemClock())
        wish = ConsoleWish(0 if phones else port, ready_file, phones=phones)
        serve_console(keeper, SystemClock(), wish, lambda opened: _show(opened, no_browser))


@phones_app.command("list")
def list_phones(owner: Owner = None, data: Data = None, as_json: AsJson = False) -> None:
    """List the phones, and until when each may come in. It asks for no passphrase.

    fleetward owner console phones list --owner ~/fleetward-owner
    """
    from fleetward.keyholder.console.phones import Phones

    with refusals():
        now_ms = SystemClock().wall_ms()
        rows = [
            {
                "id": phone.id,
                "name": phone.name,
                "added_at": to_rfc3339(phone.added_at),
                "seen_at": to_rfc3339(phone.seen_at),
                "ends_at": to_rfc3339(phone.ends_at),
                "over": now_ms >= phone.ends_at,
                "passkeys": list(phone.passkeys),
            }
            for phone in Phones(OwnerFolder.open(find_owner(owner, data))).read()
        ]
        lines = [
            f"{r['id']}  {r['name']}, added {r['added_at']}, "
            + ("over" if r["over"] else f"until {r['ends_at']}")
            for r in rows
        ]
        emit(rows, as_json, "\n".join(lines) or "No phone was added.")


@phones_app.command("remove")
def remove_phone(
    phone: Annotated[str, typer.Argument(help="The phone's name or id.")],
    owner: Owner = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Remove a phone: it is out at once, also from a console that runs.

    fleetward owner console phones remove "Ada's phone" --owner ~/fleetward-owner
    """
    from fleetward.keyholder.console.phone_log import PhoneLog
    from fleetward.keyholder.console.phones import Phones

    with refusals():
        folder = OwnerFolder.open(find_owner(owner, data))
        gone = Phones(folder).remove(phone)
        PhoneLog(folder, SystemClock()).write("removed", phone=gone.id, name=gone.name)
        words = f"{gone.name} is out."
        if gone.passkeys:
            words += (
                " The passkeys that it made still count until you take them out of the policy:\n"
                + "\n".join(f"fleetward owner policy remove-passkey {i}" for i in gone.passkeys)
            )
        emit({"id": gone.id, "name": gone.name, "passkeys": list(gone.passkeys)}, as_json, words)


@phones_app.command("log")
def show_log(owner: Owner = None, data: Data = None, as_json: AsJson = False) -> None:
    """Show what phones have done, the newest last.

    fleetward owner console phones log --owner ~/fleetward-owner
    """
    from fleetward.keyholder.console.phone_log import read_log

    with refusals():
        rows = read_log(OwnerFolder.open(find_owner(owner, data)))
        lines = [
            "  ".join(str(row[name]) for name in ("at", "name", "what", "machine") if name in row)
            for row in rows
        ]
        emit(rows, as_json, "\n".join(lines) or "No phone has done anything yet.")


def _wish_phones(
    host: str, port: int, files: tuple[Path | None, Path | None, Path | None], data: Path | None
) -> PhoneWish | None:
    """Return how phones shall be served, or None. Raises `Unnamed` for half a wish."""
    from fleetward.keyholder.console.certificate import PhoneFiles
    from fleetward.keyholder.console.host_name import check_host_name
    from fleetward.keyholder.console.main import PhoneWish
    from fleetward.keyholder.console.shunned import data_folders_near

    certificate, key, phone_ca = files
    if not host and not any(files):
        return None
    if not host or certificate is None or key is None:
        raise Unnamed(
            "Expected --host NAME with --certificate FILE and --key FILE: phones are served by "
            "HTTPS alone. Without --host the console is on this computer alone.",
            reason="no_certificate_named",
        )
    name = check_host_name(host)
    # Programs that renew certificates leave links to the newest ones.
    named = PhoneFiles(
        certificate.resolve(), key.resolve(), phone_ca.resolve() if phone_ca else None
    )
    given = [path for path in (named.certificate, named.key, named.phone_ca) if path is not None]
    folders = tuple(data_folders_near(data, given))
    return PhoneWish(name, named, port or PHONE_PORT, folders)


def _show(opened: Opened, no_browser: bool) -> None:
    say(
        f"The owner's console is at:\n  {opened.address}\nThe address holds the secret of this "
        "start: show it to nobody. Ctrl-C ends it."
    )
    if opened.phones:
        _show_phones(opened)
    port = opened.address.split(":")[2].split("/")[0]
    if no_browser or not webbrowser.open(opened.address):
        say(
            f"From another computer: ssh -L {port}:127.0.0.1:{port} THIS-COMPUTER, then open the "
            "address there. Where a browser does not know owner.localhost, use the commands: "
            "fleetward owner pending, confirm, invite."
        )


def _show_phones(opened: Opened) -> None:
    from fleetward.keyholder.console.phone_views import address_with
    from fleetward.keyholder.console.quick_response import draw_terminal

    if opened.phone_ca_sha256:
        pairs = [opened.phone_ca_sha256[at : at + 2] for at in range(0, 64, 2)]
        say(
            "Your phones must know your CA first. Its SHA-256, to compare on the phone:\n  "
            + ":".join(pairs).upper()
            + "\n  iOS: send the file to the phone and open it; Settings, General, VPN & Device "
            "Management: install it; then General, About, Certificate Trust Settings: switch it "
            "on.\n  Android: Settings, Security, Encryption & credentials, Install a certificate, "
            "CA certificate."
        )
    say(f"For phones, in your own network: {opened.phones}/")
    first = "Open the address"
    if sys.stderr.isatty():
        sys.stderr.write(draw_terminal(address_with(opened.phones, opened.code)) + "\n")
        first = "Scan this, or open the address"
    say(
        f"{first} and type: {opened.code}\nIt serves one phone, within ten "
        "minutes. For another: page Phones of the owner's console. Its certificate ends at "
        f"{to_rfc3339(opened.phones_until_ms)}; start the console anew when you have renewed it."
    )
    if not opened.passkeys:
        say(
            f"No passkey of your policy counts at {opened.phones} yet. Add a phone, make one on "
            "its page This phone, then name it on the page Phones of the owner's console."
        )
