"""What is closed on this machine: guard's part. It keeps, measures and reports; the closer does.

1. What holds is on the disk before anything is closed, and what will have to be put back too. So a
   crash between any two steps leaves what was, or what is to be, and the next start goes on.
2. A trial is measured in powered-on time: a reboot neither ends nor prolongs it.
3. When it is over, and nobody has kept it, the machine goes back by itself, whoever withholds what.
4. At a start what is closed is closed again before uplink is answered.
5. The filter is looked at again and again; one that somebody took away is a finding, and is put
   back.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from fleetward.device.access.closing_words import (
    MAX_WORD_BYTES,
    PROGRAMS_PATH,
    UNITS,
    Access,
    Check,
    Checked,
    Done,
    Shut,
    Survey,
    Surveyed,
    encode,
    read_upward,
)
from fleetward.device.access.closings_kept import Memory, MemoryFile, Owed
from fleetward.device.access.doors import Closers
from fleetward.device.access.keep_open import KeepOpen, read_keep_open
from fleetward.device.audit.diary import Diary
from fleetward.device.timekeeper import Timekeeper
from fleetward.runtime.clock import Clock
from fleetward.trust.canonical import to_base64url
from fleetward.trust.closing import (
    MAX_CUT,
    ClosedPort,
    ClosingReport,
    make_report_payload,
    say_closed,
)
from fleetward.trust.closing_standing import (
    Held,
    Standing,
    note_carried_out,
    restore,
)
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable
from fleetward.trust.keys import Signer

CHECK_EVERY_MS: Final = 600_000
RETRY_MS: Final = 60_000
LONGEST_MS: Final = 120_000
"""A closer that has not answered by then is given up."""
START_SECONDS: Final = 15.0
"""How long a start waits for what is closed to be closed again, before uplink is answered."""
CANNOT: Final = "cannot_close"
AGAIN: Final = "again"
"""What is owed after a filter was put back: that it is applied, and no judgement of the order."""


def find_missing(*, root: bool) -> str:
    """Return what this machine lacks for closing anything, in words; empty when nothing is."""
    if not root:
        return "Closing ports takes root: install the agent with `sudo fleetward-agent install`."
    if not any(Path(folder, "nft").exists() for folder in PROGRAMS_PATH.split(":")):
        return "Closing ports takes nft: install the package nftables."
    return ""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Whose machine says so."""

    owner: str
    device: str
    signer: Signer


@dataclass(slots=True)
class _Run:
    """One closer at work."""

    sock: socket.socket
    waits_for: type
    give_up_ms: int
    wanted: Held | None
    shut: Shut | None = None


