"""Which roles a targets file delegates a path to (specification 4.5), in order.

`tuf.api.metadata` decides whether a pattern matches. Compiling a pattern costs more than all else
in a large delegation, so patterns whose plain parts differ are sorted out before; that can only
leave out what the library would not match either.
"""

from __future__ import annotations

from tuf.api.metadata import DelegatedRole, Targets

from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.releases import limits

_WILD = frozenset("*?[")


def list_delegates(targets: Targets, path: str) -> tuple[list[str], bool]:
    """Return the roles to which `path` is delegated, and whether the last of them ends the search.

    Raises `Malformed` or `Refused` for patterns beyond the limits.
    """
    if targets.delegations is None:
        return [], False
    if targets.delegations.roles is None:  # hash bins (TAP 15); each ends the search
        return [name for name, _ in targets.delegations.get_roles_for_target(path)], True
    found = []
    tried = 0
    for role in targets.delegations.roles.values():
        if not _could_match(role, path):
            continue
        tried += len(role.paths or ())
        if tried > limits.MAX_PATTERNS_TRIED:
            raise Refused(
                f"More than {limits.MAX_PATTERNS_TRIED} patterns would have to be tried.",
                reason="too_many_patterns",
            )
        if role.is_delegated_path(path):
            found.append(role.name)
            if role.terminating:
                return found, True
    return found, False


def _could_match(role: DelegatedRole, path: str) -> bool:
    """Return False when no pattern of the role can match."""
    if role.paths is None:
        return True
    parts = path.split("/")
    return any(_has_same_plain_parts(pattern, parts) for pattern in role.paths)


def _has_same_plain_parts(pattern: str, parts: list[str]) -> bool:
    if len(pattern) > limits.MAX_PATTERN_CHARACTERS:
        raise Malformed("A pattern of a delegation is too long.", reason="pattern_too_long")
    wanted = pattern.split("/")
    return len(wanted) == len(parts) and all(
        part == want or not _WILD.isdisjoint(want) for part, want in zip(parts, wanted, strict=True)
    )
