"""Vectors of the owner's documents, and of a machine that follows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.trust_world import NOW_MS, World, alter, resign
from tests.vectors.making import Vectors, seeded_key

from fleetward.trust import canonical
from fleetward.trust.canonical import JsonObject
from fleetward.trust.canonical import to_base64url as b64
from fleetward.trust.documents import Bundle
from fleetward.trust.envelope import document_hash, seal
from fleetward.trust.generation import make_opening_payload
from fleetward.trust.head import make_head_payload
from fleetward.trust.invitation import JOIN_PREFIX
from fleetward.trust.journal import SeenCheckpoint
from fleetward.trust.keys import Signer
from fleetward.trust.merkle import hash_leaf, root_of


def chain_of(world: World, *, last: bytes | None = None) -> dict[str, Any]:
    """Return the root and policies of a world, with `last` put behind them."""
    policies = [p.raw for p in world.policies] + ([last] if last else [])
    return {
        "owner": world.owner,
        "root": b64(world.owner_root.raw),
        "policies": [b64(p) for p in policies],
    }


def make_world(name: str = "Plant") -> World:
    """Return the owner of the vectors: three people, two of whom make policy."""
    world = World.make(
        ("ada", "ben", "cleo"), {"root": 2, "policy": 2, "invite": 2}, name=name,
        new_key=seeded_key,
    )  # fmt: skip
    world.next_policy({"never_ports": [22, 23]})
    world.publish()
    return world


def policy_vectors() -> Vectors:
    v = Vectors("policies", "The owner root and the chain of policies that hangs from it.")
    world, check = make_world(), "policy.chain"
    v.good("two policies", check, **chain_of(world))
    both = [world.people["ada"], world.people["ben"]]

    def next_with(signers: Sequence[Signer] = both, **changes: Any) -> dict[str, Any]:
        return chain_of(world, last=seal(world.next_payload(changes), signers))

    v.bad("a third, of a new epoch, by old keys", check, "Untrusted/unnamed_owner",
          **next_with(epoch=2))  # fmt: skip
    few, form = "Untrusted/too_few_signatures", "Malformed/"
    v.bad("one person", check, few, **next_with(both[:1]))
    v.bad("the refresher", check, few, **next_with([world.lease_signer, both[0]]))
    v.bad("a gap", check, "Untrusted/wrong_version", **next_with(version=4))
    v.bad("again", check, "Untrusted/wrong_version", **next_with(version=2))
    v.bad("another owner", check, "Untrusted/another_owner", **next_with(owner="00" * 32))
    v.bad("a further field", check, f"{form}unknown_field", **next_with(extra=1))
    v.bad("an opening that is no digest", check, f"{form}bad_field", **next_with(openings=["ab"]))
    v.bad("a port of 65536", check, f"{form}bad_field", **next_with(never_ports=[65536]))
    v.bad("a lease of 59 seconds", check, f"{form}bad_field", **next_with(lease_seconds=59))
    v.bad("a role of unknown keys", check, f"{form}bad_role", **next_with(keys=[]))
    roles = world.next_payload()["roles"]
    assert isinstance(roles, dict)
    heavy: JsonObject = {**roles, "roster": {"keys": [both[0].public.key_id], "threshold": 2}}
    v.bad("a threshold out of reach", check, f"{form}bad_threshold", **next_with(roles=heavy))
    skipped = {**chain_of(world), "policies": chain_of(world)["policies"][1:]}
    v.bad("without the first", check, "Untrusted/wrong_version", **skipped)
    v.bad("nothing", check, f"{form}no_policy", **{**chain_of(world), "policies": []})
    thief = make_world("Thief")
    swapped = {**chain_of(world), "root": b64(thief.owner_root.raw)}
    v.bad("another root", check, "Untrusted/another_owner", **swapped)
    foreign = {**chain_of(world), "policies": chain_of(thief)["policies"]}
    v.bad("another owner's policies", check, few, **foreign)
    return v


def roster_vectors() -> Vectors:
    v = Vectors("rosters", "Rosters: a machine's own entry with its proof, and the whole list.")
    world = make_world()
    machines = [world.machine(f"pump {n}") for n in range(5)]
    world.confirm(*machines)
    world.retire(machines[0])
    chain, roster = chain_of(world), b64(world.rosters[-1].raw)
    raws = [b64(e.to_bytes()) for e in world.entries]

    def ask(machine: int) -> dict[str, Any]:
        bundle = world.bundle(machines[machine].device)
        return {
            **chain,
            "roster": roster,
            "entry": b64(bundle.entry),
            "index": bundle.entry_index,
            "proof": [b64(h) for h in bundle.entry_proof],
            "device": machines[machine].device,
        }

    for number in range(5):
        v.good(f"machine {number}", "roster.entry", **ask(number))
    mine, theirs, check = ask(1), ask(2), "roster.entry"
    v.bad("another's entry", check, "Untrusted/another_device",
          **{**theirs, "device": mine["device"]})  # fmt: skip
    proof = "Untrusted/bad_inclusion_proof"
    v.bad("another index", check, proof, **{**mine, "index": theirs["index"]})
    v.bad("no proof", check, proof, **{**mine, "proof": []})
    v.bad("beyond the end", check, "Malformed/bad_index", **{**mine, "index": 5})
    v.bad("a short hash", check, "Malformed/bad_proof", **{**mine, "proof": ["AAAA"]})
    altered = canonical.from_base64url(mine["entry"]).replace(b"pump 1", b"pump 9")
    v.bad("an altered entry", check, proof, **{**mine, "entry": b64(altered)})
    older = resign(world.rosters[-1].raw, {"epoch": 2}, world.signers)
    v.bad("another epoch", check, "Untrusted/old_epoch", **{**mine, "roster": b64(older)})
    forged = resign(world.rosters[-1].raw, {}, [world.lease_signer])
    v.bad("too few", check, "Untrusted/too_few_signatures", **{**mine, "roster": b64(forged)})
    v.good("all", "roster.whole", **chain, roster=roster, entries=raws)
    v.bad("one hidden", "roster.whole", "Untrusted/hidden_machine",
          **chain, roster=roster, entries=raws[1:])  # fmt: skip
    v.bad("two swapped", "roster.whole", "Untrusted/bad_entries",
          **chain, roster=roster, entries=[raws[1], raws[0], *raws[2:]])  # fmt: skip
    reverse = [e.to_bytes() for e in reversed(world.entries)]
    root = root_of(hash_leaf(e) for e in reverse).hex()
    disorder = resign(world.rosters[-1].raw, {"entries_root": root}, world.signers)
    v.bad("signed out of order", "roster.whole", "Untrusted/bad_order",
          **chain, roster=b64(disorder), entries=[b64(e) for e in reverse])  # fmt: skip
    return v


def head_vectors() -> Vectors:
    v = Vectors("heads", "Heads, leases on them, and openings of a generation.")
    world = make_world()
    chain, raw, lease = chain_of(world), world.heads[-1].raw, world.leases[-1].raw
    refresher = [world.lease_signer]
    v.good("head", "head", **chain, head=b64(raw))
    v.good("lease", "lease", **chain, head=b64(raw), lease=b64(lease))
    few, form = "Untrusted/too_few_signatures", "Malformed/"
    heads: list[tuple[str, Sequence[Signer], JsonObject, str]] = [
        ("head by the refresher", refresher, {}, few),
        ("head of another owner", world.signers, {"owner": "00" * 32}, "Untrusted/another_owner"),
        ("head of another epoch", world.signers, {"epoch": 9}, "Untrusted/old_epoch"),
        ("head without a version", world.signers, {"version": 0}, f"{form}bad_field"),
    ]
    for name, signers, changes, refused in heads:
        v.bad(name, "head", refused, **chain, head=b64(resign(raw, changes, signers)))
    cases: list[tuple[str, Sequence[Signer], JsonObject, str]] = [
        ("lease by an owner", world.signers, {}, few),
        ("lease on another head", refresher, {"head": "00" * 32}, "Untrusted/another_head"),
        ("lease too long", refresher, {"seconds": 604_801}, "Untrusted/lease_too_long"),
        ("lease too short", refresher, {"seconds": 59}, f"{form}bad_field"),
        ("lease without serial", refresher, {"serial": 0}, f"{form}bad_field"),
    ]
    for name, by, change, refused in cases:
        signed = b64(resign(lease, change, by))
        v.bad(name, "lease", refused, **chain, head=b64(raw), lease=signed)
    known = SeenCheckpoint(generation=1, size=42, root="ab" * 32)
    payload = make_opening_payload(world.policy, known, "restored from a backup", NOW_MS)
    v.good("opening", "opening", **chain, opening=b64(seal(payload, world.signers)))
    skip = seal({**payload, "generation": 3}, world.signers)
    v.bad("opening skips", "opening", "Untrusted/wrong_generation", **chain, opening=b64(skip))
    alone = seal(payload, world.signers[:1])
    v.bad("opening by one", "opening", few, **chain, opening=b64(alone))
    _openings_over_policies(v)
    return v


def _openings_over_policies(v: Vectors) -> None:
    """Openings under a policy that others have followed since."""
    world, check = make_world(), "opening"
    known = SeenCheckpoint(generation=1, size=42, root="ab" * 32)
    payload = make_opening_payload(world.policy, known, "restored from a backup", NOW_MS)
    named, signed = document_hash(payload), b64(seal(payload, world.signers))
    before = chain_of(world)
    world.next_policy({"never_ports": [23]})
    v.bad("opening that the next policy does not name", check, "Untrusted/retired_policy",
          **chain_of(world), opening=signed)  # fmt: skip
    world.next_policy({"openings": [named]})
    v.good("opening that a later policy names", check, **chain_of(world), opening=signed)
    again = make_opening_payload(world.policy, known, "restored from a backup", NOW_MS)
    v.bad("opening under a policy to come", check, "Untrusted/unknown_policy",
          **before, opening=b64(seal(again, world.signers)))  # fmt: skip
    unknown: JsonObject = {"hash": "00" * 32, "version": world.policy.version}
    another: JsonObject = {**again, "policy": unknown}
    v.bad("opening under another policy of the version", check, "Untrusted/unknown_policy",
          **chain_of(world), opening=b64(seal(another, world.signers)))  # fmt: skip
    alone = b64(seal(payload, world.signers[:1]))
    v.bad("named opening by one", check, "Untrusted/too_few_signatures",
          **chain_of(world), opening=alone)  # fmt: skip
    bare = {k: value for k, value in again.items() if k != "policy"}
    v.bad("opening without a policy", check, "Malformed/missing_field",
          **chain_of(world), opening=b64(seal(bare, world.signers)))  # fmt: skip


def invitation_vectors() -> Vectors:
    v = Vectors("invitations", "Invitations, join strings, addresses.")
    world = make_world()
    invited = world.invitation(site="Ward 3", uses=5, preapproved=True)
    ask = {**chain_of(world), "now": NOW_MS + 1}
    v.good("invitation", "invitation", **ask, invitation=b64(invited.raw))
    both, one = world.signers, world.signers[:1]
    cases: list[tuple[str, Sequence[Signer], JsonObject, str]] = [
        ("by one person", one, {}, "Untrusted/too_few_signatures"),
        ("another owner's", both, {"owner": "00" * 32}, "Untrusted/another_owner"),
        ("of another epoch", both, {"epoch": 2}, "Untrusted/old_epoch"),
        ("with a short nonce", both, {"nonce": b64(bytes(15))}, "Malformed/bad_field"),
        ("with a long nonce", both, {"nonce": b64(bytes(33))}, "Malformed/bad_field"),
        ("for nobody", both, {"uses": 0}, "Malformed/bad_field"),
        ("turning the screen around", both, {"site": "a\u202eb"}, "Malformed/bad_field"),
        ("with 1 for true", both, {"preapproved": 1}, "Malformed/bad_field"),
    ]
    for name, signers, changes, refused in cases:
        signed = b64(resign(invited.raw, changes, signers))
        v.bad(f"invitation {name}", "invitation", refused, **ask, invitation=signed)
    forged = b64(alter(invited.raw, {"uses": 50}))
    v.bad("altered by the server", "invitation", "Untrusted/bad_signature",
          **ask, invitation=forged)  # fmt: skip
    late = {**ask, "now": invited.expires_at_ms}
    v.bad("expired", "invitation", "Refused/invitation_expired",
          **late, invitation=b64(invited.raw))  # fmt: skip
    text = world.join_string(invited).to_text()
    v.good("join string", "join_string", text=text)
    v.good("join string, wrapped", "join_string", text=f" {text[:70]}\r\n\t{text[70:]} \n")
    value = canonical.decode_object(canonical.from_base64url(text.removeprefix(JOIN_PREFIX)))
    for name, bad in [
        ("without its prefix", text.removeprefix(JOIN_PREFIX)),
        ("cut short", text[:-1]),
        ("with a letter more", text + "A"),
        ("padded", text + "="),
        ("without an address", join_text({**value, "bus": []})),
        ("with a field more", join_text({**value, "x": 1})),
        ("of policy 0", join_text({**value, "policy": {"hash": "00" * 32, "version": 0}})),
        ("too long", JOIN_PREFIX + "A" * 9000),
    ]:
        v.bad(f"join string {name}", "join_string", "Malformed/bad_join_string", text=bad)
    for good in ("console.localhost:443", "192.0.2.1:65535", "[2001:db8::1]:1"):
        v.good(f"address {good}", "address", text=good)
    for bad in ("", "host", "host:0", "host:65536", "host:080", "host:\u0661", "a/b:1", "::1:1",
                "[]:1", "a@b:1", "host:1\n"):  # fmt: skip
        v.bad(f"no address {bad!a}", "address", "Malformed/bad_address", text=bad)
    return v


def join_text(value: JsonObject) -> str:
    """Return a join string over any value."""
    return JOIN_PREFIX + b64(canonical.encode(value))


def view_vectors() -> Vectors:
    v = Vectors("views", "A machine's view: bundles in order, and what it believes after each.")
    world = make_world()
    machine = world.machine()
    anchor = world.anchor(machine.device)
    given = {
        "owner": anchor.owner,
        "device": anchor.device,
        "policy_version": anchor.policy_version,
        "policy_hash": anchor.policy_hash,
    }
    joined = world.bundle(machine.device)
    world.confirm(machine, world.machine("another"))
    confirmed = world.bundle(machine.device)
    lease = Bundle(root=b"", lease=world.lease().raw)
    world.next_policy({"never_ports": [22]})
    world.publish()
    newer = world.bundle(machine.device)
    world.retire(machine)
    retired = world.bundle(machine.device)
    thief = make_world("Thief").bundle(machine.device)
    fork = resign(newer.policies[-1], {"never_ports": []}, world.signers)
    twin = make_head_payload(world.policy, world.rosters[-1], world.heads[-1].version, 1)

    def ask(name: str, *bundles: Bundle) -> None:
        data = [b64(bundle.to_bytes()) for bundle in bundles]
        v.good(name, "view", anchor=given, bundles=data)

    ask("from joining to retiring", joined, confirmed, lease, newer, retired)
    ask("everything at once", retired)
    ask("the same again", confirmed, confirmed)
    ask("backwards", newer, confirmed, joined, retired)
    ask("another owner", thief, joined, thief)
    ask("an old lease again", confirmed, lease, confirmed, lease)
    ask("new policy without head", confirmed, Bundle(root=b"", policies=newer.policies))
    ask("old roster under a new head", confirmed, replace(newer, roster=confirmed.roster))
    ask("old head over a new policy", confirmed, replace(newer, head=confirmed.head))
    ask("a forked policy", newer, replace(newer, policies=(fork,)))
    ask("a forked head", retired, replace(retired, head=seal(twin, world.signers)))
    ask("an entry withheld, then shown", replace(confirmed, entry=b"", entry_proof=()), confirmed)
    ask("an entry withheld after it was shown", confirmed, replace(confirmed, entry=b""))
    ask("an older policy than the join string's",
        replace(joined, policies=joined.policies[:1]))  # fmt: skip
    ask("a roster without a head", confirmed, replace(confirmed, head=b""))
    return v
