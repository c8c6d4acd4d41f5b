"""How an attempt goes on: what is done next, and what follows from how it ended. Pure.

    fetching ─▶ waiting ─▶ writing ─▶ switching (─▶ restarting) ─▶ trying ─▶ committing ─▶ over
        │           │          │           │ (─▶ proving) │               │
        └───────────┴──────────┴─▶ clearing └─────────────┴───────────────┴─▶ going_back ─▶ over
                                      └─▶ over (failed, or refused)            │ ▲    (rolled_back)
                                                                       restarting_back

1. Until `switching` nothing of the machine's software has changed: what was written is dropped.
2. From `switching` on there are two ends: committed, or what was before.
3. The trial: all checks hold within `within_seconds` of powered-on time, and go on holding for
   `steady_seconds`. One that fails after that ends it at once.
4. An agent that was started more often than `MOST_STARTS` during a switch or a trial goes back:
   the release may be what keeps ending it.
5. The counter is raised with the end `committed`, and with no other.
6. Where the machine has to start again, nothing is committed but by the new one, and nothing is
   taken back until the old one runs. It starts again only when nobody needs it.
7. A new agent proves itself to the launcher first, which may start the old one in between
   (`launcher.decide`). What that decides is followed. One that is taken back later says nothing of
   its end: the agent that was there before does, and takes it back where its installer cannot.

The caller persists an attempt before it does what its phase says.
"""

from __future__ import annotations

from typing import Final

from fleetward.device.updates.installer_words import FindingWord
from fleetward.device.updates.memory import Attempt, KeptFinding
from fleetward.trust.release_manifest import Health

MOST_STARTS: Final = 3
MOST_RESTARTS: Final = 3
"""How often a machine is to start again until what was before runs."""
MOST_FETCHED_AGAIN: Final = 3
"""How often a part that turned out not to be what was signed is fetched again."""
TEST_EVERY_MS: Final = 1000
WEAK: Final = frozenset({"wrong_hash", "wrong_length"})
"""Rules of an installer that say that what was staged is not what was signed."""
OF_THE_PART: Final = frozenset(
    {
        *("bad_archive", "bad_archive_name", "bad_archive_member", "archive_too_big"),
        *(
            "trailing_bytes",
            "bad_package",
            "not_an_agent",
            "agent_not_marked",
            "no_way_back",
            "hook_not_allowed",
            "slot_too_small",
        ),
    }
)
"""Rules that say something of the part itself, however it came: it need not come otherwise."""


def begin_trial(attempt: Attempt, health: Health, powered_ms: int) -> None:
    """The switch was made: the trial begins."""
    attempt.phase = "trying"
    attempt.until_powered_ms = powered_ms + health.within_seconds * 1000
    attempt.steady_powered_ms = -1
    attempt.starts = 0


def note_start(attempt: Attempt) -> None:
    """The agent was started while an attempt was under way (rule 4)."""
    if attempt.phase not in ("switching", "trying"):
        return
    attempt.starts += 1
    if attempt.starts > MOST_STARTS:
        go_back(
            attempt,
            "starts_again_and_again",
            f"The agent was started {attempt.starts} times during the switch or the trial.",
        )


def await_restart(attempt: Attempt, boot: str) -> None:
    """What was switched to runs with the next start of the machine (rule 6)."""
    attempt.phase, attempt.boot, attempt.restarts = "restarting", boot, True


def await_restart_back(attempt: Attempt, boot: str) -> bool:
    """What is gone back to runs with the next start (rule 6); return whether that is waited for."""
    attempt.restarted_back += 1
    if attempt.restarted_back > MOST_RESTARTS:
        return False
    attempt.phase, attempt.boot = "restarting_back", boot
    return True


def find_fall(attempt: Attempt) -> None:
    """The machine came up with what was there before: its boot loader went back by itself."""
    words = "The machine came up with what was there before."
    if attempt.restarts:
        words = (
            "The machine came up with what was there before: what was to be tried did not start, "
            "or was ended before it was found healthy."
        )
    go_back(attempt, "fell_back", words)


def judge_tests(
    attempt: Attempt, health: Health, findings: tuple[FindingWord, ...], powered_ms: int
) -> None:
    """Move on by what the health checks said (rule 3)."""
    attempt.findings = tuple(KeptFinding(f.check, f.good, f.words) for f in findings)
    bad = [f for f in findings if not f.good]
    if not bad:
        if attempt.steady_powered_ms < 0:
            attempt.steady_powered_ms = powered_ms
        if powered_ms - attempt.steady_powered_ms >= health.steady_seconds * 1000:
            attempt.phase = "committing"
    elif attempt.steady_powered_ms >= 0:
        go_back(attempt, "unhealthy", f"It was healthy, and then not: {_say(bad)}")
    elif powered_ms >= attempt.until_powered_ms:
        go_back(attempt, "unhealthy", f"Not healthy within {health.within_seconds} s: {_say(bad)}")


def give_up_trial(attempt: Attempt, health: Health, powered_ms: int) -> None:
    """Nobody could ask the checks: that is no health either."""
    if powered_ms >= attempt.until_powered_ms:
        words = f"Nothing could be asked for {health.within_seconds} s."
        go_back(attempt, "not_tested", words)


def go_back(attempt: Attempt, rule: str, words: str) -> None:
    """It is not good: what was before is made active again."""
    attempt.phase, attempt.rule, attempt.words = "going_back", rule, words


def take_back(attempt: Attempt, rule: str, words: str) -> None:
    """The three opinions meet no more, and a switch may have been begun: nothing failed."""
    go_back(attempt, rule, words)
    attempt.refused = True


def give_up(attempt: Attempt, rule: str, words: str) -> None:
    """Nothing was switched: what was written is dropped (rule 1)."""
    attempt.phase, attempt.rule, attempt.words = "clearing", rule, words


def meet_no_more(attempt: Attempt, rule: str, words: str) -> None:
    """The three opinions meet no more: nothing failed, and nothing is installed."""
    give_up(attempt, rule, words)
    attempt.refused = True


def fetch_again(attempt: Attempt, rule: str, words: str, *, delta: str = "") -> bool:
    """A part could not be made of what was staged; return whether more is fetched.

    A delta that fails is replaced by another one or by the whole part: it is named here by its
    SHA-256.
    """
    again = rule in WEAK or (delta and rule not in OF_THE_PART)
    if not again or attempt.fetched_again >= MOST_FETCHED_AGAIN:
        return False
    if delta:
        attempt.passed.append(delta)
    attempt.fetched_again += 1
    attempt.phase, attempt.rule, attempt.words = "fetching", rule, words
    return True


def _say(bad: list[FindingWord]) -> str:
    return "; ".join(f.words for f in bad[:4])[:500]
