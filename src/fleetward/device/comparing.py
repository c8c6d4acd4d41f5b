"""Looking at the machine before and after sessions, and comparing the two.

A look is a short-lived child behind walls, waited for by a thread of its own; one runs at a time.
Guard never waits for one. The rules:

1. While somebody asks to enter, there is a look that is hardly older than `FRESH_MS`: taken when
   the request is offered, and again while the owner thinks about it.
2. A session whose look is fresh begins at once. Where it is not, its process is handed the order
   when the look has ended, and after `HOLD_MS` at the latest; then the comparison says so.
3. The look before a session is on the disk from then on: after a crash or a restart what changed
   is still compared.
4. The look after a session is taken when nothing of it is left. What was compared is kept as an
   inventory is, and named in the journal and in the receipt by its digest.

What a look returns is untrusted: it is unpacked strictly, within bounds, and in that thread.
"""

from __future__ import annotations

import contextlib
import queue
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

import msgspec

from fleetward.device.access.comparer import Compared, Subject
from fleetward.device.blobs import Blobs
from fleetward.device.posture.compare.making import Frame
from fleetward.device.timekeeper import Timekeeper
from fleetward.runtime.clock import Clock
from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.trust.errors import FleetwardError, Malformed
from fleetward.wire.comparison import decode_comparison

FRESH_MS: Final = 60_000
"""A look that is older does not open a session: in a minute others change much."""
AGAIN_MS: Final = 45_000
"""While an owner is asked, a new look is taken so often, which costs a hundredth of a processor."""
ASKED_MS: Final = 900_000
"""After so long nobody is expected to answer at any moment, and no more looks are taken ahead."""
HOLD_MS: Final = 2_000
"""A session waits for its look no longer than this."""
MARK_KEY_BYTES: Final = 32
MAX_KEPT_BYTES: Final = 9 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LookOrder:
    """What to look at. With a frame and an earlier look, the two are compared too."""

    folders: tuple[str, ...]
    frame: Frame | None = None
    before: bytes = b""


@dataclass(frozen=True, slots=True)
class Looked:
    """How a look ended: packed bytes and, where it was asked for, the document."""

    packed: bytes = b""
    document: bytes = b""
    problem: str = ""


class Looker(Protocol):
    """Something that looks. `start` returns at once; `poll` gives the result when it is there."""

    def start(self, order: LookOrder) -> None:
        """Begin to look."""

    def poll(self) -> Looked | None:
        """Return the result once, or None while there is none."""


class KeptLook(msgspec.Struct, forbid_unknown_fields=True):
    """A look before a session, as it lies on the disk."""

    at_ms: int
    folders: tuple[str, ...]
    packed: bytes


@dataclass(slots=True)
class _Fresh:
    """A look that may open a session."""

    look: KeptLook
    boottime_ms: int


@dataclass(frozen=True, slots=True)
class _Job:
    """One look that is to be taken, for a session that ended, or (None) for those to come."""

    order: LookOrder
    subject: Subject | None = None


@dataclass(slots=True)
class _Opening:
    """A session that opens: where its look goes, and how long it waits for it."""

    subject: Subject
    path: Path
    give_up_ms: int


