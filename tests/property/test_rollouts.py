"""Whatever machines say, and in what order: no more than the open waves' limit ever has a release.

Histories are generated: reports in any order and repeated, silence, machines that join and leave,
owners who approve late, people who pause, go on, and go on despite failures.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetward.server.updates.decide_rollout import (
    ALL,
    CANCELLED,
    HELD,
    MOVING,
    PAUSED,
    PLACED,
    RUNNING,
    Fleet,
    In,
    Plan,
    count_failures,
    decide_step,
    lets_in,
    make_stages,
    order_of,
    promise_exposure,
)
from fleetward.trust.update_report import ENDS, FAILURES, OUTCOMES

NAMES = [f"m{number}" for number in range(24)]
WAVES = st.sampled_from([("1", "100%"), ("10%", "50%"), ("2", "5", "9"), ("100%",), ("3", "100%")])
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.sampled_from(NAMES), st.sampled_from(OUTCOMES)),
        st.tuples(st.just("join"), st.sampled_from(NAMES), st.just("")),
        st.tuples(st.just("leave"), st.sampled_from(NAMES), st.just("")),
        st.tuples(st.just("approve"), st.sampled_from(NAMES), st.just("")),
        st.tuples(st.just("wait"), st.integers(0, 5000), st.just("")),
        st.tuples(
            st.sampled_from(["pause", "resume", "continue", "cancel"]), st.just(0), st.just("")
        ),
    ),
    max_size=80,
)


class Play:
    """One rollout as the server follows it, in memory."""

    def __init__(self, waves: tuple[str, ...], canaries: int, allowed: int, size: int) -> None:
        self.selected = set(NAMES[:size])
        self.approved = set(NAMES[: size // 2])
        self.canaries = frozenset(NAMES[:canaries])
        self.inside: dict[str, In] = {}
        self.now = 0
        stages = make_stages(waves, size, canaries)
        self.plan = Plan("r", stages, canaries > 0, 1000, allowed, 0, RUNNING, 1, 0)

    def fleet(self) -> Fleet:
        gone = frozenset(set(self.inside) - self.selected)
        chosen = frozenset(self.selected)
        return Fleet(chosen, frozenset(self.approved), self.canaries & chosen, gone)

    def do(self, what: str, who: str | int, outcome: str) -> None:
        if what == "say" and isinstance(who, str) and who in self.inside:
            ended = self.now if outcome in ENDS else 0
            self.inside[who] = In(who, outcome, ended, "cause")
        elif what == "join" and isinstance(who, str):
            self.selected.add(who)
        elif what == "leave" and isinstance(who, str):
            self.selected.discard(who)
        elif what == "approve" and isinstance(who, str):
            self.approved.add(who)
        elif what == "wait" and isinstance(who, int):
            self.now += who
        else:
            self.deed(what)

    def deed(self, what: str) -> None:
        plan = self.plan
        if plan.state == CANCELLED:
            return
        failures = count_failures(self.inside.values())
        if what == "pause":
            self.plan = replace(plan, state=PAUSED)
        elif what == "cancel":
            self.plan = replace(plan, state=CANCELLED)
        elif what == "resume" and failures <= plan.tolerated:
            self.plan = replace(plan, state=RUNNING)
        elif what == "continue":
            self.plan = replace(
                plan, state=RUNNING, opened_at_ms=self.now,
                forgiven=max(failures - plan.allowed, plan.forgiven),
                open_stages=min(plan.open_stages + 1, len(plan.stages)),
            )  # fmt: skip

    def advance(self) -> None:
        for _ in range(50):
            plan, inside = self.plan, list(self.inside.values())
            step = decide_step(plan, inside, self.fleet(), self.now)
            if not step.let_in and not step.opens and step.state == plan.state:
                return
            self.check_step(step.let_in, step.state, opens=step.opens)
            self.plan = replace(plan, state=step.state)
            if step.opens:
                self.plan = replace(
                    self.plan, open_stages=plan.open_stages + 1, opened_at_ms=self.now
                )
            self.inside |= {device: In(device, PLACED) for device in step.let_in}
        raise AssertionError("it never comes to rest")

    def check_step(self, let_in: tuple[str, ...], state: str, *, opens: bool) -> None:
        plan, inside = self.plan, list(self.inside.values())
        assert plan.state in MOVING or not let_in
        assert set(let_in) <= self.selected & self.approved
        assert list(let_in) == sorted(let_in, key=lambda each: order_of(plan.id, each))
        if state == HELD and plan.state != HELD:
            assert count_failures(inside) > plan.tolerated
        if opens:
            assert not let_in
            assert count_failures(inside) <= plan.tolerated
            gone = self.fleet().gone
            assert all(e.state in ENDS or e.state == "passed" or e.device in gone for e in inside)


@settings(max_examples=400, deadline=None)
@given(WAVES, st.integers(0, 3), st.integers(0, 3), st.integers(4, 20), EVENTS)
def test_exposure_never_exceeds_the_open_waves(
    waves: tuple[str, ...], canaries: int, allowed: int, size: int,
    events: list[tuple[str, str | int, str]],
) -> None:  # fmt: skip
    play = Play(waves, canaries, allowed, size)
    play.advance()
    for what, who, outcome in events:
        before = set(play.inside)
        play.do(what, who, outcome)
        opened = play.plan.open_stages
        play.advance()
        limit = play.plan.limit
        assert limit == ALL or len(play.inside) <= limit
        assert before <= set(play.inside)
        failures = count_failures(play.inside.values())
        if failures > play.plan.tolerated:
            # Too many failed: nobody new, no new wave, and it does not run.
            assert set(play.inside) == before
            assert play.plan.open_stages == opened
            assert play.plan.state not in MOVING
        if play.plan.state == HELD:
            # It stays held, though a machine that failed takes it anew: a person goes on.
            assert not lets_in(HELD, PLACED) and lets_in(HELD, "accepted")


@settings(max_examples=200, deadline=None)
@given(
    WAVES,
    st.integers(0, 3),
    st.integers(0, 4),
    st.integers(4, 24),
    st.lists(st.tuples(st.integers(0, 23), st.booleans()), max_size=60),
)
def test_nobody_looks_and_the_promise_is_kept(
    waves: tuple[str, ...], canaries: int, allowed: int, size: int,
    reports: list[tuple[int, bool]],
) -> None:  # fmt: skip
    """From any state on: as long as nobody does anything, exposure stays below what was promised,
    if from then on every machine that speaks says that it failed."""
    play = Play(waves, canaries, allowed, size)
    play.approved = set(play.selected)
    play.advance()
    for number, good in reports:
        name = NAMES[number]
        play.do("say", name, "committed" if good else "failed")
        play.now += 2000
        play.advance()
    promise = promise_exposure(play.plan, list(play.inside.values()), size)
    for _ in range(size + 5):
        for device, each in list(play.inside.items()):
            if each.state not in ENDS:
                play.do("say", device, "rolled_back")
        play.now += 2000
        play.advance()
    assert len(play.inside) <= promise


@given(st.sampled_from(["running", "held", "paused", "cancelled", "done"]))
def test_who_is_not_in_is_told_nothing(state: str) -> None:
    assert not lets_in(state, None)
    assert not any(lets_in("cancelled", each) for each in (PLACED, *FAILURES))
