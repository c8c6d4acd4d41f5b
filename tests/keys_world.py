"""Keys of a `trust_world.World` that change hands: handovers by epoch, and recoveries.

>>> dead = hand_over(world, "Buyer")
>>> keepers = name_recovery(world)
>>> raw, people = recovered(world, keepers)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tests.trust_world import World, key_row, payload_of

from fleetward.trust.canonical import Json, JsonObject, to_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.keys import ED25519, ES256, Signer
from fleetward.trust.policy import ROLES, Policy, verify_next_policy, verify_recovered_policy
from fleetward.trust.recovery import make_recovery

SOLD_WITHOUT: Final = frozenset({"access", "recovery"})
"""What a handover leaves out: who may ask, and who may recover."""


def handover(
    world: World, name: str = "Buyer", changes: Mapping[str, Json] | None = None
) -> JsonObject:
    """Return the payload of a policy that hands all over to the people as they are now.

    A test first puts the buyer's keys into `people` and `lease_signer`, as `hand_over` does.
    """
    fresh = world.first_payload({r: world.policy.roles[r].threshold for r in ROLES})
    roots = payload_of(world.policy.raw)["roots"]
    assert isinstance(roots, dict)
    version = world.policy.version + 1
    if roots["recording_key"]:
        spki = world.new_key(ES256, f"{name} recording {version}").public.spki
        roots = {**roots, "recording_key": f"{ES256}:{to_base64url(spki)}"}
    theirs: JsonObject = {
        "epoch": world.policy.epoch + 1,
        "keys": fresh["keys"],
        "name": name,
        "roles": fresh["roles"],
        "roots": {**roots, "fleet_ca": f"{version:064x}"},
        "version": version,
    }
    kept = {k: v for k, v in payload_of(world.policy.raw).items() if k not in SOLD_WITHOUT}
    return {**kept, **theirs, **(changes or {})}


def hand_over(
    world: World, name: str = "Buyer", changes: Mapping[str, Json] | None = None
) -> list[Signer]:
    """Sign and keep a policy of the next epoch; return the keys that died by it."""
    dead = [*world.signers, world.lease_signer]
    at = world.policy.version + 1
    world.people = {
        f"{name} {place}": world.new_key(ES256 if place % 2 else ED25519, f"{name} {place} {at}")
        for place in range(len(world.people))
    }
    world.lease_signer = world.new_key(ED25519, f"{name} lease {at}")
    raw = seal(handover(world, name, changes), [*dead, *world.signers])
    world.policies.append(verify_next_policy(raw, world.policy))
    return dead


def name_recovery(
    world: World, people: Sequence[str] = ("rita", "rob"), threshold: int = 2, days: int = 7
) -> list[Signer]:
    """Sign and keep the next policy, which names recovery keys; return them."""
    at = world.policy.version + 1
    keys = [world.new_key(ED25519, f"recovery {person} {at}") for person in people]
    rows = payload_of(world.policy.raw)["keys"]
    assert isinstance(rows, list)
    ids = tuple(key.public.key_id for key in keys)
    new = [key_row(k.public, person) for k, person in zip(keys, people, strict=True)]
    world.next_policy(
        {"keys": [*rows, *new], "recovery": make_recovery(ids, threshold, days * 86_400)}
    )
    return keys


def recovered(
    world: World,
    keepers: Sequence[Signer],
    changes: Mapping[str, Json] | None = None,
    label: str = "recovered",
) -> tuple[bytes, dict[str, Signer]]:
    """Return a policy that the recovery keys sign, and the new people. Nothing is kept."""
    at = world.policy.version + 1
    people = {p: world.new_key(ED25519, f"{label} {p} {at}") for p in world.people}
    lease = world.new_key(ED25519, f"{label} lease {at}")
    before = payload_of(world.policy.raw)
    held, rows, lost = world.people, before["keys"], {s.public.key_id for s in world.signers}
    assert isinstance(rows, list)
    world.people, old_lease, world.lease_signer = people, world.lease_signer, lease
    fresh = world.first_payload({r: world.policy.roles[r].threshold for r in ROLES})
    world.people, world.lease_signer = held, old_lease
    lost.add(old_lease.public.key_id)
    kept = [r for r in rows if isinstance(r, dict) and r["key_id"] not in lost]
    mine = fresh["keys"]
    assert isinstance(mine, list)
    payload = {
        **before, "keys": [*mine, *kept], "roles": fresh["roles"], "version": at,
        **(changes or {}),
    }  # fmt: skip
    return seal(payload, [*keepers, *people.values()]), {**people, "": lease}


def take_recovered(world: World, raw: bytes, people: Mapping[str, Signer]) -> Policy:
    """Keep a policy that `recovered` returned, and go on as its people."""
    world.policies.append(verify_recovered_policy(raw, world.policy))
    world.people = {person: key for person, key in people.items() if person}
    world.lease_signer = people[""]
    return world.policy
