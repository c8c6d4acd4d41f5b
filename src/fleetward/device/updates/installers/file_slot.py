"""The installer `file-slot`: two slots, partitions or files, and a file that names the active one.

The image goes into the slot that is not active, and is read back from the disk before it is
believed (`slots`). Which of the two is active, a file says, or GRUB's memory (`choices`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from fleetward.device.updates.installer_words import PartWord, Patch
from fleetward.device.updates.installers.choices import Choice
from fleetward.device.updates.installers.contract import (
    BLOCK_BYTES,
    Found,
    Source,
    Tell,
    verify_source,
)
from fleetward.device.updates.installers.releases import free_bytes
from fleetward.device.updates.installers.slots import (
    TwoSlots,
    require_no_hook,
    restart_waits,
)
from fleetward.device.updates.installers.steady import Steady
from fleetward.device.updates.patching import Ends, no_delta, patch_part, starts_from_nothing
from fleetward.trust.errors import Refused, Unreachable


class FileSlotInstaller(TwoSlots):
    """One place of this kind. `folder` is where its notes are."""

    def __init__(self, slots: tuple[Path, Path], choice: Choice, folder: Path) -> None:
        super().__init__(folder)
        self._slots = slots
        self._choice = choice

    def survey(self, part: PartWord) -> Found:
        """Say what is there. Raises `Refused` for a part with a hook, and for a slot too small."""
        require_no_hook(part)
        at = self.read_active(_quiet)
        other = 1 - at
        for slot in self._slots:
            _size_of(slot)
        needed = self._require_size(self._slots[other], part)
        if self.waits_restart() and part.sha256 not in (self.read(at), self.read(other)):
            raise restart_waits(self.name_of(at))
        written = part.sha256 not in ("", self.read(at)) and self.read(other) == part.sha256
        disk = self._slots[other].parent if needed else self._folder
        active = self.read(at)
        return Found(active, written, 0 if written else needed, disk, active != "")

    def write(self, part: PartWord, source: Source, tell: Tell) -> None:
        """Write the image into the slot that is not active, and read it back."""
        self.survey(part)
        other = self.find_target(part, tell)
        if other is None:
            return
        verify_source(source, part.sha256, tell, share=3)
        self._require_room(self._slots[other], part)
        third = part.length // 3
        with self._open_target(other) as target:
            done = 0
            for block in source.blocks():
                target.write(block)
                done += len(block)
                tell(third + done // 3)
        self._believe(other, part, tell)

    def patch(self, part: PartWord, delta: Source, word: Patch, tell: Tell) -> None:
        """Make the image out of the one in the active slot, which is only read."""
        self.survey(part)
        other = self.find_target(part, tell)
        if other is None:
            return
        at = 1 - other
        if self.read(at) != word.source and not starts_from_nothing(word):
            raise no_delta(part)
        self._require_room(self._slots[other], part)
        ends = Ends(lambda: self._slots[at].open("rb"), lambda: self._open_target(other))
        patch_part(part, word, ends, delta, lambda done: tell(done * 2 // 3))
        self._believe(other, part, tell)

    @contextlib.contextmanager
    def _open_target(self, which: int) -> Iterator[Steady]:
        """Forget what is in a slot, give it to be written to, and have that on the disk."""
        slot = self._slots[which]
        plain = stat.S_ISREG(slot.stat().st_mode)
        # O_EXCL of a partition: not while it is mounted (open(2)).
        flags = os.O_WRONLY | os.O_CLOEXEC | (0 if plain else os.O_EXCL)
        descriptor = os.open(slot, flags)
        with os.fdopen(descriptor, "wb", buffering=BLOCK_BYTES) as file:
            self.forget(which)
            yield Steady(file)
            file.flush()
            if plain:
                file.truncate(file.tell())
            os.fsync(descriptor)

    def _believe(self, which: int, part: PartWord, tell: Tell) -> None:
        """Read a slot back, and note what is in it. Raises `Unreachable`."""
        done = part.length * 2 // 3
        found = _read_back(self._slots[which], part.length, lambda more: tell(done + more // 3))
        if found != part.sha256:
            raise Unreachable(
                f"What was written to {self._slots[which]} is not what was read from it. The disk "
                "fails: the system's log says how. Have it looked at.",
                reason="disk_refused",
            )
        self.note(which, part.sha256)

    def read_active(self, tell: Tell) -> int:
        """Return which slot is active. Raises `Refused` when that is not known."""
        tell(0)
        return self._choice.read_active()

    def read_running(self) -> int | None:
        """Return the slot that the machine runs from; None where nothing has to start again."""
        return self._choice.read_running()

    def make_active(self, which: int, tell: Tell) -> None:
        """Say that a slot is the active one."""
        tell(0)
        self._choice.make_active(which)

    def keep_active(self, tell: Tell) -> None:
        """Say that what is active stays."""
        tell(0)
        self._choice.keep_active()

    def name_of(self, which: int) -> str:
        """Return the last name of a slot's path."""
        return self._slots[which].name

    def _require_size(self, slot: Path, part: PartWord) -> int:
        """Return how much more room a slot needs, that is a file. Raises `Refused`."""
        found = slot.stat()
        if stat.S_ISREG(found.st_mode):
            return max(0, part.length - found.st_blocks * 512)
        size = _size_of(slot)
        if size < part.length:
            raise Refused(
                f"Part {part.name} has {part.length} bytes, and the slot {slot} has {size}. The "
                "release is for other machines.",
                reason="slot_too_small",
            )
        return 0

    def _require_room(self, slot: Path, part: PartWord) -> None:
        needed, free = self._require_size(slot, part), free_bytes(slot.parent)
        if needed > free:
            raise Unreachable(
                f"Part {part.name} needs {needed} bytes more in {slot}; {free} are free. Make room "
                "there; it is tried again.",
                reason="disk_full",
            )


def _quiet(done: int) -> None:
    """A survey takes no time that is worth telling of."""


def _size_of(slot: Path) -> int:
    """Return a slot's size. Raises `Refused` when it is no slot."""
    try:
        mode = slot.stat().st_mode
        if stat.S_ISREG(mode) or stat.S_ISBLK(mode):
            descriptor = os.open(slot, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.lseek(descriptor, 0, os.SEEK_END)
            finally:
                os.close(descriptor)
    except OSError as e:
        raise Refused(
            f"Expected a slot at {slot}: {e.strerror}. See what became of it.",
            reason="place_damaged",
        ) from e
    raise Refused(f"Expected a partition or a file at {slot}.", reason="place_damaged")


def _read_back(slot: Path, length: int, tell: Tell) -> str:
    """Return the SHA-256 of what the disk has, past what the kernel remembers of it."""
    descriptor = os.open(slot, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        digest = hashlib.sha256()
        at = 0
        while block := os.pread(descriptor, min(BLOCK_BYTES, length - at), at):
            digest.update(block)
            at += len(block)
            tell(at)
    finally:
        os.close(descriptor)
    return digest.hexdigest()
