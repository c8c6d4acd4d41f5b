"""The table of live sessions in guard: opens them, measures them, ends them, and says how.

Guard writes down that a session opens before anything starts, and measures its length on a clock
that nobody sets. It sees no byte of a session: it follows the recording from outside, signs its
head, and has the process killed with everything that came from it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fleetward.device.access.comparer import Comparer, Subject, folders_of
from fleetward.device.access.doors import Doors
from fleetward.device.access.kept import KeptSession, KeptSessions
from fleetward.device.access.machine import Machine
from fleetward.device.access.notes import Notes
from fleetward.device.access.plans import write_plans
from fleetward.device.access.receipts import Receipts
from fleetward.device.access.recordings import Recordings
from fleetward.device.access.tail import Tail
from fleetward.device.access.words import (
    End,
    Ending,
    OpenOrder,
    Probe,
    Probed,
    Pulse,
    Started,
    encode,
    make_pair,
    read_upward,
    receive,
)
from fleetward.device.audit.diary import Diary
from fleetward.device.timekeeper import Timekeeper
from fleetward.runtime.clock import Clock
from fleetward.trust.access_runbook import Plan
from fleetward.trust.canonical import JsonObject
from fleetward.trust.canonical import encode as encode_json
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable
from fleetward.trust.grants.ending import BEAT_SECONDS

if TYPE_CHECKING:
    from fleetward.trust.access import Scope
    from fleetward.trust.grants.ending import Beat
    from fleetward.trust.grants.grant import Grant


MOST_SESSIONS: Final = 8
"""At once. Each is two processes, and one subscription of the machine's connection."""
RECORDED_EVERY_MS: Final = 10_000
KILL_MS: Final = 800
"""After so long the process of a session is killed from outside."""
FREE_BYTES: Final = 128 * 1024 * 1024
"""What a disk must have left for a session to begin; one that runs ends a little later."""
PROBE_SECONDS: Final = 5.0


@dataclass(slots=True)
class Live:
    """One session that is open, or being ended."""

    grant: Grant
    kept: KeptSession
    tail: Tail
    sock: socket.socket | None
    channel: socket.socket | None
    """The end that uplink has not taken yet."""
    deadline_ms: int
    active_ms: int
    beat_ms: int
    serial: int = 0
    watchers: set[str] = field(default_factory=set)
    quickest: dict[str, int] = field(default_factory=dict)
    """For each watcher, how far his clock is behind ours by the quickest of his beats."""
    process: int = -1
    """A descriptor of the process that ends it (pidfd)."""
    ended: tuple[str, str, str] | None = None
    kill_at_ms: int = 0
    grew: bool = False
    noted_records: int = 0
    noted_at_ms: int = 0
    held: tuple[OpenOrder, list[int]] | None = None
    """The order and its descriptors, while the look before the session has not ended."""
    subject: Subject | None = None


