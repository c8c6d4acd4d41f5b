"""The archive of what is active is kept beside its tree, where there is room, and no longer."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import delta_world
from tests.installer_world import make_archive

from fleetward.device.updates.installer_words import PartWord, Patch
from fleetward.device.updates.installers.contract import Source
from fleetward.device.updates.installers.directory import DirectoryInstaller
from fleetward.device.updates.installers.releases import FILE_BYTES, SPARE_BYTES, Releases
from fleetward.trust.errors import Unreachable
from fleetward.wire.delta import EMPTY_SOURCE


class Disk(Releases):
    """A disk with as much room as is said; what is removed of archives is free again."""

    room = 1 << 40

    def _free(self) -> int:
        return self.room - sum(path.stat().st_size for path in self._list_archives())


def archive(version: str) -> bytes:
    return make_archive({"version": version.encode(), "words": b"the same words " * 9000})


def part_of(data: bytes, before: str = "") -> PartWord:
    digest = hashlib.sha256(data).hexdigest()
    return PartWord(
        "part", "directory", "place", digest, len(data), before,
        unpacked_bytes=len(data), unpacked_files=2,
    )  # fmt: skip


TREE = len(archive("1")) + 2 * FILE_BYTES + SPARE_BYTES


@contextlib.contextmanager
def staged(folder: Path, data: bytes) -> Iterator[Source]:
    file = folder / "staged"
    file.write_bytes(data)
    descriptor = os.open(file, os.O_RDONLY)
    try:
        yield Source(descriptor, 0, len(data))
    finally:
        os.close(descriptor)


def quiet(done: int) -> None:
    del done


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "app")


def put(disk: Disk, folder: Path, version: str) -> str:
    part = part_of(archive(version))
    with staged(folder, archive(version)) as source:
        disk.put(part, source, quiet)
    assert disk.has(part.sha256)
    return part.sha256


def test_it_is_kept_where_there_is_room(disk: Disk, tmp_path: Path) -> None:
    first = put(disk, tmp_path, "1")
    assert disk.has_archive(first)
    kept = tmp_path / f"app/releases/.{first}.tar"
    assert kept.read_bytes() == archive("1")
    assert kept.stat().st_mode & 0o777 == 0o600
    disk.room = TREE + 10
    second = put(disk, tmp_path, "2")
    assert not disk.has_archive(second)


def test_a_release_that_needs_its_room_gets_it(disk: Disk, tmp_path: Path) -> None:
    first = put(disk, tmp_path, "1")
    disk.point(first)
    disk.room = TREE + 10
    assert disk._free() < TREE
    assert disk.needed_bytes(part_of(archive("2"))) == TREE - len(archive("1"))
    put(disk, tmp_path, "2")
    assert not disk.has_archive(first)
    assert disk.has(first), "what is active is untouched"
    disk.room = TREE - 1
    full = pytest.raises(Unreachable, check=lambda e: e.reason == "disk_full")
    with staged(tmp_path, archive("3")) as source, full:
        disk.put(part_of(archive("3")), source, quiet)


def test_a_delta_does_not_take_the_room_of_what_it_starts_from(disk: Disk, tmp_path: Path) -> None:
    first = put(disk, tmp_path, "1")
    disk.point(first)
    new = archive("2")
    (tmp_path / "made").mkdir()
    for old, source in ((archive("1"), first), (b"", EMPTY_SOURCE)):
        delta = delta_world.make(old, new, tmp_path / "made")
        digest = hashlib.sha256(delta).hexdigest()
        word = Patch("part", source, len(delta), sha256=digest)
        part = part_of(new, first)
        disk.room = TREE + len(new) + len(archive("1")) - 1
        with staged(tmp_path, delta) as bytes_of_delta:
            with pytest.raises(Unreachable, check=lambda e: e.reason == "disk_full"):
                disk.patch(part, bytes_of_delta, word, quiet)
            assert disk.has_archive(first)
            disk.room += 1
            disk.patch(part, bytes_of_delta, word, quiet)
        assert disk.has_archive(part.sha256)
        disk.drop(part.sha256, quiet)
        assert not list((tmp_path / "app/releases").glob(f".{part.sha256}*"))


def test_a_commit_keeps_the_archive_of_what_is_active_alone(tmp_path: Path) -> None:
    installer = DirectoryInstaller(tmp_path / "app")
    before = ""
    for version in "123":
        part = part_of(archive(version), before)
        with staged(tmp_path, archive(version)) as source:
            installer.write(part, source, quiet)
        installer.switch(part, quiet)
        assert installer.survey(part).is_source
        installer.commit(part, quiet)
        kept = [path.name for path in (tmp_path / "app/releases").glob(".*.tar*")]
        assert kept == [f".{part.sha256}.tar"]
        before = part.sha256


def test_going_back_leaves_the_archive_of_what_is_active_again(tmp_path: Path) -> None:
    installer = DirectoryInstaller(tmp_path / "app")
    first = part_of(archive("1"))
    second = part_of(archive("2"), first.sha256)
    for part, data in ((first, archive("1")), (second, archive("2"))):
        with staged(tmp_path, data) as source:
            installer.write(part, source, quiet)
        installer.switch(part, quiet)
    installer.back(second, quiet)
    installer.clear(second, quiet)
    assert installer.survey(second).active == first.sha256
    assert installer.survey(second).is_source
    kept = [path.name for path in (tmp_path / "app/releases").glob(".*.tar*")]
    assert kept == [f".{first.sha256}.tar"]


def test_what_an_agent_before_this_one_installed_is_no_source(tmp_path: Path) -> None:
    installer = DirectoryInstaller(tmp_path / "app")
    part = part_of(archive("1"))
    with staged(tmp_path, archive("1")) as source:
        installer.write(part, source, quiet)
    installer.switch(part, quiet)
    (tmp_path / f"app/releases/.{part.sha256}.tar").unlink()
    assert not installer.survey(part).is_source