@dataclass(slots=True)
class Comparing:
    """A `Comparer` of sessions over one looker. Part of guard's single thread."""

    looker: Looker
    blobs: Blobs
    clocks: tuple[Clock, Timekeeper]
    device: str
    _fresh: _Fresh | None = None
    _jobs: deque[_Job] = field(default_factory=deque)
    _running: _Job | None = None
    _started_ms: int = 0
    _ahead_ms: int = -AGAIN_MS
    _opening: dict[str, _Opening] = field(default_factory=dict)
    _claimed: list[tuple[Path, KeptLook]] = field(default_factory=list)
    _done: list[Compared] = field(default_factory=list)
    _asked_ms: int = -ASKED_MS
    _folders: tuple[str, ...] = ()

    # --- before

    def expect(self, folders: Sequence[str]) -> None:
        """Somebody asks to enter: have a look ready (rule 1)."""
        self._folders = tuple(sorted({*self._folders, *folders}))
        self._asked_ms = self._now()
        if not self._is_fresh(self._folders):
            self._look_ahead()

    def expect_nobody(self) -> None:
        """Nobody asks any more."""
        self._folders, self._asked_ms = (), -ASKED_MS

    def open(self, subject: Subject, path: Path) -> bool:
        """Keep a look for a session that opens; say whether it may begin at once (rule 2)."""
        if self._fresh is not None and self._is_fresh(subject.folders):
            self._claim(subject, path, self._fresh.look)
            return True
        self._folders = tuple(sorted({*self._folders, *subject.folders}))
        self._look_ahead()
        self._opening[subject.session] = _Opening(subject, path, self._now() + HOLD_MS)
        return False

    def may_begin(self, session: str) -> bool:
        """Say whether a session that had to wait may begin."""
        opening = self._opening.get(session)
        if opening is None:
            return True
        if self._now() < opening.give_up_ms:
            return False
        opening.subject.late = True
        return True

    # --- after

    def close(self, subject: Subject, path: Path) -> None:
        """A session has ended: compare, and have the outcome in `take` some time (rule 4)."""
        self._write_claimed()
        opening = self._opening.pop(subject.session, None)
        kept = self._read(path) if opening is None else None
        if kept is None:
            self._done.append(Compared(subject.session, why_not="no_before"))
            return
        frame = Frame(
            device=self.device,
            session=subject.session,
            before_at=kept.at_ms,
            opened_at=subject.opened_at_ms,
            ended_at=subject.ended_at_ms,
            after_at=self.clocks[1].wall_ms(),
            late=subject.late,
            restarted=subject.restarted,
        )
        self._jobs.append(_Job(LookOrder(kept.folders, frame, kept.packed), subject))
        self._start_next()

    def take(self) -> list[Compared]:
        """Return what was compared since the last time."""
        self._write_claimed()
        self._poll()
        done, self._done = self._done, []
        return done

    def next_ms(self) -> int:
        """Return in how many milliseconds there may be something to do."""
        if self._running is not None or self._opening or self._claimed:
            return 20
        return self._again_ms() if self._asked_ms > -ASKED_MS else 60_000

    # --- looks

    def _poll(self) -> None:
        if self._running is not None:
            looked = self.looker.poll()
            if looked is not None:
                job, self._running = self._running, None
                self._take_look(job, looked)
        elif self._again_ms() == 0 and not self._jobs:
            self._look_ahead()
        self._start_next()

    def _again_ms(self) -> int:
        """Return in how many milliseconds the next look ahead is due."""
        now = self._now()
        if now - self._asked_ms >= ASKED_MS:
            return 60_000
        # From when it began, also when it failed: what fails is not tried again and again.
        return max(0, self._ahead_ms + AGAIN_MS - now)

    def _look_ahead(self) -> None:
        waiting = [job for job in (self._running, *self._jobs) if job is not None]
        if not any(set(self._folders) <= set(job.order.folders) for job in waiting):
            self._jobs.appendleft(_Job(LookOrder(self._folders)))
            self._ahead_ms = self._now()
        self._start_next()

    def _start_next(self) -> None:
        if self._running is None and self._jobs:
            self._running = self._jobs.popleft()
            self._started_ms = self._now()
            self.looker.start(self._running.order)

    def _take_look(self, job: _Job, looked: Looked) -> None:
        if job.subject is not None:
            self._done.append(self._finish(job.subject, looked))
        if looked.packed:
            # It shows the machine as it was from when it began to look.
            at = self.clocks[1].wall_ms() - (self._now() - self._started_ms)
            look = KeptLook(at, job.order.folders, looked.packed)
            self._fresh = _Fresh(look, self._started_ms)
        self._serve_openings(failed=not looked.packed)

    def _serve_openings(self, *, failed: bool) -> None:
        for session, opening in list(self._opening.items()):
            if self._fresh is not None and self._is_fresh(opening.subject.folders):
                self._claim(opening.subject, opening.path, self._fresh.look)
                del self._opening[session]
            elif failed:
                del self._opening[session]  # It begins without; the receipt says so.

    def _finish(self, subject: Subject, looked: Looked) -> Compared:
        if not looked.document:
            why: Literal["failed", "no_after"] = "failed" if looked.packed else "no_after"
            return Compared(subject.session, why_not=why, problem=looked.problem)
        try:
            comparison = decode_comparison(looked.document)
            digest = self.blobs.keep_comparison(looked.document)
        except FleetwardError as e:
            return Compared(subject.session, why_not="failed", problem=e.message)
        return Compared(subject.session, digest, len(looked.document), comparison)

    # --- the disk

    def _is_fresh(self, folders: Sequence[str]) -> bool:
        fresh = self._fresh
        if fresh is None or self._now() - fresh.boottime_ms >= FRESH_MS:
            return False
        return set(folders) <= set(fresh.look.folders)

    def _claim(self, subject: Subject, path: Path, look: KeptLook) -> None:
        subject.before_at_ms = look.at_ms
        self._claimed.append((path, look))

    def _write_claimed(self) -> None:
        """Write looks down (rule 3) while their sessions start: a disk takes its time.

        A full one costs the comparison, and nothing else.
        """
        claimed, self._claimed = self._claimed, []
        for path, look in claimed:
            with contextlib.suppress(FleetwardError):
                atomic_write(path, msgspec.msgpack.encode(look))

    def _read(self, path: Path) -> KeptLook | None:
        try:
            return msgspec.msgpack.decode(read_bounded(path, MAX_KEPT_BYTES), type=KeptLook)
        except (FleetwardError, msgspec.MsgspecError, UnicodeError):
            return None

    def _now(self) -> int:
        return self.clocks[0].boottime_ms()


def load_mark_key(folder: Path) -> bytes:
    """Return the key for the marks of passwords; the first time, make one.

    Raises `Unreachable`. Without it two looks could not be compared over a restart.
    """
    path = folder / "marks.key"
    with contextlib.suppress(FleetwardError):
        key = read_bounded(path, MARK_KEY_BYTES)
        if len(key) == MARK_KEY_BYTES:
            return key
    key = secrets.token_bytes(MARK_KEY_BYTES)
    atomic_write(path, key)
    return key


class FixtureLooker:
    """Answers with looks that a caller made: for tests, and for machines that are simulated."""

    def __init__(self, look: Callable[[LookOrder], Looked]) -> None:
        self._look = look
        self._results: queue.SimpleQueue[Looked] = queue.SimpleQueue()

    def start(self, order: LookOrder) -> None:
        """Have the answer ready."""
        try:
            self._results.put(self._look(order))
        except Malformed as e:
            self._results.put(Looked(problem=e.message))

    def poll(self) -> Looked | None:
        """Return the answer once."""
        try:
            return self._results.get_nowait()
        except queue.Empty:
            return None
