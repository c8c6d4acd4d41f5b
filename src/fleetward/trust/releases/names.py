"""Names that a hostile repository chooses, made harmless before anybody builds a file name of them.

Rules:

1. A role's name in a file name is percent-encoded but for letters, digits, `_`, `.`, `-` and `~`
   (RFC 3986 section 2.3). So it holds no separator, and no two roles share a file.
2. A path of a target that is handed out is relative, without empty parts, and each part begins
   with a letter, a digit, `_`, `+`, `=`, `@` or `,` and holds no others but `.`, `-` and `~`.
   So there is no `..`, no hidden file, no option of a command, and nothing that a shell reads.

    >>> quote_role("../root")
    '..%2Froot'
"""

from __future__ import annotations

import re
from typing import Final

from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.releases import limits

TOP_LEVEL: Final = ("root", "timestamp", "snapshot", "targets")
"""The four roles that root names. No delegation may use one of these names."""

_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~")
_PART: Final = re.compile(r"[A-Za-z0-9_+=@,][A-Za-z0-9_+=@,.~-]*")


def name_kind(role: str) -> str:
    """Return the word for a role in a reason: its own name, or `delegated`."""
    return role if role in TOP_LEVEL else "delegated"


def quote_role(role: str) -> str:
    """Return a role's name for use in a file name, by rule 1.

    Raises `Malformed` when it is empty, too long, or not Unicode.
    """
    try:
        data = role.encode("utf-8")
    except UnicodeEncodeError as e:
        raise Malformed("A role's name is not Unicode.", reason="bad_role_name") from e
    if not 0 < len(data) <= limits.MAX_ROLE_NAME_BYTES:
        raise Malformed(
            f"Expected a role's name of 1 to {limits.MAX_ROLE_NAME_BYTES} bytes, got {len(data)}.",
            reason="bad_role_name",
        )
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in data)


def name_file(role: str, version: int | None) -> str:
    """Return the name of a role's file; with a version, as consistent snapshots demand (5.6.1)."""
    quoted = quote_role(role)
    return f"{quoted}.json" if version is None else f"{version}.{quoted}.json"


def require_path(path: str) -> str:
    """Return a target's path that keeps rule 2.

    Raises `Refused`: the maker signed a name that no machine uses, and has to sign another.
    """
    parts = path.split("/")
    if len(path) > limits.MAX_PATH_CHARACTERS or not all(
        len(part) <= limits.MAX_PATH_PART_CHARACTERS and _PART.fullmatch(part) for part in parts
    ):
        raise Refused(
            f"The signed path {path[:80]!r} is not plain and relative. Have the release named by "
            "letters, digits and a few signs, and signed again.",
            reason="bad_target_path",
        )
    return path
