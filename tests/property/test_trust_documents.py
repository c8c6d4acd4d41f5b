"""A machine and a lying server: whatever is handed over, the view moves along its owner's history.

The owner writes a random history of documents. The server holds all of them, and those of another
owner, and puts bundles together as it likes: old with new, in any order, cut short, with parts
left out, with a byte changed. The oracle is the list of states that the owner really published.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.keys_world import hand_over
from tests.trust_world import Machine, World

from fleetward.trust.documents import (
    MAX_STORED_BYTES,
    Bundle,
    OwnerView,
    advance,
    first_view,
    read_bundle,
    restore_view,
)
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.roster import ACTIVE

ACTIONS = st.lists(
    st.sampled_from(["policy", "epoch", "confirm", "other", "lease", "publish", "head"]),
    min_size=1,
    max_size=7,
)


@dataclass(frozen=True)
class Published:
    """One state that the owner really published."""

    policy: str
    head: str
    roster: str
    active: bool
    known: bool


@dataclass
class History:
    """The owner's true history, and every bundle that an honest server would ever have handed."""

    world: World
    machine: Machine
    states: list[Published]
    bundles: list[Bundle]

    def record(self) -> None:
        world, device = self.world, self.machine.device
        mine = [e for e in world.entries if e.device == device]
        state = Published(
            policy=world.policy.hash,
            head=world.heads[-1].hash,
            roster=world.rosters[-1].hash,
            active=bool(mine) and mine[0].state == ACTIVE,
            known=bool(mine),
        )
        if state not in self.states:
            self.states.append(state)
        self.bundles.append(world.bundle(device))

    def act(self, action: str) -> None:
        world, machine = self.world, self.machine
        if action in ("policy", "epoch"):
            if action == "epoch":
                hand_over(world, f"Buyer {world.policy.epoch}")
            else:
                world.next_policy()
            world.publish()
        elif action == "lease":
            world.lease()
        elif action == "head":
            world.head()
            world.lease()
        elif action == "publish":
            world.publish()
        elif action == "other":
            world.confirm(world.machine(f"machine {len(world.machines)}"))
        elif machine.device not in [e.device for e in world.entries]:
            world.confirm(machine)
        else:
            world.retire(machine)
        self.record()

    def place_of(self, view: OwnerView) -> int:
        """Return where in the true history a view stands; fail when it is nowhere."""
        assert view.head is not None
        assert view.roster is not None
        for place, state in enumerate(self.states):
            if (view.policy.hash, view.head.hash, view.roster.hash) == (
                state.policy, state.head, state.roster,
            ):  # fmt: skip
                assert not view.confirmed or state.active
                assert view.entry is None or state.known
                return place
        raise AssertionError("the machine believes what its owner never published")


def write_history(actions: list[str]) -> History:
    world = World.make()
    history = History(world, world.machine(), [], [])
    history.record()
    for action in actions:
        history.act(action)
    return history


THIEF = World.make(name="Thief")


PARTS = ("root", "policies", "head", "roster", "entry", "lease")


def lie(draw: st.DataObject, history: History) -> Bundle:
    """Return a bundle as a server that holds everything may splice it, from two honest ones."""
    others = [history.world.bundle(m.device) for m in history.world.machines]
    honest = [*history.bundles, *others, THIEF.bundle(history.machine.device)]
    one, two = (draw.draw(st.sampled_from(honest)) for _ in range(2))
    spliced = one
    for part in draw.draw(st.sets(st.sampled_from(PARTS))):
        spliced = _with_part(spliced, part, getattr(two, part))
        if part == "entry":
            spliced = replace(spliced, entry_index=two.entry_index, entry_proof=two.entry_proof)
    if draw.draw(st.integers(0, 3)) == 0:
        spliced = replace(spliced, lease=b"")
    return _damage(draw, spliced) if draw.draw(st.integers(0, 2)) == 0 else spliced


def _with_part(bundle: Bundle, part: str, value: object) -> Bundle:
    fields = {name: getattr(bundle, name) for name in Bundle.__dataclass_fields__}
    return Bundle(**{**fields, part: value})


