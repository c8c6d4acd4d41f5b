"""Whoever holds a machine's clock, or the press beside it, wants a window to open at another time.

The machine is a whole guard; behind its door there is the test.
"""

from __future__ import annotations

from itertools import permutations

from tests.access_world import LOGS, PAGE, TERMINAL
from tests.standing_world import HOUR_MS, WEEK_MS, weekly
from tests.trust_world import NOW_MS
from tests.unit.device.session_guard import SessionGuard
from tests.unit.device.standing_guard import (
    ahead_of,
    asked,
    doors_of,
    enter,
    guard,
    held,
    make,
    refresh,
    refuse,
)

from fleetward.device.presses import ROOM_AHEAD
from fleetward.trust.access import Scope
from fleetward.trust.envelope import read_envelope
from fleetward.trust.grants.standing import Standing


def asked_for(guard: SessionGuard, standing: Standing, *scopes: Scope) -> bytes:
    """Have the technician ask for these scopes, and return his entry."""
    request, offer = guard.ask(*scopes)
    return ahead_of(guard).entry(standing, request, offer, 0)


def test_a_clock_set_back_into_a_past_window(guard: SessionGuard) -> None:
    standing = held(guard)
    guard.clock.pass_ms(WEEK_MS - 2 * HOUR_MS)
    refresh(guard)
    entry = asked(guard, standing)
    guard.clock.wall -= WEEK_MS - 2 * HOUR_MS
    guard.tick()
    # The owner has signed since; and the clock was set.
    assert refuse(guard, entry) == "expired"


def test_a_clock_set_back_that_the_owner_did_not_outrun(guard: SessionGuard) -> None:
    standing = held(guard)
    guard.tick()
    guard.clock.pass_ms(5 * HOUR_MS)
    guard.tick()
    entry = asked(guard, standing)
    guard.clock.wall -= 5 * HOUR_MS
    assert refuse(guard, entry) == "clock_untrusted"


def test_a_clock_set_forward_into_a_future_window(guard: SessionGuard) -> None:
    standing = held(guard, windows=weekly(3, NOW_MS + WEEK_MS))
    guard.tick()
    entry = asked(guard, standing)
    assert refuse(guard, entry) == "not_yet"
    guard.clock.wall += WEEK_MS
    assert refuse(guard, entry) == "clock_untrusted"
    # Also when it looks right again: what it was meanwhile, nobody can tell.
    guard.tick()
    guard.clock.wall -= WEEK_MS
    assert refuse(guard, entry) == "clock_untrusted"


def test_a_clock_set_in_many_small_steps(guard: SessionGuard) -> None:
    standing = held(guard, windows=weekly(3, NOW_MS + HOUR_MS))
    entry = asked(guard, standing)
    for _ in range(61):
        guard.clock.wall += 30_000
        guard.tick(1000)
    assert guard.clock.wall >= standing.windows[0].not_before_ms
    assert refuse(guard, entry) == "clock_untrusted"
    guard.start()
    assert refuse(guard, asked(guard, standing)) == "clock_untrusted"


def test_a_clock_that_follows_no_source(guard: SessionGuard) -> None:
    standing = held(guard)
    entry = asked(guard, standing)
    guard.clock.synchronised = False
    assert refuse(guard, entry) == "clock_untrusted"
    (subject, rule) = guard.denials()[-1]
    assert (subject, rule) == (read_envelope(entry).hash, "clock_untrusted")
    guard.clock.synchronised = True
    guard.push(entry)


def test_a_press_stands_in_for_the_clock_and_for_nothing_else(guard: SessionGuard) -> None:
    standing = held(guard)
    guard.clock.synchronised = False
    presses: list[str] = []

    def press(subject: str) -> bool:
        presses.append(subject)
        return True

    guard.core.standing.press = press
    enter(guard, standing).end()
    assert len(presses) == 1
    guard.tick(1000)
    assert refuse(guard, asked(guard, standing)) == "window_used"
    assert len(presses) == 1
    guard.clock.synchronised = True
    assert refuse(guard, asked(guard, standing, 1)) == "not_yet"
    assert len(presses) == 1


def test_a_press_for_one_thing_lets_in_no_other(guard: SessionGuard) -> None:
    """Who comes for the logs is shown, and pressed for; then he comes for the terminal."""
    standing = held(guard, scopes=(TERMINAL, LOGS))
    guard.clock.synchronised = False
    assert refuse(guard, asked_for(guard, standing, LOGS)) == "clock_untrusted"
    (shown,) = guard.core.presses.shown()
    assert "the logs of" in shown.words and shown.six_words == standing.words
    # What is shown is not exchanged for something else under the hand that presses.
    assert refuse(guard, asked_for(guard, standing, TERMINAL)) == "clock_untrusted"
    guard.core.presses.press(shown.subject, "kiosk")
    assert refuse(guard, asked_for(guard, standing, TERMINAL)) == "clock_untrusted"
    guard.push(asked_for(guard, standing, LOGS))
    assert doors_of(guard).opened == 1
    (pressed,) = guard.entries("session.pressed")
    assert "the logs of" in str(pressed["shown"])


def test_who_may_come_ahead_takes_no_room_of_break_glass(guard: SessionGuard) -> None:
    scopes: tuple[Scope, ...] = (TERMINAL, LOGS, PAGE)
    standing = held(guard, scopes=scopes)
    guard.clock.synchronised = False
    gate = guard.core.gate.sessions
    assert gate is not None
    for count in (1, 2, 3):
        for wanted in permutations(scopes, count):
            refuse(guard, asked_for(guard, standing, *wanted))
            gate.hand_over("nobody")
    presses = guard.core.presses
    assert len(presses.shown()) == ROOM_AHEAD
    for number in range(2):
        presses.waiting(f"{number:064x}", "BREAK-GLASS")


__all__ = ["guard", "make"]
