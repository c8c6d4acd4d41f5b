"""Slots that are partitions, slots that are not there, and disks that give back something else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.installer_world import SlotGround

from fleetward.device.updates.installer_words import Back, Commit, Done, Switch, Written


class Partitions(SlotGround):
    """Slots that are block devices, by links as udev makes them."""

    size = 1_000_000
    slot_bytes = 2 * 1024 * 1024

    def prepare(self) -> None:
        super().prepare()
        self.devices: list[str] = []
        for name in ("slot-a", "slot-b"):
            link = self.folder / "boot" / name
            backing = self.folder / f"{name}.disk"
            backing.write_bytes(bytes(self.slot_bytes))
            argv = ["losetup", "--find", "--show", str(backing)]
            made = subprocess.run(argv, capture_output=True, text=True, check=False)
            if made.returncode:
                self.close()
                pytest.skip("there are no loop devices here")
            self.devices.append(made.stdout.strip())
            link.unlink()
            link.symlink_to(self.devices[-1])

    def close(self) -> None:
        for device in self.devices:
            subprocess.run(["losetup", "--detach", device], check=False)

    def content(self) -> str:
        active = (self.folder / "boot/active").read_text().strip()
        data = (self.folder / "boot" / active).read_bytes()
        version = data[:1].decode()
        if version == "\0":
            return ""
        return version if data.startswith(self.make(version)) else "mixed"


@pytest.fixture
def partitions(tmp_path: Path) -> Iterator[Partitions]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = Partitions(tmp_path)
    yield made
    made.close()


@pytest.fixture
def ground(tmp_path: Path) -> SlotGround:
    return SlotGround(tmp_path)


def test_partitions_are_written_switched_and_gone_back_from(partitions: Partitions) -> None:
    partitions.install("1")
    partitions.install("2", "1")
    with partitions.begin("3", "2") as session:
        assert session.surveyed.needed_bytes == 0
        assert session.write() == Written()
        assert session.installer.progress == sorted(session.installer.progress)
        assert session.do(Switch()) == Done()
        assert partitions.content() == "3"
        assert session.do(Back()) == Done()
    assert partitions.content() == "2"


def test_an_image_larger_than_its_partition(partitions: Partitions) -> None:
    partitions.install("1")
    partitions.size = 3_000_000
    with partitions.begin("2", "1") as session:
        assert session.surveyed.rule == "slot_too_small"
        assert session.write().rule == "slot_too_small"
    partitions.size = Partitions.size
    assert partitions.content() == "1"


def test_a_partition_that_is_mounted_is_not_written_to(partitions: Partitions) -> None:
    partitions.install("1")
    free = partitions.devices[1]  # Slot a is active now.
    subprocess.run(["mkfs.ext4", "-q", free], check=True, capture_output=True)
    point = partitions.folder / "mounted"
    point.mkdir()
    if subprocess.run(["mount", free, point], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        (point / "file").write_text("precious")
        with partitions.begin("2", "1") as session:
            found = session.write()
            assert found.rule == "disk_refused"
            assert "busy" in found.problem
        assert (point / "file").read_text() == "precious"
    finally:
        subprocess.run(["umount", point], check=True)
    assert partitions.content() == "1"
    partitions.install("2", "1")


def test_where_the_active_slot_is_not_known_nothing_is_written(ground: SlotGround) -> None:
    ground.install("1")
    active = ground.folder / "boot/active"
    for text in (None, "", "slot-c\n", "../slot-a\n", "x" * 1000):
        active.unlink(missing_ok=True)
        if text is not None:
            active.write_text(text)
        with ground.begin("2", "1") as session:
            assert session.surveyed.rule == "place_damaged"
            assert "Nothing is written" in session.surveyed.problem
            assert session.write().rule == "place_damaged"
            assert session.do(Switch()).rule == "place_damaged"
            assert session.do(Commit()).rule == "place_damaged"
    active.write_text("slot-a\n")
    assert ground.content() == "1"


def test_slots_that_are_none(ground: SlotGround) -> None:
    ground.install("1")
    slot = ground.folder / "boot/slot-b"
    for step in range(3):
        if step == 0:
            slot.unlink()
        elif step == 1:
            slot.mkdir()
        else:
            slot.rmdir()
            os.mkfifo(slot)
        with ground.begin("2", "1") as session:
            assert session.surveyed.rule == "place_damaged"
            assert session.write().rule == "place_damaged"
    assert ground.content() == "1"


def test_an_image_has_no_hook(ground: SlotGround) -> None:
    with ground.begin("1", hook="bin/hook") as session:
        assert session.surveyed.rule == "hook_not_allowed"
        assert session.write().rule == "hook_not_allowed"
    assert ground.content() == ""


def test_an_active_file_keeps_its_mode_and_a_slot_of_a_longer_image_is_cut(
    ground: SlotGround,
) -> None:
    active = ground.folder / "boot/active"
    active.chmod(0o640)
    ground.install("1")
    ground.size = 10
    ground._made.clear()
    part = ground.part("2")
    with ground.begin("2") as session:
        assert session.write() == Written()
        assert session.do(Switch()) == Done()
    assert ground.content() == "2"
    assert active.stat().st_mode & 0o777 == 0o640
    assert (ground.folder / "boot/slot-b").stat().st_size == part.length
