"""Generated policies, requests and grants against an oracle that says yes in one expression.

The owner's rules, what the technician asks for, what the approvers sign and which of them, whose
name the technician goes by, and the machine's moment are all drawn; so is one thing that the server
changes. `verify_request` and `verify_grant` must agree with the oracle about every history.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.access_world import AccessWorld
from tests.trust_world import NOW_MS

from fleetward.trust.access import (
    AccessRules,
    FilesScope,
    LogsScope,
    RootScope,
    Scope,
    TcpScope,
    TerminalScope,
)
from fleetward.trust.access_rule import Rule
from fleetward.trust.access_runbook import RunbookScope
from fleetward.trust.access_serial import SerialScope
from fleetward.trust.errors import FleetwardError
from fleetward.trust.grants.grant import Terms

PEOPLE = ("ada", "ben", "cleo")
SCOPES: tuple[Scope, ...] = (
    TerminalScope("app"),
    TerminalScope("web"),
    RootScope(),
    TcpScope(22, "raw"),
    TcpScope(8080, "http"),
    TcpScope(8080, "raw"),
    LogsScope("nginx.service"),
    LogsScope("*"),
    FilesScope("/srv/app", "read", 10),
    FilesScope("/srv/app/data", "write", 10),
    FilesScope("/srv", "read", 10),
    SerialScope("/dev/ttyUSB0", 9600),
    SerialScope("/dev/ttyUSB01", 9600),
    RunbookScope("ab" * 32, "app", (("day", "x"),)),
    RunbookScope("ab" * 32, "root", ()),
    RunbookScope("cd" * 32, "app", ()),
)
ALLOWED: dict[str, tuple[str, ...]] = {
    "terminal": ("app",),
    "logs": ("nginx.service",),
    "files": ("/srv/app",),
    "serial": ("/dev/ttyUSB0",),
    "runbook": ("ab" * 32,),
}
PORTS = ((22, 22), (8080, 8090))
SECONDS = st.sampled_from([1, 59, 60, 61, 600])
GOOD = tuple(SCOPES[place] for place in (0, 2, 4, 6, 8, 11, 13, 14))
good_scopes = st.lists(st.sampled_from(GOOD), min_size=1, max_size=3, unique=True)
some_scopes = st.lists(st.sampled_from(SCOPES), min_size=1, max_size=4, unique=True)


@dataclass(frozen=True)
class History:
    """Everything that was drawn."""

    rules: dict[str, Rule]
    walls: str
    technician: str
    role_threshold: int
    asked: tuple[Scope, ...]
    asked_seconds: int
    given: tuple[Scope, ...]
    given_seconds: int
    watched: bool
    signers: tuple[str, ...]
    moment: int
    lease: int
    sandboxed: bool


@st.composite
def rule(draw: st.DrawFn, kind: str) -> Rule:
    return Rule(
        threshold=draw(st.sampled_from([1, 1, 2, 3])),
        seconds=draw(SECONDS),
        watched=draw(st.booleans()),
        allowed=ALLOWED.get(kind, ()),
        ports=PORTS if kind == "tcp" else (),
    )


KINDS = ("terminal", "root", "tcp", "logs", "files", "serial", "runbook")
SPOILS: dict[str, st.SearchStrategy[object]] = {
    "walls": st.just("sandbox"),
    "technician": st.just("ada"),
    "role_threshold": st.just(2),
    "asked": some_scopes.map(tuple),
    "asked_seconds": SECONDS,
    "given": some_scopes.map(tuple),
    "given_seconds": SECONDS,
    "watched": st.booleans(),
    "signers": st.sets(st.sampled_from(PEOPLE)).map(lambda names: tuple(sorted(names))),
    "moment": st.sampled_from([-1, 0, 999, 1000]),
    "lease": st.sampled_from([0, 1]),
    "sandboxed": st.booleans(),
}


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A history in which everything is in order, and up to three things that are drawn anew."""
    asked = tuple(draw(good_scopes))
    history = History(
        rules={kind: draw(rule(kind)) for kind in KINDS},
        walls="any",
        technician="tom",
        role_threshold=1,
        asked=asked,
        asked_seconds=1,
        given=asked,
        given_seconds=1,
        watched=True,
        signers=PEOPLE,
        moment=500,
        lease=1,
        sandboxed=True,
    )
    spoilt = draw(st.sets(st.sampled_from([*SPOILS, "rules"]), max_size=3))
    if "rules" in spoilt:
        kept = draw(st.sets(st.sampled_from(KINDS)))
        history = replace(history, rules={k: r for k, r in history.rules.items() if k in kept})
    changes: dict[str, Any] = {n: draw(SPOILS[n]) for n in sorted(spoilt) if n != "rules"}
    return replace(history, **changes)


