"""Taking typed fields out of decoded JSON, with exact field sets.

A `Fields` reader is opened on an object together with the names that the format knows. Any other
name is an error: what we do not understand in signed data, we do not accept.

    >>> f = Fields({"version": 3, "name": "Plant"}, "example", {"version", "name"})
    >>> f.integer("version", low=1)
    3
"""

from __future__ import annotations

import re
from typing import Final

from fleetward.trust.canonical import MAX_INTEGER, Json, JsonObject, from_base64url
from fleetward.trust.errors import Malformed

MAX_TEXT_CHARACTERS: Final = 1024
"""Characters of a text field; names and reasons are a line, not a book."""
MAX_ITEMS: Final = 4096
"""Items of a list in a signed document."""

_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # Unicode's Bidi_Control
    "\u2028\u2029\ufeff]"  # line and paragraph separator, byte order mark
)
"""Characters that make a text look like another one on a screen where people decide."""
_HEX64 = re.compile(r"[0-9a-f]{64}")
_KEY_ID = re.compile(r"[a-z2-7]{32}")


class Fields:
    """One JSON object of a signed document, read field by field.

    Every reader raises `Malformed` naming the document and the field when it is missing, of
    another type, or out of bounds.
    """

    def __init__(self, value: Json, what: str, names: set[str], optional: set[str] | None = None):
        if not isinstance(value, dict):
            raise Malformed(f"Expected {what} to be an object.", reason="bad_fields")
        present = set(value)
        allowed = names | (optional or set())
        if unknown := sorted(present - allowed):
            raise Malformed(
                f"Expected {what} with the fields {sorted(allowed)}; {unknown[0]!r} is not one.",
                reason="unknown_field",
            )
        if missing := sorted(names - present):
            raise Malformed(
                f"Expected {what} to have the field {missing[0]!r}.", reason="missing_field"
            )
        self._value: JsonObject = value
        self._what = what

    def has(self, name: str) -> bool:
        """Return whether an optional field is present."""
        return name in self._value

    def text(self, name: str, *, most: int = MAX_TEXT_CHARACTERS, least: int = 0) -> str:
        """Return a string of `least` to `most` code points without control characters."""
        value = self._value[name]
        if not isinstance(value, str) or not least <= len(value) <= most:
            raise self._bad(name, f"text of {least} to {most} characters")
        if _UNSEEN.search(value):
            raise self._bad(name, "text without control characters")
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """Return a string that is one of `choices`."""
        value = self._value[name]
        if not isinstance(value, str) or value not in choices:
            raise self._bad(name, f"one of {list(choices)}")
        return value

    def integer(self, name: str, *, low: int = 0, high: int = MAX_INTEGER) -> int:
        """Return an integer within `low` and `high`, both included."""
        value = self._value[name]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._bad(name, f"an integer from {low} to {high}")
        return value

    def boolean(self, name: str) -> bool:
        """Return a boolean."""
        value = self._value[name]
        if not isinstance(value, bool):
            raise self._bad(name, "true or false")
        return value

    def digest(self, name: str) -> str:
        """Return a SHA-256 as 64 lower-case hex digits."""
        value = self._value[name]
        if not isinstance(value, str) or not _HEX64.fullmatch(value):
            raise self._bad(name, "64 lower-case hex digits")
        return value

    def key_id(self, name: str) -> str:
        """Return a key id: 32 characters of lower-case base32."""
        value = self._value[name]
        if not isinstance(value, str) or not _KEY_ID.fullmatch(value):
            raise self._bad(name, "a key id of 32 characters a-z, 2-7")
        return value

    def binary(self, name: str, *, most: int) -> bytes:
        """Return the bytes of a base64url field of at most `most` bytes."""
        value = self._value[name]
        if not isinstance(value, str) or len(value) > most * 4 // 3 + 4:
            raise self._bad(name, f"base64url of at most {most} bytes")
        data = from_base64url(value)
        if len(data) > most:
            raise self._bad(name, f"base64url of at most {most} bytes")
        return data

    def items(self, name: str, *, most: int = MAX_ITEMS) -> list[Json]:
        """Return a list of at most `most` items."""
        value = self._value[name]
        if not isinstance(value, list) or len(value) > most:
            raise self._bad(name, f"a list of at most {most} items")
        return value

    def texts(self, name: str, *, most: int = MAX_ITEMS) -> tuple[str, ...]:
        """Return a list of distinct strings without control characters, in the order given."""
        values = self.items(name, most=most)
        texts = [v for v in values if isinstance(v, str) and len(v) <= MAX_TEXT_CHARACTERS]
        if len(texts) != len(values) or len(set(texts)) != len(texts):
            raise self._bad(name, "a list of distinct strings")
        if any(_UNSEEN.search(t) for t in texts):
            raise self._bad(name, "strings without control characters")
        return tuple(texts)

    def map(self, name: str) -> JsonObject:
        """Return an object of at most `MAX_ITEMS` entries."""
        value = self._value[name]
        if not isinstance(value, dict) or len(value) > MAX_ITEMS:
            raise self._bad(name, "an object")
        return value

    def _bad(self, name: str, expected: str) -> Malformed:
        return Malformed(
            f"Expected {self._what}'s field {name!r} to be {expected}.", reason="bad_field"
        )


def require_digest(text: str, what: str) -> str:
    """Return `text` when it is 64 lower-case hex digits. Raises `Malformed`."""
    if not _HEX64.fullmatch(text):
        raise Malformed(f"Expected {what} to be 64 lower-case hex digits.", reason="bad_field")
    return text


def require_key_id(text: str, what: str) -> str:
    """Return `text` when it is a key id. Raises `Malformed`."""
    if not _KEY_ID.fullmatch(text):
        raise Malformed(f"Expected {what} to be a key id (a-z, 2-7; 32).", reason="bad_field")
    return text
