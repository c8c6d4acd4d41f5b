"""Bringing the four top-level roles up to date (specification, sections 5.1 to 5.6).

    refresh = Refresh(root_bytes, now_ms)
    …                                   # drive it, see `steps`
    trusted = refresh.result            # hand it to `Search`

The rules stand in `trusted`. This file says only what is wanted when, and what is to be kept:
root before all that hangs from it, and each file as soon as it is verified (5.3.8, 5.4.5, 5.5.7,
5.6.6).
"""

from __future__ import annotations

from tuf.api.metadata import MetaFile

from fleetward.trust.errors import Refused
from fleetward.trust.releases import limits
from fleetward.trust.releases.names import quote_role
from fleetward.trust.releases.steps import Change, Run, Steps, Want, try_kept, want_kept
from fleetward.trust.releases.trusted import TrustedSet


class Refresh(Steps[TrustedSet]):
    """One refresh. Its result is the trusted set, in which `Search` looks for targets."""

    def __init__(self, root: bytes, now_ms: int) -> None:
        """Begin with the newest root that the machine trusts, and the time of this refresh.

        Raises `Malformed` or `Untrusted` when that root is not signed by itself.
        """
        changes: list[Change] = []
        super().__init__(_refresh(TrustedSet(root, now_ms), changes), changes)


def load_targets(
    trusted: TrustedSet, role: str, delegator: str, changes: list[Change]
) -> Run[None]:
    """Have a targets role enter the set: the kept file if it holds, else the served one (5.6)."""
    quote_role(role)  # before a driver asks for the name of its file
    stated = trusted.targets_file(role)
    kept = yield want_kept(role)
    if try_kept(kept, lambda data: trusted.accept_targets(data, role, delegator)):
        return
    most = bound_length(stated.length, limits.MAX_TARGETS_BYTES)
    data = yield Want(role, stated.version if trusted.root.consistent_snapshot else None, most)
    assert data is not None  # `Steps.give` refused absence
    trusted.accept_targets(data, role, delegator)
    changes.append(Change(role, data))


def bound_length(stated: int | None, most: int) -> int:
    """Return how many bytes to ask for. Raises `Refused` when more are stated than are taken."""
    if stated is None:
        return most
    if stated > most:
        raise Refused(
            f"A file of {stated} bytes is announced; this machine takes {most}.",
            reason="announced_too_large",
        )
    return stated


def _refresh(trusted: TrustedSet, changes: list[Change]) -> Run[TrustedSet]:
    is_rotated = yield from update_root(trusted, changes)
    if not is_rotated:
        try_kept((yield want_kept("timestamp")), trusted.recall_timestamp)
    yield from _update_timestamp(trusted, changes)
    stated = trusted.snapshot_file
    kept = None if is_rotated else (yield want_kept("snapshot"))
    if not try_kept(kept, trusted.recall_snapshot):
        yield from _update_snapshot(trusted, stated, changes)
    yield from load_targets(trusted, "targets", "root", changes)
    return trusted


def update_root(trusted: TrustedSet, changes: list[Change]) -> Run[bool]:
    """Follow the chain of roots up to the newest (5.3); return whether kept files are void."""
    is_rotated = False
    for _ in range(limits.MAX_ROOT_ROTATIONS):
        number = trusted.root.version + 1
        data = yield Want("root", number, limits.MAX_ROOT_BYTES, may_be_absent=True)
        if data is None:
            break
        rotates = trusted.accept_root(data)
        changes.append(Change("root", data))
        if rotates:
            is_rotated = True
            changes += [Change("snapshot", None), Change("timestamp", None)]
    trusted.close_roots()
    return is_rotated


def _update_timestamp(trusted: TrustedSet, changes: list[Change]) -> Run[None]:
    """Ask for the newest timestamp, always (5.4)."""
    data = yield Want("timestamp", None, limits.MAX_TIMESTAMP_BYTES)
    assert data is not None  # `Steps.give` refused absence
    if trusted.accept_timestamp(data):
        changes.append(Change("timestamp", data))


def _update_snapshot(trusted: TrustedSet, stated: MetaFile, changes: list[Change]) -> Run[None]:
    """Ask for the snapshot that the timestamp names (5.5)."""
    most = bound_length(stated.length, limits.MAX_SNAPSHOT_BYTES)
    version = stated.version if trusted.root.consistent_snapshot else None
    data = yield Want("snapshot", version, most)
    assert data is not None  # `Steps.give` refused absence
    trusted.accept_snapshot(data)
    changes.append(Change("snapshot", data))
