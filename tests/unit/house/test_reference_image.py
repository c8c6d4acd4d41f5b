"""The recipe of the reference image: what is read, computed and written, before it is built."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import pytest
from tools.qemu.machine import Machine
from tools.reference_image.build import make_environment
from tools.reference_image.compose import Added, make_initrd
from tools.reference_image.layout import MIB, SECTOR_BYTES, Partition, lay_out, make_tables
from tools.reference_image.layout import place_core as place
from tools.reference_image.recipe import FOLDER, read_recipe

from fleetward.device.updates.installers.choices import GrubMemory, read_memory
from fleetward.device.updates.places import FileSlotPlace, read_places

LAYOUT = lay_out(1, 128, 512)


def test_partitions_follow_each_other_on_whole_mebibytes() -> None:
    at = MIB
    for part in LAYOUT.partitions:
        assert (part.start_bytes, part.size_bytes % MIB) == (at, 0)
        at += part.size_bytes
        assert part.last_sector + 1 == at // SECTOR_BYTES
    assert LAYOUT.disk_bytes == at + MIB
    assert LAYOUT.find("root-a").size_bytes == LAYOUT.find("root-b").size_bytes
    with pytest.raises(ValueError, match="data"):
        lay_out(1, 128, 0)


def test_both_tables_say_the_same_and_sum_up() -> None:
    first, second = make_tables(LAYOUT)
    last = LAYOUT.disk_bytes // SECTOR_BYTES - 1
    assert (len(first), len(second)) == (34 * SECTOR_BYTES, 33 * SECTOR_BYTES)
    assert first[510:512] == b"\x55\xaa"
    heads = (first[512:1024], second[-512:])
    entries = (first[1024:], second[:-512])
    for head, own, other, table in zip(heads, (1, last), (last, 1), entries, strict=True):
        fields = struct.unpack_from("<8sIIIIQQQQ16sQIII", head)
        assert fields[0] == b"EFI PART"
        assert fields[3] == zlib.crc32(head[:16] + bytes(4) + head[20:92])
        assert (fields[5], fields[6]) == (own, other)
        assert fields[13] == zlib.crc32(table)
    assert entries[0] == entries[1]
    names = [entries[0][n * 128 + 56 : n * 128 + 128].decode("utf-16-le").strip("\0")
             for n in range(5)]  # fmt: skip
    assert names == [part.name for part in LAYOUT.partitions]
    # The same recipe gives the same bytes.
    assert make_tables(LAYOUT) == (first, second)


def test_grubs_core_is_told_where_it_lies() -> None:
    where = LAYOUT.find("grub")
    first, core = place(bytes(512), bytes(3000), where)
    assert len(first) == 440
    assert struct.unpack_from("<Q", first, 0x5C)[0] == where.first_sector
    assert struct.unpack_from("<Q", core, 500)[0] == where.first_sector + 1
    with pytest.raises(ValueError, match="core"):
        place(bytes(512), bytes(3000), Partition("small", MIB, SECTOR_BYTES))


def test_what_the_disk_begins_with_is_what_the_agent_reads() -> None:
    assert read_memory(make_environment(good="root-a")) == GrubMemory("root-a")


def test_grub_and_the_agent_know_the_same_words() -> None:
    """Two programs read and write these; neither may know one that the other does not."""
    script = (FOLDER / "grub.cfg").read_text()
    loaded = re.findall(r"^load_env -f \$environment (.*)$", script, re.MULTILINE)
    assert [set(line.split()) for line in loaded] == [{"good", "trial", "tries", "lost"}]
    assert "fleetward.slot=$1" in script
    # It is written down that a slot was tried before it is.
    assert script.index("save_env -f $environment tries") < script.index("start $trial")


def test_the_agents_places_are_those_of_the_disk(tmp_path: Path) -> None:
    places = read_places(tmp_path, FOLDER / "root/etc/fleetward/places.toml")
    system = places.find("system", "file-slot", "reference")
    assert isinstance(system, FileSlotPlace)
    assert [Path(slot).name for slot in system.slots] == ["root-a", "root-b"]
    assert places.may_restart
    for slot in system.slots:
        LAYOUT.find(Path(slot).name)
    script = (FOLDER / "grub.cfg").read_text()
    numbers = {"root-a": 3, "root-b": 4}
    assert [LAYOUT.partitions[n - 1].name for n in numbers.values()] == list(numbers)
    assert "set number=4; else set number=3" in script


def test_the_recipe_is_whole_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    recipe = read_recipe()
    assert recipe.slot_mib >= 64
    assert len(set(recipe.modules)) == len(recipe.modules)
    units = FOLDER / "root/etc/systemd/system"
    for link in units.rglob("*"):
        if link.is_symlink() and str(link.readlink()) != "/dev/null":
            assert link.resolve().is_file(), link
    (tmp_path / "recipe.toml").write_text('suite = "bookworm"\n')
    with pytest.raises(ValueError, match="packages"):
        read_recipe(tmp_path)


def test_the_first_program_lies_in_an_archive_that_the_kernel_reads() -> None:
    data = make_initrd({"bin/sh": Added(link="busybox"), "init": Added(b"#!/bin/sh\n", 0o755)})
    found, at = {}, 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + n * 8 : at + 14 + n * 8], 16) for n in range(13)]
        name = data[at + 110 : at + 110 + fields[11] - 1].decode()
        start = (at + 110 + fields[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            break
        found[name] = (fields[1], data[start : start + fields[6]])
        at = (start + fields[6] + 3) // 4 * 4
    assert found["bin"][0] == 0o40755
    assert found["bin/sh"] == (0o120777, b"busybox")
    assert found["init"] == (0o100755, b"#!/bin/sh\n")


def test_a_machine_that_is_off_has_no_power_to_cut(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "disk", tmp_path, 0.0)
    machine.cut_power()
    machine.unplug()
