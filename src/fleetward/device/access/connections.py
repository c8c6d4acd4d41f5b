"""What the kernel says of TCP and UDP here: what waits for others, and who is connected to it."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetward.device.access.closing_words import clean
from fleetward.device.access.nft_rules import Flow

PROC: Final = Path("/proc")
TABLES: Final = (("tcp", "tcp"), ("tcp", "tcp6"), ("udp", "udp"), ("udp", "udp6"))
MAX_TABLE_BYTES: Final = 16 << 20
_LISTENS: Final = {"tcp": "0A", "udp": "07"}
_CONNECTED: Final = ("01", "03", "04", "05", "08")
"""Established, being accepted, and half closed (include/net/tcp_states.h)."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A socket that waits for others."""

    protocol: str
    port: int
    inode: int
    loopback: bool


@dataclass(frozen=True, slots=True)
class Look:
    """The kernel's tables at one moment."""

    waiting: tuple[Waiting, ...]
    flows: tuple[Flow, ...]
    """Connections from elsewhere, whoever began them."""

    def flows_to(self, ports: Collection[int], known: Collection[Flow]) -> list[Flow]:
        """Return the connections that others have to these ports.

        A port on which nothing waits is the own end of a connection that began here, unless it is
        among the `known`, which were found while something waited.
        """
        open_ports = {w.port for w in self.waiting if w.protocol == "tcp"}
        return [
            flow
            for flow in self.flows
            if flow.port in ports and (flow.port in open_ports or flow in known)
        ]


def look(proc: Path = PROC) -> Look:
    """Read the tables. What cannot be read is left out."""
    waiting: list[Waiting] = []
    flows: list[Flow] = []
    for protocol, name in TABLES:
        for fields in _rows(proc / "self" / "net" / name):
            local, port = _read_end(fields[1])
            if fields[3] == _LISTENS[protocol] and fields[2].endswith(":0000"):
                row = Waiting(
                    protocol, port, int(fields[9]), ipaddress.ip_address(local).is_loopback
                )
                waiting.append(row)
            elif protocol == "tcp" and fields[3] in _CONNECTED:
                address, peer_port = _read_end(fields[2])
                if not ipaddress.ip_address(address).is_loopback and peer_port:
                    flows.append(Flow(address, peer_port, port))
    return Look(tuple(waiting), tuple(flows))


def name_inodes(inodes: Collection[int], proc: Path = PROC) -> dict[int, str]:
    """Return by socket the name of a process that holds it; only ever shown or compared."""
    found: dict[int, str] = {}
    for folder in proc.iterdir():
        if not folder.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            for inode in _sockets_of(folder):
                if inode in inodes and inode not in found:
                    found[inode] = clean((folder / "comm").read_text("utf-8", "replace").strip())
    return found


def _sockets_of(folder: Path) -> Iterator[int]:
    with os.scandir(folder / "fd") as entries:
        for entry in entries:
            with contextlib.suppress(OSError, ValueError):
                target = os.readlink(entry.path)  # noqa: PTH115 - thousands of them
                if target.startswith("socket:["):
                    yield int(target[8:-1])


def _rows(path: Path) -> Iterator[list[str]]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_TABLE_BYTES).decode("ascii", "replace")
    except OSError:
        return
    for line in text.split("\n")[1:]:
        fields = line.split(None, 10)
        if len(fields) >= 10:
            with contextlib.suppress(ValueError):
                _read_end(fields[1])
                _read_end(fields[2])
                yield fields


def _read_end(text: str) -> tuple[str, int]:
    """Return an address and a port. Raises `ValueError`."""
    digits, _, port = text.partition(":")
    if len(digits) not in (8, 32):
        raise ValueError("expected 8 or 32 hexadecimal digits")
    words = (int(digits[at : at + 8], 16) for at in range(0, len(digits), 8))
    address = ipaddress.ip_address(b"".join(w.to_bytes(4, sys.byteorder) for w in words))
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped), int(port, 16)
    return str(address), int(port, 16)
