"""The director's opinion: which releases one machine gets now.

It is a targets file of TUF for one machine, signed online under a root whose digest stands in the
owner's policy. It decides nothing alone: what it names must also be what the maker signed and what
the owner allows. So a stolen director can at worst delay, and offer what is allowed.

1. The root is the anchor of the policy, or follows it as TUF's roots do (`trusted`, rules 1 to 4).
2. The targets file is signed by the threshold of root's role `targets` (5.6.3), and has not
   expired (5.6.5).
3. Its version is not below the one that the machine knows (5.6.4), and of the same version it is
   the same file. What a key said that root has taken away since then counts no more, so that a
   thief who raised the version is undone by a new key, at whatever moment the power goes.
4. It names the device that it is for, in the field `x-fleetward-device`, and the policy's owner in
   `x-fleetward-owner`, so that no machine takes what was meant for another.
5. It names at most `MAX_DIRECTED` targets, each with the path, length and hashes that the maker's
   metadata must say too (`meeting`, rule 2). It delegates to nobody.

There is no snapshot and no timestamp: one file for one machine cannot be mixed with another, and
its expiry is short.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from tuf.api.metadata import Targets

from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.releases import limits
from fleetward.trust.releases.checks import require_fresh, require_not_older, require_threshold
from fleetward.trust.releases.reading import read_metadata
from fleetward.trust.releases.refresh import update_root
from fleetward.trust.releases.steps import Change, Run, Steps, Want, want_kept
from fleetward.trust.releases.target import Target, make_target
from fleetward.trust.releases.trusted import TrustedSet

DEVICE_FIELD: Final = "x-fleetward-device"
OWNER_FIELD: Final = "x-fleetward-owner"
MAX_DIRECTED: Final = 16
"""Releases that one machine is told of at once: one for each product on it, and those between."""


@dataclass(frozen=True, slots=True)
class Directed:
    """What the director says to this machine."""

    version: int
    targets: tuple[Target, ...]


class DirectorRefresh(Steps[Directed]):
    """One refresh of the director's metadata; drive it as `steps` says."""

    def __init__(self, root: bytes, now_ms: int, device: str, owner: str) -> None:
        """Begin with the newest director root that the machine trusts.

        Raises `Malformed` or `Untrusted` when that root is not signed by itself.
        """
        changes: list[Change] = []
        trusted = TrustedSet(root, now_ms)
        super().__init__(_refresh(trusted, now_ms, (device, owner), changes), changes)


def require_anchor(data: bytes, digest: str) -> bytes:
    """Return a root that has the digest of the policy. Raises `Untrusted`."""
    if hashlib.sha256(data).hexdigest() != digest:
        raise Untrusted(
            "Expected the root that the owner's policy names, got another. Ask the owner which "
            "root is the right one.",
            reason="another_root",
        )
    return data


def _refresh(
    trusted: TrustedSet, now_ms: int, who: tuple[str, str], changes: list[Change]
) -> Run[Directed]:
    # Rule 1.
    rotated = yield from update_root(trusted, changes)
    kept = yield want_kept("targets")
    data = yield Want("targets", None, limits.MAX_TIMESTAMP_BYTES)
    assert data is not None  # `Steps.give` refused absence
    # Rule 2.
    metadata = read_metadata(data, Targets, "director", limits.MAX_TIMESTAMP_BYTES)
    require_threshold(trusted.root, "targets", metadata, "director")
    # Rule 3.
    if kept is not None and not rotated:
        _require_not_older(data, metadata.signed, kept, trusted)
    require_fresh(metadata.signed, now_ms, "director")
    # Rule 4.
    fields = metadata.signed.unrecognized_fields
    if (fields.get(DEVICE_FIELD), fields.get(OWNER_FIELD)) != who:
        raise Untrusted(
            "The director's word is for another machine, or another owner's.",
            reason="another_device",
        )
    directed = _read_targets(metadata.signed)
    if data != kept:
        changes.append(Change("targets", data))
    return directed


def _require_not_older(data: bytes, new: Targets, kept: bytes, trusted: TrustedSet) -> None:
    try:
        old = read_metadata(kept, Targets, "director", limits.MAX_TIMESTAMP_BYTES)
        require_threshold(trusted.root, "targets", old, "director")
    except (Malformed, Untrusted):
        return  # What the machine kept was damaged, or its key was taken away: it says nothing.
    known = old.signed.version
    require_not_older(new.version, known, "director")
    if new.version == known and data != kept:
        raise Untrusted(
            f"Two words of the director have the version {known}.", reason="forked_director"
        )


def _read_targets(signed: Targets) -> Directed:
    # Rule 5.
    if signed.delegations is not None:
        raise Malformed("The director delegates to somebody.", reason="director_delegates")
    if len(signed.targets) > MAX_DIRECTED:
        raise Malformed(
            f"Expected at most {MAX_DIRECTED} releases for one machine.", reason="too_many_targets"
        )
    targets = tuple(
        make_target(file, ("director",), is_consistent=True) for file in signed.targets.values()
    )
    return Directed(signed.version, targets)
