"""Deltas that lie, at the real installer: what is active stays, and nothing of them is believed.

The SHA-256 of each is the one that the word says, where nothing else is said: the maker's tool is
broken, or his key is stolen. What is active may have been written to as well. Guard is told a rule,
and has the part come otherwise.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests import delta_world as world
from tests.delta_world import zstd
from tests.installer_world import (
    DirectoryGround,
    DpkgGround,
    Ground,
    Session,
    SlotGround,
    make_archive,
)

from fleetward.device.updates.installer_words import Done, PartWord, Patch, Plan, Switch, Written
from fleetward.device.updates.installers.contract import Source
from fleetward.device.updates.installers.directory import DirectoryInstaller
from fleetward.trust.errors import FleetwardError
from fleetward.wire.delta import EMPTY_SOURCE, SEGMENT_BYTES, Head, Kind, Segment

MIB = 1024 * 1024
MEMORY_MIB = 100
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="dpkg installs as root alone")


@pytest.fixture(params=[DirectoryGround, SlotGround])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    make: Callable[[Path], Ground] = request.param
    made = make(tmp_path)
    made.install("1")
    yield made
    made.close()


def word_for(delta: bytes, source: str) -> Patch:
    """Return the word that names a delta as it is."""
    return Patch("part", source, len(delta), sha256=hashlib.sha256(delta).hexdigest())


def see(ground: Ground) -> dict[str, str]:
    """Return what is in a place; that a switch was asked for is no change of it."""
    return {name: what for name, what in ground.listing().items() if ".follow-" not in name}


def demand(session: Session, ground: Ground, word: Patch, delta: bytes, *rules: str) -> None:
    """Demand that a delta is refused, that nothing comes of it, and that the part still comes."""
    found = session.answer(word, delta)
    assert found.rule in rules, found
    assert session.do(Switch()).rule == "not_written"
    assert ground.content() == "1"


def demand_the_part(session: Session, ground: Ground) -> None:
    assert session.write() == Written()
    assert session.do(Switch()) == Done()
    assert ground.content() == "2"


@pytest.mark.parametrize(
    "make", [DirectoryGround, SlotGround, pytest.param(DpkgGround, marks=needs_root)]
)
def test_a_source_that_differs_in_one_byte(make: Callable[[Path], Ground], tmp_path: Path) -> None:
    ground = make(tmp_path)
    ground.install("1")
    ground.spoil_source()
    with ground.begin("2", "1") as session:
        word, delta = ground.delta("2", "1")
        was = see(ground)
        assert session.answer(word, delta).rule == "wrong_source"
        assert see(ground) == was, "nothing was opened to be written to"
        assert session.do(Switch()).rule == "not_written"
        demand_the_part(session, ground)


def test_a_source_that_is_cut_or_gone(ground: Ground) -> None:
    word, delta = ground.delta("2", "1")
    if isinstance(ground, SlotGround):
        slot = ground.folder / "boot" / (ground.folder / "boot/active").read_text().strip()
    else:
        [slot] = (ground.folder / "app/releases").glob(".*.tar")
    with ground.begin("2", "1") as session:
        os.truncate(slot, slot.stat().st_size - 1)
        found = session.answer(word, delta)
        assert found.rule == "wrong_source"
        if isinstance(ground, DirectoryGround):
            slot.unlink()
            assert session.answer(word, delta).rule == "no_delta"
            slot.symlink_to("/etc/passwd")
            assert session.answer(word, delta).rule == "no_delta"


def test_another_delta_than_the_signed_one(ground: Ground) -> None:
    word, delta = ground.delta("2", "1")
    was = see(ground)
    with ground.begin("2", "1") as session:
        for at in (0, 20, 40, len(delta) // 2, len(delta) - 1):
            changed = delta[:at] + bytes([delta[at] ^ 1]) + delta[at + 1 :]
            demand(session, ground, word, changed, "wrong_hash")
        demand(session, ground, word, delta[:-1], "wrong_length")
        demand(session, ground, word, b"", "wrong_length")
        bare = msgspec.structs.replace(word, sha256="")
        demand(session, ground, bare, delta, "no_delta")
        assert see(ground) == was
        demand_the_part(session, ground)


def test_lengths_that_are_not_so(ground: Ground) -> None:
    old, new = ground.make("1"), ground.make("2")
    word, delta = ground.delta("2", "1")
    right = Head(len(old), len(new))
    body = delta[len(world.write_head(right)) :]
    was = see(ground)
    with ground.begin("2", "1") as session:
        for head in (
            replace(right, target_bytes=right.target_bytes + 1),
            replace(right, target_bytes=right.target_bytes - 1),
            replace(right, target_bytes=2**36),
            replace(right, target_bytes=0),
            replace(right, source_bytes=right.source_bytes + 1),
            replace(right, source_bytes=right.source_bytes - 1),
            replace(right, source_bytes=2**36),
            replace(right, source_bytes=0),
        ):
            lie = world.write_head(head) + body
            rules = ("wrong_length", "wrong_source", "bad_delta")
            demand(session, ground, word_for(lie, word.source), lie, *rules)
            assert see(ground) == was
        # And one out of nothing that wants something.
        lie = world.write_head(right) + body
        demand(session, ground, word_for(lie, EMPTY_SOURCE), lie, "wrong_source")
        for junk in (b"x", b"FLEETWARD-DELTA-1\n", delta[:40]):
            demand(session, ground, word_for(junk, word.source), junk, "no_delta", "bad_delta")
        assert see(ground) == was
        demand_the_part(session, ground)


def bombs(length: int) -> Iterator[bytes]:
    """Yield deltas out of nothing for a part of this length, whose frames hold far more."""
    count = -(-length // SEGMENT_BYTES)
    zeros = zstd.compress(bytes(256 * MIB), 1)
    yield world.build(Head(0, length), [Segment(Kind.PLAIN, len(zeros))] * count, zeros * count)
    # The same, with a header that says what was announced.
    parts: dict[int, int] = {zstd.CompressionParameter.content_size_flag: 0}
    unknown = zstd.compress(bytes(256 * MIB), options=parts)
    yield world.build(Head(0, length), [Segment(Kind.PLAIN, len(unknown))] * count, unknown * count)
    two = zstd.compress(bytes(min(length, SEGMENT_BYTES)), 1) + zeros
    yield world.build(Head(0, length), [Segment(Kind.PLAIN, len(two))] * count, two * count)


def peak_mib(session: Session) -> float:
    """Return the highest resident size of the installer, interpreter included."""
    status = Path(f"/proc/{session.installer.process.pid}/status").read_text()
    line = next(x for x in status.splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def test_bombs_cost_neither_memory_nor_room(ground: Ground) -> None:
    size = sum(path.stat().st_size for path in ground.folder.rglob("*") if path.is_file())
    with ground.begin("2", "1") as session:
        for bomb in bombs(len(ground.make("2"))):
            rules = ("bad_delta", "wrong_hash")
            demand(session, ground, word_for(bomb, EMPTY_SOURCE), bomb, *rules)
            assert peak_mib(session) < MEMORY_MIB
        left = sum(path.stat().st_size for path in ground.folder.rglob("*") if path.is_file())
        assert left <= size + len(ground.make("2"))
        demand_the_part(session, ground)


def test_a_bomb_that_the_manifest_announces_needs_the_room_first(ground: Ground) -> None:
    """64 GiB of copies of nothing, and the part is said to be as long."""
    length = 2**36
    free = os.statvfs(ground.folder)
    if free.f_bavail * free.f_frsize > length:
        length = free.f_bavail * free.f_frsize + MIB
    frame = zstd.compress(bytes(SEGMENT_BYTES), 1)
    count = -(-length // SEGMENT_BYTES)
    head = Head(0, min(length, 2**36))
    bomb = world.build(head, [Segment(Kind.PLAIN, len(frame))] * count, frame)
    part = ground.part("2", "1")
    huge = PartWord(
        "part", part.installer, "place", part.sha256, length, part.before,
        part.unpacked_bytes, part.unpacked_files,
    )  # fmt: skip
    was = see(ground)
    with ground.plan(Plan("kiosk", (huge,)), bomb) as session:
        word = word_for(bomb, EMPTY_SOURCE)
        demand(session, ground, word, bomb, "disk_full")
    assert see(ground) == was


def test_an_archive_out_of_a_delta_keeps_the_rules_of_archives(tmp_path: Path) -> None:
    """What a delta makes is the signed part, and may still be one made to hurt."""
    ground = DirectoryGround(tmp_path)
    ground.install("1")
    was = see(ground)
    many = make_archive({f"f{n}": b"x" for n in range(60)})
    large = make_archive({"f": bytes(MIB)})
    for blob, files, size in ((many, 50, MIB), (large, 50, MIB // 2)):
        delta = world.make(b"", blob, make_folder(tmp_path))
        digest = hashlib.sha256(blob).hexdigest()
        before = ground.part("1").sha256
        part = PartWord("part", "directory", "place", digest, len(blob), before, size, files)
        with ground.plan(Plan("kiosk", (part,)), delta) as session:
            word = word_for(delta, EMPTY_SOURCE)
            demand(session, ground, word, delta, "archive_too_big")
    assert see(ground) == was


def make_folder(above: Path) -> Path:
    folder = above / "made"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    return folder


def test_a_delta_that_changes_after_its_hash_was_right(tmp_path: Path) -> None:
    """Guard owns the file, and guard may have been taken over."""
    place = tmp_path / "app"
    old = make_archive({"f": random.Random(1).randbytes(50_000)})
    new = make_archive({"f": random.Random(1).randbytes(50_000) + b"new"})
    other = make_archive({"f": random.Random(1).randbytes(50_000) + b"bad"})
    assert len(new) == len(other)
    parts = [
        PartWord("part", "directory", "place", hashlib.sha256(x).hexdigest(), len(x),
                 unpacked_bytes=MIB, unpacked_files=9)
        for x in (old, new)
    ]  # fmt: skip
    installer = DirectoryInstaller(place)
    good, bad = (world.make(b"", each, make_folder(tmp_path)) for each in (new, other))
    file = tmp_path / "staged"
    for changed in (bad, good[:40], bad[:-1] + b"?", good + b"more"):
        file.write_bytes(good.ljust(len(bad), b"."))
        source = Source(os.open(file, os.O_RDONLY), 0, len(good))
        word = word_for(good, EMPTY_SOURCE)
        told: list[int] = []

        def tell(done: int, changed: bytes = changed, told: list[int] = told) -> None:
            if not told:
                file.write_bytes(changed)
            told.append(done)

        try:
            installer.patch(parts[1], source, word, tell)
        except FleetwardError as e:
            assert e.reason in ("wrong_hash", "bad_delta", "wrong_length", "no_delta")
        else:
            assert changed.startswith(good)
            assert (place / "releases" / parts[1].sha256 / "f").read_bytes().endswith(b"new")
            installer.clear(parts[1], tell)
        finally:
            os.close(source.descriptor)
        assert not list((place / "releases").iterdir())


def test_memory_stays_bounded_for_a_long_part(tmp_path: Path) -> None:
    ground = SlotGround(tmp_path)
    SlotGround.size, was = 60 * MIB, SlotGround.size
    try:
        ground.install("1")
        old = ground.make("1")
        ground._made["2"] = b"2" + old[1 : 30 * MIB] + b"new" + old[30 * MIB : -4] + b"2"
        with ground.begin("2", "1") as session:
            assert session.answer(*ground.delta("2", "1")) == Written()
            assert peak_mib(session) < MEMORY_MIB
            assert session.do(Switch()) == Done()
        assert ground.content() == "2"
    finally:
        SlotGround.size = was
