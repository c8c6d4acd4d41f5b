"""Looking at real processes through /proc: who descends from whom, and which sockets they have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

LISTENING: Final = "0A"
"""TCP_LISTEN, as /proc/net/tcp writes it."""
TABLES: Final = ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6")


@dataclass(frozen=True)
class Sighting:
    """One network socket of one process."""

    pid: int
    table: str
    local: str
    state: str


def family_of(root: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def name_of(pid: int) -> str:
    """Return the kernel's name of a process, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def sockets_of(pid: int) -> list[Sighting]:
    """Return the network sockets of a process, from the kernel's tables."""
    inodes, found = _inodes_of(pid), []
    for table in TABLES:
        try:
            lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and fields[9] in inodes:
                found.append(Sighting(pid, table, fields[1], fields[3]))
    return found


def open_doors(root: int) -> list[Sighting]:
    """Return what a stranger could send to: listening TCP, and any UDP or raw socket."""
    return [
        seen
        for pid in family_of(root)
        for seen in sockets_of(pid)
        if not seen.table.startswith("tcp") or seen.state == LISTENING
    ]


def _inodes_of(pid: int) -> set[str]:
    found = set()
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(descriptor.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(target[len("socket:[") : -1])
    except OSError:
        pass
    return found
