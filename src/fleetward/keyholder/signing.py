"""Making and signing owner documents. Pure but for the keys that are passed in.

Every function verifies by `trust` what it has just signed, so that a document which machines would
refuse never leaves this computer.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fleetward.trust.access import AccessRules, make_access
from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.head import (
    Head,
    Lease,
    make_head_payload,
    make_lease_payload,
    verify_head,
    verify_lease,
)
from fleetward.trust.invitation import Invitation, make_invitation_payload, verify_invitation
from fleetward.trust.keys import PublicKey, Signer
from fleetward.trust.passkey import WEBAUTHN, Passkey
from fleetward.trust.policy import POLICY_TYPE, ROLES, Policy, Roots
from fleetward.trust.recovery import make_recovery
from fleetward.trust.roster import Roster, RosterEntry, make_roster_payload, verify_roster

NEVER_PORTS: Final = (22, 23, 2375, 6443)
"""Shells and container engines: no grant will ever open them unless the owner says otherwise."""
LEASE_SECONDS: Final = 30 * 86_400
_NONCE_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Person:
    """A key, and the person and organisation that hold it. A passkey says where it is used."""

    key: PublicKey
    person: str
    org: str = ""
    passkey: Passkey | None = None

    def to_json(self) -> JsonObject:
        """Return the key as it stands in a policy."""
        row: JsonObject = {**self.key.to_json(), "org": self.org, "person": self.person}
        if self.passkey is not None:
            row["suite"] = WEBAUTHN
            row["rp_id"] = self.passkey.rp_id
            row["origins"] = list(self.passkey.origins)
        return row


@dataclass(frozen=True, slots=True)
class PolicyDraft:
    """A policy before it is signed. `roles` gives each role its key ids and threshold.

    `access` is None where the policy says nothing of sessions: the field is then left out, and
    machines of the first release take the policy.
    """

    owner: str
    epoch: int
    version: int
    people: tuple[Person, ...]
    roles: Mapping[str, tuple[tuple[str, ...], int]]
    roots: Roots
    never_ports: tuple[int, ...] = NEVER_PORTS
    lease_seconds: int = LEASE_SECONDS
    openings: tuple[str, ...] = ()
    """Hashes of the openings that were signed under the policy before, and still stand."""
    access: AccessRules | None = None
    name: str = ""
    """The owner's name since a handover; empty while the root's holds."""
    recovery: tuple[tuple[str, ...], int, int] | None = None
    """Key ids, how many people it takes, and the delay in seconds."""

    def to_payload(self, issued_at_ms: int) -> JsonObject:
        """Return the payload to sign."""
        keys: list[Json] = [each.to_json() for each in self.people]
        roles: JsonObject = {
            name: {"keys": list(self.roles[name][0]), "threshold": self.roles[name][1]}
            for name in ROLES
        }
        payload: JsonObject = {
            "epoch": self.epoch,
            "issued_at": issued_at_ms,
            "keys": keys,
            "lease_seconds": self.lease_seconds,
            "never_ports": list(self.never_ports),
            "openings": list(self.openings),
            "owner": self.owner,
            "roles": roles,
            "roots": _roots_payload(self.roots),
            "type": POLICY_TYPE,
            "version": self.version,
        }
        if self.access is not None:
            payload["access"] = make_access(self.access)
        if self.name:
            payload["name"] = self.name
        if self.recovery is not None:
            payload["recovery"] = make_recovery(*self.recovery)
        return payload


def draft_after(policy: Policy, people: Sequence[Person]) -> PolicyDraft:
    """Return a draft of the policy that follows `policy`, equal to it but for the version.

    It names no openings: those of `policy` stand there already.
    """
    return PolicyDraft(
        owner=policy.owner,
        epoch=policy.epoch,
        version=policy.version + 1,
        people=tuple(people),
        roles={name: (tuple(r.keys), r.threshold) for name, r in policy.roles.items()},
        roots=policy.roots,
        never_ports=policy.never_ports,
        lease_seconds=policy.lease_seconds,
        access=policy.access if "access" in read_envelope(policy.raw).payload else None,
        name=policy.name,
        recovery=_recovery_of(policy),
    )


def _recovery_of(policy: Policy) -> tuple[tuple[str, ...], int, int] | None:
    recovery = policy.recovery
    if recovery is None:
        return None
    return tuple(recovery.role.keys), recovery.role.threshold, recovery.delay_seconds


def sign_roster(
    policy: Policy, version: int, entries: Sequence[RosterEntry], signer: Signer, now_ms: int
) -> tuple[Roster, tuple[RosterEntry, ...]]:
    """Return a signed roster over `entries`, in their order. Raises `Untrusted`."""
    ordered = tuple(sorted(entries, key=lambda entry: entry.device))
    data = seal(make_roster_payload(policy, version, now_ms, ordered), [signer])
    return verify_roster(data, policy), ordered


def sign_head(policy: Policy, roster: Roster, version: int, signer: Signer, now_ms: int) -> Head:
    """Return a signed head over these documents. Raises `Untrusted`."""
    return verify_head(seal(make_head_payload(policy, roster, version, now_ms), [signer]), policy)


def sign_lease(policy: Policy, head: Head, after: int, signer: Signer, now_ms: int) -> Lease:
    """Return a lease on `head` for as long as the policy says. Raises `Untrusted`.

    The serial is the time in seconds, or one more than `after`: so it still rises when the folder
    was taken from a backup.
    """
    serial = max(after + 1, now_ms // 1000)
    payload = make_lease_payload(head, serial, now_ms, policy.lease_seconds)
    return verify_lease(seal(payload, [signer]), policy, head)


def sign_invitation(policy: Policy, wish: InvitationWish, signer: Signer) -> Invitation:
    """Return a signed invitation. Raises `Malformed` for uses or times out of bounds."""
    payload = make_invitation_payload(
        policy,
        nonce=secrets.token_bytes(_NONCE_BYTES),
        site=wish.site,
        uses=wish.uses,
        times_ms=(wish.now_ms, wish.now_ms + wish.ttl_seconds * 1000),
        preapproved=wish.preapproved,
    )
    return verify_invitation(seal(payload, [signer]), policy, wish.now_ms)


@dataclass(frozen=True, slots=True)
class InvitationWish:
    """What an invitation shall say."""

    site: str
    uses: int
    ttl_seconds: int
    preapproved: bool
    now_ms: int


def retire_entry(entry: RosterEntry) -> RosterEntry:
    """Return the entry of the same machine, retired."""
    return replace(entry, state="retired")


def _roots_payload(roots: Roots) -> JsonObject:
    return {
        "director": roots.director,
        "download_origins": list(roots.download_origins),
        "fleet_ca": roots.fleet_ca,
        "log_key": roots.log_key.to_json(),
        "makers": dict(roots.makers),
        "recording_key": roots.recording_key,
        "server_ca": roots.server_ca,
        "witnesses": {name: key.to_json() for name, key in roots.witnesses.items()},
    }
