"""The drill's attacks with releases: what is offered, what is not, and what counts as the answer.

That a machine refuses each is shown where a machine is: `tests/system/test_demo_release.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.server_world import ServerWorld
from tests.updates_world import PRODUCT, UpdatesWorld, updates_world

from fleetward.runtime.database import Database
from fleetward.server.drill.attack import Attack
from fleetward.server.drill.release_attacks import UNSIGNED_VERSION, make_release_attacks
from fleetward.server.drill.store import select_heard, select_release_answers
from fleetward.server.updates.robbed import Loot, Published
from fleetward.trust.release_manifest import make_path
from fleetward.wire.subjects import Up

IDS = ["unsigned-release", "another-product", "older-release", "unapproved-release"]


@pytest.fixture
def there(database: Database, tmp_path: Path) -> Iterator[UpdatesWorld]:
    with updates_world(database, tmp_path) as made:
        yield made


def published(product: str, version: str, counter: int, *, approved: bool = True) -> Published:
    path = make_path(product, version)
    return Published(product, version, path, 100 + counter, f"{counter:064x}", counter, approved)


OLD, RUNS, OTHER = (
    published("kiosk", "1.0", 1),
    published("kiosk", "1.1", 2),
    published("lights", "1.0", 1, approved=False),
)


def by_id(loot: Loot) -> dict[str, Attack]:
    return {attack.id: attack for attack in make_release_attacks(loot)}


def test_each_attack_has_a_path_of_its_own() -> None:
    attacks = by_id(Loot(directs=True, releases=(OLD, RUNS, OTHER), floors={"kiosk": 2}))
    assert list(attacks) == IDS
    targets = {name: attack.target for name, attack in attacks.items()}
    assert all(targets.values())
    paths = {name: target.path for name, target in targets.items() if target is not None}
    assert paths == {
        "unsigned-release": f"kiosk/{UNSIGNED_VERSION}/release.json",
        "another-product": RUNS.path,
        "older-release": OLD.path,
        "unapproved-release": OTHER.path,
    }
    stolen = targets["another-product"]
    assert stolen is not None
    assert (stolen.length, stolen.sha256) == (OTHER.length, OTHER.sha256)


def test_what_cannot_be_tried_says_why() -> None:
    attacks = by_id(Loot(directs=True, releases=(RUNS,), floors={}))
    skipped = {name: attack.skipped for name, attack in attacks.items() if attack.skipped}
    assert list(skipped) == IDS[1:]
    assert all(
        words.startswith("Not tried: ") and words.endswith(".") for words in skipped.values()
    )
    assert not any(attacks[name].payloads for name in skipped)


@pytest.mark.parametrize(
    ("loot", "word"),
    [
        (Loot(directs=False, releases=(RUNS,), floors={}), "director"),
        (Loot(directs=True, releases=(), floors={}), "published"),
    ],
)
def test_a_machine_that_asks_for_nothing_is_offered_nothing(loot: Loot, word: str) -> None:
    (attack,) = make_release_attacks(loot)
    assert attack.target is None
    assert word in attack.skipped


def test_the_loot_is_what_was_published_and_what_the_machine_said(there: UpdatesWorld) -> None:
    first, pump = there.release("1.0", 1), there.pumps[0]
    second = there.release("1.1", 2)
    there.approve(second)
    there.say(pump, second, "accepted", "installed", "committed")
    loot = there.slice.desk.find_loot(pump.device)
    assert loot.directs
    assert {each.version: each.approved for each in loot.releases} == {"1.0": False, "1.1": True}
    attacks = by_id(loot)
    older = attacks["older-release"].target
    assert older is None or older.path == first.path


def test_a_machine_takes_the_false_word_for_the_directors_and_then_the_true_one(
    there: UpdatesWorld,
) -> None:
    release = there.release("1.1", 2)
    there.approve(release)
    there.roll_out(release)
    pump, other = there.pumps
    kept: dict[str, bytes] = {}
    assert [t.path for t in there.refresh(pump, kept).targets] == [release.path]
    false = make_path(PRODUCT, UNSIGNED_VERSION)
    there.slice.desk.lie(pump.device, [(false, 10, "ab" * 32)])
    lied = there.refresh(pump, kept)
    assert {t.path for t in lied.targets} == {release.path, false}
    assert there.told(other) == [release.path]
    there.slice.desk.be_true(pump.device)
    true = there.refresh(pump, kept)
    assert [t.path for t in true.targets] == [release.path]
    assert true.version > lied.version


def test_a_true_release_in_another_ones_place_is_named_once(there: UpdatesWorld) -> None:
    release = there.release("1.1", 2)
    there.approve(release)
    there.roll_out(release)
    pump = there.pumps[0]
    there.slice.desk.lie(pump.device, [(release.path, 10, "ab" * 32)])
    (target,) = there.refresh(pump).targets
    assert (target.path, target.length_bytes) == (release.path, 10)


def test_a_refusal_is_of_the_release_that_it_names(world: ServerWorld) -> None:
    machine = world.join("pump")
    world.confirm(machine)
    old, new, other = OLD.path, RUNS.path, OTHER.path
    refused = "gate.refused"
    machine.write(refused, {"what": "order", "reason": "no", "words": f"{old}: of something else."})
    said = {"what": "release", "reason": "older_counter", "words": f"{old}: Too old."}
    machine.write(refused, said)
    machine.write("gate.reduced", {"what": "release", "reason": "r", "words": f"{new}: looks."})
    machine.write("update.accepted", {"product": "kiosk", "version": "1.1", "words": "Fetched."})
    world.send(machine, Up.BATCH, machine.cut())
    with world.database.read() as conn:
        answers = select_release_answers(conn, machine.device, 0, frozenset({old, new, other}))
    assert {path: (a.kind, a.reason, a.words) for path, a in answers.items()} == {
        old: (refused, "older_counter", "Too old."),
        new: ("update.accepted", "", "Fetched."),
    }


def test_what_is_said_of_releases_answers_no_order(world: ServerWorld) -> None:
    machine = world.join("pump")
    world.confirm(machine)
    for what in ("release", "director", "approval", "part"):
        machine.write("gate.refused", {"what": what, "reason": "no", "words": "No."})
    looks = {"what": "look_for_updates", "reason": "server_asked", "words": "It looks."}
    machine.write("gate.reduced", looks)
    machine.write("gate.refused", {"what": "order", "reason": "bad_order", "words": "No order."})
    world.send(machine, Up.BATCH, machine.cut())
    with world.database.read() as conn:
        heard = select_heard(conn, machine.device, 0)
    assert heard is not None
    assert heard.reason == "bad_order"


def test_who_refuses_the_whole_word_has_refused_each_release(world: ServerWorld) -> None:
    machine = world.join("pump")
    world.confirm(machine)
    said = {"what": "director", "reason": "too_few_signatures", "words": "Not the director."}
    machine.write("gate.refused", said)
    world.send(machine, Up.BATCH, machine.cut())
    paths = frozenset({OLD.path, RUNS.path})
    with world.database.read() as conn:
        answers = select_release_answers(conn, machine.device, 0, paths)
    assert {path: answer.reason for path, answer in answers.items()} == dict.fromkeys(
        paths, "too_few_signatures"
    )
