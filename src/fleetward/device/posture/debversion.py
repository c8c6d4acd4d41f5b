"""Comparing versions of Debian packages, as deb-version(7) of dpkg defines it."""

from __future__ import annotations

import re
from functools import cmp_to_key
from typing import Final

_PARTS: Final = re.compile(r"([^0-9]*)([0-9]*)")

_END_WEIGHT: Final = 0
_LETTERS_BEFORE_REST: Final = 256


def _weight(character: str) -> int:
    """A tilde sorts before the end of a part, letters before everything else."""
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + _LETTERS_BEFORE_REST


def _compare_text(left: str, right: str) -> int:
    for index in range(max(len(left), len(right))):
        a = _weight(left[index]) if index < len(left) else _END_WEIGHT
        b = _weight(right[index]) if index < len(right) else _END_WEIGHT
        if a != b:
            return -1 if a < b else 1
    return 0


def _compare_number(left: str, right: str) -> int:
    """Compare decimal numbers of any length without making integers of them."""
    a, b = left.lstrip("0"), right.lstrip("0")
    left_key, right_key = (len(a), a), (len(b), b)
    return (left_key > right_key) - (left_key < right_key)


def _compare_part(left: str, right: str) -> int:
    a, b = _PARTS.findall(left), _PARTS.findall(right)
    for index in range(max(len(a), len(b))):
        text_a, number_a = a[index] if index < len(a) else ("", "")
        text_b, number_b = b[index] if index < len(b) else ("", "")
        order = _compare_text(text_a, text_b) or _compare_number(number_a, number_b)
        if order:
            return order
    return 0


def split_version(version: str) -> tuple[str, str, str]:
    """Return epoch, upstream version and revision; an absent one counts as zero."""
    epoch, colon, rest = version.strip().partition(":")
    if not colon or not epoch.isdecimal():
        epoch, rest = "0", version.strip()
    upstream, hyphen, revision = rest.rpartition("-")
    return (epoch, upstream, revision) if hyphen else (epoch, rest, "0")


def compare_versions(left: str, right: str) -> int:
    """Return -1, 0 or 1 as `left` is older than, the same as or newer than `right`.

    Never raises: a version that the standard would refuse still has a place in the order.
    """
    if left == right:
        return 0
    epoch_a, upstream_a, revision_a = split_version(left)
    epoch_b, upstream_b, revision_b = split_version(right)
    return (
        _compare_number(epoch_a, epoch_b)
        or _compare_part(upstream_a, upstream_b)
        or _compare_part(revision_a, revision_b)
    )


version_key: Final = cmp_to_key(compare_versions)
"""For `max` and `sorted`."""