class Sessions:
    """Part of guard's single thread. `doors` is None where no session can be opened."""

    def __init__(
        self,
        folder: Path,
        doors: Doors | None,
        machine: Machine,
        clocks: tuple[Clock, Timekeeper],
        diary: Diary,
        comparer: Comparer | None = None,
    ) -> None:
        self.kept = KeptSessions(folder)
        self.notes = Notes()
        self.recordings = Recordings(self.kept)
        self.doors = doors
        self.live: dict[str, Live] = {}
        self._machine = machine
        self._clock, self._time = clocks
        self._diary = diary
        self._comparer = comparer
        self.receipts = Receipts(
            (self.kept, self.recordings, self.notes), machine, diary, clocks[1], comparer
        )
        self._spare: socket.socket | None = None
        self._probing: socket.socket | None = None
        self._probed: Probed | None = None
        self._on_news: Callable[[], None] = lambda: None
        self.receipts.finish_old()

    def call_on_news(self, on_news: Callable[[], None]) -> None:
        """Have `on_news` called when there is something for the server."""
        self._on_news = on_news
        self.notes.call_on_news(on_news)

    # --- the sandbox

    def begin_probe(self) -> None:
        """Have the sandbox tried; the answer comes while guard does other things."""
        if self.doors is None or self._probing is not None or self._probed is not None:
            return
        with contextlib.suppress(Unreachable, OSError):
            self._probing = self.doors.start()
            self._probing.send(encode(Probe(self._machine.hidden)))

    @property
    def known_sandbox(self) -> Probed | None:
        """What keeps sessions apart here, or None while it is being tried; never waits."""
        return self._probed

    @property
    def sandbox(self) -> Probed:
        """What keeps sessions apart here; waits for the first answer."""
        if self._probed is None:
            self.begin_probe()
            self._take_probe(PROBE_SECONDS)
        if self._probed is None:
            self._probed = Probed("none", "The sandbox could not be tried.")
        return self._probed

    def _take_probe(self, seconds: float) -> None:
        sock = self._probing
        if sock is None:
            return
        sock.settimeout(seconds or 0.0)
        try:
            word = read_upward(receive(sock))
        except BlockingIOError:
            return
        except (OSError, Malformed):
            word = None
        sock.close()
        self._probing = None
        if isinstance(word, Probed):
            self._probed = word

    # --- opening

    def prepare(self, scopes: Sequence[Scope] = ()) -> None:
        """Somebody has asked: have a process ready that loads what a session needs, and a look."""
        if self._comparer is not None:
            self._comparer.expect(folders_of(scopes))
        if self.doors is not None and self._spare is None:
            with contextlib.suppress(Unreachable):
                self._spare = self.doors.start()

    def drop_spare(self) -> None:
        """Nobody asks any more."""
        if self._comparer is not None:
            self._comparer.expect_nobody()
        if self._spare is not None:
            self._spare.close()
        self._spare = None

    def open(self, grant: Grant, machine_private: bytes, plans: Mapping[int, Plan]) -> None:
        """Write down that this session opens, then open it. Raises `Refused`, `Unreachable`.

        The caller has verified the grant and forgotten its offer. `plans` are what its runbooks
        do, by the places of their scopes.
        """
        self.check_room()
        kept = self._make_kept(grant)
        self.kept.write(kept)
        self._diary.order("session.opened", _describe_opening(grant, kept))
        now = self._clock.boottime_ms()
        live = Live(
            grant=grant,
            kept=kept,
            tail=self.recordings.tail(kept),
            sock=None,
            channel=None,
            deadline_ms=now + grant.seconds * 1000,
            active_ms=now,
            beat_ms=now,
            noted_at_ms=now,
        )
        self.live[grant.hash] = live
        try:
            self._start(live, machine_private, plans)
        except (OSError, FleetwardError) as e:
            words = e.message if isinstance(e, FleetwardError) else f"It did not start: {e}."
            live.ended = ("failed", "", words)
            self._finish(live)
        self._on_news()

    def check_room(self) -> None:
        """Return when one more session could be opened. Raises `Refused`."""
        if self.doors is None:
            raise Refused("This machine opens no sessions.", reason="no_doors")
        if len(self.live) >= MOST_SESSIONS:
            raise Refused(
                f"{MOST_SESSIONS} sessions are open on this machine already.",
                reason="too_many_sessions",
            )
        disk = os.statvfs(self.kept.folder)
        if disk.f_bavail * disk.f_frsize < FREE_BYTES:
            raise Refused(
                "The disk of this machine is nearly full, and nothing happens unrecorded. Free "
                "some space on it.",
                reason="disk_full",
            )

    def _make_kept(self, grant: Grant) -> KeptSession:
        request = grant.request
        return KeptSession(
            session=grant.hash,
            request=request.hash,
            person=request.person,
            org=request.org,
            people=grant.people,
            scopes=tuple(scope.words() for scope in grant.scopes),
            seconds=grant.seconds,
            watched=grant.watched,
            words=grant.words,
            reason=request.reason,
            case=request.case,
            sandbox=self.sandbox.sandbox,
            opened_at_ms=self._time.wall_ms(),
            break_glass=grant.break_glass,
            boot=self._time.boot,
        )

    def _start(self, live: Live, machine_private: bytes, plans: Mapping[int, Plan]) -> None:
        assert self.doors is not None
        grant = live.grant
        order = OpenOrder(
            owner=self._machine.owner,
            device=self._machine.device,
            session=grant.hash,
            scopes=encode_json([scope.to_json() for scope in grant.scopes]).decode(),
            machine_private=machine_private,
            requester_key=grant.request.session_key,
            recording_key=grant.recording_key,
            started_at_ms=live.kept.opened_at_ms,
            seconds_left=grant.seconds,
            sandbox=live.kept.sandbox,
            hidden=self._machine.hidden,
        )
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        recording = os.open(live.tail.path, flags, 0o600)
        ours, theirs = make_pair()
        live.channel = ours
        passed = [theirs.detach(), recording]
        live.held = (order, passed)
        if plans:
            passed.append(write_plans(plans))
        if self._look_before(live):
            self._begin(live)

    def _look_before(self, live: Live) -> bool:
        """Keep how the machine was before; say whether the session may begin at once."""
        if self._comparer is None:
            return True
        folders = folders_of(live.grant.scopes)
        live.subject = Subject(live.kept.session, folders, live.kept.opened_at_ms)
        return self._comparer.open(live.subject, self.kept.before(live.kept))

    def _begin(self, live: Live) -> None:
        """Hand the order over. Before this, no byte of the requester can be read."""
        assert live.held is not None
        order, descriptors = live.held
        live.held = None
        try:
            live.sock = self._hand_over(order, descriptors)
            live.sock.setblocking(False)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _begin_when_looked(self, live: Live) -> None:
        assert self._comparer is not None
        if live.ended is not None or not self._comparer.may_begin(live.kept.session):
            return
        if live.subject is not None and live.subject.late:
            live.kept.before_late = True
            with contextlib.suppress(Unreachable):
                self.kept.write(live.kept)
        try:
            self._begin(live)
        except (OSError, FleetwardError) as e:
            words = e.message if isinstance(e, FleetwardError) else f"It did not start: {e}."
            live.ended = ("failed", "", words)
            self._finish(live)

    def _hand_over(self, order: OpenOrder, descriptors: list[int]) -> socket.socket:
        """Give the order to the process that waits for one, or to a new one."""
        assert self.doors is not None
        spare, self._spare = self._spare, None
        if spare is not None:
            try:
                socket.send_fds(spare, [encode(order)], descriptors)
                return spare
            except OSError:
                spare.close()  # It has ended meanwhile.
        sock = self.doors.start()
        try:
            socket.send_fds(sock, [encode(order)], descriptors)
        except OSError:
            sock.close()
            raise
        return sock

    def take_channel(self) -> tuple[str, int] | None:
        """Return the name of a session and the socket for uplink, which no other uplink gets."""
        for live in self.live.values():
            if live.channel is not None and live.ended is None:
                channel, live.channel = live.channel, None
                return live.kept.name, channel.detach()
        return None

    # --- what happens meanwhile

    def sockets(self) -> list[socket.socket]:
        """Return what to select on: `tick` reads from them."""
        probing = [self._probing] if self._probing else []
        return probing + [live.sock for live in self.live.values() if live.sock is not None]

    def tick(self) -> int:
        """Do what is due; return in how many milliseconds there is more."""
        self._take_probe(0.0)
        now = self._clock.boottime_ms()
        self.receipts.take_compared()
        for live in list(self.live.values()):
            if live.held is not None:
                self._begin_when_looked(live)
            self._hear(live, now)
            if live.grew:
                self._follow(live, now)
        due = [self._end_when_due(live, now) for live in list(self.live.values())]
        return min([*due, self._comparer.next_ms() if self._comparer else 60_000])

    def take_beat(self, live: Live, beat: Beat) -> None:
        """Somebody watches. A beat counts from when it was signed, as far as that can be told.

        Its serial is the watcher's clock: the quickest of his beats says how that clock stands to
        ours, and every other is as much older as it came later. So beats that were collected
        while somebody watched do not keep a session open when he has gone.
        """
        now = self._clock.boottime_ms()
        apart = now - beat.serial
        quickest = min(live.quickest.get(beat.person, apart), apart)
        live.quickest[beat.person] = quickest
        live.beat_ms = max(live.beat_ms, now - (apart - quickest))
        live.serial = beat.serial
        if beat.person not in live.watchers:
            live.watchers.add(beat.person)
            words = f"{beat.person} watches the session of {live.kept.person}."
            body: JsonObject = {
                "person": beat.person,
                "session": live.kept.session,
                "words": words,
            }
            self._diary.evidence("session.watched", body)

    def end(self, live: Live, by: str, who: str, words: str) -> None:
        """Have a session killed with all that it started. The first reason counts."""
        if live.ended is not None:
            return
        live.ended = (by, who, words)
        live.kill_at_ms = self._clock.boottime_ms() + KILL_MS
        if live.sock is None:
            live.kill_at_ms = self._clock.boottime_ms()
            return
        with contextlib.suppress(OSError):
            live.sock.send(encode(End(words)))

    def close(self) -> None:
        """The agent stops: end every session, and wait until nothing of them is left."""
        for live in self.live.values():
            self.end(live, "restarted", "", "The agent of this machine stopped.")
        give_up = self._clock.boottime_ms() + 2 * KILL_MS
        while self.live and self._clock.boottime_ms() < give_up:
            waiting = [s for live in self.live.values() if (s := live.sock) is not None]
            for sock in waiting[:1]:
                sock.settimeout(0.05)
                with contextlib.suppress(OSError):
                    sock.recv(1, socket.MSG_PEEK)
                sock.setblocking(False)
            self.tick()
        for live in list(self.live.values()):
            self._finish(live)
        if self._probing is not None:
            self._probing.close()
        self.drop_spare()

    def do_chores(self) -> None:
        """Remove what is old. Raises `Unreachable`."""
        self.recordings.remove_old(self._time.powered_ms())

    def take_receipt_stored(self, session: str) -> None:
        """The server has the receipt of a session. Raises `Unreachable`."""
        kept = self.kept.sessions.get(session)
        if kept is not None:
            kept.receipt_taken = True
            self.kept.write(kept)

    def _hear(self, live: Live, now: int) -> None:
        while live.sock is not None:
            try:
                data = receive(live.sock)
                word = read_upward(data) if data else None
            except BlockingIOError:
                return
            except (OSError, Malformed):
                word = None
            if word is None:
                self._finish(live)
                return
            self._take_word(live, word, now)

    def _take_word(self, live: Live, word: object, now: int) -> None:
        if isinstance(word, Started) and live.process < 0:
            with contextlib.suppress(OSError):
                live.process = os.pidfd_open(word.pid)
        elif isinstance(word, Pulse):
            live.grew = True
            live.active_ms = now if word.active else live.active_ms
            live.kept.bytes_in, live.kept.bytes_out = word.bytes_in, word.bytes_out
        elif isinstance(word, Ending):
            live.kept.bytes_in, live.kept.bytes_out = word.bytes_in, word.bytes_out
            by = "closed" if word.by == "closed" else "failed"
            if live.ended is None:
                live.ended = (by, live.kept.person if by == "closed" else "", word.words)
                live.kill_at_ms = now + KILL_MS

    def _follow(self, live: Live, now: int) -> None:
        live.grew = False
        with contextlib.suppress(OSError):
            if live.tail.follow():
                live.grew = True
                self._on_news()
        moved = live.tail.records != live.noted_records
        if moved and now - live.noted_at_ms >= RECORDED_EVERY_MS:
            self._note_recorded(live, now)

    def _note_recorded(self, live: Live, now: int) -> None:
        live.noted_records, live.noted_at_ms = live.tail.records, now
        body: JsonObject = {
            "head": live.tail.head.hex(),
            "records": live.tail.records,
            "session": live.kept.session,
            "words": f"The session of {live.kept.person} is recorded up to {live.tail.records}.",
        }
        self._diary.evidence("session.recorded", body)

    def _end_when_due(self, live: Live, now: int) -> int:
        """End a session whose time is up; return when to look again."""
        if live.ended is not None:
            if now >= live.kill_at_ms:
                self._kill(live)
                self._finish(live)
                return 0
            return live.kill_at_ms - now
        grant = live.grant
        bounds = [
            (live.deadline_ms, "length", "The time of the session is over."),
            (live.active_ms + grant.idle_seconds * 1000, "idle", "Nothing moved for too long."),
        ]
        if grant.watched:
            unwatched = "Nobody watches the session any more."
            bounds.append((live.beat_ms + BEAT_SECONDS * 1000, "unwatched", unwatched))
        at, by, words = min(bounds)
        if now >= at:
            self.end(live, by, "", words)
            return KILL_MS
        recorded = RECORDED_EVERY_MS if live.tail.records != live.noted_records else at - now
        return max(0, min(at - now, recorded, 10 if live.grew else at - now))

    # --- the end

    def _kill(self, live: Live) -> None:
        if live.process >= 0:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(live.process, signal.SIGKILL)

    def _finish(self, live: Live) -> None:
        """Nothing of it is left: seal the recording, write the end down, sign the receipt."""
        if live.sock is not None:
            live.sock.close()
            live.sock = None
        if live.channel is not None:
            live.channel.close()
        for descriptor in live.held[1] if live.held is not None else []:
            os.close(descriptor)
        live.held = None
        if live.process >= 0:
            os.close(live.process)
            live.process = -1
        by, who, words = live.ended or ("failed", "", "The process of the session was killed.")
        self.live.pop(live.kept.session, None)
        self.receipts.write_end(live.kept, by, who, words)
        subject = live.subject
        if subject is not None:
            live.kept.before_at_ms = subject.before_at_ms
            live.kept.before_late = subject.late
            subject.ended_at_ms = live.kept.ended_at_ms
        self.receipts.compare(live.kept, subject)
        self._on_news()


def _describe_opening(grant: Grant, kept: KeptSession) -> JsonObject:
    minutes = max(1, grant.seconds // 60)
    said = ", ".join(kept.people)
    ahead: JsonObject = {}
    if grant.ahead is not None:
        ahead = {"standing": grant.ahead.standing, "window": grant.ahead.window}
    return {
        **_mark(kept),
        **ahead,
        "offer": grant.offer.hash,
        "people": list(grant.people),
        "person": kept.person,
        "request": kept.request,
        "sandbox": kept.sandbox,
        "scopes": [scope.to_json() for scope in grant.scopes],
        "seconds": grant.seconds,
        "session": kept.session,
        "six_words": kept.words,
        "watched": grant.watched,
        "words": f"{_loud(kept)}{kept.person} may enter for {minutes} minutes: "
        f"{'; '.join(kept.scopes)}. Allowed {'ahead ' if ahead else ''}by {said}.",
    }


def _mark(kept: KeptSession) -> JsonObject:
    return {"break_glass": True} if kept.break_glass else {}


def _loud(kept: KeptSession) -> str:
    return "BREAK-GLASS: " if kept.break_glass else ""