class Closings:
    """Part of guard's single thread. `closers` is None where nothing can be closed.

    `signed` is the epoch in force and the newest time that the owner has signed: below these
    nothing is taken when what was remembered is damaged, whatever the wall clock says.
    """

    def __init__(
        self,
        folder: Path,
        closers: Closers | None,
        speaker: Speaker,
        clocks: tuple[Clock, Timekeeper],
        diary: Diary,
        signed: tuple[int, int],
    ) -> None:
        self.closers = closers
        self.problem = ""
        self._file = MemoryFile(folder / "closing.json")
        self._speaker = speaker
        self._clock, self._time = clocks
        self._diary = diary
        lost = Standing(epoch=signed[0], serial=max(signed[1], self._time.wall_ms()))
        self._memory, self.damaged = self._file.load(lost)
        self._run: _Run | None = None
        self._mark = ""
        self._due_ms: int | None = None
        self._say_again_ms = 0
        self._check_ms = self._clock.boottime_ms() + CHECK_EVERY_MS
        self._on_refused: Callable[[str, str, str], None] = lambda *_: None
        self._on_news: Callable[[], None] = lambda: None
        self._begin()

    def call_on_refused(self, on_refused: Callable[[str, str, str], None]) -> None:
        """Have `on_refused` called with a closing, a rule and words when it cannot be done."""
        self._on_refused = on_refused

    def call_on_news(self, on_news: Callable[[], None]) -> None:
        """Have `on_news` called when there is something for the server."""
        self._on_news = on_news

    @property
    def standing(self) -> Standing:
        """What holds here."""
        return self._memory.standing

    @property
    def now_ms(self) -> int:
        """The time by this machine's wall clock."""
        return self._time.wall_ms()

    @property
    def seconds_left(self) -> int:
        """How long what is on trial holds without a confirmation; 0 when nothing is on trial."""
        if self.standing.trial is None:
            return 0
        return max(0, self._memory.until_powered_ms - self._time.powered_ms()) // 1000

    # --- what the gate calls, after it has judged and written down

    def take(self, after: Standing, closing: str) -> None:
        """Have a new standing persisted and carried out. Raises `Unreachable`."""
        wanted, memory = after.wanted, self._memory
        seconds = wanted.restore_seconds if wanted else 0
        new = Memory(
            standing=after,
            until_powered_ms=self._time.powered_ms() + seconds * 1000,
            units=memory.units,
            found=memory.found,
            owed=Owed("applied", closing, after.serial),
        )
        # What cannot be kept changes nothing: above all, no trial that runs becomes longer by it.
        self._file.save(new)
        self._memory = new
        self._abandon()
        self._due_ms = self._clock.boottime_ms()

    def take_kept(self, after: Standing) -> None:
        """Have a confirmation persisted, and say so. Raises `Unreachable`."""
        if after == self.standing:
            return
        self._change(after)
        held = after.kept
        if held is not None:
            words = f"Stays closed: {say_closed(held.ports, held.local_access)}."
            self._report("kept", held.closing, held.serial, words)

    def say_again(self) -> None:
        """Say how the closing that holds stands, for a server that has not heard of it.

        Not more often than every ten minutes, and not before it was carried out.
        """
        held, now = self.standing.wanted, self._clock.boottime_ms()
        if held is None or self._memory.owed is not None or now < self._say_again_ms:
            return
        self._say_again_ms = now + CHECK_EVERY_MS
        trial = self.standing.trial is not None
        outcome = "applied" if trial or not (held.ports or held.local_access) else "kept"
        words = f"Closed now: {say_closed(held.ports, held.local_access)}."
        with contextlib.suppress(Unreachable):
            self._report(outcome, held.closing, held.serial, words)

    def say_refused(self, closing: str, serial: int, rule: str, words: str) -> None:
        """Write down that a closing was refused. It does not raise."""
        with contextlib.suppress(Unreachable):
            self._report("refused", closing, serial, words, rule=rule)

    # --- what guard's loop calls

    def sockets(self) -> list[socket.socket]:
        """Return what to select on: `tick` reads from them."""
        return [self._run.sock] if self._run is not None else []

    def check_soon(self) -> None:
        """Look at the filter with the next tick."""
        self._check_ms = self._clock.boottime_ms()

    def tick(self) -> int:
        """Do what is due; return in how many milliseconds there is more."""
        now = self._clock.boottime_ms()
        self._restore_when_due()
        self._hear(now)
        if self._run is None and self._due_ms is not None and now >= self._due_ms:
            self._due_ms = None
            self._start(now)
        elif self._run is None and now >= self._check_ms:
            self._check_ms = now + CHECK_EVERY_MS
            self._start_check(now)
        if self._run is not None:
            return 100
        return 1000 if self._due_ms is not None or self.standing.trial is not None else 60_000

    def close(self) -> None:
        """The agent stops. What is closed stays closed."""
        self._abandon()

    # --- inside

    def _begin(self) -> None:
        """Close again what was closed, before anything else happens."""
        memory = self._memory
        if self.standing.trial is not None:
            # What the clock says after a damaged file must not prolong a trial.
            most = self._time.powered_ms() + self.standing.trial.restore_seconds * 1000
            memory.until_powered_ms = min(memory.until_powered_ms, most)
        if self.closers is None or (self.standing.wanted is None and memory.owed is None):
            return
        self._due_ms = self._clock.boottime_ms()
        give_up = self._due_ms + int(START_SECONDS * 1000)
        self.tick()
        while self._run is not None and self._clock.boottime_ms() < give_up:
            self._run.sock.settimeout(0.1)
            with contextlib.suppress(OSError):
                self._run.sock.recv(1, socket.MSG_PEEK)
            self._run.sock.setblocking(False)
            self.tick()

    def _restore_when_due(self) -> None:
        trial = self.standing.trial
        if trial is None or self._time.powered_ms() < self._memory.until_powered_ms:
            return
        self._memory.owed = Owed("restored", trial.closing, trial.serial)
        # A disk that is full keeps nothing closed: what was confirmed comes back all the same.
        with contextlib.suppress(Unreachable):
            self._change(restore(self.standing))
        self._memory.standing = restore(self.standing)
        self._abandon()
        self._due_ms = self._clock.boottime_ms()

    def _start(self, now: int) -> None:
        """Have what is wanted carried out: first ask what there is."""
        wanted = self.standing.wanted
        ways = cast("tuple[Access, ...]", wanted.local_access if wanted else ())
        self._speak(Survey(ways), Surveyed, now, wanted)

    def _start_check(self, now: int) -> None:
        wanted = self.standing.wanted
        if wanted is not None and self._mark and self.closers is not None:
            self._speak(Check(), Checked, now, wanted)

    def _speak(self, word: Survey | Check, answer: type, now: int, wanted: Held | None) -> None:
        if self.closers is None:
            return
        try:
            sock = self.closers.start_closer()
            sock.setblocking(False)
            sock.send(encode(word))
        except (FleetwardError, OSError) as e:
            words = e.message if isinstance(e, FleetwardError) else f"It did not start: {e}."
            self._fail(words, now)
            return
        self._run = _Run(sock, answer, now + LONGEST_MS, wanted)

    def _hear(self, now: int) -> None:
        run = self._run
        if run is None:
            return
        try:
            data = run.sock.recv(MAX_WORD_BYTES)
            word = read_upward(data) if data else None
        except BlockingIOError:
            if now >= run.give_up_ms:
                self._abandon()
                self._fail("The process that closes ports did not answer.", now)
            return
        except (OSError, Malformed):
            word = None
        if not isinstance(word, run.waits_for):
            self._abandon()
            self._fail("The process that closes ports ended early.", now)
        elif isinstance(word, Surveyed):
            self._take_survey(run, word, now)
        elif isinstance(word, Done):
            self._abandon()
            self._take_done(run, word, now)
        elif isinstance(word, Checked):
            self._abandon()
            self._take_check(word, now)

    def _take_survey(self, run: _Run, word: Surveyed, now: int) -> None:
        if word.problem:
            self._abandon()
            self._fail(word.problem, now)
            return
        memory, held = self._memory, run.wanted
        ways = cast("tuple[Access, ...]", held.local_access if held else ())
        off = [u for way in ways for u in UNITS[way]]
        keep = self._read_kept_open()
        kept_tcp = {p.port for p in keep.ports if p.protocol == "tcp"}
        stop = tuple(u for u in word.units if u in off)
        start = tuple(u for u in memory.units if u not in off)
        # What will have to be put back is on the disk before it is taken away.
        memory.units = tuple(dict.fromkeys([*(u for u in memory.units if u in off), *stop]))
        found = {*word.tcp, *memory.found} if ways else set[int]()
        memory.found = tuple(sorted(found - kept_tcp))
        try:
            self._change(self.standing)
        except Unreachable as e:
            self._abandon()
            self._fail(e.message, now)
            return
        ports = [p for p in (held.ports if held else ()) if p not in keep.ports]
        run.shut = Shut(
            tcp=tuple(sorted({*(p.port for p in ports if p.protocol == "tcp"), *memory.found})),
            udp=tuple(p.port for p in ports if p.protocol == "udp"),
            stop=stop,
            start=start,
            local_access=ways,
        )
        run.waits_for = Done
        try:
            run.sock.send(encode(run.shut))
        except OSError:
            self._abandon()
            self._fail("The process that closes ports ended early.", now)

    def _take_done(self, run: _Run, word: Done, now: int) -> None:
        if word.problem:
            self._fail(word.problem, now)
            return
        self._mark = word.mark
        self.problem = word.remark
        owed = self._memory.owed
        if owed is not None:
            outcome = "applied" if owed.outcome == AGAIN else owed.outcome
            with contextlib.suppress(Unreachable):
                self._report(
                    outcome, owed.closing, owed.serial, self._describe(owed, run, word), done=word
                )
        # A crash before this says it twice, and none says it never.
        self._memory.owed = None
        try:
            self._change(note_carried_out(self.standing))
        except Unreachable as e:
            self._fail(e.message, now)

    def _take_check(self, word: Checked, now: int) -> None:
        held = self.standing.wanted
        if word.mark == self._mark or held is None:
            return
        self._mark = ""
        words = (
            "Something on this machine took away or changed what keeps its ports closed: "
            f"{say_closed(held.ports, held.local_access)} was open again. It is closed once more."
        )
        with contextlib.suppress(Unreachable):
            self._report("undone", held.closing, held.serial, words)
        self._memory.owed = Owed(AGAIN, held.closing, held.serial)
        self._due_ms = now

    def _fail(self, words: str, now: int) -> None:
        """It could not be carried out: a new closing is refused, anything else tried again."""
        owed, trial = self._memory.owed, self.standing.trial
        new = owed is not None and owed.outcome == "applied" and not self.standing.carried_out
        if new and owed is not None and (trial is None or trial.closing == owed.closing):
            self._memory.owed = None
            with contextlib.suppress(Unreachable):
                self._change(restore(self.standing))
            self._memory.standing = restore(self.standing)
            shown = f"This machine cannot close anything: {words}"
            self.say_refused(owed.closing, owed.serial, CANNOT, shown)
            self._on_refused(owed.closing, CANNOT, shown)
        elif words != self.problem:
            held = self.standing.wanted
            what = say_closed(held.ports, held.local_access) if held else "what was closed before"
            said = f"{what} could not be set as its owner wants: {words} It is tried again."
            self._diary.evidence("closing.failed", {"words": said[:500]})
        self.problem = words
        if self.standing.wanted is not None or self._memory.owed is not None:
            self._due_ms = now + RETRY_MS

    def _describe(self, owed: Owed, run: _Run, done: Done) -> str:
        held, said = run.wanted, []
        if owed.outcome == "restored":
            said.append("Nobody confirmed the closing in time, so this machine went back.")
        said.append(
            f"Closed now: {say_closed(held.ports, held.local_access) if held else 'nothing'}."
        )
        if done.cut_count:
            said.append(f"{done.cut_count} open connections were cut.")
        for way in done.still_runs:
            name = "SSH" if way == "ssh" else "Telnet"
            said.append(f"{name} is closed by a filter; the program still runs.")
        if done.remark:
            said.append(done.remark)
        if self.standing.trial is not None:
            said.append(f"It opens again in {self.seconds_left} s unless the owner keeps it.")
        return " ".join(said)

    def _read_kept_open(self) -> KeepOpen:
        """What the maker keeps open now; he may have changed his mind since the order."""
        try:
            return read_keep_open()
        except Refused as e:
            self.problem = e.message
            return KeepOpen({})

    def _report(
        self,
        outcome: str,
        closing: str,
        serial: int,
        words: str,
        *,
        rule: str = "",
        done: Done | None = None,
    ) -> None:
        """Write down, signed, how a closing stands. Raises `Unreachable`."""
        held = self.standing.wanted
        ports: tuple[ClosedPort, ...] = held.ports if held else ()
        report = ClosingReport(
            device=self._speaker.device,
            owner=self._speaker.owner,
            closing=closing,
            serial=serial,
            outcome=outcome,
            rule=rule,
            closed=ports,
            local_access=held.local_access if held else (),
            still_runs=tuple(sorted(done.still_runs)) if done else (),
            listening=done.listening if done else (),
            cut=done.cut[:MAX_CUT] if done else (),
            seconds_left=self.seconds_left,
            words=words[:500],
            at_ms=self._time.wall_ms(),
        )
        raw = seal(make_report_payload(report), [self._speaker.signer])
        body = {
            "closing": closing,
            "outcome": outcome,
            "report": to_base64url(raw),
            "words": report.words,
        }
        self._diary.order(f"closing.{outcome}", body)
        self._on_news()

    def _change(self, after: Standing) -> None:
        """Persist a standing, then believe it. Raises `Unreachable`."""
        memory = self._memory
        self._file.save(
            Memory(after, memory.until_powered_ms, memory.units, memory.found, memory.owed)
        )
        memory.standing = after

    def _abandon(self) -> None:
        if self._run is not None:
            self._run.sock.close()
        self._run = None
