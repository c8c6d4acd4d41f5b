"""The owner policy: who may sign what, and every other root.

Rules:

1. Policy 1 is signed by the threshold of the owner root.
2. Policy n+1 is signed by the threshold of policy n's role `policy`, and by its own (as a TUF
   root is, TUF specification section 5.3.4 and 5.3.5), so that nobody hands over to keys that
   nobody holds.
3. The version is exactly one more. The epoch never falls, and rises only by rule 9.
4. Owner and epoch are those of the root.
5. Who may ask for a session, and for which, stands in `access` (see `trust.access`). A policy
   without the field lets nobody ask: no policy of an earlier release opens anything.
6. A passkey (suite `webauthn`) says at which rp id and origins it is used, and approves sessions;
   it signs no policy, roster, head, invitation or lease, and asks for nothing.
7. No root comes from elsewhere: the server's CA, the fleet CA, the log key, witnesses, the
   director, the makers, the recording key and the origins for downloads stand here, or nowhere.
8. What the keys of earlier policies opened of the record, and still stands, is named here
   (`openings`, see `generation`).
9. When the epoch rises, the owner hands everything over. It rises by exactly one; the new policy
   says the new owner's name; and no key of the policy before stands in it: none of `keys` (roles,
   requesters, recovery), not its recording key, not its fleet CA. So every older key dies at once.
   The server's own roots may stay. Rule 2 has both the seller's and the buyer's people sign.
10. The name (`name`) changes with the epoch and never else. Without it, the root's name holds.

Rules 11 to 14, on recovery keys, stand in `recovery`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from fleetward.trust.access import AccessRules, read_access
from fleetward.trust.break_glass import check_people
from fleetward.trust.canonical import Json, JsonObject, from_base64url
from fleetward.trust.envelope import Envelope, Role, RoleKey, read_envelope, verify_threshold
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.fields import Fields, require_digest
from fleetward.trust.keys import (
    ED25519,
    ES256,
    MAX_SPKI_BYTES,
    PublicKey,
    key_id_of,
    read_key_fields,
    read_public_key,
)
from fleetward.trust.note import check_signer_name
from fleetward.trust.passkey import WEBAUTHN, Passkey
from fleetward.trust.recovery import Recovery, check_recovered, read_recovery
from fleetward.trust.root import OwnerRoot, check_threshold

POLICY_TYPE: Final = "fleetward.owner-policy.v1"
ROLES: Final = ("policy", "roster", "head", "invite", "lease", "approve")
"""What a key can be for. `lease` renews the head's lease and nothing else."""
MAX_KEYS: Final = 256
MAX_NEVER_PORTS: Final = 64
MAX_ORIGINS: Final = 16
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
    keys: Mapping[str, RoleKey]
    orgs: Mapping[str, str]
    access: AccessRules
    openings: tuple[str, ...]
    hash: str
    raw: bytes
    name: str = ""
    """The owner's name since a handover; empty while the root's holds."""
    recovery: Recovery | None = None
    recovered: bool = False
    """Whether recovery keys signed it, and not the people of the policy before."""


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
    # Rule 10.
    if policy.name:
        raise Untrusted("The first policy has the root's name.", reason="renamed_owner")
    # Rule 2, second half.
    verify_threshold(envelope, POLICY_TYPE, policy.roles["policy"])
    return policy


def verify_next_policy(data: bytes, before: Policy) -> Policy:
    """Return the policy that follows `before`. Raises `Malformed` or `Untrusted`."""
    envelope = read_envelope(data)
    # Rule 2, first half: the keys of the one before decide, before a field is believed.
    verify_threshold(envelope, POLICY_TYPE, before.roles["policy"])
    policy = _read_policy(envelope)
    _check_follows(policy, before)
    # Rules 9 and 10.
    if policy.epoch > before.epoch:
        _check_handover(policy, before)
    elif policy.name != before.name:
        raise Untrusted(
            "The owner's name changes with a handover, and never else.", reason="renamed_owner"
        )
    # Rule 2, second half.
    verify_threshold(envelope, POLICY_TYPE, policy.roles["policy"])
    return policy


def verify_recovered_policy(data: bytes, before: Policy) -> Policy:
    """Return the policy that the recovery keys of `before` signed.

    It says nothing of the delay: a machine waits (`documents.advance`). Raises `Malformed` or
    `Untrusted`.
    """
    envelope = read_envelope(data)
    if before.recovery is None:
        raise Untrusted("The policy before names no recovery keys.", reason="no_recovery")
    # Rule 12, first half.
    verify_threshold(envelope, POLICY_TYPE, before.recovery.role)
    policy = replace(_read_policy(envelope), recovered=True)
    _check_follows(policy, before)
    # Rule 13. The epoch is among what stays.
    check_recovered(read_envelope(before.raw).payload, envelope.payload)
    # Rule 12, second half.
    verify_threshold(envelope, POLICY_TYPE, policy.roles["policy"])
    return policy


def verify_following_policy(data: bytes, before: Policy) -> Policy:
    """Return the policy that follows `before`, be it ordinary or recovered (rule 14).

    What both thresholds signed is ordinary. Raises `Malformed` or `Untrusted`.
    """
    try:
        return verify_next_policy(data, before)
    except Untrusted as e:
        if e.reason != "too_few_signatures" or before.recovery is None:
            raise
        ordinary = e
    try:
        return verify_recovered_policy(data, before)
    except Untrusted as e:
        # What hardly anybody signed is no recovery either.
        raise ordinary if e.reason == "too_few_signatures" else e from None


