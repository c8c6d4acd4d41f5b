"""The disk of the reference machine: where each partition lies, and the table that says so.

    1 MiB   grub      GRUB's core, raw
            bootenv   GRUB's memory: one small file on an ext2 of its own
            root-a    a slot: the whole system, read-only
            root-b    the other one
            data      /var/lib/fleetward, the only thing that a release does not replace

The table is a GPT (UEFI specification, 5.3), made here so that the same recipe gives the same
bytes: its ids are hashes of names.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SECTOR_BYTES: Final = 512
MIB: Final = 1024 * 1024
ENTRIES: Final = 128
ENTRY_BYTES: Final = 128
TABLE_SECTORS: Final = ENTRIES * ENTRY_BYTES // SECTOR_BYTES
LINUX: Final = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
BIOS_BOOT: Final = uuid.UUID("21686148-6449-6e6f-744e-656564454649")


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition, in bytes from the beginning of the disk."""

    name: str
    start_bytes: int
    size_bytes: int
    kind: uuid.UUID = LINUX

    @property
    def first_sector(self) -> int:
        """Return its first sector."""
        return self.start_bytes // SECTOR_BYTES

    @property
    def last_sector(self) -> int:
        """Return its last sector, which still belongs to it."""
        return (self.start_bytes + self.size_bytes) // SECTOR_BYTES - 1


@dataclass(frozen=True, slots=True)
class Layout:
    """All partitions, in the order of their numbers, which begin with 1."""

    partitions: tuple[Partition, ...]

    @property
    def disk_bytes(self) -> int:
        """Return the size of the disk: one MiB more than it holds, for the second table."""
        last = self.partitions[-1]
        return last.start_bytes + last.size_bytes + MIB

    def find(self, name: str) -> Partition:
        """Return the partition of that name."""
        return next(each for each in self.partitions if each.name == name)


def lay_out(bootenv_mib: int, slot_mib: int, data_mib: int) -> Layout:
    """Return where everything lies. Raises `ValueError` for a partition without room."""
    sizes = (
        ("grub", 1, BIOS_BOOT),
        ("bootenv", bootenv_mib, LINUX),
        ("root-a", slot_mib, LINUX),
        ("root-b", slot_mib, LINUX),
        ("data", data_mib, LINUX),
    )
    made, at = [], MIB
    for name, mib, kind in sizes:
        if mib < 1:
            raise ValueError(f"Expected at least 1 MiB for {name}, got {mib}.")
        made.append(Partition(name, at, mib * MIB, kind))
        at += mib * MIB
    return Layout(tuple(made))


def make_tables(layout: Layout) -> tuple[bytes, bytes]:
    """Return the first and the second table: the disk's first 34 sectors but for the code in the
    very first, and its last 33."""
    entries = b"".join(map(_make_entry, layout.partitions)).ljust(ENTRIES * ENTRY_BYTES, b"\0")
    last = layout.disk_bytes // SECTOR_BYTES - 1
    head = (1, last, 2)
    tail = (last, 1, last - TABLE_SECTORS)
    first = _make_protective(last) + _make_header(head, last, entries) + entries
    return first, entries + _make_header(tail, last, entries)


def _make_protective(last: int) -> bytes:
    """Return the old table that says: all of this disk is taken."""
    record = struct.pack("<B3sB3sII", 0, b"\0\x02\0", 0xEE, b"\xff\xff\xff", 1, last)
    return bytes(446) + record + bytes(48) + b"\x55\xaa"


def _make_entry(part: Partition) -> bytes:
    return struct.pack(
        "<16s16sQQQ72s",
        part.kind.bytes_le,
        _make_id(f"partition {part.name}").bytes_le,
        part.first_sector,
        part.last_sector,
        0,
        part.name.encode("utf-16-le"),
    )


def _make_header(places: tuple[int, int, int], last: int, entries: bytes) -> bytes:
    """Return a header. `places`: its own sector, the other's, and the first of its entries."""

    def pack(check: int) -> bytes:
        return struct.pack(
            "<8sIIIIQQQQ16sQIII",
            b"EFI PART",
            0x10000,
            92,
            check,
            0,
            places[0],
            places[1],
            2 + TABLE_SECTORS,
            last - TABLE_SECTORS - 1,
            _make_id("disk").bytes_le,
            places[2],
            ENTRIES,
            ENTRY_BYTES,
            zlib.crc32(entries),
        )

    return pack(zlib.crc32(pack(0))).ljust(SECTOR_BYTES, b"\0")


def _make_id(words: str) -> uuid.UUID:
    digest = hashlib.sha256(f"fleetward reference image: {words}".encode()).digest()
    return uuid.UUID(bytes=digest[:16], version=4)


def place_core(boot: bytes, core: bytes, at: Partition) -> tuple[bytes, bytes]:
    """Return GRUB's first sector and its core, each told where the rest lies.

    Both files have these numbers at fixed places (grub-core/boot/i386/pc: boot.S, diskboot.S).
    Raises `ValueError` for a core that does not fit.
    """
    if len(core) > at.size_bytes:
        raise ValueError(f"GRUB's core has {len(core)} bytes, its partition {at.size_bytes}.")
    sectors: Sequence[int] = (at.first_sector, at.first_sector + 1)
    first = bytearray(boot[:440].ljust(SECTOR_BYTES, b"\0"))
    struct.pack_into("<Q", first, 0x5C, sectors[0])
    # Of a hard disk, what the BIOS says which disk it is may be believed.
    first[0x66:0x68] = b"\x90\x90"
    told = bytearray(core)
    struct.pack_into("<Q", told, SECTOR_BYTES - 12, sectors[1])
    return bytes(first[:440]), bytes(told)
