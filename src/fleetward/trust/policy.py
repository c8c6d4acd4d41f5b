"""The owner policy: who may sign what, and every other root.

Rules:

1. Policy 1 is signed by the threshold of the owner root.
2. Policy n+1 is signed by the threshold of policy n's role `policy`, and by its own (as a TUF
   root is, TUF specification section 5.3.4 and 5.3.5), so that nobody hands over to keys that
   nobody holds.
3. The version is exactly one more. The epoch never falls.
4. Owner and epoch are those of the root.
5. No root comes from elsewhere: the server's CA, the fleet CA, the log key, witnesses, the
   director, the makers, the recording key and the origins for downloads stand here, or nowhere.
6. What the keys of earlier policies opened of the record, and still stands, is named here
   (`openings`, see `generation`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.envelope import Envelope, Role, RoleKey, read_envelope, verify_threshold
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.fields import Fields, require_digest
from fleetward.trust.keys import ED25519, PublicKey, read_key_fields
from fleetward.trust.note import check_signer_name
from fleetward.trust.root import OwnerRoot, check_threshold

POLICY_TYPE: Final = "fleetward.owner-policy.v1"
ROLES: Final = ("policy", "roster", "head", "invite", "lease", "approve")
"""What a key can be for. `lease` renews the head's lease and nothing else."""
MAX_KEYS: Final = 256
MAX_NEVER_PORTS: Final = 64
MAX_OPENINGS: Final = 64
"""Openings that one policy names: restores of the server while the one before it was in force."""
MAX_LEASE_SECONDS: Final = 400 * 86_400
"""A machine on a ship may be away for a year."""


