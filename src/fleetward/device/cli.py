"""`fleetward-agent`: the commands of a machine. Each imports only what it needs."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fleetward.trust.errors import FleetwardError
from fleetward.trust.sayings import say_person

if TYPE_CHECKING:
    from fleetward.device.status import AheadStatus, Status

DEFAULT_DATA: Final = Path("/var/lib/fleetward")
DONE, REFUSED = 0, 1


def main(argv: list[str] | None = None) -> int:
    """Run a command; return 0 when done, 1 when refused or failed. Misuse leaves with 2."""
    arguments = _make_parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except FleetwardError as e:
        _say(f"{e.message} [{e.reason}]")
        return REFUSED
    except PermissionError as e:
        _say(f"This needs the rights of whoever runs the agent: {e.strerror}: {e.filename}")
        return REFUSED


def _join(arguments: argparse.Namespace) -> int:
    from fleetward.device.joining import join_owner
    from fleetward.trust.words import device_words

    joined, before = join_owner(arguments.string, arguments.data.absolute(), arguments.name)
    _name_panel_user(arguments)
    words = device_words(joined.owner, joined.device)
    if arguments.json:
        _print_json(
            {
                "id": joined.device,
                "name": joined.name,
                "owner": joined.owner,
                "words": words,
                "joined_before": before,
            }
        )
    _say("This machine has joined already." if before else "This machine has joined.")
    _say(f"Its six words:  {words}")
    _say("Read them to the owner. The machine is confirmed when the owner's tool shows the same.")
    _say(f"Next: fleetward-agent run --data {arguments.data}   (or, as root: install)")
    return DONE


def _run(arguments: argparse.Namespace) -> int:
    from fleetward.device.identity.joined import GuardFiles
    from fleetward.device.run import Supervisor
    from fleetward.device.status import hold_folder

    data = arguments.data.absolute()
    files = GuardFiles(data / "guard")
    files.require_joined()
    with hold_folder(files.folder):
        """No other agent runs on it."""
    status = Supervisor(data, once=arguments.once, tell=lambda: _tell_waiting(files.folder)).run()
    if arguments.once:
        _tell_once(files.folder, status, as_json=arguments.json)
    return DONE if status == 0 else REFUSED


def _tell_waiting(folder: Path) -> None:
    from fleetward.device.status import read_last_words

    with contextlib.suppress(FleetwardError):
        now = read_last_words(folder)
        said = now.connection.server_says or now.connection.words
        _say(f"… {now.connection.state}, {now.journal.unproven} entries wait. {said}".rstrip())


def _tell_once(folder: Path, status: int, *, as_json: bool) -> None:
    from fleetward.device.status import read_last_words

    now = read_last_words(folder)
    if as_json:
        _print_json(now)
    if status == 0:
        _say(f"Looked, sent and proven up to entry {now.journal.acknowledged}.")
        return
    unproven = now.journal.unproven
    said = now.connection.server_says or now.connection.words or now.problem
    _say(f"Not everything is proven: {unproven} entries wait. {said}".rstrip())


def _status(arguments: argparse.Namespace) -> int:
    from fleetward.device.identity.joined import GuardFiles
    from fleetward.device.report import report_before_first_run
    from fleetward.device.status import read_status

    files = GuardFiles(arguments.data / "guard")
    files.require_joined()
    status = read_status(files.folder) if files.status.exists() else report_before_first_run(files)
    if arguments.json:
        _print_json(status)
        return DONE
    for line in (
        f"{status.name or status.device}   {status.words}",
        f"owner       {status.owner_name} ({status.state})",
        *([f"recovery    {status.recovery}"] if status.recovery else []),
        f"connection  {status.connection.state}  {status.connection.words}",
        *([f"server      {said}"] if (said := status.connection.server_says) else []),
        f"wall        {status.wall}",
        f"panel       {status.panel}",
        f"sight       {status.sight.words}",
        *([f"closed      {_say_closed(status)}"] if _say_closed(status) else []),
        f"journal     {status.journal.sequence} entries, {status.journal.unproven} not proven yet",
        f"record      {status.record.state}  {status.record.words}",
    ):
        sys.stdout.write(line.rstrip() + "\n")
    return DONE


def _say_closed(status: Status) -> str:
    """Return what the owner has had closed here, and what this machine lacks for it."""
    closing = status.closing
    left = f", opens again in {closing.seconds_left} s" if closing.seconds_left else ""
    said = f"{closing.closed}{left}" if closing.closed else ""
    return " ".join(part for part in (said, closing.problem, closing.missing) if part)


def _sessions(arguments: argparse.Namespace) -> int:
    from fleetward.device.identity.joined import GuardFiles
    from fleetward.device.status import read_status

    files = GuardFiles(arguments.data / "guard")
    files.require_joined()
    status = read_status(files.folder) if files.status.exists() else None
    sessions, ahead = (status.sessions, status.ahead) if status else ((), ())
    if arguments.json:
        _print_json({"sessions": sessions, "ahead": ahead})
        return DONE
    for one in sessions:
        state = f"ended: {one.ended_words or one.ended_by}" if one.ended_at_ms else "open"
        loud = "BREAK-GLASS: " if one.break_glass else ""
        sys.stdout.write(f"{loud}{one.words}   {say_person(one.person, one.org)}   {state}\n")
        sys.stdout.write(f"    {'; '.join(one.scopes)}\n")
        sys.stdout.write(f"    allowed by {', '.join(one.people)}; because: {one.reason}\n")
    if not sessions:
        _say("Nobody was in this machine.")
    for permission in ahead:
        sys.stdout.write(_say_ahead(permission))
    return DONE


def _say_ahead(given: AheadStatus) -> str:
    """Return who may come without asking, and when: lines for a person."""
    window = "all its windows are used"
    if given.windows_left:
        begin, end = (
            time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at_ms // 1000))
            for at_ms in (given.not_before_ms, given.not_after_ms)
        )
        window = f"next from {begin} to {end}, {given.windows_left} left"
    return (
        f"{given.words}   allowed ahead: {window}\n"
        f"    {', '.join(given.requesters)}: {'; '.join(given.scopes)}\n"
        f"    allowed by {', '.join(given.people)}; because: {given.reason}\n"
    )


def _tools(arguments: argparse.Namespace) -> int:
    from fleetward.device.posture.files import Root
    from fleetward.device.posture.tools import APPROVED, known_tools, read_approvals

    approvals = read_approvals(Root(Path("/")))
    if arguments.json:
        _print_json({"tools": known_tools(), "approved": approvals.tools,
                     "problem": approvals.problem})  # fmt: skip
        return DONE
    for tool in known_tools():
        given = approvals.tools.get(tool.id)
        said = f"   approved by {given.by}: {given.reason}" if given else ""
        sys.stdout.write(f"{tool.id:22} {tool.name}: {tool.why}{said}\n")
    sys.stdout.write(f"{approvals.problem or f'What is approved stands in {APPROVED}.'}\n")
    return DONE


def _verify(arguments: argparse.Namespace) -> int:
    from fleetward.device.audit.segments import Chain, Tip
    from fleetward.device.audit.verify import verify_journal
    from fleetward.device.identity.joined import GuardFiles
    from fleetward.device.identity.keys import load_identity
    from fleetward.device.state import StateFile

    files = GuardFiles(arguments.data / "guard")
    joined = files.require_joined()
    kept = StateFile(files.state).load()[0].last_cut
    newest = Tip(kept.sequence, bytes.fromhex(kept.head)) if kept else None
    key = load_identity(files.folder).public
    verdict = verify_journal(files.journal, Chain(key, joined.owner), newest)
    if arguments.json:
        _print_json(verdict)
    bad = verdict.first_bad
    if bad is None:
        _say(f"The journal is whole: {verdict.entries} entries in {verdict.batches} batches.")
        return DONE
    _say(f"The journal is not as it was written, from entry {bad.sequence}: {bad.words}")
    return REFUSED


def _install(arguments: argparse.Namespace) -> int:
    from fleetward.device.units import install

    lines = install(arguments.root, arguments.data, arguments.python)
    return _tell_lines([*_name_panel_user(arguments), *lines], as_json=arguments.json)


def _name_panel_user(arguments: argparse.Namespace) -> list[str]:
    """Open the panel to the user that a command names, if it names one."""
    if not arguments.panel_user:
        return []
    from fleetward.device.access.panel_user import name_panel_user

    return [name_panel_user(arguments.data.absolute(), arguments.panel_user)]


def _panel(arguments: argparse.Namespace) -> int:
    from fleetward.device.access.panel_command import run_panel

    wanted = (arguments.deed, arguments.subject)
    return run_panel(arguments.data.absolute(), wanted, as_json=arguments.json)


def _uninstall(arguments: argparse.Namespace) -> int:
    from fleetward.device.units import uninstall

    return _tell_lines(uninstall(arguments.root), as_json=arguments.json)


def _update(arguments: argparse.Namespace) -> int:
    from fleetward.device.updates import command

    data = arguments.data.absolute()
    if arguments.deed == "apply-bundle":
        if arguments.file is None:
            _say("Say which file: fleetward-agent update apply-bundle FILE")
            return REFUSED
        return command.run_bundle(data, arguments.file, as_json=arguments.json)
    run = command.run_check if arguments.deed == "check" else command.run_status
    return run(data, as_json=arguments.json)


def _tell_lines(lines: Iterable[str], *, as_json: bool) -> int:
    told = list(lines)
    for line in told:
        _say(line)
    if as_json:
        _print_json({"done": told})
    return DONE


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fleetward-agent", description="This machine's part: join an owner, run, show."
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    join = _add(
        verbs, "join", _join, "join the owner who handed over a join string",
        'join "$(cat join)" --data ~/machine --name pump-7',
    )  # fmt: skip
    join.add_argument("string", help="what `fleetward owner invite` printed")
    _add_panel_user(join)
    join.add_argument("--name", default="", help="how this machine is called; its host name if not")
    run = _add(verbs, "run", _run, "be this machine until SIGTERM", "run --data ~/machine")
    run.add_argument("--once", action="store_true", help="look, send, wait for proofs, and end")
    _add(verbs, "status", _status, "show how this machine stands", "status --data ~/machine --json")
    _add(
        verbs, "sessions", _sessions, "show who is and was in this machine",
        "sessions --data ~/machine --json",
    )  # fmt: skip
    panel = _add(
        verbs, "panel", _panel, "see who asks and who is inside; stop, refuse, press 'I am here'",
        "panel stop 3f9a01bc --data ~/machine",
    )  # fmt: skip
    panel.add_argument(
        "deed", nargs="?", choices=("stop", "refuse", "press"), help="without one: a screen"
    )
    panel.add_argument("subject", nargs="?", help="8 digits or more of what `--json` shows")
    _add(
        verbs, "tools", _tools, "show which remote desktop tools are found, and which are approved",
        "tools --json",
    )  # fmt: skip
    update = _add(
        verbs, "update", _update, "look for releases, apply a bundle from a stick, show how it is",
        "update apply-bundle /media/stick/kiosk-1.1.bundle --data ~/machine",
    )  # fmt: skip
    update.add_argument("deed", choices=("check", "apply-bundle", "status"))
    update.add_argument("file", nargs="?", type=Path, help="the bundle")
    journal = verbs.add_parser("journal", help="this machine's own record")
    journal_verbs = journal.add_subparsers(required=True, metavar="COMMAND")
    _add(
        journal_verbs, "verify", _verify, "check every entry and signature of the journal",
        "journal verify --data ~/machine",
    )  # fmt: skip
    for name, command, words in (
        ("install", _install, "run at every start of this machine, as systemd units"),
        ("uninstall", _uninstall, "stop that; what the agent wrote stays"),
    ):
        unit = _add(verbs, name, command, words, f"{name} --data {DEFAULT_DATA}")
        unit.add_argument("--root", type=Path, default=Path("/"), help="the tree to install into")
        if name == "install":
            _add_panel_user(unit)
            unit.add_argument("--python", default="", help="of an image: the Python that it has")
    return parser


def _add_panel_user(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--panel-user", default="", help="a user, as of the machine's own display, for the panel"
    )


def _add(
    verbs: Any, name: str, command: Callable[[argparse.Namespace], int], words: str, example: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=words, description=words, epilog=f"example: fleetward-agent {example}"
    )
    parser.add_argument(
        "--data", type=Path, default=DEFAULT_DATA, help=f"the data directory; else {DEFAULT_DATA}"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    parser.set_defaults(command=command)
    return parser


def _print_json(value: object) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def _say(words: str) -> None:
    sys.stderr.write(words + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
