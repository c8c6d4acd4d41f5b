"""The tour goes on where it was, also where it had seven steps when it was left."""

from __future__ import annotations

import json

import pytest

from fleetward.server.guide.routes import LAST_STEP, move_up


@pytest.mark.parametrize(
    ("step", "done", "then", "then_done"),
    [
        (1, [], 1, []),
        (5, [1, 2, 3, 4], 5, [1, 2, 3, 4]),
        (6, [1, 2, 3, 4, 5], 7, [1, 2, 3, 4, 6]),
        (7, [1, 2, 3, 4, 5, 6, 7], 8, [1, 2, 3, 4, 6, 7, 8]),
    ],
)
def test_what_was_done_stays_done(
    step: int, done: list[int], then: int, then_done: list[int]
) -> None:
    moved = move_up({"step": str(step), "done": json.dumps(done), "goal": "update"})
    assert (int(moved["step"]), json.loads(moved["done"])) == (then, then_done)
    assert moved["goal"] == "update"
    assert move_up(moved) == moved
    assert then <= LAST_STEP
