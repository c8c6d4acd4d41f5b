"""The name under which phones reach the owner's console: passkeys are bound to it.

A passkey's rp id is a registrable domain name or one below it (Web Authentication Level 3, section
5.1.2; HTML, "is a registrable domain suffix of or is equal to"). So neither an address nor a name
under which anybody may register serves, and none that a phone takes for itself.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Final

from fleetward.runtime.files import read_bounded
from fleetward.trust.errors import FleetwardError, Malformed

MAX_NAME_CHARS: Final = 253
SUFFIX_LIST: Final = Path("/usr/share/publicsuffix/public_suffix_list.dat")
"""Where Debian and its children keep the list by which browsers judge; it need not be there."""
_MAX_LIST_BYTES: Final = 4 * 1024 * 1024
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_OWN: Final = frozenset({"localhost", "invalid", "onion", "alt"})
"""Last labels that mean the phone itself, or nothing in a network (RFC 6761, 7686, 9476)."""
_COMMON: Final = frozenset(
    {"ac", "co", "com", "edu", "gob", "gov", "gouv", "go", "ltd", "mil", "ne", "net", "nom", "or",
     "org", "plc", "sch"}
)  # fmt: skip
"""Labels below which countries let people register: `co.uk` is nobody's."""
_COUNTRY_CHARS: Final = 2


def check_host_name(text: str, suffixes: Path = SUFFIX_LIST) -> str:
    """Return the name in small letters. Raises `Malformed` when passkeys cannot be bound to it.

    Without the system's list of public suffixes only the common ones are known; a browser refuses
    the others by itself, so that nothing more is let in.
    """
    name = text.strip().lower()
    labels = name.split(".")
    if _is_address(name):
        raise _no("an address", name)
    if len(name) > MAX_NAME_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
        raise _no("something that is no DNS name", name)
    if len(labels) == 1 or labels[-1] in _OWN or labels[-1].isdigit():
        raise _no("a name of the phone's own, or a single word", name)
    if _is_common_suffix(labels) or name in _read_suffixes(suffixes):
        raise _no("a name under which anybody may register", name)
    return name


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_common_suffix(labels: list[str]) -> bool:
    return len(labels) == 2 and len(labels[1]) == _COUNTRY_CHARS and labels[0] in _COMMON


def _read_suffixes(path: Path) -> frozenset[str]:
    """Return the names of the system's list; its wildcards and their exceptions are left out."""
    try:
        lines = read_bounded(path, _MAX_LIST_BYTES).decode("utf-8", "replace").splitlines()
    except FleetwardError:
        return frozenset()
    return frozenset(line.strip() for line in lines if line.strip() and line[0] not in "/*!")


def _no(what: str, name: str) -> Malformed:
    return Malformed(
        f"Expected a DNS name of yours for this computer, such as console.ward3.example; {what} "
        f"came: {name[:80]!r}. Passkeys are bound to a name: choose one that your own network "
        "resolves to this computer, and that stays.",
        reason="bad_host_name",
    )
