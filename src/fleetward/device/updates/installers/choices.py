"""How the installer `file-slot` has one of its two slots started: by a file, or by GRUB's memory.

A file that names the active slot is for what starts by itself: switching is replacing it, and there
is no trial by the boot loader.

GRUB's memory is for the system itself. It holds, as `name=value` lines in 1,024 bytes:

    good    the slot that was committed
    trial   the slot that is tried, or nothing
    tries   1 while it still may be tried; GRUB writes 0 before it does
    lost    what GRUB could not even read when it last started the other one

1. What is on trial is started once. Whatever ends that, the next start is of `good`: a kernel that
   stops, a program that hangs until somebody pulls the plug, a power cut.
2. Only a commit out of the slot on trial makes it `good`.
3. Which slot runs is what GRUB told the kernel, and nothing else.
4. All lines lie in the first 512 bytes, which a disk writes whole or not at all.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.trust.errors import FleetwardError, Refused

MAX_NAME_BYTES: Final = 256
GRUB_BYTES: Final = 1024
GRUB_HEADER: Final = b"# GRUB Environment Block\n"
SECTOR_BYTES: Final = 512
CMDLINE: Final = Path("/proc/cmdline")
MAX_CMDLINE_BYTES: Final = 8192
SLOT_WORD: Final = "fleetward.slot="
_LINE: Final = re.compile(r"([a-z_]{1,32})=([A-Za-z0-9_.-]{0,64})")
_FIELDS: Final = ("good", "trial", "tries", "lost")


class Choice(Protocol):
    """Where it stands which slot is started. Slots are 0 and 1."""

    def read_active(self) -> int:
        """Return the slot that runs, or will with the next start. Raises `Refused`."""

    def read_running(self) -> int | None:
        """Return the slot that the machine runs from; None where nothing has to start again."""

    def make_active(self, which: int) -> None:
        """Have a slot be the active one, in one step, and on the disk."""

    def keep_active(self) -> None:
        """What is active is good, and stays."""


class ActiveFile:
    """A file that holds the name of one of the two slots."""

    def __init__(self, path: Path, names: tuple[str, str]) -> None:
        self._path = path
        self._names = names

    def read_active(self) -> int:
        """Return which slot the file names. Raises `Refused` when it names none."""
        try:
            said = read_bounded(self._path, MAX_NAME_BYTES).decode("utf-8", "replace").strip()
        except FleetwardError as e:
            raise _unknown(self._path, self._names, e.message) from e
        if said not in self._names:
            raise _unknown(self._path, self._names, f"it says {said[:40]!r}")
        return self._names.index(said)

    def read_running(self) -> int | None:
        """What reads the file, and when, is not known here."""
        return None

    def make_active(self, which: int) -> None:
        """Replace the file."""
        mode = stat.S_IMODE(self._path.stat().st_mode)
        atomic_write(self._path, self._names[which].encode() + b"\n", mode)

    def keep_active(self) -> None:
        """Do nothing: the file is all there is."""


@dataclass(frozen=True, slots=True)
class GrubMemory:
    """What GRUB remembers from start to start."""

    good: str
    trial: str = ""
    tries: str = "0"
    lost: str = ""


def read_memory(data: bytes) -> GrubMemory:
    """Return what an environment block holds. Raises `Refused` for anything else."""
    head, lines = data[: len(GRUB_HEADER)], data[len(GRUB_HEADER) :].split(b"\n")
    # Behind the last line there is nothing but what fills the block.
    found: dict[str, str] = {}
    for line in lines[:-1]:
        match = _LINE.fullmatch(line.decode("ascii", "replace"))
        if match is None or match[1] in found:
            raise _damaged(f"it has the line {line[:40]!r}")
        found[match[1]] = match[2]
    if len(data) != GRUB_BYTES or head != GRUB_HEADER or lines[-1].strip(b"#"):
        raise _damaged("it is none")
    if not {"good"} <= set(found) <= set(_FIELDS) or found.get("tries", "0") not in ("", "0", "1"):
        raise _damaged(f"it names {', '.join(sorted(found))[:80] or 'nothing'}")
    return GrubMemory(**found)


def write_memory(memory: GrubMemory) -> bytes:
    """Return the environment block. Raises `Refused` for names that are too long for it."""
    lines = "".join(f"{name}={getattr(memory, name)}\n" for name in _FIELDS)
    data = GRUB_HEADER + lines.encode("ascii")
    if len(data) > SECTOR_BYTES:
        raise _damaged("the names of the slots are too long for it")
    return data.ljust(GRUB_BYTES, b"#")


class GrubChoice:
    """GRUB's memory at `path`: a file of 1,024 bytes."""

    def __init__(self, path: Path, names: tuple[str, str], cmdline: Path = CMDLINE) -> None:
        self._path = path
        self._names = names
        self._cmdline = cmdline

    def read_active(self) -> int:
        """Return what is on trial, or waits to be; else what is good. Raises `Refused`."""
        memory = self._read()
        running = self._names[self.read_running()]
        if memory.trial and (memory.tries == "1" or running == memory.trial):
            return self._names.index(memory.trial)
        return self._names.index(running if memory.lost == memory.good else memory.good)

    def read_running(self) -> int:
        """Return the slot that GRUB told the kernel. Raises `Refused` when it told none."""
        try:
            said = read_bounded(self._cmdline, MAX_CMDLINE_BYTES).decode("ascii", "replace")
        except FleetwardError as e:
            raise _unknown(self._cmdline, self._names, e.message) from e
        told = [w.removeprefix(SLOT_WORD) for w in said.split() if w.startswith(SLOT_WORD)]
        if len(told) != 1 or told[0] not in self._names:
            raise _unknown(self._cmdline, self._names, f"GRUB told {told[:1]!r}")
        return self._names.index(told[0])

    def make_active(self, which: int) -> None:
        """Have it tried with the next start; or, back from a trial, have that be over (rule 1)."""
        memory, name, other = self._read(), self._names[which], self._names[1 - which]
        if memory.trial == other and memory.good == name:
            self._write(replace(memory, trial="", tries="0"))
        else:
            self._write(GrubMemory(good=other, trial=name, tries="1"))

    def keep_active(self) -> None:
        """Make good what runs (rule 2). Raises `Refused` when that is not what is active."""
        memory, running = self._read(), self.read_running()
        if running != self.read_active():
            raise Refused(
                "The machine does not run from its active slot, so that cannot be kept. Start it "
                "again first.",
                reason="not_kept",
            )
        if memory.lost != memory.good or memory.trial:
            self._write(GrubMemory(good=self._names[running]))

    def _read(self) -> GrubMemory:
        with self._path.open("rb") as file:
            memory = read_memory(file.read(GRUB_BYTES))
        if memory.good not in self._names or memory.trial not in ("", *self._names):
            raise _unknown(self._path, self._names, f"it says {memory.good!r}, {memory.trial!r}")
        return memory

    def _write(self, memory: GrubMemory) -> None:
        """Write over the block where it lies (rule 4): GRUB reads no journal of a file system."""
        data = write_memory(memory)
        if data == write_memory(self._read()):
            return
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(descriptor, data, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _unknown(path: Path, names: tuple[str, str], why: str) -> Refused:
    return Refused(
        f"Nothing is written while the active slot is not known: expected {' or '.join(names)} in "
        f"{path}; {why}",
        reason="place_damaged",
    )


def _damaged(why: str) -> Refused:
    return Refused(
        f"Expected GRUB's memory, as `grub-editenv` makes it: {why}. Have it made again.",
        reason="place_damaged",
    )
