"""What follows of itself in rollouts: reports are taken, machines let in, waves opened and held.

What happens is decided in `decide_rollout`; here it is stored, in one transaction with the state
that it was decided from, under the slice's lock. Machines that were let in are told to look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy.engine import Connection

from fleetward.server.updates import rollout_store
from fleetward.server.updates.decide_rollout import (
    ALL,
    CANCELLED,
    DONE,
    ENDED,
    HELD,
    MOVING,
    PASSED,
    PLACED,
    RUNNING,
    Plan,
    decide_step,
    lets_in,
    say_failures,
)
from fleetward.server.updates.rollout_course import RolloutCourses
from fleetward.server.updates.store import Row
from fleetward.trust.sayings import say_count
from fleetward.trust.update_report import FAILURES, UpdateReport

MAX_STEPS: Final = 64
"""Steps of one rollout in one round: more than it has stages, so that a round comes to its end."""
ROUND_MS: Final = 10_000
"""How often a rollout is looked at without anything having happened: for a soak that is over, and
machines that joined."""
AGAIN_MS: Final = 300_000
"""How often who was let in and has not asked since is told to look again: the word may have come
while it was away, and by itself it looks once an hour."""


class RolloutMotion:
    """Moves rollouts, as the door and the clock drive them. Thread-safe."""

    def __init__(self, courses: RolloutCourses) -> None:
        self.book: Final = courses.book
        self._courses = courses
        self._ceilings: dict[str, int] = {}
        self._touched = True
        self._looked_ms = self._again_ms = 0
        self.book.listen(self._hear)

    def touch(self) -> None:
        """Look at every rollout at the next advance: a person changed one."""
        self._touched = True

    def gates_of(
        self, conn: Connection, devices: Sequence[str]
    ) -> Mapping[str, Mapping[str, bool]]:
        """Return for each machine whether it is let in, by the releases that rollouts are about."""
        rows = rollout_store.select_gates(conn)
        if not rows:
            return {}
        states = {
            (part.rollout_id, part.device_id): str(part.state)
            for part in rollout_store.select_parts_of(conn, devices)
        }
        found: dict[str, dict[str, bool]] = {}
        for device in devices:
            gates = found[device] = {}
            for row in rows:
                inside = states.get((row.rollout_id, device))
                let_in = lets_in(row.state, inside)
                gates[row.release_id] = gates.get(row.release_id, False) or let_in
        return found

    def ceiling_of(self, device: str) -> int:
        """Return how many bytes a second this machine is sent at most; 0: as many as it takes."""
        return self._ceilings.get(device, 0)

    def note_offers(self, conn: Connection, fresh: Sequence[tuple[str, str]], at_ms: int) -> None:
        """Write that machines (machine, release) are told of a release for the first time."""
        about = {row.release_id for row in rollout_store.select_gates(conn)}
        mine = [(device, release) for device, release in fresh if release in about]
        rollout_store.update_offered(conn, mine, at_ms)

    def take_report(self, device: str, report: UpdateReport, cause: str) -> None:
        """Take a report that was verified and is new; the slice's lock is held."""
        near, now = self.book.near, self.book.near.clock.wall_ms()
        with near.database.write() as conn:
            for row in rollout_store.select_parts_of(conn, [device]):
                if row.release_id == report.release:
                    values = {
                        "state": report.outcome,
                        "cause": cause if report.outcome in FAILURES else "",
                        "words": report.words,
                        "report_id": report.hash,
                        "ended_at": now if report.outcome in ENDED else 0,
                    }
                elif row.state not in ENDED and self._courses.is_passed(row.release_id, report):
                    values = {"state": PASSED, "ended_at": now}
                else:
                    continue
                rollout_store.update_part(conn, row.rollout_id, device, values)
        # Nothing is due because a machine began; something can be when it ended.
        self._touched = self._touched or report.outcome in ENDED
        if report.outcome in FAILURES:
            self._hold_at_once(report.release)

    def advance(self) -> int:
        """Do what is due now; return how many machines were let in. Called every second."""
        book, now = self.book, self.book.near.clock.wall_ms()
        if book.near.owner.documents is None:
            return 0
        if not self._touched and now - self._looked_ms < ROUND_MS:
            return 0
        let_in: list[str] = []
        unasked: list[str] = []
        with book.lock:
            is_round = now - self._looked_ms >= ROUND_MS
            self._touched = False
            self._looked_ms = now if is_round else self._looked_ms
            with book.near.database.read() as conn:
                rows = rollout_store.select_rollouts(conn)
                if now - self._again_ms >= AGAIN_MS:
                    self._again_ms = now
                    unasked = rollout_store.select_unasked(conn, now - AGAIN_MS)
            for row in rows:
                # Nothing that a machine says moves one that is done; who joined later, does.
                if row.state == RUNNING or (row.state == DONE and is_round):
                    let_in += self._advance(row, now)
            self._ceilings = self._read_ceilings(rows)
        book.look([*let_in, *unasked])
        return len(let_in)

    def _hear(self, what: str, _: str) -> None:
        """Let in whom the owner has just approved it for, before machines are told to look: two
        looks of one are seconds apart."""
        if what == "approval":
            self._touched = True
            self.advance()

    def _advance(self, row: Row, now: int) -> list[str]:
        """Do what is due in one rollout; return whom it let in."""
        course, let_in = self._courses.course(row), list[str]()
        for _ in range(MAX_STEPS):
            plan = course.plan
            step = decide_step(plan, course.inside, course.fleet, now)
            values: dict[str, Any] = {"state": step.state, "words": step.words}
            if step.opens:
                values |= {"open_stages": plan.open_stages + 1, "opened_at": now}
            moved = bool(step.let_in) or step.opens or step.state != plan.state
            if not moved:
                break
            if step.opens:
                stage = plan.stages[plan.open_stages]
                most = "all" if stage.limit == ALL else say_count(stage.limit, "machine")
                self._note(row, "wave_opened", f"opened the wave {stage.words}, for {most}")
            if step.state == HELD:
                self._note(row, "held", f"was held: {step.words}")
            with self.book.near.database.write() as conn:
                if step.opens or step.state != plan.state:
                    changed = {**values, "changed_at": now}
                    rollout_store.update_rollout(conn, plan.id, changed)
                owner = self.book.near.owner.owner_id
                rollout_store.insert_parts(
                    conn, [make_part(plan, device, owner, now) for device in step.let_in]
                )
            let_in += step.let_in
            self.book.tell("rollout", plan.id)
            course = self._courses.reload(plan.id)
        return let_in

    def _hold_at_once(self, release: str) -> None:
        """Hold a rollout in which more failed than are allowed, before anything else happens."""
        with self.book.near.database.read() as conn:
            rows = rollout_store.select_rollouts(conn)
            over = [
                row
                for row in rows
                if row.release_id == release
                and row.state in MOVING
                and rollout_store.count_parts(conn, row.rollout_id, sorted(FAILURES))
                > row.allowed_failures + row.forgiven_failures
            ]
        for row in over:
            words = say_failures(self._courses.course(row).inside)
            self._note(row, "held", f"was held: {words}")
            values = {
                "state": HELD,
                "words": words,
                "changed_at": self.book.near.clock.wall_ms(),
            }
            with self.book.near.database.write() as conn:
                rollout_store.update_rollout(conn, row.rollout_id, values)
            self.book.tell("rollout", row.rollout_id)

    def _note(self, row: Row, what: str, words: str) -> None:
        """Write down what the server does by itself, as a person's deed is."""
        words = f"The rollout of {row.product} {row.version} {words.removesuffix('.')}."
        body = {"words": words, "rollout": row.rollout_id, "by": "the server"}
        self.book.record(f"rollout.{what}", "server", body)

    def _read_ceilings(self, rows: Sequence[Row]) -> dict[str, int]:
        ceilings: dict[str, int] = {}
        with self.book.near.database.read() as conn:
            for row in rows:
                if not row.bandwidth or row.state == CANCELLED:
                    continue
                for part in rollout_store.select_parts(conn, row.rollout_id):
                    if part.state not in ENDED:
                        before = ceilings.get(part.device_id, row.bandwidth)
                        ceilings[part.device_id] = min(before, row.bandwidth)
        return ceilings


def make_part(plan: Plan, device: str, owner: str, now: int) -> dict[str, Any]:
    return {
        "rollout_id": plan.id,
        "device_id": device,
        "owner_id": owner,
        "wave": plan.open_stages,
        "state": PLACED,
        "placed_at": now,
        "offered_at": 0,
        "ended_at": 0,
    }
