"""Rollouts: made and stopped. Each deed of a person is written down first.

Where the owner approved a product ahead, nobody has to be there: the newest release then gets a
rollout by itself, one machine first. People stop it, or make another, as with every rollout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from fleetward.server.updates import rollout_store
from fleetward.server.updates.decide import Release, approves
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
from fleetward.server.updates.rollout_course import Course, Forecast, RolloutCourses, Wish
from fleetward.server.updates.rollout_motion import RolloutMotion, make_part
from fleetward.server.web.caller import Caller
from fleetward.trust.errors import Refused
from fleetward.trust.selector import Selector
from fleetward.trust.update_report import FAILURES

STANDING_WAVES: Final = ("1", "10%", "100%")
"""Of a rollout that nobody made."""
STANDING_SOAK_SECONDS: Final = 3600
BY_ITSELF: Final = ("server", "the owner's approval ahead")
"""Under which actor and name such a rollout is written down."""


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
        """Make the rollout of each product's newest release, where the owner approved the product
        ahead and none of it was ever made."""
        with self.book.lock:
            with self.book.near.database.read() as conn:
                had = {row.release_id for row in rollout_store.select_rollouts(conn)}
            newest: dict[str, Release] = {}
            for release in sorted(self.book.offerable(), key=lambda each: each.counter):
                newest[release.product] = release
            holding = self.book.holding(self.book.near.clock.wall_ms())
            standing = [paper for paper in holding if paper.kind == STANDING]
            for release in newest.values():
                papers = [paper for paper in standing if paper.product == release.product]
                if release.id not in had and self._has_any(release, papers):
                    self._create(_make_standing(release, papers), BY_ITSELF)

    def _has_any(self, release: Release, papers: Sequence[Paper]) -> bool:
        """Whether a machine is approved for it by one of these papers, and does not run it."""
        selected = self._courses.fleet_of(release, Selector(), None).selected
        entries = [self.book.entries[device] for device in selected]
        return any(approves(paper, release, entry) for paper in papers for entry in entries)

    def _hear(self, what: str, _: str) -> None:
        if what in ("approval", "release"):
            self.begin_standing()

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


def _make_standing(release: Release, papers: Sequence[Paper]) -> Wish:
    selector = papers[0].selector if len(papers) == 1 else Selector()
    return Wish(
        release.product, release.version, selector, None, STANDING_WAVES, STANDING_SOAK_SECONDS,
        allowed_failures=0, bandwidth=0,
    )  # fmt: skip
