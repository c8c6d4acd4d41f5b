"""Somebody wants in without the approvers, and without enough people, or nobody at the machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.break_glass_world import (
    ROOT,
    BreakGlassGuard,
    break_glass_of,
    set_break_glass,
)
from tests.trust_world import alter, payload_of, resign

from fleetward.device.access.panel_desk import PanelDesk
from fleetward.device.access.panel_words import PRESS, Said
from fleetward.device.access.words import End
from fleetward.device.gate_break_glass import DROPPED, GRANTED, MOST_HELD, OPENED
from fleetward.device.presses import PRESS_MS, WAIT_SECONDS
from fleetward.runtime.keys import make_key
from fleetward.trust.access import TcpScope
from fleetward.trust.canonical import Json, from_base64url
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.errors import FleetwardError, Malformed, Refused
from fleetward.trust.grants.ending import make_stop_payload
from fleetward.trust.grants.report import verify_denial
from fleetward.trust.keys import ED25519, Signer


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BreakGlassGuard]:
    made = BreakGlassGuard.make(tmp_path)
    yield made
    made.guard.close()


def press(world: BreakGlassGuard, subject: str) -> str:
    """Press at the panel; return the reason of a refusal, or nothing."""
    answer = PanelDesk(world.guard.core).answer(Said(PRESS, subject), "kiosk")
    world.guard.tick()
    return answer.reason


def test_two_people_and_a_press_open_it_and_everybody_is_told(world: BreakGlassGuard) -> None:
    session = world.hold()
    assert world.opened == 0
    assert not world.guard.entries("session.opened")
    assert press(world, session) == ""
    assert world.opened == 1
    assert world.guard.doors is not None
    inside = world.guard.doors.take()
    assert inside.order.session == session
    assert inside.order.recording_key, "it is recorded, as every session"
    for kind in ("breakglass.asked", GRANTED, "session.pressed", OPENED):
        (body,) = world.guard.entries(kind)
        assert "BREAK-GLASS" in str(body["words"])
    (opened,) = world.guard.entries("session.opened")
    assert str(opened["words"]).startswith("BREAK-GLASS")
    # It ends at its length, whatever happens inside.
    for _ in range(4):
        world.guard.tick(150_000)
        inside.record(b'[0,"o","x"]\n')
    assert isinstance(inside.told(), End)
    inside.close()
    world.guard.tick()
    (ended,) = world.guard.entries("session.ended")
    assert ended["by"] == "length"
    assert str(ended["words"]).startswith("BREAK-GLASS")


def test_without_a_press_nothing_opens_and_the_no_is_signed(world: BreakGlassGuard) -> None:
    session = world.hold()
    world.guard.tick(WAIT_SECONDS * 1000 - 1)
    assert not world.guard.entries(DROPPED)
    world.guard.tick(1)
    assert world.opened == 0
    assert (session, "not_pressed") in world.guard.denials()
    assert press(world, session) == "nothing_waits"
    assert world.opened == 0


@pytest.mark.parametrize("who", ["one person twice", "one", "approvers", "nobody"])
def test_too_few_people(world: BreakGlassGuard, who: str) -> None:
    keys = world.keys
    every: dict[str, list[Signer]] = {
        "one person twice": keys.one_person,
        "one": [keys.dan],
        "approvers": world.guard.access.trust.signers,
        "nobody": [make_key(ED25519), make_key(ED25519)],
    }
    grant = world.grant(world.ask(), every[who])
    assert world.guard.refusal(grant) == "too_few_signatures"
    assert press(world, read_envelope(grant).hash) == "nothing_waits"
    assert world.opened == 0


def test_who_asks_is_not_one_of_the_two(world: BreakGlassGuard) -> None:
    """The technician holds a break-glass key too, under his own name."""
    extra = make_key(ED25519)
    rules = break_glass_of([*world.keys.cleo, world.keys.dan, extra])
    set_break_glass(world.guard.access, rules, [(extra, "tom")])
    world.guard.access.trust.publish()
    world.guard.publish()
    grant = world.grant(world.ask(), [extra, world.keys.dan])
    assert world.guard.refusal(grant) == "too_few_signatures"


def test_a_policy_cannot_let_one_person_break_in(world: BreakGlassGuard) -> None:
    access = world.guard.access
    cleo = break_glass_of(world.keys.one_person)
    with pytest.raises(Malformed, match="people"):
        set_break_glass(access, cleo)
    one = break_glass_of(world.keys.two_people, threshold=1)
    with pytest.raises(Malformed):
        set_break_glass(access, one)
    three = break_glass_of(world.keys.two_people, threshold=3)
    with pytest.raises(Malformed):
        set_break_glass(access, three)


def test_a_press_before_the_grant(world: BreakGlassGuard) -> None:
    grant = world.grant(world.ask())
    session = read_envelope(grant).hash
    assert press(world, session) == "nothing_waits"
    world.guard.push(grant)
    world.guard.tick()
    assert world.opened == 0


def test_a_press_for_something_else(world: BreakGlassGuard) -> None:
    request, offer = world.ask()
    world.guard.push(world.grant((request, offer)))
    for other in (request.hash, offer.hash, "0" * 64):
        assert press(world, other) == "nothing_waits"
    assert world.opened == 0


def test_a_press_opens_once_and_only_its_own(world: BreakGlassGuard) -> None:
    first, second = world.hold(), world.hold()
    assert press(world, first) == ""
    assert world.opened == 1
    assert press(world, first) == "nothing_waits"
    world.guard.tick(1000)
    assert world.opened == 1
    assert world.guard.core.presses.waits(second)


def test_a_press_that_nobody_used_is_forgotten(world: BreakGlassGuard) -> None:
    presses = world.guard.core.presses
    presses.waiting("ab" * 32, "a maintenance window", seconds=3600)
    presses.press("ab" * 32, "kiosk")
    with pytest.raises(Refused):
        presses.press("ab" * 32, "kiosk")
    world.guard.clock.pass_ms(PRESS_MS)
    assert not presses.take("ab" * 32)


def test_a_press_that_cannot_be_written_down_does_not_count(
    world: BreakGlassGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fleetward.trust.errors import Unreachable

    session = world.hold()

    def full(*_: object) -> int:
        raise Unreachable("the disk is full", reason="disk_refused")

    with monkeypatch.context() as patched:
        patched.setattr(world.guard.core.diary, "order", full)
        assert press(world, session) == "disk_refused"
    world.guard.tick()
    assert world.opened == 0


@pytest.mark.parametrize("what", ["restart", "stop of the request", "stop", "policy", "panel"])
def test_what_was_dropped_is_opened_by_no_press(world: BreakGlassGuard, what: str) -> None:
    asked = world.ask()
    grant = world.grant(asked)
    session = read_envelope(grant).hash
    world.guard.push(grant)
    trust = world.guard.access.trust
    if what == "restart":
        world.guard.start()
        world.guard.tick()
    elif what.startswith("stop"):
        subject = session if what == "stop" else asked[0].hash
        stop = make_stop_payload(trust.policy, subject, "no", 1)
        # Who stands in for the approvers may stop it too.
        world.guard.push(seal(stop, [world.keys.dan]))
    elif what == "policy":
        trust.next_policy()
        trust.publish()
        world.guard.publish()
    else:
        from fleetward.device.access.panel_words import REFUSE

        assert PanelDesk(world.guard.core).answer(Said(REFUSE, session), "kiosk").good
        assert (session, "panel_refused") in world.guard.denials()
    assert press(world, session) == "nothing_waits"
    with pytest.raises(FleetwardError):
        world.guard.push(grant)
    assert world.opened == 0


def test_the_server_takes_the_mark_away_or_puts_it_on(world: BreakGlassGuard) -> None:
    guard = world.guard
    quiet = guard.access.request(ROOT, break_glass=True)
    payload = payload_of(quiet.raw)
    assert payload.pop("break_glass") is True
    guard.refusal(seal_as(quiet.raw, payload))
    normal = guard.access.request()
    guard.refusal(alter(normal.raw, {"break_glass": True}))
    for odd in (False, 1, "true"):
        bad = guard.access.request_payload(ROOT, break_glass=True) | {"break_glass": odd}
        assert guard.refusal(seal(bad, [guard.access.technician])) == "bad_field"
    asked = world.ask()
    grant = payload_of(world.grant(asked))
    del grant["break_glass"]
    assert guard.refusal(seal(grant, world.keys.two_people)) == "another_kind_of_grant"
    assert world.opened == 0


def seal_as(raw: bytes, payload: dict[str, Json]) -> bytes:
    """Return an envelope of this payload with the signatures of another."""
    from fleetward.trust import canonical

    signatures = [s.to_json() for s in read_envelope(raw).signatures]
    return canonical.encode({"payload": payload, "signatures": signatures})


def test_normal_rules_and_break_glass_rules_never_mix(world: BreakGlassGuard) -> None:
    guard = world.guard
    # The terminal is for every day, not for breaking in.
    asked = guard.access.request_payload(break_glass=True)
    assert guard.refusal(seal(asked, [guard.access.technician])) == "scope_not_in_policy"
    # A normal request, and a grant by those who break in.
    request, offer = guard.ask()
    grant = guard.access.grant(request, offer, None, world.keys.two_people)
    assert guard.refusal(grant) == "too_few_signatures"
    marked = resign(grant, {"break_glass": True}, world.keys.two_people)
    assert guard.refusal(marked) == "another_kind_of_grant"
    marked = resign(grant, {"break_glass": True}, guard.access.trust.signers)
    assert guard.refusal(marked) == "another_kind_of_grant"
    assert world.opened == 0


def test_never_ports_and_lengths_hold_here_too(world: BreakGlassGuard) -> None:
    guard = world.guard
    for scope, seconds, reason in (
        (TcpScope(22, "raw"), 60, "port_never"),
        (ROOT, 901, "too_long"),
        (TcpScope(9000, "raw"), 60, "scope_not_allowed"),
    ):
        asked = guard.access.request_payload(scope, seconds=seconds, break_glass=True)
        assert guard.refusal(seal(asked, [guard.access.technician])) == reason


def test_an_owner_who_named_nothing_lets_nobody_break_in(world: BreakGlassGuard) -> None:
    set_break_glass(world.guard.access, None)
    world.guard.access.trust.publish()
    world.guard.publish()
    payload = world.guard.access.request_payload(ROOT, break_glass=True)
    raw = seal(payload, [world.guard.access.technician])
    assert world.guard.refusal(raw) == "no_break_glass"


def test_no_more_than_two_wait(world: BreakGlassGuard) -> None:
    for _ in range(MOST_HELD):
        world.hold()
    assert world.guard.refusal(world.grant(world.ask())) == "too_many_waiting"
    assert len(world.guard.entries(GRANTED)) == MOST_HELD


def test_the_server_says_the_same_grant_again(world: BreakGlassGuard) -> None:
    asked = world.ask()
    grant = world.grant(asked)
    for _ in range(5):
        world.guard.push(grant)
    assert len(world.guard.entries(GRANTED)) == 1
    assert press(world, read_envelope(grant).hash) == ""
    world.guard.push(grant)
    assert world.opened == 1


def test_a_grant_that_is_past_its_time_when_somebody_presses(world: BreakGlassGuard) -> None:
    request, offer = world.ask()
    from tests.trust_world import NOW_MS

    from fleetward.trust.grants.grant import Terms

    terms = Terms(request.scopes, 60, 300, False, NOW_MS - 1000, NOW_MS + 60_000)
    grant = world.guard.access.grant(request, offer, terms, world.keys.two_people)
    world.guard.push(grant)
    world.guard.tick(60_000)
    press(world, read_envelope(grant).hash)
    assert world.opened == 0
    assert (read_envelope(grant).hash, "expired") in world.guard.denials()


def test_a_machine_without_a_sandbox_takes_no_press(tmp_path: Path) -> None:
    world = BreakGlassGuard.make(tmp_path, sandbox="none")
    try:
        payload = world.guard.access.request_payload(ROOT, break_glass=True)
        raw = seal(payload, [world.guard.access.technician])
        assert world.guard.refusal(raw) == "no_sandbox_no_press"
        presses = world.guard.core.presses
        presses.waiting("cd" * 32, "a maintenance window")
        assert press(world, "cd" * 32) == "no_sandbox_no_press"
        assert not presses.take("cd" * 32)
        shown = PanelDesk(world.guard.core).show()
        assert "no sandbox" in shown.no_press
        world.guard.core.panel_words = "open to root"
        assert "takes no press" in world.guard.core.report().panel
    finally:
        world.guard.close()


def test_the_denials_are_the_machines_own(world: BreakGlassGuard) -> None:
    session = world.hold()
    world.guard.tick(WAIT_SECONDS * 1000)
    for note in world.guard.notes():
        if note.kind == "denial":
            trust = world.guard.access.trust
            raw = from_base64url(note.envelope)
            denial = verify_denial(raw, world.guard.access.machine.key, trust.owner)
            assert (denial.subject, denial.rule) == (session, "not_pressed")
            return
    raise AssertionError("no denial")
