"""What a thief can make of the keys that a server holds: pure, keys and documents in, bundles out.

Every function returns a bundle that is well formed, and as well signed as the stolen keys allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tests.trust_world import reader_of

from fleetward.runtime.keys import make_key
from fleetward.server.directory.decide import Documents
from fleetward.trust import canonical
from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.documents import Bundle
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.head import make_lease_payload
from fleetward.trust.keys import ES256, Signer
from fleetward.trust.merkle import hash_leaf, prove_inclusion
from fleetward.trust.policy import ROLES
from fleetward.trust.roster import ACTIVE, RETIRED, RosterEntry, make_roster_payload


def resign(raw: bytes, changes: JsonObject, signers: Sequence[Signer]) -> bytes:
    """Return a document with changed fields, signed by these keys alone."""
    return seal({**read_envelope(raw).payload, **changes}, signers)


def forge_policy(held: Documents, stolen: Sequence[Signer], *, version: int) -> bytes:
    """Return a policy of this version in which every role belongs to the thief."""
    keys: list[Json] = [
        {**signer.public.to_json(), "org": "", "person": f"Thief {number}"}
        for number, signer in enumerate(stolen)
    ]
    ids = [signer.public.key_id for signer in stolen]
    roles: JsonObject = {role: {"keys": list(ids), "threshold": 1} for role in ROLES}
    changes: JsonObject = {"keys": keys, "roles": roles, "version": version}
    return resign(held.policy.raw, changes, stolen)


def lower_thresholds(held: Documents, stolen: Sequence[Signer]) -> bytes:
    """Return the next policy with the owner's own signatures left on, and a key of the thief's."""
    before = read_envelope(held.policy.raw)
    ours = stolen[0].public
    keys = before.payload["keys"]
    assert isinstance(keys, list)
    added: list[Json] = [*keys, {**ours.to_json(), "org": "", "person": "Ada"}]
    return resign(held.policy.raw, {"keys": added, "version": held.policy.version + 1}, stolen)


def forge_roster(
    held: Documents, stolen: Sequence[Signer], entries: Sequence[RosterEntry], device: str = ""
) -> Bundle:
    """Return a newer roster over `entries`, and a head that names it; with one machine's place."""
    ordered = sorted(entries, key=lambda e: e.device)
    version = held.roster.version + 1
    roster = seal(make_roster_payload(held.policy, version, 1, ordered), stolen)
    head = resign(
        held.head.raw,
        {
            "roster": {"hash": read_envelope(roster).hash, "version": version},
            "version": held.head.version + 1,
        },
        stolen,
    )
    bundle = Bundle(root=held.root.raw, head=head, roster=roster)
    ids = [e.device for e in ordered]
    if device not in ids:
        return bundle
    leaves = [hash_leaf(e.to_bytes()) for e in ordered]
    place = ids.index(device)
    return replace(
        bundle,
        entry=ordered[place].to_bytes(),
        entry_index=place,
        entry_proof=tuple(prove_inclusion(place, len(leaves), reader_of(leaves))),
    )


def renamed(entry: RosterEntry) -> RosterEntry:
    """Return the entry of the same machine under another name and site."""
    return replace(entry, name="test rig", site="basement", state=ACTIVE)


def retired(entry: RosterEntry) -> RosterEntry:
    """Return the entry of the same machine, retired."""
    return replace(entry, state=RETIRED)


def invented() -> RosterEntry:
    """Return an entry for a machine that the thief made up."""
    key = make_key(ES256).public
    return RosterEntry(key.key_id, key, "ghost", "Hall 1", (), "P7", "Acme", ACTIVE)


def forge_lease(held: Documents, stolen: Sequence[Signer], *, seconds: int) -> Bundle:
    """Return a lease on the owner's own head, signed by the thief."""
    payload = make_lease_payload(held.head, held.lease.serial + 1, held.lease.issued_at_ms, seconds)
    return Bundle(root=held.root.raw, lease=seal(payload, stolen))


def stretch_lease(held: Documents) -> Bundle:
    """Return the owner's own lease with its time changed under the owner's signature."""
    document = canonical.decode_object(held.lease.raw)
    payload = document["payload"]
    assert isinstance(payload, dict)
    payload["seconds"] = held.lease.seconds - 1
    return Bundle(root=held.root.raw, lease=canonical.encode(document))
