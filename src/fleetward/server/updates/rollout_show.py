"""Rollouts and freshness in the API's words. It reads; only the daily line is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec

from fleetward.runtime.http.times import to_rfc3339, to_rfc3339_or_none
from fleetward.server.updates import rollout_store, store
from fleetward.server.updates.book import UpdateBook
from fleetward.server.updates.decide import Release, is_eligible
from fleetward.server.updates.decide_rollout import (
    ALL,
    OPEN,
    Plan,
    count_states,
    group_failures,
    say_waiting,
)
from fleetward.server.updates.freshness import (
    DAY_MS,
    GOAL_DAYS,
    MOST_DAYS,
    begin_of,
    count_fresh,
    measure_behind,
)
from fleetward.server.updates.rollout_course import (
    Course,
    Forecast,
    RolloutCourses,
    decode_selector,
)
from fleetward.server.updates.rollout_model import (
    BehindRow,
    FailureCause,
    FreshDay,
    ProductFailure,
    ProductOverview,
    RolloutDeed,
    RolloutDetail,
    RolloutForecast,
    RolloutPart,
    RolloutRow,
    StageRow,
    UpdatesOverview,
)
from fleetward.server.updates.rollout_store import PartsWanted
from fleetward.server.updates.store import Row
from fleetward.trust.canonical import decode_object
from fleetward.trust.roster import ACTIVE
from fleetward.trust.sayings import say_count
from fleetward.trust.update_report import FAILURES

MAX_BEHIND: Final = 100
MAX_NAMED: Final = 20
MAX_DEEDS: Final = 500
"""Deeds of all rollouts among which those of one are looked for: the newest."""
HISTORY_DAYS: Final = 90


@dataclass(frozen=True)
class _Product:
    """A product as it is shown, with all machines that it counts, and those that are behind."""

    row: ProductOverview
    spread: Mapping[int, int]
    """How many machines are how many days behind."""
    machines: frozenset[str]
    behind: frozenset[str]


class RolloutsShown:
    """What the API says about rollouts, and how fresh the fleet is."""

    def __init__(self, book: UpdateBook, courses: RolloutCourses) -> None:
        self._book = book
        self._courses = courses

    def forecast(self, made: Forecast) -> RolloutForecast:
        """Return what a rollout would be."""
        return RolloutForecast(
            machines=made.machines,
            approved=len(made.fleet.approved),
            already=len(made.inside),
            stages=_stages(made.plan),
            promise=made.promise,
            promise_words=say_promise(made),
        )

    def rollouts(self) -> list[RolloutRow]:
        """Return all rollouts, newest first."""
        return [self.rollout(course) for course in self._courses.all()]

    def rollout(self, course: Course) -> RolloutRow:
        """Return one rollout."""
        row, plan, inside = course.row, course.plan, course.inside
        with self._book.near.database.read() as conn:
            parts = rollout_store.select_parts(conn, plan.id)
        now = self._book.near.clock.wall_ms()
        said = {part.device_id: part.words for part in parts}
        return RolloutRow(
            id=plan.id,
            product=row.product,
            version=row.version,
            release=row.release_id,
            machines=course.machines,
            selector=_say_selector(row.selector),
            canaries=_say_selector(row.canaries) if row.canaries else "",
            stages=_stages(plan),
            soak_seconds=row.soak_seconds,
            allowed_failures=row.allowed_failures,
            forgiven_failures=row.forgiven_failures,
            bandwidth=row.bandwidth,
            state=row.state,
            words=row.words,
            waits=say_waiting(plan, inside, course.fleet, now),
            promise=course.promise,
            promise_words=say_promise(course),
            exposure=len(inside),
            offered=sum(bool(part.offered_at) for part in parts),
            counts=cast("Any", dict(count_states(inside))),
            failures=[
                FailureCause(
                    cause=cause,
                    count=len(devices),
                    devices=devices[:MAX_NAMED],
                    words=said.get(devices[0], ""),
                )
                for cause, devices in group_failures(inside)
            ],
            created_by=row.created_by,
            created_at=to_rfc3339(row.created_at),
            changed_at=to_rfc3339(row.changed_at),
        )

    def detail(
        self, course: Course, wanted: PartsWanted, span: tuple[int, int], page: int
    ) -> RolloutDetail:
        """Return a rollout with a page (offset, limit) of its machines."""
        near = self._book.near
        with near.database.read() as conn:
            rows, total = rollout_store.select_parts_page(conn, course.plan.id, wanted, span)
            deeds = rollout_store.select_deeds(conn, near.owner.owner_id, MAX_DEEDS)
        return RolloutDetail(
            rollout=self.rollout(course),
            deeds=[deed for row in deeds if (deed := _deed(row, course.plan.id)) is not None],
            items=[_part(row) for row in rows],
            total=total,
            page=page,
            per_page=span[1],
        )

    def overview(self, goal_days: int = GOAL_DAYS) -> UpdatesOverview:
        """Return updates at a glance."""
        now = self._book.near.clock.wall_ms()
        with self._book.near.database.read() as conn:
            states = store.select_all_states(conn)
            history = rollout_store.select_days(conn, now // DAY_MS - HISTORY_DAYS)
        shown = self._products(goal_days, history)
        owner = self._book.near.owner
        machines: frozenset[str] = frozenset().union(*(each.machines for each in shown))
        behind: frozenset[str] = frozenset().union(*(each.behind for each in shown))
        return UpdatesOverview(
            as_of=to_rfc3339(now),
            makers=sorted(owner.policy.roots.makers) if owner.documents is not None else [],
            machines=len(machines),
            current=len(machines - behind),
            products=[each.row for each in shown],
            rollouts=[self.rollout(each) for each in self._courses.all(OPEN)],
            failures=_failures(states),
        )

    def note_day(self) -> None:
        """Write today's line of the history; the last of a day stands."""
        book = self._book
        now, owner = book.near.clock.wall_ms(), book.near.owner.owner_id
        for shown in self._products(GOAL_DAYS, ()):
            spread = msgspec.json.encode(sorted(shown.spread.items())).decode()
            values = {"owner_id": owner, "spread": spread}
            with book.near.database.write() as conn:
                rollout_store.upsert_day(conn, shown.row.product, now // DAY_MS, values)

    def _products(self, goal_days: int, history: Sequence[Row]) -> list[_Product]:
        with self._book.near.database.read() as conn:
            states = store.select_all_states(conn)
            named = store.select_named(conn)
        products = sorted({each.product for each in self._book.known.releases})
        return [self._product(product, goal_days, states, named, history) for product in products]

    def _product(
        self, product: str, goal_days: int, states: Sequence[Row], named: dict[str, Row],
        history: Sequence[Row],
    ) -> _Product:  # fmt: skip
        book, now = self._book, self._book.near.clock.wall_ms()
        holding = [each for each in book.holding(now) if each.product == product]
        releases = [each for each in book.offerable() if each.product == product]
        published = book.known.published
        running = {row.device_id: row for row in states if row.product == product}
        newest: Release | None = max(releases, key=lambda each: each.counter, default=None)
        behind: list[BehindRow] = []
        machines: set[str] = set()
        spread: Counter[int] = Counter()
        for entry in book.entries.values():
            if entry.state != ACTIVE:
                continue
            approved = [each for each in releases if is_eligible(each, entry, holding)]
            row = running.get(entry.device)
            running_counter = int(row.counter) if row else 0
            since = {e.id: begin_of(e, published[e.id], holding, entry) for e in approved}
            found = measure_behind(approved, since, running_counter, now)
            if found.days is None:
                continue
            machines.add(entry.device)
            spread[min(found.days, MOST_DAYS)] += 1
            if any(each.counter > running_counter for each in approved):
                behind.append(
                    BehindRow(
                        device_id=entry.device,
                        name=named[entry.device].name if entry.device in named else entry.name,
                        site=entry.site,
                        version=row.version if row else "",
                        days=found.days,
                    )
                )
        behind.sort(key=lambda each: (-each.days, each.name))
        shown = ProductOverview(
            product=product,
            newest=newest.version if newest is not None else "",
            machines=len(machines),
            current=len(machines) - len(behind),
            silent=sum(each.version == "" for each in behind),
            fresh=count_fresh(spread, goal_days),
            goal_days=goal_days,
            versions=dict(Counter(row.version for row in running.values() if row.version)),
            behind=behind[:MAX_BEHIND],
            history=[_day(row, goal_days) for row in history if row.product == product],
        )
        return _Product(
            shown, spread, frozenset(machines), frozenset(each.device_id for each in behind)
        )


def _day(row: Row, goal_days: int) -> FreshDay:
    spread = dict(msgspec.json.decode(row.spread, type=list[tuple[int, int]]))
    return FreshDay(
        day=to_rfc3339(row.day * DAY_MS),
        machines=sum(spread.values()),
        fresh=count_fresh(spread, goal_days),
    )


def say_promise(made: Forecast) -> str:
    """Say to a person how many machines can have it before somebody looks."""
    if made.promise >= made.machines:
        return (
            f"All of {say_count(made.machines, 'machine')} can have it before somebody looks: no "
            "wave stands in between."
        )
    tolerated = made.plan.tolerated
    return (
        f"At most {made.promise} of {say_count(made.machines, 'machine')} can have it before all "
        f"of these have said how it went. If {'any' if not tolerated else f'more than {tolerated}'}"
        f" {'fails' if not tolerated else 'fail'}, nobody else gets it before somebody looks."
    )


def _stages(plan: Plan) -> list[StageRow]:
    return [
        StageRow(
            words=stage.words,
            limit=None if stage.limit == ALL else stage.limit,
            open=number < plan.open_stages,
        )
        for number, stage in enumerate(plan.stages)
    ]


def _say_selector(text: str) -> str:
    return decode_selector(text).words()


def _part(row: Row) -> RolloutPart:
    state = "offered" if row.state == "placed" and row.offered_at else row.state
    return RolloutPart(
        device_id=row.device_id,
        name=row.name,
        site=row.site,
        wave=row.wave,
        state=cast("Any", state),
        cause=row.cause,
        words=row.words,
        placed_at=to_rfc3339(row.placed_at),
        offered_at=to_rfc3339_or_none(row.offered_at or None),
        ended_at=to_rfc3339_or_none(row.ended_at or None),
    )


def _deed(row: Row, rollout: str) -> RolloutDeed | None:
    """Return a deed of this rollout, or None for another's."""
    leaf = decode_object(bytes(row.body))
    body = leaf.get("body")
    if not isinstance(body, dict) or body.get("rollout") != rollout:
        return None
    words, who = body.get("words"), body.get("by")
    return RolloutDeed(
        at=to_rfc3339(row.at),
        kind=row.kind,
        who=who if isinstance(who, str) else row.actor,
        words=words if isinstance(words, str) else "",
    )


def _failures(states: Sequence[Row]) -> list[ProductFailure]:
    """Return failures of newest attempts by cause, the most frequent first."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in states:
        if row.outcome in FAILURES:
            key = (row.product, row.target_version, row.cause or row.outcome)
            found.setdefault(key, []).append(row.device_id)
    return [
        ProductFailure(
            product=product,
            version=version,
            cause=cause,
            count=len(devices),
            devices=sorted(devices)[:MAX_NAMED],
        )
        for (product, version, cause), devices in sorted(
            found.items(), key=lambda pair: (-len(pair[1]), pair[0])
        )
    ]
