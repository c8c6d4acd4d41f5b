"""`fleetward connect`: ask, wait for the owner's yes, and be there."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from fleetward.cli.access_options import (
    PLAIN,
    Arguments,
    As,
    AsJson,
    AskOwner,
    BreakGlass,
    CaseName,
    For,
    Machine,
    PassphraseFile,
    RunbookFile,
    open_api,
    open_folder,
    read_wanted_runbook,
)
from fleetward.cli.connect_browser import Browsing, browse, check_browsing
from fleetward.keyholder.access.asking import Wait, ask
from fleetward.keyholder.access.coming import enter_ahead, find_fit, list_ahead, say_next
from fleetward.keyholder.access.judging import Case
from fleetward.keyholder.access.learning import Learned
from fleetward.keyholder.access.requester_folder import RequesterFolder
from fleetward.keyholder.access.scope_words import parse_length
from fleetward.keyholder.access.server_rows import AccessApi
from fleetward.keyholder.access.session_run import (
    Done,
    Runner,
    Work,
    run_session,
    say_moved,
    wait_receipt,
)
from fleetward.keyholder.access.standing_rows import StandingApi
from fleetward.keyholder.access.telling import ENDED_WORDS, show_request
from fleetward.keyholder.access.wishing import (
    UNNAMED,
    Fronts,
    choose_scopes,
    fronts_of,
    rules_for,
)
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.runtime.clock import SystemClock
from fleetward.trust.access_serial import DEFAULT_BAUD
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.grants.request import Wish
from fleetward.trust.keys import Signer

connect_app = typer.Typer(**PLAIN)

OPTIONAL = ("--terminal", "--logs", "--files", "--serial")
"""Options whose value may be left out, where the policy allows only one."""


class _OptionalValues(TyperCommand):
    """A command that fills in the value of an option behind which nothing stands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `UNNAMED` where a value is left out, then parse as usual."""
        filled: list[str] = []
        for place, argument in enumerate(args):
            filled.append(argument)
            behind = args[place + 1 : place + 2]
            if argument in OPTIONAL and (not behind or behind[0].startswith("-")):
                filled.append(UNNAMED)
        return super().parse_args(ctx, filled)


@dataclass(frozen=True, slots=True)
class _Asking:
    """What a command says of the request."""

    machine: str
    request: str
    scopes: tuple[str, ...]
    length: str
    reason: str
    case: str
    runbook: bytes = b""
    break_glass: bool = False
    ask_owner: bool = False


@dataclass(frozen=True, slots=True)
class _How:
    """How a command goes about it."""

    passphrase_file: Path | None
    no_wait: bool
    as_json: bool
    browsing: Browsing


@connect_app.command(cls=_OptionalValues)
def connect(
    machine: Machine,
    terminal: Annotated[
        str, typer.Option("--terminal", help="A terminal as this user; may be left out; or root.")
    ] = "",
    port: Annotated[
        list[int] | None, typer.Option("--port", help="A TCP port of the machine; may repeat.")
    ] = None,
    http: Annotated[bool, typer.Option("--http", help="The port is a web page.")] = False,
    listen: Annotated[int, typer.Option("--listen", help="Local port; 0 takes a free one.")] = 0,
    stdio: Annotated[
        bool, typer.Option("--stdio", help="Join stdin and stdout with the port (ProxyCommand).")
    ] = False,
    logs: Annotated[
        str, typer.Option("--logs", help="Logs of this systemd unit; may be left out.")
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Go on with new lines.")] = False,
    lines: Annotated[int, typer.Option("--lines", min=0, help="So many last lines.")] = 200,
    files: Annotated[
        str, typer.Option("--files", help="Files below this folder of it; may be left out.")
    ] = "",
    lists: Annotated[list[str] | None, typer.Option("--list", help="List this folder.")] = None,
    gets: Annotated[list[str] | None, typer.Option("--get", help="Fetch this file.")] = None,
    puts: Annotated[list[Path] | None, typer.Option("--put", help="Put this local file.")] = None,
    into: Annotated[Path, typer.Option("--into", help="Where --get puts files.")] = Path(),
    to: Annotated[str, typer.Option("--to", help="Where --put puts files, there.")] = "",
    serial: Annotated[
        str, typer.Option("--serial", help="This serial port of it; may be left out.")
    ] = "",
    baud: Annotated[int, typer.Option("--baud", help="Speed of the serial port.")] = DEFAULT_BAUD,
    runbook: RunbookFile = None,
    argument: Arguments = None,
    scope: Annotated[list[str] | None, typer.Option("--scope", help="Ask for this too.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why. The owner reads it.")] = "",
    case: CaseName = "",
    length: For = "30m",
    break_glass: BreakGlass = False,
    request: Annotated[str, typer.Option("--request", help="Go on with this request.")] = "",
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Ask, print its id, and end.")] = False,
    ask_owner: AskOwner = False,
    browser: Annotated[
        bool, typer.Option("--browser", help="A page of this computer shows all of it.")
    ] = False,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="With --browser: only print the address.")
    ] = False,
    as_: As = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a session, wait for the owner's yes, and open it. `~.` or Ctrl-C leaves.

    fleetward connect pump-7 --terminal --reason "the pump does not start"

    fleetward connect pump-7 --port 8080 --http --listen 8080 --reason "look at its page"

    fleetward connect pump-7 --terminal root --break-glass --reason "it leaks, nobody answers"

    fleetward connect pump-7 --files --get logs/pump.log --reason "read its log"

    fleetward connect pump-7 --serial /dev/ttyUSB0 --baud 9600 --reason "talk to its controller"

    fleetward connect pump-7 --runbook bundle.runbook --argument day=2026-11-26 --reason "look"

    fleetward connect pump-7 --terminal --port 8080 --http --browser --reason "look at it"

    ssh -o ProxyCommand="fleetward connect pump-7 --port 2222 --stdio --reason update" pump-7
    """
    work = Work(listen, stdio, lines, follow, tuple(lists or ()), tuple(gets or ()),
                tuple(puts or ()), into, to)  # fmt: skip
    browsing = Browsing(browser, no_browser, listen)
    with refusals():
        wanted = read_wanted_runbook(runbook, argument)
        fronts = Fronts(
            terminal=terminal,
            ports=tuple(port or ()),
            http=http,
            logs=logs,
            files=files or (UNNAMED if lists or gets or puts else ""),
            write=bool(puts),
            serial=serial,
            baud=baud,
            runbooks=(wanted[0],) if wanted else (),
        )
        document = wanted[1] if wanted else b""
        asking = _Asking(machine, request, tuple(scope or ()), length, reason, case, document,
                         break_glass, ask_owner)  # fmt: skip
        check_browsing(browsing, work)
        if browser and break_glass:
            raise Refused(
                "BREAK-GLASS waits for a press at the machine, and opens in the terminal: leave "
                "out --browser.",
                reason="no_browser_here",
            )
        _check(fronts, work, asking, as_json and not browser)
        folder_ = open_folder(as_)
        how = _How(passphrase_file, no_wait, as_json, browsing)
        _connect(folder_, asking, (fronts, work), how)


