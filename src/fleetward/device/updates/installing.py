"""Carrying out guard's words about one plan: which part by which installer, and what is answered.

It decides nothing. It refuses what this machine's places, its disks or the bytes do not allow, and
says why in `problem`, with `rule` as the stable word for it:

| rule | what it means |
|---|---|
| `unknown_place`, `wrong_installer`, `places_damaged`, `place_twice` | `places.toml` does not give what the release wants |
| `place_not_ours`, `place_damaged` | somebody else can write there, or something else is there |
| `wrong_length`, `wrong_hash` | the bytes are not the part |
| `wrong_source` | what comes is no plain file, or what is active was changed since it was installed: no delta starts from it |
| `bad_archive`, `bad_archive_name`, `bad_archive_member`, `archive_too_big`, `trailing_bytes` | the archive breaks a rule of `archive` |
| `bad_package`, `hook_not_allowed`, `not_an_agent`, `no_trial` | the part breaks a rule of its installer |
| `agent_not_marked` | it would replace the agent, and the release does not say so |
| `slot_too_small`, `disk_full`, `disk_refused` | the disk says no |
| `in_use` | the machine must not be disturbed; nothing was touched |
| `not_written`, `not_active`, `no_way_back` | the word does not fit what lies there |
| `restart_waits` | the machine was switched and has to start again first |
| `restart_by_hand` | `places.toml` does not let the agent start the machine again |
| `not_kept` | the boot loader could not be told that what runs is good |
| `hook_failed`, `restart_failed`, `tool_failed`, `no_such_user`, `no_root` | a program failed, or cannot be run |
| `no_delta`, `bad_delta`, `delta_too_long`, `source_too_short` | there is nothing to start from here, or the delta is none; the part comes otherwise |
| `installer_busy` | another installer works; try again later |
"""  # noqa: E501 - rows of a table

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, assert_never

from fleetward.device.updates.health import Ground, ask
from fleetward.device.updates.hooks import Moment, Units, run_hook
from fleetward.device.updates.installer_words import (
    Back,
    Clear,
    Commit,
    Done,
    PartWord,
    Patch,
    Plan,
    Restart,
    SlotWord,
    Surveyed,
    Switch,
    Test,
    Tested,
    Write,
    Written,
    clean,
)
from fleetward.device.updates.installers.contract import Found, Installer, Source, Tell
from fleetward.device.updates.installers.releases import free_bytes
from fleetward.device.updates.making import make_installer
from fleetward.device.updates.own_files import holds_agent, not_marked
from fleetward.device.updates.places import DirectoryPlace, Place, Places
from fleetward.runtime.files import atomic_write, sync_directory
from fleetward.trust.errors import FleetwardError, Malformed, Refused
from fleetward.trust.release_checks import check_path

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Room:
    """A part, and what this machine has for it."""

    part: PartWord
    place: Place
    installer: Installer


