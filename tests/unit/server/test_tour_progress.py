"""The tour goes on where it was, also where it had fewer steps when it was left."""

from __future__ import annotations

import json

import pytest

from fleetward.server.guide.routes import LAST_STEP, move_up


@pytest.mark.parametrize(
    ("counted", "step", "done", "then", "then_done"),
    [
        (None, 1, [], 1, []),
        (None, 5, [1, 2, 3, 4], 5, [1, 2, 3, 4]),
        (None, 6, [1, 2, 3, 4, 5], 8, [1, 2, 3, 4, 7]),
        (None, 7, [1, 2, 3, 4, 5, 6, 7], 9, [1, 2, 3, 4, 7, 8, 9]),
        ("8", 5, [1, 2, 3, 4], 5, [1, 2, 3, 4]),
        ("8", 6, [1, 2, 3, 4, 5], 6, [1, 2, 3, 4, 5]),
        ("8", 7, [1, 2, 3, 4, 5, 6], 8, [1, 2, 3, 4, 5, 7]),
        ("8", 8, [1, 2, 3, 4, 5, 6, 7, 8], 9, [1, 2, 3, 4, 5, 7, 8, 9]),
        ("9", 7, [1, 2, 3, 4, 5, 6], 7, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_what_was_done_stays_done(
    counted: str | None, step: int, done: list[int], then: int, then_done: list[int]
) -> None:
    notes = {"step": str(step), "done": json.dumps(done), "goal": "update"}
    moved = move_up(notes if counted is None else {**notes, "steps": counted})
    assert (int(moved["step"]), json.loads(moved["done"])) == (then, then_done)
    assert moved["goal"] == "update"
    assert move_up(moved) == moved
    assert then <= LAST_STEP
