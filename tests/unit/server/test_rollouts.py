"""Rollouts on the server: exact exposure, halts by signed reports, and what people do of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient
from tests.trust_world import refused
from tests.unit.web.floor import HOST, Names
from tests.updates_world import OPERATOR, PRODUCT, UpdatesWorld, failed, updates_world

from fleetward.runtime.database import Database
from fleetward.runtime.http.hosts import HostPolicy
from fleetward.server.updates.decide_rollout import make_stages
from fleetward.server.updates.pace import LEAST_CEILING
from fleetward.server.updates.rollout_course import Course, Wish
from fleetward.server.updates.rollout_motion import AGAIN_MS
from fleetward.server.updates.rollout_routes import RolloutRooms, make_rollout_handlers
from fleetward.server.web.app import Services, create_app
from fleetward.server.web.coverage import find_gaps
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.release_manifest import Manifest
from fleetward.trust.selector import Selector
from fleetward.wire.updates import UpdateQuestion

MACHINES = 8
SOAK_MS = 60_000


@pytest.fixture
def there(database: Database, tmp_path: Path) -> Iterator[UpdatesWorld]:
    with updates_world(database, tmp_path, machines=MACHINES) as made:
        yield made


def wish(**changes: Any) -> Wish:
    values: dict[str, Any] = {
        "product": PRODUCT, "version": "1.1", "selector": Selector(), "canaries": None,
        "waves": ("2", "50%", "100%"), "soak_seconds": SOAK_MS // 1000, "allowed_failures": 0,
        "bandwidth": 0,
    }  # fmt: skip
    return Wish(**(values | changes))


def create(there: UpdatesWorld, **changes: Any) -> Course:
    course: Course = there.slice.rollouts.create(wish(**changes), OPERATOR)
    return course


def again(there: UpdatesWorld, course: Course) -> Course:
    """Let the clock's round pass, and look."""
    there.world.clock.now += 10_000
    there.slice.motion.advance()
    found: Course = there.slice.courses.find(course.plan.id)
    return found


def is_told(there: UpdatesWorld) -> set[str]:
    return {each.device for each in there.pumps if there.told(each)}


def end(there: UpdatesWorld, course: Course, outcome: str = "committed", **said: Any) -> None:
    """Let every machine that is in and has not ended say how it ended."""
    for each in course.inside:
        if each.state == "placed":
            machine = next(m for m in there.pumps if m.device == each.device)
            there.say(machine, there.manifests[0], outcome, **said)


def published(there: UpdatesWorld) -> Manifest:
    return there.release("1.1", 11)


def test_wave_after_wave_to_everybody_and_to_who_comes_later(there: UpdatesWorld) -> None:
    manifest = published(there)
    course = create(there)
    assert (len(course.inside), course.promise, course.machines) == (0, 2, MACHINES)
    there.looked.clear()
    there.approve(manifest)
    course = there.slice.courses.find(course.plan.id)
    # They are in before anybody is told to look: two looks of a machine are seconds apart.
    assert len(course.inside) == 2
    assert set(there.looked[:2]) == {each.device for each in course.inside} == is_told(there)
    assert "waits for 2 machines" in there.slice.rollouts_shown.rollout(course).waits
    end(there, course)
    assert len(again(there, course).inside) == 2
    assert "opens in" in there.slice.rollouts_shown.rollout(again(there, course)).waits
    there.world.clock.now += SOAK_MS
    course = again(there, course)
    assert (len(course.inside), course.plan.open_stages) == (4, 2)
    end(there, course)
    there.world.clock.now += SOAK_MS
    course = again(there, course)
    assert len(course.inside) == MACHINES
    end(there, course)
    assert again(there, course).plan.state == "done"
    opened = there.world.deeds("rollout.wave_opened")
    assert len(opened) == len(course.plan.stages) - 1
    late = there.world.join("late", preapproved=True)
    there.world.confirm(late)
    there.pumps.append(late)
    course = again(there, course)
    assert (course.plan.state, len(course.inside)) == ("running", MACHINES + 1)
    assert there.told(late) == [manifest.path]
    shown = there.slice.rollouts_shown.rollout(course)
    assert (shown.exposure, shown.counts["committed"]) == (MACHINES + 1, MACHINES)


