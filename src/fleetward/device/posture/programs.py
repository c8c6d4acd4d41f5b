"""Running programs: how each was built, and by what it was installed. Network-facing first."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Final

from fleetward.device.posture.elf import judge_elf
from fleetward.device.posture.files import Root, show_text
from fleetward.device.posture.processes import Process, Snapshot
from fleetward.device.posture.sockets import list_endpoints, map_owners
from fleetward.trust.errors import FleetwardError
from fleetward.wire.posture import Exposure, Program, Section, Sight

STEADY_SECONDS: Final = 60
"""A shorter life is a command that somebody typed, not what the machine runs."""
MAX_PROGRAMS: Final = 2000
_WIDTH: Final[dict[Exposure, int]] = {"loopback": 1, "lan": 2, "all": 3}


def list_steady(snapshot: Snapshot) -> list[Process]:
    """Return the processes that listen or have run for a minute."""
    limit = snapshot.uptime_ticks - STEADY_SECONDS * os.sysconf("SC_CLK_TCK")
    listening = set(map_exposures(snapshot))
    return [
        process
        for process in snapshot.processes
        if process.pid in listening or process.started_ticks <= limit
    ]


def map_exposures(snapshot: Snapshot) -> dict[int, Exposure]:
    """Return by process id the widest exposure among the sockets that it listens on."""
    owners = map_owners(snapshot)
    widest: dict[int, Exposure] = {}
    for endpoint in list_endpoints(snapshot)[0]:
        owner = owners.get(endpoint.inode)
        if owner is None:
            continue
        before = widest.get(owner.pid)
        if before is None or _WIDTH[endpoint.exposure] > _WIDTH[before]:
            widest[owner.pid] = endpoint.exposure
    return widest


def _group(processes: Iterable[Process]) -> dict[str, list[Process]]:
    groups: dict[str, list[Process]] = {}
    for process in processes:
        if process.executable is not None:
            groups.setdefault(process.executable, []).append(process)
    return groups


def _judge(
    root: Root,
    path: str,
    group: list[Process],
    network: Exposure | None,
    package: str | None,
    names: Mapping[int, str],
) -> Program:
    users = {names.get(process.uid, str(process.uid)) for process in group}
    blank = Program(
        executable=show_text(path),
        users=tuple(sorted(users)[:64]),
        network=network or "",
        canary="unknown",
        nx="unknown",
        pie="unknown",
        relro="unknown",
        fortify="unknown",
        package=package,
    )
    if path.startswith("/memfd:"):
        return _noted(blank, "It runs from memory and has no file.")
    if any(process.replaced for process in group):
        return _noted(blank, "Its file was replaced since it started; it needs a restart.")
    try:
        descriptor = root.open(path)
    except FleetwardError:
        return _noted(blank, "Its file is not visible from here.")
    try:
        status = os.fstat(descriptor)
        known = {process.file_id for process in group} - {None}
        if known and (status.st_dev, status.st_ino) not in known:
            return _noted(blank, "It runs from another file tree, such as a container.")
        flags = judge_elf(descriptor)
    except FleetwardError as error:
        return _noted(blank, f"Its file cannot be judged: {show_text(error.message)}.")
    except OSError as error:
        return _noted(blank, f"Its file cannot be read: {error.strerror}.")
    finally:
        os.close(descriptor)
    return Program(
        executable=blank.executable,
        users=blank.users,
        network=blank.network,
        canary=flags.canary,
        nx=flags.nx,
        pie=flags.pie,
        relro=flags.relro,
        fortify=flags.fortify,
        package=package,
        note="Static: canary and FORTIFY cannot be told." if flags.static else "",
    )


def _noted(program: Program, note: str) -> Program:
    return Program(
        **{name: getattr(program, name) for name in Program.__struct_fields__ if name != "note"},
        note=show_text(note),
    )


def collect_programs(
    root: Root, snapshot: Snapshot, names: Mapping[int, str], packages: Mapping[str, str]
) -> Section[Program]:
    """Judge every executable that has run for a minute or listens."""
    exposures = map_exposures(snapshot)
    steady = list_steady(snapshot)
    rows = []
    for path, group in sorted(_group(steady).items())[:MAX_PROGRAMS]:
        widest = max(
            (exposures[process.pid] for process in group if process.pid in exposures),
            key=lambda exposure: _WIDTH[exposure],
            default=None,
        )
        rows.append(_judge(root, path, group, widest, packages.get(path), names))
    rows.sort(
        key=lambda row: (
            -_WIDTH[row.network] if row.network else 0,
            row.package or "~",
            row.executable,
        )
    )
    hidden = sum(1 for process in steady if process.executable is None)
    if hidden:
        how = "" if snapshot.root else " without root"
        words = f"The programs of {_coarse(hidden)} processes are not visible{how}."
        return Section(Sight("partial", words), tuple(rows))
    return Section(Sight("full"), tuple(rows))


def _coarse(count: int) -> str:
    """Round, so that one process more is not another document."""
    return "some" if count < 10 else "many"
