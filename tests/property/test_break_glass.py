"""Who lets somebody break in, over all signers; and presses, over all histories."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.access_world import RULES, AccessWorld
from tests.break_glass_world import ROOT, break_glass_of, set_break_glass
from tests.trust_world import resign

from fleetward.device.audit.diary import Diary
from fleetward.device.presses import MOST_WAITING, PRESS_MS, WAIT_SECONDS, Presses
from fleetward.runtime.keys import make_key
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.grants.offer import Offer
from fleetward.trust.grants.request import Request
from fleetward.trust.keys import ED25519, ES256, Signer

NAMES = ("ada", "ben", "cleo", "cleo again", "dan", "tom too", "thief")


@dataclass
class Signers:
    """An owner with stand-ins, and a request of each kind."""

    world: AccessWorld
    keys: dict[str, Signer]
    asked: dict[bool, tuple[Request, Offer]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def signers() -> Signers:
    world = AccessWorld.make(rules=RULES)
    ada, ben = world.trust.signers
    keys = {"ada": ada, "ben": ben}
    for place, name in enumerate(NAMES[2:]):
        keys[name] = make_key(ES256 if place % 2 else ED25519)
    people = {"cleo": "cleo", "cleo again": "cleo", "dan": "dan", "tom too": "tom"}
    rules = break_glass_of([keys[name] for name in people])
    set_break_glass(world, rules, [(keys[name], person) for name, person in people.items()])
    made = Signers(world, keys)
    for marked in (True, False):
        request = world.request(*((ROOT,) if marked else ()), break_glass=marked)
        made.asked[marked] = (request, world.offer(request))
    return made


@settings(max_examples=120, deadline=None)
@given(
    who=st.sets(st.sampled_from(NAMES)),
    asked=st.booleans(),
    said=st.sampled_from(["as asked", "marked", "false"]),
)
def test_a_grant_is_good_when_enough_of_the_right_people_signed_what_was_asked(
    signers: Signers, who: set[str], asked: bool, said: str
) -> None:
    world = signers.world
    request, offer = signers.asked[asked]
    keys = [signers.keys[name] for name in sorted(who)]
    changes = {} if said == "as asked" else {"break_glass": said == "marked"}
    grant = resign(world.grant(request, offer, None, []), cast(Any, changes), keys)
    people = {"cleo again": "cleo"}
    if asked:
        counted = {people.get(n, n) for n in who} & {"cleo", "dan"}
        good = len(counted) >= 2 and said != "false"
    else:
        good = bool(who & {"ada", "ben"}) and said == "as asked"
    try:
        found = world.judge(grant, request, offer)
    except FleetwardError:
        assert not good
    else:
        assert good
        assert found.break_glass is asked
        assert "tom" not in found.people


class _Diary:
    def __init__(self) -> None:
        self.entries = 0

    def order(self, kind: str, body: object) -> int:
        assert kind == "session.pressed"
        assert body
        self.entries += 1
        return self.entries


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(0, 3)),
        st.tuples(st.just("press"), st.integers(0, 3)),
        st.tuples(st.just("take"), st.integers(0, 3)),
        st.tuples(st.just("forget"), st.integers(0, 3)),
        st.tuples(st.just("pass"), st.sampled_from([1, 1000, PRESS_MS - 1, PRESS_MS, 600_000])),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_a_press_serves_once_in_time_and_for_what_waits(steps: list[tuple[str, int]]) -> None:
    now, diary = [0], _Diary()
    presses = Presses(lambda: now[0], cast(Diary, diary))
    since: dict[int, int] = {}
    pressed: dict[int, int] = {}
    taken = 0

    def drop_old() -> None:
        for each in list(since):
            over = (
                now[0] - pressed[each] >= PRESS_MS
                if each in pressed
                else now[0] - since[each] >= WAIT_SECONDS * 1000
            )
            if over:
                del since[each]
                pressed.pop(each, None)

    for what, value in steps:
        subject = f"{value:064x}"
        drop_old()
        if what == "pass":
            now[0] += value
        elif what == "wait":
            presses.waiting(subject, "words")
            since[value] = now[0]
            pressed.pop(value, None)
        elif what == "forget":
            presses.forget(subject)
            since.pop(value, None)
            pressed.pop(value, None)
        elif what == "press":
            may = value in since and value not in pressed
            try:
                presses.press(subject, "kiosk")
            except Refused:
                assert not may
            else:
                assert may
                pressed[value] = now[0]
        else:
            good = value in pressed
            assert presses.take(subject) is good
            if good:
                del since[value], pressed[value]
                taken += 1
    drop_old()
    assert {w.subject for w in presses.shown()} == {f"{v:064x}" for v in since}
    assert taken <= diary.entries


def test_no_more_waits_than_a_person_can_tell_apart() -> None:
    presses = Presses(lambda: 0, cast(Diary, _Diary()))
    for number in range(MOST_WAITING):
        presses.waiting(f"{number:064x}", "words")
    presses.waiting(f"{0:064x}", "again")
    with pytest.raises(Refused):
        presses.waiting("f" * 64, "one more")
