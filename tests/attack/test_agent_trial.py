"""What guard makes of the trial of a new agent: no good one is gone back from, no bad one stays.

The attacker has a product's key, and an owner who approved what he signed: an agent whose guard and
uplink are good, and whose installer is not. Or he cuts the power, or has a file damaged, between
the trial of an agent and the end of its attempt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.attack.test_agent_update import NEW_CODE, Machine

from fleetward.device.launcher.decide import State, begin
from fleetward.device.launcher.store import read_state, write_state

OTHER = "c" * 64


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine whose launcher has kept the new agent; its attempt is not at its end."""
    made = Machine(tmp_path)
    made.offer()
    made.guard.approve()
    made.go_to("proving")
    made.launch(keep)
    yield made
    made.guard.core.updates.close()


def keep(state: State) -> State:
    """The launcher found it healthy."""
    kept = {"phase": "settled", "active": NEW_CODE, "wanted": "", "ended": "kept"}
    return replace(begin(state), ended_release=NEW_CODE, **kept)  # type: ignore[arg-type]


def test_how_another_release_ended_says_nothing_of_the_one_that_runs(machine: Machine) -> None:
    """The maker takes a release that crashed back by releasing the one before it again: the same
    bytes, under a higher counter."""
    guard = machine.guard
    guard.go_on()
    assert guard.outcomes()[-1] == "committed"
    crashed = replace(read_state(machine.data), ended="agent_crashed", ended_release=OTHER)
    write_state(machine.data, crashed)
    machine.offer("2.2", 22)
    guard.approve(reason="The one before, again.")
    guard.run()
    assert guard.outcomes()[-1] == "committed"
    assert guard.core.updates.memory.floors == {"kiosk": 22}
    assert guard.core.updates.memory.held["kiosk"].version == "2.2"
