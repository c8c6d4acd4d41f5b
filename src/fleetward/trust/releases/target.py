"""A target that was found: what the maker signed about one file, and the check of its bytes.

Only `search` builds a `Target`. `ArtifactCheck` is fed by whoever downloads the file, piece by
piece, so that no image has to fit into memory.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tuf.api.metadata import TargetFile

from fleetward.trust import canonical
from fleetward.trust.errors import FleetwardError, Malformed, Refused
from fleetward.trust.releases import limits
from fleetward.trust.releases.checks import HASHES, require_known_hash, wrong_hash, wrong_length
from fleetward.trust.releases.names import require_path


@dataclass(frozen=True, slots=True)
class Target:
    """A file of a release, as signed."""

    path: str
    length_bytes: int
    hashes: tuple[tuple[str, str], ...]
    """Name and hex digits of every hash; the file must have them all."""
    signed_by: tuple[str, ...]
    """The roles from `targets` down to the one that signed it."""
    custom: bytes
    """What the maker adds (hardware, counter), as canonical JSON; empty where there is nothing."""
    file_name: str
    """Where it lies below the repository's targets, its hash in the name if names carry one."""


def make_target(file: TargetFile, signed_by: tuple[str, ...], *, is_consistent: bool) -> Target:
    """Return the verified target. Raises `Malformed` or `Refused` when no machine may use it."""
    path = require_path(file.path)
    if type(file.length) is not int or file.length > limits.MAX_TARGET_BYTES:
        raise Refused("The target is larger than a machine takes.", reason="target_too_large")
    for name in file.hashes:
        require_known_hash(name)
    hashes = tuple((name, file.hashes[name]) for name in HASHES if name in file.hashes)
    folder, slash, base = path.rpartition("/")
    file_name = f"{folder}{slash}{hashes[0][1]}.{base}" if is_consistent else path
    return Target(path, file.length, hashes, signed_by, _read_custom(file), file_name)


def _read_custom(file: TargetFile) -> bytes:
    if file.custom is None:
        return b""
    try:
        return canonical.encode(file.custom)
    except FleetwardError as e:
        raise Malformed(f"The target's own fields: {e.message}", reason="bad_custom") from e


class ArtifactCheck:
    """Counts and hashes the bytes of a target as they come (5.7.2)."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._left = target.length_bytes
        self._digests = [hashlib.new(name) for name, _ in target.hashes]

    def update(self, data: bytes) -> None:
        """Take the next bytes. Raises `Untrusted` as soon as there are more than were signed."""
        self._left -= len(data)
        if self._left < 0:
            raise wrong_length(self._target.path, self._target.length_bytes)
        for digest in self._digests:
            digest.update(data)

    def finish(self) -> None:
        """Judge what came. Raises `Untrusted` unless length and every hash are as signed."""
        if self._left:
            raise wrong_length(self._target.path, self._target.length_bytes)
        for digest, (name, expected) in zip(self._digests, self._target.hashes, strict=True):
            if digest.hexdigest() != expected:
                raise wrong_hash(self._target.path, name)
