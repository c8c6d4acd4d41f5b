"""Rollouts that nobody made: of what the owner approved ahead, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.trust_world import resign
from tests.updates_world import OPERATOR, UpdatesWorld, updates_world

from fleetward.runtime.database import Database
from fleetward.runtime.keys import make_key
from fleetward.server.updates.rollout_course import Course
from fleetward.trust.keys import ED25519
from fleetward.trust.selector import Selector

HOUR_MS = 3_600_000


@pytest.fixture
def there(database: Database, tmp_path: Path) -> Iterator[UpdatesWorld]:
    with updates_world(database, tmp_path, machines=4) as made:
        yield made


def rollouts(there: UpdatesWorld) -> dict[str, Course]:
    """Return the rollouts by version."""
    return {each.row.version: each for each in there.slice.courses.all()}


def pass_time(there: UpdatesWorld, milliseconds: int) -> None:
    there.world.clock.now += milliseconds
    there.slice.rollouts.begin_standing()
    there.slice.motion.advance()


def test_each_machine_gets_the_newest_that_is_for_it(there: UpdatesWorld) -> None:
    """A newer release for other machines, or one that replaces the agent, keeps nothing back."""
    model = there.slice.book.entries[there.pumps[0].device].model
    there.stand()
    mine = there.release("1.5", 15, hardware=(model,))
    there.release("1.6", 16, hardware=("another-model",))
    made = rollouts(there)
    assert set(made) == {"1.5"}
    [first] = [pump for pump in there.pumps if there.told(pump)]
    assert there.told(first) == [mine.path]


def test_who_is_approved_later_gets_it_too_and_nobody_is_waited_for(there: UpdatesWorld) -> None:
    one, two, *others = there.pumps
    there.stand(Selector(devices=(one.device,)))
    release = there.release("1.5", 15)
    assert rollouts(there)["1.5"].promise == 1
    there.say(one, release, "committed")
    for _ in range(3):
        pass_time(there, HOUR_MS + 1)
    assert rollouts(there)["1.5"].plan.state == "done"
    there.stand(Selector(devices=(two.device,)))
    pass_time(there, HOUR_MS)
    assert there.told(two) == [release.path]
    assert not any(there.told(other) for other in others)
    assert len(rollouts(there)) == 1


def test_what_has_not_begun_or_nobody_signed_begins_nothing(there: UpdatesWorld) -> None:
    there.release("1.5", 15)
    begins = there.world.clock.now + 24 * HOUR_MS
    later = there.stand(not_before_ms=begins)
    strange = make_key(ED25519)
    there.submit(resign(later.raw, {"not_before": begins - 24 * HOUR_MS}, [strange]))
    pass_time(there, HOUR_MS)
    assert rollouts(there) == {}
    pass_time(there, 24 * HOUR_MS)
    assert set(rollouts(there)) == {"1.5"}


def test_a_release_that_was_stopped_gives_way_to_the_one_before(there: UpdatesWorld) -> None:
    there.release("1.5", 15)
    there.release("9.9", 2**40)
    there.stand()
    there.slice.rollouts.cancel(rollouts(there)["9.9"].plan.id, "no maker signed it", OPERATOR)
    pass_time(there, HOUR_MS)
    assert {version: course.plan.state for version, course in rollouts(there).items()} == {
        "9.9": "cancelled", "1.5": "running",
    }  # fmt: skip
