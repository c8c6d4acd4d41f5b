"""A release's way through guard: asked for, judged, fetched, tried, kept or taken back."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.update_world import DAY_MS, HEALTHY, UpdateGuard, big_payload

from fleetward.trust.release_manifest import SEGMENT_BYTES, Health
from fleetward.trust.selector import Selector
from fleetward.trust.update_windows import Window


@pytest.fixture
def guard(tmp_path: Path) -> UpdateGuard:
    return UpdateGuard.make(tmp_path / "m")


def test_a_release_on_which_three_agree_is_installed_and_kept(guard: UpdateGuard) -> None:
    manifest = guard.release("1.1", 11)
    guard.approve()
    guard.run()
    assert guard.outcomes() == ["accepted", "installed", "committed"]
    report = guard.reports()[-1]
    assert (report.release, report.counter, report.rule) == (manifest.hash, 11, "")
    assert [(i.product, i.version, i.floor) for i in report.installed] == [("kiosk", "1.1", 11)]
    assert report.findings[0].good
    assert guard.installer.active == {"app": manifest.parts[0].blob.sha256}
    assert not guard.rules()


def test_what_is_installed_is_not_installed_again(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.approve()
    guard.run()
    started = guard.installer.started
    guard.run()
    assert guard.installer.started == started
    assert guard.outcomes() == ["accepted", "installed", "committed"]


def test_a_release_that_is_not_healthy_is_taken_back(guard: UpdateGuard) -> None:
    old = guard.release("1.1", 11)
    guard.approve()
    guard.run()
    guard.release("1.2", 12)
    guard.approve()
    guard.installer.healthy = lambda: False
    guard.run()
    assert guard.outcomes()[-3:] == ["accepted", "installed", "rolled_back"]
    report = guard.reports()[-1]
    assert report.rule == "unhealthy"
    assert "connection refused" in report.words
    assert not report.findings[0].good
    assert guard.installer.active == {"app": old.parts[0].blob.sha256}
    # The counter was not raised, and the same approval does not try it again.
    assert report.installed[0].floor == 11
    guard.installer.healthy = lambda: True
    guard.run()
    assert guard.outcomes()[-1] == "rolled_back"
    # A new approval does.
    guard.approve(reason="once more")
    guard.run()
    assert guard.outcomes()[-1] == "committed"
    assert guard.reports()[-1].attempt == 2


def test_health_that_does_not_last_is_none(guard: UpdateGuard) -> None:
    guard.release("1.1", 11, health=Health(30, 20, HEALTHY.checks))
    guard.approve()
    answers = iter([False, False, True, True, False])
    guard.installer.healthy = lambda: next(answers, True)
    guard.run()
    assert guard.outcomes()[-1] == "rolled_back"
    assert "healthy, and then not" in guard.reports()[-1].words


def test_a_large_part_comes_in_pieces_and_goes_on_after_a_crash(guard: UpdateGuard) -> None:
    payload = big_payload(3)
    guard.release("1.1", 11, payload)
    guard.approve()
    guard.look()
    guard.core.tick()
    guard._let_the_installer_answer()
    # A list of segments and 8 pieces of the first, and three of the second.
    guard.carry(1 + 8 + 3)
    guard.crash()
    before = len(guard.server.asked)
    guard.go_on()
    assert guard.outcomes()[-1] == "committed"
    pieces = [q for q in guard.server.asked[before:] if q.what == "blob"]
    assert min(q.offset for q in pieces) == SEGMENT_BYTES
    assert sum(q.length for q in pieces) == len(payload) - SEGMENT_BYTES


def test_it_waits_for_its_window(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    # 2026-11-18 is a Wednesday; the clock stands at some minute of it.
    guard.approve(windows=(Window("UTC", (5, 6), 0, 24 * 60),))
    guard.run(30)
    assert guard.outcomes() == ["accepted"]
    assert "Sat, Sun" in guard.core.updates.waiting_words
    guard.clock.pass_ms(4 * DAY_MS)
    guard.fleet.world.lease(at_ms=guard.clock.wall_ms())
    guard.core.updates.bundled._on_documents(guard.fleet.world.bundle(guard.device).to_bytes())
    guard.go_on()
    assert guard.outcomes()[-1] == "committed"


def test_it_waits_while_somebody_uses_the_machine(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.approve()
    guard.installer.in_use = "patient attached"
    guard.run(100)
    assert "patient attached" in guard.core.updates.waiting_words
    assert "write" not in guard.installer.words
    guard.installer.in_use = ""
    guard.go_on()
    assert guard.outcomes()[-1] == "committed"


def test_a_withdrawal_ends_what_waits(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    approval = guard.approve(windows=(Window("UTC", (5,), 0, 60),))
    guard.run(10)
    assert guard.core.updates.memory.attempt is not None
    guard.withdraw(approval)
    guard.run()
    assert guard.outcomes() == ["accepted", "refused"]
    assert guard.reports()[-1].rule == "not_approved"
    assert "switch" not in guard.installer.words


def test_what_the_director_names_no_more_is_given_up(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.approve(windows=(Window("UTC", (5,), 0, 60),))
    guard.run(10)
    guard.server.directed = []
    guard.run()
    assert guard.reports()[-1].rule == "named_no_more"
    assert guard.core.updates.memory.attempt is None


def test_a_standing_approval_waits_as_long_as_it_says(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.allow_all(wait_seconds=600)
    guard.run(300)
    assert guard.outcomes() == ["accepted"]
    guard.go_on(600)
    assert guard.outcomes()[-1] == "committed"


def test_an_approval_for_others_is_none(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.approve(selector=Selector(groups=("trial",)))
    guard.run()
    assert [r.rule for r in guard.reports()] == ["approved_for_others"]
    guard.confirm(groups=("trial",))
    guard.run()
    assert guard.outcomes()[-1] == "committed"


def test_a_crash_at_every_phase_ends_with_the_new_one(tmp_path: Path) -> None:
    for step in range(1, 24):
        guard = UpdateGuard.make(tmp_path / f"m{step}")
        manifest = guard.release("1.1", 11)
        guard.approve()
        guard.look()
        for _ in range(step):
            guard.core.tick()
            guard._let_the_installer_answer()
            guard.carry()
            guard.clock.pass_ms(100)
        guard.crash()
        guard.go_on()
        assert guard.outcomes()[-1] == "committed", step
        assert guard.installer.active == {"app": manifest.parts[0].blob.sha256}
        guard.core.close()


def test_a_release_that_keeps_ending_the_agent_is_taken_back(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.approve()
    guard.installer.healthy = lambda: False
    guard.look()
    while guard.core.updates.memory.attempt is None or (
        guard.core.updates.memory.attempt.phase != "trying"
    ):
        guard.core.tick()
        guard._let_the_installer_answer()
        guard.carry()
    for _ in range(4):
        guard.crash()
    guard.installer.healthy = lambda: True
    guard.go_on()
    assert guard.reports()[-1].rule == "starts_again_and_again"
    assert guard.outcomes()[-1] == "rolled_back"


def test_an_installer_that_dies_is_started_again(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.approve()
    guard.installer.dies_at = "write"
    guard.look()
    guard.go_on(3)
    guard.installer.dies_at = ""
    guard.go_on()
    assert guard.outcomes()[-1] == "committed"


def test_an_installer_that_always_dies_is_given_up(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.approve()
    guard.installer.dies_at = "write"
    guard.run(300)
    assert guard.outcomes() == ["accepted", "failed"]
    assert guard.reports()[-1].rule == "installer_ended"


@pytest.mark.parametrize(("word", "outcome"), [("write", "failed"), ("switch", "rolled_back")])
def test_what_the_installer_cannot_do_is_said(guard: UpdateGuard, word: str, outcome: str) -> None:
    guard.release("1.1", 11)
    guard.approve()
    guard.installer.problems[word] = ("The disk is full.", "disk_full")
    guard.run()
    assert guard.outcomes()[-1] == outcome
    assert guard.reports()[-1].rule == "disk_full"
    assert guard.core.updates.memory.floors == {}


def test_a_memory_that_is_damaged_keeps_its_counters(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.approve()
    guard.run()
    (guard.folder / "updates/memory.json").write_bytes(b"{")
    guard.crash()
    guard.release("1.0", 10)
    guard.approve()
    guard.run()
    assert guard.reports()[-1].rule == "older_counter"


def test_a_release_of_the_whole_machine_is_tried_after_it_started_again(guard: UpdateGuard) -> None:
    guard.release("1.1", 11, reboot=True)
    guard.approve()
    guard.run(60)
    assert guard.outcomes() == ["accepted"]
    assert "start again" in guard.core.updates.waiting_words
    guard.boot = "boot-2"
    guard.crash()
    guard.go_on()
    assert guard.outcomes()[-2:] == ["installed", "committed"]


def test_a_machine_that_starts_again_in_the_middle_of_the_switch(guard: UpdateGuard) -> None:
    guard.release("1.1", 11, reboot=True)
    guard.approve()
    guard.installer.dies_at = "switch"
    guard.run(10)
    guard.installer.dies_at = ""
    guard.boot = "boot-2"
    guard.crash()
    guard.go_on()
    assert guard.outcomes()[-1] == "committed"


def test_a_machine_that_came_up_with_the_old_one_says_so(guard: UpdateGuard) -> None:
    old = guard.release("1.1", 11)
    guard.approve()
    guard.run()
    guard.release("1.2", 12, reboot=True)
    guard.approve()
    guard.run(30)
    # What starts the machine has chosen the other slot.
    guard.installer.active = {"app": old.parts[0].blob.sha256}
    guard.boot = "boot-2"
    guard.crash()
    guard.go_on()
    assert guard.reports()[-1].rule == "fell_back"
    assert guard.outcomes()[-1] == "rolled_back"
    assert guard.reports()[-1].installed[0].floor == 11


def test_somebody_begins_to_use_it_just_before_the_switch(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.approve()
    guard.installer.problems["switch"] = ("patient attached", "in_use")
    guard.run(20)
    assert guard.outcomes() == ["accepted"]
    assert "patient" in guard.core.updates.waiting_words
    del guard.installer.problems["switch"]
    guard.go_on()
    assert guard.outcomes()[-1] == "committed"


def test_an_approval_without_windows_is_not_held_up_by_one_with(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.approve(windows=(Window("UTC", (5,), 0, 60),))
    guard.run(10)
    assert guard.outcomes() == ["accepted"]
    guard.approve(reason="now")
    guard.run()
    assert guard.outcomes()[-1] == "committed"
