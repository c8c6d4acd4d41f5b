"""A buyer's offer to take a fleet over: his public keys, and nothing that anybody obeys.

    {"type": "fleetward.take-over-offer.v1", "name": "Care Ltd", "person": "Cleo", "org": "Care",
     "keys": {"root": …, "approver": …, "refresh": …}, "recording_key": "es256:…",
     "fleet_ca": "…", "issued_at": …}

Rules:

1. The offer is signed by each of its three keys, so that nobody offers a key that he does not hold
   (the recording key and the fleet CA are vouched for by the root key's signature).
2. All keys differ.

The seller puts these keys into a policy of the next epoch (`policy`, rule 9). The buyer signs that
policy in the end, and compares it with his own keys before: an offer that was altered on its way
leads to a policy that he does not sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from fleetward.trust.canonical import JsonObject
from fleetward.trust.envelope import Role, RoleKey, read_envelope, verify_threshold
from fleetward.trust.errors import Malformed
from fleetward.trust.fields import Fields
from fleetward.trust.keys import PublicKey, read_key_fields

OFFER_TYPE: Final = "fleetward.take-over-offer.v1"
MAX_OFFER_BYTES: Final = 16 * 1024
OFFERED: Final = ("approver", "refresh", "root")
"""What the keys are for: roster, head, invitations and sessions; leases; policies."""


@dataclass(frozen=True, slots=True)
class TakeOver:
    """A verified offer."""

    name: str
    person: str
    org: str
    keys: Mapping[str, PublicKey]
    recording_key: str
    fleet_ca: str
    issued_at_ms: int
    hash: str
    raw: bytes


def make_offer(
    names: tuple[str, str, str],
    keys: Mapping[str, PublicKey],
    roots: tuple[str, str],
    issued_at_ms: int,
) -> JsonObject:
    """Return the payload to sign: (name, person, org), the keys, (recording key, fleet CA)."""
    return {
        "fleet_ca": roots[1],
        "issued_at": issued_at_ms,
        "keys": {name: keys[name].to_json() for name in OFFERED},
        "name": names[0],
        "org": names[2],
        "person": names[1],
        "recording_key": roots[0],
        "type": OFFER_TYPE,
    }


def verify_offer_to_take_over(data: bytes) -> TakeOver:
    """Return an offer that each of its keys signed. Raises `Malformed` or `Untrusted`."""
    envelope = read_envelope(data, max_bytes=MAX_OFFER_BYTES)
    fields = Fields(
        envelope.payload,
        "the offer",
        {"fleet_ca", "issued_at", "keys", "name", "org", "person", "recording_key", "type"},
    )
    said = Fields(fields.map("keys"), "the offered keys", set(OFFERED))
    keys = {name: _read_key(said, name) for name in OFFERED}
    # Rule 2.
    if len({key.key_id for key in keys.values()}) != len(keys):
        raise Malformed("Expected three different keys.", reason="duplicate_key")
    # Rule 1: three keys, as if of three people.
    members = {key.key_id: RoleKey(key, name) for name, key in keys.items()}
    role = Role("the offer", MappingProxyType(members), len(members))
    verify_threshold(envelope, OFFER_TYPE, role)
    return TakeOver(
        name=fields.text("name", most=80, least=1),
        person=fields.text("person", most=80, least=1),
        org=fields.text("org", most=80),
        keys=MappingProxyType(keys),
        recording_key=fields.text("recording_key", most=256, least=1),
        fleet_ca=fields.digest("fleet_ca"),
        issued_at_ms=fields.integer("issued_at"),
        hash=envelope.hash,
        raw=data,
    )


def _read_key(fields: Fields, name: str) -> PublicKey:
    return read_key_fields(
        Fields(fields.map(name), f"the key {name}", {"key_id", "public", "suite"})
    )
