"""Generated histories of the launcher: agents that crash, hang or never connect, a server that is
there or not, power cuts. An agent always runs, and no silence goes back from a good one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from fleetward.device.launcher.decide import (
    FACTORY,
    HANG_MS,
    KEPT,
    LONGEST_ROUND_MS,
    MOST_BAD_STARTS,
    MOST_STARTS,
    Seen,
    State,
    ask,
    begin,
    compare_package,
    judge,
    note_end,
    note_healthy,
    note_stop,
)

NEW, OLD = "a" * 64, "b" * 64
STEP_MS = 20_000
WITHIN_MS, STEADY_MS = 120_000, 60_000


@dataclass(frozen=True)
class Nature:
    """How an agent is. Times are since its start; -1: never."""

    healthy_ms: int = 0
    crashes_ms: int = -1
    hangs_ms: int = -1
    connects: bool = True

    @property
    def good(self) -> bool:
        return self.crashes_ms < 0 and self.hangs_ms < 0 and 0 <= self.healthy_ms < WITHIN_MS


@dataclass
class History:
    """A machine with a launcher on it, and what it went through."""

    natures: dict[str, Nature]
    state: State
    now_ms: int = 0
    running: str = ""
    seen: Seen = field(default_factory=lambda: Seen(0, 0))
    died: bool = False
    cuts: int = 0

    def start(self) -> None:
        self.state = begin(self.state)
        self.running, self.seen = self.state.runs, Seen(self.now_ms, self.now_ms)

    def nature(self) -> Nature:
        return self.natures[self.running]

    def step(self, *, server: bool) -> None:
        """Let some time pass."""
        self.now_ms += STEP_MS
        nature, age = self.nature(), self.now_ms - self.seen.started_ms
        if 0 <= nature.crashes_ms <= age:
            self.state = note_end(self.state, 1)
            self.start()
            return
        if not 0 <= nature.hangs_ms <= age:
            healthy = self.seen.healthy_ms
            if healthy < 0 and 0 <= nature.healthy_ms <= age:
                healthy = self.now_ms
            connected = self.seen.connected or (healthy >= 0 and server and nature.connects)
            self.seen = Seen(self.seen.started_ms, self.now_ms, healthy, connected)
        self.state = judge(self.state, self.seen, self.now_ms)
        if self.seen.healthy_ms >= 0:
            self.state = note_healthy(self.state)
        if self.state.runs != self.running:
            self.start()

    def cut(self) -> None:
        self.cuts += 1
        self.start()

    def stop(self) -> None:
        self.state = note_stop(self.state)
        self.start()


NATURES = st.builds(
    Nature,
    healthy_ms=st.sampled_from((0, 40_000, 200_000, -1)),
    crashes_ms=st.sampled_from((-1, -1, -1, 0, 60_000, 100_000)),
    hangs_ms=st.sampled_from((-1, -1, -1, 0, 60_000)),
    connects=st.booleans(),
)
EVENTS = st.lists(
    st.sampled_from(("up", "up", "up", "down", "down", "down", "cut", "stop")), max_size=150
)


def tell(nature: Nature, old: Nature, events: list[str], *, connects: bool = True) -> History:
    state = ask(State(active=OLD), NEW, (WITHIN_MS, STEADY_MS), connects=connects)
    history = History({NEW: nature, OLD: old, FACTORY: Nature()}, state)
    history.start()
    for event in events:
        if event in ("cut", "stop"):
            getattr(history, event)()
        else:
            history.step(server=event == "up")
        assert history.running in (NEW, OLD, FACTORY)
        assert history.state.runs == history.running
        assert history.state.round_ms <= LONGEST_ROUND_MS
    return history


@given(NATURES, EVENTS)
def test_one_that_crashes_or_hangs_or_is_never_healthy_is_never_kept(
    nature: Nature, events: list[str]
) -> None:
    soon = 0 <= nature.crashes_ms < STEADY_MS or 0 <= nature.hangs_ms < STEADY_MS
    history = tell(nature, Nature(), events)
    if soon or not 0 <= nature.healthy_ms < WITHIN_MS:
        assert history.state.active != NEW


@given(NATURES, EVENTS)
def test_one_that_never_reaches_the_server_is_never_kept(nature: Nature, events: list[str]) -> None:
    history = tell(Nature(nature.healthy_ms, connects=False), Nature(), events)
    assert history.state.active != NEW


@given(st.sampled_from((0, 40_000)), st.booleans(), EVENTS)
def test_a_good_one_is_never_gone_back_from_by_silence(
    healthy_ms: int, connects: bool, events: list[str]
) -> None:
    quiet = [event for event in events if event in ("down", "stop")]
    history = tell(Nature(healthy_ms), Nature(), quiet, connects=connects)
    assert history.state.phase != "settled" or history.state.ended == KEPT


@given(st.lists(st.sampled_from(("down", "stop")), max_size=400))
def test_a_server_silent_for_ever_settles_nothing(events: list[str]) -> None:
    history = tell(Nature(), Nature(), events)
    assert history.state.on_trial and history.state.ended == ""


@given(EVENTS)
def test_a_good_one_is_kept_once_the_server_stays(events: list[str]) -> None:
    """Only power cuts, more than are borne, can have it gone back from before."""
    calm = [event for event in events if event != "cut"]
    turns = 2 * LONGEST_ROUND_MS // STEP_MS + 100
    history = tell(Nature(), Nature(), [*calm, *["up"] * turns])
    if not any(event == "up" for event in calm):
        assert (history.state.active, history.state.ended) == (NEW, KEPT)
    assert history.state.phase == "settled"


@given(EVENTS)
def test_one_that_cannot_connect_is_gone_back_from_once_the_server_stays(
    events: list[str],
) -> None:
    calm = [event for event in events if event != "cut"]
    turns = 4 * LONGEST_ROUND_MS // STEP_MS + 100
    history = tell(Nature(connects=False), Nature(), [*calm, *["up"] * turns])
    assert (history.state.active, history.state.ended) == (OLD, "agent_not_connected")


@given(NATURES, st.integers(MOST_STARTS + 1, 40))
def test_power_cuts_alone_end_it(nature: Nature, cuts: int) -> None:
    history = tell(nature, Nature(), ["cut"] * cuts)
    assert history.running != NEW


@given(st.integers(0, 60))
def test_what_does_not_start_falls_to_the_one_before_and_at_last_to_the_package(
    starts: int,
) -> None:
    state = State(active=NEW, previous=OLD)
    for _ in range(starts):
        state = begin(state, "boot")
    wanted = (NEW, OLD, FACTORY)[min(2, max(0, starts - 1) // MOST_BAD_STARTS)]
    assert state.runs == wanted
    assert (state.ended == "agent_fell") == (wanted != NEW)


@given(st.lists(st.sampled_from(("cut", "crash")), max_size=80))
def test_no_number_of_boots_makes_what_is_settled_fall(events: list[str]) -> None:
    """Only a row of starts in one boot does."""
    state = State(active=NEW, previous=OLD)
    boot, row, longest = 0, 0, 0
    for event in events:
        boot, row = (boot + 1, 1) if event == "cut" else (boot, row + 1)
        longest = max(longest, row)
        state = begin(state, f"{boot}")
    assert (state.runs != NEW) == (longest > MOST_BAD_STARTS)


@given(st.sampled_from(("settled", "asked", "trying", "retrying")), st.booleans())
def test_another_package_comes_before_any_release(phase: str, same: bool) -> None:
    wanted = "" if phase == "settled" else NEW
    state = State(phase=phase, active=OLD, wanted=wanted, package="p")
    compared = compare_package(state, "p" if same else "q")
    assert compared == state if same else compared.runs == FACTORY and not compared.on_trial
    # What the package was before the first release was asked for, counts for nothing.
    fresh = ask(State(package="p"), NEW, (WITHIN_MS, 0), connects=True)
    assert compare_package(fresh, "q") == replace(fresh, package="q")


def test_a_hang_is_seen_after_a_minute_and_not_before() -> None:
    state = begin(ask(State(), NEW, (WITHIN_MS, STEADY_MS), connects=True))
    seen = Seen(0, 10, 10)
    assert judge(state, seen, HANG_MS) == state
    assert judge(state, seen, HANG_MS + 10).ended == "agent_hangs"
