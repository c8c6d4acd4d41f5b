"""Coming by a window: a technician's tool finds what was allowed ahead, and uses it.

The server says what there is; each document is verified here under the owner's newest policy, and
what a machine has used of it by the machine's own signed word. When it is the wrong time, or a
machine cannot tell the time, the owner is asked as ever.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.keyholder.access.asking import check_not_over, read_own_case
from fleetward.keyholder.access.judging import Case
from fleetward.keyholder.access.learning import Learned
from fleetward.keyholder.access.requester_folder import RequesterFolder
from fleetward.keyholder.access.server_rows import AccessApi
from fleetward.keyholder.access.standing import MachineCase, StandingCase, read_standing_case
from fleetward.keyholder.access.standing_rows import StandingApi
from fleetward.keyholder.access.window_times import say_window
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable
from fleetward.trust.grants.entry import make_entry_payload, permissive, verify_entry
from fleetward.trust.grants.grant import Situation
from fleetward.trust.grants.request import Request, Wish
from fleetward.trust.keys import Signer

OFFER_SECONDS: Final = 20.0
OPEN_SECONDS: Final = 15.0
LOOK_SECONDS: Final = 0.3


@dataclass(frozen=True, slots=True)
class Fit:
    """A window that fits a wish, now."""

    case: StandingCase
    window: int

    @property
    def words(self) -> str:
        """Say it to who comes."""
        standing = self.case.standing
        span = say_window(standing.windows[self.window], standing.time_zone)
        people = " and ".join(standing.people)
        return f"inside the window of {span}, allowed ahead by {people}"


def list_ahead(
    api: StandingApi, learned: Learned, requester: str, device: str = ""
) -> list[StandingCase]:
    """Return what was allowed ahead to this key and is in force. What is not believed is left out.

    A server that does not know the question has nothing.
    """
    found: list[StandingCase] = []
    try:
        rows = api.rows(requester=requester, device=device, current=True)
    except (Refused, Malformed):
        return found
    for row in rows:
        with contextlib.suppress(FleetwardError):
            case = read_standing_case(learned.judge, row)
            named = requester in case.standing.requesters
            if named and not case.doubt and not case.revoked_by:
                found.append(case)
    return found


def find_fit(cases: Sequence[StandingCase], wish: Wish, now_ms: int) -> Fit | None:
    """Return the window that a wish fits into now, the one that is open longest; or None."""
    fits = [
        Fit(case, place)
        for case in cases
        for place in _places(case, wish)
        if _is_open(case, place, now_ms)
    ]
    return max(fits, key=lambda f: f.case.standing.windows[f.window].not_after_ms, default=None)


def say_next(cases: Sequence[StandingCase], wish: Wish, now_ms: int) -> str:
    """Say when the next window opens that a wish fits into; empty when there is none."""
    windows = [
        (case.standing.windows[place], case.standing.time_zone)
        for case in cases
        for place in _places(case, wish)
        if case.standing.windows[place].not_before_ms > now_ms
    ]
    if not windows:
        return ""
    window, zone = min(windows, key=lambda each: each[0].not_before_ms)
    return f"The next window in which you need not ask: {say_window(window, zone)}."


def enter_ahead(
    folder: RequesterFolder,
    near: tuple[AccessApi, Learned],
    request: Request,
    fit: Fit,
    signer: Signer,
    still: Callable[[float], None] = time.sleep,
) -> None:
    """Use the window for a request that was handed over: wait for the offer, sign, wait for it.

    Raises `Refused` with the machine's own words when it says no, `Unreachable` when it does not
    answer; the request stands then, and the owner can be asked.
    """
    api, learned = near
    standing = fit.case.standing
    for case in _look(folder, near, request.hash, OFFER_SECONDS, still):
        if case.offer is None:
            continue
        raw = seal(make_entry_payload(standing, fit.window, request, case.offer), [signer])
        here = Situation(
            learned.judge.policy, case.offer.boot, 0, 1, sandboxed=case.offer.sandbox != "none"
        )
        verify_entry(raw, permissive(here, standing, fit.window), standing, request, case.offer)
        StandingApi(api.client).enter(request.hash, raw)
        break
    else:
        raise Unreachable(
            "The machine has not answered yet: it may be off. The request stands.",
            reason="machine_silent",
        )
    with contextlib.suppress(Unreachable):
        for _ in _look(folder, near, request.hash, OPEN_SECONDS, still, until=("open", "ended")):
            continue


def _look(
    folder: RequesterFolder,
    near: tuple[AccessApi, Learned],
    hash_: str,
    seconds: float,
    still: Callable[[float], None],
    until: tuple[str, ...] = (),
) -> Iterator[Case]:
    """Yield what became of a request, again and again for so long. Raises `Refused` for a no."""
    api, learned = near
    waited = 0.0
    while waited <= seconds:
        papers = api.papers(hash_)
        case = read_own_case(folder, learned, papers)
        check_not_over(folder, case, papers.state)
        yield case
        if papers.state in until:
            return
        still(LOOK_SECONDS)
        waited += LOOK_SECONDS


def _places(case: StandingCase, wish: Wish) -> Iterator[int]:
    """Yield the windows of a permission that a wish could still use on its machine."""
    standing = case.standing
    machine = next((m for m in case.machines if m.device == wish.device), None)
    if machine is None or not set(wish.scopes) <= set(standing.scopes):
        return
    first = _first_unused(machine)
    yield from range(first, len(standing.windows))


def _first_unused(machine: MachineCase) -> int:
    tried = [e.window + 1 for e in machine.entries if e.state in ("granted", "open", "ended")]
    return max([machine.said.next_window if machine.said else 0, *tried])


def _is_open(case: StandingCase, place: int, now_ms: int) -> bool:
    window = case.standing.windows[place]
    return window.not_before_ms <= now_ms < window.not_after_ms
