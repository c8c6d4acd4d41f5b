"""Generated trees of policies against an oracle that knows nothing of documents.

An owner, his recovery keepers, buyers and forgers sign policies on any policy that ever was:
ordinary ones, rotations, recoveries, handovers, and each of them with something wrong. A lying
server hands them to a machine in any order, again and again; now and then a delay is over there.
The oracle compares names of keys: who holds what, and who signed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.trust_world import World, key_row, payload_of

from fleetward.runtime.keys import make_key
from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.documents import Bundle, OwnerView, advance, find_announced, restore_view
from fleetward.trust.envelope import document_hash, read_envelope, seal
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.keys import ED25519, Signer
from fleetward.trust.recovery import make_recovery

DAY = 86_400
KINDS = (
    "ordinary", "ordinary", "rotate", "name recovery", "name recovery", "drop recovery", "recover",
    "recover", "recover", "recover wide", "recover alone", "sell", "sell keeping a key",
    "sell twice", "sell alone", "forge",
)  # fmt: skip


@dataclass(frozen=True)
class Node:
    """A policy as the oracle sees it. Keys are known by their ids alone."""

    version: int
    epoch: int
    name: str
    rules: str
    keeper: str
    """The recovery key, or nothing."""
    ports: int
    fleet_ca: str
    others: frozenset[str]
    """Keys beside the one that signs policies."""
    signed: frozenset[str]
    raw: bytes

    @property
    def keys(self) -> frozenset[str]:
        return self.others | {self.rules}

    @property
    def hash(self) -> str:
        return read_envelope(self.raw).hash


def follows(before: Node, after: Node) -> str:
    """Say how `after` follows: `ordinary`, `recovered`, or not at all."""
    if after.version != before.version + 1 or after.rules not in after.signed:
        return ""
    sold = after.epoch != before.epoch
    if before.rules in after.signed:
        if not sold:
            return "ordinary" if after.name == before.name else ""
        alone = not (after.keys & before.keys) and after.fleet_ca != before.fleet_ca
        return "ordinary" if after.epoch == before.epoch + 1 and after.name and alone else ""
    same = (after.epoch, after.name, after.ports, after.fleet_ca) == (
        before.epoch, before.name, before.ports, before.fleet_ca,
    )  # fmt: skip
    return "recovered" if before.keeper and before.keeper in after.signed and same else ""


@dataclass
class Forest:
    """Every policy that anybody ever signed, and everybody's keys."""

    world: World
    nodes: list[Node] = field(default_factory=list)
    held: dict[str, Signer] = field(default_factory=dict)

    def new_key(self) -> Signer:
        key = make_key(ED25519)
        self.held[key.public.key_id] = key
        return key

    def plant(self) -> None:
        world = self.world
        payload = payload_of(world.policy.raw)
        for key in (*world.signers, world.lease_signer):
            self.held[key.public.key_id] = key
        rules = world.signers[0].public.key_id
        roots = payload["roots"]
        assert isinstance(roots, dict)
        self.nodes.append(
            Node(1, 1, "", rules, "", 22, str(roots["fleet_ca"]),
                 frozenset({world.lease_signer.public.key_id}), frozenset({rules}),
                 world.policy.raw)
        )  # fmt: skip

    def grow(self, draw: st.DataObject, tip: Node) -> Node:
        """Sign one more policy: mostly upon the one that the machine has."""
        before = draw.draw(st.sampled_from([tip, tip, tip, *self.nodes[-2:]]))
        kind = "name recovery" if before.version == 1 else draw.draw(st.sampled_from(KINDS))
        wish = replace(
            before,
            version=before.version + 1,
            ports=draw.draw(st.sampled_from((22, 23))) if kind == "ordinary" else before.ports,
        )
        signers = {before.rules}
        if kind in ("rotate", "recover", "recover wide", "recover alone"):
            wish = replace(wish, rules=self.new_key().public.key_id)
            signers |= {wish.rules}
        if kind == "name recovery":
            keeper = self.new_key().public.key_id
            wish = replace(wish, keeper=keeper, others=(before.others - {before.keeper}) | {keeper})
        if kind == "drop recovery":
            wish = replace(wish, keeper="", others=before.others - {before.keeper})
        if kind.startswith("recover"):
            signers = {before.keeper or self.new_key().public.key_id, wish.rules}
        if kind == "recover wide":
            wish = replace(wish, ports=before.ports + 1)
        if kind == "recover alone":
            signers -= {wish.rules}
        if kind.startswith("sell"):
            wish, signers = self.sell(before, wish, kind)
        if kind == "forge":
            signers = {self.new_key().public.key_id}
        node = self.sign(replace(wish, signed=frozenset(signers)))
        self.nodes.append(node)
        return node

    def sell(self, before: Node, wish: Node, kind: str) -> tuple[Node, set[str]]:
        kept = {min(before.others)} if kind == "sell keeping a key" else set[str]()
        rules, lease = self.new_key().public.key_id, self.new_key().public.key_id
        wish = replace(
            wish,
            epoch=before.epoch + (2 if kind == "sell twice" else 1),
            name=f"Buyer {wish.version}",
            rules=rules,
            keeper="",
            fleet_ca=f"{len(self.nodes) + 1:064x}",
            others=frozenset({lease, *kept}),
        )
        return wish, {rules} if kind == "sell alone" else {rules, before.rules}

    def sign(self, wish: Node) -> Node:
        payload = payload_of(self.nodes[0].raw)
        lease = min(wish.others - {wish.keeper})
        roles: JsonObject = {
            role: {"keys": [lease if role == "lease" else wish.rules], "threshold": 1}
            for role in ("policy", "roster", "head", "invite", "lease", "approve")
        }
        rows: list[Json] = [
            key_row(self.held[i].public, f"holder {i[:4]}") for i in sorted(wish.keys)
        ]
        roots = payload["roots"]
        assert isinstance(roots, dict)
        payload |= {
            "epoch": wish.epoch,
            "keys": rows,
            "never_ports": [wish.ports],
            "roles": roles,
            "roots": {**roots, "fleet_ca": wish.fleet_ca},
            "version": wish.version,
        }
        if wish.name:
            payload["name"] = wish.name
        if wish.keeper:
            payload["recovery"] = make_recovery((wish.keeper,), 1, 7 * DAY)
        raw = seal(payload, [self.held[i] for i in sorted(wish.signed)])
        return replace(wish, raw=raw)


