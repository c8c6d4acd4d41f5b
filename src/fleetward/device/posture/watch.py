"""Noticing cheaply that a listening socket came or went, so that a collector is started only then.

Only the kernel's tables are read, nothing is parsed but the state column, and nothing is kept
but a hash.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Final

# A row: number, local address, remote address, state, queues, timer, retransmits, uid, timeout,
# inode. Of a listening row only local address, uid and inode are stable, and they are enough.
_TCP_LISTENING: Final = re.compile(
    rb"^ *\d+: ([0-9A-F:]+) [0-9A-F]+:0000 0A \S+ \S+ \S+ +(\d+) +\d+ (\d+) ", re.MULTILINE
)
_UDP_WAITING: Final = re.compile(
    rb"^ *\d+: ([0-9A-F:]+) [0-9A-F]+:0000 07 \S+ \S+ \S+ +(\d+) +\d+ (\d+) ", re.MULTILINE
)
_TABLES: Final = (
    ("tcp", _TCP_LISTENING),
    ("tcp6", _TCP_LISTENING),
    ("udp", _UDP_WAITING),
    ("udp6", _UDP_WAITING),
)
# Of an established row: our end, their address, and nothing that changes while it lives.
_ESTABLISHED: Final = re.compile(
    rb"^ *\d+: [0-9A-F]+:([0-9A-F]{4}) ([0-9A-F]+):[0-9A-F]{4} 01 ", re.MULTILINE
)
_BLOCK_BYTES: Final = 1 << 18
MAX_TABLE_BYTES: Final = 16 << 20
"""About 100,000 connections; a longer table is watched in its first part."""


class SocketWatch:
    """Keeps the kernel's socket tables open, and hashes what listens in them.

    A process keeps the network that it had when the tables were opened. Not for use by two
    threads at once. `close` gives the descriptors back.
    """

    def __init__(self, folder: str = "/proc/self/net") -> None:
        self._tables: list[tuple[bytes, int, re.Pattern[bytes]]] = []
        for name, pattern in _TABLES:
            try:
                descriptor = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue  # A kernel without IPv6 has no such table.
            self._tables.append((name.encode(), descriptor, pattern))

    def fingerprint(self) -> bytes:
        """Return 32 bytes that differ whenever the set of listening sockets differs.

        Raises OSError when a table that could be opened can no longer be read.
        """
        digest = hashlib.sha256()
        for name, descriptor, pattern in self._tables:
            rows = sorted(pattern.findall(_read_table(descriptor)))
            digest.update(name + b"\0" + repr(rows).encode())
        return digest.digest()

    def crowd(self) -> bytes:
        """Return 32 bytes that differ when others are connected to ports that wait here.

        Raises as `fingerprint`.
        """
        texts = [_read_table(d) for name, d, _ in self._tables if name.startswith(b"tcp")]
        waiting = {row[0].rpartition(b":")[2] for t in texts for row in _TCP_LISTENING.findall(t)}
        rows = {row for t in texts for row in _ESTABLISHED.findall(t) if row[0] in waiting}
        return hashlib.sha256(repr(sorted(rows)).encode()).digest()

    def close(self) -> None:
        """Give the descriptors back; the watch cannot be used after that."""
        for _, descriptor, _ in self._tables:
            os.close(descriptor)
        self._tables.clear()


def _read_table(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    blocks = []
    left = MAX_TABLE_BYTES
    while left > 0 and (block := os.read(descriptor, min(left, _BLOCK_BYTES))):
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)
