"""Which code of the agent runs, and what follows from how it does. Pure.

    settled ──▶ asked ──▶ trying ──▶ settled (the new one is kept)
                           │  ▲
                           │  └── retrying (the old one, once more: is it the server?)
                           └──▶ settled (what was before)

1. A new one that ends with an error, says nothing for `HANG_MS`, does not become healthy within its
   time, or was started `MOST_STARTS` times without a known end goes back at once.
2. Healthy is local: it has opened its journal and documents, its key signs, and its uplink speaks
   to it. It is kept when that has held for `steady_ms` and it has reached the server.
3. Silence of the server is no fault. A new one that is healthy and does not reach it makes room for
   the old one, for as long. When that does not reach it either, the new one has its next turn,
   twice as long, up to `LONGEST_ROUND_MS`.
4. When the old one does reach it, the new one gets one more turn, at once, while the server is
   there. It goes back only when it fails in that one.
5. What is settled and is started `MOST_BAD_STARTS` times in one boot without becoming healthy
   makes room for the one before, and that for what the system's package brought, which is run
   however it does. Starts are counted anew in another boot: whoever has the power switch would
   otherwise have what is older than the one that was kept.
6. A package of the system that brings other code than it had when a release was asked for, comes
   first: who replaces that has decided later.

A state says what is to run; whoever drives this has it on the disk before it runs. Times are those
of one clock that never goes back, counted from the start of the process.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

FACTORY: Final = ""
"""The code that the system's package brought: it has no digest, and is always there."""
PHASES: Final = ("settled", "asked", "trying", "retrying")
MOST_STARTS: Final = 3
"""Starts without a known end, as after a power cut. A start that ends with an error is one more."""
MOST_BAD_STARTS: Final = 10
"""As many of what is settled in one boot, until it says that it is healthy: it was good once."""
HANG_MS: Final = 60_000
"""Ten times as long as a guard with nothing to do sleeps."""
FIRST_ROUND_MS: Final = 300_000
LONGEST_ROUND_MS: Final = 3_600_000
KEPT: Final = "kept"


@dataclass(frozen=True, slots=True)
class State:
    """All that is remembered. Releases are named by the SHA-256 of their archive."""

    phase: str = "settled"
    active: str = FACTORY
    """What is settled; during a trial, the old one."""
    previous: str = FACTORY
    """What was settled before it."""
    wanted: str = ""
    """What is asked for or tried; nothing when settled."""
    within_ms: int = 0
    """How long the new one may take to become healthy."""
    steady_ms: int = 0
    """How long it has to stay so."""
    round_ms: int = 0
    """How long a turn waits for the server."""
    connects: bool = True
    """Whether it has to reach the server at all: a machine that a stick came to may have none."""
    accused: bool = False
    """Whether the old one reached the server where the new one did not."""
    starts: int = 0
    """Starts of what is to run, without a known end."""
    boot: str = ""
    """In which boot of the machine the last of them was."""
    ended: str = ""
    """How the last trial, or the last fall, ended: `kept`, or the rule by which it went back."""
    ended_release: str = ""
    """Of which release it is said."""
    words: str = ""
    package: str = ""
    """What the package's own code was when a release was first tried beside it: its SHA-256."""

    @property
    def runs(self) -> str:
        """What is to run."""
        return self.wanted if self.phase == "trying" else self.active

    @property
    def on_trial(self) -> bool:
        """Whether somebody has to watch what runs."""
        return self.phase in ("trying", "retrying")


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of the process that runs now."""

    started_ms: int
    heard_ms: int
    healthy_ms: int = -1
    """When it said that it is healthy; -1: it did not."""
    connected: bool = False


def compare_package(state: State, package: str) -> State:
    """Have the package's code run when it is another than it was (rule 6)."""
    if state.package in ("", package):
        return replace(state, package=package)
    return State(
        ended="agent_superseded",
        ended_release=state.wanted or state.active,
        words="The system's package has brought another agent since.",
    )


def begin(state: State, boot: str = "") -> State:
    """Something is about to be started: count it, or have something else run.

    A `boot` that the kernel does not tell is the same as the last one that it did not tell.
    """
    if state.phase == "asked":
        return replace(state, phase="trying", starts=1, boot=boot)
    anew = state.phase == "settled" and state.boot != boot
    counted = replace(state, starts=1 if anew else state.starts + 1, boot=boot)
    if counted.starts <= (MOST_STARTS if state.on_trial else MOST_BAD_STARTS):
        return counted
    words = f"It was started {MOST_STARTS} times and did not come to an end that is known."
    if state.phase == "trying":
        return begin(go_back(state, "agent_starts_again", words), boot)
    if state.phase == "retrying":
        return _try_again(state)
    return begin(_fall(counted), boot) if state.active != FACTORY else replace(state, starts=0)