def expect(path: list[Node], node: Node, waited: frozenset[str]) -> str:
    """Say what a machine does with a policy: `take`, `wait`, `know`, or `refuse`."""
    if node.version <= len(path):
        return "know" if path[node.version - 1].hash == node.hash else "refuse"
    how = follows(path[-1], node)
    if how == "recovered" and node.hash not in waited:
        return "wait"
    return "take" if how else "refuse"


def hand_over(view: OwnerView, node: Node, waited: frozenset[str]) -> tuple[OwnerView, str]:
    bundle = Bundle(root=b"", policies=(node.raw,))
    try:
        after = advance(view, bundle, waited)
    except Refused as e:
        assert e.reason == "recovery_waits"
        found = find_announced(view, bundle, waited)
        assert found is not None
        assert (found[0].hash, found[1]) == (node.hash, view.policy)
        assert found[2].delay_seconds == 7 * DAY
        return view, "wait"
    except (Malformed, Untrusted):
        return view, "refuse"
    return after, "know" if after == view else "take"


@settings(max_examples=70, deadline=None)
@given(st.data())
def test_a_machine_takes_what_the_oracle_takes(draw: st.DataObject) -> None:
    world = World.make()
    machine = world.machine()
    forest = Forest(world)
    forest.plant()
    # A view without a head: nothing but policies moves it.
    view = OwnerView(world.anchor(machine.device), world.owner_root, (world.policy,))
    path, waited = [forest.nodes[0]], frozenset[str]()
    for _ in range(draw.draw(st.integers(4, 14))):
        new = forest.grow(draw, path[-1])
        nodes = [new, draw.draw(st.sampled_from(forest.nodes))]
        if draw.draw(st.booleans()):
            nodes.reverse()
        for node in nodes:
            expected = expect(path, node, waited)
            view, did = hand_over(view, node, waited)
            assert did == expected, (did, expected, node)
            if did == "take":
                path.append(node)
            elif did == "wait" and draw.draw(st.booleans()):  # Its delay is over here.
                waited |= {node.hash}
                nodes.append(node)
        assert [p.hash for p in view.policies] == [n.hash for n in path]
        if draw.draw(st.integers(0, 3)) == 0:  # The machine restarts.
            assert restore_view(view.anchor, view.to_bundle(), view.lease_serial) == view
    # Of a seller nothing stands: no key before an epoch is in the policy that began it.
    for before, after in pairwise(path):
        if after.epoch > before.epoch:
            assert not before.keys & after.keys
            assert document_hash(payload_of(after.raw)) == after.hash