@dataclass(frozen=True, slots=True)
class Roots:
    """Every other root that the owner names."""

    server_ca: str
    fleet_ca: str
    log_key: PublicKey
    witnesses: Mapping[str, PublicKey]
    director: str
    makers: Mapping[str, str]
    recording_key: str
    download_origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A verified owner policy. Build it by `verify_first_policy` or `verify_next_policy`."""

    owner: str
    epoch: int
    version: int
    issued_at_ms: int
    lease_seconds: int
    roles: Mapping[str, Role]
    roots: Roots
    never_ports: tuple[int, ...]
    openings: tuple[str, ...]
    hash: str
    raw: bytes


def verify_first_policy(data: bytes, root: OwnerRoot) -> Policy:
    """Return policy 1 of an owner. Raises `Malformed` or `Untrusted`."""
    envelope = read_envelope(data)
    # Rule 1.
    verify_threshold(envelope, POLICY_TYPE, root.role)
    policy = _read_policy(envelope)
    # Rule 3 and 4.
    if policy.version != 1:
        raise Untrusted("Expected the first policy.", reason="wrong_version")
    if policy.owner != root.owner or policy.epoch != root.epoch:
        raise Untrusted("The policy is of another owner.", reason="another_owner")
    # Rule 2, second half.
    verify_threshold(envelope, POLICY_TYPE, policy.roles["policy"])
    return policy


def verify_next_policy(data: bytes, before: Policy) -> Policy:
    """Return the policy that follows `before`. Raises `Malformed` or `Untrusted`."""
    envelope = read_envelope(data)
    # Rule 2, first half: the keys of the one before decide, before a field is believed.
    verify_threshold(envelope, POLICY_TYPE, before.roles["policy"])
    policy = _read_policy(envelope)
    # Rule 3.
    if policy.version != before.version + 1:
        raise Untrusted(
            f"Expected policy {before.version + 1}, got policy {policy.version}.",
            reason="wrong_version",
        )
    if policy.epoch < before.epoch:
        raise Untrusted("The policy is of an epoch that has passed.", reason="old_epoch")
    # Rule 4.
    if policy.owner != before.owner:
        raise Untrusted("The policy is of another owner.", reason="another_owner")
    # Rule 2, second half.
    verify_threshold(envelope, POLICY_TYPE, policy.roles["policy"])
    return policy


def verify_policy_chain(root: OwnerRoot, chain: Sequence[bytes]) -> Policy:
    """Return the last policy of a chain that starts at the root. Raises as above."""
    if not chain:
        raise Malformed("Expected at least one policy.", reason="no_policy")
    policy = verify_first_policy(chain[0], root)
    for data in chain[1:]:
        policy = verify_next_policy(data, policy)
    return policy


def _read_policy(envelope: Envelope) -> Policy:
    fields = Fields(
        envelope.payload,
        "the policy",
        {
            "epoch",
            "issued_at",
            "keys",
            "lease_seconds",
            "never_ports",
            "openings",
            "owner",
            "roles",
            "roots",
            "type",
            "version",
        },
    )
    keys = _read_keys(fields.items("keys", most=MAX_KEYS))
    return Policy(
        owner=fields.digest("owner"),
        epoch=fields.integer("epoch", low=1),
        version=fields.integer("version", low=1),
        issued_at_ms=fields.integer("issued_at"),
        lease_seconds=fields.integer("lease_seconds", low=60, high=MAX_LEASE_SECONDS),
        roles=_read_roles(fields.map("roles"), keys),
        roots=_read_roots(fields.map("roots")),
        never_ports=_read_ports(fields.items("never_ports", most=MAX_NEVER_PORTS)),
        openings=tuple(
            require_digest(each, "an opening")
            for each in fields.texts("openings", most=MAX_OPENINGS)
        ),
        hash=envelope.hash,
        raw=envelope.raw,
    )


def _read_keys(values: list[Json]) -> dict[str, RoleKey]:
    keys: dict[str, RoleKey] = {}
    for value in values:
        fields = Fields(value, "a key", {"key_id", "org", "person", "public", "suite"})
        fields.text("org", most=80)
        key = read_key_fields(fields)
        if key.key_id in keys:
            raise Malformed("Expected each key once.", reason="duplicate_key")
        keys[key.key_id] = RoleKey(key=key, person=fields.text("person", most=80, least=1))
    return keys


def _read_roles(values: JsonObject, keys: Mapping[str, RoleKey]) -> Mapping[str, Role]:
    fields = Fields(values, "the roles", set(ROLES))
    roles: dict[str, Role] = {}
    for name in ROLES:
        role = Fields(fields.map(name), f"the role {name}", {"keys", "threshold"})
        ids = role.texts("keys", most=MAX_KEYS)
        if missing := [i for i in ids if i not in keys]:
            raise Malformed(
                f"The role {name!r} names no known key: {missing[0]!r}.", reason="bad_role"
            )
        members = {i: keys[i] for i in ids}
        threshold = role.integer("threshold")
        check_threshold(name, {m.person for m in members.values()}, threshold)
        roles[name] = Role(name=name, keys=MappingProxyType(members), threshold=threshold)
    return MappingProxyType(roles)


def _read_roots(values: JsonObject) -> Roots:
    names = {
        "director",
        "download_origins",
        "fleet_ca",
        "log_key",
        "makers",
        "recording_key",
        "server_ca",
        "witnesses",
    }
    fields = Fields(values, "the roots", names)
    makers: dict[str, str] = {}
    for product, digest in fields.map("makers").items():
        if not isinstance(digest, str):
            raise Malformed("Expected a maker root to be a digest.", reason="bad_field")
        makers[product] = require_digest(digest, "a maker root")
    return Roots(
        server_ca=fields.digest("server_ca"),
        fleet_ca=fields.digest("fleet_ca"),
        log_key=_read_note_key(fields.map("log_key"), "the log key"),
        witnesses=MappingProxyType(
            {
                check_signer_name(n): _read_note_key(v, "a witness")
                for n, v in fields.map("witnesses").items()
            }
        ),
        director=fields.text("director", most=64),
        makers=MappingProxyType(makers),
        recording_key=fields.text("recording_key", most=256),
        download_origins=fields.texts("download_origins", most=32),
    )


def _read_note_key(value: Json, what: str) -> PublicKey:
    key = read_key_fields(Fields(value, what, {"key_id", "public", "suite"}))
    if key.suite != ED25519:
        raise Malformed(f"Expected {what} to be an Ed25519 key.", reason="bad_key")
    return key


def _read_ports(values: list[Json]) -> tuple[int, ...]:
    ports = [v for v in values if isinstance(v, int) and not isinstance(v, bool) and 0 < v < 65536]
    if len(ports) != len(values) or len(set(ports)) != len(ports):
        raise Malformed("Expected distinct port numbers.", reason="bad_field")
    return tuple(ports)
