"""Rollouts: made, followed and stopped. Each deed of a person is written down first.

What happens is decided in `decide_rollout`; here it is stored, in one transaction with the state
that it was decided from, under the slice's lock. Machines that were let in are told to look.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
from sqlalchemy.engine import Connection

from fleetward.server.updates import rollout_store, store
from fleetward.server.updates.book import UpdateBook
from fleetward.server.updates.decide import Release, approves
from fleetward.server.updates.decide_rollout import (
    CANCELLED,
    DONE,
    ENDED,
    HELD,
    MOVING,
    OPEN,
    PASSED,
    PAUSED,
    PLACED,
    RUNNING,
    Fleet,
    In,
    Plan,
    Stage,
    count_failures,
    decide_step,
    lets_in,
    make_stages,
    promise_exposure,
    say_failures,
)
from fleetward.server.updates.pace import LEAST_CEILING
from fleetward.server.updates.store import Row
from fleetward.server.web.caller import Caller
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.roster import ACTIVE, RosterEntry
from fleetward.trust.selector import Selector, read_selector
from fleetward.trust.update_report import FAILURES, UpdateReport

ID_BYTES: Final = 16
MAX_STEPS: Final = 64
"""Steps of one rollout in one round: more than it has stages, so that a round comes to its end."""
ROUND_MS: Final = 10_000
"""How often a rollout is looked at without anything having happened: for a soak that is over, and
machines that joined."""
_PREFIX: Final = re.compile(r"[0-9a-f]{8,32}")


@dataclass(frozen=True, slots=True)
class Wish:
    """A rollout as somebody wants it. `canaries` None: none. `bandwidth` 0: as fast as it goes."""

    product: str
    version: str
    selector: Selector
    canaries: Selector | None
    waves: tuple[str, ...]
    soak_seconds: int
    allowed_failures: int
    bandwidth: int


@dataclass(frozen=True)
class Forecast:
    """A rollout as it would be: what decides, who is in already, and the fleet."""

    plan: Plan
    inside: tuple[In, ...]
    fleet: Fleet

    @property
    def machines(self) -> int:
        """How many machines it is for, now."""
        return len(self.fleet.selected | {each.device for each in self.inside})

    @property
    def promise(self) -> int:
        """How many machines can have it before somebody looks, at most."""
        return promise_exposure(self.plan, self.inside, self.machines)


@dataclass(frozen=True)
class Course(Forecast):
    """A rollout as it stands."""

    row: Row


class Rollouts:
    """Rollouts, as the API, the door and the clock drive them. Thread-safe."""

    def __init__(self, book: UpdateBook) -> None:
        self.book: Final = book
        self._ceilings: dict[str, int] = {}
        self._touched = True
        self._looked_ms = 0
        book.listen(self._hear)

    def _hear(self, what: str, _: str) -> None:
        """Let in whom the owner has just approved it for, before machines are told to look: two
        looks of one are seconds apart."""
        if what == "approval":
            self._touched = True
            self.advance()

    def preview(self, wish: Wish) -> Forecast:
        """Return what a rollout would be. Raises `Malformed` or `Refused`."""
        release = self._require_release(wish)
        fleet = self._fleet_of(release, wish.selector, wish.canaries)
        canaries = len(fleet.canaries)
        if wish.canaries is not None and not canaries:
            raise Refused(
                "No machine of those selected is among the canaries.", reason="no_canaries"
            )
        plan = Plan(
            id=secrets.token_hex(ID_BYTES),
            stages=make_stages(wish.waves, len(fleet.selected), canaries),
            has_canaries=wish.canaries is not None,
            soak_ms=wish.soak_seconds * 1000,
            allowed=wish.allowed_failures,
            forgiven=0,
            state=RUNNING,
            open_stages=1,
            opened_at_ms=self.book.near.clock.wall_ms(),
        )
        with self.book.near.database.read() as conn:
            told = store.select_offered(conn, release.id)
            states = store.select_all_states(conn, release.product)
        said = {row.device_id: row for row in states if row.target_id == release.id}
        # Who was told of it before is in, whatever the waves are: exposure hides nobody.
        inside = tuple(
            In(device, said[device].outcome if device in said else PLACED, plan.opened_at_ms)
            for device in sorted(told)
            if device in fleet.selected or (device in said and self._selects(wish, device))
        )
        return Forecast(plan, inside, fleet)

    def create(self, wish: Wish, caller: Caller) -> Course:
        """Make a rollout and let the first stage in. Raises `Malformed` or `Refused`."""
        book = self.book
        with book.lock:
            made = self.preview(wish)
            release = self._require_release(wish)
            with book.near.database.read() as conn:
                rows = rollout_store.select_rollouts(conn)
            rows = [row for row in rows if row.release_id == release.id and row.state in OPEN]
            if rows:
                raise Refused(
                    f"The rollout {rows[0].rollout_id[:12]} of {wish.product} {wish.version} is "
                    "not over. Cancel it first, or let it go on.",
                    reason="rollout_exists",
                )
            words = (
                f"A rollout of {wish.product} {wish.version} to {wish.selector.words()} was made. "
                f"At most {made.promise} of {made.machines} machines can have it before these "
                "have said how it went."
            )
            body = {"words": words, "rollout": made.plan.id, "by": caller.name[:200]}
            book.record("rollout.created", caller.actor, body)
            self._store(wish, release, made, caller)
            self._touched = True
        self.advance()
        return self.find(made.plan.id)

    def find(self, place: str) -> Course:
        """Return a rollout by its id, or the beginning of it. Raises `Malformed`, `Refused`."""
        if not _PREFIX.fullmatch(place):
            raise Malformed(
                "Expected 8 to 32 digits of a rollout's id, which `fleetward rollout list` shows.",
                reason="bad_rollout_id",
            )
        with self.book.near.database.read() as conn:
            found = rollout_store.select_by_prefix(conn, place)
        if len(found) > 1:
            raise Refused("Several rollouts begin so. Give more digits.", reason="ambiguous")
        if not found:
            raise Refused(
                "No rollout of this id is known here. `fleetward rollout list` shows them.",
                reason="rollout_not_found",
            )
        return self.course(found[0])

    def all(self, states: Collection[str] = ()) -> list[Course]:
        """Return rollouts in these states, or all, newest first."""
        with self.book.near.database.read() as conn:
            rows = rollout_store.select_rollouts(conn)
        return [self.course(row) for row in rows if not states or row.state in states]

    def pause(self, place: str, reason: str, caller: Caller) -> Course:
        """Let nobody new in; who has begun goes on."""
        return self._stop(place, PAUSED, reason, caller)

    def hold(self, place: str, reason: str, caller: Caller) -> Course:
        """Hold it as a failure would, because somebody saw one."""
        return self._stop(place, HELD, reason, caller)

    def resume(self, place: str, reason: str, caller: Caller) -> Course:
        """Go on where it was stopped. Raises `Refused` where more failed than are allowed."""
        course = self.find(place)
        if course.plan.state not in (PAUSED, HELD):
            raise Refused(f"It is {course.plan.state}.", reason="not_stopped")
        if count_failures(course.inside) > course.plan.tolerated:
            raise Refused(
                f"{say_failures(course.inside)} `fleetward rollout continue` goes on despite "
                "that, and opens the next wave.",
                reason="too_many_failures",
            )
        return self._change(course, {"state": RUNNING, "words": ""}, ("resumed", reason), caller)

    def proceed(self, place: str, reason: str, caller: Caller) -> Course:
        """Go on despite failures or silence, and open the next stage (rule 6)."""
        course = self.find(place)
        plan = course.plan
        if plan.state not in OPEN:
            raise Refused(f"It is {plan.state}.", reason="rollout_over")
        values = {
            "state": RUNNING,
            "words": "",
            "forgiven_failures": max(count_failures(course.inside) - plan.allowed, plan.forgiven),
            "open_stages": min(plan.open_stages + 1, len(plan.stages)),
            "opened_at": self.book.near.clock.wall_ms(),
        }
        return self._change(course, values, ("continued", reason), caller)

    def cancel(self, place: str, reason: str, caller: Caller) -> Course:
        """End it: no machine is told of the release by it any more. What is installed stays."""
        course = self.find(place)
        if course.plan.state == CANCELLED:
            raise Refused("It was cancelled already.", reason="rollout_over")
        values = {"state": CANCELLED, "words": reason}
        return self._change(course, values, ("cancelled", reason), caller)

    def offer_again(self, place: str, reason: str, caller: Caller) -> Course:
        """Offer it again to the machines on which it failed. They try again once the owner has
        approved it anew; the exposure is the same."""
        course = self.find(place)
        failed = [each.device for each in course.inside if each.state in FAILURES]
        if not failed or course.plan.state == CANCELLED:
            raise Refused("No machine of this rollout failed.", reason="nothing_failed")
        values = {"state": RUNNING, "words": "", "forgiven_failures": 0}
        return self._change(course, values, ("offered_again", reason), caller)

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
                elif row.state not in ENDED and self._is_passed(row.release_id, report):
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
        with book.lock:
            is_round = now - self._looked_ms >= ROUND_MS
            self._touched = False
            self._looked_ms = now if is_round else self._looked_ms
            with book.near.database.read() as conn:
                rows = rollout_store.select_rollouts(conn)
            for row in rows:
                # Nothing that a machine says moves one that is done; who joined later, does.
                if row.state == RUNNING or (row.state == DONE and is_round):
                    let_in += self._advance(row, now)
            self._ceilings = self._read_ceilings(rows)
        book.look(let_in)
        return len(let_in)

    def course(self, row: Row) -> Course:
        """Return how a rollout stands."""
        with self.book.near.database.read() as conn:
            parts = rollout_store.select_parts(conn, row.rollout_id)
        inside = tuple(
            In(part.device_id, part.state, int(part.ended_at), part.cause) for part in parts
        )
        release = self._release(row.release_id)
        canaries = decode_selector(row.canaries) if row.canaries else None
        fleet = self._fleet_of(release, decode_selector(row.selector), canaries)
        gone = frozenset(e.device for e in inside if not self._is_active(e.device))
        return Course(_plan(row), inside, replace(fleet, gone=gone), row)

    def _advance(self, row: Row, now: int) -> list[str]:
        """Do what is due in one rollout; return whom it let in."""
        course, let_in = self.course(row), list[str]()
        for _ in range(MAX_STEPS):
            plan = course.plan
            step = decide_step(plan, course.inside, course.fleet, now)
            values: dict[str, Any] = {"state": step.state, "words": step.words}
            if step.opens:
                values |= {"open_stages": plan.open_stages + 1, "opened_at": now}
            moved = bool(step.let_in) or step.opens or step.state != plan.state
            if not moved:
                break
            with self.book.near.database.write() as conn:
                if step.opens or step.state != plan.state:
                    changed = {**values, "changed_at": now}
                    rollout_store.update_rollout(conn, plan.id, changed)
                owner = self.book.near.owner.owner_id
                rollout_store.insert_parts(
                    conn, [_new_part(plan, device, owner, now) for device in step.let_in]
                )
            let_in += step.let_in
            self.book.tell("rollout", plan.id)
            course = self._reload(plan.id)
        return let_in

    def _reload(self, rollout: str) -> Course:
        with self.book.near.database.read() as conn:
            return self.course(rollout_store.select_by_prefix(conn, rollout)[0])

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
            values = {
                "state": HELD,
                "words": say_failures(self.course(row).inside),
                "changed_at": self.book.near.clock.wall_ms(),
            }
            with self.book.near.database.write() as conn:
                rollout_store.update_rollout(conn, row.rollout_id, values)
            self.book.tell("rollout", row.rollout_id)

    def _stop(self, place: str, state: str, reason: str, caller: Caller) -> Course:
        course = self.find(place)
        if course.plan.state not in (RUNNING, DONE, PAUSED):
            raise Refused(f"It is {course.plan.state}.", reason="not_running")
        return self._change(course, {"state": state, "words": reason}, (state, reason), caller)

    def _change(
        self, course: Course, values: dict[str, Any], deed: tuple[str, str], caller: Caller
    ) -> Course:
        book, row = self.book, course.row
        what, reason = deed
        with book.lock:
            words = f"The rollout of {row.product} {row.version} was {what.replace('_', ' ')}"
            words += f": {reason}." if reason else "."
            by = caller.name[:200]
            body = {"words": words, "rollout": row.rollout_id, "reason": reason, "by": by}
            book.record(f"rollout.{what}", caller.actor, body)
            changed = {**values, "changed_at": book.near.clock.wall_ms()}
            with book.near.database.write() as conn:
                rollout_store.update_rollout(conn, row.rollout_id, changed)
                if what == "offered_again":
                    rollout_store.update_failed(conn, row.rollout_id, sorted(FAILURES), PLACED)
            self._touched = True
        book.tell("rollout", row.rollout_id)
        book.look(each.device for each in course.inside)
        self.advance()
        return self.find(row.rollout_id)

    def _store(self, wish: Wish, release: Release, made: Forecast, caller: Caller) -> None:
        near, plan = self.book.near, made.plan
        canaries = b"" if wish.canaries is None else msgspec.json.encode(wish.canaries.to_json())
        with near.database.write() as conn:
            rollout_store.insert_rollout(
                conn,
                {
                    "rollout_id": plan.id,
                    "owner_id": near.owner.owner_id,
                    "release_id": release.id,
                    "product": wish.product,
                    "version": wish.version,
                    "selector": msgspec.json.encode(wish.selector.to_json()).decode(),
                    "canaries": canaries.decode(),
                    "stages": msgspec.json.encode(
                        [[s.words, s.limit] for s in plan.stages]
                    ).decode(),
                    "soak_seconds": wish.soak_seconds,
                    "allowed_failures": wish.allowed_failures,
                    "bandwidth": wish.bandwidth,
                    "state": RUNNING,
                    "open_stages": 1,
                    "opened_at": plan.opened_at_ms,
                    "created_by": caller.name[:200],
                    "created_at": plan.opened_at_ms,
                    "changed_at": plan.opened_at_ms,
                },
            )
            now, owner = plan.opened_at_ms, near.owner.owner_id
            before = [_new_part(plan, each.device, owner, now) for each in made.inside]
            for part, each in zip(before, made.inside, strict=True):
                ended = now if each.state in ENDED else 0
                part |= {"wave": 0, "state": each.state, "offered_at": now, "ended_at": ended}
            rollout_store.insert_parts(conn, before)

    def _require_release(self, wish: Wish) -> Release:
        if wish.bandwidth and wish.bandwidth < LEAST_CEILING:
            raise Malformed(
                f"Expected a ceiling of at least {LEAST_CEILING} bytes a second and machine.",
                reason="bad_bandwidth",
            )
        for release in self.book.offerable():
            if (release.product, release.version) == (wish.product, wish.version):
                return release
        raise Refused(
            f"No {wish.product[:48]} {wish.version[:64]} is published here whose maker's root the "
            "owner's policy names.",
            reason="release_not_found",
        )

    def _release(self, release: str) -> Release:
        return next(each for each in self.book.known.releases if each.id == release)

    def _fleet_of(self, release: Release, selector: Selector, canaries: Selector | None) -> Fleet:
        book = self.book
        holding = book.holding(book.near.clock.wall_ms())
        with book.near.database.read() as conn:
            states = store.select_all_states(conn, release.product)
        counters = {row.device_id: int(row.counter) for row in states}
        mine = [
            entry
            for entry in book.entries.values()
            if entry.state == ACTIVE
            and selector.selects(entry)
            and release.fits(entry)
            and counters.get(entry.device, 0) < release.counter
        ]
        return Fleet(
            selected=frozenset(entry.device for entry in mine),
            approved=frozenset(
                entry.device
                for entry in mine
                if any(approves(paper, release, entry) for paper in holding)
            ),
            canaries=frozenset(e.device for e in mine if canaries and canaries.selects(e)),
        )

    def _selects(self, wish: Wish, device: str) -> bool:
        entry = self.book.entries.get(device)
        return entry is not None and wish.selector.selects(entry)

    def _is_active(self, device: str) -> bool:
        entry: RosterEntry | None = self.book.entries.get(device)
        return entry is not None and entry.state == ACTIVE

    def _is_passed(self, release: str, report: UpdateReport) -> bool:
        mine = self._release(release)
        return any(
            each.product == mine.product and each.counter > mine.counter
            for each in report.installed
        )

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


def decode_selector(text: str) -> Selector:
    """Return a selector as it is stored."""
    return read_selector(msgspec.json.decode(text))


def _plan(row: Row) -> Plan:
    stages: list[tuple[str, int]] = msgspec.json.decode(row.stages, type=list[tuple[str, int]])
    return Plan(
        id=row.rollout_id,
        stages=tuple(Stage(words, limit) for words, limit in stages),
        has_canaries=bool(row.canaries),
        soak_ms=int(row.soak_seconds) * 1000,
        allowed=int(row.allowed_failures),
        forgiven=int(row.forgiven_failures),
        state=row.state,
        open_stages=int(row.open_stages),
        opened_at_ms=int(row.opened_at),
    )


def _new_part(plan: Plan, device: str, owner: str, now: int) -> dict[str, Any]:
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
