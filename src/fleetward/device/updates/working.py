"""Carrying an attempt through its phases: which word the installer is told next, and what follows.

`go_on` does one thing and returns; it is called again and again, by guard's loop. What each phase
may lead to stands in `trial`; what the installer does with a word, in `installer_words`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fleetward.device.gate_updates import UpdateGate
from fleetward.device.timekeeper import Timekeeper
from fleetward.device.updates import trial
from fleetward.device.updates.installer_words import (
    Back,
    Clear,
    Commit,
    Done,
    Patch,
    Restart,
    Surveyed,
    Switch,
    Test,
    Tested,
    Upward,
    Write,
    Written,
)
from fleetward.device.updates.link import Link
from fleetward.device.updates.memory import Attempt, KeptConflict, KeptPart, KeptRelease
from fleetward.device.updates.own_code import OwnCode
from fleetward.device.updates.plans import choose_blob, choose_delta, make_plan
from fleetward.device.updates.stage import Stage
from fleetward.device.updates.surroundings import free_bytes, read_battery, tell_local
from fleetward.runtime.clock import Clock
from fleetward.trust.errors import Refused, Unreachable
from fleetward.trust.release_manifest import Manifest, Part
from fleetward.trust.releases.meeting import Present, may_begin

BUSY_MS: Final = 100
WAIT_MS: Final = 5_000
SURVEY_EVERY_MS: Final = 30_000
"""While a machine is in use, or its disk is full, the installer is asked that often."""
FIRST_PAUSE_MS: Final = 500
MAX_PAUSE_MS: Final = 60_000
RESTART_MS: Final = 120_000
"""So long a machine may take to end, before it is asked once more."""
MOST_FAILURES: Final = 5
"""Times that an installer may end early before a release is given up, while it still can be."""
PASSING: Final = frozenset({"installer_busy", "restart_waits"})
"""Problems that are over soon by themselves."""
_ONE_WORD: Final[dict[str, type[Switch | Commit | Back | Clear]]] = {
    "switching": Switch,
    "committing": Commit,
    "going_back": Back,
    "clearing": Clear,
}


class Working:
    """Part of guard's single thread."""

    def __init__(
        self,
        link: Link,
        stage: Stage,
        gate: UpdateGate,
        clocks: tuple[Clock, Timekeeper, float],
        folder: Path,
    ) -> None:
        self._link = link
        self._stage = stage
        self._gate = gate
        self._clock, self._time, _ = clocks
        self._folder = folder
        self.own_code: OwnCode | None = None
        self._surveyed: Surveyed | None = None
        self._written: set[str] = set()
        self._seen_active = False
        """Whether this process saw all parts active, or switched to them itself."""
        self._said_part = ""
        self._next_ms = 0
        self._failures = 0
        self._tries = 0
        self._over = False
        self._by_hand = False
        """The machine's own file does not let the agent start it again."""
        self._remark = ""
        self.words = ""

    @property
    def busy(self) -> bool:
        """Whether an installer is to answer."""
        return self._link.busy

    def sockets(self) -> list[socket.socket]:
        """Return what to select on."""
        return self._link.sockets()

    def close(self) -> None:
        """End the installer and forget what it said."""
        self._link.close()
        self._surveyed, self._over, self._remark, self.words = None, False, "", ""
        self._by_hand = self._seen_active = False
        self._written.clear()
        self._failures = self._tries = self._next_ms = 0

    @property
    def over(self) -> bool:
        """Whether the last word of the attempt was done."""
        return self._over

    def delay_ms(self, attempt: Attempt) -> int:
        """In how many milliseconds to go on."""
        if self._link.busy:
            return BUSY_MS
        left = self._next_ms - self._clock.boottime_ms()
        if attempt.phase == "fetching" and attempt.surveyed:
            return max(20, min(200 if attempt.from_bundle else 1000, left))
        return max(20, min(WAIT_MS, left))

    def outcome(self, attempt: Attempt, manifest: Manifest) -> tuple[str, str]:
        """Return how it ended, and the words for it."""
        name = f"{manifest.product} {manifest.version}"
        if attempt.phase == "committing":
            return "committed", f"{name} is healthy, and stays. {self._remark}".strip()
        if attempt.phase == "going_back" and not self._remark:
            return "rolled_back", f"{name} was taken back. {attempt.words}"
        if attempt.phase == "going_back":
            return "failed", f"{name} could not be taken back: {self._remark}"
        outcome = "refused" if attempt.refused else "failed"
        return outcome, f"{name} was not installed. {attempt.words}"

    def describe_held(self, manifest: Manifest) -> KeptRelease:
        """Return what is held once a release was committed."""
        return KeptRelease(
            product=manifest.product,
            version=manifest.version,
            counter=manifest.counter,
            release=manifest.hash,
            conflicts=tuple(KeptConflict(c.product, c.first, c.last) for c in manifest.conflicts),
            parts=tuple(KeptPart(p.name, p.place, p.blob.sha256) for p in manifest.parts),
        )

    def go_on(self, attempt: Attempt, save: Callable[[], None]) -> None:
        """Do the next thing. Raises `Unreachable` when the disk says no; nothing is lost then."""
        now = self._clock.boottime_ms()
        try:
            if self._link.busy:
                word = self._link.hear()
                if word is None:
                    return
                # That one was started is no progress.
                self._failures = self._failures if isinstance(word, Surveyed) else 0
                self._take(attempt, word, now)
            if not self._link.busy and not self._over and now >= self._next_ms:
                save()  # Its phase is on the disk before its word is said.
                self._say_next(attempt, now)
        except Unreachable as e:
            if e.reason != "installer_ended":
                raise
            self._take_failure(attempt, e, now)

    # --- saying

    def _say_next(self, attempt: Attempt, now: int) -> None:
        phase = attempt.phase
        if phase == "fetching":
            self._fetch(attempt)
        elif phase == "waiting":
            self._wait(attempt, now)
        elif phase in ("restarting", "restarting_back"):
            self._await_restart(attempt, now)
        elif phase == "proving":
            self._await_agent(attempt, now)
        elif phase == "going_back" and self._makes_room(attempt):
            self._rest("makes room for the agent that was there before", now + trial.TEST_EVERY_MS)
        elif self._surveyed is None:
            self._begin(attempt)
        elif phase == "writing":
            self._write_next(attempt, now)
        elif phase == "switching" and not self._still_meets(attempt):
            return
        elif phase == "trying":
            self.words = "on trial"
            self._link.say(Test())
        else:
            self._link.say(_ONE_WORD[phase]())

    def _makes_room(self, attempt: Attempt) -> bool:
        """Whether this is still the agent that was taken back: the one before says how it ended."""
        own = self.own_code
        return own is not None and attempt.read().has_agent and own.gone_back

    def _begin(self, attempt: Attempt) -> None:
        self._link.begin(make_plan(attempt.read(), attempt))

    def _fetch(self, attempt: Attempt) -> None:
        own = self.own_code
        if own is not None and not own.launched and attempt.read().has_agent:
            words = "This machine starts the agent without its launcher: fleetward-agent install"
            trial.give_up(attempt, "no_launcher", words)
            return
        if not attempt.surveyed:
            self.words = "looks what is there"
            self._begin(attempt)
            return
        manifest = attempt.read()
        self.words = "is fetched"
        blobs = [choose_blob(part, attempt) for part in manifest.parts]
        if all(self._stage.is_whole(blob) for blob in blobs):
            attempt.phase = "waiting"
            return
        missing = sum(b.length_bytes - self._stage.count_bytes(b) for b in blobs)
        if free_bytes(self._folder) < missing:
            trial.give_up(
                attempt,
                "disk_full",
                f"{missing // 1_000_000 + 1} MB are needed on the disk of the agent's folder.",
            )

    def _wait(self, attempt: Attempt, now: int) -> None:
        if not self._may_begin(attempt, now):
            return
        if self._surveyed is None:
            self._begin(attempt)
        else:
            attempt.phase = "writing"

    def _still_meets(self, attempt: Attempt) -> bool:
        """Whether the opinions meet at the moment of the switch. The machine may have been off for
        a month since it was written, and a switch half made: then what was before comes back."""
        try:
            self._gate.judge_again(attempt.read(), attempt.maker)
        except Refused as e:
            trial.take_back(attempt, e.reason, e.message)
            return False
        return True

    def _await_restart(self, attempt: Attempt, now: int) -> None:
        """The machine starts again when it may: by the agent, or by whoever uses it. On the way to
        a release the owner's windows are kept; on the way back nothing but the interlock is."""
        if attempt.boot != self._time.boot:
            if attempt.phase == "restarting_back":
                attempt.phase = "going_back"
            else:
                # What came up is looked at first: nobody says that it is on trial unless it is.
                self._begin(attempt)
        elif attempt.phase == "restarting" and not self._is_open(attempt, now):
            return
        elif self._by_hand:
            self._rest("waits for the machine to start again", now + WAIT_MS)
        elif self._surveyed is None:
            self._begin(attempt)
        else:
            self._link.say(Restart())

    def _is_open(self, attempt: Attempt, now: int) -> bool:
        """Whether the owner's approval lets the machine start again now. One that holds no more
        takes the release back, before it ever ran."""
        try:
            meeting = self._gate.judge_again(attempt.read(), attempt.maker)
            wait = may_begin(meeting, self._look_around(needed=False))
        except Refused as e:
            trial.take_back(attempt, e.reason, e.message)
            return False
        if wait is None or wait.rule == "in_use":
            return True  # The installer asks the interlock itself, last of all.
        self._rest(f"waits to start the machine again: {wait.words}", now + WAIT_MS)
        return False

    def _rest(self, words: str, next_ms: int) -> None:
        """Have no installer until then."""
        self.words, self._next_ms = words, next_ms
        self._link.close()
        self._surveyed = None

    def _look_around(self, *, needed: bool) -> Present:
        """Return what the moment is like, with the room that is `needed` or without."""
        surveyed = self._surveyed
        return Present(
            now_ms=self._gate.now_ms,
            local=lambda zone: tell_local(self._gate.now_ms, zone),
            in_use=surveyed.in_use if surveyed else "",
            battery_percent=read_battery(),
            free_bytes=surveyed.free_bytes if surveyed else 0,
            needed_bytes=surveyed.needed_bytes if surveyed and needed else 0,
        )

    def _await_agent(self, attempt: Attempt, now: int) -> None:
        """The launcher tries the new agent, and may start this code and that in turns meanwhile."""
        manifest = attempt.read()
        judged = self.own_code.judge(_agent_part(manifest).blob.sha256) if self.own_code else None
        if judged is None or judged.kind == "kept":
            self._seen_active = judged is not None
            trial.begin_trial(attempt, manifest.health, self._time.powered_ms())
        elif judged.kind == "back":
            trial.go_back(attempt, judged.rule, judged.words)
        else:
            self.words = judged.words
            self._link.close()
            self._surveyed = None
            self._next_ms = now + trial.TEST_EVERY_MS

    def _may_begin(self, attempt: Attempt, now: int, *, written: bool = False) -> bool:
        """Whether the change may begin, or, once all is `written`, be made; it waits otherwise."""
        try:
            meeting = self._gate.judge_again(attempt.read(), attempt.maker)
            attempt.approval = meeting.approval.hash
            wait = may_begin(meeting, self._look_around(needed=not written))
        except Refused as e:
            trial.meet_no_more(attempt, e.reason, e.message)
            return False
        if wait is None:
            return True
        slow = wait.rule in ("in_use", "disk_full")
        self._wait_again(attempt, wait.words, now, SURVEY_EVERY_MS if slow else WAIT_MS)
        return False

    def _wait_again(
        self, attempt: Attempt, words: str, now: int, pause_ms: int = SURVEY_EVERY_MS
    ) -> None:
        """Nothing was changed: look once more after a pause."""
        attempt.phase = "waiting"
        self.words = words
        self._link.close()
        self._surveyed = None
        self._next_ms = now + pause_ms

    def _write_next(self, attempt: Attempt, now: int) -> None:
        self.words = "is written"
        for part in attempt.read().parts:
            if part.name not in self._written:
                self._say_write(attempt, part)
                return
        if self._may_begin(attempt, now, written=True):
            attempt.phase, attempt.boot = "switching", self._time.boot

    def _say_write(self, attempt: Attempt, part: Part) -> None:
        self._said_part = part.name
        delta = choose_delta(part, attempt)
        if delta is None:
            file = self._stage.path_of(part.blob)
            self._link.say(Write(part=part.name), file)
            return
        blob = delta.blob
        word = Patch(part.name, delta.source, blob.length_bytes, sha256=blob.sha256)
        self._link.say(word, self._stage.path_of(blob))

    # --- hearing

    def _take(self, attempt: Attempt, word: Upward, now: int) -> None:
        if isinstance(word, Surveyed):
            self._take_survey(attempt, word)
        elif isinstance(word, Written):
            self._take_written(attempt, word)
        elif isinstance(word, Tested):
            health = attempt.read().health
            trial.judge_tests(attempt, health, word.findings, self._time.powered_ms())
            self._next_ms = now + trial.TEST_EVERY_MS
        elif isinstance(word, Done):
            self._take_done(attempt, word, now)

    def _take_survey(self, attempt: Attempt, word: Surveyed) -> None:
        if word.problem:
            if word.rule not in PASSING and attempt.phase in ("fetching", "waiting", "writing"):
                trial.give_up(attempt, word.rule, word.problem)
                self._surveyed = None
                return
            raise Unreachable(word.problem, reason="installer_ended")
        self._surveyed = word
        self._written = {slot.part for slot in word.slots if slot.written}
        wanted = {part.name: part.blob.sha256 for part in attempt.read().parts}
        fell = any(s.active != wanted.get(s.part) for s in word.slots)
        self._seen_active = not fell
        started = attempt.phase == "restarting" and attempt.boot != self._time.boot
        if fell and (started or attempt.phase in ("trying", "committing")):
            trial.find_fall(attempt)
        elif started:
            trial.begin_trial(attempt, attempt.read().health, self._time.powered_ms())
        if not attempt.surveyed:
            attempt.before = {slot.part: slot.active for slot in word.slots}
            attempt.sources = [slot.part for slot in word.slots if slot.is_source]
            attempt.surveyed = True
            self._link.close()
            self._surveyed = None

    def _take_written(self, attempt: Attempt, word: Written) -> None:
        part = next(p for p in attempt.read().parts if p.name == self._said_part)
        if not word.problem:
            self._written.add(part.name)
            return
        delta = choose_delta(part, attempt)
        failed = delta.blob.sha256 if delta is not None else ""
        if trial.fetch_again(attempt, word.rule, word.problem, delta=failed):
            self._stage.look_again(part.blob)
            # What a delta took on the disk is for what comes instead.
            parts = attempt.read().parts
            self._stage.drop({choose_blob(each, attempt).sha256 for each in parts})
            self._link.close()
            self._surveyed = None
        else:
            trial.give_up(attempt, word.rule, word.problem)

    def _take_done(self, attempt: Attempt, word: Done, now: int) -> None:
        if attempt.phase in ("restarting", "restarting_back"):
            self._take_restart(word, now)
            return
        if not word.problem:
            self._remark = ""
            self._follow(attempt, word)
            return
        self._tries += 1
        if attempt.phase == "switching" and word.rule == "in_use":
            # Somebody began to use the machine between the last look and the switch.
            self._wait_again(attempt, word.problem, now)
        elif attempt.phase == "switching":
            trial.go_back(attempt, word.rule or "switch_failed", word.problem)
            self._tries = 0
        elif self._tries < MOST_FAILURES:
            self._next_ms = now + FIRST_PAUSE_MS * self._tries
        else:
            self._end_late(attempt, word.problem)

    def _end_late(self, attempt: Attempt, problem: str) -> None:
        """It runs and is healthy, and what could not be tidied up is a remark; unless it is the
        boot loader that could not be told: the next start would be of what was before. Nor is it
        one where nobody could look, since guard was started, whether it is active at all."""
        self._tries = 0
        if attempt.phase == "committing" and (attempt.restarts or not self._seen_active):
            trial.go_back(attempt, "not_kept", problem)
        elif attempt.phase == "going_back" and attempt.read().has_agent:
            self._take_agent_back(attempt, problem)
        else:
            self._remark, self._over = problem, True

    def _take_agent_back(self, attempt: Attempt, problem: str) -> None:
        """The installer comes out of the very code that is to go, and may be what is wrong with it:
        then guard tells the launcher itself."""
        part, own = _agent_part(attempt.read()), self.own_code
        if own is None or not own.take_back(part.blob.sha256, attempt.before.get(part.name, "")):
            self._remark = problem
        self._over = not self._makes_room(attempt)

    def _take_restart(self, word: Done, now: int) -> None:
        if not word.problem:
            self._rest("starts the machine again", now + RESTART_MS)
        elif word.rule == "restart_by_hand":
            self._by_hand = True
            self._rest("waits for the machine to start again", now + WAIT_MS)
        else:
            self._rest(f"waits to start the machine again: {word.problem}", now + SURVEY_EVERY_MS)

    def _follow(self, attempt: Attempt, word: Done) -> None:
        self._tries = 0
        manifest, boot = attempt.read(), self._time.boot
        if attempt.phase == "switching" and word.restart:
            trial.await_restart(attempt, boot)
        elif attempt.phase == "switching" and manifest.reboot and attempt.boot == boot:
            attempt.phase = "restarting"
        elif attempt.phase == "switching" and manifest.has_agent:
            attempt.phase = "proving"
        elif attempt.phase == "switching":
            self._seen_active = True
            trial.begin_trial(attempt, manifest.health, self._time.powered_ms())
        elif attempt.phase == "going_back" and word.restart:
            if not trial.await_restart_back(attempt, boot):
                self._remark, self._over = "the machine starts with it again and again", True
        else:
            self._over = attempt.phase != "going_back" or not self._makes_room(attempt)

    @staticmethod
    def _ends_late(attempt: Attempt) -> bool:
        """Whether an installer that never comes ends this phase. Parts of other kinds are gone back
        from when it comes, however late."""
        going_back = attempt.phase == "going_back" and attempt.read().has_agent
        return going_back or attempt.phase == "committing"

    def _take_failure(self, attempt: Attempt, error: Unreachable, now: int) -> None:
        self._link.close()
        self._surveyed = None
        self._failures += 1
        self._next_ms = now + min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2**self._failures)
        if attempt.phase in ("fetching", "waiting", "writing"):
            if self._failures >= MOST_FAILURES:
                trial.give_up(attempt, error.reason, error.message)
        elif attempt.phase == "clearing" and self._failures >= MOST_FAILURES:
            self._over = True  # Nothing was switched; what was written is overwritten next time.
        elif attempt.phase == "switching" and self._failures >= MOST_FAILURES:
            # Whatever is being switched to may be what ends it.
            trial.go_back(attempt, error.reason, error.message)
        elif self._ends_late(attempt) and self._failures >= MOST_FAILURES:
            self._end_late(attempt, error.message)
        elif attempt.phase == "restarting" and attempt.boot != self._time.boot:
            # Nobody could look at what came up: the trial is the time that it has for that.
            trial.begin_trial(attempt, attempt.read().health, self._time.powered_ms())
        elif attempt.phase == "trying":
            trial.give_up_trial(attempt, attempt.read().health, self._time.powered_ms())


def _agent_part(manifest: Manifest) -> Part:
    return next(part for part in manifest.parts if part.installer == "agent")
