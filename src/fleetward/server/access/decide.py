"""In which state a request is, from what is stored of it: pure.

    asked     it waits for the machine
    offered   the machine checked it and would open: it waits for its owner
    granted   the owner said yes, now or ahead; the machine has not opened yet
    open      the machine says that somebody is inside
    ended     the machine says that it is over
    denied    the machine said no, with the rule that was broken
    stopped   the owner, or who asked, said no before anything opened

What the machine says of opening and ending stands, whatever comes before or after it: nobody else
knows. What people send only moves a request that the machine has not opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from fleetward.server.access.reading import DENIAL, OFFER, OPENED, RECEIPT, STOP, YES
from fleetward.trust.errors import Refused

ASKED: Final = "asked"
OFFERED: Final = "offered"
GRANTED: Final = "granted"
OPEN: Final = "open"
ENDED: Final = "ended"
DENIED: Final = "denied"
STOPPED: Final = "stopped"
STATES: Final = (ASKED, OFFERED, GRANTED, OPEN, ENDED, DENIED, STOPPED)
LIVE: Final = (GRANTED, OPEN)
OVER: Final = (ENDED, DENIED, STOPPED)
UNANSWERED: Final = (ASKED, OFFERED)
PUSH_FOR_MS: Final = 7 * 86_400_000
"""A request that nobody answered for a week is asked again; a machine refuses it too."""
MAX_UNANSWERED: Final = 32
"""Requests for one machine that wait at once."""
DAY_MS: Final = 86_400_000
SKEW_MS: Final = 300_000
"""A machine's clock that is further away than this is not shown as the time of a session."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that came, in the order in which it came.

    `subject` is the hash of the request or grant that it is about; `at_ms` the server's clock,
    `said_ms` the machine's, where it says a time of its own; `detail` how a session ended, or the
    rule that a denial names.
    """

    kind: str
    subject: str
    at_ms: int
    said_ms: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Course:
    """Where a request stands. Times are 0 for what did not happen."""

    state: str = ASKED
    session: str = ""
    offered_at_ms: int = 0
    granted_at_ms: int = 0
    opened_at_ms: int = 0
    ended_at_ms: int = 0
    ended_by: str = ""


def follow(facts: Sequence[Fact]) -> Course:
    """Return where a request stands after these facts."""
    course = Course()
    for fact in facts:
        course = _step(course, fact)
    return course


def _step(course: Course, fact: Fact) -> Course:
    if fact.kind == RECEIPT:
        return _end(course, fact)
    if course.state == ENDED:
        return course
    if fact.kind == OPENED:
        opened = course.opened_at_ms or plausible(fact.said_ms, fact.at_ms)
        return replace(
            course, state=OPEN, session=fact.subject, opened_at_ms=opened, ended_at_ms=0,
            ended_by="",
        )  # fmt: skip
    if course.state == OPEN:
        return course
    return _step_before(course, fact)


def _end(course: Course, fact: Fact) -> Course:
    if course.state == ENDED:
        return course
    return replace(
        course,
        state=ENDED,
        session=fact.subject,
        ended_at_ms=plausible(fact.said_ms, fact.at_ms),
        ended_by=fact.detail,
    )


def _step_before(course: Course, fact: Fact) -> Course:
    """Return the course of a request that has not been opened."""
    if fact.kind == STOP:
        return replace(course, state=STOPPED, ended_at_ms=fact.at_ms, ended_by="")
    if course.state == STOPPED:
        return course
    if fact.kind in YES:
        return replace(
            course, state=GRANTED, session=fact.subject, granted_at_ms=fact.at_ms, ended_at_ms=0,
            ended_by="",
        )  # fmt: skip
    if fact.kind == DENIAL:
        return replace(course, state=DENIED, ended_at_ms=fact.at_ms, ended_by=fact.detail)
    if fact.kind == OFFER:
        offered = replace(course, offered_at_ms=fact.at_ms)
        if course.state == GRANTED:
            return offered
        return replace(offered, state=OFFERED, ended_at_ms=0, ended_by="")
    return course


def plausible(said_ms: int, at_ms: int) -> int:
    """Return the machine's own time when its clock is near ours, else when its word came."""
    near = 0 <= at_ms - said_ms <= DAY_MS or abs(at_ms - said_ms) <= SKEW_MS
    return said_ms if said_ms > 0 and near else at_ms


def orders_of(state: str, asked_at_ms: int, now_ms: int) -> tuple[str, ...]:
    """Return which kinds of envelopes a machine that greets is handed again, in their order."""
    if state in UNANSWERED and now_ms - asked_at_ms < PUSH_FOR_MS:
        return ("request",)
    if state == GRANTED and now_ms - asked_at_ms < 2 * PUSH_FOR_MS:
        return YES
    if state == OPEN:
        return (STOP,)
    return ()


def certificate_ends_ms(not_after_ms: int, seconds: int, now_ms: int) -> int:
    """Return when a requester's certificate ends. Raises `Refused` when the grant's time is over.

    A session that opens in the grant's last moment lasts its seconds; a day is the most anyhow.
    """
    ends = min(not_after_ms + seconds * 1000, now_ms + DAY_MS)
    if ends <= now_ms:
        raise Refused("The time of this grant is over. Ask again.", reason="expired")
    return ends


def check_live(state: str) -> None:
    """Return when a requester may come to the bus. Raises `Refused` otherwise."""
    if state not in LIVE:
        raise Refused(
            f"This session is {state}: only one that was granted or is open has a connection.",
            reason="not_live",
        )


def check_grantable(state: str) -> None:
    """Return when a grant may be stored. Raises `Refused` when the request is over."""
    if state in (OPEN, ENDED, STOPPED):
        raise Refused(f"This request is {state} already. Ask again.", reason="already_over")


def check_stoppable(state: str) -> None:
    """Return when there is something to stop. Raises `Refused` otherwise."""
    if state in OVER:
        raise Refused(f"This request is {state} already.", reason="already_over")
