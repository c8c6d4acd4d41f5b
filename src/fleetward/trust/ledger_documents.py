"""The owner's documents in an audit: those that were handed over, and those in the record.

1. The root is the owner's; the policies follow it without a gap.
2. The head is signed under the newest policy, and names it and the newest roster.
3. The roster has every machine that it says.
4. What the auditor brings from the owner's own folder is not newer than what was handed over.
5. Each document in the record was signed by those whom the policy then in force names, is one of
   those handed over where it has their version, and is not newer than they are. A policy that
   recovery keys signed stands in the record when it is announced, and is in force from the first
   document that its people signed; one that the present keys refused is said to be that.
6. A join names an invitation that stands before it in the record, by rule 5. That no more machines
   joined by it than it allows is compared too, but a join that was recorded and then failed counts
   as well, so more of them are no lie. That the server kept quiet of a join, nothing shows: what a
   machine may do, the roster decides.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from fleetward.trust.envelope import read_envelope, verify_threshold
from fleetward.trust.errors import FleetwardError, Refused, Untrusted
from fleetward.trust.generation import GENERATION_TYPE
from fleetward.trust.head import HEAD_TYPE, LEASE_TYPE, Head, Lease, verify_head, verify_lease
from fleetward.trust.invitation import INVITATION_TYPE, verify_invitation
from fleetward.trust.ledger_findings import Finding, Findings
from fleetward.trust.ledger_leaves import JoinFact
from fleetward.trust.policy import (
    POLICY_TYPE,
    Policy,
    owner_name,
    verify_first_policy,
    verify_following_policy,
    verify_recovered_policy,
)
from fleetward.trust.root import ROOT_TYPE, OwnerRoot, verify_root
from fleetward.trust.roster import (
    ROSTER_TYPE,
    Roster,
    RosterEntry,
    verify_entries,
    verify_roster,
)
from fleetward.trust.sayings import say_count

MAX_HEADS: Final = 100_000
"""Heads of one record that are remembered, for the leases on them."""
MAX_OVERUSED: Final = 20
"""Invitations that more machines used than they allow, by name."""
_ROLES: Final = {
    ROSTER_TYPE: "roster",
    HEAD_TYPE: "head",
    LEASE_TYPE: "lease",
    INVITATION_TYPE: "invite",
}


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The documents of an export. Nothing in them is verified."""

    root: bytes
    policies: tuple[bytes, ...]
    roster: bytes
    entries: tuple[bytes, ...]
    head: bytes
    lease: bytes = b""


@dataclass(frozen=True, slots=True)
class OwnFolder:
    """What the owner's own folder holds: version and hash of the newest documents."""

    policy: tuple[int, str]
    roster: tuple[int, str]
    head: tuple[int, str]


@dataclass(slots=True)
class _Invited:
    """An invitation in the record, and who joined by it."""

    uses: int
    devices: set[str] = field(default_factory=set)


