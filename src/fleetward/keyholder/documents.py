"""The owner's signed documents as the folder holds them, verified anew at every reading.

A folder that somebody altered is refused here, before anything is signed on top of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fleetward.keyholder.folder import MAX_ENTRIES_BYTES, OwnerFolder, document_name
from fleetward.trust.errors import Refused, Untrusted
from fleetward.trust.head import Head, Lease, verify_head, verify_lease
from fleetward.trust.policy import Policy, owner_name, verify_first_policy, verify_following_policy
from fleetward.trust.root import OwnerRoot, verify_root
from fleetward.trust.roster import Roster, RosterEntry, verify_entries, verify_roster

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OwnerDocuments:
    """The newest documents of an owner. Roster and head may lag behind a policy: see `settled`."""

    root: OwnerRoot
    policies: tuple[Policy, ...]
    roster: Roster
    entries: tuple[RosterEntry, ...]
    head: Head
    lease: Lease | None

    @property
    def owner(self) -> str:
        """The owner's id: the hash of the owner root."""
        return self.root.owner

    @property
    def name(self) -> str:
        """Whom the machines belong to, in words."""
        return owner_name(self.root, self.policy)

    @property
    def policy(self) -> Policy:
        """The newest policy."""
        return self.policies[-1]

    @property
    def settled(self) -> bool:
        """Whether the head names the newest policy and roster, and a lease is on it."""
        return self.lease is not None and self.head_settled

    @property
    def head_settled(self) -> bool:
        """Whether the head names the newest policy and roster."""
        named = (self.head.policy_hash, self.head.roster_hash)
        return named == (self.policy.hash, self.roster.hash)


def load_documents(folder: OwnerFolder) -> OwnerDocuments:
    """Return the newest documents of a folder. Raises `Malformed`, `Untrusted` or `Refused`."""
    # 1. The root is the one that owner.toml names; the policies follow it without a gap.
    root = verify_root(folder.read("documents/root.json"), folder.read_facts().owner_root)
    policies = _load_policies(folder, root)
    # 2. The newest roster, with every machine on it. A power cut right after a change of people
    #    leaves roster and head signed under the policy before; the next signature mends that.
    number = _newest(folder, "rosters")
    signed = folder.read(document_name("rosters", number))
    roster = _under_any(policies, lambda policy: verify_roster(signed, policy))
    lines = folder.read(document_name("rosters", number, "entries"), MAX_ENTRIES_BYTES)
    entries = verify_entries(roster, lines.splitlines())
    # 3. The newest head, and the lease on it.
    head_bytes = folder.read(document_name("heads", _newest(folder, "heads")))
    head = _under_any(policies, lambda policy: verify_head(head_bytes, policy))
    return OwnerDocuments(
        root, policies, roster, entries, head, _load_lease(folder, policies, head)
    )


def _load_policies(folder: OwnerFolder, root: OwnerRoot) -> tuple[Policy, ...]:
    numbers = folder.numbers("policies")
    if numbers != list(range(1, len(numbers) + 1)) or not numbers:
        raise Untrusted(
            "Expected every policy from the first in the owner's folder; one is missing. "
            "Take the folder from its backup.",
            reason="policy_missing",
        )
    policies = [verify_first_policy(folder.read(document_name("policies", 1)), root)]
    for number in numbers[1:]:
        data = folder.read(document_name("policies", number))
        policies.append(verify_following_policy(data, policies[-1]))
    return tuple(policies)


def _load_lease(folder: OwnerFolder, policies: tuple[Policy, ...], head: Head) -> Lease | None:
    if not folder.numbers("leases"):
        return None
    data = folder.read(document_name("leases", _newest(folder, "leases")))
    try:
        return _under_any(policies, lambda policy: verify_lease(data, policy, head))
    except Untrusted as e:
        if e.reason == "another_head":
            return None
        raise


def _newest(folder: OwnerFolder, kind: str) -> int:
    numbers = folder.numbers(kind)
    if not numbers:
        raise Refused(
            f"Expected {kind} in the owner's folder; there are none. Take the folder from its "
            "backup.",
            reason="folder_incomplete",
        )
    return numbers[-1]


def _under_any(policies: tuple[Policy, ...], verify: Callable[[Policy], T]) -> T:
    """Return what verifies under the newest policy, or else under the one before it."""
    try:
        return verify(policies[-1])
    except Untrusted:
        if len(policies) == 1:
            raise
        return verify(policies[-2])
