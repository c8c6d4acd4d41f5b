"""The pure difference between two looks, and the document made of it, over generated machines."""

from __future__ import annotations

import stat

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetward.device.posture.compare.differ import KINDS, Delta, find_deltas
from fleetward.device.posture.compare.findings import RULES, judge
from fleetward.device.posture.compare.making import Frame, make_comparison
from fleetward.device.posture.compare.snapshot import (
    FileState,
    Row,
    Snapshot,
    pack_snapshot,
    unpack_snapshot,
)
from fleetward.wire.comparison import MAX_COMPARISON_BYTES, decode_comparison

FRAME = Frame("a" * 32, "ab" * 32, 1, 2, 3, 4)
NAMES = st.sampled_from(["a", "b", "eve", "x.service", "y.timer"])
TEXTS = st.sampled_from(["", "0", "1000", "set", "empty", "lan", "loopback", "x" * 500, "é"])
WIDE: dict[str, int] = {"user": 6, "group": 2, "key": 5, "socket": 4, "tool": 4, "raised": 4}
STATES = st.builds(
    FileState,
    mode=st.sampled_from([stat.S_IFREG | 0o644, stat.S_IFREG | 0o4755, stat.S_IFDIR | 0o755,
                          stat.S_IFLNK | 0o777]),
    uid=st.integers(0, 2), gid=st.just(0), size=st.integers(0, 3), mtime_ns=st.integers(0, 2),
    ctime_ns=st.integers(0, 9), inode=st.integers(1, 3), content=st.sampled_from(["", "*", "x"]),
)  # fmt: skip
PATHS = ["/etc", "/etc/a", "/etc/a/b", "/srv/eve", "/srv/eve/a"]


def rows_of(kind: str) -> st.SearchStrategy[dict[str, Row]]:
    width = WIDE.get(kind, 2)
    return st.dictionaries(NAMES, st.tuples(*[TEXTS] * width), max_size=4)


@st.composite
def looks(draw: st.DrawFn) -> Snapshot:
    kinds = draw(st.sets(st.sampled_from(KINDS), max_size=5))
    folders = draw(st.dictionaries(st.sampled_from(PATHS), st.dictionaries(NAMES, STATES)))
    partial = draw(st.lists(st.sampled_from(PATHS), unique=True, max_size=2))
    return Snapshot(
        draw(st.booleans()), {kind: draw(rows_of(kind)) for kind in sorted(kinds)}, folders, partial
    )


@settings(max_examples=40)
@given(looks())
def test_a_look_has_no_difference_to_itself_and_survives_its_bytes(look: Snapshot) -> None:
    assert find_deltas(look, look) == []
    assert unpack_snapshot(pack_snapshot(look)) == look


def turned(delta: Delta) -> tuple[str, str, str, Row, Row]:
    other = {"added": "removed", "removed": "added", "changed": "changed"}[delta.change]
    return (delta.kind, other, delta.name, delta.after, delta.before)


@settings(max_examples=40)
@given(looks(), looks())
def test_backwards_everything_is_the_other_way_round(one: Snapshot, two: Snapshot) -> None:
    there = [(d.kind, d.change, d.name, d.before, d.after) for d in find_deltas(one, two)]
    back = [turned(delta) for delta in find_deltas(two, one)]
    assert [each[:3] for each in there] == [each[:3] for each in back]
    assert [e for e in there if e[0] != "file"] == [e for e in back if e[0] != "file"]


@settings(max_examples=40)
@given(looks(), looks())
def test_rows_differ_exactly_where_they_are_not_equal(one: Snapshot, two: Snapshot) -> None:
    """A simple oracle: of a kind that both saw, every name whose values differ, and no other."""
    expected = set()
    for kind in one.facts.keys() & two.facts.keys():
        for name in one.facts[kind].keys() | two.facts[kind].keys():
            if one.facts[kind].get(name) != two.facts[kind].get(name):
                expected.add((kind, name))
    found = [(d.kind, d.name) for d in find_deltas(one, two) if d.kind != "file"]
    assert set(found) == expected and len(found) == len(expected)


@settings(max_examples=40)
@given(looks(), looks())
def test_nothing_is_said_of_what_a_look_did_not_reach(one: Snapshot, two: Snapshot) -> None:
    files = [delta for delta in find_deltas(one, two) if delta.kind == "file"]
    for delta in files:
        parent, _, name = delta.name.rpartition("/")
        early, late = one.folders.get(parent), two.folders.get(parent)
        if delta.change == "added":
            assert late is not None and name in late and (early is None or name not in early)
        if delta.change == "removed":
            assert early is not None and name in early and (late is None or name not in late)
        if delta.change != "changed" and early is not None and late is not None:
            assert parent not in one.partial and parent not in two.partial
        if delta.change == "changed":
            assert early is not None and late is not None and early[name] != late[name]


@settings(max_examples=40)
@given(looks(), looks())
def test_a_document_is_canonical_bounded_and_of_known_rules(one: Snapshot, two: Snapshot) -> None:
    document = make_comparison(FRAME, one, two)
    assert len(document) <= MAX_COMPARISON_BYTES
    found = decode_comparison(document)
    deltas = find_deltas(one, two)
    assert found.change_count == len(deltas)
    assert found.finding_count == len(judge(deltas))
    assert {f.rule for f in found.findings} <= {rule.name for rule in RULES}
    assert make_comparison(FRAME, one, two) == document
