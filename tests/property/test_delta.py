"""Whatever was edited, a delta yields the new file, and is no longer than the file packed."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests import delta_world as world

from fleetward.keyholder.maker.likeness import Anchors
from fleetward.trust.errors import FleetwardError
from fleetward.wire.delta import HEAD_BYTES, SEGMENT_BYTES, Head, read_head, read_table

contents = st.one_of(
    st.binary(max_size=2000),
    st.integers(0, 60_000).map(world.noise),
    st.integers(0, 60_000).map(world.prose),
    st.integers(0, 60_000).map(bytes),
)
edits = st.lists(
    st.tuples(
        st.integers(0, 2**16),
        st.integers(0, 5000),
        st.one_of(st.binary(max_size=300), st.integers(0, 5000).map(world.noise)),
    ),
    max_size=8,
)


def edit(data: bytes, wanted: list[tuple[int, int, bytes]]) -> bytes:
    """Replace pieces by others of other lengths."""
    for at, length, piece in wanted:
        begin = at % (len(data) + 1)
        data = data[:begin] + piece + data[begin + length :]
    return data


@settings(deadline=None, max_examples=40)
@given(contents, edits, st.integers(0, 30_000))
def test_edits_of_any_kind(old: bytes, wanted: list[tuple[int, int, bytes]], turned: int) -> None:
    new = edit(old[turned:] + old[:turned], wanted)
    with tempfile.TemporaryDirectory() as folder:
        delta = world.make(old, new, Path(folder))
    assert world.apply(old, delta, limit_bytes=len(new)) == new
    alone = world.zstd.compress(new, 19)
    assert len(delta) <= HEAD_BYTES + len(world.table(delta)) * 17 + len(alone) + 16


@settings(deadline=None)
@given(st.integers(0, 60_000), st.integers(0, 60_000), st.integers(1, 4000), st.integers(1, 9999))
def test_a_likeness_lies_within_the_old_file(
    length: int, begin: int, reach: int, longest: int
) -> None:
    old = world.prose(length)
    like = Anchors(old).find(world.prose(begin + reach), begin, begin + reach, longest=longest)
    assert 0 <= like.offset <= like.offset + like.length <= length
    assert like.length == min(longest, length)


@settings(deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 3 * SEGMENT_BYTES), st.binary(max_size=51))
def test_numbers_that_are_read_keep_their_bounds(source: int, target: int, table: bytes) -> None:
    head = Head(source, target)
    try:
        segments = read_table(head, table)
    except FleetwardError:
        return
    assert sum(map(head.segment_bytes, range(len(segments)))) == target
    assert all(each.offset + each.length <= source for each in segments)


@given(st.binary(max_size=HEAD_BYTES + 2))
def test_hostile_heads_raise_nothing_but_ours(data: bytes) -> None:
    try:
        read_head(data)
    except FleetwardError:
        return
    raise AssertionError("a head without the magic was read")
