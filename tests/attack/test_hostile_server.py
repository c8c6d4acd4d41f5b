"""Whoever has the whole server and broker hands machines whatever he likes, in any order.

Two owners, three machines (two of the first owner, one of the second), each a real `GuardCore`
behind a door that keeps what opens. The server holds every envelope that anybody ever signed. A
history is a list of moves: people ask, send others, approve, allow ahead and come by it, refuse,
take back, watch, change their policy; the server hands over, again, late, to another machine, mixed
from two, altered, signed with keys that it has; machines crash, boot, and let time pass. The oracle
knows what approvers signed and nothing of how the gate judges:

    nothing opens but what enough approvers signed, for this machine, this offer, once;
    nor ahead, but in a window of theirs that nobody used, by whom they named.

The normal run takes less than a minute; `bench/hostile_server.py --minutes 60` goes on.
"""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.attack.hostile_play import MOVES, NAMES, NUMBERS, REACHED, Move, play

HISTORIES: Final = 60
NUMBER: Final = st.integers(0, NUMBERS - 1)
MOVE: Final = st.tuples(st.sampled_from(NAMES), NUMBER, NUMBER, NUMBER)


@pytest.mark.timeout(7200)
@settings(
    max_examples=HISTORIES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(MOVE, min_size=MOVES // 2, max_size=MOVES))
def test_nothing_opens_but_what_an_approver_signed(moves: list[Move]) -> None:
    play(moves)


def test_the_histories_get_somewhere() -> None:
    """The same moves, all honest, open a session: else the oracle would have judged nothing."""
    before = REACHED["opened"]
    play([("ask", 0, 0, 1), ("hear", 0, 0, 0), ("approve", 0, 0, 2), ("replay", 0, 0, 0)])
    assert REACHED["opened"] == before + 1


def test_the_histories_come_by_windows_and_send_others() -> None:
    before, opened = REACHED["visited"], REACHED["opened"]
    play([("visit", 0, 0, 2)])
    assert REACHED["visited"] == before + 1
    play([("rule", 0, 0, 6), ("renew", 0, 0, 0), ("enter", 0, 0, 256 + 3)])
    assert REACHED["opened"] == opened + 2
