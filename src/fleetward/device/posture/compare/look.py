"""One look at the machine, before or after a session.

    python -m fleetward.device.posture.compare.look [--files FOLDER] [--root /]

Started through `fleetward.device.confine`: what the kernel says of processes and sockets is read
first, everything else behind the walls. The key for the marks of passwords comes over the standard
input, so that it stands in no argument. Nothing is changed, executed, or followed.
"""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from fleetward.device.posture.compare import accounts as who
from fleetward.device.posture.compare import running, startup
from fleetward.device.posture.compare.reading import Reader
from fleetward.device.posture.compare.snapshot import (
    MAX_ROWS,
    Row,
    pack_snapshot,
)
from fleetward.device.posture.compare.snapshot import Snapshot as Look
from fleetward.device.posture.compare.tree import Forest, TreeRoot, is_raised
from fleetward.device.posture.files import Root, show_text
from fleetward.device.posture.processes import Snapshot, take_snapshot
from fleetward.device.posture.sockets import list_endpoints
from fleetward.device.posture.tools import (
    MAX_STATUS_BYTES,
    STATUS,
    Approvals,
    Traces,
    find_tools,
    names_of_packages,
    places_of_tools,
    read_approvals,
)
from fleetward.trust.errors import FleetwardError

KEY_BYTES: Final = 32
MAX_FOLDERS: Final = 16
"""Folders of the session's own that are walked through."""
MAX_UNSEEN: Final = 40

# Depth, entries. Folders with programs keep those with raised rights alone.
_ROOTS: Final = (
    TreeRoot("/etc", 6, 8000),
    TreeRoot("/usr/local", 4, 8000, read=False),
    TreeRoot("/opt", 4, 3000, read=False),
)
_PROGRAMS: Final = (
    TreeRoot("/usr/bin", 1, 6000, read=False, marked=True),
    TreeRoot("/usr/sbin", 1, 3000, read=False, marked=True),
    TreeRoot("/usr/libexec", 3, 2000, read=False, marked=True),
    TreeRoot("/usr/lib/openssh", 1, 200, read=False, marked=True),
    TreeRoot("/usr/lib/dbus-1.0", 1, 200, read=False, marked=True),
    TreeRoot("/usr/lib/polkit-1", 1, 200, read=False, marked=True),
    TreeRoot("/tmp", 2, 3000, read=False, marked=True),  # noqa: S108 - where things are hidden
    TreeRoot("/var/tmp", 2, 2000, read=False, marked=True),  # noqa: S108
    TreeRoot("/dev/shm", 2, 1000, read=False, marked=True),  # noqa: S108
)
_PRIVATE: Final = b"/systemd-private-"
"""In the table of mounts, where systemd gave a service a `/tmp` of its own (PrivateTmp=)."""
_OF_SESSION: Final = (6, 4000)
_OF_HOME: Final = (3, 2000)


@dataclass(frozen=True)
class Before:
    """What was read before the walls were raised."""

    kernel: Snapshot
    key: bytes


def parse_request(arguments: Sequence[str]) -> tuple[Path, tuple[str, ...]]:
    """Read the command line; leaves with status 2 when it is not understood."""
    parser = argparse.ArgumentParser(prog="look", description="Look at this machine once.")
    parser.add_argument("--root", type=Path, default=Path("/"))
    parser.add_argument("--files", action="append", default=[], help="a folder of the session")
    options = parser.parse_args(arguments)
    return options.root, tuple(options.files[:MAX_FOLDERS])


def before_walls(arguments: Sequence[str]) -> Before:
    """Read the key and the kernel's tables; parse no file."""
    base, _ = parse_request(arguments)
    key = os.read(0, KEY_BYTES) if not os.isatty(0) else b""
    return Before(take_snapshot(Root(base), deep=False), key)


def after_walls(arguments: Sequence[str], prepared: Before) -> bytes:
    """Look at everything else, and return the packed look."""
    base, folders = parse_request(arguments)
    return pack_snapshot(look_at_machine(base, folders, prepared))


