"""Canonical JSON: equal values are equal bytes, and no other bytes are accepted."""

from __future__ import annotations

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fleetward.trust.canonical import (
    MAX_INTEGER,
    Json,
    decode,
    encode,
    from_base64url,
    to_base64url,
)
from fleetward.trust.errors import Malformed

UNHURRIED = settings(deadline=None)
"""A shared machine is slow at times; what counts is the answer."""

KEYS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)
SCALARS = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.booleans()
)
VALUES: st.SearchStrategy[Json] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def accepts_only_what_encode_writes(data: bytes) -> None:
    try:
        value = decode(data)
    except Malformed:
        return
    assert encode(value) == data


@UNHURRIED
@given(VALUES)
def test_what_is_encoded_is_decoded(value: Json) -> None:
    data = encode(value)
    assert decode(data) == value
    assert encode(decode(data)) == data
    assert json.loads(data) == value


@UNHURRIED
@given(VALUES, st.randoms(use_true_random=False))
def test_the_order_of_making_does_not_matter(value: Json, random: object) -> None:
    def shuffled(item: Json) -> Json:
        if isinstance(item, dict):
            keys = list(item)
            random.shuffle(keys)  # type: ignore[attr-defined]
            return {k: shuffled(item[k]) for k in keys}
        return [shuffled(i) for i in item] if isinstance(item, list) else item

    assert encode(shuffled(value)) == encode(value)


@UNHURRIED
@given(VALUES, st.data())
def test_changed_bytes_are_refused_or_are_another_values_own_bytes(
    value: Json, draw: st.DataObject
) -> None:
    data = bytearray(encode(value))
    for _ in range(draw.draw(st.integers(1, 3))):
        place = draw.draw(st.integers(0, len(data)))
        what = draw.draw(st.sampled_from(["replace", "insert", "delete", "swap"]))
        byte = draw.draw(st.sampled_from(b' {}[]",:0123456789-+.eE\\unulltrue\x00\x7f\x80\xff\n/'))
        if what == "insert" or place >= len(data):
            data.insert(place, byte)
        elif what == "replace":
            data[place] = byte
        elif what == "delete":
            del data[place]
        else:
            data[place], data[-1] = data[-1], data[place]
    accepts_only_what_encode_writes(bytes(data))


@UNHURRIED
@given(st.binary(max_size=64))
@example(b'"\\uD800\\uDC00"')
@example(b'{"a":1,"a":1}')
def test_any_bytes(data: bytes) -> None:
    accepts_only_what_encode_writes(data)


@UNHURRIED
@given(VALUES, st.booleans(), st.sampled_from([None, 1, " "]))
def test_other_spellings_of_a_value_are_refused(
    value: Json, ascii_only: bool, indent: int | str | None
) -> None:
    spelled = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    accepts_only_what_encode_writes(spelled)


@UNHURRIED
@given(st.binary(max_size=40))
def test_base64url_round_trips(data: bytes) -> None:
    assert from_base64url(to_base64url(data)) == data


@UNHURRIED
@given(st.text(st.sampled_from("ABCwQx019-_+/= \n"), max_size=8))
def test_base64url_has_one_spelling(text: str) -> None:
    try:
        data = from_base64url(text)
    except Malformed:
        return
    assert to_base64url(data) == text
