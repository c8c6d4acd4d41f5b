"""Typed fields: what is missing, unknown, of another type or out of bounds is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.trust_world import refused

from fleetward.trust.canonical import Json
from fleetward.trust.errors import Malformed
from fleetward.trust.fields import Fields, require_digest, require_key_id

Reader = Callable[[Fields], object]


def of(value: Json) -> Fields:
    return Fields({"x": value}, "a test", {"x"})


READERS: dict[str, Reader] = {
    "text": lambda f: f.text("x", most=4, least=1),
    "choice": lambda f: f.choice("x", ("a", "b")),
    "integer": lambda f: f.integer("x", low=1, high=9),
    "boolean": lambda f: f.boolean("x"),
    "digest": lambda f: f.digest("x"),
    "key_id": lambda f: f.key_id("x"),
    "binary": lambda f: f.binary("x", most=4),
    "items": lambda f: f.items("x", most=2),
    "texts": lambda f: f.texts("x", most=2),
    "map": lambda f: f.map("x"),
}


@pytest.mark.parametrize(
    ("reader", "value", "result"),
    [
        ("text", "pump", "pump"),
        ("text", "\U0001f512" * 4, "\U0001f512" * 4),
        ("choice", "b", "b"),
        ("integer", 9, 9),
        ("boolean", False, False),
        ("digest", "0a" * 32, "0a" * 32),
        ("key_id", "a2" * 16, "a2" * 16),
        ("binary", "AAAAAA", bytes(4)),
        ("items", [1, "a"], [1, "a"]),
        ("texts", ["b", "a"], ("b", "a")),
        ("map", {"a": 1}, {"a": 1}),
    ],
)
def test_a_good_value_is_returned(reader: str, value: Json, result: object) -> None:
    assert READERS[reader](of(value)) == result


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        ("text", ""),
        ("text", "pumps"),
        ("text", 7),
        ("text", "a\nb"),
        ("text", "a\x7f"),
        ("text", "a\x85"),
        ("text", "a\u202eb"),
        ("text", "a\u2066b"),
        ("text", "a\u2028b"),
        ("text", "a\ufeff"),
        ("choice", "c"),
        ("choice", 1),
        ("integer", 0),
        ("integer", 10),
        ("integer", True),
        ("integer", "1"),
        ("boolean", 1),
        ("boolean", "true"),
        ("digest", "0A" * 32),
        ("digest", "0a" * 31),
        ("digest", "0a" * 32 + "\n"),
        ("key_id", "a1" * 16),
        ("key_id", "A2" * 16),
        ("key_id", 5),
        ("binary", "AAAAAAA"),
        ("binary", "A" * 40),
        ("binary", 5),
        ("items", [1, 2, 3]),
        ("items", "ab"),
        ("texts", ["a", "a"]),
        ("texts", ["a", 1]),
        ("texts", ["a\nb"]),
        ("texts", ["a", "b", "c"]),
        ("map", []),
    ],
)
def test_a_bad_value_is_refused(reader: str, value: Json) -> None:
    with refused(Malformed, "bad_field"):
        READERS[reader](of(value))


def test_five_bytes_do_not_pass_a_bound_of_four() -> None:
    with refused(Malformed, "bad_field"):
        of("AAAAAAA").binary("x", most=4)


def test_the_field_set_is_exact() -> None:
    with refused(Malformed, "missing_field"):
        Fields({"a": 1}, "a test", {"a", "b"})
    with refused(Malformed, "unknown_field"):
        Fields({"a": 1, "b": 1}, "a test", {"a"})
    with refused(Malformed, "bad_fields"):
        Fields([], "a test", {"a"})
    assert Fields({"a": 1, "b": 1}, "a test", {"a"}, {"b", "c"}).has("b")
    assert not Fields({"a": 1}, "a test", {"a"}, {"b"}).has("b")


def test_loose_digests_and_ids_are_checked() -> None:
    assert require_digest("ab" * 32, "it") == "ab" * 32
    assert require_key_id("ab" * 16, "it") == "ab" * 16
    with refused(Malformed, "bad_field"):
        require_digest("ab" * 32 + "\n", "it")
    with refused(Malformed, "bad_field"):
        require_key_id("ab" * 15, "it")