class Pending:
    """Says, over a power cut, that something was switched and its hooks and units still wait."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_marked(self) -> bool:
        """Whether they wait."""
        return self._path.exists()

    def mark(self) -> None:
        """They will. To be called before anything is switched."""
        atomic_write(self._path, b"")

    def clear(self) -> None:
        """They do not any more."""
        self._path.unlink(missing_ok=True)
        sync_directory(self._path.parent)


class Installing:
    """One plan. `places` is what the machine's file says, or why it cannot be read."""

    def __init__(
        self, plan: Plan, data: Path, places: Places | FleetwardError, units: Units, lock: int
    ) -> None:
        self._plan = plan
        self._places = places
        self._units = units
        self._lock = lock
        self._pending = Pending(data / "software" / f".follow-{plan.product}")

    def survey(self, tell: Tell) -> Surveyed:
        """Say what is there, and whether this machine can take the release."""
        problems: list[FleetwardError | OSError] = []
        slots: list[SlotWord] = []
        disks: list[Found] = []
        for part in self._plan.parts:
            tell(0)
            try:
                found = self._find(part).installer.survey(part)
            except (FleetwardError, OSError) as e:
                problems.append(e)
                slots.append(SlotWord(part.name, "", False))
                continue
            slots.append(SlotWord(part.name, found.active, found.written, found.is_source))
            disks.append(found)
        free, needed = measure_disks(disks)
        problem, rule = say(problems[0]) if problems else ("", "")
        return Surveyed(problem, rule, tuple(slots), free, needed, clean(self._in_use()))

    def write(self, word: Write | Patch, descriptor: int, tell: Tell) -> Written:
        """Write a part, out of a descriptor."""
        try:
            room = self._find_named(word.part)
            if isinstance(word, Write):
                source = Source(descriptor, word.offset, room.part.length)
                room.installer.write(room.part, source, tell)
            else:
                source = Source(descriptor, word.offset, word.length)
                room.installer.patch(room.part, source, word, tell)
        except (FleetwardError, OSError) as e:
            return Written(*say(e))
        return Written()

    def act(self, word: Switch | Restart | Commit | Back | Clear, tell: Tell) -> Done:
        """Do something with every part, and say what went wrong first."""
        match word:
            case Switch():
                return self._switch(tell)
            case Restart():
                return self._restart(tell)
            case Back():
                return self._back(tell)
            case Commit():
                return say_done(self._each(lambda room: room.installer.commit(room.part, tell)))
            case Clear():
                return say_done(self._each(lambda room: room.installer.clear(room.part, tell)))
            case _ as never:
                assert_never(never)

    def test(self, word: Test, tell: Tell) -> Tested:
        """Ask every health check once."""
        del word
        return Tested(tuple(ask(check, self._ground, tell) for check in self._plan.checks))

    def _switch(self, tell: Tell) -> Done:
        try:
            rooms = [self._find(part) for part in self._plan.parts]
            active = [r.installer.survey(r.part).active == r.part.sha256 for r in rooms]
            in_use = self._in_use()
            if in_use and not any(active):
                raise Refused(f"The machine must not be disturbed now: {in_use}", reason="in_use")
            if not all(active):
                self._pending.mark()
            for room in rooms:
                room.installer.switch(room.part, tell)
        except (FleetwardError, OSError) as e:
            return Done(*say(e))
        return self._say_switched(self._follow("switched", tell))

    def _back(self, tell: Tell) -> Done:
        try:
            rooms = [self._find(part) for part in self._plan.parts]
            if any(r.part.before != r.part.sha256 == self._active(r) for r in rooms):
                self._pending.mark()
        except (FleetwardError, OSError) as e:
            return Done(*say(e))
        problems = self._each(lambda room: room.installer.back(room.part, tell))
        return self._say_switched(problems or self._follow("back", tell))

    def _say_switched(self, problems: list[FleetwardError | OSError]) -> Done:
        """Return the answer to a switch: whether the machine has to start again besides."""
        if problems:
            return say_done(problems)
        try:
            waits = [self._find(part).installer.waits_restart() for part in self._plan.parts]
        except (FleetwardError, OSError) as e:
            return Done(*say(e))
        return Done(restart=any(waits))

    def _restart(self, tell: Tell) -> Done:
        """Start the machine again, unless somebody needs it now: that is asked last of all."""
        if isinstance(self._places, FleetwardError):
            return Done(*say(self._places))
        if not self._places.may_restart:
            return Done(
                f"The machine has to be started again by its user: may_restart in "
                f"{self._places.file} does not let the agent.",
                "restart_by_hand",
            )
        in_use = self._in_use()
        if in_use:
            return Done(clean(f"The machine must not be disturbed now: {in_use}"), "in_use")
        try:
            self._units.restart_machine(tell)
        except (FleetwardError, OSError) as e:
            return Done(*say(e))
        return Done()

    def _active(self, room: Room) -> str:
        """Return what is active in a place; of one that cannot tell, that it has to be gone back
        with."""
        try:
            return room.installer.survey(room.part).active
        except (FleetwardError, OSError):
            return room.part.sha256

    def _follow(self, moment: Moment, tell: Tell) -> list[FleetwardError | OSError]:
        """Run the hooks, then restart the units, each once; return what went wrong.

        Where nothing was switched since the last time that all of it went well, nothing is run: a
        machine that is in use is not disturbed by a word that changes nothing. After a hook that
        failed on the way to a release nothing is restarted: guard goes back.
        """
        if not self._pending.is_marked():
            return []

        def hook(room: Room) -> None:
            if room.part.hook:
                tree = room.installer.tree()
                run_hook(tree, room.part.hook, moment, room.place.user, tell)

        problems = self._each(hook)
        if problems and moment == "switched":
            return problems
        rooms = [self._find(part) for part in self._plan.parts]
        units = dict.fromkeys(unit for room in rooms for unit in room.place.restart)
        for unit in units:
            try:
                self._units.restart(unit, tell)
            except (FleetwardError, OSError) as e:
                problems.append(e)
        if not problems:
            self._pending.clear()
        return problems

    def _each(self, do: Callable[[Room], None]) -> list[FleetwardError | OSError]:
        """Do something with every part, also after one that failed; return the failures."""
        problems: list[FleetwardError | OSError] = []
        for part in self._plan.parts:
            try:
                do(self._find(part))
            except (FleetwardError, OSError) as e:
                problems.append(e)
        return problems

    def _find(self, part: PartWord) -> Room:
        if isinstance(self._places, FleetwardError):
            raise self._places
        if [each.place for each in self._plan.parts].count(part.place) > 1:
            raise Refused(
                f"Two parts of the release want the place {part.place}.", reason="place_twice"
            )
        if part.hook:
            check_path(part.hook)
        place = self._places.find(part.place, part.installer, self._plan.product)
        if isinstance(place, DirectoryPlace) and not part.replaces_agent:
            _require_other(part, Path(place.path))
        # A place is the machine's, whatever the product; no product begins with a dot.
        folder = self._places.data / "software" / ".places" / part.place
        return Room(part, place, make_installer(place, folder, self._lock, self._places.data))

    def _find_named(self, name: str) -> Room:
        for part in self._plan.parts:
            if part.name == name:
                return self._find(part)
        raise Malformed(f"The plan has no part {name}.", reason="unknown_part")

    def _ground(self, name: str) -> Ground:
        room = self._find_named(name)
        return Ground(room.installer.tree(), room.place.user)

    def _in_use(self) -> str:
        return "" if isinstance(self._places, FleetwardError) else self._places.read_in_use()


