"""Sockets that wait for others: who opened them, and from where they can be reached."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

from fleetward.device.posture.files import show_text
from fleetward.device.posture.processes import Process, Snapshot
from fleetward.wire.posture import (
    MAX_PEERS,
    Crowd,
    Exposure,
    Peer,
    Protocol,
    Section,
    Sight,
    Socket,
)

MAX_SOCKETS: Final = 10_000
_TCP_LISTEN: Final = b"0A"
_UDP_UNCONNECTED: Final = b"07"
_TCP_ESTABLISHED: Final = b"01"
_PROTOCOLS: Final[tuple[Protocol, ...]] = get_args(Protocol)


@dataclass(frozen=True)
class Endpoint:
    """One listening row of a socket table of the kernel."""

    proto: Protocol
    address: str
    port: int
    exposure: Exposure
    uid: int
    inode: int


def decode_address(text: bytes) -> str:
    """Return an address from the kernel's hexadecimal words in its own byte order.

    Raises ValueError on anything but 8 or 32 digits.
    """
    if len(text) not in (8, 32):
        raise ValueError("expected 8 or 32 hexadecimal digits")
    words = (int(text[at : at + 8], 16) for at in range(0, len(text), 8))
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    return str(ipaddress.ip_address(packed))


def judge_exposure(address: str) -> Exposure:
    """Say from where a bound address can be reached: this machine, its LAN, or anywhere."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if parsed.is_loopback:
        return "loopback"
    if parsed.is_unspecified or parsed.is_global:
        return "all"
    return "lan"


def parse_table(proto: Protocol, table: bytes) -> tuple[list[Endpoint], int]:
    """Return the waiting sockets of a table of /proc/net and the number of unreadable lines.

    A UDP socket waits for anyone when it is connected to nobody.
    """
    wanted = _TCP_LISTEN if proto.startswith("tcp") else _UDP_UNCONNECTED
    found: list[Endpoint] = []
    broken = 0
    for line in table.split(b"\n")[1:]:
        fields = line.split(None, 10)
        if not fields:
            continue
        try:
            if fields[3] != wanted:
                continue
            address, _, port = fields[1].partition(b":")
            shown = decode_address(address)
            endpoint = Endpoint(
                proto, shown, int(port, 16), judge_exposure(shown), int(fields[7]), int(fields[9])
            )
        except (ValueError, IndexError):
            broken += 1
            continue
        if endpoint.port and len(found) < MAX_SOCKETS:
            found.append(endpoint)
    return found, broken


def list_endpoints(snapshot: Snapshot) -> tuple[list[Endpoint], int]:
    """Return the waiting sockets of all tables and the number of unreadable lines."""
    found: list[Endpoint] = []
    broken = 0
    for proto in _PROTOCOLS:
        rows, bad = parse_table(proto, snapshot.tables.get(proto, b""))
        found += rows
        broken += bad
    return found, broken


def map_owners(snapshot: Snapshot) -> dict[int, Process]:
    """Return by socket inode the process that has held it the longest."""
    owners: dict[int, Process] = {}
    for process in sorted(snapshot.processes, key=lambda row: (row.started_ticks, row.pid)):
        for inode in process.socket_inodes or ():
            owners.setdefault(inode, process)
    return owners


def _row(
    endpoint: Endpoint,
    owner: Process | None,
    names: Mapping[int, str],
    packages: Mapping[str, str],
) -> Socket:
    user = names.get(endpoint.uid, str(endpoint.uid))
    executable = owner.executable if owner is not None else None
    return Socket(
        proto=endpoint.proto,
        address=endpoint.address,
        port=endpoint.port,
        exposure=endpoint.exposure,
        process=owner.name if owner is not None else None,
        executable=None if executable is None else show_text(executable),
        user=user if owner is None else names.get(owner.uid, str(owner.uid)),
        unit=owner.unit if owner is not None else None,
        package=packages.get(executable) if executable is not None else None,
    )


def _judge_sight(snapshot: Snapshot, unowned: int, broken: int) -> Sight:
    doubts = list(snapshot.broken[:1])
    missing = [proto for proto in ("tcp", "udp") if proto not in snapshot.tables]
    if len(missing) == 2:
        return Sight("none", "The kernel's socket tables are not visible.")
    if missing:
        doubts.append(f"The table of {missing[0]} sockets is not visible.")
    if broken:
        doubts.append(f"{broken} lines of the kernel's tables have an unknown format.")
    if not snapshot.root:
        doubts.append("The processes of other users are not visible without root.")
    if unowned:
        doubts.append(f"The process behind {unowned} of the sockets is not visible.")
    networks = {
        process.namespaces["net"]
        for process in snapshot.processes
        if process.namespaces is not None and "net" in process.namespaces
    }
    if len(networks) > 1:
        doubts.append(
            "Sockets inside containers and other separate networks of this machine are not listed."
        )
    return Sight("partial", " ".join(doubts)) if doubts else Sight("full")


def collect_sockets(
    snapshot: Snapshot, names: Mapping[int, str], packages: Mapping[str, str]
) -> Section[Socket]:
    """Join the kernel's socket tables with the processes that hold the sockets."""
    owners = map_owners(snapshot)
    endpoints, broken = list_endpoints(snapshot)
    rows = {_row(endpoint, owners.get(endpoint.inode), names, packages) for endpoint in endpoints}
    unowned = sum(1 for endpoint in endpoints if endpoint.inode not in owners)
    ordered = sorted(rows, key=lambda row: (row.port, row.proto, row.address, row.process or ""))
    return Section(_judge_sight(snapshot, unowned, broken), tuple(ordered))


def collect_crowd(snapshot: Snapshot) -> Crowd:
    """Return who is connected from elsewhere to the TCP ports that wait for others.

    The ports of the other side are left out: they say nothing to a person.
    """
    endpoints, _ = list_endpoints(snapshot)
    holders = map_owners(snapshot)
    names = {
        row.port: holders[row.inode].name
        for row in endpoints
        if row.proto.startswith("tcp") and row.inode in holders
    }
    waiting = {row.port for row in endpoints if row.proto.startswith("tcp")}
    found: set[tuple[int, str]] = set()
    for proto in ("tcp", "tcp6"):
        for line in snapshot.tables.get(proto, b"").split(b"\n")[1:]:
            peer = _read_peer(line, waiting)
            if peer is not None:
                found.add(peer)
    ordered = sorted(found)
    rows = tuple(Peer(port, address, names.get(port)) for port, address in ordered[:MAX_PEERS])
    return Crowd(rows, max(0, len(ordered) - MAX_PEERS))


def _read_peer(line: bytes, waiting: set[int]) -> tuple[int, str] | None:
    fields = line.split(None, 10)
    try:
        if fields[3] != _TCP_ESTABLISHED:
            return None
        port = int(fields[1].rpartition(b":")[2], 16)
        address = ipaddress.ip_address(decode_address(fields[2].partition(b":")[0]))
    except (ValueError, IndexError):
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return None if port not in waiting or address.is_loopback else (port, str(address))
