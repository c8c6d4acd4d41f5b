"""The launcher's decisions, each at its exact moment; histories are in tests/property."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetward.device.launcher.decide import (
    FIRST_ROUND_MS,
    KEPT,
    LONGEST_ROUND_MS,
    Seen,
    State,
    ask,
    begin,
    judge,
    note_end,
    note_healthy,
    note_stop,
    settle,
)

NEW, OLD = "a" * 64, "b" * 64
WITHIN_MS, STEADY_MS = 120_000, 60_000
TRYING = begin(ask(State(active=OLD), NEW, (WITHIN_MS, STEADY_MS), connects=True))
RETRYING = replace(TRYING, phase="retrying")
SILENT = Seen(0, 10**9, healthy_ms=0)
"""Healthy since its start, and heard of all the time; the server is silent."""


def test_what_is_asked_for_is_tried_once_it_starts() -> None:
    asked = ask(State(active=OLD), NEW, (WITHIN_MS, STEADY_MS), connects=True)
    assert (asked.phase, asked.runs) == ("asked", OLD)
    assert (TRYING.phase, TRYING.runs, TRYING.starts) == ("trying", NEW, 1)


@pytest.mark.parametrize(("status", "words"), [(1, "status 1"), (-9, "signal 9")])
def test_an_error_goes_back_at_once(status: int, words: str) -> None:
    ended = note_end(TRYING, status)
    assert (ended.phase, ended.runs, ended.ended) == ("settled", OLD, "agent_crashed")
    assert words in ended.words and ended.ended_release == NEW
    for state in (RETRYING, State(active=OLD, starts=3)):
        assert note_end(state, status) == state
    assert note_end(TRYING, 0) == TRYING


def test_it_has_its_time_to_become_healthy_and_not_more() -> None:
    seen = Seen(0, 10**9)
    assert judge(TRYING, seen, WITHIN_MS - 1) == TRYING
    assert judge(TRYING, seen, WITHIN_MS).ended == "agent_not_healthy"


def test_it_is_kept_when_it_has_stood_and_reached_the_server() -> None:
    seen = replace(SILENT, connected=True)
    assert judge(TRYING, seen, STEADY_MS - 1) == TRYING
    kept = judge(TRYING, seen, STEADY_MS)
    assert (kept.phase, kept.active, kept.previous, kept.ended) == ("settled", NEW, OLD, KEPT)
    alone = replace(TRYING, connects=False)
    assert judge(alone, SILENT, STEADY_MS - 1) == alone
    assert judge(alone, SILENT, STEADY_MS).ended == KEPT


def test_without_the_server_the_old_one_has_its_turn_and_then_the_new_one_again() -> None:
    until = STEADY_MS + FIRST_ROUND_MS
    assert judge(TRYING, SILENT, until - 1) == TRYING
    turn = judge(TRYING, SILENT, until)
    assert (turn.phase, turn.runs, turn.starts, turn.ended) == ("retrying", OLD, 0, "")
    assert judge(turn, SILENT, FIRST_ROUND_MS - 1) == turn
    again = judge(turn, SILENT, FIRST_ROUND_MS)
    assert (again.phase, again.runs) == ("trying", NEW)
    assert (again.round_ms, again.accused) == (2 * FIRST_ROUND_MS, False)
    for _ in range(9):
        turn = judge(again, SILENT, STEADY_MS + again.round_ms)
        again = judge(turn, SILENT, turn.round_ms)
    assert again.round_ms == LONGEST_ROUND_MS


def test_when_the_old_one_reaches_it_the_new_one_has_one_more_turn() -> None:
    late = replace(RETRYING, round_ms=LONGEST_ROUND_MS)
    turn = judge(late, Seen(0, 0, healthy_ms=0, connected=True), 1000)
    assert (turn.phase, turn.accused, turn.round_ms) == ("trying", True, FIRST_ROUND_MS)
    assert judge(turn, replace(SILENT, connected=True), STEADY_MS).ended == KEPT
    until = STEADY_MS + FIRST_ROUND_MS
    assert judge(turn, SILENT, until - 1) == turn
    ended = judge(turn, SILENT, until)
    assert (ended.runs, ended.ended) == (OLD, "agent_not_connected")


def test_only_what_is_settled_has_its_starts_forgotten() -> None:
    assert note_healthy(State(active=NEW, starts=7)).starts == 0
    assert note_healthy(TRYING) == TRYING
    assert note_stop(TRYING).starts == 0 and note_stop(State()).starts == 0


def test_what_was_before_is_settled_without_a_trial() -> None:
    for state in (TRYING, ask(State(active=OLD), NEW, (1, 1), connects=True), State(active=NEW)):
        back = settle(state, OLD)
        assert (back.phase, back.active, back.wanted) == ("settled", OLD, "")
        assert (back.ended, back.ended_release) == ("agent_taken_back", NEW)
        assert settle(back, OLD) == back