def _require_other(part: PartWord, path: Path) -> None:
    """Return when the agent's own code does not lie in a place. Raises `Refused`."""
    if holds_agent(path):
        raise not_marked(part.name, f"its code is below {path}")


def measure_disks(found: list[Found]) -> tuple[int, int]:
    """Return what is free and what is needed on the disk that has the least to spare."""
    needs: dict[int, tuple[Path, int]] = {}
    for each in found:
        folder = each.disk
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        device = folder.stat().st_dev
        before = needs.get(device, (folder, 0))[1]
        needs[device] = (folder, before + each.needed_bytes)
    measured = [(free_bytes(folder), needed) for folder, needed in needs.values()]
    return min(measured, key=lambda pair: pair[0] - pair[1], default=(0, 0))


def say(error: FleetwardError | OSError) -> tuple[str, str]:
    """Return what is told of an error: words, and a rule."""
    if isinstance(error, FleetwardError):
        return clean(error.message), error.reason
    rule = "disk_full" if error.errno in NO_ROOM else "disk_refused"
    where = f" ({os.fsdecode(error.filename)})" if error.filename else ""
    return clean(f"The system says: {error.strerror or error}{where}."), rule


def say_done(problems: list[FleetwardError | OSError]) -> Done:
    """Return the answer to a word that did something with every part."""
    return Done(*say(problems[0])) if problems else Done()