def reachable(scope: Scope) -> bool:
    """What the lists in this file allow, port 22 being on the owner's list of never."""
    match scope:
        case TerminalScope():
            return scope.profile == "app"
        case TcpScope():
            return scope.port == 8080
        case LogsScope():
            return scope.unit == "nginx.service"
        case FilesScope():
            return scope.root in ("/srv/app", "/srv/app/data")
        case SerialScope():
            return scope.path == "/dev/ttyUSB0"
        case RunbookScope():
            return scope.digest == "ab" * 32
        case _:
            return True


def kinds_of(scopes: tuple[Scope, ...]) -> list[str]:
    """Whose rules count: a runbook that runs as root is root too."""
    as_root = ["root" for s in scopes if isinstance(s, RunbookScope) and s.run_as == "root"]
    return [s.kind for s in scopes] + as_root


def may_ask(h: History) -> bool:
    return all(map(reachable, h.asked)) and all(
        kind in h.rules and h.asked_seconds <= h.rules[kind].seconds for kind in kinds_of(h.asked)
    )


def may_enter(h: History) -> bool:
    """The oracle: the sentence that the owner would say."""
    if not may_ask(h) or not set(h.given) <= set(h.asked):
        return False
    rules = [h.rules[kind] for kind in kinds_of(h.given)]
    return (
        h.given_seconds <= h.asked_seconds
        and len(set(h.signers) - {h.technician})
        >= max(h.role_threshold, *(r.threshold for r in rules), 1)
        and (h.watched or not any(r.watched for r in rules))
        and (h.sandboxed or h.walls == "any")
        and 0 <= h.moment < 1000
        and h.lease > 0
    )


def enters(h: History) -> bool:
    """What the machine does."""
    world = AccessWorld.make(
        PEOPLE,
        AccessRules(rules=h.rules, walls=h.walls),
        technician=h.technician,
        thresholds={"approve": h.role_threshold},
    )
    try:
        request = world.request(*h.asked, seconds=h.asked_seconds)
    except FleetwardError:
        assert not may_ask(h)
        return False
    assert may_ask(h)
    offer = world.offer(request)
    terms = Terms(h.given, h.given_seconds, 60, h.watched, NOW_MS, NOW_MS + 1000)
    raw = world.grant(request, offer, terms, [world.trust.people[p] for p in h.signers])
    here = replace(
        world.situation(),
        now_ms=NOW_MS + h.moment,
        lease_seconds_left=h.lease,
        sandboxed=h.sandboxed,
    )
    try:
        grant = world.judge(raw, request, offer, here)
    except FleetwardError:
        return False
    assert set(grant.people) == set(h.signers) - {h.technician}
    assert set(grant.scopes) == set(h.given)
    return True


@settings(deadline=None, max_examples=300)
@given(histories())
def test_a_machine_opens_exactly_what_its_owner_would(h: History) -> None:
    event(f"enters: {may_enter(h)}")
    assert enters(h) == may_enter(h)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_no_changed_byte_opens_anything(data: st.DataObject) -> None:
    world = AccessWorld.make()
    request = world.request()
    offer = world.offer(request)
    raw = bytearray(world.grant(request, offer))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        world.judge(bytes(raw), request, offer)
    except FleetwardError:
        return
    raise AssertionError(f"a grant with byte {place} changed was taken")