class DocumentsInAudit:
    """Judges the documents of one audit. Findings go where `findings` says."""

    def __init__(self, owner: str, handed: HandedOver, findings: Findings) -> None:
        self._findings = findings
        self._recorded: set[str] = set()
        self._heads: dict[str, Head] = {}
        self._invited: dict[str, _Invited] = {}
        self._uninvited = 0
        self._in_force = 0
        self._announced = 0
        self.root: OwnerRoot | None = None
        self.policies: list[Policy] = []
        self.roster: Roster | None = None
        self.head: Head | None = None
        self.lease: Lease | None = None
        self.machines: Mapping[str, RosterEntry] = {}
        self._judge_chain(owner, handed)
        if self.policies:
            self._judge_newest(handed)

    @property
    def policy(self) -> Policy | None:
        """The newest policy, or None when not even the first was the owner's."""
        return self.policies[-1] if self.policies else None

    @property
    def policy_in_force(self) -> Policy:
        """The newest policy that the record has shown so far. Only when there is a policy."""
        return self.policies[max(self._in_force - 1, 0)]

    def compare(self, own: OwnFolder) -> None:
        """Rule 4."""
        handed = {
            "policy": (self.policy.version, self.policy.hash) if self.policy else None,
            "roster": (self.roster.version, self.roster.hash) if self.roster else None,
            "head": (self.head.version, self.head.hash) if self.head else None,
        }
        known = {"policy": own.policy, "roster": own.roster, "head": own.head}
        for name, theirs in handed.items():
            mine = known[name]
            if theirs is None:
                continue
            if theirs[0] < mine[0]:
                self._contradict(
                    "old_documents",
                    f"The owner signed {name} {mine[0]}; the record comes with {name} "
                    f"{theirs[0]}. Either it was never handed over (fleetward owner refresh), or "
                    "the server withholds it and what it would show.",
                )
            elif theirs[0] == mine[0] and theirs[1] != mine[1]:
                self._contradict(
                    "forked_documents", f"There are two of {name} {mine[0]}: yours, and another."
                )

    def take(self, leaf: bytes, kind: str, generation: int, entry: int) -> None:
        """Judge a document that stands in the record (rule 5)."""
        try:
            if kind == ROOT_TYPE:
                self._take_root(leaf, generation, entry)
            elif kind == POLICY_TYPE:
                self._take_policy(leaf, generation, entry)
            elif kind != GENERATION_TYPE:
                self._take_other(leaf, kind, generation, entry)
        except Refused:  # an invitation whose time is over was still the owner's
            return
        except FleetwardError as e:
            self._contradict(
                "not_by_owner",
                f"Entry {entry} looks like a document of the owner and is none: {e.message}",
                generation,
                entry,
            )

    def judge_join(self, join: JoinFact, generation: int, entry: int) -> None:
        """Judge what the server says of a machine that joined (rule 6)."""
        invited = self._invited.get(join.invitation)
        if invited is not None:
            invited.devices.add(join.device)
            return
        self._uninvited += 1
        self._contradict(
            "join_not_invited",
            f"Entry {entry} lets {join.device[:64]} in by an invitation that the record does not "
            "show before it: the server did so without the owner's word, or took that word out.",
            generation,
            entry,
        )

    def finish(self) -> None:
        """Say which documents were handed over and are not in the record, and what is proven."""
        if not self.root or not self.policy:
            return
        self._finish_joins()
        documents = {f"policy {p.version}": p.hash for p in self.policies}
        if self.roster and self.head:
            documents |= {
                f"roster {self.roster.version}": self.roster.hash,
                f"head {self.head.version}": self.head.hash,
            }
        missing = [name for name, found in documents.items() if found not in self._recorded]
        if missing:
            self._findings.leave_open(
                Finding(
                    "document_not_recorded",
                    f"Not in the record yet: {', '.join(missing)}. They are the owner's; the "
                    "record does not show when the server took them.",
                )
            )
        self._findings.prove(
            Finding(
                "owner",
                f"The owner is {owner_name(self.root, self.policy)}, and "
                f"{say_count(len(self.policies), 'policy follows', 'policies follow')} from its "
                "root without a gap.",
            )
        )
        self._say_turns()
        if self.roster and self.head:
            active = sum(m.state == "active" for m in self.machines.values())
            self._findings.prove(
                Finding(
                    "roster",
                    f"Roster {self.roster.version} has {say_count(len(self.machines), 'machine')} "
                    f"({active} active), all of them shown; head {self.head.version} names it.",
                )
            )

    def _say_turns(self) -> None:
        """Say where the owner's people changed otherwise than by their own next policy."""
        for before, policy in pairwise(self.policies):
            if policy.recovered:
                words = f"Policy {policy.version} was signed by recovery keys, after their delay."
                self._findings.prove(Finding("recovered", words))
            elif policy.epoch > before.epoch:
                words = (
                    f"Policy {policy.version} handed everything over to {policy.name}; the people "
                    "before signed it, and none of their keys stands since."
                )
                self._findings.prove(Finding("handed_over", words))

    def _finish_joins(self) -> None:
        overused = [i for i, each in self._invited.items() if len(each.devices) > each.uses]
        for invitation in overused[:MAX_OVERUSED]:
            each = self._invited[invitation]
            words = (
                f"{len(each.devices)} machines joined by the invitation {invitation[:16]}… for "
                f"{each.uses}: the server let too many in, or counts joins that then failed."
            )
            self._findings.leave_open(Finding("invitation_overused", words))
        joined = sum(len(each.devices) for each in self._invited.values())
        if joined and not self._uninvited:
            words = (
                f"{say_count(joined, 'join')} in the record, and before each the invitation that "
                "the owner signed."
            )
            self._findings.prove(Finding("joins_invited", words))

    def _judge_chain(self, owner: str, handed: HandedOver) -> None:
        # 1.
        try:
            self.root = verify_root(handed.root, owner)
            for data in handed.policies:
                self.policies.append(
                    verify_following_policy(data, self.policies[-1])
                    if self.policies
                    else verify_first_policy(data, self.root)
                )
        except FleetwardError as e:
            what = "owner root" if self.root is None else f"policy {len(self.policies) + 1}"
            self._contradict("bad_owner_documents", f"The {what} is not the owner's: {e.message}")
        else:
            if not self.policies:
                self._contradict("no_policy", "The record comes without any policy.")

    def _judge_newest(self, handed: HandedOver) -> None:
        policy = self.policies[-1]
        try:
            # 3. before 2.: the roster says who spoke, whatever the head says.
            self.roster = verify_roster(handed.roster, policy)
            entries = verify_entries(self.roster, handed.entries)
            self.machines = {entry.device: entry for entry in entries}
        except FleetwardError as e:
            self._contradict(e.reason, f"The roster is not what the owner signed: {e.message}")
            return
        try:
            # 2.
            self.head = verify_head(handed.head, policy)
            named = (self.head.policy_hash, self.head.roster_hash)
            if named != (policy.hash, self.roster.hash):
                self._contradict(
                    "mixed_documents",
                    f"Head {self.head.version} names another policy or roster than those that "
                    "came with it: somebody mixed old and new.",
                )
            if handed.lease:
                self.lease = verify_lease(handed.lease, policy, self.head)
        except FleetwardError as e:
            self._contradict(e.reason, f"The head is not what the owner signed: {e.message}")

    def _take_root(self, leaf: bytes, generation: int, entry: int) -> None:
        if self.root and leaf != self.root.raw:
            self._contradict(
                "another_owner",
                f"Entry {entry} is the root of another owner.",
                generation,
                entry,
            )

    def _take_policy(self, leaf: bytes, generation: int, entry: int) -> None:
        version = read_envelope(leaf).payload.get("version")
        known = len(self.policies)
        if not isinstance(version, int) or not 1 <= version <= known:
            newer = verify_following_policy(leaf, self.policies[-1])
            if newer.recovered:
                words = (
                    f"Entry {entry}: recovery keys announced policy {newer.version}, which is "
                    "neither in force nor refused yet. Refuse it by `fleetward owner recover veto`."
                )
                self._findings.leave_open(Finding("recovery_announced", words, generation, entry))
                return
            self._contradict(
                "newer_withheld",
                f"Entry {entry} is policy {newer.version}, which the owner signed; the documents "
                f"that came with the record end at {known}.",
                generation,
                entry,
            )
            return
        digest = read_envelope(leaf).hash
        if digest != self.policies[version - 1].hash:
            if self._is_refused_recovery(leaf, version):
                words = (
                    f"Entry {entry}: recovery keys announced another policy {version}; the "
                    "present keys refused it by theirs."
                )
                self._findings.prove(Finding("recovery_refused", words, generation, entry))
                return
            self._contradict(
                "forked_policy",
                f"Entry {entry} is another policy {version} than the one that follows from the "
                "owner's root.",
                generation,
                entry,
            )
            return
        self._recorded.add(digest)
        if self.policies[version - 1].recovered:
            self._announced = version
        else:
            self._in_force = max(self._in_force, version)

    def _take_other(self, leaf: bytes, kind: str, generation: int, entry: int) -> None:
        self._begin_announced(leaf, kind)
        policy = self.policy_in_force
        if kind == ROSTER_TYPE:
            roster = verify_roster(leaf, policy)
            self._compare_version("roster", roster, self.roster, (generation, entry))
        elif kind == HEAD_TYPE:
            head = verify_head(leaf, policy)
            if len(self._heads) < MAX_HEADS:
                self._heads[head.hash] = head
            self._compare_version("head", head, self.head, (generation, entry))
        elif kind == LEASE_TYPE:
            named = read_envelope(leaf).payload.get("head")
            head_named = self._heads.get(named) if isinstance(named, str) else None
            if head_named is None:
                raise Untrusted("It is a lease on a head that was not recorded.", reason="no_head")
            verify_lease(leaf, policy, head_named)
        elif kind == INVITATION_TYPE:
            invitation = verify_invitation(leaf, policy, 0)
            self._invited.setdefault(invitation.id, _Invited(invitation.uses))

    def _is_refused_recovery(self, leaf: bytes, version: int) -> bool:
        if version < 2:
            return False
        try:
            verify_recovered_policy(leaf, self.policies[version - 2])
        except FleetwardError:
            return False
        return True

    def _begin_announced(self, leaf: bytes, kind: str) -> None:
        """Put an announced policy in force once its people have signed something."""
        if self._announced != self._in_force + 1 or kind not in _ROLES:
            return
        role = self.policies[self._announced - 1].roles[_ROLES[kind]]
        with contextlib.suppress(Untrusted):
            verify_threshold(read_envelope(leaf), kind, role)
            self._in_force = self._announced

    def _compare_version(
        self,
        name: str,
        recorded: Roster | Head,
        handed: Roster | Head | None,
        place: tuple[int, int],
    ) -> None:
        self._recorded.add(recorded.hash)
        if handed is None:
            return
        if recorded.version > handed.version:
            self._contradict(
                "newer_withheld",
                f"Entry {place[1]} is {name} {recorded.version}, which the owner signed; the "
                f"documents that came with the record end at {handed.version}. Machines may be "
                "hidden.",
                *place,
            )
        elif recorded.version == handed.version and recorded.hash != handed.hash:
            self._contradict(
                f"forked_{name}",
                f"Entry {place[1]} is another {name} {recorded.version} than the one that came "
                "with the record.",
                *place,
            )

    def _contradict(
        self, finding: str, words: str, generation: int | None = None, entry: int | None = None
    ) -> None:
        self._findings.contradict(Finding(finding, words, generation, entry))