def judge(state: State, seen: Seen, now_ms: int) -> State:
    """Return what follows from how it does by now; the same state when nothing does."""
    if state.phase == "trying":
        return _judge_new(state, seen, now_ms)
    if state.phase == "retrying":
        return _judge_old(state, seen, now_ms)
    return state


def note_end(state: State, status: int) -> State:
    """What ran has ended by itself."""
    if status == 0 or state.phase != "trying":
        return state
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    return go_back(state, "agent_crashed", f"It {how}.")


def note_stop(state: State) -> State:
    """It was ended from outside, as when the machine is switched off: that is a known end."""
    return replace(state, starts=max(0, state.starts - 1))


def note_healthy(state: State) -> State:
    """What is settled is healthy: its starts are accounted for."""
    return replace(state, starts=0) if state.phase == "settled" else state


def ask(state: State, wanted: str, times: tuple[int, int], *, connects: bool) -> State:
    """Return the state in which a new one is asked for. `times`: within, and steady."""
    within_ms, steady_ms = times
    return replace(
        state,
        phase="asked",
        wanted=wanted,
        within_ms=within_ms,
        steady_ms=steady_ms,
        round_ms=FIRST_ROUND_MS,
        connects=connects,
        accused=False,
        starts=0,
        ended="",
        ended_release="",
        words="",
        package=state.package if state.active != FACTORY else "",
    )


def go_back(state: State, rule: str, words: str) -> State:
    """The new one is not good: what is settled runs."""
    return replace(
        state,
        phase="settled",
        wanted="",
        starts=0,
        ended=rule,
        ended_release=state.wanted,
        words=words,
    )


def settle(state: State, release: str) -> State:
    """Have a release be what is settled without a trial: it was so before."""
    if state.active == release and state.phase == "settled":
        return state
    gone = state.wanted or state.active
    return replace(
        state,
        phase="settled",
        active=release,
        wanted="",
        starts=0,
        ended="agent_taken_back",
        ended_release=gone,
        words="It was taken back.",
    )


def _judge_new(state: State, seen: Seen, now_ms: int) -> State:
    if seen.healthy_ms < 0:
        if now_ms - seen.started_ms < state.within_ms:
            return state
        words = f"It was not healthy within {state.within_ms // 1000} s."
        return go_back(state, "agent_not_healthy", words)
    if now_ms - seen.heard_ms >= HANG_MS:
        return go_back(state, "agent_hangs", f"It said nothing for {HANG_MS // 1000} s.")
    healthy_for_ms = now_ms - seen.healthy_ms
    if healthy_for_ms < state.steady_ms:
        return state
    if seen.connected or not state.connects:
        return _keep(state)
    if healthy_for_ms < state.steady_ms + state.round_ms:
        return state
    if state.accused:
        words = "It does not reach the server, which the one before it does."
        return go_back(state, "agent_not_connected", words)
    return replace(state, phase="retrying", starts=0)


def _judge_old(state: State, seen: Seen, now_ms: int) -> State:
    if seen.connected:
        # Rule 4. The server is there now: a turn of the first length is enough.
        return replace(state, phase="trying", accused=True, starts=0, round_ms=FIRST_ROUND_MS)
    if now_ms - seen.started_ms < state.round_ms:
        return state
    return _try_again(state)


def _try_again(state: State) -> State:
    longer = min(LONGEST_ROUND_MS, state.round_ms * 2)
    return replace(state, phase="trying", starts=0, round_ms=longer)


def _keep(state: State) -> State:
    return replace(
        state,
        phase="settled",
        active=state.wanted,
        previous=state.active,
        wanted="",
        starts=0,
        ended=KEPT,
        ended_release=state.wanted,
        words="It is healthy, and stays.",
    )


def _fall(state: State) -> State:
    """What is settled does not start: the one before runs, and at last the package's (rule 5)."""
    return replace(
        state,
        active=state.previous if state.previous != state.active else FACTORY,
        previous=FACTORY,
        starts=0,
        ended="agent_fell",
        ended_release=state.active,
        words=f"It was started {MOST_BAD_STARTS} times and did not become healthy.",
    )
