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
from tests.adversary.update_watch import machine_with_a_release
from tests.attack.test_agent_update import NEW_CODE, Machine
from tests.update_world import PRODUCT, UpdateGuard

from fleetward.device.launcher.decide import State, begin
from fleetward.device.launcher.store import read_state, write_state
from fleetward.trust.release_checks import Check
from fleetward.trust.release_manifest import Health

OTHER = "c" * 64


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine whose launcher has kept the new agent; its attempt is not at its end."""
    made = Machine(tmp_path)
    made.offer(health=Health(60, 5, (Check("port", port=8080),)))
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


def test_an_agent_that_nobody_saw_active_is_not_committed(machine: Machine) -> None:
    """The power goes before the end is on the disk, the package's code comes up, and its installer
    cannot even look what is there."""
    guard = machine.guard
    machine.go_to("committing")
    superseded = State(ended="agent_superseded", ended_release=NEW_CODE, words="It was replaced.")
    machine.launch(lambda _: superseded)
    assert machine.runs() == ""
    guard.installer.problems["plan"] = ("places.toml cannot be read", "place_damaged")
    guard.go_on(3600, step_ms=30_000)
    assert "committed" not in guard.outcomes() and guard.core.updates.memory.floors == {}
    guard.installer.problems.clear()
    guard.go_on(3600, step_ms=30_000)
    assert guard.outcomes()[-1] == "rolled_back"
    report = guard.reports()[-1]
    assert report.rule == "not_kept" and "places.toml" in report.words
    assert guard.core.updates.memory.held == {}


def test_nor_is_any_other_part_and_one_that_was_seen_is() -> None:
    for restarted in (True, False):
        with machine_with_a_release() as guard:
            guard.release("1.1", 11)
            guard.approve()
            guard.look()
            guard.installer.dies_at = "commit"
            until_committing(guard)
            if restarted:
                guard.restart()
                guard.installer.problems["plan"] = ("places.toml cannot be read", "place_damaged")
            guard.go_on(3600, step_ms=30_000)
            said = "1.0" if restarted else "1.1"
            assert guard.core.updates.memory.held[PRODUCT].version == said


def until_committing(guard: UpdateGuard) -> None:
    """Let it go on until the trial is over."""
    for _ in range(60):
        attempt = guard.core.updates.memory.attempt
        assert attempt is not None
        if attempt.phase == "committing":
            return
        guard.core.tick()
        guard._let_the_installer_answer()
        guard.carry()
        guard.clock.pass_ms(1000)
    raise AssertionError("never committing")


@pytest.mark.parametrize("how", ["dies", "is not started", "answers with a problem"])
def test_an_agent_whose_installer_is_broken_is_gone_back_from(machine: Machine, how: str) -> None:
    """Its installer comes out of the release that is to go. The agent of before ends the attempt,
    and takes what comes next."""
    guard = machine.guard
    installer = guard.installer
    if how == "dies":
        installer.dies_at = "plan"
    elif how == "is not started":
        installer.refuses_to_start = True
    else:
        installer.healthy = lambda: False
        installer.problems["back"] = ("It knows nothing of that.", "nothing_before")
    hours = 0
    while not guard.core.makes_room and hours < 24:
        guard.go_on(3600, step_ms=30_000)
        hours += 1
    assert hours <= 1
    assert guard.outcomes() == ["accepted", "installed"], "the one that goes signs no end"
    assert read_state(machine.data).active == ""
    installer.dies_at, installer.refuses_to_start = "", False
    installer.problems.clear()
    machine.launch()
    assert machine.runs() == ""
    guard.go_on()
    assert not guard.core.makes_room
    assert guard.outcomes()[-1] == "rolled_back"
    rule = "unhealthy" if how == "answers with a problem" else "not_tested"
    assert guard.reports()[-1].rule == rule
    assert guard.core.updates.memory.floors == {} and guard.core.updates.memory.held == {}
    machine.offer("2.1", 21)
    guard.approve(reason="The next.")
    guard.look()
    assert guard.outcomes()[-1] == "accepted"


def test_one_that_is_taken_back_signs_no_end_while_it_runs(machine: Machine) -> None:
    """Also with an installer that does what it is told."""
    guard = machine.guard
    machine.go_to("trying")
    guard.installer.healthy = lambda: False
    guard.go_on()
    assert read_state(machine.data).ended == "agent_taken_back"
    assert guard.core.makes_room and guard.outcomes()[-1] == "installed"
    guard.go_on()
    assert guard.outcomes()[-1] == "installed"
    machine.launch()
    guard.go_on()
    assert guard.outcomes()[-1] == "rolled_back"


def test_nothing_is_gone_back_to_that_is_not_there(machine: Machine) -> None:
    guard = machine.guard
    machine.go_to("trying")
    attempt = guard.core.updates.memory.attempt
    assert attempt is not None
    attempt.before = {"agent": OTHER}
    guard.installer.dies_at = "plan"
    guard.core.updates._working.close()  # type: ignore[union-attr]
    guard.go_on(3600, step_ms=30_000)
    assert not guard.core.makes_room and read_state(machine.data).active == NEW_CODE
    assert guard.outcomes()[-1] == "failed"
    assert "could not be taken back" in guard.reports()[-1].words
