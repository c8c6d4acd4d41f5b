"""The head: the version of all owner documents; and the lease on it.

Every owner document hangs from one head. A machine refuses a head older than one it has seen, so
a server cannot mix an old roster with a new policy. The lease says how long the head may be
relied on without news. It is renewed by a key that can do nothing else, so that the owner's other
keys may stay in the safe.

Rules:

1. A head is signed by the threshold of the policy's role `head`.
2. It names the policy and the roster by version and hash.
3. A lease is signed by the threshold of the role `lease` and names the head by its hash.
4. A lease counts from the moment the machine took it, in powered-on time. Its serial must be
   higher than any taken before, so that one lease serves once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetward.trust.canonical import JsonObject
from fleetward.trust.envelope import read_envelope, verify_threshold
from fleetward.trust.errors import Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.policy import MAX_LEASE_SECONDS, Policy
from fleetward.trust.roster import Roster

HEAD_TYPE: Final = "fleetward.head.v1"
LEASE_TYPE: Final = "fleetward.lease.v1"


@dataclass(frozen=True, slots=True)
class Head:
    """A verified head."""

    owner: str
    epoch: int
    version: int
    issued_at_ms: int
    policy_version: int
    policy_hash: str
    roster_version: int
    roster_hash: str
    hash: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Lease:
    """A verified lease on a head."""

    head: str
    serial: int
    issued_at_ms: int
    seconds: int
    hash: str
    raw: bytes


def make_head_payload(
    policy: Policy, roster: Roster, version: int, issued_at_ms: int
) -> JsonObject:
    """Return the payload of a head over these documents."""
    return {
        "epoch": policy.epoch,
        "issued_at": issued_at_ms,
        "owner": policy.owner,
        "policy": {"hash": policy.hash, "version": policy.version},
        "roster": {"hash": roster.hash, "version": roster.version},
        "type": HEAD_TYPE,
        "version": version,
    }


def make_lease_payload(head: Head, serial: int, issued_at_ms: int, seconds: int) -> JsonObject:
    """Return the payload of a lease on `head`."""
    return {
        "epoch": head.epoch,
        "head": head.hash,
        "issued_at": issued_at_ms,
        "owner": head.owner,
        "seconds": seconds,
        "serial": serial,
        "type": LEASE_TYPE,
    }


def verify_head(data: bytes, policy: Policy) -> Head:
    """Return the head that the owner signed. Raises `Malformed` or `Untrusted`."""
    envelope = read_envelope(data)
    # Rule 1.
    verify_threshold(envelope, HEAD_TYPE, policy.roles["head"])
    fields = Fields(
        envelope.payload,
        "the head",
        {"epoch", "issued_at", "owner", "policy", "roster", "type", "version"},
    )
    _check_owner(fields, policy, "head")
    # Rule 2.
    on_policy = Fields(fields.map("policy"), "the head's policy", {"hash", "version"})
    on_roster = Fields(fields.map("roster"), "the head's roster", {"hash", "version"})
    return Head(
        owner=policy.owner,
        epoch=policy.epoch,
        version=fields.integer("version", low=1),
        issued_at_ms=fields.integer("issued_at"),
        policy_version=on_policy.integer("version", low=1),
        policy_hash=on_policy.digest("hash"),
        roster_version=on_roster.integer("version", low=1),
        roster_hash=on_roster.digest("hash"),
        hash=envelope.hash,
        raw=data,
    )


def verify_lease(data: bytes, policy: Policy, head: Head) -> Lease:
    """Return the lease on `head`. Raises `Malformed` or `Untrusted`."""
    envelope = read_envelope(data)
    # Rule 3.
    verify_threshold(envelope, LEASE_TYPE, policy.roles["lease"])
    fields = Fields(
        envelope.payload,
        "the lease",
        {"epoch", "head", "issued_at", "owner", "seconds", "serial", "type"},
    )
    _check_owner(fields, policy, "lease")
    if fields.digest("head") != head.hash:
        raise Untrusted("The lease is on another head.", reason="another_head")
    seconds = fields.integer("seconds", low=60, high=MAX_LEASE_SECONDS)
    if seconds > policy.lease_seconds:
        raise Untrusted("The lease is longer than the policy allows.", reason="lease_too_long")
    return Lease(
        head=head.hash,
        serial=fields.integer("serial", low=1),
        issued_at_ms=fields.integer("issued_at"),
        seconds=seconds,
        hash=envelope.hash,
        raw=data,
    )


def _check_owner(fields: Fields, policy: Policy, what: str) -> None:
    if fields.digest("owner") != policy.owner:
        raise Untrusted(f"The {what} is of another owner.", reason="another_owner")
    if fields.integer("epoch", low=1) != policy.epoch:
        raise Untrusted(f"The {what} is of another epoch.", reason="old_epoch")
