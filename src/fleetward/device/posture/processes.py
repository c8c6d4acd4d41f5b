"""What the kernel says of the processes and sockets, read before any wall is raised.

Only /proc is read, and nothing of it is interpreted further than its own fixed format, so that
this may run with more rights than the parsing of files that follows it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from fleetward.device.posture.files import Root, show_text
from fleetward.trust.errors import FleetwardError

MAX_PROCESSES: Final = 20_000
MAX_DESCRIPTORS: Final = 100_000
"""Of one process; a server with more is looked at in part."""
MAX_TABLE_BYTES: Final = 64 * 1024 * 1024
TABLES: Final = ("tcp", "tcp6", "udp", "udp6")
NAMESPACES: Final = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
_KERNEL_THREAD_FLAG: Final = 0x00200000
_UNIT: Final = re.compile(r"/([^/]+\.(?:service|scope))(?=/|$)")
_STATUS: Final = re.compile(rb"^(Uid|NoNewPrivs|Seccomp|CapEff|CapBnd):\t(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Process:
    """One process. `None` means that the fact was not visible."""

    pid: int
    name: str
    uid: int
    session: int
    terminal: bool
    started_ticks: int
    executable: str | None
    """The raw path, as the kernel gives it; show it through `show_text` only."""
    replaced: bool
    """The file that it was started from is no longer there."""
    file_id: tuple[int, int] | None
    unit: str | None
    socket_inodes: frozenset[int] | None
    namespaces: Mapping[str, str] | None
    status: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """All processes and the raw socket tables at one moment."""

    root: bool
    processes: tuple[Process, ...]
    tables: Mapping[str, bytes]
    uptime_ticks: int
    last_capability: int
    mounts: bytes
    broken: tuple[str, ...] = ()


def _read_raw(path: str, limit: int = 1 << 20) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        blocks = []
        left = limit
        while left > 0 and (block := os.read(descriptor, min(left, 1 << 16))):
            blocks.append(block)
            left -= len(block)
        return b"".join(blocks)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _read_link(path: str) -> str | None:
    try:
        return os.readlink(path)  # noqa: PTH115 - some thousand times in a look
    except (OSError, ValueError):
        return None


def read_socket_inodes(base: str) -> frozenset[int] | None:
    """Return the inodes of a process's sockets, or None when its descriptors are closed to us."""
    inodes = set()
    try:
        with os.scandir(f"{base}/fd") as listing:
            for entry in islice(listing, MAX_DESCRIPTORS):
                target = _read_link(entry.path)
                if target is not None and target.startswith("socket:["):
                    inodes.add(int(target[8:-1]))
    except OSError:
        return None
    return frozenset(inodes)


def read_unit(cgroup: bytes | None) -> str | None:
    """Return the innermost service or scope of systemd that a cgroup file names."""
    for line in (cgroup or b"").decode("utf-8", "replace").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" or controllers == "name=systemd":
            units = _UNIT.findall(path)
            if units:
                return show_text(units[-1])
    return None


def _read_namespaces(base: str, names: Sequence[str]) -> dict[str, str] | None:
    found = {name: _read_link(f"{base}/ns/{name}") for name in names}
    seen = {name: value for name, value in found.items() if value is not None}
    return seen or None


def _file_id(base: str) -> tuple[int, int] | None:
    try:
        status = Path(f"{base}/exe").stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def read_process(proc: str, pid: int, *, deep: bool) -> Process | None:
    """Return one process, or None when it is a kernel thread or has gone."""
    base = f"{proc}/{pid}"
    stat = _read_raw(f"{base}/stat")
    if stat is None or b")" not in stat:
        return None
    head, _, tail = stat.rpartition(b")")
    fields = tail.split()
    if len(fields) < 20 or int(fields[6]) & _KERNEL_THREAD_FLAG:
        return None
    raw_status = _read_raw(f"{base}/status") or b""
    status = {key.decode(): value.decode().strip() for key, value in _STATUS.findall(raw_status)}
    executable = _read_link(f"{base}/exe")
    replaced = executable is not None and executable.endswith(" (deleted)")
    if executable is not None and replaced:
        executable = executable.removesuffix(" (deleted)")
    label = _read_raw(f"{base}/attr/current") if deep else None
    return Process(
        pid=pid,
        name=show_text(head.partition(b"(")[2]),
        uid=int((status.get("Uid") or "0").split()[0]),
        session=int(fields[3]),
        terminal=int(fields[4]) != 0,
        started_ticks=int(fields[19]),
        executable=executable,
        replaced=replaced,
        file_id=_file_id(base) if deep else None,
        unit=read_unit(_read_raw(f"{base}/cgroup")),
        socket_inodes=read_socket_inodes(base),
        namespaces=_read_namespaces(base, NAMESPACES if deep else ("net",)),
        status=status,
        label=None if label is None else show_text(label.strip(b"\0\n ")),
    )


def take_snapshot(root: Root, *, deep: bool = True) -> Snapshot:
    """Read every process and the socket tables; a process that goes meanwhile is left out.

    `deep=False` leaves out what only services and programs need.
    """
    proc = str(root.at("/proc"))
    pids = sorted(int(name) for name in root.entries("/proc") if name.isdecimal())
    broken: list[str] = []
    if len(pids) > MAX_PROCESSES:
        broken.append(f"Only the first {MAX_PROCESSES} of {len(pids)} processes were looked at.")
    processes = []
    for pid in pids[:MAX_PROCESSES]:
        try:
            process = read_process(proc, pid, deep=deep)
        except (ValueError, IndexError):
            broken.append(f"The entry of process {pid} has an unknown format.")
            continue
        if process is not None:
            processes.append(process)
    return Snapshot(
        root=os.geteuid() == 0,
        processes=tuple(processes),
        tables=read_tables(f"{proc}/self/net" if str(root.path) == "/" else f"{proc}/net"),
        uptime_ticks=_uptime_ticks(root),
        last_capability=int(root.read_word("/proc/sys/kernel/cap_last_cap") or "40"),
        mounts=_read_raw(f"{proc}/self/mountinfo") or b"",
        broken=tuple(broken[:20]),
    )


def read_tables(folder: str) -> dict[str, bytes]:
    """Return the raw socket tables under a `net` folder of /proc; absent ones are left out.

    `/proc/<pid>/net` shows the network of that process, also to a reader that has none itself.
    """
    tables = {name: _read_raw(f"{folder}/{name}", MAX_TABLE_BYTES) for name in TABLES}
    return {name: table for name, table in tables.items() if table is not None}


def _uptime_ticks(root: Root) -> int:
    try:
        return int(float(root.read("/proc/uptime").split()[0]) * os.sysconf("SC_CLK_TCK"))
    except (FleetwardError, ValueError, IndexError):
        return 0