def test_who_was_away_when_he_was_told_is_told_again(there: UpdatesWorld) -> None:
    there.approve(published(there))
    course = create(there, waves=("3", "100%"))
    inside = [each.device for each in course.inside]
    asks = next(m for m in there.pumps if m.device == inside[0])
    there.told(asks)
    there.looked.clear()
    again(there, course)
    assert there.looked == []
    there.world.clock.now += AGAIN_MS
    again(there, course)
    assert sorted(there.looked) == sorted(inside[1:])
    again(there, course)
    assert len(there.looked) == 2
    # Nobody is told of a rollout that lets nobody in.
    there.slice.rollouts.pause(course.plan.id, "lunch", OPERATOR)
    there.looked.clear()
    there.world.clock.now += 2 * AGAIN_MS
    again(there, course)
    assert there.looked == []


def test_a_failure_holds_it_at_once_and_who_has_begun_goes_on(there: UpdatesWorld) -> None:
    manifest = published(there)
    there.approve(manifest)
    course = create(there, waves=("4", "100%"))
    assert (len(course.inside), course.promise) == (4, 4)
    by_id = {each.device: each for each in there.pumps}
    bad, begun, told, fresh = (by_id[each.device] for each in course.inside)
    del fresh
    there.say(begun, manifest, "accepted")
    assert there.told(told) == [manifest.path]
    there.say(bad, manifest, "accepted", "installed")
    there.say(bad, manifest, "rolled_back", rule="health", findings=failed("http /ping"))
    course = there.slice.courses.find(course.plan.id)
    assert (course.plan.state, len(course.inside)) == ("held", 4)
    assert course.row.words == "1 machine failed: 1 by health: http /ping."
    [held] = there.world.deeds("rollout.held")
    assert held["actor"] == "server"
    # Who has begun is told of it further; nobody else is.
    assert is_told(there) == {begun.device}
    there.world.clock.now += SOAK_MS
    assert len(again(there, course).inside) == 4
    with refused(Refused, "too_many_failures"):
        there.slice.rollouts.resume(course.plan.id, "", OPERATOR)
    shown = there.slice.rollouts_shown.rollout(course)
    assert [(c.cause, c.devices, c.words) for c in shown.failures] == [
        ("health: http /ping", [bad.device], "So it is.")
    ]
    overview = there.slice.rollouts_shown.overview()
    assert [(f.version, f.cause, f.count) for f in overview.failures] == [
        ("1.1", "health: http /ping", 1)
    ]
    assert [row.state for row in overview.rollouts] == ["held"]
    course = there.slice.rollouts.proceed(course.plan.id, "it was the cable", OPERATOR)
    assert (course.plan.state, course.plan.forgiven) == ("running", 1)
    assert len(course.inside) == MACHINES
    course = there.slice.rollouts.offer_again(course.plan.id, "", OPERATOR)
    assert {each.state for each in course.inside} == {"placed", "accepted"}
    kinds = ("created", "continued", "offered_again")
    assert [len(there.world.deeds(f"rollout.{kind}")) for kind in kinds] == [1, 1, 1]


def test_canaries_come_first_and_silence_holds_and_opens_nothing(there: UpdatesWorld) -> None:
    manifest = published(there)
    there.approve(manifest)
    canary = there.pumps[5].device
    course = create(there, canaries=Selector(devices=(canary,)), waves=("50%", "100%"))
    assert [each.device for each in course.inside] == [canary]
    assert course.promise == 1
    for _ in range(3):
        there.world.clock.now += 100 * SOAK_MS
        course = again(there, course)
        assert (course.plan.state, len(course.inside)) == ("running", 1)
    course = there.slice.rollouts.proceed(course.plan.id, "it is off", OPERATOR)
    assert len(course.inside) == 4
    with refused(Refused, "no_canaries"):
        there.slice.courses.preview(
            wish(selector=Selector(devices=(canary,)), canaries=Selector(sites=("Moon",)))
        )


