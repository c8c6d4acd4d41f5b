"""Cards of the first page about updates, over real releases, approvals and signed reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.trust_world import DAY_MS
from tests.unit.server.overview_world import today
from tests.updates_world import OPERATOR, UpdatesWorld, failed, updates_world

from fleetward.runtime.database import Database
from fleetward.server.overview.decide import CardFacts
from fleetward.server.update_cards import SUPPORT_MS, WAITING_MS, held_cards, update_cards
from fleetward.server.updates.rollout_course import Wish
from fleetward.trust.selector import Selector


@pytest.fixture
def there(database: Database, tmp_path: Path) -> Iterator[UpdatesWorld]:
    with updates_world(database, tmp_path, machines=3) as made:
        yield made


def cards(there: UpdatesWorld) -> list[CardFacts]:
    return update_cards(there.slice.book)


def test_nothing_is_said_where_nothing_is_the_matter(there: UpdatesWorld) -> None:
    manifest = there.release("1.1", 11)
    there.approve(manifest)
    there.say(there.pumps[0], manifest, "accepted", "installed", "committed")
    assert cards(there) == []
    assert held_cards(there.slice.book) == []
    assert not [card for card in today(there.world).cards if "updates" in card.kind]


def test_a_held_rollout_is_said_once_and_leads_to_its_page(there: UpdatesWorld) -> None:
    manifest = there.release("1.1", 11)
    there.approve(manifest)
    wish = Wish("kiosk", "1.1", Selector(), None, ("1", "100%"), 0, 0, 0)
    course = there.slice.rollouts.create(wish, OPERATOR)
    machine = next(m for m in there.pumps if m.device == course.inside[0].device)
    there.say(machine, manifest, "rolled_back", rule="health", findings=failed("http /ping"))
    [card] = held_cards(there.slice.book)
    assert card.title == "The rollout of kiosk 1.1 is held"
    assert "1 machine failed: 1 by health: http /ping." in card.why
    assert card.href == f"/updates/rollouts/{course.plan.id}"
    assert cards(there) == []
    there.slice.rollouts.cancel(course.plan.id, "", OPERATOR)
    assert held_cards(there.slice.book) == []
    assert [each.title.partition(" went")[2] for each in cards(there)] == [
        " back from kiosk 1.1 by itself"
    ]


def test_a_rollout_that_waits_for_silent_machines_is_said_after_days(there: UpdatesWorld) -> None:
    manifest = there.release("1.1", 11)
    there.approve(manifest)
    there.roll_out(manifest, "1", "100%")
    [course] = there.slice.courses.all()
    there.world.clock.now += WAITING_MS - 1
    assert cards(there) == []
    there.world.clock.now += 1
    [card] = cards(there)
    assert card.title == "The rollout of kiosk 1.1 waits"
    assert card.why.startswith("1 machine may have it, and did not say")
    assert card.href == f"/updates/rollouts/{course.plan.id}"
    machine = next(m for m in there.pumps if m.device == course.inside[0].device)
    there.say(machine, manifest, "committed")
    assert cards(there) == []


def test_machines_that_failed_are_one_card_for_each_release(there: UpdatesWorld) -> None:
    old, new = there.release("1.0", 10), there.release("1.1", 11)
    there.approve(new)
    first, second, third = there.pumps
    there.say(first, new, "rolled_back", words="The screen stayed dark.")
    [card] = cards(there)
    assert card.title == "pump 0 went back from kiosk 1.1 by itself"
    assert card.why.startswith("“The screen stayed dark.” It tries again")
    assert card.href == f"/devices/{first.device}"
    there.say(second, new, "failed")
    there.say(third, old, "failed")
    assert {(card.title, card.href) for card in cards(there)} == {
        ("kiosk 1.1 could not be installed on 2 machines", "/updates/releases/kiosk/1.1"),
        ("kiosk 1.0 could not be installed on pump 2", f"/devices/{third.device}"),
    }
    there.say(first, new, "committed", attempt=2)
    there.say(second, new, "committed", attempt=2)
    assert [card.title for card in cards(there)] == ["kiosk 1.0 could not be installed on pump 2"]


def test_support_that_ends_within_half_a_year(there: UpdatesWorld) -> None:
    end = there.world.clock.now + SUPPORT_MS + DAY_MS
    there.release("1.0", 10, support_ends_at_ms=there.world.clock.now + DAY_MS)
    there.release("1.1", 11, support_ends_at_ms=end)
    assert cards(there) == []
    there.world.clock.now += 2 * DAY_MS
    [card] = cards(there)
    assert card.title.startswith("Support of kiosk ends on ")
    assert card.href == "/updates/releases/kiosk/1.1"
    there.world.clock.now = end
    [card] = cards(there)
    assert card.title.startswith("Support of kiosk ended on ")