def _check(fronts: Fronts, work: Work, asking: _Asking, as_json: bool) -> None:
    if work.stdio and len(fronts.ports) != 1:
        raise Refused("--stdio joins one port: name it by --port.", reason="no_port")
    if not asking.request and not asking.reason:
        raise Refused("Say why by --reason: the owner decides by it.", reason="no_reason")
    if as_json and (work.stdio or fronts.terminal or fronts.logs or fronts.serial):
        raise Refused(
            "A terminal, logs, a serial port and --stdio write to stdout themselves: --json has no "
            "place there.",
            reason="no_json_here",
        )


def _connect(
    folder: RequesterFolder,
    asking: _Asking,
    wanted: tuple[Fronts, Work],
    how: _How,
) -> None:
    api = open_api(folder)
    learned = folder.learn(api.client)
    entry = learned.find_machine(asking.machine)
    signer = folder.open_signer(how.passphrase_file)
    if asking.request:
        hash_ = folder.find_kept(asking.request)
        if folder.kept(hash_).device != entry.device:
            raise Refused("That request is for another machine.", reason="another_device")
    else:
        rules = rules_for(learned.judge.policy.access, break_glass=asking.break_glass)
        scopes = choose_scopes(wanted[0], asking.scopes, rules)
        wish = Wish(
            entry.device,
            scopes,
            parse_length(asking.length),
            asking.reason,
            asking.case,
            break_glass=asking.break_glass,
        )
        now_ms = SystemClock().wall_ms()
        ahead = list_ahead(StandingApi(api.client), learned, signer.public.key_id, entry.device)
        ask_owner = asking.ask_owner or asking.break_glass
        fit = None if ask_owner else find_fit(ahead, wish, now_ms)
        documents = (asking.runbook,) if asking.runbook else ()
        made = ask(folder, api, learned, wish, (signer, now_ms), documents)
        hash_ = made.hash
        loud = "BREAK-GLASS. " if asking.break_glass else ""
        say(f"{loud}Asked for {'; '.join(s.words() for s in scopes)}. Request {hash_[:16]}.")
        if fit is not None:
            say(f"You are {fit.words}. Nobody is asked.")
            enter_ahead(folder, (api, learned), made, fit, signer)
        elif later := say_next(ahead, wish, now_ms):
            say(later)
        if how.no_wait:
            emit({**show_request(made), "machine": entry.name}, how.as_json, hash_)
            return
    if how.browsing.wanted:
        browse(folder, (api, learned), hash_, signer, how.browsing, how.as_json)
        return
    try:
        granted = Wait(folder, api, hash_).until_granted(say)
        if granted.request.break_glass:
            granted = Wait(folder, api, hash_).until_pressed(say)
    except KeyboardInterrupt:
        say(f"No longer waiting. The request stands: --request {hash_[:16]} goes on with it.")
        raise SystemExit(1) from None
    _run(folder, (api, learned), granted, signer, wanted, how.as_json)


