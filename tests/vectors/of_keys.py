"""Vectors of keys that change hands: handovers, recoveries, offers to take over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.keys_world import hand_over, name_recovery, recovered, take_recovered
from tests.trust_world import NOW_MS, World, alter, payload_of, resign
from tests.vectors.making import Vectors, seeded_key
from tests.vectors.of_owners import chain_of

from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.canonical import to_base64url as b64
from fleetward.trust.documents import Bundle
from fleetward.trust.envelope import seal
from fleetward.trust.keys import ED25519, ES256
from fleetward.trust.policy import verify_recovered_policy
from fleetward.trust.recovery import make_recovery
from fleetward.trust.takeover import make_offer

DAY = 86_400
UNTRUSTED = "Untrusted/"


def seller() -> World:
    """Return an owner of two people, who both sign policies and have recovery keys."""
    return World.make(("ada", "ben"), {"policy": 2}, name="Seller", new_key=seeded_key)


def handover_vectors() -> Vectors:
    v = Vectors("handovers", "Keys that change hands: epochs, recovery keys, offers to take over.")
    _of_handovers(v)
    _of_recoveries(v)
    _of_waiting(v)
    _of_offers(v)
    return v


def _of_handovers(v: Vectors) -> None:
    check, few = "policy.turns", f"{UNTRUSTED}too_few_signatures"
    world = seller()
    before, people, lease = list(world.policies), dict(world.people), world.lease_signer
    hand_over(world, "Buyer")
    sold, dead = world.policy.raw, [*people.values(), lease]
    everybody = [*dead, *world.signers]
    v.good("a handover", check, **chain_of(world))
    world.policies = before

    def changed(changes: Mapping[str, Json], signers: Any = everybody) -> dict[str, Any]:
        return chain_of(world, last=resign(sold, changes, signers))

    payload = payload_of(sold)
    keys, roots = payload["keys"], payload["roots"]
    assert isinstance(keys, list)
    assert isinstance(roots, dict)
    old_row = payload_of(before[0].raw)["keys"]
    old_roots = payload_of(before[0].raw)["roots"]
    assert isinstance(old_row, list)
    v.bad("by the seller alone", check, few, **changed({}, dead))
    v.bad("by the buyer alone", check, few, **changed({}, world.signers))
    v.bad("two epochs", check, f"{UNTRUSTED}skipped_epoch", **changed({"epoch": 3}))
    v.bad("a key that stays", check, f"{UNTRUSTED}old_key_kept",
          **changed({"keys": [*keys, old_row[0]]}))  # fmt: skip
    v.bad("the refresher stays", check, f"{UNTRUSTED}old_key_kept",
          **changed({"keys": [*keys, old_row[-1]]}))  # fmt: skip
    v.bad("the fleet CA stays", check, f"{UNTRUSTED}old_key_kept",
          **changed({"roots": old_roots}))  # fmt: skip
    v.bad("another name in the same epoch", check, f"{UNTRUSTED}renamed_owner",
          **chain_of(world, last=seal(
              {**payload_of(before[0].raw), "version": 2, "name": "Buyer"}, list(people.values())
          )))  # fmt: skip
    v.bad("an empty name", check, "Malformed/bad_field", **changed({"name": ""}))
    unnamed = {k: x for k, x in payload.items() if k != "name"}
    v.bad("no name", check, f"{UNTRUSTED}unnamed_owner",
          **chain_of(world, last=seal(unnamed, everybody)))  # fmt: skip


def _of_recoveries(v: Vectors) -> None:
    check, wide = "policy.turns", f"{UNTRUSTED}recovery_too_wide"
    world = seller()
    keepers = name_recovery(world)
    raw, people = recovered(world, keepers)
    v.good("a recovery", check, **chain_of(world, last=raw))
    everybody = [*world.signers, *keepers, *people.values()]
    v.good("by both thresholds it is ordinary", check,
           **chain_of(world, last=resign(raw, {}, everybody)))  # fmt: skip
    few = f"{UNTRUSTED}too_few_signatures"
    v.bad("one keeper", check, few, **chain_of(world, last=recovered(world, keepers[:1])[0]))
    v.bad("without the new people", check, few, **chain_of(world, last=resign(raw, {}, keepers)))
    payload = payload_of(world.policy.raw)
    roots, recovery = payload["roots"], payload["recovery"]
    assert isinstance(roots, dict)
    assert isinstance(recovery, dict)
    touching: list[tuple[str, JsonObject]] = [
        ("the server's CA", {"roots": {**roots, "server_ca": "ab" * 32}}),
        ("the recording key", {"roots": {**roots, "recording_key": "es256:AAAA"}}),
        ("the ports", {"never_ports": []}),
        ("the lease", {"lease_seconds": 60}),
        ("the name", {"name": "Thief"}),
        ("the epoch", {"epoch": 2}),
        ("a shorter delay", {"recovery": {**recovery, "delay_seconds": DAY}}),
        ("a rule", {"access": {"requesters": [], "walls": "any"}}),
    ]
    for name, changes in touching:
        last = recovered(world, keepers, changes)[0]
        v.bad(f"touches {name}", check, wide, **chain_of(world, last=last))
    ids = tuple(k.public.key_id for k in keepers)
    bad: list[tuple[str, JsonObject, str]] = [
        ("a delay of a second less than a day", make_recovery(ids, 2, DAY - 1), "bad_field"),
        ("a delay of 91 days", make_recovery(ids, 2, 91 * DAY), "bad_field"),
        ("three of two", make_recovery(ids, 3, DAY), "bad_threshold"),
        ("nobody", make_recovery((), 1, DAY), "bad_threshold"),
        ("a key that signs", make_recovery((world.signers[0].public.key_id,), 1, DAY), "bad_role"),
        ("a key that is not there", make_recovery(("a" * 32,), 1, DAY), "bad_role"),
        ("a further field", {**recovery, "more": 1}, "unknown_field"),
    ]
    for name, value, reason in bad:
        last = seal(world.next_payload({"recovery": value}), world.signers)
        v.bad(f"recovery keys: {name}", check, f"Malformed/{reason}", **chain_of(world, last=last))


def _of_waiting(v: Vectors) -> None:
    world = seller()
    machine = world.machine()
    keepers = name_recovery(world)
    world.publish()
    raw, people = recovered(world, keepers)
    digest = verify_recovered_policy(raw, world.policy).hash
    first = world.bundle(machine.device)
    alone = Bundle(root=b"", policies=(raw,))
    veto = seal(world.next_payload({"never_ports": [22, 99]}), world.signers)
    anchor = {
        "owner": world.owner, "device": machine.device,
        "policy_version": world.policy.version, "policy_hash": world.policy.hash,
    }  # fmt: skip
    refused = Bundle(root=b"", policies=(veto,))
    take_recovered(world, raw, people)
    world.publish()
    done = world.bundle(machine.device)
    mine = {"anchor": anchor}

    def steps(*bundles: tuple[Bundle, list[str]]) -> dict[str, Any]:
        return {
            **mine,
            "bundles": [b64(each.to_bytes()) for each, _ in bundles],
            "waited": [waited for _, waited in bundles],
        }

    headless = Bundle(root=first.root, policies=first.policies)
    v.good("it waits, then holds", "view.waiting",
           **steps((first, []), (alone, []), (done, []), (done, [digest])))  # fmt: skip
    v.good("it is refused meanwhile", "view.waiting",
           **steps((headless, []), (alone, []), (refused, []), (done, [digest])))  # fmt: skip
    v.good("held, what refuses it is a fork", "view.waiting",
           **steps((headless, []), (alone, [digest]), (refused, [])))  # fmt: skip


def _of_offers(v: Vectors) -> None:
    check = "takeover.offer"
    keys = {n: seeded_key(ED25519, f"buyer {n}") for n in ("root", "approver", "refresh")}
    recording = f"{ES256}:{b64(seeded_key(ES256, 'buyer recording').public.spki)}"
    payload = make_offer(
        ("Buyer", "cleo", "Care"), {n: k.public for n, k in keys.items()},
        (recording, "33" * 32), NOW_MS,
    )  # fmt: skip
    offer = seal(payload, list(keys.values()))
    v.good("an offer", check, offer=b64(offer))
    few = f"{UNTRUSTED}too_few_signatures"
    v.bad("two of its keys", check, few, offer=b64(seal(payload, list(keys.values())[:2])))
    v.bad("altered", check, f"{UNTRUSTED}bad_signature", offer=b64(alter(offer, {"name": "Thief"})))
    twice = make_offer(
        ("Buyer", "cleo", "Care"), dict.fromkeys(keys, keys["root"].public), (recording, "33" * 32),
        NOW_MS,
    )  # fmt: skip
    v.bad("one key three times", check, "Malformed/duplicate_key",
          offer=b64(seal(twice, [keys["root"]])))  # fmt: skip
    v.bad("a further field", check, "Malformed/unknown_field",
          offer=b64(seal({**payload, "more": 1}, list(keys.values()))))  # fmt: skip
