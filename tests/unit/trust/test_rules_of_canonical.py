"""Canonical JSON: each rule broken by bytes that break it alone."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from tests.trust_world import refused

from fleetward.trust.canonical import (
    MAX_DEPTH,
    MAX_INTEGER,
    Json,
    JsonLike,
    decode,
    decode_object,
    encode,
    from_base64url,
    to_base64url,
)
from fleetward.trust.errors import Malformed, Misuse


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ({}, b"{}"),
        ([], b"[]"),
        ("", b'""'),
        (True, b"true"),
        (0, b"0"),
        (-MAX_INTEGER, b"-9007199254740991"),
        ({"b": [1, False], "a": {"z": "", "A": 2}}, b'{"a":{"A":2,"z":""},"b":[1,false]}'),
        ('\b\t\n\f\r"\\/', b'"\\b\\t\\n\\f\\r\\"\\\\/"'),
        ("\x00\x1f\x7f", b'"\\u0000\\u001f\x7f"'),
        ("\u2028\U0001f512", '"\u2028\U0001f512"'.encode()),
    ],
)
def test_a_value_has_exactly_these_bytes(value: Json, data: bytes) -> None:
    assert encode(value) == data
    assert decode(data) == value


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        # Rule 1: no null, no float, under any spelling.
        (b"null", "bad_type"),
        (b"[null]", "bad_type"),
        (b"1.0", "float"),
        (b"1e2", "float"),
        (b"NaN", "float"),
        (b"-Infinity", "float"),
        # Rule 2: keys.
        (b'{"b":1,"a":2}', "not_canonical"),
        (b'{"a":1,"a":1}', "not_canonical"),
        ('{"\u00e4":1}'.encode(), "bad_key"),
        (b'{"\\n":1}', "bad_key"),
        (b'{"' + b"k" * 129 + b'":1}', "bad_key"),
        # Rule 3: integers.
        (b"9007199254740992", "integer_range"),
        (b"-9007199254740992", "integer_range"),
        (b"9" * 5000, "integer_range"),
        (b"-0", "not_canonical"),
        (b"01", "not_json"),
        # Rule 4: strings.
        (b'"\\ud800"', "surrogate"),
        (b'"\xed\xa0\x80"', "not_utf8"),
        (b'"\xff"', "not_utf8"),
        (b'"\xc0\xaf"', "not_utf8"),
        (b'"\\u0041"', "not_canonical"),
        (b'"\\/"', "not_canonical"),
        (b'"\\u001F"', "not_canonical"),
        (b'"a\nb"', "not_json"),
        # Rule 5: nothing around it.
        (b" 1", "not_canonical"),
        (b"[1, 2]", "not_canonical"),
        (b"1\n", "not_canonical"),
        (b"1 1", "not_json"),
        (b"{}{}", "not_json"),
        (b"\xef\xbb\xbf{}", "not_json"),
        (b"", "not_json"),
        (b"'a'", "not_json"),
        (b"[1,]", "not_json"),
        (b"[" * 18 + b"]" * 18, "too_deep"),
        (b"[" * 200_000 + b"]" * 200_000, "too_deep"),
    ],
)
def test_other_bytes_are_refused(data: bytes, reason: str) -> None:
    with refused(Malformed, reason):
        decode(data)


def test_depth_counts_the_levels_below_the_outermost_value() -> None:
    deepest = b"[" * MAX_DEPTH + b"1" + b"]" * MAX_DEPTH
    assert encode(decode(deepest)) == deepest
    with refused(Malformed, "too_deep"):
        decode(b"[" + deepest + b"]")


def test_size_is_bounded_before_anything_is_parsed() -> None:
    with refused(Malformed, "too_large"):
        decode(b'"' + b"a" * 99 + b'"', max_bytes=100)
    with refused(Malformed, "not_an_object"):
        decode_object(b"[]")


@pytest.mark.parametrize(
    ("value", "reason"),
    [(1.5, "bad_type"), (None, "bad_type"), (2**53, "integer_range"), ({1: 2}, "bad_key"),
     ("\ud800", "surrogate"), ({"a": {2, 3}}, "bad_type"), (b"raw", "bad_type")],
)  # fmt: skip
def test_our_own_bad_values_are_bugs(value: JsonLike, reason: str) -> None:
    with refused(Misuse, reason):
        encode(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[JsonLike] = []
    endless.append(endless)
    with refused(Misuse, "too_deep"):
        encode(endless)


def test_read_only_mappings_and_tuples_are_encoded() -> None:
    assert (
        encode(MappingProxyType({"b": (1, 2), "a": MappingProxyType({})})) == b'{"a":{},"b":[1,2]}'
    )


@pytest.mark.parametrize("data", [b"", b"\x00", b"ab", b"abc", bytes(range(256))])
def test_base64url_has_one_spelling(data: bytes) -> None:
    assert from_base64url(to_base64url(data)) == data


@pytest.mark.parametrize("text", ["QQ==", "QR", "+w", "/w", "A", "QQ\n", " QQ", "Q\u00e4", "QQ="])
def test_every_other_base64_is_refused(text: str) -> None:
    with refused(Malformed, "not_base64url"):
        from_base64url(text)