def look_at_machine(base: Path, folders: Iterable[str], prepared: Before) -> Look:
    """Return one look. A part that fails is named in `unseen`, and costs no other."""
    reader = Reader(base, prepared.key)
    people = who.read_accounts(reader)
    homes = who.list_homes(reader, people)
    names = {account.uid: show_text(account.name) for account in reversed(people)}
    kernel = prepared.kernel
    forest = Forest(reader)
    if _PRIVATE in kernel.mounts:
        reader.say("Temporary folders: the agent's unit has its own, and sees no others.")
    roots = [TreeRoot(folder, *_OF_SESSION) for folder in folders]
    roots += [*_ROOTS, *(TreeRoot(home, *_OF_HOME) for home in homes), *_PROGRAMS]
    _try(reader, "files", lambda: forest.walk(roots))
    units: list[dict[str, Row]] = []
    _try(reader, "unit", lambda: units.extend(startup.look_at_units(reader, homes)))
    every = startup.homes_of_all(people)
    makers: dict[str, Callable[[], Mapping[str, Row]]] = {
        "user": lambda: who.look_at_users(reader),
        "group": lambda: who.look_at_groups(reader),
        "key": lambda: who.look_at_keys(reader, people),
        "sudo": lambda: who.look_at_sudo(reader),
        "cron": lambda: startup.look_at_cron(reader),
        "at": lambda: startup.look_at_jobs(reader),
        "unit": lambda: units[0] if units else {},
        "start": lambda: units[1] if units else {},
        "boot": lambda: startup.look_at_files(reader, "boot", []),
        "preload": lambda: startup.look_at_preload(reader),
        "shell": lambda: startup.look_at_files(reader, "shell", every),
        "pam": lambda: startup.look_at_files(reader, "pam", []),
        "sshd": lambda: startup.look_at_files(reader, "sshd", []),
        "socket": lambda: running.look_at_sockets(kernel, names),
        "program": lambda: running.look_at_programs(kernel, names),
        "module": lambda: running.look_at_modules(reader),
        "raised": lambda: look_at_raised(forest),
        "tool": lambda: look_at_tools(base, reader, kernel, units),
    }
    facts: dict[str, dict[str, Row]] = {}
    for kind, make in makers.items():
        _try(reader, kind, partial(_put, facts, reader, kind, make))
    unseen = list(reader.unseen)
    if len(unseen) > MAX_UNSEEN:
        unseen = [*unseen[: MAX_UNSEEN - 1], f"{len(unseen) - MAX_UNSEEN + 1} places more."]
    return Look(kernel.root, facts, forest.folders, sorted(set(forest.partial)), unseen)


def look_at_raised(forest: Forest) -> dict[str, Row]:
    """Return programs that give whoever starts them another's rights: mode, owner, group."""
    rows: dict[str, Row] = {}
    for path, found in [*forest.folders.items(), *forest.marked.items()]:
        for name, state in found.items():
            if is_raised(state.mode):
                mode = f"{stat.S_IMODE(state.mode):04o}"
                mark = f"{state.inode}.{state.size}.{state.mtime_ns}.{state.ctime_ns}"
                rows[show_text(f"{path.rstrip('/')}/{name}", 1000)] = (
                    mode, str(state.uid), str(state.gid), mark,
                )  # fmt: skip
    return rows


def look_at_tools(
    base: Path, reader: Reader, kernel: Snapshot, units: Sequence[Mapping[str, Row]]
) -> dict[str, Row]:
    """Return tools by which others reach in: name, how it is known, who approved it, and why."""
    approvals = read_approvals(Root(base))
    if approvals.problem:
        reader.say(approvals.problem)
    traces = Traces(
        packages=names_of_packages(reader.read(STATUS, MAX_STATUS_BYTES) or b""),
        programs={process.name for process in kernel.processes},
        paths=[path for path in places_of_tools() if reader.state(path) is not None],
        units={path.rsplit("/", 1)[-1] for rows in units[:1] for path in rows},
        ports=_reachable(kernel),
    )
    return _rows_of_tools(traces, approvals)


def _rows_of_tools(traces: Traces, approvals: Approvals) -> dict[str, Row]:
    return {
        tool.id: (tool.name, tool.how, tool.approved_by, tool.reason)
        for tool in find_tools(traces, approvals)
    }


def _reachable(kernel: Snapshot) -> set[int]:
    ends = list_endpoints(kernel)[0]
    return {end.port for end in ends if end.exposure != "loopback"}


def _put(
    facts: dict[str, dict[str, Row]],
    reader: Reader,
    kind: str,
    make: Callable[[], Mapping[str, Row]],
) -> None:
    rows = make()
    if len(rows) > MAX_ROWS:
        reader.say(f"More than {MAX_ROWS} rows of the kind {kind}.")
    facts[kind] = dict(list(rows.items())[:MAX_ROWS])


def _try(reader: Reader, kind: str, look: Callable[[], object]) -> None:
    """Run one part; this is the named boundary at which every failure of a part ends."""
    try:
        look()
    except FleetwardError as e:
        reader.say(f"{kind}: {e.message}")
    except MemoryError:
        reader.say(f"{kind}: looking took more memory than is allowed.")
    except Exception as e:  # noqa: BLE001 - named in the look, see above
        reader.say(f"{kind}: looking failed: {type(e).__name__}: {e}")
