"""`fleetward owner close …`: close ports and local access of machines, keep it, open again."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any, Final

import msgspec
import typer
from typer.core import TyperGroup

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
from fleetward.keyholder.access.answering import check_lease
from fleetward.keyholder.access.scope_words import parse_length
from fleetward.keyholder.closing.judging import Progress, name_machines, read_progress
from fleetward.keyholder.closing.server_rows import ClosingApi
from fleetward.keyholder.closing.signing import FOLDER, sign_closing, sign_kept
from fleetward.keyholder.closing.telling import (
    say_countdown,
    show_progress,
    tell_machine,
    tell_preview,
    tell_progress,
    tell_rows,
)
from fleetward.keyholder.closing.waiting import follow
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.keyholder.hand import reach_server
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.runtime.clock import SystemClock
from fleetward.trust.closing import ClosedPort, ClosingWish, verify_closing_of_owner
from fleetward.trust.errors import Malformed, Refused


class _NowUnlessNamed(TyperGroup):
    """`close ID --ssh` is `close now ID --ssh`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `now` in front of what names no command."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["now", *args]
        return super().parse_args(ctx, args)


close_app: Final = typer.Typer(
    name="close",
    cls=_NowUnlessNamed,
    help="Close ports and local access (SSH, Telnet) on machines; on trial until you keep it.",
    no_args_is_help=True, **PLAIN,
)  # fmt: skip
MIN_PREFIX: Final = 6
MIN_CLOSING: Final = 8
WAIT_SECONDS: Final = 60.0

Machines = Annotated[list[str] | None, typer.Argument(help="Machines: id, its beginning, or name.")]
Everywhere = Annotated[bool, typer.Option("--all", help="All machines, and those that come.")]
Ports = Annotated[list[int] | None, typer.Option("--port", help="A TCP port; may repeat.")]
Udp = Annotated[list[int] | None, typer.Option("--udp", help="A UDP port; may repeat.")]
Ssh = Annotated[bool, typer.Option("--ssh", help="SSH, wherever it waits.")]
Telnet = Annotated[bool, typer.Option("--telnet", help="Telnet, wherever it waits.")]
Restore = Annotated[
    str, typer.Option("--restore", help="Opens again after this long unless kept, as 10m.")
]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the record.")]
Wait = Annotated[float, typer.Option("--wait", help="Seconds to wait for the machines' answers.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before signing.")]
ClosingId = Annotated[
    str, typer.Argument(help="A closing's id, or 8 digits of its beginning; the newest if empty.")
]


@close_app.command("now")
def close_now(
    machines: Machines = None,
    everywhere: Everywhere = False,
    ports: Ports = None,
    udp: Udp = None,
    ssh: Ssh = False,
    telnet: Telnet = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show who would be cut off, and sign nothing.")
    ] = False,
    restore: Restore = "10m",
    reason: Reason = "",
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep it at once where machines answer.")
    ] = False,
    wait: Wait = WAIT_SECONDS,
    yes: Yes = False,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Close ports on machines: the whole wanted state, so that what is not named is open.

    fleetward owner close now pump-7 --port 8080 --ssh --preview --data DIR
    """
    with refusals():
        desk = open_desk(owner, data, passphrase_file)
        documents = desk.documents()
        api = ClosingApi(reach_server(desk.folder, data, server, token_file))
        wish = ClosingWish(
            devices=find_machines(documents, machines or [], everywhere=everywhere),
            ports=_read_ports(ports or [], udp or []),
            local_access=tuple(n for n, on in (("ssh", ssh), ("telnet", telnet)) if on),
            restore_seconds=parse_length(restore),
            reason=reason,
        )
        if not wish.ports and not wish.local_access:
            raise Malformed(
                "Expected something to close: --port, --udp, --ssh or --telnet. To open all "
                "again: fleetward owner close open",
                reason="nothing_named",
            )
        rows = name_machines(api.machines(wish.devices), wish.devices, documents.entries)
        words = tell_preview(rows, wish.ports, wish.local_access)
        if preview:
            emit([msgspec.to_builtins(row) for row in rows], as_json, words)
            return
        say(words)
        _ask(f"Close it on {len(rows)} machines? Type yes: ", yes=yes)
        _carry_out(desk, api, wish, (wait, keep, as_json))


@close_app.command("keep")
def close_keep(
    closing: ClosingId = "",
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Confirm a closing: without it the machines open again by themselves.

    fleetward owner close keep 3f9a01bc --data DIR
    """
    with refusals():
        desk = open_desk(owner, data, passphrase_file)
        api = ClosingApi(reach_server(desk.folder, data, server, token_file))
        progress = _find(desk.documents(), api, closing or _newest_own(desk))
        say(f"Keeping what {progress.closing.hash[:16]} closed: {progress.closing.words()}.")
        _keep(desk, api, progress)
        progress = _await_kept(desk, api, progress)
        emit(show_progress(progress), as_json, _tell(progress))


