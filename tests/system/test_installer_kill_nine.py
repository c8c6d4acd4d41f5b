"""Kill -9 of the installer at any moment: always the old release or the new one, never a mixture.

Two ways to choose the moment. At random: a word is said, and some time later, up to as long as it
usually takes, the process is killed. And one by one: the process kills itself before each single
thing that it would change on the disk or start. Each time the machine is looked at as its own
programs see it; then another process hears the same words again, or is told to go back, and has to
end well.

While dpkg works there are packages of both releases: it has no one step. So for packages the middle
is not looked at, and what counts is where the repeated word ends. RAUC's service is not killed: it
works on when the installer is, and the next one has to wait for it.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.agent_world import AgentGround
from tests.installer_rauc_world import RaucGround, has_rauc
from tests.installer_world import (
    DirectoryGround,
    DpkgGround,
    Ground,
    InstallerDiedError,
    PatchedDirectory,
    PatchedSlots,
    Session,
    SlotGround,
    wait_for,
)

from fleetward.device.updates.installer_words import (
    Back,
    Clear,
    Commit,
    Done,
    Switch,
    Written,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
KILLS = 8
"""The bench cuts 200 times (`bench/power_cuts.py`)."""
SEED = 20261127
WORDS = ("write", "switch", "commit", "back", "clear")
needs_rauc = pytest.mark.skipif(not has_rauc(), reason="needs root, RAUC and loop devices")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="dpkg installs as root alone")


class FewFiles(DirectoryGround):
    """Few enough that each step of unpacking can be the last."""

    files = 4


class SmallSlots(SlotGround):
    """Images of a size that is read back quickly."""

    size = 200_000


def whole(word: str) -> Switch | Commit | Back | Clear:
    """Return a word about all parts by its name."""
    if word == "switch":
        return Switch()
    if word == "commit":
        return Commit()
    return Back() if word == "back" else Clear()


def say(session: Session, word: str) -> None:
    """Say a word, and demand that it ends well."""
    if word == "write":
        assert session.write() == Written()
    else:
        assert session.do(whole(word)) == Done()


def send(session: Session, word: str, wait: Callable[[], None]) -> None:
    """Say a word, and do not hear the answer."""
    if word != "write":
        session.installer.send(whole(word))
        wait()
        return
    with session.holding(session.blob) as descriptor:
        session.installer.send(session.word, descriptor)
        wait()


class Trial:
    """Release 2 is tried on a machine with release 1, and the words of it are cut short."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.now, self.next = "1", "2"
        self.usual: dict[str, float] = {}
        ground.install("1")

    def path_to(self, word: str) -> tuple[str, ...]:
        """Return the words that come before this one."""
        before = {"write": (), "switch": ("write",), "clear": ("write",)}
        return before.get(word, ("write", "switch"))

    def may_be(self, word: str) -> set[str]:
        """Return what may be active while a word is carried out."""
        either = {self.now, self.next}
        return {"write": {self.now}, "clear": {self.now}, "commit": {self.next}}.get(word, either)

    def cut(self, word: str, seconds: float) -> None:
        """Say the words up to this one, and kill the process so long after it."""
        with self.ground.begin(self.next, self.now) as session:
            for each in self.path_to(word):
                say(session, each)
            send(session, word, lambda: wait_for(seconds))
            session.installer.kill()

    def look(self, word: str) -> None:
        """What the machine sees is whole."""
        if self.ground.kind != "dpkg":
            assert self.ground.content() in self.may_be(word)

    def settle(self, word: str, *, back: bool) -> None:
        """Say the word again, or go back; then the machine has what that word means."""
        if back and word in ("commit", "clear"):
            back = False
        words = ("back", "clear") if back else (word,)
        with self.ground.begin(self.next, self.now) as session:
            assert session.surveyed.problem == ""
            for each in words:
                started = time.monotonic()
                say(session, each)
                self.usual[each] = time.monotonic() - started
        ends_new = not back and word in ("switch", "commit")
        assert self.ground.content() == (self.next if ends_new else self.now)
        self.end(committed=word == "commit", new=ends_new)

    def go_on(self) -> None:
        """Try the next release: one that is not kept any more, so that it has to be written."""
        self.ground.reboot()
        self.now, self.next = self.next, {"1": "2", "2": "3", "3": "1"}[self.next]

    def end(self, *, committed: bool, new: bool) -> None:
        """Leave the machine in a state to begin from."""
        if committed:
            self.go_on()
            return
        with self.ground.begin(self.next, self.now) as session:
            for each in ("back", "clear") if new else ("clear",):
                say(session, each)
        assert self.ground.content() == self.now


class FewPatchedFiles(FewFiles):
    """Each release is made out of the one before."""

    patched = True


class SmallPatchedSlots(SmallSlots):
    """Each image is made out of the one in the other slot."""

    patched = True


GROUNDS = [
    pytest.param(DirectoryGround, id="directory"),
    pytest.param(PatchedDirectory, id="directory-deltas"),
    pytest.param(SlotGround, id="file-slot"),
    pytest.param(PatchedSlots, id="file-slot-deltas"),
    pytest.param(DpkgGround, id="dpkg", marks=needs_root),
    pytest.param(RaucGround, id="rauc", marks=needs_rauc),
]
SMALL = [
    pytest.param(FewFiles, id="directory"),
    pytest.param(FewPatchedFiles, id="directory-deltas"),
    pytest.param(SmallSlots, id="file-slot"),
    pytest.param(SmallPatchedSlots, id="file-slot-deltas"),
    pytest.param(AgentGround, id="agent"),
    pytest.param(DpkgGround, id="dpkg", marks=needs_root),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one: who is killed loses nothing of what he has written, so
    a disk would only take its time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


@pytest.mark.parametrize("make", GROUNDS)
def test_killed_at_random(make: type[Ground], folder: Path) -> None:
    ground = make(folder)
    trial = Trial(ground)
    chance = random.Random(SEED)
    for word in WORDS:  # Once whole, to learn how long each takes.
        with trial.ground.begin(trial.next, trial.now) as session:
            for each in trial.path_to(word):
                say(session, each)
        trial.settle(word, back=False)
    for number in range(KILLS):
        word = WORDS[number % len(WORDS)]
        trial.cut(word, chance.uniform(0, 1.2 * trial.usual[word]))
        trial.look(word)
        trial.settle(word, back=chance.random() < 0.3)
    ground.close()


@pytest.mark.parametrize("make", SMALL)
@pytest.mark.parametrize("last", ["commit", "back"])
def test_killed_before_every_single_step(make: type[Ground], last: str, folder: Path) -> None:
    trial = Trial(make(folder))
    words = ("write", "switch", "commit") if last == "commit" else ("switch", "back")
    # dpkg takes a second each time; its own steps are dpkg's.
    stride = 15 if make is DpkgGround else 1
    step = 1 - stride
    while True:
        step += stride
        word = words[0]
        if word != "write":
            with trial.ground.begin(trial.next, trial.now) as session:
                say(session, "write")
        try:
            with trial.ground.begin(trial.next, trial.now, die_at=step) as session:
                for word in words:
                    say(session, word)
        except InstallerDiedError:
            trial.look(word)
            with trial.ground.begin(trial.next, trial.now) as session:
                assert session.surveyed.problem == ""
                for again in words[words.index(word) :]:
                    say(session, again)
            done = False
        else:
            done = True
        assert trial.ground.content() == (trial.next if last == "commit" else trial.now)
        if last == "commit":
            trial.go_on()
        else:
            trial.end(committed=False, new=False)
        if done:
            break
    assert step > (10 if last == "back" or issubclass(make, SmallSlots) else 20)
