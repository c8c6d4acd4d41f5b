"""Running a drill: push one attack, wait for the machine's signed answer, push the next."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Protocol

from fleetward.runtime.clock import Clock
from fleetward.runtime.database import Database
from fleetward.server.deeds import Deed, DeedRecorder
from fleetward.server.drill.attack import Attack, HeldDocuments
from fleetward.server.drill.attacks import make_attacks
from fleetward.server.drill.release_attacks import LOOK, Loot, make_release_attacks
from fleetward.server.drill.session_attacks import Papers
from fleetward.server.drill.store import (
    REFUSED,
    Heard,
    newest_sequence,
    select_heard,
    select_papers,
    select_release_answers,
)
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.keys import Signer

STEP_SECONDS: Final = 20.0
LOOK_GAP_SECONDS: Final = 15.0
"""So much longer it takes a machine to answer what it has to ask for: two looks are ten seconds
apart."""
LOOK_SECONDS: Final = 0.2
KEPT_DRILLS: Final = 50
_log: Final = logging.getLogger(__name__)

Outcome = Literal["waiting", "refused", "accepted", "unanswered", "skipped"]


class Pusher(Protocol):
    """The way to a machine."""

    async def push(self, device: str, word: str, payload: bytes) -> None: ...


class Robbery(Protocol):
    """What was stolen of updates, and the machine's questions, answered by the thief."""

    def find_loot(self, device: str) -> Loot: ...

    def lie(self, device: str, named: Sequence[tuple[str, int, str]]) -> None: ...

    def be_true(self, device: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Step:
    """One attack and what came of it."""

    id: str
    attack: str
    words: str
    outcome: Outcome = "waiting"
    reason: str = ""
    answer: str = ""
    at_ms: int = 0


@dataclass(frozen=True)
class Drill:
    """A drill against one machine."""

    id: str
    device_id: str
    steps: tuple[Step, ...]
    state: Literal["running", "passed", "failed", "unanswered"] = "running"
    started_ms: int = 0


@dataclass
class Drills:
    """Starts drills and remembers the last of them. `start` is called from worker threads."""

    database: Database
    clock: Clock
    deeds: DeedRecorder
    documents: Callable[[], HeldDocuments]
    stolen: Callable[[], Sequence[Signer]]
    robbery: Robbery
    pusher: Callable[[], Pusher]
    is_connected: Callable[[str], bool]
    loop: asyncio.AbstractEventLoop
    announce: Callable[[str], None]
    answer_seconds: float = STEP_SECONDS
    _drills: dict[str, Drill] = field(default_factory=dict)

    def start(self, device: str, actor: str) -> Drill:
        """Begin a drill. Raises `Refused` when the machine is not connected, or in a drill."""
        if any(d.device_id == device and d.state == "running" for d in self._drills.values()):
            raise Refused(
                "A drill against this machine is running. Wait for its end.",
                reason="drill_running",
            )
        if not self.is_connected(device):
            raise Refused(
                "This machine is not connected: a drill needs its answers. Try when it is back.",
                reason="not_connected",
            )
        now = self.clock.wall_ms()
        attacks = [
            *make_attacks(self.documents(), self._find_papers(device), self.stolen(), now),
            *make_release_attacks(self.robbery.find_loot(device)),
        ]
        drill = Drill(
            id=secrets.token_hex(8),
            device_id=device,
            steps=tuple(_begin(attack) for attack in attacks),
            started_ms=now,
        )
        self.deeds.record(
            Deed(
                kind="drill.started",
                actor=actor,
                subject=f"device:{device}",
                owner_id=self.documents().root.owner,
                body={"words": "A drill attacks this machine with all that the server holds."},
                at_ms=now,
            )
        )
        self._drills[drill.id] = drill
        while len(self._drills) > KEPT_DRILLS:
            self._drills.pop(next(iter(self._drills)))
        asyncio.run_coroutine_threadsafe(self._run(drill.id, attacks), self.loop)
        return drill

    def get(self, drill_id: str) -> Drill:
        """Return a drill as it stands. Raises `Refused` (not_found)."""
        drill = self._drills.get(drill_id)
        if drill is None:
            raise Refused("There is no such drill. Start one.", reason="not_found")
        return drill

    async def _run(self, drill_id: str, attacks: Sequence[Attack]) -> None:
        device = self._drills[drill_id].device_id
        try:
            heard = await asyncio.to_thread(self._newest, device)
            for place, attack in enumerate(attacks):
                if attack.target is None and not attack.skipped:
                    heard = await self._try(drill_id, place, attack, heard)
            await self._offer(drill_id, attacks, heard)
        except FleetwardError as e:
            _log.warning("the drill %s was broken off: %s", drill_id, e.message)
        finally:
            self._finish(drill_id)

    async def _try(self, drill_id: str, place: int, attack: Attack, heard: int) -> int:
        """Push all of an attack; note the first answer, or the first that is no refusal."""
        device = self._drills[drill_id].device_id
        noted: Heard | None = None
        for payload in attack.payloads:
            await self.pusher().push(device, attack.channel, payload)
            answer = await self._listen(device, heard, attack.subjects)
            if answer is None:
                noted = None
                break
            heard = answer.sequence
            if noted is None or answer.kind != REFUSED:
                noted = answer
            if answer.kind != REFUSED:
                break
        self._note(drill_id, place, noted)
        return heard

    async def _offer(self, drill_id: str, attacks: Sequence[Attack], heard: int) -> None:
        """Let the machine ask, name it every false release at once, and note what it says."""
        device = self._drills[drill_id].device_id
        places = {a.target.path: n for n, a in enumerate(attacks) if a.target is not None}
        if not places:
            return
        named = [(a.target.path, a.target.length, a.target.sha256)
                 for a in attacks if a.target is not None]  # fmt: skip
        await asyncio.to_thread(self.robbery.lie, device, named)
        try:
            await self.pusher().push(device, "reduce", LOOK)
            deadline = self.loop.time() + self.answer_seconds + LOOK_GAP_SECONDS
            noted: dict[str, Heard] = {}
            while len(noted) < len(places) and self.loop.time() < deadline:
                await asyncio.sleep(LOOK_SECONDS)
                answers = await asyncio.to_thread(
                    self._hear_releases, device, heard, frozenset(places)
                )
                for path, answer in answers.items():
                    if noted.get(path) != answer:
                        self._note(drill_id, places[path], answer)
                noted = answers
        finally:
            self.robbery.be_true(device)
            # It asks again, and hears what is true.
            await self.pusher().push(device, "reduce", LOOK)

    async def _listen(self, device: str, after: int, subjects: frozenset[str]) -> Heard | None:
        deadline = self.loop.time() + self.answer_seconds
        while self.loop.time() < deadline:
            answer = await asyncio.to_thread(self._hear, device, after, subjects)
            if answer is not None:
                return answer
            await asyncio.sleep(LOOK_SECONDS)
        return None

    def _newest(self, device: str) -> int:
        with self.database.read() as conn:
            return newest_sequence(conn, device)

    def _find_papers(self, device: str) -> Papers:
        with self.database.read() as conn:
            return select_papers(conn, device)

    def _hear(self, device: str, after: int, subjects: frozenset[str]) -> Heard | None:
        with self.database.read() as conn:
            return select_heard(conn, device, after, subjects)

    def _hear_releases(self, device: str, after: int, paths: frozenset[str]) -> dict[str, Heard]:
        with self.database.read() as conn:
            return select_release_answers(conn, device, after, paths)

    def _note(self, drill_id: str, place: int, answer: Heard | None) -> None:
        drill = self._drills[drill_id]
        steps = list(drill.steps)
        if answer is None:
            steps[place] = replace(steps[place], outcome="unanswered")
        else:
            outcome: Outcome = "refused" if answer.kind == REFUSED else "accepted"
            steps[place] = replace(
                steps[place],
                outcome=outcome,
                reason=answer.reason,
                answer=answer.words,
                at_ms=self.clock.wall_ms(),
            )
        self._drills[drill_id] = replace(drill, steps=tuple(steps))
        self.announce(drill_id)

    def _finish(self, drill_id: str) -> None:
        drill = self._drills[drill_id]
        steps = tuple(
            replace(step, outcome="unanswered") if step.outcome == "waiting" else step
            for step in drill.steps
        )
        drill = replace(drill, steps=steps)
        outcomes = {step.outcome for step in drill.steps}
        state: Literal["passed", "failed", "unanswered"] = "passed"
        if "accepted" in outcomes:
            state = "failed"
        elif "unanswered" in outcomes:
            state = "unanswered"
        self._drills[drill_id] = replace(drill, state=state)
        self.announce(drill_id)


def _begin(attack: Attack) -> Step:
    """Return the step of an attack before it is tried, or why it is not."""
    outcome: Outcome = "skipped" if attack.skipped else "waiting"
    return Step(attack.id, attack.attack, attack.words, outcome, answer=attack.skipped)
