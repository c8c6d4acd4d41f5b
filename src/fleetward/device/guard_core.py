"""Guard without its socket: the journal, the gate, the outbox and the looks of one machine.

`GuardCore` is one thread's object. It opens no network and knows no bus: `handle` answers what
uplink asks, `tick` does what time makes due and says when to call it again. The process
`fleetward.device.guard` wraps it behind a socket; a simulator calls it in its own process.

    core = GuardCore(folder, Seat(clock, eyes, wall="uid"))
    delay_ms = core.tick()
    reply = core.handle(GetBatch(), b"")
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from fleetward.device.access.ahead import AheadList
from fleetward.device.access.closings import Closings, Speaker
from fleetward.device.access.doors import Closers, Doors
from fleetward.device.access.machine import Machine
from fleetward.device.access.sessions import Sessions
from fleetward.device.access.standing_kept import KeptStanding
from fleetward.device.audit.diary import Diary
from fleetward.device.audit.journal import Damage, open_journal
from fleetward.device.audit.segments import Chain
from fleetward.device.blobs import Blobs
from fleetward.device.comparing import Comparing, Looker
from fleetward.device.gate import Gate
from fleetward.device.gate_closing import CLOSING_TYPES, ClosingGate
from fleetward.device.gate_recovery import RecoveryGate
from fleetward.device.gate_runbooks import RunbookGate
from fleetward.device.gate_sessions import Here, SessionGate
from fleetward.device.gate_standing import STANDING_ORDERS, StandingGate
from fleetward.device.gate_updates import UpdateGate
from fleetward.device.identity.joined import GuardFiles
from fleetward.device.identity.keys import load_identity
from fleetward.device.looking import Eyes, Looking
from fleetward.device.outbox import INTACT, Outbox, Writer, kept_cut
from fleetward.device.port import GetKit, Reply, Request
from fleetward.device.presses import Presses
from fleetward.device.refusals import Refusals
from fleetward.device.report import report_status
from fleetward.device.schedule import Schedule
from fleetward.device.state import StateFile
from fleetward.device.status import Connection, Status, write_status
from fleetward.device.timekeeper import Timekeeper
from fleetward.device.updates.floors import Counter, Floors
from fleetward.device.updates.link import Link
from fleetward.device.updates.memory import MemoryFile
from fleetward.device.updates.own_code import OwnCode
from fleetward.device.updates.reports import Reports
from fleetward.device.updates.reports import Speaker as UpdateSpeaker
from fleetward.device.updates.shelf import Shelf
from fleetward.device.updates.updates import Updates
from fleetward.device.verbs import Verbs
from fleetward.device.version import AGENT_VERSION
from fleetward.runtime.clock import Clock
from fleetward.runtime.files import make_private_directory
from fleetward.trust.canonical import JsonObject, to_base64url
from fleetward.trust.documents import OwnerView
from fleetward.trust.errors import Unreachable
from fleetward.wire.orders import Documents

SAVE_EVERY_MS: Final = 5_000
STATUS_EVERY_MS: Final = 1_000
CHORES_EVERY_MS: Final = 60_000
LONGEST_SLEEP_MS: Final = 5_000

Wall = Literal["uid", "none", "simulated"]


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a guard sits: its clocks, its eyes, its boot, and how real its wall is."""

    clock: Clock
    eyes: Eyes
    boot: str
    wall: Wall
    root: bool = False
    once: bool = False
    spread: float = 0.5
    missing_walls: tuple[str, ...] = ()
    doors: Doors | None = None
    """What starts sessions; None where there is nothing that could be entered."""
    looker: Looker | None = None
    """What looks before and after sessions; without it receipts name no comparison."""
    closers: Closers | None = None
    """What closes ports; None where there are none."""
    installers: Callable[[Clock], Link] | None = None
    """What talks to installers of releases; None where nothing can be installed."""
    counter: Callable[[str], Counter] | None = None
    """What binds this device's counters against older releases to the machine; None where they are
    kept in a file alone."""
    own_code: OwnCode | None = None
    """What is known of the code that guard is; None where nothing could replace it."""


