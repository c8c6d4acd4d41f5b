"""Bills of materials, for showing: how many components, and what differs from the one before.

CycloneDX JSON of a maker's, read with bounds. It is shown and decides nothing; what cannot be read
is none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MAX_COMPONENTS: Final = 100_000
MAX_SHOWN: Final = 200
"""Differences of each kind that a page gets."""
MAX_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Difference:
    """What one bill has more, less and otherwise than the one before."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


def read_bill(data: bytes) -> dict[str, str] | None:
    """Return the versions of components by their names, or None for what is no bill."""
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    listed = value.get("components", []) if isinstance(value, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_COMPONENTS:
        return None
    found: dict[str, str] = {}
    for each in listed:
        if isinstance(each, dict) and isinstance(each.get("name"), str):
            group, version = each.get("group"), each.get("version")
            name = f"{group}/{each['name']}" if isinstance(group, str) and group else each["name"]
            found[name[:MAX_CHARACTERS]] = version[:64] if isinstance(version, str) else ""
    return found


def compare_bills(before: Mapping[str, str], after: Mapping[str, str]) -> Difference:
    """Return what differs, in words as `openssl 3.0.1`."""
    added = [_say(name, after[name]) for name in sorted(after.keys() - before.keys())]
    removed = [_say(name, before[name]) for name in sorted(before.keys() - after.keys())]
    changed = [
        f"{name} {before[name] or '?'} to {after[name] or '?'}"
        for name in sorted(after.keys() & before.keys())
        if before[name] != after[name]
    ]
    return Difference(
        tuple(added[:MAX_SHOWN]), tuple(removed[:MAX_SHOWN]), tuple(changed[:MAX_SHOWN])
    )


def _say(name: str, version: str) -> str:
    return f"{name} {version}".rstrip()
