"""Parsers of the collector on whatever bytes come, and rules that hold for all values."""

from __future__ import annotations

import contextlib
import struct
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetward.device.posture.debversion import compare_versions
from fleetward.device.posture.dpkg import find_offers, parse_status
from fleetward.device.posture.elf import judge_elf
from fleetward.device.posture.files import show_text
from fleetward.device.posture.processes import read_unit
from fleetward.device.posture.sockets import parse_table
from fleetward.device.posture.software import parse_rpm_header
from fleetward.server.posture.decide import combine
from fleetward.trust.errors import Malformed
from fleetward.wire.posture import Package, decode_inventory

VERSION = st.text("0123456789abzAZ.+-~:", max_size=12)
UNHURRIED = settings(deadline=None)
"""Files are written and other tests run beside these."""
WORD = st.integers(0, 2**32 - 1)
WIDE = st.integers(0, 2**64 - 1)


@UNHURRIED
@given(VERSION, VERSION, VERSION)
def test_versions_are_totally_ordered(a: str, b: str, c: str) -> None:
    assert compare_versions(a, b) == -compare_versions(b, a)
    assert compare_versions(a, a) == 0
    if compare_versions(a, b) <= 0 and compare_versions(b, c) <= 0:
        assert compare_versions(a, c) <= 0


@UNHURRIED
@given(VERSION, VERSION)
def test_a_tilde_is_older_than_the_end(a: str, b: str) -> None:
    upstream = a.replace(":", "").replace("-", "").lstrip("~") + "1"
    assert compare_versions(f"{upstream}~{b.replace('-', '').replace(':', '')}", upstream) == -1


def _judge(content: bytes) -> None:
    with tempfile.TemporaryFile() as stream:
        stream.write(content)
        stream.flush()
        with contextlib.suppress(Malformed):
            judge_elf(stream.fileno())


@UNHURRIED
@given(st.binary(max_size=400))
def test_elf_on_random_bytes(content: bytes) -> None:
    _judge(b"\x7fELF" + content)


@UNHURRIED
@given(
    offset=WIDE,
    size=st.sampled_from([0, 32, 56, 0xFFFF]),
    count=st.integers(0, 0xFFFF),
    segments=st.lists(st.tuples(st.sampled_from([1, 2, 3]), WORD, WIDE, WIDE, WIDE, WIDE, WIDE)),
    tags=st.lists(st.tuples(st.sampled_from([0, 5, 10, 24, 30]), WIDE), max_size=8),
)
def test_elf_with_absurd_headers(
    offset: int, size: int, count: int, segments: list[tuple[int, ...]], tags: list[tuple[int, int]]
) -> None:
    header = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + struct.pack("<HHIQQQIHHH", 3, 62, 1, 0, offset,
                                                              0, 0, 64, size, count)  # fmt: skip
    table = b"".join(struct.pack("<IIQQQQQQ", *row, 8) for row in segments)
    _judge(header + b"\0" * 8 + table + b"".join(struct.pack("<QQ", *tag) for tag in tags))
    sound = struct.pack("<HHIQQQIHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, len(segments))
    _judge(b"\x7fELF\x02\x01\x01" + b"\0" * 9 + sound.ljust(48, b"\0") + table)


@UNHURRIED
@given(st.lists(st.binary(max_size=80), max_size=20))
def test_dpkg_records_of_random_bytes(blocks: list[bytes]) -> None:
    rows, skipped = parse_status(blocks)
    assert skipped >= 0
    assert all(isinstance(row.package, Package) and row.package.name for row in rows)
    find_offers(blocks, {b"x"})


@UNHURRIED
@given(
    st.lists(
        st.sampled_from(
            [b"Package: a\n", b"Version: 1\n", b"Status: install ok installed\n", b"\n", b"Package"]
        ),
        max_size=30,
    ),
    st.integers(1, 40),
)
def test_where_a_block_ends_changes_nothing(lines: list[bytes], size: int) -> None:
    text = b"".join(lines)
    blocks = [text[at : at + size] for at in range(0, len(text), size)]
    assert parse_status(blocks) == parse_status([text])


@UNHURRIED
@given(st.binary(max_size=300))
def test_rpm_headers_of_random_bytes(blob: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert parse_rpm_header(blob).name


@UNHURRIED
@given(WORD, WORD, st.lists(st.tuples(WORD, WORD, st.integers(-(2**31), 2**31 - 1), WORD)))
def test_rpm_headers_that_claim_anything(
    count: int, size: int, entries: list[tuple[int, int, int, int]]
) -> None:
    index = b"".join(struct.pack(">IIiI", *entry) for entry in entries)
    for head in (struct.pack(">II", count, size), struct.pack(">II", len(entries), 0)):
        with contextlib.suppress(Malformed):
            parse_rpm_header(head + index)


@UNHURRIED
@given(st.binary(max_size=500))
def test_socket_tables_of_random_bytes(table: bytes) -> None:
    rows, broken = parse_table("tcp", b"head\n" + table)
    assert broken >= 0
    assert all(0 <= row.port <= 65535 for row in rows)


@UNHURRIED
@given(st.binary(max_size=200))
def test_cgroups_of_random_bytes(content: bytes) -> None:
    unit = read_unit(content)
    assert unit is None or unit.isprintable()


@UNHURRIED
@given(st.one_of(st.binary(max_size=700), st.text(max_size=700)))
def test_shown_text_holds_no_control_characters(raw: bytes | str) -> None:
    shown = show_text(raw)
    assert len(shown) <= 512
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in shown)
    shown.encode()


@UNHURRIED
@given(st.binary(max_size=300))
def test_inventories_of_random_bytes(content: bytes) -> None:
    with contextlib.suppress(Malformed):
        decode_inventory(content)


@UNHURRIED
@given(st.lists(st.sampled_from([True, False, None]), max_size=6))
def test_what_was_not_seen_is_never_shown(truths: list[bool | None]) -> None:
    state = combine(truths)
    if state == "shown":
        assert truths
        assert all(truths)
    if state == "not_visible":
        assert set(truths) <= {None}
    if state == "not_shown":
        assert True not in truths