class GuardCore:
    """One machine's guard. Raises `Refused` when the machine has not joined anybody."""

    def __init__(self, folder: Path, seat: Seat) -> None:
        self.files = GuardFiles(make_private_directory(folder))
        self.joined = self.files.require_joined()
        self.seat = seat
        self._on_news: Callable[[], None] | None = None
        self.signer = load_identity(folder)
        self._state_file = StateFile(self.files.state)
        self.state, state_damaged = self._state_file.load()
        self.time = Timekeeper(seat.clock, self.state, seat.boot)
        chain = Chain(self.signer.public, self.joined.owner)
        self.journal, damage = open_journal(self.files.journal, chain, kept_cut(self.state))
        self.diary = Diary(self.journal, self.time, self.state)
        self.refusals = Refusals(self.diary, self.time, self.state)
        self.presses = Presses(self.time.powered_ms, self.diary)
        self.gate = Gate(
            self.files.read_view(self.joined), self.diary, self.refusals, self._persist_view
        )
        self.blobs = Blobs(self.files.blobs, self.state)
        here = self._make_here(folder)
        self.sessions, judge = self._open_sessions(folder, here)
        self.standing = self._open_standing(folder, here, judge)
        self.ahead = AheadList(self.standing.kept, self.standing.read_kept)
        self.closings = self._open_closings(folder, here, judge)
        self.updates = self._open_updates(folder, here)
        self.recovery = RecoveryGate(
            self.diary, (self.state, self.save), self.time, self._is_proven
        )
        self.gate.use_recovery(self.recovery)
        writer = Writer(self.signer, self.joined.owner, self.joined.device)
        self.outbox = Outbox(
            self.journal, self.diary, self.refusals, (self.state, self.save), writer, self.time
        )
        schedule = Schedule(seat.spread, next_full_ms=seat.clock.boottime_ms())
        self.looking = Looking(
            seat.eyes, seat.clock, schedule, self.diary, self.blobs, (self.state, self.time)
        )
        self.verbs = Verbs(self)
        self.panel_words = "no panel"
        """Who may speak to this machine's panel."""
        self.connection = Connection("never", 0)
        self.server_says = ""
        self.server_reason = ""
        """Why the server took nothing, as it says; empty once it does."""
        self._next_save_ms = self._next_status_ms = self._next_chores_ms = 0
        self._batches_seen = 0
        self._was_asked = False
        """Whether the uplink of this connection asked for its kit, and is of guard's code."""
        self._looked_at = self.state.inventory_powered_ms
        self._begin(damage, state_damaged=state_damaged)

    # --- what the process around it calls

    def call_on_news(self, on_news: Callable[[], None]) -> None:
        """Have `on_news` called when uplink should ask again; it must not call back."""
        self._on_news = on_news
        self.sessions.call_on_news(on_news)
        self.closings.call_on_news(on_news)
        self.updates.call_on_news(on_news)

    def handle(self, request: Request, body: bytes) -> Reply:
        """Answer one request of uplink. Raises the families of `trust.errors`."""
        if not isinstance(request, GetKit):
            return self.verbs.handle(request, body)
        self._check_uplink(request)
        reply = self.verbs.handle(request, body)
        self._was_asked = True
        return reply

    def tick(self) -> int:
        """Do what is due; return in how many milliseconds to call again."""
        now = self.seat.clock.boottime_ms()
        self._watch_clock()
        self.looking.tick()
        if self._looked_at != self.state.inventory_powered_ms:
            self._looked_at = self.state.inventory_powered_ms
            self.closings.check_soon()
        with contextlib.suppress(Unreachable):
            self.outbox.cut_when_due()
        if now >= self._next_chores_ms:
            self._next_chores_ms = now + CHORES_EVERY_MS
            self._do_chores()
        if now >= self._next_save_ms:
            self._next_save_ms = now + SAVE_EVERY_MS
            with contextlib.suppress(Unreachable):
                self.save()
        if now >= self._next_status_ms:
            self._next_status_ms = now + STATUS_EVERY_MS
            self.write_status()
        self.gate.tick()
        self.say_healthy()
        doing = self.updates.waiting_words
        sessions_ms = min(self.sessions.tick(), self.updates.tick())
        if self.updates.waiting_words != doing:
            self._next_status_ms = 0
        closings_ms = self.closings.tick()
        self._wake_when_new()
        if self.sessions.live:
            return max(1, min(100, sessions_ms))
        if self.journal.uncut_count or self.looking.busy:
            return max(1, min(100, sessions_ms))
        looking_ms = self.looking.next_ms() - now
        return max(20, min(LONGEST_SLEEP_MS, looking_ms, sessions_ms, closings_ms))

    @property
    def healthy(self) -> bool:
        """Whether guard and uplink stand: it has its documents, its journal and its key, or it
        would not be here, and uplink has everything that it needs, or it would not have asked."""
        return self._was_asked

    def lose_uplink(self) -> None:
        """Uplink is gone: what the next one says counts once that has asked for its kit."""
        self._was_asked = False
        self.set_connection("disconnected", "Uplink has ended; it is started again.")

    def say_healthy(self) -> None:
        """Have the starts of this code forgotten, once uplink asked. Never called for a loop that
        ended by an error: what crashes at each start has to fall."""
        if self._was_asked and self.seat.own_code is not None:
            self.seat.own_code.say_healthy()

    @property
    def connected(self) -> bool:
        """Whether a greeting went to the server and back, as this uplink says."""
        return self._was_asked and self.connection.state == "connected"

    @property
    def makes_room(self) -> bool:
        """Whether guard is to end, so that other code of the agent is started."""
        own, attempt = self.seat.own_code, self.updates.memory.attempt
        if own is None or self.updates.memory.owed is not None:
            return False
        if attempt is not None and attempt.phase == "going_back":
            return own.gone_back  # The agent that was there before says how it ended.
        return own.makes_room and (attempt is None or attempt.phase == "proving")

    def close(self) -> None:
        """End every session, write that the agent stops, and close the journal."""
        self.sessions.close()
        self.closings.close()
        self.updates.close()
        with contextlib.suppress(Unreachable):
            self.diary.order("agent.stopped", {"words": "The agent stopped."})
        with contextlib.suppress(Unreachable):
            self.outbox.cut()
        with contextlib.suppress(Unreachable):
            self.time.observe()
            self.save()
        self.write_status()
        with contextlib.suppress(Unreachable):
            self.journal.close()

    # --- what the verbs and the report use

    @property
    def view(self) -> OwnerView:
        """What the machine believes."""
        return self.gate.view

    @property
    def settled(self) -> bool:
        """Whether everything was looked at, sent, handed over and proven."""
        return (
            self.looking.done_full
            and self.journal.uncut_count == 0
            and self.outbox.unproven == 0
            and self.blobs.wanted == 0
        )

    @property
    def lease_seconds_left(self) -> int:
        """How long the owner's documents may still be relied on, in powered-on seconds."""
        lease = self.view.lease
        if lease is None:
            return 0
        used_ms = self.time.powered_ms() - self.state.lease_started_powered_ms
        return max(0, lease.seconds - used_ms // 1000)

    @property
    def renew_due(self) -> bool:
        """Whether half of the certificate's life is over, in powered-on time, or there is none."""
        kept = self.state.certificate
        if kept is None:
            return True
        return self.time.powered_ms() - kept.received_powered_ms >= kept.lifetime_ms // 2

    def save(self) -> None:
        """Persist the state. Raises `Unreachable`."""
        self._state_file.save(self.state)

    def set_connection(self, state: str, words: str = "") -> None:
        """Note how the connection stands."""
        if (state, words) != (self.connection.state, self.connection.words):
            self.connection = Connection(state, self.time.wall_ms(), words[:500])
        self.updates.connected = state == "connected"
        if state != "connected":
            self.outbox.end_session()
            self.updates.take_silence("The connection to the server ended.")
        self._next_status_ms = 0

    def write_status(self) -> None:
        """Write what `status` shows; a full disk does not stop guard."""
        with contextlib.suppress(OSError):
            write_status(self.files.status, self.report())

    def report(self) -> Status:
        """Return what `status` shows."""
        return report_status(self)

    # --- the rest

    def _begin(self, damage: Damage | None, *, state_damaged: bool) -> None:
        self._watch_clock()
        if self.view.lease and self.view.lease.hash != self.state.lease:
            self._start_lease(self.view)
        if damage is not None:
            self._note_damage(damage)
        self._check_key()
        words = "The agent started."
        if state_damaged:
            words += " What it remembered between starts was damaged, and is built anew."
        if self.seat.own_code is not None and self.seat.own_code.lost:
            words += f" It is not the one that was kept. {self.seat.own_code.state.words}"
        with contextlib.suppress(Unreachable):
            self.diary.order(
                "agent.started",
                {
                    "release": self.seat.own_code.release if self.seat.own_code else "",
                    "version": AGENT_VERSION,
                    "wall": self.seat.wall,
                    "words": words,
                },
            )
        self.sessions.begin_probe()

    def _check_uplink(self, kit: GetKit) -> None:
        """Return when uplink is of the same code as guard: on trial, one would be judged for what
        the other does. Raises `Unreachable`, at which uplink ends and the right one is started."""
        own = self.seat.own_code
        if own is not None and kit.release != own.release:
            raise Unreachable("This uplink is of another agent than guard.", reason="guard_gone")

    def _check_key(self) -> None:
        """Return when the identity key signs. Raises `Untrusted` when what it makes is none."""
        said = f"fleetward.start:{self.seat.boot}".encode()
        self.signer.public.verify(self.signer.sign(said), said)

    def _note_damage(self, damage: Damage) -> None:
        words = f"The end of the journal was damaged; {damage.cut_bytes} bytes were cut off."
        if damage.lost_last:
            words += f" Entries {damage.lost_first} to {damage.lost_last} are lost on this machine."
        body: JsonObject = {
            "cut_bytes": damage.cut_bytes,
            "lost_first": damage.lost_first,
            "lost_last": damage.lost_last,
            "words": words,
        }
        with contextlib.suppress(Unreachable):
            self.diary.order("journal.truncated", body)

    def _watch_clock(self) -> None:
        jump = self.time.observe()
        if jump is None:
            return
        direction = "forward" if jump.after_ms > jump.before_ms else "back"
        seconds = abs(jump.after_ms - jump.before_ms) // 1000
        self.diary.evidence(
            "clock.jumped",
            {
                "after": jump.after_ms,
                "before": jump.before_ms,
                "words": f"The clock was set {direction} by {seconds} seconds.",
            },
        )

    def _do_chores(self) -> None:
        self.refusals.close_hours()
        self.diary.regain_room()
        with contextlib.suppress(OSError):
            self.outbox.drop_old()
        with contextlib.suppress(OSError, Unreachable):
            self.sessions.do_chores()

    def _open_sessions(self, folder: Path, here: Here) -> tuple[Sessions, SessionGate]:
        machine = Machine(
            owner=self.joined.owner,
            device=self.joined.device,
            signer=self.signer,
            hidden=(str(folder.resolve().parent),),
        )
        clocks = (self.seat.clock, self.time)
        looker = self.seat.looker
        comparing = Comparing(looker, self.blobs, clocks, machine.device) if looker else None
        sessions = Sessions(
            folder / "access", self.seat.doors, machine, clocks, self.diary, comparing
        )
        judge = SessionGate(here, sessions, self.diary, self.refusals, self.time)
        self.gate.use_sessions(judge)
        return sessions, judge

    def _open_standing(self, folder: Path, here: Here, judge: SessionGate) -> StandingGate:
        books = (self.diary, self.refusals, self.time)
        kept = KeptStanding(folder / "standing")
        standing = StandingGate(here, judge, self.sessions, kept, books)
        self.gate.take_orders(STANDING_ORDERS, standing.admit, standing.take_new_policy)
        return standing

    def _open_closings(self, folder: Path, here: Here, judge: SessionGate) -> Closings:
        speaker = Speaker(self.joined.owner, self.joined.device, self.signer)
        clocks, view = (self.seat.clock, self.time), self.view
        signed = (view.policy.epoch, view.signed_at_ms)
        closings = Closings(folder, self.seat.closers, speaker, clocks, self.diary, signed)
        gate = ClosingGate(here, closings, self.diary, self.refusals, judge.deny)
        self.gate.use_orders(CLOSING_TYPES, gate.admit)
        return closings

    def _open_updates(self, folder: Path, here: Here) -> Updates:
        place = make_private_directory(folder / "updates")
        counter = self.seat.counter(self.joined.device) if self.seat.counter is not None else None
        floors = Floors(place, counter, lambda: max(self.time.wall_ms(), self.view.signed_at_ms))
        file = MemoryFile(place, floors)
        memory, lost = file.load()
        if lost:
            self.diary.evidence("update.memory_damaged", {"words": lost})
        if floors.doubt is not None:
            self.diary.evidence("update.counters_in_doubt", {"words": floors.words})
        both = (self.time.wall_ms, self.time.powered_ms)
        known = (Shelf(place / "metadata"), memory, floors)
        gate = UpdateGate(here, known, self.refusals, both)
        simulated = self.seat.wall == "simulated"
        speaker = UpdateSpeaker(self.joined.owner, self.joined.device, self.signer, simulated)
        clock = self.seat.clock
        link = self.seat.installers(clock) if self.seat.installers is not None else None
        updates = Updates(
            place,
            gate,
            (memory, file),
            link,
            Reports(speaker, self.diary, self.time, lambda: floors.keeping),
            (clock, self.time, self.seat.spread),
        )
        updates.use_own_code(self.seat.own_code)
        updates.bundled.call_on_documents(lambda data: self._take_documents(to_base64url(data)))
        return updates

    def _take_documents(self, bundle: str) -> None:
        self.gate.admit_documents(Documents(bundle=bundle))

    def _make_here(self, folder: Path) -> Here:
        return Here(
            view=lambda: self.gate.view,
            lease_seconds_left=lambda: self.lease_seconds_left,
            device=self.joined.device,
            signer=self.signer,
            boot=self.seat.boot,
            wall=self.seat.wall,
            runbooks=RunbookGate(
                folder / "runbooks", lambda: self.gate.view, self.diary, self.refusals
            ),
            presses=self.presses,
        )

    def _is_proven(self, sequence: int) -> bool:
        """Say whether an entry is proven to stand in the owner's record, and that is in order."""
        return self.state.record == INTACT and self.outbox.is_proven(sequence)

    def _persist_view(self, view: OwnerView) -> None:
        self.files.write_view(view)
        if view.lease and view.lease.hash != self.state.lease:
            self._start_lease(view)
            self.save()

    def _start_lease(self, view: OwnerView) -> None:
        if view.lease is not None:
            self.state.lease = view.lease.hash
            self.state.lease_started_powered_ms = self.time.powered_ms()

    def _wake_when_new(self) -> None:
        newest = self.journal.batches[-1].last if self.journal.batches else 0
        if newest != self._batches_seen:
            self._batches_seen = newest
            if self._on_news is not None:
                self._on_news()
