"""Releases that run only when the machine has started again: the way there, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.update_world import UpdateGuard

from fleetward.trust.update_windows import Window


@pytest.fixture
def guard(tmp_path: Path) -> UpdateGuard:
    """A machine with two slots, that may start itself again, and runs 1.1."""
    made = UpdateGuard.make(tmp_path / "m")
    made.release("1.1", 11)
    made.approve()
    made.run()
    assert made.outcomes()[-1] == "committed"
    made.installer.runs = dict(made.installer.active)
    made.installer.may_restart = True
    return made


def offer(guard: UpdateGuard, **changes: Any) -> None:
    """Have 1.2 be offered, and come as far as it does."""
    guard.release("1.2", 12)
    guard.approve(**changes)
    guard.run(30)


def phase(guard: UpdateGuard) -> str:
    attempt = guard.core.updates.memory.attempt
    return attempt.phase if attempt is not None else ""


def test_it_starts_again_is_tried_and_stays(guard: UpdateGuard) -> None:
    offer(guard)
    assert (phase(guard), guard.installer.restarts) == ("restarting", 1)
    assert "starts the machine again" in guard.core.updates.waiting_words
    assert guard.outcomes()[-1] == "accepted"
    guard.start_again()
    guard.go_on()
    assert guard.outcomes()[-2:] == ["installed", "committed"]
    assert guard.reports()[-1].installed[0].floor == 12


def test_it_does_not_start_again_while_it_is_in_use(guard: UpdateGuard) -> None:
    guard.release("1.2", 12)
    guard.approve()
    guard.look()
    # Somebody begins to use it after the switch, and before it starts again.
    guard.installer.problems["restart"] = ("patient attached", "in_use")
    guard.go_on(300, 5_000)
    assert (phase(guard), guard.installer.restarts) == ("restarting", 0)
    assert "patient attached" in guard.core.updates.waiting_words
    del guard.installer.problems["restart"]
    guard.go_on(60)
    assert guard.installer.restarts == 1


def test_it_starts_again_inside_the_window_alone(guard: UpdateGuard) -> None:
    """The window ends between the switch and the start; a person's own start is his own."""
    local = guard.clock.wall_ms() // 60_000 % 1440
    window = Window("UTC", tuple(range(7)), local, (local + 3) % 1440)
    guard.installer.problems["restart"] = ("patient attached", "in_use")
    offer(guard, windows=(window,))
    assert phase(guard) == "restarting"
    guard.go_on(600, 10_000)
    del guard.installer.problems["restart"]
    guard.go_on(600, 10_000)
    assert guard.installer.restarts == 0
    assert "Waits for every day" in guard.core.updates.waiting_words
    guard.start_again()
    guard.go_on()
    assert guard.outcomes()[-1] == "committed"


def test_where_it_may_not_it_waits_for_a_person(guard: UpdateGuard) -> None:
    guard.installer.may_restart = False
    offer(guard)
    assert phase(guard) == "restarting"
    assert "waits for the machine to start again" in guard.core.updates.waiting_words
    asked = guard.installer.words.count("restart")
    guard.go_on(600, 10_000)
    assert guard.installer.words.count("restart") == asked == 1


def test_what_does_not_start_is_reported_by_the_old_one(guard: UpdateGuard) -> None:
    old = dict(guard.installer.active)
    offer(guard)
    guard.start_again(old)
    guard.go_on()
    report = guard.reports()[-1]
    assert (report.outcome, report.rule) == ("rolled_back", "fell_back")
    assert "did not start" in report.words
    # Nobody says that it was on trial: it never ran.
    assert guard.outcomes()[-2:] == ["accepted", "rolled_back"]
    assert report.installed[0].floor == 11
    assert guard.installer.restarts == 1