@close_app.command("open")
def close_open(
    machines: Machines = None,
    everywhere: Everywhere = False,
    reason: Reason = "",
    wait: Wait = WAIT_SECONDS,
    yes: Yes = False,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Open again all that was closed on machines. It holds at once and needs no confirmation.

    fleetward owner close open pump-7 --reason "service day" --data DIR
    """
    with refusals():
        desk = open_desk(owner, data, passphrase_file)
        documents = desk.documents()
        api = ClosingApi(reach_server(desk.folder, data, server, token_file))
        devices = find_machines(documents, machines or [], everywhere=everywhere)
        wish = ClosingWish(devices, (), (), 600, reason)
        number = len(devices) or sum(e.state == "active" for e in documents.entries)
        _ask(f"Open all again on {number} machines? Type yes: ", yes=yes)
        _carry_out(desk, api, wish, (wait, False, as_json))


@close_app.command("list")
def close_list(
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """List closings, newest first, with how many machines stand how.

    fleetward owner close list --data DIR --json
    """
    with refusals():
        desk = open_desk(owner, data, passphrase_file)
        rows = ClosingApi(reach_server(desk.folder, data, server, token_file)).rows()
        emit([msgspec.to_builtins(row) for row in rows], as_json, tell_rows(rows))


@close_app.command("show")
def close_show(
    closing: ClosingId = "",
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a closing machine by machine, by what each has signed.

    fleetward owner close show 3f9a01bc --data DIR
    """
    with refusals():
        desk = open_desk(owner, data, passphrase_file)
        api = ClosingApi(reach_server(desk.folder, data, server, token_file))
        progress = _find(desk.documents(), api, closing)
        emit(show_progress(progress), as_json, _tell(progress))


def find_machines(
    documents: OwnerDocuments, named: list[str], *, everywhere: bool
) -> tuple[str, ...]:
    """Return the ids of machines on the roster; none for all. Raises `Malformed`, `Refused`."""
    if everywhere == bool(named):
        raise Malformed("Expected machines, or --all, and not both.", reason="no_machines")
    active = [entry for entry in documents.entries if entry.state == "active"]
    found: list[str] = []
    for text in named:
        exact = [e.device for e in active if text in (e.device, e.name)]
        near = [e.device for e in active if len(text) >= MIN_PREFIX and e.device.startswith(text)]
        match = exact or near
        if len(match) != 1:
            raise Refused(
                f"Expected one machine {text[:80]!r} on your roster, found {len(match)}. See: "
                "fleetward owner roster show",
                reason="not_on_roster",
            )
        found.append(match[0])
    return tuple(dict.fromkeys(found))


def _carry_out(
    desk: Desk, api: ClosingApi, wish: ClosingWish, said: tuple[float, bool, bool]
) -> None:
    wait, keep, as_json = said
    clock, documents = SystemClock(), desk.documents()
    check_lease(documents, clock.wall_ms())
    signed = sign_closing(desk, wish, clock.wall_ms())
    api.submit(signed.closing.raw)
    say(f"Signed and handed over: {signed.closing.hash[:16]}")
    progress = follow(
        api, documents, signed.closing.hash, wait, lambda now: say(tell_progress(now))
    )
    if progress.counts.get("applied") and not wish_opens(wish):
        if keep or _wants_to_keep(progress):
            _keep(desk, api, progress)
            progress = _await_kept(desk, api, progress)
        else:
            say(f"Not kept. To keep it: fleetward owner close keep {signed.closing.hash[:16]}")
    emit(show_progress(progress), as_json, _tell(progress))


def wish_opens(wish: ClosingWish) -> bool:
    """Say whether a wish opens everything."""
    return not wish.ports and not wish.local_access


def _wants_to_keep(progress: Progress) -> bool:
    """Ask whether it stays closed, where somebody is there to ask."""
    for one in progress.machines:
        say(tell_machine(one))
    applied = [one.report for one in progress.machines if one.report and one.state == "applied"]
    left = [report.seconds_left for report in applied]
    number = len(left)
    if not sys.stdin.isatty():
        return False
    sys.stderr.write(
        f"{number} machines closed it and are still connected. Keep it? Otherwise it opens again "
        f"in {say_countdown(min(left, default=0))}. Type keep: "
    )
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() == "keep"


def _keep(desk: Desk, api: ClosingApi, progress: Progress) -> None:
    closing = progress.closing
    if not progress.counts.get("applied") and not progress.counts.get("undone"):
        raise Refused(
            "No machine has said that it is closed there on trial, so there is nothing to keep. "
            f"{tell_progress(progress)}",
            reason="not_on_trial",
        )
    api.keep(closing.hash, sign_kept(desk, closing.hash, SystemClock().wall_ms()).raw)


def _await_kept(desk: Desk, api: ClosingApi, before: Progress) -> Progress:
    """Wait a moment for the machines to say that it stays closed."""

    documents, progress = desk.documents(), before
    for _ in range(40):
        detail = api.detail(before.closing.hash)
        progress = read_progress(detail, documents.policy, documents.entries)
        if not progress.counts.get("applied"):
            break
        time.sleep(0.5)
    return progress


def _newest_own(desk: Desk) -> str:
    """Return the newest closing that was signed with this folder: what is kept, unless another is
    named, is none that the server chooses. Raises `Refused` when there is none."""
    policy = desk.documents().policy
    for serial in reversed(desk.folder.numbers(FOLDER)):
        raw = desk.folder.read(f"documents/{FOLDER}/{serial}.json")
        closing = verify_closing_of_owner(raw, policy)
        if not closing.opens_all:
            return closing.hash
    raise Refused(
        "Nothing was closed with this folder. Name the closing. See: fleetward owner close list",
        reason="not_found",
    )


def _find(documents: OwnerDocuments, api: ClosingApi, named: str) -> Progress:
    if not named:
        rows = [row for row in api.rows() if not row.opens_all]
        if not rows:
            raise Refused("Nothing was ever closed.", reason="not_found")
        named = rows[0].id
    if len(named) < MIN_CLOSING:
        raise Malformed(f"Expected {MIN_CLOSING} digits of an id.", reason="bad_closing_id")
    return read_progress(api.detail(named.lower()), documents.policy, documents.entries)


def _tell(progress: Progress) -> str:
    lines: list[Any] = [tell_machine(one) for one in progress.machines]
    return "\n".join([tell_progress(progress), *lines])


def _read_ports(tcp: list[int], udp: list[int]) -> tuple[ClosedPort, ...]:
    for number in (*tcp, *udp):
        if not 0 < number < 65536:
            raise Malformed(f"Expected a port from 1 to 65535, got {number}.", reason="bad_port")
    ports = {ClosedPort("tcp", n) for n in tcp} | {ClosedPort("udp", n) for n in udp}
    return tuple(sorted(ports))


def _ask(words: str, *, yes: bool) -> None:
    """Have a person say yes. Raises `Refused` for anything else, and without a terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused("Nobody is here to say yes. In a script: --yes.", reason="not_confirmed")
    sys.stderr.write(words)
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() != "yes":
        raise Refused("Nothing was signed.", reason="not_confirmed")
