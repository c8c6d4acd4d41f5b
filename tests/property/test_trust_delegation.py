"""Generated delegations and requests against an oracle that says yes in one expression."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.access_world import LOGS, PAGE, TERMINAL, AccessWorld
from tests.trust_world import NOW_MS

from fleetward.runtime.keys import make_key
from fleetward.trust.access import RootScope, Scope
from fleetward.trust.canonical import Json
from fleetward.trust.delegation import MAX_DAYS
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError
from fleetward.trust.grants.request import check_time, verify_request
from fleetward.trust.keys import ED25519

DAY_MS = 86_400_000
SCOPES: tuple[Scope, ...] = (TERMINAL, PAGE, LOGS, RootScope())
some_scopes = st.lists(st.sampled_from(SCOPES), min_size=1, unique=True).map(tuple)


@dataclass(frozen=True)
class History:
    """Everything that was drawn."""

    lets: bool = True
    by_delegator: bool = True
    to_asker: bool = True
    person: str = "ana"
    epoch: int = 1
    here: bool = True
    given: tuple[Scope, ...] = (TERMINAL, PAGE)
    given_seconds: int = 600
    asked: tuple[Scope, ...] = (TERMINAL,)
    asked_seconds: int = 600
    days: int = 1
    moment: int = 0
    shown: bool = True


SPOILS: dict[str, st.SearchStrategy[Any]] = {
    "lets": st.booleans(),
    "by_delegator": st.booleans(),
    "to_asker": st.booleans(),
    "person": st.sampled_from(["ana", "ada", "tom"]),
    "epoch": st.sampled_from([1, 2]),
    "here": st.booleans(),
    "given": some_scopes,
    "given_seconds": st.sampled_from([1, 599, 600]),
    "asked": some_scopes,
    "asked_seconds": st.sampled_from([1, 600, 901]),
    "days": st.sampled_from([0, 1, MAX_DAYS, MAX_DAYS + 1]),
    "moment": st.sampled_from([-1, 0, DAY_MS - 600_000, DAY_MS - 599_999, DAY_MS]),
    "shown": st.booleans(),
}


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A history in which everything is in order, and up to three things drawn anew."""
    spoilt = draw(st.sets(st.sampled_from(sorted(SPOILS)), max_size=3))
    return replace(History(), **{name: draw(SPOILS[name]) for name in sorted(spoilt)})


def may_ask(h: History) -> bool:
    """The oracle. Root may be had for 900 seconds at most, the others for an hour."""
    return (
        (h.lets and h.by_delegator and h.to_asker and h.shown)
        and (h.person, h.epoch) == ("ana", 1)
        and h.here
        and set(h.asked) <= set(h.given)
        and h.asked_seconds <= h.given_seconds
        and (h.asked_seconds <= 900 or RootScope() not in h.asked)
        and 1 <= h.days <= MAX_DAYS
        and 0 <= h.moment <= h.days * DAY_MS - h.asked_seconds * 1000
    )


def asks(h: History) -> bool:
    """What a machine says."""
    world = AccessWorld.make()
    if h.lets:
        world.let_delegate()
    ana, other = make_key(ED25519), make_key(ED25519)
    payload = world.delegation_payload(
        (ana if h.to_asker else other).public, *h.given, seconds=h.given_seconds
    )
    devices: list[Json] = [world.machine.device if h.here else "b" * 32]
    payload |= {
        "person": h.person, "epoch": h.epoch, "devices": devices, "not_before": NOW_MS,
        "not_after": NOW_MS + h.days * DAY_MS,
    }  # fmt: skip
    delegation = seal(payload, [world.technician if h.by_delegator else other])
    if h.shown:
        raw = world.delegated_request(ana, delegation, *h.asked, seconds=h.asked_seconds)
    else:
        plain = world.request_payload(*h.asked, seconds=h.asked_seconds)
        raw = seal({**plain, "requester": ana.public.key_id}, [ana])
    try:
        request = verify_request(raw, world.trust.policy, world.machine.device)
        check_time(request, NOW_MS + h.moment, h.asked_seconds)
    except FleetwardError:
        return False
    assert request.person == "ana"
    assert "sent by tom" in request.org
    return True


@settings(max_examples=250, deadline=None)
@given(histories())
def test_a_delegate_asks_for_what_he_was_given_and_no_more(h: History) -> None:
    expected = may_ask(h)
    event("asks" if expected else "does not")
    assert asks(h) == expected