def test_paused_resumed_and_cancelled(there: UpdatesWorld) -> None:
    manifest = published(there)
    there.approve(manifest)
    rollouts = there.slice.rollouts
    course = create(there)
    place = course.plan.id[:8]
    assert len(is_told(there)) == 2
    assert rollouts.pause(place, "look first", OPERATOR).plan.state == "paused"
    assert is_told(there) == set()
    with refused(Refused, "rollout_exists"):
        create(there)
    assert rollouts.resume(place, "", OPERATOR).plan.state == "running"
    assert rollouts.hold(place, "smoke", OPERATOR).row.words == "smoke"
    with refused(Refused, "not_running"):
        rollouts.pause(place, "", OPERATOR)
    assert rollouts.cancel(place, "", OPERATOR).plan.state == "cancelled"
    assert is_told(there) == set()
    for change in (rollouts.cancel, rollouts.proceed):
        with refused(Refused, "rollout_over"):
            change(place, "", OPERATOR)
    with refused(Refused, "not_stopped"):
        rollouts.resume(place, "", OPERATOR)
    with refused(Refused, "nothing_failed"):
        rollouts.offer_again(place, "", OPERATOR)
    with refused(Refused, "rollout_not_found"):
        there.slice.courses.find("0" * 8)
    with refused(Malformed, "bad_rollout_id"):
        there.slice.courses.find("x")
    assert len(create(there).inside) == 2


def test_who_was_told_before_counts(there: UpdatesWorld) -> None:
    manifest = published(there)
    there.approve(manifest)
    first = create(there, waves=("1", "100%"))
    early = next(m for m in there.pumps if m.device == first.inside[0].device)
    assert there.told(early) == [manifest.path]
    there.slice.rollouts.cancel(first.plan.id, "", OPERATOR)
    forecast = there.slice.rollouts_shown.forecast(there.slice.courses.preview(wish()))
    assert (forecast.already, forecast.promise, forecast.approved) == (1, 2, MACHINES)
    course = create(there)
    assert len(course.inside) == 2
    assert early.device in {each.device for each in course.inside}


def test_a_machine_that_went_on_to_a_newer_release_has_ended(there: UpdatesWorld) -> None:
    manifest = published(there)
    newer = there.release("1.2", 12)
    there.approve(manifest)
    course = create(there, waves=("1", "100%"), soak_seconds=0)
    machine = next(m for m in there.pumps if m.device == course.inside[0].device)
    there.say(machine, newer, "committed")
    course = again(there, course)
    assert course.plan.open_stages == 2
    assert "passed" in {each.state for each in course.inside}


def test_a_machine_off_the_roster_holds_nothing_up(there: UpdatesWorld) -> None:
    manifest = published(there)
    there.approve(manifest)
    course = create(there, waves=("1", "100%"), soak_seconds=0)
    gone = next(m for m in there.pumps if m.device == course.inside[0].device)
    there.world.trust.retire(gone)
    there.world.publish()
    assert len(again(there, course).inside) == MACHINES


def test_a_ceiling_slows_the_machines_of_its_rollout(there: UpdatesWorld) -> None:
    manifest = published(there)
    there.approve(manifest)
    with refused(Malformed, "bad_bandwidth"):
        create(there, bandwidth=LEAST_CEILING - 1)
    course = create(there, bandwidth=LEAST_CEILING)
    again(there, course)
    inside = {each.device for each in course.inside}
    piece = UpdateQuestion(what="blob", name="0" * 64, length=LEAST_CEILING)
    for machine in there.pumps:
        waits = [there.slice.desk.pace(machine.device, piece) for _ in range(3)]
        assert (waits[-1] > 1) == (machine.device in inside)


@pytest.mark.parametrize(
    ("waves", "limits"),
    [
        (("1%", "10%", "100%"), [10, 100, 0]), (("0.1%",), [1]), (("0.5%", "100%"), [5, 0]),
        (("5", "1%", "100%"), [5, 10, 0]), (("2000",), [2000]),
    ],
)  # fmt: skip
def test_limits_of_waves(waves: tuple[str, ...], limits: list[int]) -> None:
    assert [stage.limit for stage in make_stages(waves, 1000, 0)] == limits
    with_canaries = make_stages(waves, 1000, 7)
    assert with_canaries[0].limit == 7
    assert all(
        stage.limit in (0, max(7, limit))
        for stage, limit in zip(with_canaries[1:], limits, strict=True)
    )


@pytest.mark.parametrize(
    "waves", [(), ("0%",), ("101%",), ("-1",), ("x",), ("10%", "10%"), ("10%", "5%"), ("100%", "5")]
)
def test_waves_that_are_none(waves: tuple[str, ...]) -> None:
    with pytest.raises(Malformed):
        make_stages(waves, 10, 0)


