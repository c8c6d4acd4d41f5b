"""Updates: guard's part. It asks, keeps, measures and reports; the gate judges, the installer does.

1. What an attempt is about, and its phase, are on the disk before anything of it is done. So after
   a crash between any two steps the next start goes on, and ends with the old or with the new.
2. The opinions must meet when the release is named, and again when the change begins.
3. The trial is measured in powered-on time. The server's silence is no illness, and its words are
   no health.
4. The counter is raised in the same write that ends an attempt as committed.
5. What came of it is owed until it stands in the journal.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fleetward.device.gate_updates import SILENT, Candidate, UpdateGate
from fleetward.device.timekeeper import Timekeeper
from fleetward.device.updates import trial
from fleetward.device.updates.bundled import Bundled
from fleetward.device.updates.link import Link
from fleetward.device.updates.memory import Attempt, Memory, MemoryFile, Owed
from fleetward.device.updates.own_code import OwnCode
from fleetward.device.updates.plans import choose_blob, pass_over
from fleetward.device.updates.reports import Reports, owe
from fleetward.device.updates.stage import Stage
from fleetward.device.updates.talk import Talk
from fleetward.device.updates.working import Working
from fleetward.runtime.clock import Clock
from fleetward.trust.errors import Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.release_manifest import Manifest
from fleetward.wire.updates import UpdateAnswer, UpdateQuestion

CALM_MS: Final = 60_000
RETRY_MS: Final = 60_000
MOST_ASKED: Final = 5
"""How often one question is asked of a server that does not answer, before there is a pause."""


class Updates:
    """Part of guard's single thread."""

    def __init__(
        self,
        folder: Path,
        gate: UpdateGate,
        remembered: tuple[Memory, MemoryFile],
        link: Link | None,
        reports: Reports,
        clocks: tuple[Clock, Timekeeper, float],
    ) -> None:
        self._gate = gate
        self.memory, self._file = remembered
        self.floors = self._file.floors
        self._reports = reports
        self._clock, time, spread = clocks
        self.stage = Stage(folder / "stage")
        self.talk = Talk(self._clock, spread)
        self._working = Working(link, self.stage, gate, clocks, folder) if link else None
        self.bundled = Bundled(folder)
        self._time = time
        self._asked: UpdateQuestion | None = None
        """What uplink was given to ask; its answer comes next, or none does."""
        self._times_asked = 0
        self._piece_pause_ms = self._piece_due_ms = 0
        self._owed_due_ms = 0
        self.looked_at_ms = 0
        """When a look last learnt something, by the wall clock."""
        self.last = ""
        """How the last attempt ended, in words."""
        self.connected = False
        """Whether the server is there."""
        self._on_news: Callable[[], None] = lambda: None
        if self.memory.attempt is not None:
            trial.note_start(self.memory.attempt)
            with contextlib.suppress(Unreachable):
                self._save()

    def call_on_news(self, on_news: Callable[[], None]) -> None:
        """Have `on_news` called when there is something to ask the server."""
        self._on_news = on_news

    def use_own_code(self, own_code: OwnCode | None) -> None:
        """Say what knows which code of the agent this is. What was kept and does not run any more
        is not held any more; its counter stays."""
        if self._working is not None:
            self._working.own_code = own_code
        lost = own_code.lost if own_code is not None else ""
        for product, kept in list(self.memory.held.items()):
            if lost and any(part.sha256 == lost for part in kept.parts):
                del self.memory.held[product]
                with contextlib.suppress(Unreachable):
                    self._save()

    @property
    def waiting_words(self) -> str:
        """What an attempt waits for, or does, in words; empty when there is none."""
        if self.memory.attempt is None or self._working is None:
            return ""
        return self._working.words

    @property
    def missing(self) -> str:
        """Why this machine takes no releases at all, in words; empty when it may."""
        if self._working is None:
            return "There is nothing on this machine that installs."
        return self._gate.missing

    def count_fetched(self) -> tuple[int, int]:
        """Return how many bytes of the attempt's parts are here, of how many."""
        attempt = self.memory.attempt
        if attempt is None:
            return 0, 0
        blobs = [choose_blob(part, attempt) for part in attempt.read().parts]
        return sum(map(self.stage.count_bytes, blobs)), sum(b.length_bytes for b in blobs)

    # --- what uplink carries

    def look_soon(self) -> None:
        """The server says that there may be something new."""
        self.talk.look_soon()

    def next_question(self) -> UpdateQuestion | None:
        """Return what to ask the server now, or None. Whoever calls this asks it."""
        question = self._find_question()
        self._times_asked = self._times_asked + 1 if question == self._asked else 1
        self._asked = question
        if question is not None and self._times_asked > MOST_ASKED:
            self.take_silence("The server does not answer.")
            return None
        return question

    def _find_question(self) -> UpdateQuestion | None:
        if self._working is None or self._gate.missing:
            return None
        if self.talk.drawn_out:
            self.talk.break_off("The look took too long.")
        if self.talk.running:
            return self.talk.asked
        attempt = self.memory.attempt
        if attempt is None or attempt.phase in ("fetching", "waiting"):
            if self.talk.due:
                self._begin_look()
                return self.talk.asked
            if attempt is not None and attempt.surveyed and not attempt.from_bundle:
                return self._next_piece(attempt)
        return None

    def take_answer(self, answer: UpdateAnswer) -> bool:
        """Take an answer; return whether to go on asking at once. Raises nothing.

        It is an answer to what was asked: guard may want to know something else by now.
        """
        asked, self._asked = self._asked, None
        if asked is None:
            return False
        if asked.what == "blob":
            return self._take_piece(asked, answer)
        if asked != self.talk.asked or self.talk.drawn_out:
            return True  # It is asked again, or something else is.
        return self._take_look(lambda: self.talk.answer(answer))

    def take_silence(self, words: str) -> None:
        """The server answered with a refusal, or with what is no answer."""
        asked, self._asked = self._asked, None
        if asked is not None and asked.what == "blob":
            self._slow_down()
        elif self.talk.running:
            self.talk.break_off(words)

    # --- what guard's loop calls

    def sockets(self) -> list[socket.socket]:
        """Return what to select on: `tick` reads from them."""
        return self._working.sockets() if self._working is not None else []

    def tick(self) -> int:
        """Do what is due; return in how many milliseconds there is more."""
        if self._working is None:
            return CALM_MS
        self._pay()
        if self.bundled.take_wish():
            self.talk.look_now()
        self._serve_bundle()
        attempt = self.memory.attempt
        if attempt is None:
            if self._find_question() is not None:
                self._on_news()
            return CALM_MS if not self.bundled.waits else 200
        phase, before = attempt.phase, _mark(attempt)
        with contextlib.suppress(Unreachable):
            self._working.go_on(attempt, self._save)
            if _mark(attempt) != before:
                self._save()
            if self._working.over:
                self._finish(attempt)
            elif attempt.phase != phase:
                self._tell_phase(attempt)
        if attempt.phase == "fetching" and self._find_question() is not None:
            self._on_news()
        return self._working.delay_ms(attempt) if self.memory.attempt else 20

    def close(self) -> None:
        """The agent stops; the next start goes on."""
        if self._working is not None:
            self._working.close()
        self.bundled.close()

    # --- looks

    def _begin_look(self) -> None:
        self._take_look(lambda: self.talk.begin(self._gate.look()))

    def _take_look(self, step: Callable[[], tuple[Candidate, ...] | None]) -> bool:
        try:
            found = step()
            # What was withdrawn holds from now on, whatever becomes of the look.
            self._save()
            if found is not None:
                self.looked_at_ms = self._time.wall_ms()
                self._choose(found, from_bundle=False)
        except (Malformed, Untrusted, Refused, Unreachable):
            # The gate has recorded it; the talk looks again later.
            with contextlib.suppress(Unreachable):
                self._save()
            return False
        return True

    def _choose(self, found: tuple[Candidate, ...], *, from_bundle: bool) -> None:
        """Begin what may be begun, and end what may be no more. Raises `Unreachable`."""
        attempt = self.memory.attempt
        is_named = attempt is not None and not attempt.from_bundle and not from_bundle
        ending = self._path_that_may_end(attempt) if attempt is not None and is_named else ""
        for candidate in found:
            if candidate.path != ending:
                self._say_refused(candidate)
            elif candidate.refusal is not None:
                # The end of the attempt says it, and nobody says it twice.
                self.memory.refused[candidate.path] = candidate.refusal.reason
        if attempt is not None:
            if is_named:
                self._check_named(attempt, found)
            return
        good = [each for each in found if each.meeting is not None]
        if good:
            self._begin(max(good, key=_counter), from_bundle=from_bundle)

    @staticmethod
    def _path_that_may_end(attempt: Attempt) -> str:
        """Return what an attempt is about while a look may still end it, and nothing after that."""
        return attempt.read().path if attempt.phase in ("fetching", "waiting") else ""

    def _check_named(self, attempt: Attempt, found: tuple[Candidate, ...]) -> None:
        """Give an attempt up that the director names no more, or the owner allows no more.

        The change may have begun while the server let the last answer of this look wait. Then the
        attempt comes to its own end, and the opinions are judged again before the switch.
        """
        if not self._path_that_may_end(attempt):
            return
        mine = attempt.read()
        for candidate in found:
            if candidate.path != mine.path:
                continue
            if candidate.meeting is not None and candidate.meeting.manifest.hash == mine.hash:
                return
            if candidate.refusal is not None:
                trial.meet_no_more(attempt, candidate.refusal.reason, candidate.refusal.message)
                self._save()
                return
            if candidate.manifest is None:
                return  # Nothing was heard of it this time.
        trial.meet_no_more(attempt, "named_no_more", "It is offered to this machine no more.")
        self._save()

    def _begin(self, candidate: Candidate, *, from_bundle: bool) -> None:
        meeting = candidate.meeting
        assert meeting is not None  # `_choose` looked
        manifest = meeting.manifest
        number = self.memory.numbers.get(manifest.hash, 0) + 1
        attempt = Attempt(
            manifest=candidate.data,
            approval=meeting.approval.hash,
            number=number,
            from_bundle=from_bundle,
            not_before_ms=meeting.not_before_ms,
            maker=candidate.maker,
            connected=self.connected or not from_bundle,
        )
        people = ", ".join(meeting.approval.people)
        words = f"{manifest.product} {manifest.version}, which {people} approved, is fetched."
        # In the journal before it takes effect.
        self._reports.say(owe(attempt, manifest, "accepted", "", words), self.memory)
        self.memory.numbers[manifest.hash] = number
        self.memory.refused.pop(manifest.path, None)
        self.memory.attempt = attempt
        self._piece_pause_ms = self._piece_due_ms = 0
        self._save()

    def _say_refused(self, candidate: Candidate) -> None:
        """Report a refusal of a release once, until it is refused by another rule."""
        refusal, manifest = candidate.refusal, candidate.manifest
        if refusal is None or refusal.reason in SILENT:
            return
        if self.memory.refused.get(candidate.path) == refusal.reason:
            return
        if not self._gate.has_room(f"{candidate.path}: {refusal.message}"):
            return
        self.memory.refused[candidate.path] = refusal.reason
        product, _, rest = candidate.path.partition("/")
        owed = Owed(
            outcome="refused",
            product=product[:48],
            version=rest.partition("/")[0][:64],
            counter=manifest.counter if manifest else 0,
            release=manifest.hash if manifest else "",
            approval="",
            number=0,
            rule=refusal.reason,
            words=refusal.message[:500],
        )
        self._reports.try_to_say(owed, self.memory)

    # --- pieces

    def _next_piece(self, attempt: Attempt) -> UpdateQuestion | None:
        if attempt.phase != "fetching" or self._clock.boottime_ms() < self._piece_due_ms:
            return None
        for part in attempt.read().parts:
            blob = choose_blob(part, attempt)
            try:
                piece = self.stage.question(blob)
            except Unreachable:
                self._slow_down()
                return None
            if piece is not None:
                return piece
        return None

    def _take_piece(self, asked: UpdateQuestion, answer: UpdateAnswer) -> bool:
        attempt = self.memory.attempt
        if attempt is None or not answer.found:
            if attempt is not None and pass_over(attempt, asked):
                return True
            self._slow_down()
            return False
        try:
            is_more = self._take_bytes(attempt, asked, answer)
        except (Malformed, Untrusted) as e:
            self._gate.note_lie(e)
            self._slow_down()
            return False
        except Unreachable:
            self._slow_down()
            return False
        # Bytes of the right length are no progress until they are what was signed.
        self._piece_pause_ms = 0 if is_more else self._piece_pause_ms
        return True

    def _take_bytes(self, attempt: Attempt, asked: UpdateQuestion, answer: UpdateAnswer) -> bool:
        """Stage a piece; return whether more is verified than before.

        Raises `Malformed`, `Untrusted`, `Unreachable`.
        """
        for part in attempt.read().parts:
            blob = choose_blob(part, attempt)
            if asked.name in (blob.sha256, blob.segments):
                return self.stage.take(blob, self._gate.read_piece(answer), asked)
        return False

    def _slow_down(self) -> None:
        self._piece_pause_ms = min(RETRY_MS * 60, max(1000, self._piece_pause_ms * 2))
        self._piece_due_ms = self._clock.boottime_ms() + self._piece_pause_ms

    # --- bundles

    def _serve_bundle(self) -> None:
        """Read a bundle that lies here, or go on copying parts out of it."""
        attempt = self.memory.attempt
        if attempt is None:
            if self.bundled.waits and self.talk.running:
                self.talk.break_off("A bundle came in between.")
            found = self.bundled.look(self._gate)
            with contextlib.suppress(Unreachable):
                self._save()
                self._choose(found or (), from_bundle=True)
            if found is None:
                return
            self.bundled.say_candidates(found, accepted=self.memory.attempt is not None)
        elif attempt.from_bundle:
            self._copy_pieces(attempt)
        elif self.bundled.waits and attempt.phase in ("fetching", "waiting"):
            # Who holds the server could otherwise keep away what a person has brought, by a
            # release whose parts he never hands over.
            trial.meet_no_more(attempt, "bundle_came", "A bundle was brought to this machine.")

    def _copy_pieces(self, attempt: Attempt) -> None:
        fetched, total = self.count_fetched()
        self.bundled.say_progress(attempt.phase, fetched * 100 // max(1, total))
        if attempt.phase != "fetching" or not attempt.surveyed:
            return
        for _ in range(8):
            asked = self._next_piece(attempt)
            if asked is None:
                return
            # What a bundle lacks may be a delta, which is done without.
            if not self._take_piece(asked, self.bundled.answer(asked)):
                # The stick is bad, and not the release: it may come again.
                trial.meet_no_more(attempt, "bundle_incomplete", "The bundle lacks a part.")
                self._save()
                return

    # --- the end of an attempt

    def _tell_phase(self, attempt: Attempt) -> None:
        manifest = attempt.read()
        if attempt.phase == ("proving" if manifest.has_agent else "trying"):
            words = f"{manifest.product} {manifest.version} is installed, and on trial."
            owed = owe(attempt, manifest, "installed", "", words)
            self._reports.try_to_say(owed, self.memory)

    def _finish(self, attempt: Attempt) -> None:
        """Have the end on the disk in one write: what is held, the counter, what is owed."""
        assert self._working is not None
        manifest = attempt.read()
        outcome, words = self._working.outcome(attempt, manifest)
        memory = self.memory
        if outcome == "committed":
            self._hold(attempt, manifest)
        elif not attempt.refused:
            memory.failed.setdefault(manifest.hash, []).append(attempt.approval)
        memory.attempt = None
        memory.owed = owe(attempt, manifest, outcome, attempt.rule, words)
        try:
            self._file.save(memory, is_commit=outcome == "committed")
        except Unreachable:
            # The end is found again after this: the phase on the disk leads to it.
            memory.attempt, memory.owed = attempt, None
            raise
        self._working.close()
        self.stage.drop()
        if attempt.from_bundle:
            self.bundled.end(outcome, attempt.rule, words)
        self.last = words
        self._pay()
        if not attempt.refused:
            # Whoever directs the machine could have it begin and give up without end.
            self.talk.look_now()

    def _hold(self, attempt: Attempt, manifest: Manifest) -> None:
        assert self._working is not None
        memory = self.memory
        memory.held[manifest.product] = self._working.describe_held(manifest)
        floor = memory.floors.get(manifest.product, 0)
        memory.floors[manifest.product] = max(floor, manifest.counter)
        attempt.rule = ""

    def _pay(self) -> None:
        owed, now = self.memory.owed, self._clock.boottime_ms()
        if owed is None or now < self._owed_due_ms:
            return
        self._owed_due_ms = now + 1000
        with contextlib.suppress(Unreachable):
            self._reports.say(owed, self.memory)
            self.memory.owed = None
            self._save()

    def _save(self) -> None:
        self._file.save(self.memory)


def _counter(candidate: Candidate) -> int:
    return candidate.manifest.counter if candidate.manifest is not None else 0


def _mark(attempt: Attempt) -> tuple[object, ...]:
    return (
        attempt.phase,
        attempt.surveyed,
        attempt.steady_powered_ms,
        attempt.fetched_again,
        len(attempt.passed),
        attempt.rule,
    )
