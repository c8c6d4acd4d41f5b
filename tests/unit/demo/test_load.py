"""Many simulated machines in one process: no machine keeps the others from their turn."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.update_world import UpdateGuard

from fleetward.demo import load as load_module
from fleetward.demo.load import Crowd, Load, end_tasks
from fleetward.device.guard_core import GuardCore


class Installing:
    """A guard in the middle of a release: it wants its next turn in a second."""

    def __init__(self) -> None:
        self.turns = 0
        self.journal = SimpleNamespace(uncut_count=0)
        self.updates = SimpleNamespace(memory=SimpleNamespace(attempt=object()))

    def tick(self) -> int:
        self.turns += 1
        if self.turns > 3:
            raise AssertionError("it took turn after turn")
        return 1000


def make_crowd(folder: Path) -> Crowd:
    load = Load(machines=1, join=cast("Any", None), folder=folder, kept=False)
    return Crowd(load, lambda _words: None)


def test_a_machine_that_waits_within_a_release_lets_the_others_go_on(tmp_path: Path) -> None:
    installing = Installing()

    async def play() -> None:
        turns = asyncio.create_task(make_crowd(tmp_path)._tick(cast("GuardCore", installing)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        turns.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turns

    asyncio.run(play())
    assert installing.turns == 1


def test_a_task_that_missed_its_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load_module, "CANCEL_SECONDS", 0.01)

    async def misses_one() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    async def play() -> None:
        task = asyncio.create_task(misses_one())
        await asyncio.sleep(0)
        await asyncio.wait_for(end_tasks([task]), 10)
        assert task.cancelled()

    asyncio.run(play())


def test_what_began_is_counted_beside_what_runs(tmp_path: Path) -> None:
    guard = UpdateGuard.make(tmp_path / "guard")
    guard.release("1.1", 11)
    guard.approve()
    guard.installer.healthy = lambda: False
    guard.run()
    assert guard.outcomes()[-1] == "rolled_back"
    crowd = make_crowd(tmp_path)
    crowd._cores[0] = guard.core
    summary = crowd._summarize(1.0)
    assert (summary["releases"], summary["began"]) == ({}, 1)
