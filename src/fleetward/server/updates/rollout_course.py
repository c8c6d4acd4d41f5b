"""Rollouts as they stand, and as one would be: read from the store, judged by `decide_rollout`.

Nothing is changed here. `Rollouts` has what people do, `RolloutMotion` what follows of itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from fleetward.server.updates import rollout_store, store
from fleetward.server.updates.book import UpdateBook
from fleetward.server.updates.decide import Release, approves
from fleetward.server.updates.decide_rollout import (
    PLACED,
    RUNNING,
    Fleet,
    In,
    Plan,
    Stage,
    make_stages,
    promise_exposure,
)
from fleetward.server.updates.named import find_named
from fleetward.server.updates.pace import LEAST_CEILING
from fleetward.server.updates.store import Row
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.roster import ACTIVE, RosterEntry
from fleetward.trust.selector import Selector, read_selector
from fleetward.trust.update_report import UpdateReport

ID_BYTES: Final = 16
BY_ITSELF: Final = "the owner's approval ahead"
"""Who made a rollout that nobody made."""


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
    is_ahead: bool = False
    """Made by itself, of what the owner approved ahead: other machines do not count."""


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


class RolloutCourses:
    """Reads rollouts. Thread-safe."""

    def __init__(self, book: UpdateBook) -> None:
        self.book: Final = book

    def preview(self, wish: Wish) -> Forecast:
        """Return what a rollout would be. Raises `Malformed` or `Refused`."""
        release = self.require_release(wish)
        fleet = self.fleet_of(release, wish.selector, wish.canaries)
        fleet = _narrow(fleet) if wish.is_ahead else fleet
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

    def find(self, place: str) -> Course:
        """Return a rollout by its id, or the beginning of it. Raises `Malformed`, `Refused`."""
        row = find_named(self.book.near.database, "rollout", rollout_store.select_by_prefix, place)
        return self.course(row)

    def all(self, states: Collection[str] = ()) -> list[Course]:
        """Return rollouts in these states, or all, newest first."""
        with self.book.near.database.read() as conn:
            rows = rollout_store.select_rollouts(conn)
        return [self.course(row) for row in rows if not states or row.state in states]

    def course(self, row: Row) -> Course:
        """Return how a rollout stands."""
        with self.book.near.database.read() as conn:
            parts = rollout_store.select_parts(conn, row.rollout_id)
        inside = tuple(
            In(part.device_id, part.state, int(part.ended_at), part.cause) for part in parts
        )
        release = self.release(row.release_id)
        canaries = decode_selector(row.canaries) if row.canaries else None
        fleet = self.fleet_of(release, decode_selector(row.selector), canaries)
        gone = frozenset(e.device for e in inside if not self.is_active(e.device))
        fleet = _narrow(fleet) if row.created_by == BY_ITSELF else fleet
        return Course(_plan(row), inside, replace(fleet, gone=gone), row)

    def reload(self, rollout: str) -> Course:
        with self.book.near.database.read() as conn:
            return self.course(rollout_store.select_by_prefix(conn, rollout)[0])

    def release(self, release: str) -> Release:
        return next(each for each in self.book.known.releases if each.id == release)

    def require_release(self, wish: Wish) -> Release:
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

    def fleet_of(self, release: Release, selector: Selector, canaries: Selector | None) -> Fleet:
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

    def is_active(self, device: str) -> bool:
        entry: RosterEntry | None = self.book.entries.get(device)
        return entry is not None and entry.state == ACTIVE

    def is_passed(self, release: str, report: UpdateReport) -> bool:
        mine = self.release(release)
        return any(
            each.product == mine.product and each.counter > mine.counter
            for each in report.installed
        )


def decode_selector(text: str) -> Selector:
    """Return a selector as it is stored."""
    return read_selector(msgspec.json.decode(text))


def _narrow(fleet: Fleet) -> Fleet:
    """Return the machines that the owner allows it to: nobody is waited for."""
    return replace(fleet, selected=fleet.selected & fleet.approved)


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