def test_a_cut_between_the_last_check_and_the_commit_is_no_commit(guard: UpdateGuard) -> None:
    """The boot loader was not told that it is good: it came up with the old one."""
    old = dict(guard.installer.active)
    offer(guard)
    guard.start_again()
    guard.installer.dies_at = "commit"
    guard.go_on(10)
    assert phase(guard) == "committing"
    guard.installer.dies_at = ""
    guard.start_again(old)
    guard.go_on()
    report = guard.reports()[-1]
    assert (report.outcome, report.rule) == ("rolled_back", "fell_back")
    assert report.installed[0].floor == 11


def test_a_boot_loader_that_cannot_be_told_is_no_commit(guard: UpdateGuard) -> None:
    offer(guard)
    guard.start_again()
    guard.installer.problems["commit"] = ("The disk says no.", "disk_refused")
    guard.go_on(60)
    assert phase(guard) == "restarting_back"
    guard.start_again()
    guard.go_on()
    report = guard.reports()[-1]
    assert (report.outcome, report.rule) == ("rolled_back", "not_kept")
    assert report.installed[0].floor == 11


def test_what_is_ill_is_taken_back_only_when_the_old_one_runs(guard: UpdateGuard) -> None:
    offer(guard)
    guard.start_again()
    guard.installer.healthy = lambda: False
    guard.installer.problems["restart"] = ("patient attached", "in_use")
    guard.go_on(120, 5_000)
    # It is not reported as back while the ill one still runs; nor is anybody disturbed for it.
    assert phase(guard) == "restarting_back"
    assert guard.outcomes()[-1] == "installed"
    del guard.installer.problems["restart"]
    guard.go_on(60)
    assert guard.installer.restarts == 2
    guard.start_again()
    guard.go_on()
    report = guard.reports()[-1]
    assert (report.outcome, report.rule) == ("rolled_back", "unhealthy")
    assert report.installed[0].version == "1.1"


def test_a_machine_that_keeps_starting_the_ill_one_says_that_it_failed(guard: UpdateGuard) -> None:
    offer(guard)
    guard.start_again()
    ill = dict(guard.installer.active)
    guard.installer.healthy = lambda: False
    for _ in range(6):
        guard.go_on(120, 5_000)
        if phase(guard) != "restarting_back":
            break
        active = dict(guard.installer.active)
        guard.start_again(ill)
        guard.installer.active = active
    report = guard.reports()[-1]
    assert (report.outcome, report.rule) == ("failed", "unhealthy")
    assert "again and again" in report.words


def test_a_cut_before_the_switch_does_not_try_it_in_the_old_slot(guard: UpdateGuard) -> None:
    guard.release("1.2", 12)
    guard.approve()
    guard.installer.dies_at = "switch"
    guard.run(10)
    assert phase(guard) == "switching"
    guard.installer.dies_at = ""
    guard.start_again()
    guard.go_on(30)
    assert phase(guard) == "restarting"
    assert "installed" not in guard.outcomes()[-1:]
    guard.start_again()
    guard.go_on()
    assert guard.outcomes()[-1] == "committed"


def test_one_whose_places_cannot_be_read_is_given_its_time_and_taken_back(
    guard: UpdateGuard,
) -> None:
    """The new one's own file of places is damaged: nothing can be asked, nor switched."""
    offer(guard)
    guard.installer.problems["plan"] = ("The file is damaged.", "places_damaged")
    guard.start_again()
    guard.go_on(40)
    assert phase(guard) in ("trying", "going_back")
    del guard.installer.problems["plan"]
    guard.installer.healthy = lambda: False
    guard.go_on(120, 5_000)
    assert phase(guard) == "restarting_back"
    assert guard.outcomes()[-1] == "installed"


def test_an_approval_withdrawn_before_it_starts_again_takes_it_back(guard: UpdateGuard) -> None:
    guard.installer.may_restart = False
    guard.release("1.2", 12)
    approval = guard.approve()
    guard.run(30)
    assert phase(guard) == "restarting"
    guard.core.updates.memory.withdraw(approval, guard.clock.wall_ms(), guard.clock.wall_ms())
    guard.go_on(300, 5_000)
    report = guard.reports()[-1]
    assert (report.outcome, report.rule) == ("rolled_back", "not_approved")
    assert guard.installer.restarts == 0
