"""Judging owner documents that somebody uploads: pure, by trust alone.

The server stores nothing that a machine would refuse, so that a mistake is told to the person who
made it. It is a courtesy: the machines judge again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleetward.trust.documents import Bundle
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.head import Head, Lease, verify_head, verify_lease
from fleetward.trust.merkle import hash_leaf, prove_inclusion, root_of
from fleetward.trust.policy import Policy, owner_name, verify_first_policy, verify_following_policy
from fleetward.trust.root import OwnerRoot, root_hash, verify_root
from fleetward.trust.roster import Roster, RosterEntry, verify_entries, verify_roster


@dataclass(frozen=True)
class Documents:
    """A complete, verified set of an owner's documents."""

    root: OwnerRoot
    chain: tuple[Policy, ...]
    roster: Roster
    entries: tuple[RosterEntry, ...]
    head: Head
    lease: Lease

    @property
    def policies(self) -> tuple[bytes, ...]:
        """The policies as they were signed, the first one first."""
        return tuple(policy.raw for policy in self.chain)

    @property
    def policy(self) -> Policy:
        """The newest policy."""
        return self.chain[-1]

    @property
    def name(self) -> str:
        """Whom the machines belong to, in words."""
        return owner_name(self.root, self.policy)


def judge_documents(
    root: bytes, policies: Sequence[bytes], roster: tuple[bytes, Sequence[bytes]],
    head: bytes, lease: bytes,
) -> Documents:  # fmt: skip
    """Return the documents when each is signed as the one above it demands, and they agree.

    Raises `Malformed` or `Untrusted`.
    """
    owner_root = verify_root(root, root_hash(root))
    chain = _verify_chain(owner_root, policies)
    policy = chain[-1]
    verified_roster = verify_roster(roster[0], policy)
    entries = verify_entries(verified_roster, roster[1])
    verified_head = verify_head(head, policy)
    named = (
        verified_head.policy_version,
        verified_head.policy_hash,
        verified_head.roster_version,
        verified_head.roster_hash,
    )
    held = (policy.version, policy.hash, verified_roster.version, verified_roster.hash)
    if named != held:
        raise Untrusted(
            "The head names another policy or roster than those that came with it.",
            reason="mixed_documents",
        )
    return Documents(
        root=owner_root,
        chain=chain,
        roster=verified_roster,
        entries=entries,
        head=verified_head,
        lease=verify_lease(lease, policy, verified_head),
    )


def _verify_chain(root: OwnerRoot, policies: Sequence[bytes]) -> tuple[Policy, ...]:
    if not policies:
        raise Malformed("Expected at least one policy.", reason="no_policy")
    chain = [verify_first_policy(policies[0], root)]
    for data in policies[1:]:
        chain.append(verify_following_policy(data, chain[-1]))
    return tuple(chain)


def judge_succession(before: Documents | None, after: Documents) -> None:
    """Return when `after` may take the place of `before`. Raises `Refused` or `Untrusted`."""
    if before is None:
        return
    if after.root.owner != before.root.owner:
        raise Refused(
            "This server serves another owner. Start a server of your own for a new owner.",
            reason="another_owner",
        )
    if after.policies[: len(before.policies)] != before.policies:
        raise Untrusted("A stored policy differs from the one sent.", reason="forked_policy")
    if after.head.version < before.head.version:
        raise Refused(
            f"Expected head {before.head.version} or newer, got {after.head.version}. "
            "Fetch the server's documents first, or use the newest copy of the owner's folder.",
            reason="old_head",
        )
    if after.head.version == before.head.version and after.head.hash != before.head.hash:
        raise Untrusted("Two heads of one version differ.", reason="forked_head")
    if after.roster.version < before.roster.version:
        raise Refused(
            f"Expected roster {before.roster.version} or newer, got {after.roster.version}.",
            reason="old_roster",
        )
    if after.roster.version == before.roster.version and after.roster.hash != before.roster.hash:
        raise Untrusted("Two rosters of one version differ.", reason="forked_roster")
    if after.lease.hash != before.lease.hash and after.lease.serial <= before.lease.serial:
        raise Refused(
            f"Expected a lease with a serial above {before.lease.serial}, got "
            f"{after.lease.serial}.",
            reason="old_lease",
        )


class BundleMaker:
    """Cuts each machine's bundle out of one set of documents; the roster's tree is built once."""

    def __init__(self, documents: Documents) -> None:
        self.documents = documents
        self._leaves = [hash_leaf(e.to_bytes()) for e in documents.entries]
        self._places = {e.device: i for i, e in enumerate(documents.entries)}
        self._nodes: dict[tuple[int, int], bytes] = {}

    def bundle(self, device: str, policy_version: int = 0) -> Bundle:
        """Return what `device` needs that knows the policies up to `policy_version`."""
        held = self.documents
        place = self._places.get(device)
        return Bundle(
            root=held.root.raw,
            policies=held.policies[min(policy_version, len(held.policies)) :],
            head=held.head.raw,
            roster=held.roster.raw,
            entry=b"" if place is None else held.entries[place].to_bytes(),
            entry_index=place or 0,
            entry_proof=()
            if place is None
            else tuple(prove_inclusion(place, len(self._leaves), self._node)),
            lease=held.lease.raw,
        )

    def _node(self, level: int, index: int) -> bytes:
        key = (level, index)
        if key not in self._nodes:
            self._nodes[key] = root_of(self._leaves[index << level : (index + 1) << level])
        return self._nodes[key]