def test_who_is_behind_and_since_when(there: UpdatesWorld) -> None:
    manifest = published(there)
    there.approve(manifest)
    pump = there.pumps[0]
    there.say(pump, manifest, "committed")
    there.world.clock.now += 31 * 86_400_000
    [product] = there.slice.rollouts_shown.overview().products
    assert (product.newest, product.machines, product.fresh) == ("1.1", MACHINES, 1)
    assert product.versions == {"1.1": 1}
    assert product.current == 1
    assert {row.days for row in product.behind} == {31}
    assert (len(product.behind), product.silent) == (MACHINES - 1, MACHINES - 1)
    whole = there.slice.rollouts_shown.overview()
    assert (whole.makers, whole.machines, whole.current) == ([PRODUCT], MACHINES, 1)
    there.say(pump, there.release("1.2", 12), "committed")  # newer than what is approved
    [product] = there.slice.rollouts_shown.overview().products
    assert (product.current, len(product.behind)) == (1, MACHINES - 1)
    there.slice.rollouts_shown.note_day()
    there.slice.rollouts_shown.note_day()
    [product] = there.slice.rollouts_shown.overview(goal_days=40).products
    assert product.fresh == MACHINES
    assert [(day.machines, day.fresh) for day in product.history] == [(MACHINES, MACHINES)]
    [product] = there.slice.rollouts_shown.overview().products
    assert [(day.machines, day.fresh) for day in product.history] == [(MACHINES, 1)]


def test_the_routes(there: UpdatesWorld, tmp_path: Path) -> None:
    manifest = published(there)
    there.approve(manifest)
    here = there.slice
    rooms = RolloutRooms(here.courses, here.rollouts, here.rollouts_shown)
    app = create_app(
        Services(
            handlers=make_rollout_handlers(rooms),
            authenticator=Names(),
            hosts=HostPolicy(frozenset({"console.localhost"})),
            static=tmp_path / "static",
        )
    )
    assert find_gaps(app) == []
    base = "/api/v1/updates"
    body: dict[str, Any] = {
        "product": PRODUCT, "version": "1.1", "selector": {}, "waves": ["2", "100%"],
        "canaries": {"devices": [there.pumps[0].device]},
    }  # fmt: skip
    with TestClient(app, base_url=f"http://{HOST}") as client:

        def bearer(who: str = "operator") -> dict[str, str]:
            return {"authorization": f"Bearer {who}"}

        seen = client.post(f"{base}/rollout-forecasts", json=body, headers=bearer("viewer"))
        assert (seen.status_code, seen.json()["promise"]) == (200, 1), seen.text
        assert there.world.count("updates_rollout") == 0
        no = client.post(f"{base}/rollouts", json=body, headers=bearer("viewer"))
        assert no.status_code == 403
        made = client.post(f"{base}/rollouts", json=body, headers=bearer())
        assert made.status_code == 201, made.text
        assert (made.json()["exposure"], made.json()["state"]) == (1, "running")
        place = f"{base}/rollouts/{made.json()['id'][:8]}"
        shown = client.get(place, headers=bearer("viewer")).json()
        assert (shown["total"], shown["items"][0]["state"]) == (1, "placed")
        assert [(deed["kind"], deed["who"]) for deed in shown["deeds"]] == [
            ("rollout.created", "Otto")
        ]
        for query, total in (
            ("?state=placed", 1), ("?state=failed,rolled_back", 0), ("?state=offered", 0),
            ("?q=PUMP", 1), ("?q=100%", 0), ("?state=placed&q=nobody", 0),
        ):  # fmt: skip
            found = client.get(place + query, headers=bearer("viewer")).json()
            assert (found["total"], len(found["items"])) == (total, total), query
        assert len(client.get(f"{base}/rollouts", headers=bearer("viewer")).json()["items"]) == 1
        for verb, state in (
            ("pause", "paused"), ("resume", "running"), ("hold", "held"), ("continue", "running"),
            ("cancel", "cancelled"),
        ):  # fmt: skip
            answer = client.post(f"{place}/{verb}", json={"reason": "so"}, headers=bearer())
            assert (answer.status_code, answer.json()["state"]) == (200, state), answer.text
            no = client.post(f"{place}/{verb}", json={}, headers=bearer("viewer"))
            assert no.status_code == 403
        overview = client.get(f"{base}/overview?goal_days=3", headers=bearer("viewer")).json()
        assert overview["products"][0]["goal_days"] == 3
        bad = client.post(
            f"{base}/rollouts", json=body | {"selector": {"devices": ["x"]}}, headers=bearer()
        )
        assert bad.status_code == 400
