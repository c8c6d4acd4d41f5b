"""A delta that the maker's tool made yields the new file, on a machine that has the old one."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from tests import delta_world as world

from fleetward.device.updates.delta import apply_delta
from fleetward.keyholder.maker.delta import make_delta
from fleetward.keyholder.maker.likeness import Anchors
from fleetward.trust import release_manifest
from fleetward.trust.errors import Malformed, Misuse, Refused
from fleetward.wire.delta import (
    EMPTY_SOURCE,
    ENTRY,
    HEAD_BYTES,
    MAX_LENGTH_BYTES,
    SEGMENT_BYTES,
    SEGMENT_LOG,
    Head,
    Kind,
    read_head,
    read_table,
    write_head,
)

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (b"", b""),
        (b"", b"a"),
        (b"a", b""),
        (b"a", b"a"),
        (b"seven b", b"seven bytes are no dictionary"),
        (b"eight by", b"eight bytes are one"),
        (world.prose(50_000), world.prose(50_000)[7:] + b"more"),
        (world.noise(50_000), world.noise(50_000, seed=2)),
        (bytes(5 * MIB), bytes(5 * MIB + 1)),
        (world.noise(100), bytes(SEGMENT_BYTES)),
    ],
    ids=["nothing", "new", "gone", "same", "tiny", "small", "edited", "other", "zeros", "exact"],
)
def test_round_trip(source: bytes, target: bytes, tmp_path: Path) -> None:
    delta = world.make(source, target, tmp_path)
    assert world.apply(source, delta, limit_bytes=len(target)) == target


def test_the_same_file_is_copied(tmp_path: Path) -> None:
    data = world.noise(9 * MIB)
    delta = world.make(data, data, tmp_path)
    assert [each.kind for each in world.table(delta)] == [Kind.COPY] * 3
    assert len(delta) == HEAD_BYTES + 3 * ENTRY.size
    assert world.apply(data, delta) == data


def test_what_moved_far_is_found_again(tmp_path: Path) -> None:
    old = world.noise(26 * MIB)
    new = b"x" * 13 + old[17 * MIB : 21 * MIB - 13] + world.noise(999, seed=2)
    new += old[3 * MIB + 5 : 4 * MIB] + b"yes" + old[4 * MIB : 4 * MIB + 11]
    delta = world.make(old, new, tmp_path)
    [first, second] = world.table(delta)
    assert first.kind is second.kind is Kind.DICTIONARY
    assert first.offset <= 17 * MIB and first.offset + first.length >= 21 * MIB - 13
    assert second.offset <= 3 * MIB + 5 and second.offset + second.length >= 4 * MIB + 11
    assert len(delta) < 2500
    assert world.apply(old, delta) == new


def test_a_piece_that_moved_as_a_whole_is_copied(tmp_path: Path) -> None:
    old = world.noise(20 * MIB)
    new = old[11 * MIB + 3 : 15 * MIB + 3]
    delta = world.make(old, new, tmp_path)
    [segment] = world.table(delta)
    assert (segment.kind, segment.offset) == (Kind.COPY, 11 * MIB + 3)
    assert world.apply(old, delta) == new


def test_a_delta_out_of_nothing_is_a_packed_file(tmp_path: Path) -> None:
    new = world.prose(300_000)
    delta = world.make(b"", new, tmp_path)
    assert [each.kind for each in world.table(delta)] == [Kind.PLAIN]
    assert len(delta) < len(new) // 3
    assert world.apply(b"whatever is installed", delta) == new
    assert release_manifest.make_blob(b"").sha256 == EMPTY_SOURCE


def test_the_same_files_make_the_same_delta(tmp_path: Path) -> None:
    old = world.noise(MIB) + bytes(8 * MIB) + world.prose(MIB)
    new = old[: MIB // 2] + b"more" + old[MIB // 2 :]
    assert world.make(old, new, tmp_path) == world.make(old, new, tmp_path)


def test_progress_is_told_on_both_sides(tmp_path: Path) -> None:
    data = bytes(9 * MIB)
    (tmp_path / "source").write_bytes(data)
    (tmp_path / "target").write_bytes(data)
    made: list[int] = []
    out = tmp_path / "out"
    make_delta(tmp_path / "source", tmp_path / "target", out, on_progress=made.append)
    done: list[int] = []
    with out.open("rb") as delta:
        apply_delta(
            io.BytesIO(data), delta, io.BytesIO(), limit_bytes=len(data), on_progress=done.append
        )
    assert made == done == [4 * MIB, 8 * MIB, 9 * MIB]


def test_a_delta_that_could_not_be_made_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"old")
    with pytest.raises(FileNotFoundError):
        make_delta(tmp_path / "source", tmp_path / "target", tmp_path / "out")
    (tmp_path / "target").write_bytes(b"new")

    def stop(done_bytes: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_delta(tmp_path / "source", tmp_path / "target", tmp_path / "out", on_progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_another_source_yields_another_file_or_an_error(tmp_path: Path) -> None:
    """Whoever applies it compares the hash: a delta does not know what it was made from."""
    old = world.noise(100_000)
    new = old[:50_000] + b"more" + old[50_000:]
    delta = world.make(old, new, tmp_path)
    other = old[:60_000] + bytes([old[60_000] ^ 1]) + old[60_001:]
    assert world.apply(other, delta) not in (new, other)


def test_a_slot_longer_than_the_source_serves_and_a_shorter_one_does_not(tmp_path: Path) -> None:
    old = world.noise(100_000)
    new = old + b"more"
    delta = world.make(old, new, tmp_path)
    assert world.apply(old + bytes(4096), delta) == new
    with pytest.raises(Refused) as caught:
        world.apply(old[:-1], delta)
    assert caught.value.reason == "source_too_short"


class Dribble(io.RawIOBase):
    """A file that gives and takes a few bytes at a time, as a raw one may."""

    def __init__(self, data: bytes = b"") -> None:
        self.kept = io.BytesIO(data)

    def read(self, size: int | None = -1, /) -> bytes:
        return self.kept.read(min(size or 0, 100))

    def write(self, data: object, /) -> int:
        return self.kept.write(memoryview(data)[:100])  # type: ignore[arg-type]

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self.kept.seek(offset, whence)


def test_short_reads_and_writes_lose_nothing(tmp_path: Path) -> None:
    old = world.noise(5000)
    new = old + b"more" + old
    delta = world.make(old, new, tmp_path)
    target = Dribble()
    apply_delta(
        Dribble(old),  # type: ignore[arg-type]
        Dribble(delta),  # type: ignore[arg-type]
        target,  # type: ignore[arg-type]
        limit_bytes=len(new),
    )
    assert target.kept.getvalue() == new


def test_bounds_agree_with_those_of_a_manifest() -> None:
    assert 2**SEGMENT_LOG == SEGMENT_BYTES == release_manifest.SEGMENT_BYTES
    assert MAX_LENGTH_BYTES == release_manifest.MAX_BLOB_BYTES
    assert read_head(write_head(Head(5, 2**36))) == Head(5, 2**36)
    with pytest.raises(Misuse):
        write_head(Head(2**36 + 1, 1))


@pytest.mark.parametrize("data", [b"", b"FLEETWARD-DELTA-2\n" + bytes(16), bytes(HEAD_BYTES)])
def test_another_file_is_no_delta(data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        read_head(data)
    assert caught.value.reason == "no_delta"


def test_a_table_of_another_length_is_refused() -> None:
    with pytest.raises(Malformed):
        read_table(Head(1, 1), bytes(2 * ENTRY.size))


def test_alikeness_is_found_where_most_is_alike() -> None:
    old = world.noise(3 * MIB) + world.prose(MIB) + world.noise(2 * MIB, seed=2)
    anchors = Anchors(old)
    new = b"shift" + old[4 * MIB + 100_000 : 4 * MIB + 400_000]
    like = anchors.find(new, 0, len(new), longest=MIB)
    assert like.offset <= 4 * MIB + 100_000 and like.offset + MIB >= 4 * MIB + 400_000
    assert like.moved == 4 * MIB + 100_000 - 5
    assert anchors.find(bytes(10), 0, 10, longest=MIB).length == MIB
    assert Anchors(b"").find(new, 0, len(new), longest=MIB).length == 0
