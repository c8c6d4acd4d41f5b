"""Services, and the layers of defence around each, from /proc and systemd's own folders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from fleetward.device.posture.files import Root, show_text
from fleetward.device.posture.processes import Process, Snapshot
from fleetward.device.posture.programs import list_steady
from fleetward.wire.posture import Layers, Section, Service, Sight

MAX_SERVICES: Final = 5000
_UNIT_FOLDERS: Final = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_WANTS: Final = (".wants", ".requires")
_SECCOMP_FILTER: Final = "2"


def judge_layers(process: Process, first: Process | None, last_capability: int) -> Layers:
    """Read the layers of one process; namespaces are those that it does not share with init."""
    status = process.status
    if not status:
        return Layers()
    effective = int(status.get("CapEff", "0"), 16)
    bounding = int(status.get("CapBnd", "0"), 16)
    whole = (1 << (last_capability + 1)) - 1
    own: tuple[str, ...] | None = None
    if process.namespaces is not None and first is not None and first.namespaces is not None:
        shared = first.namespaces
        own = tuple(sorted(n for n, v in process.namespaces.items() if shared.get(n, v) != v))
    return Layers(
        own_user=process.uid != 0,
        no_new_privileges=status["NoNewPrivs"] == "1" if "NoNewPrivs" in status else None,
        seccomp=status["Seccomp"] == _SECCOMP_FILTER if "Seccomp" in status else None,
        capabilities_dropped=effective & whole != whole or bounding & whole != whole,
        namespaces=own,
        label=process.label,
    )


def find_enabled(root: Root) -> set[str]:
    """Return the service units that systemd starts by itself."""
    enabled: set[str] = set()
    for folder in _UNIT_FOLDERS:
        for entry in root.entries(folder):
            if entry.endswith(_WANTS):
                names = root.entries(f"{folder}/{entry}")
                enabled.update(name for name in names if name.endswith(".service"))
    return enabled


def _main_process(group: Iterable[Process]) -> Process:
    return min(group, key=lambda process: (process.started_ticks, process.pid))


def _row(
    unit: str, main: Process, layers: Layers, names: Mapping[int, str], packages: Mapping[str, str]
) -> Service:
    path = main.executable
    return Service(
        unit=show_text(unit),
        state="running",
        user=names.get(main.uid, str(main.uid)),
        executable=None if path is None else show_text(path),
        package=None if path is None else packages.get(path),
        layers=layers,
    )


def _group_units(snapshot: Snapshot) -> dict[str, list[Process]]:
    units: dict[str, list[Process]] = {}
    for process in snapshot.processes:
        if process.unit is not None and process.unit.endswith(".service"):
            units.setdefault(process.unit, []).append(process)
    return units


def _group_daemons(snapshot: Snapshot) -> dict[str, list[Process]]:
    """Without systemd: programs that lead their session, have no terminal, and last."""
    daemons: dict[str, list[Process]] = {}
    for process in list_steady(snapshot):
        if process.session == process.pid and not process.terminal:
            daemons.setdefault(process.name, []).append(process)
    return daemons


def collect_services(
    root: Root,
    snapshot: Snapshot,
    init: str,
    names: Mapping[int, str],
    packages: Mapping[str, str],
) -> Section[Service]:
    """List units of systemd, running or enabled; elsewhere, daemons by their name."""
    first = next((process for process in snapshot.processes if process.pid == 1), None)
    systemd = init == "systemd"
    enabled = find_enabled(root) if systemd else set()
    groups = _group_units(snapshot) if systemd else _group_daemons(snapshot)
    rows = []
    for unit, group in sorted(groups.items())[:MAX_SERVICES]:
        main = _main_process(group)
        layers = judge_layers(main, first, snapshot.last_capability)
        starts = (unit in enabled or _template(unit) in enabled) if systemd else None
        row = _row(unit, main, layers, names, packages)
        rows.append(msgspec.structs.replace(row, enabled=starts))
    for unit in sorted(enabled - set(groups))[: MAX_SERVICES - len(rows)]:
        rows.append(Service(unit=show_text(unit), state="stopped", enabled=True))
    doubts = []
    if not systemd:
        doubts.append("Not systemd: services are told from long-running processes.")
    if not snapshot.root:
        doubts.append("Executables and namespaces of other users are not visible without root.")
    elif any(row.state == "running" and row.executable is None for row in rows):
        doubts.append("The executables of some services are not visible.")
    sight = Sight("partial", " ".join(doubts)) if doubts else Sight("full")
    return Section(sight, tuple(sorted(rows, key=lambda row: row.unit)))


def _template(unit: str) -> str:
    name, at, _ = unit.partition("@")
    return f"{name}@.service" if at else unit