def owner_name(root: OwnerRoot, policy: Policy) -> str:
    """Return whom the machines belong to, in words: the root's name until a handover."""
    return policy.name or root.name


def verify_policy_chain(root: OwnerRoot, chain: Sequence[bytes]) -> Policy:
    """Return the last policy of a chain that starts at the root. Raises as above."""
    if not chain:
        raise Malformed("Expected at least one policy.", reason="no_policy")
    policy = verify_first_policy(chain[0], root)
    for data in chain[1:]:
        policy = verify_following_policy(data, policy)
    return policy


def _check_follows(policy: Policy, before: Policy) -> None:
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


def _check_handover(policy: Policy, before: Policy) -> None:
    if policy.epoch != before.epoch + 1:
        raise Untrusted(
            f"Expected epoch {before.epoch + 1} after a handover, got {policy.epoch}.",
            reason="skipped_epoch",
        )
    if not policy.name:
        raise Untrusted("A handover says the new owner's name.", reason="unnamed_owner")
    if kept := _all_keys(before) & _all_keys(policy):
        raise Untrusted(
            f"After a handover no key of the owner before stands; this policy keeps "
            f"{min(kept)[:64]}.",
            reason="old_key_kept",
        )


def _all_keys(policy: Policy) -> set[str]:
    """Return every key that is the owner's: by id, the fleet CA by the hash of its certificate."""
    named = {*policy.keys, _recording_id(policy.roots.recording_key), policy.roots.fleet_ca}
    return named - {""}


def _recording_id(text: str) -> str:
    """Return the id of a recording key (`suite:SPKI`); another text is its own name."""
    try:
        return key_id_of(from_base64url(text.partition(":")[2])) if ":" in text else text
    except Malformed:
        return text


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
        {"access", "name", "recovery"},
    )
    keys, orgs = _read_keys(fields.items("keys", most=MAX_KEYS))
    roles, access = _read_roles(fields.map("roles"), keys), _read_rules(fields, keys)
    return Policy(
        owner=fields.digest("owner"),
        epoch=fields.integer("epoch", low=1),
        version=fields.integer("version", low=1),
        issued_at_ms=fields.integer("issued_at"),
        lease_seconds=fields.integer("lease_seconds", low=60, high=MAX_LEASE_SECONDS),
        roles=roles,
        roots=_read_roots(fields.map("roots")),
        never_ports=_read_ports(fields.items("never_ports", most=MAX_NEVER_PORTS)),
        keys=MappingProxyType(keys),
        orgs=MappingProxyType(orgs),
        access=access,
        openings=tuple(
            require_digest(each, "an opening")
            for each in fields.texts("openings", most=MAX_OPENINGS)
        ),
        hash=envelope.hash,
        raw=envelope.raw,
        name=fields.text("name", most=80, least=1) if fields.has("name") else "",
        recovery=_read_recovery(fields, keys, roles, access),
    )


def _read_recovery(
    fields: Fields, keys: Mapping[str, RoleKey], roles: Mapping[str, Role], access: AccessRules
) -> Recovery | None:
    if not fields.has("recovery"):
        return None
    used = {key_id for role in roles.values() for key_id in role.keys}
    return read_recovery(fields.map("recovery"), keys, frozenset({*used, *access.requesters}))


def _read_rules(fields: Fields, keys: Mapping[str, RoleKey]) -> AccessRules:
    if not fields.has("access"):
        return AccessRules()
    rules = read_access(fields.map("access"))
    for requester in rules.requesters:
        holder = keys.get(requester)
        if holder is None or holder.passkey is not None:
            raise Malformed(f"A requester has no key here: {requester!r}.", reason="bad_role")
    runbooks = (rules.rules or {}).get("runbook")
    for signer in runbooks.signers if runbooks else ():
        if signer not in keys or keys[signer].passkey is not None:
            raise Malformed(f"A signer of runbooks has no key here: {signer!r}.", reason="bad_role")
    if rules.break_glass is not None:
        check_people(rules.break_glass, keys)
    return rules


def _read_keys(values: list[Json]) -> tuple[dict[str, RoleKey], dict[str, str]]:
    keys: dict[str, RoleKey] = {}
    orgs: dict[str, str] = {}
    for value in values:
        holder, org = _read_holder(value)
        if holder.key.key_id in keys:
            raise Malformed("Expected each key once.", reason="duplicate_key")
        keys[holder.key.key_id], orgs[holder.key.key_id] = holder, org
    return keys, orgs


def _read_holder(value: Json) -> tuple[RoleKey, str]:
    names = {"key_id", "org", "person", "public", "suite"}
    if not (isinstance(value, dict) and value.get("suite") == WEBAUTHN):
        fields = Fields(value, "a key", names)
        holder = RoleKey(read_key_fields(fields), fields.text("person", most=80, least=1))
        return holder, fields.text("org", most=80)
    # A passkey is a P-256 key that says where it is used.
    fields = Fields(value, "a passkey", names | {"origins", "rp_id"})
    key = read_public_key(ES256, fields.binary("public", most=MAX_SPKI_BYTES))
    if fields.key_id("key_id") != key.key_id:
        raise Malformed("Expected the key id to be the hash of the key.", reason="bad_key_id")
    passkey = Passkey(
        fields.text("rp_id", most=253, least=1), fields.texts("origins", most=MAX_ORIGINS)
    )
    return (
        RoleKey(key, fields.text("person", most=80, least=1), passkey),
        fields.text("org", most=80),
    )


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
        if name != "approve" and any(keys[i].passkey for i in ids):
            raise Malformed(
                f"Expected passkeys to approve alone, and not in the role {name!r}.",
                reason="bad_role",
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
