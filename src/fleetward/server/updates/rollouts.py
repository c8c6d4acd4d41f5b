"""Rollouts: made and stopped. Each deed of a person is written down first.

Where the owner approved a product ahead, nobody has to be there: the newest release then gets a
rollout by itself, one machine first. People stop it, or make another, as with every rollout.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any, Final

import msgspec

from fleetward.server.updates import rollout_store, store
from fleetward.server.updates.decide import Release, is_eligible
from fleetward.server.updates.decide_rollout import (
    CANCELLED,
    DONE,
    ENDED,
    HELD,
    OPEN,
    PAUSED,
    PLACED,
    RUNNING,
    count_failures,
    say_failures,
)
from fleetward.server.updates.reading import STANDING, Paper
from fleetward.server.updates.rollout_course import (
    BY_ITSELF,
    Course,
    Forecast,
    RolloutCourses,
    Wish,
)
from fleetward.server.updates.rollout_motion import RolloutMotion, make_part
from fleetward.server.web.caller import Caller
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.release_approval import verify_approval
from fleetward.trust.selector import Selector
from fleetward.trust.update_report import FAILURES

_log: Final = logging.getLogger(__name__)

STANDING_WAVES: Final = ("1", "10%", "100%")
"""Of a rollout that nobody made."""
STANDING_SOAK_SECONDS: Final = 3600


class Rollouts:
    """What people do about rollouts, as the API takes it. Thread-safe."""

    def __init__(self, courses: RolloutCourses, motion: RolloutMotion) -> None:
        self.book: Final = courses.book
        self._courses = courses
        self._motion = motion
        self.book.listen(self._hear)

    def create(self, wish: Wish, caller: Caller) -> Course:
        """Make a rollout and let the first stage in. Raises `Malformed` or `Refused`."""
        return self._create(wish, (caller.actor, caller.name[:200]))

    def begin_standing(self) -> None:
        """Make the rollouts of what the owner approved ahead: for each machine, of the newest
        release that is allowed to it. One is made once for a release; who ends it is not
        overruled, and the release before it comes into question again."""
        with self.book.lock:
            with self.book.near.database.read() as conn:
                rows = rollout_store.select_rollouts(conn)
            had = {row.release_id for row in rows}
            stopped = had - {row.release_id for row in rows if row.state != CANCELLED}
            for release in self._list_wanted(stopped):
                if release.id not in had:
                    self._create(_make_ahead(release), ("server", BY_ITSELF))

    def _list_wanted(self, stopped: Collection[str]) -> list[Release]:
        book, papers = self.book, self._list_ahead()
        with book.near.database.read() as conn:
            states = store.select_all_states(conn)
        running = {(row.device_id, row.product): int(row.counter) for row in states}
        releases = [each for each in book.offerable() if each.id not in stopped]
        releases.sort(key=lambda each: each.counter, reverse=True)
        found: dict[str, Release] = {}
        for product, mine in papers.items():
            offered = [each for each in releases if each.product == product]
            for entry in book.entries.values():
                newest = next((e for e in offered if is_eligible(e, entry, mine)), None)
                counter = running.get((entry.device, product), 0)
                if newest is not None and newest.counter > counter:
                    found[newest.id] = newest
        return list(found.values())

    def _list_ahead(self) -> dict[str, list[Paper]]:
        """Return the approvals ahead that have begun, by product. Anybody can hand in one that
        nobody signed: machines refuse it, and nothing is begun by it here."""
        book, now = self.book, self.book.near.clock.wall_ms()
        held = {paper.approval for paper in book.holding(now) if paper.not_before_ms <= now}
        found: dict[str, list[Paper]] = {}
        for paper in book.known.approvals:
            if paper.kind == STANDING and paper.approval in held and self._is_signed(paper):
                found.setdefault(paper.product, []).append(paper)
        return found

    def _is_signed(self, paper: Paper) -> bool:
        try:
            verify_approval(paper.raw, self.book.near.owner.policy)
        except FleetwardError:
            return False
        return True

    def _hear(self, what: str, _: str) -> None:
        if what in ("approval", "release"):
            try:
                self.begin_standing()
            except Exception:  # noqa: BLE001 - what was handed in stands; the next round tries again
                _log.exception("a rollout could not be made by itself")

    def _create(self, wish: Wish, by: tuple[str, str]) -> Course:
        book, (actor, name) = self.book, by
        with book.lock:
            made = self._courses.preview(wish)
            release = self._courses.require_release(wish)
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
            body = {"words": words, "rollout": made.plan.id, "by": name}
            book.record("rollout.created", actor, body)
            self._store(wish, release, made, name)
            self._motion.touch()
        self._motion.advance()
        return self._courses.find(made.plan.id)

    def pause(self, place: str, reason: str, caller: Caller) -> Course:
        """Let nobody new in; who has begun goes on."""
        return self._stop(place, PAUSED, reason, caller)

    def hold(self, place: str, reason: str, caller: Caller) -> Course:
        """Hold it as a failure would, because somebody saw one."""
        return self._stop(place, HELD, reason, caller)

    def resume(self, place: str, reason: str, caller: Caller) -> Course:
        """Go on where it was stopped. Raises `Refused` where more failed than are allowed."""
        course = self._courses.find(place)
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
        course = self._courses.find(place)
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
        course = self._courses.find(place)
        if course.plan.state == CANCELLED:
            raise Refused("It was cancelled already.", reason="rollout_over")
        values = {"state": CANCELLED, "words": reason}
        return self._change(course, values, ("cancelled", reason), caller)

    def offer_again(self, place: str, reason: str, caller: Caller) -> Course:
        """Offer it again to the machines on which it failed. They try again once the owner has
        approved it anew; the exposure is the same."""
        course = self._courses.find(place)
        failed = [each.device for each in course.inside if each.state in FAILURES]
        if not failed or course.plan.state == CANCELLED:
            raise Refused("No machine of this rollout failed.", reason="nothing_failed")
        values = {"state": RUNNING, "words": "", "forgiven_failures": 0}
        return self._change(course, values, ("offered_again", reason), caller)

    def _stop(self, place: str, state: str, reason: str, caller: Caller) -> Course:
        course = self._courses.find(place)
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
            self._motion.touch()
        book.tell("rollout", row.rollout_id)
        book.look(each.device for each in course.inside)
        self._motion.advance()
        return self._courses.find(row.rollout_id)

    def _store(self, wish: Wish, release: Release, made: Forecast, name: str) -> None:
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
                    "created_by": name,
                    "created_at": plan.opened_at_ms,
                    "changed_at": plan.opened_at_ms,
                },
            )
            now, owner = plan.opened_at_ms, near.owner.owner_id
            before = [make_part(plan, each.device, owner, now) for each in made.inside]
            for part, each in zip(before, made.inside, strict=True):
                ended = now if each.state in ENDED else 0
                part |= {"wave": 0, "state": each.state, "offered_at": now, "ended_at": ended}
            rollout_store.insert_parts(conn, before)


def _make_ahead(release: Release) -> Wish:
    return Wish(
        release.product, release.version, Selector(), None, STANDING_WAVES, STANDING_SOAK_SECONDS,
        allowed_failures=0, bandwidth=0, is_ahead=True,
    )  # fmt: skip
