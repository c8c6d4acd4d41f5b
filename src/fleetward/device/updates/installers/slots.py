"""Two slots of which one is active, whoever switches between them, and notes of what is in them.

    FOLDER/slot-NAME      says which part lies whole in that slot; removed before it is written to

What is in a slot, only our own note says: what the machine came with has none, and is called ""
here. A note is believed because it is written after the slot was read back, and removed before the
slot is touched.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final

from fleetward.device.updates.installer_words import PartWord
from fleetward.device.updates.installers.contract import (
    Tell,
    is_digest,
    not_active,
    not_written,
    nothing_before,
)
from fleetward.runtime.files import atomic_write, read_bounded, sync_directory
from fleetward.trust.errors import FleetwardError, Refused, Unreachable

MAX_NOTE_BYTES: Final = 256


class TwoSlots(ABC):
    """What installers of images have in common. `folder` is where the notes are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    # --- what each has of its own

    @abstractmethod
    def read_active(self, tell: Tell) -> int:
        """Return which slot is active. Raises when that is not known."""

    @abstractmethod
    def make_active(self, which: int, tell: Tell) -> None:
        """Have a slot be the active one, in one step, and on the disk."""

    @abstractmethod
    def name_of(self, which: int) -> str:
        """Return the name of a slot, which can be that of a file."""

    @abstractmethod
    def keep_active(self, tell: Tell) -> None:
        """What is active is good, and stays."""

    @abstractmethod
    def read_running(self) -> int | None:
        """Return the slot that the machine runs from; None where nothing has to start again."""

    # --- what follows

    def waits_restart(self) -> bool:
        """Say whether what is active runs only when the machine has started again."""
        running = self.read_running()
        return running is not None and running != self.read_active(_quiet)

    def switch(self, part: PartWord, tell: Tell) -> None:
        """Make the slot with this part active."""
        tell(0)
        at = self.read_active(tell)
        if self.read(at) == part.sha256:
            return
        if self.read(1 - at) != part.sha256:
            raise not_written(part)
        self.make_active(1 - at, tell)

    def commit(self, part: PartWord, tell: Tell) -> None:
        """Nothing is dropped: the other slot keeps what was before."""
        tell(0)
        if self.read(self.read_active(tell)) != part.sha256:
            raise not_active(part)
        self.keep_active(tell)

    def back(self, part: PartWord, tell: Tell) -> None:
        """Make the other slot active, unless another part than this one is active already."""
        tell(0)
        at = self.read_active(tell)
        if part.sha256 == part.before or self.read(at) != part.sha256:
            if not self.waits_restart():
                self.keep_active(tell)  # A trial that is over is over for the boot loader too.
            return
        if self.read(1 - at) != part.before:
            raise nothing_before(part)
        self.make_active(1 - at, tell)

    def clear(self, part: PartWord, tell: Tell) -> None:
        """Forget the part in the slot that is not active. Its bytes stay, and mean nothing."""
        tell(0)
        other = 1 - self.read_active(tell)
        if self.read(other) == part.sha256 != part.before:
            self.forget(other)

    def tree(self) -> Path | None:
        """Images have no files."""
        return None

    def find_target(self, part: PartWord, tell: Tell) -> int | None:
        """Return the slot to write to; None when the part is in one of the two already."""
        at = self.read_active(tell)
        if part.sha256 in (self.read(at), self.read(1 - at)):
            return None
        return 1 - at

    def read(self, which: int) -> str:
        """Return which part lies whole in a slot, as far as we know."""
        try:
            said = read_bounded(self._path_of(which), MAX_NOTE_BYTES).decode("ascii", "replace")
        except FleetwardError:
            return ""
        return said.strip() if is_digest(said.strip()) else ""

    def note(self, which: int, sha256: str) -> None:
        """Write down which part lies whole in a slot."""
        self._folder.mkdir(parents=True, exist_ok=True)
        sync_directory(self._folder.parent)
        atomic_write(self._path_of(which), sha256.encode() + b"\n")

    def forget(self, which: int) -> None:
        """Believe nothing of a slot any more."""
        self._path_of(which).unlink(missing_ok=True)
        if self._folder.is_dir():
            sync_directory(self._folder)

    def _path_of(self, which: int) -> Path:
        return self._folder / f"slot-{self.name_of(which)}"


def restart_waits(name: str) -> Unreachable:
    """Return the error for a machine that runs from the slot that would be written to."""
    return Unreachable(
        f"The machine was switched to {name} and has not started again since. Start it again; "
        "until then nothing is written.",
        reason="restart_waits",
    )


def _quiet(done: int) -> None:
    """This takes no time that is worth telling of."""


def require_no_hook(part: PartWord) -> None:
    """Return when a part names no hook: an image is not what runs now. Raises `Refused`."""
    if part.hook:
        raise Refused(
            f"Part {part.name} is an image and names a hook. Its maker has to leave it out.",
            reason="hook_not_allowed",
        )
