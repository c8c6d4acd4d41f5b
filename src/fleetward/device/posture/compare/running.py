"""What runs and listens at this moment, from what the kernel said before the walls were raised."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from fleetward.device.confine import STRANGER
from fleetward.device.posture.compare.reading import Reader
from fleetward.device.posture.compare.snapshot import MAX_TEXT, Row
from fleetward.device.posture.files import show_text
from fleetward.device.posture.processes import Process, Snapshot
from fleetward.device.posture.sockets import list_endpoints, map_owners

STEADY_SECONDS: Final = 1
"""What was started less than this ago may end at once: it is not called a running program."""
MAX_MODULES: Final = 2000


def look_at_sockets(kernel: Snapshot, names: Mapping[int, str]) -> dict[str, Row]:
    """Return listening sockets: exposure, program, executable, user."""
    owners = map_owners(kernel)
    rows: dict[str, Row] = {}
    for end in list_endpoints(kernel)[0]:
        owner = owners.get(end.inode)
        name = owner.name if owner is not None else ""
        executable = (owner.executable if owner is not None else None) or ""
        user = names.get(end.uid if owner is None else owner.uid, str(end.uid))
        rows[f"{end.proto[:3]} {end.address} port {end.port}"] = (
            end.exposure, show_text(name, MAX_TEXT), show_text(executable, MAX_TEXT), user,
        )  # fmt: skip
    return rows


def look_at_programs(kernel: Snapshot, names: Mapping[int, str]) -> dict[str, Row]:
    """Return running programs, each once a user: name, executable, user. Looks are left out."""
    ticks = os.sysconf("SC_CLK_TCK") * STEADY_SECONDS
    rows: dict[str, Row] = {}
    for process in kernel.processes:
        ours = process.uid == STRANGER or process.pid == os.getpid()
        if not ours and kernel.uptime_ticks - process.started_ticks >= ticks:
            row = _row(process, names)
            rows[show_text(" ".join(row), MAX_TEXT)] = row
    return rows


def look_at_modules(reader: Reader) -> dict[str, Row]:
    """Return the kernel's modules by name."""
    lines = [line.split(None, 1)[0] for line in reader.lines("/proc/modules") if line.split()]
    return dict.fromkeys(lines[:MAX_MODULES], ())


def _row(process: Process, names: Mapping[int, str]) -> Row:
    user = names.get(process.uid, str(process.uid))
    executable = show_text(process.executable or "", MAX_TEXT)
    if process.replaced:
        executable += " (its file is gone)"
    return (process.name, executable, user)
