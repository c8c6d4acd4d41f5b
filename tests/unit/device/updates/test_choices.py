"""Which slot is started: what the agent writes into GRUB's memory, and what GRUB makes of it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetward.device.updates.installer_words import PartWord
from fleetward.device.updates.installers.choices import (
    GRUB_BYTES,
    GrubChoice,
    GrubMemory,
    read_memory,
    write_memory,
)
from fleetward.device.updates.installers.contract import Source
from fleetward.device.updates.installers.file_slot import FileSlotInstaller
from fleetward.trust.errors import Refused, Unreachable

NAMES = ("root-a", "root-b")


class Grub:
    """What `reference-image/grub.cfg` does, in the same order, on a memory in a file."""

    def __init__(self, folder: Path) -> None:
        self.path, self.cmdline = folder / "bootenv", folder / "cmdline"
        self.choice = GrubChoice(self.path, NAMES, self.cmdline)
        self.save(GrubMemory("root-a"))
        self.runs = self.start()

    def start(self, unreadable: str = "", stops: str = "") -> str:
        """Start the machine; slots may be unreadable, or have a kernel that stops."""
        memory = self.memory
        if memory.trial and memory.tries == "1":
            self.save(replace(memory, tries="0"))
            if memory.trial not in (unreadable, stops):
                return self.run(memory.trial)
            memory = self.memory  # It starts again.
        if memory.good != unreadable:
            if memory.lost:
                self.save(replace(memory, lost=""))
            return self.run(memory.good)
        self.save(replace(memory, lost=memory.good))
        return self.run(NAMES[1 - NAMES.index(memory.good)])

    def run(self, slot: str) -> str:
        self.cmdline.write_text(f"root=/dev/vda3 fleetward.slot={slot} quiet\n")
        self.runs = slot
        return slot

    def save(self, memory: GrubMemory) -> None:
        self.path.write_bytes(write_memory(memory))

    @property
    def memory(self) -> GrubMemory:
        return read_memory(self.path.read_bytes())


@pytest.fixture
def grub(tmp_path: Path) -> Grub:
    return Grub(tmp_path)


def test_a_trial_that_is_kept(grub: Grub) -> None:
    grub.choice.make_active(1)
    assert grub.choice.read_active() == 1
    assert grub.choice.read_running() == 0
    assert grub.start() == "root-b"
    assert grub.choice.read_active() == 1
    grub.choice.keep_active()
    assert grub.memory == GrubMemory("root-b")
    assert grub.start() == "root-b"


def test_a_trial_is_started_once(grub: Grub) -> None:
    grub.choice.make_active(1)
    assert grub.start() == "root-b"
    assert grub.start() == "root-a"
    assert grub.choice.read_active() == 0
    grub.choice.keep_active()
    assert grub.memory == GrubMemory("root-a")


def test_a_kernel_that_stops_or_cannot_be_read(grub: Grub) -> None:
    for how in ({"stops": "root-b"}, {"unreadable": "root-b"}):
        grub.choice.make_active(1)
        assert grub.start(**how) == "root-a"
        assert grub.choice.read_active() == 0


def test_back_from_a_trial_needs_a_start(grub: Grub) -> None:
    grub.choice.make_active(1)
    grub.start()
    grub.choice.make_active(0)
    assert (grub.choice.read_active(), grub.choice.read_running()) == (0, 1)
    with pytest.raises(Refused) as found:
        grub.choice.keep_active()
    assert found.value.reason == "not_kept"
    assert grub.start() == "root-a"


def test_what_waits_to_be_tried_cannot_be_kept(grub: Grub) -> None:
    grub.choice.make_active(1)
    with pytest.raises(Refused):
        grub.choice.keep_active()
    assert grub.memory.trial == "root-b"


def test_a_slot_that_was_lost_can_be_written_again(grub: Grub) -> None:
    assert grub.start(unreadable="root-a") == "root-b"
    assert (grub.choice.read_active(), grub.choice.read_running()) == (1, 1)
    grub.choice.make_active(0)
    assert grub.memory == GrubMemory("root-b", "root-a", "1")
    assert grub.start() == "root-a"
    # A reading that failed once is no decision: the next start is of what was committed.
    grub.save(GrubMemory("root-a", lost="root-a"))
    assert grub.start() == "root-a"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["switch", "back", "keep", "start", "cut", "stop"]), max_size=12))
def test_whatever_happens_the_machine_starts_from_what_was_kept(
    tmp_path_factory: pytest.TempPathFactory, events: list[str]
) -> None:
    """Nothing but a commit makes a slot good, and nothing on trial is started twice."""
    grub = Grub(tmp_path_factory.mktemp("grub"))
    kept = "root-a"
    for event in events:
        active, running = grub.choice.read_active(), grub.choice.read_running()
        if (event == "switch" and active == running) or (event == "back" and NAMES[active] != kept):
            grub.choice.make_active(1 - active)
        elif event == "keep" and active == running:
            grub.choice.keep_active()
            kept = NAMES[running]
        elif event in ("start", "cut"):
            tries = grub.memory.tries
            started = grub.start()
            assert started == kept or tries == "1"
        elif event == "stop":
            assert grub.start(stops=grub.memory.trial) == kept
        assert grub.memory.good == kept


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"#" * GRUB_BYTES,
        write_memory(GrubMemory("root-a"))[:-1],
        write_memory(GrubMemory("root-a")).replace(b"good", b"evil"),
        write_memory(GrubMemory("root-a")).replace(b"tries=0", b"tries=9"),
        write_memory(GrubMemory("root-a")).replace(b"lost=", b"good="),
        write_memory(GrubMemory("root-a")).replace(b"trial=\n", b"trial;\n"),
        write_memory(GrubMemory("root-a"))[:-4] + b"\0\0\0\0",
    ],
)
def test_a_damaged_memory_lets_nothing_be_written(grub: Grub, data: bytes) -> None:
    grub.path.write_bytes(data)
    with pytest.raises(Refused) as found:
        grub.choice.make_active(1)
    assert found.value.reason == "place_damaged"
    assert grub.path.read_bytes() == data


@pytest.mark.parametrize("text", ["", "fleetward.slot=root-c", "fleetward.slot=root-a " * 2])
def test_where_the_running_slot_is_not_told_nothing_is_written(grub: Grub, text: str) -> None:
    grub.cmdline.write_text(text)
    with pytest.raises(Refused) as found:
        grub.choice.read_active()
    assert found.value.reason == "place_damaged"


def test_slots_of_other_names_are_none_of_ours(grub: Grub) -> None:
    grub.save(GrubMemory("elsewhere"))
    with pytest.raises(Refused):
        grub.choice.read_active()


def test_all_lines_lie_in_the_first_sector(grub: Grub) -> None:
    with pytest.raises(Refused):
        write_memory(GrubMemory("a" * 400, "b" * 400))
    assert not write_memory(GrubMemory(*NAMES, "1", NAMES[0]))[512:].strip(b"#")


def test_grubs_own_tool_reads_it_and_we_read_its(grub: Grub) -> None:
    tool = shutil.which("grub-editenv")
    if tool is None:
        pytest.skip("grub-editenv is not installed")
    said = subprocess.run([tool, grub.path, "list"], capture_output=True, text=True, check=True)
    assert "good=root-a" in said.stdout.splitlines()
    subprocess.run([tool, grub.path, "set", "trial=root-b", "tries=1"], check=True)
    assert grub.memory == GrubMemory("root-a", "root-b", "1")


# --- the installer that stands on it


class Slots:
    """The installer, with two slots that are files."""

    def __init__(self, grub: Grub, folder: Path) -> None:
        self.slots = (folder / "root-a", folder / "root-b")
        for slot in self.slots:
            slot.write_bytes(b"factory")
        self.installer = FileSlotInstaller(self.slots, grub.choice, folder / "notes")
        self.folder = folder

    def part(self, text: bytes, before: str = "") -> PartWord:
        digest = hashlib.sha256(text).hexdigest()
        return PartWord("system", "file-slot", "system", digest, len(text), before)

    def write(self, part: PartWord, text: bytes) -> None:
        path = self.folder / "source"
        path.write_bytes(text)
        with path.open("rb") as file:
            source = Source(file.fileno(), 0, len(text))
            self.installer.write(part, source, lambda done: None)


def quiet(done: int) -> None:
    """Nobody listens."""


def test_the_running_slot_is_never_written_to(grub: Grub, tmp_path: Path) -> None:
    slots = Slots(grub, tmp_path)
    one, two = slots.part(b"one"), slots.part(b"two")
    slots.write(one, b"one")
    assert slots.slots[1].read_bytes() == b"one"
    slots.installer.switch(one, quiet)
    assert slots.installer.waits_restart()
    assert slots.installer.survey(one).active == one.sha256
    with pytest.raises(Unreachable) as found:
        slots.write(two, b"two")
    assert found.value.reason == "restart_waits"
    assert [slot.read_bytes() for slot in slots.slots] == [b"factory", b"one"]


def test_a_trial_that_fell_back_is_over_for_grub_too(grub: Grub, tmp_path: Path) -> None:
    slots = Slots(grub, tmp_path)
    one = slots.part(b"one")
    slots.write(one, b"one")
    slots.installer.switch(one, quiet)
    grub.start(stops="root-b")
    assert slots.installer.survey(one).active == ""
    slots.installer.back(one, quiet)
    assert grub.memory == GrubMemory("root-a")
    assert not slots.installer.waits_restart()


def test_back_after_half_a_commit_keeps_what_was_before(grub: Grub, tmp_path: Path) -> None:
    """The slot was committed, another part of the release was not: all of it is taken back."""
    slots = Slots(grub, tmp_path)
    one = slots.part(b"one")
    slots.write(one, b"one")
    slots.installer.switch(one, quiet)
    grub.start()
    slots.installer.commit(one, quiet)
    slots.installer.back(one, quiet)
    assert slots.installer.waits_restart()
    assert grub.start() == "root-a"
    slots.installer.back(one, quiet)
    assert grub.memory == GrubMemory("root-a")