def _run(
    folder: RequesterFolder,
    near: tuple[AccessApi, Learned],
    case: Case,
    signer: Signer,
    wanted: tuple[Fronts, Work],
    as_json: bool,
) -> None:
    api, learned = near
    fronts, work = wanted
    if not fronts.any and case.grant is not None:
        fronts = fronts_of(case.grant.scopes)
    hash_ = case.request.hash
    private = folder.kept(hash_).private
    runner = Runner(say, _Meter(), lambda done: _tell_ready(done, as_json))
    opened, failed = True, False
    work = replace(work, keep=as_json)
    done: Done | None = None
    try:
        done = asyncio.run(run_session(api, case, (signer, private), (fronts, work), runner))
        failed = any(ran.words for ran in done.ran)
    except KeyboardInterrupt:
        say("Leaving.")
    except FleetwardError as e:
        failed = True
        opened = e.reason not in ("machine_silent", "bus_unreachable", "server_unreachable")
        say(f"{e.message} [{e.reason}]")
    if not opened:
        raise SystemExit(1)
    ended = wait_receipt(folder, api, learned, hash_, time.sleep)
    _tell_end(ended, done, as_json)
    if failed:
        raise SystemExit(1)


def _tell_ready(done: Done, as_json: bool) -> None:
    for port, address in done.listening.items():
        say(f"Port {port} of the machine is at {address}. Ctrl-C ends the session.")
    if done.listening and as_json:
        emit({"session": done.session, "listening": done.listening}, as_json, "")


def _tell_end(case: Case | None, done: Done | None, as_json: bool) -> None:
    if case is None or case.receipt is None:
        say("The session is over; the machine's receipt has not come yet.")
    else:
        say(f"The session is over: {ENDED_WORDS[case.receipt.ended_by]}.")
    for ran in done.ran if done is not None else ():
        say(ran.words or "Every step of the runbook ended well.")
    if done is None or not (done.files or done.moved or (done.ran and as_json)):
        return
    shown: dict[str, Any] = {
        "session": done.session,
        "files": done.files,
        "moved": say_moved(done.moved),
        "runbooks": [ran.to_json() for ran in done.ran],
    }
    lines = [f"{row['size']:>12}  {row['kind']:6}  {row['name']}" for row in done.files]
    lines += [f"{m.local}  {m.size} bytes  sha256 {m.sha256}" for m in done.moved]
    emit(shown, as_json, "\n".join(lines))


class _Meter:
    """Tells on a terminal how far a file got."""

    def __init__(self) -> None:
        self._told = 0.0

    def __call__(self, name: str, done: int, total: int) -> None:
        now = time.monotonic()
        if sys.stderr.isatty() and (now - self._told > 0.5 or done >= total):
            self._told = now
            sys.stderr.write(f"\r{name[:60]}: {done} of {total} bytes\x1b[K")
            if done >= total:
                sys.stderr.write("\n")
            sys.stderr.flush()
