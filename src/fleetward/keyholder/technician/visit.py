"""One visit: a request, the owner's yes, the open session, its end. The state behind our page.

1. It waits for the owner's yes, as `connect` does, and says what it waits for.
2. It opens the session and keeps it open until somebody leaves, stops it, or its time is over.
3. It waits for the machine's receipt, which says who ended it.

Whatever goes wrong is said in words, and ends the visit. It runs on one event loop; what the page
is shown is made by `views` of what stands here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, TypeAlias

from fleetward.keyholder.access.asking import LOOK_SECONDS, Wait
from fleetward.keyholder.access.connecting import SessionLink, Welcome
from fleetward.keyholder.access.judging import Case
from fleetward.keyholder.console.stream import Changes
from fleetward.runtime.clock import Clock
from fleetward.trust.errors import FleetwardError, Refused, Unreachable

TOPIC: Final = "visit"
"""What pages are told when something of it has changed."""
LEFT_WORDS: Final = "You left."

Opener: TypeAlias = Callable[[Case], AbstractAsyncContextManager[SessionLink]]
FindReceipt: TypeAlias = Callable[[], Case | None]


@dataclass(frozen=True, slots=True)
class Doors:
    """What a visit needs from outside: looking, opening, and what the machine signs at the end."""

    wait: Wait
    opener: Opener
    find_receipt: FindReceipt


@dataclass(slots=True)
class Known:
    """What is known of a visit so far."""

    phase: str = "waiting"
    """`waiting`, `opening`, `open` or `over`."""
    case: Case | None = None
    unreachable: str = ""
    """Why the server does not answer, while it does not."""
    until_ms: int = 0
    """When its time is over, by the clock of this computer."""
    words: str = ""
    """Why it is over."""
    failed: bool = False
    """Whether it ended by something else than an end that was meant."""


class Visit:
    """Holds the session. Make it, `run` it once, and `leave` at any time."""

    def __init__(self, doors: Doors, changes: Changes, clock: Clock) -> None:
        self.known: Final = Known()
        self.changes: Final = changes
        self._doors = doors
        self._clock = clock
        self._link: SessionLink | None = None
        self._leaving = asyncio.Event()
        self._listeners: list[Callable[[SessionLink], Awaitable[None]]] = []

    @property
    def link(self) -> SessionLink | None:
        """The open session, or None."""
        return self._link

    def require_link(self) -> SessionLink:
        """Return the open session. Raises `Refused` when there is none."""
        if self._link is None:
            raise Refused("The session is not open.", reason="session_not_open")
        return self._link

    def on_open(self, listener: Callable[[SessionLink], Awaitable[None]]) -> None:
        """Have something called once, when the session is open."""
        self._listeners.append(listener)

    def leave(self) -> None:
        """Leave, or wait no longer. The request stands in the latter case."""
        self._leaving.set()

    async def run(self) -> None:
        """Run from here to the end. Raises nothing that is expected to happen."""
        try:
            case = await self._until_granted()
            if case is not None:
                await self._be_inside(case)
        except FleetwardError as e:
            self.known.failed = e.reason != "session_over"
            self.known.words = self.known.words or e.message
        finally:
            self._link = None
            self.known.words = self.known.words or LEFT_WORDS
            self._become("over")

    async def _until_granted(self) -> Case | None:
        # 1.
        while not self._leaving.is_set():
            before = (self.known.case, self.known.unreachable)
            try:
                case, granted = await asyncio.to_thread(self._doors.wait.look)
                self.known.case, self.known.unreachable = case, ""
                if granted:
                    return case
            except Unreachable as e:
                self.known.unreachable = e.message
            if (self.known.case, self.known.unreachable) != before:
                self._become("waiting")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._leaving.wait()
        self.known.words = "You no longer wait. The request stands until it is answered."
        return None

    async def _be_inside(self, case: Case) -> None:
        # 2.
        self._become("opening")
        entered = False
        try:
            async with self._doors.opener(case) as link:
                welcome = await self._open(link)
                if welcome is None:
                    return
                entered = True
                await self._enter(link, welcome)
                await self._until_over(link)
        finally:
            self._link = None
            if entered:
                await self._find_end()

    async def _open(self, link: SessionLink) -> Welcome | None:
        """Return the machine's first word, or None when somebody leaves before it comes."""
        opening = asyncio.create_task(link.open())
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait({opening, leaving}, return_when=asyncio.FIRST_COMPLETED)
            return opening.result() if opening.done() else None
        finally:
            for task in (opening, leaving):
                task.cancel()
            await asyncio.gather(opening, leaving, return_exceptions=True)

    async def _enter(self, link: SessionLink, welcome: Welcome) -> None:
        self._link = link
        self.known.until_ms = self._clock.wall_ms() + welcome.seconds_left * 1000
        for listener in self._listeners:
            await listener(link)
        self._become("open")

    async def _until_over(self, link: SessionLink) -> None:
        ending = asyncio.create_task(link.wait_over())
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait({ending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                self.known.words = ending.result() or "The session is over."
        finally:
            for task in (ending, leaving):
                task.cancel()
            await asyncio.gather(ending, leaving, return_exceptions=True)

    async def _find_end(self) -> None:
        # 3.
        case = await asyncio.to_thread(self._doors.find_receipt)
        if case is not None:
            self.known.case = case

    def _become(self, phase: str) -> None:
        self.known.phase = phase
        self.changes.tell(TOPIC)
