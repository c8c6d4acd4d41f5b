"""Rollouts: which machines are let in, when the next wave opens, and when it is held: pure.

    running ──▶ done        everybody who was let in has ended, and nobody is left
       │  ▲
       ▼  │
    held, paused            nobody new; who has begun goes on
       │
       ▼
    cancelled

1. A rollout has **stages**: the canaries, where there are any, and then its waves. Each has a
   limit, which counts all machines from the first stage on, and is fixed when the rollout is made.
2. **Exposure is exact**: a machine is let in only while fewer than the limit of the newest open
   stage are in. Whoever is in was let in by this rule, whatever machines report and in what order.
3. Machines are let in in the order of a hash of the rollout and the machine: nobody chooses, and a
   machine that joins the fleet later falls into its place.
4. The next stage opens when the one before is full or nobody is left for it, every machine that is
   in has ended, and the soak since then is over.
5. It is **held** when more machines failed than are allowed, by reports that they signed. Silence
   holds nothing; it opens nothing either.
6. A person goes on despite failures or silence: the failures so far are forgiven, and the next
   stage opens. Then rule 2 counts with its limit.
7. A machine that a rollout has let in is told of the release while it runs; while it is held or
   paused, only one that has begun.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.trust.errors import Malformed
from fleetward.trust.sayings import say_length
from fleetward.trust.update_report import FAILURES

RUNNING: Final = "running"
HELD: Final = "held"
PAUSED: Final = "paused"
CANCELLED: Final = "cancelled"
DONE: Final = "done"
MOVING: Final = frozenset({RUNNING, DONE})
"""A rollout that is done still lets in who joins the fleet later."""
OPEN: Final = frozenset({RUNNING, HELD, PAUSED})

PLACED: Final = "placed"
PASSED: Final = "passed"
"""It runs a newer release already, and will say no more of this one."""
COMMITTED: Final = "committed"
BEGUN: Final = frozenset({"accepted", "installed"})
ENDED: Final = frozenset({COMMITTED, "refused", PASSED}) | FAILURES
ALL: Final = 0
"""The limit of a stage that is for everybody."""
MAX_WAVES: Final = 20
MAX_SHOWN_CAUSES: Final = 20
_PERCENT: Final = re.compile(r"(\d{1,3})(?:\.(\d))?%")
_COUNT: Final = re.compile(r"[1-9]\d{0,6}")


@dataclass(frozen=True, slots=True)
class Stage:
    """Canaries, or a wave: what was asked for, and how many machines may be in with it open."""

    words: str
    limit: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A rollout, as far as it decides. `open_stages` counts those that are open."""

    id: str
    stages: tuple[Stage, ...]
    has_canaries: bool
    soak_ms: int
    allowed: int
    forgiven: int
    state: str
    open_stages: int
    opened_at_ms: int

    @property
    def limit(self) -> int:
        """How many machines may be in now; 0: all."""
        return self.stages[self.open_stages - 1].limit

    @property
    def tolerated(self) -> int:
        """How many machines may have failed."""
        return self.allowed + self.forgiven


@dataclass(frozen=True, slots=True)
class In:
    """A machine that was let in, and what it said last."""

    device: str
    state: str
    ended_at_ms: int = 0
    cause: str = ""


@dataclass(frozen=True)
class Fleet:
    """The machines of a rollout's selector that do not run its release yet.

    `approved` are those to whom the owner allows it; `gone` are off the roster.
    """

    selected: frozenset[str]
    approved: frozenset[str]
    canaries: frozenset[str]
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Step:
    """What happens now: who is let in, whether the next stage opens, and the state after it."""

    let_in: tuple[str, ...]
    opens: bool
    state: str
    words: str


def make_stages(waves: Sequence[str], machines: int, canaries: int) -> tuple[Stage, ...]:
    """Return the stages of a rollout to so many machines; waves as `1%`, `0.5%`, `200`, `100%`.

    Raises `Malformed`. A wave is never smaller than one machine, nor than the one before it.
    """
    if not 0 < len(waves) <= MAX_WAVES:
        raise Malformed(f"Expected 1 to {MAX_WAVES} waves.", reason="bad_waves")
    stages = [Stage("canaries", canaries)] if canaries else []
    before, last = canaries, -1
    for words in waves:
        size, thousandths = _read_wave(words, machines)
        if thousandths >= 0 and thousandths <= last:
            raise Malformed(
                f"Expected each wave to be larger than the one before, as 1%,10%,100%; got "
                f"{words}.",
                reason="bad_waves",
            )
        last = thousandths if thousandths >= 0 else last
        if stages and stages[-1].limit == ALL:
            raise Malformed("Expected nothing after a wave for everybody.", reason="bad_waves")
        before = max(before, size) if size else before
        stages.append(Stage(words, before if size else ALL))
    return tuple(stages)


