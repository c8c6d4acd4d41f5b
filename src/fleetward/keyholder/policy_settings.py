"""`fleetward owner policy set NAME VALUE…`: one setting of the policy, out of its words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ed25519

from fleetward.keyholder.access.policy_rules import set_walls
from fleetward.keyholder.auditor import read_public_pem
from fleetward.keyholder.policy_changes import (
    Change,
    set_lease,
    set_never_ports,
    set_threshold,
    set_witness,
)
from fleetward.keyholder.updates.roots import read_root, set_director, set_maker, set_origins
from fleetward.trust.errors import Malformed

NONE: Final = "none"


def read_setting(name: str, values: Sequence[str]) -> Change:
    """Return the change that a setting asks for. Raises `Malformed` with what was expected."""
    reader = _READERS.get(name)
    if reader is None:
        raise Malformed(
            f"Expected one of {', '.join(SETTINGS)}, got {name[:40]!r}.", reason="bad_setting"
        )
    return reader(values)


def _threshold(values: Sequence[str]) -> Change:
    return set_threshold(_number("threshold", values))


def _lease(values: Sequence[str]) -> Change:
    return set_lease(_number("lease", values))


def _ports(values: Sequence[str]) -> Change:
    if list(values) == [NONE]:
        return set_never_ports(())
    ports = [int(v) for v in values if v.isascii() and v.isdecimal() and 0 < int(v) < 65536]
    if not values or len(ports) != len(values):
        raise Malformed("Expected port numbers, as `22 502`, or `none`.", reason="bad_setting")
    return set_never_ports(ports)


def _walls(values: Sequence[str]) -> Change:
    return set_walls(_only("walls", values))


def _witness(values: Sequence[str]) -> Change:
    if len(values) != 2:
        raise Malformed(
            "Expected the witness's name and the file of its public key, or `none`.",
            reason="bad_setting",
        )
    name, file = values
    key = None if file == NONE else read_public_pem(Path(file), (ed25519.Ed25519PublicKey,))
    return set_witness(name, key)


def _maker(values: Sequence[str]) -> Change:
    if len(values) != 2:
        raise Malformed(
            "Expected a product, and the root.json that its maker gave you, its SHA-256, or "
            "`none`.",
            reason="bad_setting",
        )
    product, root = values
    return set_maker(product, "" if root == NONE else read_root(root).digest)


def _director(values: Sequence[str]) -> Change:
    value = _only("director", values)
    return set_director("" if value == NONE else read_root(value).digest)


def _origins(values: Sequence[str]) -> Change:
    if not values:
        raise Malformed(
            "Expected origins, as https://parts.example/folder, or `none`.", reason="bad_setting"
        )
    return set_origins(() if list(values) == [NONE] else values)


def _number(name: str, values: Sequence[str]) -> int:
    value = _only(name, values)
    if not value.isascii() or not value.isdecimal() or len(value) > 9:
        raise Malformed(f"Expected a number for {name}, got {value[:40]!r}.", reason="bad_setting")
    return int(value)


def _only(name: str, values: Sequence[str]) -> str:
    if len(values) != 1:
        raise Malformed(f"Expected one value for {name}, got {len(values)}.", reason="bad_setting")
    return values[0]


_READERS: Final[dict[str, Callable[[Sequence[str]], Change]]] = {
    "threshold": _threshold,
    "lease": _lease,
    "ports": _ports,
    "walls": _walls,
    "witness": _witness,
    "maker": _maker,
    "director": _director,
    "origins": _origins,
}
SETTINGS: Final = tuple(_READERS)
