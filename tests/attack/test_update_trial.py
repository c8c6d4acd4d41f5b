"""From the switch on a machine ends with the new release or with the one before, whoever disturbs.

The attacker has the server and answers when it suits him; or he has a product's key, and an owner
who approved what he signed: a release that kills its installer, starts the machine anew at each
switch, or prints what no report can hold.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.adversary.update_watch import machine_with_a_release
from tests.update_world import PRODUCT, UpdateGuard

from fleetward.device.updates import installer_words as said
from fleetward.trust.release_checks import Check
from fleetward.trust.release_manifest import Health
from fleetward.trust.update_report import MAX_REPORT_BYTES


@pytest.fixture
def guard() -> Iterator[UpdateGuard]:
    with machine_with_a_release() as guard:
        yield guard


def go_to(guard: UpdateGuard, wanted: str, *, answered: bool = True) -> None:
    """Let a release go on until this phase; the server answers what is asked, or nothing more."""
    for _ in range(60):
        attempt = guard.core.updates.memory.attempt
        assert attempt is not None
        if attempt.phase == wanted:
            return
        guard.core.tick()
        guard._let_the_installer_answer()
        if answered:
            guard.carry()
        guard.clock.pass_ms(1000)
    raise AssertionError(f"never {wanted}")


@pytest.mark.parametrize("wanted", ["writing", "switching", "trying", "committing"])
def test_an_answer_that_comes_late_stops_no_change_half_made(
    guard: UpdateGuard, wanted: str
) -> None:
    """The server holds the last answer of a look back until the change is under way, and says then
    that it offers the release no more."""
    guard.release("1.1", 11)
    approval = guard.approve()
    guard.look()
    guard.core.tick()
    guard._let_the_installer_answer()
    guard.carry(1)
    guard.server.directed = []
    updates = guard.core.updates
    updates.talk.look_now()
    question = updates.next_question()
    while question is not None and question.what != "approvals":
        updates.take_answer(guard.server.answer(question))
        question = updates.next_question()
    assert question is not None
    if wanted in ("switching", "committing"):
        guard.installer.dies_at = {"switching": "switch", "committing": "commit"}[wanted]
    guard.installer.healthy = lambda: wanted != "trying"
    go_to(guard, wanted, answered=False)
    guard.withdraw(approval)
    updates.take_answer(guard.server.answer(question))
    guard.installer.dies_at = ""
    guard.installer.healthy = lambda: True
    guard.go_on()
    active = guard.installer.active["app"]
    held = updates.memory.held[PRODUCT]
    assert active == held.parts[0].sha256
    assert held.version == ("1.1" if wanted in ("trying", "committing") else "1.0")


def test_a_release_that_kills_every_installer_at_the_switch_is_taken_back(
    guard: UpdateGuard,
) -> None:
    before = dict(guard.installer.active)
    guard.release("1.1", 11)
    guard.approve()
    guard.installer.dies_at = "switch"
    guard.run(600)
    assert guard.outcomes()[-1] == "rolled_back"
    assert guard.reports()[-1].rule == "installer_ended"
    assert guard.installer.active == before


def test_a_release_that_starts_the_machine_anew_at_each_switch_is_taken_back(
    guard: UpdateGuard,
) -> None:
    """Else the machine would do nothing else for ever."""
    before = dict(guard.installer.active)
    guard.release("1.1", 11)
    guard.approve()
    guard.look()
    guard.installer.dies_at = "switch"
    go_to(guard, "switching")
    for _ in range(6):
        guard.core.tick()
        guard.crash()
    guard.installer.dies_at = ""
    guard.go_on()
    assert guard.outcomes()[-1] == "rolled_back"
    assert guard.reports()[-1].rule == "starts_again_and_again"
    assert guard.installer.active == before


def test_a_commit_that_never_ends_well_blocks_no_next_release(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.approve()
    guard.installer.dies_at = "commit"
    guard.run(600)
    assert guard.outcomes()[-1] == "committed"
    assert guard.core.updates.memory.floors[PRODUCT] == 11


LONG = {
    "letters that take four bytes": "\U0001f600" * 300,
    "control characters": "\x1b[2J\x00\x07\n" * 50,
    "text from right to left": "\u202e\u2066evil" * 30,
    "quotes": '"\\' * 150,
}


@pytest.mark.parametrize("words", LONG.values(), ids=LONG)
def test_what_a_release_prints_always_fits_a_report(
    guard: UpdateGuard, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report that cannot be written would be owed for ever, and end guard at every start."""
    checks = tuple(Check("port", port=8000 + n) for n in range(16))

    def answer(word: object, plan: said.Plan, descriptors: list[int]) -> said.Upward:
        if isinstance(word, said.Test):
            one = said.FindingWord(words[:300], False, words[:300])
            return said.Tested((one,) * len(plan.checks))
        return honest(word, plan, descriptors)

    honest = guard.installer._answer
    monkeypatch.setattr(guard.installer, "_answer", answer)
    guard.release("1.1", 11, health=Health(5, 0, checks))
    guard.approve()
    guard.run()
    assert guard.outcomes()[-1] == "rolled_back"
    report = guard.reports()[-1]
    assert report.rule == "unhealthy"
    assert len(report.raw) <= MAX_REPORT_BYTES
    guard.crash()
    guard.core.tick()
    assert guard.core.updates.memory.owed is None