def _read_wave(words: str, machines: int) -> tuple[int, int]:
    """Return how many machines a wave is for, 0 for all, and its thousandths, -1 for a number."""
    if _COUNT.fullmatch(words):
        return int(words), -1
    found = _PERCENT.fullmatch(words)
    thousandths = int(found[1]) * 10 + int(found[2] or 0) if found else 0
    if not 0 < thousandths <= 1000:
        raise Malformed(
            f"Expected a wave as 10%, or a number of machines; got {words[:20]!r}.",
            reason="bad_waves",
        )
    if thousandths == 1000:
        return ALL, thousandths
    return max(machines * thousandths // 1000, 1), thousandths


def order_of(rollout: str, device: str) -> bytes:
    """Return by what machines are let in (rule 3)."""
    return hashlib.sha256(f"{rollout} {device}".encode("ascii")).digest()


def decide_step(plan: Plan, inside: Sequence[In], fleet: Fleet, now_ms: int) -> Step:
    """Return what happens now. Nothing does to a rollout that a person stopped."""
    if plan.state not in MOVING:
        return Step((), opens=False, state=plan.state, words="")
    # Rule 5.
    if count_failures(inside) > plan.tolerated:
        return Step((), opens=False, state=HELD, words=say_failures(inside))
    known = {each.device for each in inside}
    left = fleet.selected - known
    in_canaries = plan.has_canaries and plan.open_stages == 1
    if in_canaries:
        left &= fleet.canaries
    # Rules 2 and 3.
    room = len(left) if plan.limit == ALL else max(plan.limit - len(known), 0)
    candidates = sorted(left & fleet.approved, key=lambda device: order_of(plan.id, device))
    let_in = tuple(candidates[:room])
    if let_in:
        return Step(let_in, opens=False, state=RUNNING, words="")
    # Rule 4.
    full = room == 0 or not left
    busy = [each for each in inside if not _has_ended(each, fleet)]
    if busy or not full:
        return Step((), opens=False, state=RUNNING, words="")
    is_last = plan.open_stages == len(plan.stages)
    if is_last:
        state = DONE if inside else RUNNING
        return Step((), opens=False, state=state, words="")
    quiet_since = max([plan.opened_at_ms, *(each.ended_at_ms for each in inside)])
    opens = now_ms >= quiet_since + plan.soak_ms and bool(inside)
    return Step((), opens=opens, state=RUNNING, words="")


def say_waiting(plan: Plan, inside: Sequence[In], fleet: Fleet, now_ms: int) -> str:
    """Say to a person what the next stage waits for; empty where it waits for nothing."""
    if plan.state not in MOVING or plan.state == DONE:
        return ""
    known = {each.device for each in inside}
    left = fleet.selected - known
    if plan.has_canaries and plan.open_stages == 1:
        left &= fleet.canaries
    room = len(left) if plan.limit == ALL else max(plan.limit - len(known), 0)
    missing = left - fleet.approved
    if room and missing and not left & fleet.approved:
        return f"It waits for the owner to approve the release for {_count(len(missing))} more."
    busy = [each for each in inside if not _has_ended(each, fleet)]
    if busy:
        return f"It waits for {_count(len(busy))} to say how it ended there."
    if plan.open_stages == len(plan.stages) or not inside:
        return ""
    quiet_since = max([plan.opened_at_ms, *(each.ended_at_ms for each in inside)])
    left_ms = quiet_since + plan.soak_ms - now_ms
    return f"The next wave opens in {say_length(left_ms // 1000)}." if left_ms > 0 else ""


def promise_exposure(plan: Plan, inside: Sequence[In], machines: int) -> int:
    """Return how many machines can have the release before all of these have said how it went.

    That is the limit of the first stage which exceeds what is allowed when it fails wherever it is
    tried: at most so many get a release that is bad. `machines` are all that it selects.
    """
    good = sum(each.state in (COMMITTED, PASSED, "refused") for each in inside)
    for stage in plan.stages[max(plan.open_stages - 1, 0) :]:
        limit = machines if stage.limit == ALL else min(stage.limit, machines)
        limit = max(limit, len(inside))
        if limit - good > plan.tolerated:
            return limit
    return max(machines, len(inside))


def count_failures(inside: Iterable[In]) -> int:
    """Return how many machines say that it failed on them, each counted once."""
    return sum(each.state in FAILURES for each in inside)


def group_failures(inside: Iterable[In]) -> list[tuple[str, list[str]]]:
    """Return causes and the machines of each, the most frequent first."""
    found: dict[str, list[str]] = {}
    for each in inside:
        if each.state in FAILURES:
            found.setdefault(each.cause or each.state, []).append(each.device)
    ordered = sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    return ordered[:MAX_SHOWN_CAUSES]


def say_failures(inside: Sequence[In]) -> str:
    """Say to a person why a rollout is held."""
    causes = group_failures(inside)
    parts = [f"{len(devices)} by {cause}" for cause, devices in causes[:3]]
    return f"{_count(count_failures(inside))} failed: {', '.join(parts)}."


def lets_in(state: str, inside: str | None) -> bool:
    """Say whether a rollout tells a machine of its release (rule 7). None: it is not in."""
    if inside is None:
        return False
    if inside == COMMITTED:
        return True
    return state in MOVING or (state in (HELD, PAUSED) and inside in BEGUN)


def count_states(inside: Iterable[In]) -> Mapping[str, int]:
    """Return how many machines stand how."""
    return Counter(each.state for each in inside)


def _has_ended(each: In, fleet: Fleet) -> bool:
    return each.state in ENDED or each.device in fleet.gone


def _count(machines: int) -> str:
    return f"{machines} machine" if machines == 1 else f"{machines} machines"
