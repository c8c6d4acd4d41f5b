"""The installer `rauc`: the machine's own RAUC service writes a bundle, and marks slots.

RAUC verifies a bundle by its own keyring, writes each of its images into the slot that the machine
does not run from, and says through its boot loader which one is started next. Here the part is the
bundle, and "active" is what runs, or will with the next start.

1. Writing and switching are two steps of the contract. RAUC's configuration has to say
   `activate-installed=false`, or a release is refused: else writing would switch too.
2. RAUC writes to the slot that is not booted. While a switch waits for the machine to start again
   that is the active one, so nothing is written until then.
3. RAUC's service works on when this process is killed. The word that comes again waits for it.
4. What is in a slot, our own notes say (`slots`): RAUC knows images, and no bundles.
5. A boot loader that counts tries (GRUB) calls a slot on trial bad, and so no slot, or the other
   one, "primary". So a note of our own, `chosen`, says which slot was switched to last: while the
   machine runs from it, it is the active one. It never says so of the slot that runs before RAUC
   has been told, and what is kept is told to RAUC again: or else a word that was cut between the
   two would leave the other slot next, and be called done.

RAUC takes a path, and reads the file again: it gets a copy of our own, whose hash was right while
it was written, and which nobody else can change.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fleetward.device.updates.installer_words import PartWord, Patch
from fleetward.device.updates.installers.contract import Found, Source, Tell, wrong_hash
from fleetward.device.updates.installers.releases import free_bytes
from fleetward.device.updates.installers.slots import (
    TwoSlots,
    require_no_hook,
    restart_waits,
)
from fleetward.device.updates.patching import no_delta
from fleetward.device.updates.programs import Command, Ended, run_program
from fleetward.runtime.files import atomic_write, read_bounded, sync_directory
from fleetward.trust.errors import FleetwardError, Refused, Unreachable

MAX_CONFIG_BYTES: Final = 256 * 1024
MAX_STATUS_BYTES: Final = 256 * 1024
INSTALL_SECONDS: Final = 3600.0
ASK_SECONDS: Final = 60.0
BUSY_SECONDS: Final = 1800.0
BUSY_PAUSE_SECONDS: Final = 1.0
_BUSY: Final = "already processing"
CHOSEN: Final = "chosen"
MAX_NAME_BYTES: Final = 256
SPARE_BYTES: Final = 1024 * 1024
_NAME_CHARACTERS: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
)


class _Slot(msgspec.Struct, frozen=True):
    bootname: str | None = None


class _Status(msgspec.Struct, frozen=True):
    """Of `rauc status --output-format=json`, what is needed; RAUC adds more with each release."""

    booted: str | None = None
    boot_primary: str | None = None
    slots: tuple[dict[str, _Slot], ...] = ()


@dataclass(frozen=True, slots=True)
class _Seen:
    """The two slots that are started from, in the order of their names, by RAUC's name and by that
    of the boot loader; which is primary, and which the machine runs from."""

    slots: tuple[str, str]
    names: tuple[str, str]
    primary: int | None
    booted: int


class RaucInstaller(TwoSlots):
    """One place of this kind. `bus` is where RAUC's service is; empty: the system's usual bus."""

    def __init__(self, config: Path, bus: str, folder: Path) -> None:
        super().__init__(folder)
        self._config = config
        self._bus = bus
        self._seen: _Seen | None = None

    def survey(self, part: PartWord) -> Found:
        """Say what is there."""
        require_no_hook(part)
        self._require_two_steps()
        at = self.read_active(_quiet)
        here, there = self.read(at), self.read(1 - at)
        written = part.sha256 == there != here
        needed = 0 if part.sha256 in (here, there) else part.length + SPARE_BYTES
        return Found(here, written, needed, self._folder)

    def write(self, part: PartWord, source: Source, tell: Tell) -> None:
        """Have RAUC write the bundle into the slot that is not active."""
        self.survey(part)
        other = self.find_target(part, tell)
        if other is None:
            return
        if self.waits_restart():
            raise restart_waits(self.name_of(1 - other))
        seen = self._look(tell)
        bundle = self._folder / "bundle.raucb"
        self._copy(part, source, bundle, tell)
        try:
            self.forget(other)
            self._install(bundle, tell)
        finally:
            bundle.unlink(missing_ok=True)
        if self._look(tell).primary == other:
            self._rauc(("status", "mark-active", seen.slots[seen.booted]), tell)
            raise self._one_step()
        self.note(other, part.sha256)

    def patch(self, part: PartWord, delta: Source, word: Patch, tell: Tell) -> None:
        """Bundles are packed, so a delta of one is none."""
        del delta, word, tell
        raise no_delta(part)

    def read_active(self, tell: Tell) -> int:
        """Return the slot that runs, or will with the next start (rule 5)."""
        seen = self._look(tell)
        chosen = self._read_chosen(seen)
        if chosen == seen.booted or seen.primary is None:
            return seen.booted
        return seen.primary

    def make_active(self, which: int, tell: Tell) -> None:
        """Have RAUC mark a slot as the next to start from."""
        seen = self._look(tell)
        if which != seen.booted:
            self._choose(seen.names[which])
        self._rauc(("status", "mark-active", seen.slots[which]), tell)
        if which == seen.booted:
            self._choose(seen.names[which])
        if self._look(tell).primary != which:
            raise Unreachable(
                "RAUC said that it switched, and the other slot is still next. Look at what its "
                "boot loader says.",
                reason="tool_failed",
            )

    def name_of(self, which: int) -> str:
        """Return the boot loader's name of a slot."""
        seen = self._seen or self._look(_quiet)
        return seen.names[which]

    def read_running(self) -> int:
        """Return the slot that the machine runs from."""
        seen = self._seen or self._look(_quiet)
        return seen.booted

    def keep_active(self, tell: Tell) -> None:
        """Tell the boot loader that what runs is good, if that is what is active."""
        if self.waits_restart():
            return
        seen = self._look(tell)
        self._rauc(("status", "mark-good", seen.slots[seen.booted]), tell)
        if self._look(tell).primary != seen.booted:
            self._rauc(("status", "mark-active", seen.slots[seen.booted]), tell)
        self._choose(seen.names[seen.booted])

    def _read_chosen(self, seen: _Seen) -> int | None:
        """Return which slot was switched to last; None when none was, as far as we know."""
        try:
            said = read_bounded(self._folder / CHOSEN, MAX_NAME_BYTES).decode("ascii", "replace")
        except FleetwardError:
            return None
        return seen.names.index(said.strip()) if said.strip() in seen.names else None

    def _choose(self, name: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        atomic_write(self._folder / CHOSEN, name.encode() + b"\n")

    def _look(self, tell: Tell) -> _Seen:
        """Ask RAUC. Raises `Unreachable`, and `Refused` when it has no two slots."""
        said = self._rauc(("status", "--output-format=json"), tell, whole=True)
        # Messages of its libraries come first, each on a line of its own.
        line = next((x for x in said.words.splitlines() if x.startswith("{")), "")
        try:
            status = msgspec.json.decode(line, type=_Status)
        except msgspec.MsgspecError as e:
            raise Unreachable(
                f"Expected RAUC to say its state: {said.words[:100]}", reason="tool_failed"
            ) from e
        rows = sorted(
            (name, slot.bootname)
            for each in status.slots
            for name, slot in each.items()
            if slot.bootname
        )
        slots, names = [row[0] for row in rows], [row[1] for row in rows]
        plain = all(_NAME_CHARACTERS.issuperset(name) for name in (*slots, *names))
        known = status.boot_primary in (None, *slots)
        if len(rows) != 2 or not plain or not known:
            raise self._unknown(f"it names {', '.join(slots)[:80]}, primary {status.boot_primary}")
        if status.booted not in names:
            raise self._unknown(f"it runs from {str(status.booted)[:40]}")
        self._seen = _Seen(
            (slots[0], slots[1]),
            (names[0], names[1]),
            slots.index(status.boot_primary) if status.boot_primary else None,
            names.index(status.booted),
        )
        return self._seen

    def _unknown(self, why: str) -> Refused:
        return Refused(
            f"Expected RAUC to have two slots to start from, and to know which is next: {why}.",
            reason="place_damaged",
        )

    def _require_two_steps(self) -> None:
        """Return when installing does not switch (rule 1). Raises `Refused`."""
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string(read_bounded(self._config, MAX_CONFIG_BYTES).decode("utf-8"))
            activates = parser.getboolean("system", "activate-installed", fallback=True)
        except (FleetwardError, configparser.Error, ValueError) as e:
            raise Refused(
                f"Expected RAUC's configuration at {self._config}: {str(e)[:100]}",
                reason="place_damaged",
            ) from e
        if activates:
            raise self._one_step()

    def _one_step(self) -> Refused:
        return Refused(
            f"Expected activate-installed=false in the part [system] of {self._config}: writing "
            "must not switch. The machine's maker has to add it.",
            reason="place_damaged",
        )

    def _copy(self, part: PartWord, source: Source, bundle: Path, tell: Tell) -> None:
        """Copy the bundle while it is verified. Raises `Malformed`, `Unreachable`, `OSError`."""
        source.check()
        self._folder.mkdir(parents=True, exist_ok=True)
        if free_bytes(self._folder) < part.length + SPARE_BYTES:
            raise Unreachable(
                f"Part {part.name} needs {part.length} bytes below {self._folder}, for a while. "
                "Make room there; it is tried again.",
                reason="disk_full",
            )
        bundle.unlink(missing_ok=True)
        digest, done = hashlib.sha256(), 0
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(bundle, flags, 0o600), "wb") as file:
                for block in source.blocks():
                    file.write(block)
                    digest.update(block)
                    done += len(block)
                    tell(done // 2)
            if digest.hexdigest() != part.sha256:
                raise wrong_hash(part.sha256, digest.hexdigest())
        except (FleetwardError, OSError):
            bundle.unlink(missing_ok=True)
            raise
        sync_directory(self._folder)

    def _install(self, bundle: Path, tell: Tell) -> None:
        """Have RAUC install, after what it may still be at. Raises `Unreachable`."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            ended = self._run(("install", str(bundle)), INSTALL_SECONDS, tell)
            if ended.good:
                return
            if _BUSY not in ended.words.lower() or time.monotonic() > deadline:
                raise _failed(ended, INSTALL_SECONDS)
            tell(0)
            time.sleep(BUSY_PAUSE_SECONDS)

    def _rauc(self, arguments: Sequence[str], tell: Tell, *, whole: bool = False) -> Ended:
        ended = self._run(arguments, ASK_SECONDS, tell, whole=whole)
        if not ended.good:
            raise _failed(ended, ASK_SECONDS)
        return ended

    def _run(
        self, arguments: Sequence[str], seconds: float, tell: Tell, *, whole: bool = False
    ) -> Ended:
        argv = ["rauc", f"--conf={self._config}", *arguments]
        if self._bus:
            argv = ["env", f"DBUS_SYSTEM_BUS_ADDRESS={self._bus}", *argv]
        try:
            return run_program(
                Command(argv, seconds, kept_bytes=MAX_STATUS_BYTES, whole=whole), tell
            )
        except OSError as e:
            raise Unreachable(
                f"This machine has a place for RAUC and cannot run it: {e.strerror}.",
                reason="tool_failed",
            ) from e


def _failed(ended: Ended, seconds: float) -> Unreachable:
    return Unreachable(f"RAUC {ended.why(seconds)}", reason="tool_failed")


def _quiet(done: int) -> None:
    """A survey takes no time that is worth telling of."""
