"""How a technician's tool learns an owner's documents: from the server, believing the root alone.

1. The root has the hash that the technician pinned when he was told it.
2. Policies follow it without a gap; roster and head are signed under the newest.
3. The head names that policy and that roster.
4. None is older than what this folder saw before, and none is another of the same version.

A server can withhold news, as it always can; it can show neither another owner, nor another
machine under a name, nor yesterday's policy to who saw today's.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from fleetward.keyholder.access.judging import Judge
from fleetward.keyholder.api import ApiClient
from fleetward.trust.canonical import from_base64url
from fleetward.trust.errors import Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.head import verify_head
from fleetward.trust.policy import Policy, owner_name, verify_first_policy, verify_following_policy
from fleetward.trust.root import verify_root
from fleetward.trust.roster import ACTIVE, RosterEntry, verify_entries, verify_roster


class _Documents(msgspec.Struct, frozen=True):
    root: str
    policies: list[str]
    roster: str
    entries: list[str]
    head: str


class Seen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Version and hash of the newest head, policy and roster that a folder saw."""

    head: tuple[int, str] = (0, "")
    policy: tuple[int, str] = (0, "")
    roster: tuple[int, str] = (0, "")


@dataclass(frozen=True, slots=True)
class Learned:
    """An owner as he says himself to be."""

    name: str
    judge: Judge
    seen: Seen

    def keys_of(self, person: str) -> list[str]:
        """Return the ids of the keys by which somebody may ask here."""
        policy = self.judge.policy
        return [key for key in policy.access.requesters if policy.keys[key].person == person]

    def find_machine(self, named: str) -> RosterEntry:
        """Return the machine of an id, the beginning of one, or a name. Raises `Refused`."""
        entries = self.judge.entries.values()
        found = [
            e
            for e in entries
            if e.device == named
            or (e.state == ACTIVE and (e.name == named or _is_beginning(named, e.device)))
        ]
        if len(found) != 1:
            raise Refused(
                f"Expected one machine of {self.name} for {named[:80]!r}, found {len(found)}. "
                "Name it by its id.",
                reason="device_not_found",
            )
        return found[0]


def learn_owner(client: ApiClient, owner_root: str, before: Seen) -> Learned:
    """Fetch and verify an owner's documents. Raises `Unreachable`, `Malformed`, `Untrusted`."""
    said = client.get("/owner/documents", _Documents)
    if not said.root or not said.policies:
        raise Unreachable("The server has no owner's documents yet.", reason="no_documents")
    # 1.
    root = verify_root(from_base64url(said.root), owner_root)
    # 2.
    policies: list[Policy] = [verify_first_policy(from_base64url(said.policies[0]), root)]
    for each in said.policies[1:]:
        policies.append(verify_following_policy(from_base64url(each), policies[-1]))
    policy = policies[-1]
    roster = verify_roster(from_base64url(said.roster), policy)
    entries = verify_entries(roster, [from_base64url(each) for each in said.entries])
    head = verify_head(from_base64url(said.head), policy)
    # 3.
    if (head.policy_hash, head.roster_hash) != (policy.hash, roster.hash):
        raise Untrusted(
            "The server shows a policy and a roster that the owner's head does not name.",
            reason="mixed_documents",
        )
    # 4.
    seen = Seen((head.version, head.hash), (policy.version, policy.hash),
                (roster.version, roster.hash))  # fmt: skip
    for what in ("head", "policy", "roster"):
        _check_newer(what, getattr(before, what), getattr(seen, what))
    return Learned(owner_name(root, policy), Judge(policies, entries), seen)


def read_seen(data: bytes) -> Seen:
    """Return what a folder saw. Raises `Malformed`."""
    try:
        return msgspec.json.decode(data, type=Seen)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise Malformed(
            f"Expected what this folder saw of its owner; {e}.", reason="bad_seen"
        ) from e


def _check_newer(what: str, before: tuple[int, str], now: tuple[int, str]) -> None:
    if now[0] < before[0] or (now[0] == before[0] and now[1] != before[1]):
        raise Untrusted(
            f"The server shows {what} {now[0]}, and {what} {before[0]} was seen before. It was put "
            "back to an older state, or it shows different people different documents.",
            reason="older_documents",
        )


def _is_beginning(named: str, device: str) -> bool:
    return len(named) >= 8 and device.startswith(named)
