"""Generated plans and tries: everybody is told once, in time, and nobody for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.access.notice_plan import (
    AGAIN_MS,
    SETTLE_MS,
    TRIES,
    Plan,
    Recipient,
    Step,
    Tried,
    find_next,
    list_due,
)

NAMES = ("ada", "ben", "cleo")


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    afters = sorted(draw(st.sets(st.integers(0, 3600), max_size=4)))
    steps = []
    for after in afters:
        names = draw(st.sets(st.sampled_from(NAMES), min_size=1))
        steps.append(
            Step(after, tuple(Recipient(n, f"jsons://{n}.example") for n in sorted(names)))
        )
    return Plan(tuple(steps))


@given(plans(), st.lists(st.tuples(st.integers(0, 4000), st.booleans()), max_size=60))
def test_everybody_is_told_once_and_tried_thrice_at_most(
    plan: Plan, rounds: list[tuple[int, bool]]
) -> None:
    tried: list[Tried] = []
    for second, good in sorted(rounds):
        now = second * 1000
        for due in list_due(plan, 0, now, tried):
            step = plan.steps[due.step]
            assert max(SETTLE_MS, step.after_seconds * 1000) <= now
            assert due.recipient in step.to
            before = [t for t in tried if (t.step, t.name) == (due.step, due.recipient.name)]
            assert not any(t.good for t in before)
            assert all(now - t.at_ms >= AGAIN_MS for t in before)
            tried.append(Tried(due.step, due.recipient.name, now, good))
        following = find_next(plan, 0, now)
        later = [s for s in plan.steps if s.after_seconds * 1000 > now]
        assert (following is None) == (not later)
        if following is not None:
            assert following.at_ms == later[0].after_seconds * 1000
    for number, step in enumerate(plan.steps):
        for recipient in step.to:
            own = [t for t in tried if (t.step, t.name) == (number, recipient.name)]
            assert len(own) <= TRIES
            assert sum(t.good for t in own) <= 1