def _damage(draw: st.DataObject, bundle: Bundle) -> Bundle:
    what = draw.draw(
        st.sampled_from(["cut", "shuffle", "drop", "flip", "twice", "lease", "policies"])
    )
    policies = list(bundle.policies)
    if what == "cut":
        kept = draw.draw(st.sets(st.integers(0, len(policies) - 1)))
        return replace(bundle, policies=tuple(policies[n] for n in sorted(kept)))
    if what == "shuffle":
        return replace(bundle, policies=tuple(draw.draw(st.permutations(policies))))
    if what == "twice":
        return replace(bundle, policies=(*policies, *policies))
    if what == "policies":
        return Bundle(root=b"", policies=bundle.policies)
    if what == "lease":
        return Bundle(root=b"", lease=bundle.lease)
    part = draw.draw(st.sampled_from(["head", "roster", "entry", "lease"]))
    data = getattr(bundle, part)
    if what == "drop":
        return _with_part(bundle, part, b"")
    if what == "flip" and data:
        place = draw.draw(st.integers(0, len(data) - 1))
        flipped = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        return _with_part(bundle, part, flipped)
    return bundle


def check_moved(history: History, before: OwnerView, after: OwnerView) -> None:
    """Check everything that a view promises when it was allowed to move."""
    assert after.anchor == before.anchor
    assert after.root == before.root
    assert after.policies[: len(before.policies)] == before.policies
    assert [p.hash for p in after.policies] == [
        p.hash for p in history.world.policies[: len(after.policies)]
    ]
    assert after.lease_serial >= before.lease_serial
    if after.head is None:
        assert before.head is None
        assert not after.confirmed
        return
    assert history.place_of(after) >= (history.place_of(before) if before.head else 0)
    if after.lease is not None:
        assert after.lease.head == after.head.hash
        assert after.lease == before.lease or after.lease.serial > before.lease_serial


@settings(max_examples=120, deadline=None)
@given(ACTIONS, st.data())
def test_a_lying_server_moves_a_machine_along_the_true_history_only(
    actions: list[str], draw: st.DataObject
) -> None:
    history = write_history(actions)
    world, machine = history.world, history.machine
    start = draw.draw(st.integers(0, len(history.bundles) - 1))
    lowest = world.policies[len(history.bundles[start].policies) - 1]
    view = first_view(world.anchor(machine.device, lowest), history.bundles[start])
    assert history.place_of(view) >= 0
    for _ in range(draw.draw(st.integers(3, 14))):
        try:
            moved = advance(view, lie(draw, history))
        except (Malformed, Untrusted):
            continue
        check_moved(history, view, moved)
        view = moved
        if draw.draw(st.booleans()):  # The machine restarts.
            stored = read_bundle(view.to_bundle().to_bytes(), max_bytes=MAX_STORED_BYTES)
            again = restore_view(view.anchor, stored, view.lease_serial)
            assert again == view
            view = again
    # Whatever was tried, an honest server is believed in the end.
    newest = history.bundles[-1]
    final = advance(view, newest)
    assert history.place_of(final) == len(history.states) - 1
    assert final.confirmed == history.states[-1].active
    assert final.lease is not None


@settings(max_examples=60, deadline=None)
@given(ACTIONS, st.data())
def test_a_lying_server_cannot_choose_where_a_machine_begins(
    actions: list[str], draw: st.DataObject
) -> None:
    history = write_history(actions)
    lowest = draw.draw(st.sampled_from(history.world.policies))
    anchor = history.world.anchor(history.machine.device, lowest)
    try:
        view = first_view(anchor, lie(draw, history))
    except (Malformed, Untrusted):
        return
    assert view.root.owner == history.world.owner
    assert view.policy.version >= lowest.version
    assert [p.hash for p in view.policies] == [
        p.hash for p in history.world.policies[: len(view.policies)]
    ]
    assert view.head is None or history.place_of(view) >= 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3), st.integers(1, 3), st.data())
def test_when_the_owner_contradicts_himself_a_machine_stays_on_one_branch(
    shared: int, apart: int, draw: st.DataObject
) -> None:
    """Two histories, both signed with the owner's real keys, part after `shared` policies."""
    world = World.make()
    machine = world.machine()
    for _ in range(shared):
        world.next_policy()
    trunk = list(world.policies)
    branches = []
    for ports in ([1], [2]):
        world.policies = list(trunk)
        for _ in range(apart):
            world.next_policy({"never_ports": list(ports)})
        world.publish()
        branches.append((list(world.policies), world.bundle(machine.device)))
    world.policies = list(trunk)
    view = first_view(world.anchor(machine.device), branches[draw.draw(st.integers(0, 1))][1])
    branch = next(p for p, _ in branches if p[-1].hash == view.policy.hash)
    for _ in range(4):
        bundle = draw.draw(st.sampled_from([b for _, b in branches]))
        try:
            view = advance(view, bundle)
        except Untrusted as e:
            assert e.reason in ("forked_policy", "old_head", "old_lease")
        assert [p.hash for p in view.policies] == [p.hash for p in branch]
