"""What a replay may do to the terminal that shows it: draw, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.keyholder.access.terminal_safe import LIVE, RESET, VIEW, Filter, one_line


def view(data: bytes) -> bytes:
    return Filter(VIEW).feed(data)


@pytest.mark.parametrize(
    "drawn",
    [
        b"plain text\r\n\ttab",
        b"\x1b[31;1mred\x1b[0m",
        b"\x1b[38;2;1;2;3m\x1b[4:3m",
        b"\x1b[2J\x1b[H\x1b[10;20Hx\x1b[K",
        b"\x1b[?1049h\x1b[?25l\x1b[?25h\x1b[?1049l",
        b"\x1b7\x1b8\x1bM",
        b"\x1b(0lqqk\x1b(B",
        "Grüße, 温度, 🙂".encode(),
        RESET,
    ],
)
def test_what_draws_is_shown(drawn: bytes) -> None:
    assert view(drawn) == drawn
    assert Filter(LIVE).feed(drawn) == drawn


@pytest.mark.parametrize(
    ("name", "hostile"),
    [
        ("clipboard", b"\x1b]52;c;ZXZpbA==\x07"),
        ("clipboard, other end", b"\x1b]52;c;ZXZpbA==\x1b\\"),
        ("clipboard by C1", "\u009d52;c;ZXZpbA==\u009c".encode()),
        ("title", b"\x1b]0;you are root\x07"),
        ("link", b"\x1b]8;;http://evil.example\x07"),
        ("colour question", b"\x1b]10;?\x07"),
        ("device string", b"\x1bP$qm\x1b\\"),
        ("sixel", b"\x1bPq#0;2;0;0;0\x1b\\"),
        ("kitty graphics", b"\x1b_Gf=100;AAAA\x1b\\"),
        ("privacy message", b"\x1b^x\x1b\\"),
        ("start of string", b"\x1bXx\x1b\\"),
        ("a string with an escape in it", b"\x1b]0;a\x1bb\x1b\\"),
    ],
)
def test_strings_are_dropped_even_live(name: str, hostile: bytes) -> None:
    for allowance in (VIEW, LIVE):
        assert Filter(allowance).feed(b"a" + hostile + b"z") == b"az", name


@pytest.mark.parametrize(
    "hostile",
    [
        b"\x1b[c", b"\x1b[>c", b"\x1b[6n", b"\x1b[5n", b"\x1b[?6n", b"\x1b[21t", b"\x1b[8;1;1t",
        b"\x1b[?1000h", b"\x1b[?2004h", b"\x1b[?1h", b"\x1b[4h", b"\x1b[20h", b"\x1b[0i",
        b"\x1b[5i",
        b"\x1b[0q", b"\x1b[!p", b"\x1b[?25;1000h", b"\x1b[>4;2m", b"\x1bc", b"\x1b=", b"\x1b#8",
        b"\x1b%G", b"\x1bZ", b"\x05", b"\x07", b"\x0e", b"\x7f", b"\x1b[" + b"1;" * 200 + b"H",
    ],
)  # fmt: skip
def test_what_asks_prints_types_or_sets_modes_is_not_viewed(hostile: bytes) -> None:
    shown = view(b"a" + hostile + b"z")
    assert shown.startswith(b"a")
    assert shown.endswith(b"z")
    assert b"\x1b" not in shown
    assert not set(shown) & {0x05, 0x07, 0x0E, 0x7F}


def test_text_cannot_be_turned_around() -> None:
    assert view("a\u202egnp.exe\u2066b".encode()) == b"agnp.exeb"


def test_a_string_that_never_ends_shows_nothing() -> None:
    stream = Filter(VIEW)
    assert stream.feed(b"ok\x1b]0;") == b"ok"
    assert stream.feed(b"x" * 100_000) == b""
    assert stream.feed(b"\x07back") == b"back"


HOSTILE = st.lists(
    st.one_of(
        st.sampled_from([b"\x1b", b"\x1b[", b"\x1b]52;c;QQ==", b"\x07", b"\x1b\\", b"\x9b", b"6n"]),
        st.sampled_from(
            [b"\xc2\x9d", b"m", b"?25h", b"\x18", b"\xff", b"text", b";1", b"\x1b[31m"]
        ),
        st.binary(max_size=8),
    ),
    max_size=30,
).map(b"".join)


@given(HOSTILE, st.integers(1, 7))
def test_where_it_is_cut_makes_no_difference(data: bytes, size: int) -> None:
    whole = view(data)
    stream = Filter(VIEW)
    assert b"".join(stream.feed(data[i : i + size]) for i in range(0, len(data), size)) == whole


@given(HOSTILE)
def test_what_was_let_through_is_let_through_again(data: bytes) -> None:
    once = view(data)
    assert view(once) == once
    for introducer in (b"\x1b]", b"\x1bP", b"\x1b_", b"\x1b^", b"\x1bX", b"\x07", b"\xc2\x9d"):
        assert introducer not in once


def test_one_line_of_somebody_else() -> None:
    assert one_line("a\nb\x1b[31mc\u202e") == "a b [31mc "
