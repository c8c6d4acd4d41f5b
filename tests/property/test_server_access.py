"""Where a request stands follows from what came, whatever came and in whatever order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleetward.server.access.decide import (
    DENIED,
    ENDED,
    OPEN,
    STATES,
    STOPPED,
    Fact,
    follow,
    orders_of,
    plausible,
)

KINDS = ("offer", "grant", "stop", "denial", "opened", "receipt")
HASHES = ("a" * 64, "b" * 64, "c" * 64)
TIMES = st.integers(min_value=0, max_value=2**50)


@st.composite
def histories(draw: st.DrawFn) -> list[Fact]:
    """Draw anything that could come, the clock of the server rising."""
    facts, at = [], 1
    for _ in range(draw(st.integers(0, 12))):
        at += draw(st.integers(1, 10**7))
        kind = draw(st.sampled_from(KINDS))
        subject = draw(st.sampled_from(HASHES))
        facts.append(Fact(kind, subject, at, draw(TIMES), draw(st.sampled_from(["", "idle"]))))
    return facts


@given(histories())
def test_the_machines_word_of_opening_and_ending_stands(facts: list[Fact]) -> None:
    course = follow(facts)
    kinds = [fact.kind for fact in facts]
    assert course.state in STATES
    assert (course.state == ENDED) == ("receipt" in kinds)
    assert (course.state == OPEN) == ("opened" in kinds and "receipt" not in kinds)


@given(histories())
def test_only_the_machine_says_that_it_was_open_or_ended(facts: list[Fact]) -> None:
    words = [fact for fact in facts if fact.kind in ("offer", "grant", "stop", "denial")]
    assert follow(words).state not in (OPEN, ENDED)


@given(histories())
def test_a_session_is_one_that_came(facts: list[Fact]) -> None:
    course = follow(facts)
    said = {fact.subject for fact in facts if fact.kind in ("grant", "opened", "receipt")}
    if course.session:
        assert course.session in said
    if course.state in (OPEN, ENDED):
        kind = "receipt" if course.state == ENDED else "opened"
        assert course.session in {fact.subject for fact in facts if fact.kind == kind}


@given(histories(), st.sampled_from(HASHES))
def test_after_its_end_nothing_moves_it(facts: list[Fact], session: str) -> None:
    last = facts[-1].at_ms if facts else 0
    ended = [*facts, Fact("receipt", session, last + 1, 0, "stopped")]
    course = follow(ended)
    for kind in KINDS:
        assert follow([*ended, Fact(kind, HASHES[0], last + 2, 0, "x")]) == course


@given(histories(), st.sampled_from(HASHES))
def test_a_stopped_request_is_moved_by_the_machine_alone(facts: list[Fact], subject: str) -> None:
    before = [fact for fact in facts if fact.kind not in ("opened", "receipt")]
    last = before[-1].at_ms if before else 0
    stopped = [*before, Fact("stop", subject, last + 1)]
    assert follow(stopped).state == STOPPED
    for kind in ("offer", "grant", "denial", "stop"):
        assert follow([*stopped, Fact(kind, subject, last + 2)]).state == STOPPED
    assert follow([*stopped, Fact("opened", subject, last + 2)]).state == OPEN


@given(histories())
def test_times_are_there_for_what_happened(facts: list[Fact]) -> None:
    course = follow(facts)
    kinds = {fact.kind for fact in facts}
    if course.state in (ENDED, STOPPED, DENIED):
        assert course.ended_at_ms > 0
    else:
        assert course.ended_at_ms == 0
    assert (course.granted_at_ms > 0) <= ("grant" in kinds)
    assert (course.offered_at_ms > 0) <= ("offer" in kinds)


@given(TIMES, TIMES)
def test_a_machines_time_is_shown_only_when_it_is_near(said: int, at: int) -> None:
    shown = plausible(said, at)
    assert shown in (said, at)
    assert -300_000 <= at - shown <= 86_400_000


@given(st.sampled_from(STATES), TIMES, TIMES)
def test_a_machine_is_handed_again_only_what_it_can_still_answer(
    state: str, asked: int, now: int
) -> None:
    kinds = orders_of(state, asked, now)
    assert set(kinds) <= {"request", "grant", "entry", "stop"}
    if state in (ENDED, DENIED, STOPPED):
        assert kinds == ()
