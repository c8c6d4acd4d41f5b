"""One strict JSON encoding, so that equal values are equal bytes.

Rules (a subset of RFC 8785, the JSON Canonicalization Scheme):

1. A value is an object, a list, a string, an integer or a boolean. There is no null and no float.
2. Object keys are printable ASCII, at most 128 characters, and sorted; a key stands once.
3. Integers lie within +-(2^53 - 1), so that every language reads the same number.
4. Strings are valid Unicode (no lone surrogates), written raw in UTF-8, escaped only where
   RFC 8785 section 3.2.2.2 demands it.
5. No white space, nothing before and nothing behind the value.

`decode` accepts exactly the bytes that `encode` would write for the value, and nothing else.

    >>> encode({"b": 1, "a": ["x", True]})
    b'{"a":["x",true],"b":1}'
    >>> decode(b'{"a":1}')
    {'a': 1}
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NoReturn, TypeAlias

from fleetward.trust.errors import Malformed, Misuse

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | bool"
JsonObject: TypeAlias = "dict[str, Json]"
JsonLike: TypeAlias = "Mapping[str, JsonLike] | Sequence[JsonLike] | str | int | bool"

MAX_DEPTH: Final = 16
"""Levels below the outermost value, scalars included. Our deepest document has seven."""
MAX_BYTES: Final = 8 * 1024 * 1024
"""Bytes of one document: an inventory of 20,000 packages stays under half of it."""
MAX_INTEGER: Final = 2**53 - 1
"""The largest integer that an IEEE 754 double holds exactly (RFC 8259 section 6)."""
MAX_KEY_CHARACTERS: Final = 128
"""Characters of an object key. Ours are words; the bound keeps hostile ones small."""


def encode(value: JsonLike) -> bytes:
    """Return the canonical bytes of a value.

    Raises `Misuse` when the value breaks a rule: our own code made it.
    """
    try:
        _check(value, 0)
        return _dump(value)
    except Malformed as e:
        raise Misuse(f"A value that cannot be encoded was given: {e}", reason=e.reason) from e


def decode(data: bytes, *, max_bytes: int = MAX_BYTES) -> Json:
    """Return the value that canonical bytes stand for.

    Raises `Malformed` for anything that `encode` would not have written byte for byte.
    """
    if len(data) > max_bytes:
        raise Malformed(
            f"Expected at most {max_bytes} bytes of JSON, got {len(data)}.", reason="too_large"
        )
    try:
        text = data.decode("utf-8", errors="strict")
    except UnicodeDecodeError as e:
        raise Malformed(f"Expected UTF-8; the byte at {e.start} is not.", reason="not_utf8") from e
    try:
        value = _DECODER.decode(text)
    except RecursionError as e:
        raise Malformed(
            f"Expected at most {MAX_DEPTH} levels of nesting.", reason="too_deep"
        ) from e
    except json.JSONDecodeError as e:
        raise Malformed(f"Expected one JSON value: {e}.", reason="not_json") from e
    except ValueError as e:  # an integer of thousands of digits
        raise Malformed("Expected integers within 53 bits.", reason="integer_range") from e
    _check(value, 0)
    if _dump(value) != data:
        raise Malformed(
            "Expected canonical JSON (sorted keys, each once, no white space, shortest escapes).",
            reason="not_canonical",
        )
    checked: Json = value
    return checked


def decode_object(data: bytes, *, max_bytes: int = MAX_BYTES) -> JsonObject:
    """Like `decode`, for bytes that must hold an object. Raises `Malformed`."""
    value = decode(data, max_bytes=max_bytes)
    if not isinstance(value, dict):
        raise Malformed("Expected a JSON object.", reason="not_an_object")
    return value


def to_base64url(data: bytes) -> str:
    """Return base64url without padding (RFC 4648 section 5), as all bytes in our JSON."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_base64url(text: str) -> bytes:
    """Return the bytes of unpadded base64url. Raises `Malformed` unless it is the only spelling."""
    try:
        data = base64.b64decode(
            text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True
        )
    except (binascii.Error, ValueError) as e:
        raise Malformed("Expected base64url without padding.", reason="not_base64url") from e
    if to_base64url(data) != text:
        raise Malformed("Expected the canonical base64url spelling.", reason="not_base64url")
    return data


def _dump(value: object) -> bytes:
    return _ENCODER.encode(value).encode("utf-8")


def _refuse_float(text: str) -> NoReturn:
    raise Malformed(f"Expected integers only, got {text[:32]!r}.", reason="float")


# Made once: they hold nothing between calls, and making them costs more than a small document.
_DECODER: Final = json.JSONDecoder(parse_float=_refuse_float, parse_constant=_refuse_float)
_ENCODER: Final = json.JSONEncoder(
    sort_keys=True,
    separators=(",", ":"),
    ensure_ascii=False,
    allow_nan=False,
    default=dict,  # a read-only mapping; `_check` has let nothing else through
)


def _check(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Malformed(f"Expected at most {MAX_DEPTH} levels of nesting.", reason="too_deep")
    if isinstance(value, str):
        _check_string(value)
    elif isinstance(value, bool):
        return
    elif isinstance(value, int):
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise Malformed("Expected integers within 53 bits.", reason="integer_range")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check_key(key)
            _check(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, depth + 1)
    else:
        raise Malformed(
            f"Expected object, list, string, integer or boolean, got {type(value).__name__}.",
            reason="bad_type",
        )


@lru_cache(maxsize=1024)  # documents use the same few words; a bad key raises and is not kept
def _check_key(key: object) -> None:
    if (
        not isinstance(key, str)
        or not key.isascii()
        or not key.isprintable()
        or len(key) > MAX_KEY_CHARACTERS
    ):
        raise Malformed("Expected object keys of printable ASCII.", reason="bad_key")


def _check_string(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as e:
        raise Malformed("Expected no lone surrogates in strings.", reason="surrogate") from e
