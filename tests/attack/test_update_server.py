"""Machines that lie about updates, that ask for what is not theirs, and that never stop asking.

The server believes no report but one that a machine signed about itself, for this owner, and then
only of this machine; and whatever a machine asks for, it gets nothing but published files.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.postgres import cluster, database
from tests.trust_world import refused, resign
from tests.unit.server.test_rollouts import again, create
from tests.updates_world import OPERATOR, UpdatesWorld, failed, updates_world

from fleetward.runtime.database import Database
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Refused, Untrusted
from fleetward.trust.releases.director import DirectorRefresh
from fleetward.wire.subjects import Up
from fleetward.wire.updates import UpdateQuestion

__all__ = ["cluster", "database"]
MACHINES = 8


@pytest.fixture
def there(database: Database, tmp_path: Path) -> Iterator[UpdatesWorld]:
    with updates_world(database, tmp_path, machines=MACHINES) as made:
        yield made


def start(there: UpdatesWorld, **wish: Any) -> tuple[Any, Any, list[Any], list[Any]]:
    """Return a release, its rollout, the machines that are in, and those that are not."""
    manifest = there.release("1.1", 11)
    there.approve(manifest)
    course = create(there, waves=("4", "100%"), soak_seconds=0, **wish)
    inside = {each.device for each in course.inside}
    return (
        manifest,
        course,
        [each for each in there.pumps if each.device in inside],
        [each for each in there.pumps if each.device not in inside],
    )


def test_no_machine_speaks_for_another(there: UpdatesWorld) -> None:
    """Neither to hold a rollout nor to open its next wave; the truth moves it at once."""
    manifest, course, inside, outside = start(there)
    liar = outside[0]
    for victim in inside:
        stolen = there.report(victim, manifest, "failed")
        forged = resign(
            there.report(liar, manifest, "failed"), {"device": victim.device}, [liar.identity]
        )
        foreign = resign(
            there.report(victim, manifest, "failed"), {"owner": "0" * 64}, [victim.identity]
        )
        for raw in (stolen, forged):
            there.enter(liar, "update.failed", to_base64url(raw))
        there.enter(victim, "update.failed", to_base64url(foreign))
    course = again(there, course)
    assert (course.plan.state, course.plan.open_stages) == ("running", 1)
    assert there.world.count("updates_report") == 0
    there.say(inside[0], manifest, "failed")
    assert there.slice.courses.find(course.plan.id).plan.state == "held"


def test_who_was_not_let_in_moves_no_rollout(there: UpdatesWorld) -> None:
    manifest, course, _, outside = start(there)
    for liar in outside:
        there.say(liar, manifest, "accepted", "failed")
    course = again(there, course)
    assert (course.plan.state, course.plan.open_stages, len(course.inside)) == ("running", 1, 4)


def test_a_machine_that_says_it_again_and_again_counts_once(there: UpdatesWorld) -> None:
    manifest, course, inside, _ = start(there, allowed_failures=1)
    for attempt in range(1, 6):
        there.say(inside[0], manifest, "failed", attempt=attempt, findings=failed("ping"))
    assert again(there, course).plan.state == "running"
    there.say(inside[1], manifest, "rolled_back")
    course = again(there, course)
    assert (course.plan.state, len(course.inside)) == ("held", 4)


def test_one_that_takes_its_failure_back_opens_nothing_by_that(there: UpdatesWorld) -> None:
    """What was held stays held until a person says otherwise."""
    manifest, course, inside, _ = start(there)
    there.say(inside[0], manifest, "failed")
    for each in inside:
        there.say(each, manifest, "committed", attempt=2)
    there.world.clock.now += 10**9
    course = again(there, course)
    assert (course.plan.state, len(course.inside)) == ("held", 4)


def test_silence_opens_no_wave_however_long_it_lasts(there: UpdatesWorld) -> None:
    manifest, course, inside, _ = start(there)
    for each in inside[1:]:
        there.say(each, manifest, "committed")
    for _ in range(5):
        there.world.clock.now += 10**9
        course = again(there, course)
    assert (course.plan.open_stages, len(course.inside)) == (1, 4)


def test_a_word_is_taken_by_nobody_but_its_machine(there: UpdatesWorld) -> None:
    _, _, inside, _ = start(there)
    mine, other = inside[:2]
    word = there.file(other, "director", name="targets")
    policy = there.world.trust.policy
    anchor = there.file(mine, "root", name=policy.roots.director)
    assert anchor is not None
    refresh = DirectorRefresh(anchor, there.world.clock.now, mine.device, policy.owner)
    with refused(Untrusted, "another_device"):
        while (want := refresh.want) is not None:
            refresh.give(word if want.role == "targets" and not want.is_kept else None)


NAMES = (
    "../state.db", "../../server/log.key", "/etc/passwd", "..%2f..", "a/../../b", "%2e%2e", "",
    "0" * 63, "0" * 65, "0" * 63 + "/", "0" * 64 + ".part", "\x00" * 64, "timestamp.json' OR 1=1",
)  # fmt: skip


@pytest.mark.parametrize("what", ["root", "manifest", "blob", "director", "image"])
def test_no_name_leads_to_another_file(there: UpdatesWorld, what: str) -> None:
    for name in NAMES:
        for product in ("kiosk", "../kiosk", ""):
            question = {"what": what, "name": name, "product": product, "length": 100}
            said = there.world.send(there.pumps[0], Up.UPDATE, json.dumps(question).encode())
            if said["type"] == "update":
                assert (said["found"], said["data"]) == (False, "")
            else:
                assert said["reason"] in ("bad_message", "too_large", "too_often")
        there.world.clock.now += 60_000


def test_what_was_published_is_never_exchanged(there: UpdatesWorld) -> None:
    """Nor by who may publish: a machine that saw one file gets the same again."""
    manifest = there.release("1.1", 11)
    before = dict(there.maker.files)
    for name, body in before.items():
        if name == "timestamp.json":
            continue
        changed = body.replace(b'"version"', b' "version"', 1)
        root = ("1.root.json", before["1.root.json"])
        sent = [root, (name, changed)] if name != "1.root.json" else [(name, changed)]
        if name == "1.root.json":
            # Another first root is another repository, and takes nobody's place.
            assert there.slice.updates.publish_metadata(sent, OPERATOR) != there.repository
            continue
        with refused(Refused, "other_file"):
            there.slice.updates.publish_metadata(sent, OPERATOR)
    role, version = "kiosk", 2
    assert (
        there.file(there.pumps[0], "image", product="kiosk", name=role, version=version)
        == (before[f"{version}.{role}.json"])
    )
    assert there.file(there.pumps[0], "manifest", name=manifest.hash) is not None


def test_a_machine_that_never_stops_asking_holds_up_nobody(there: UpdatesWorld) -> None:
    intake = there.world.house.intake
    flood, other = there.pumps[:2]
    payload = msgspec.json.encode(UpdateQuestion(what="approvals"))

    async def play() -> tuple[list[bytes | None], float]:
        asked = [
            asyncio.create_task(intake.handle(flood.device, Up.UPDATE, payload))
            for _ in range(1500)
        ]
        await asyncio.sleep(0.05)
        began = time.monotonic()
        answer = await intake.handle(other.device, Up.UPDATE, payload)
        took = time.monotonic() - began
        assert answer is not None and b'"found":true' in answer
        return await asyncio.gather(*asked), took

    answers, took = asyncio.run(play())
    late = [answer for answer in answers if answer and b'"too_often"' in answer]
    assert len(late) > 1000
    assert took < 3
    # It is told so, and is no entry of the record: an honest machine can be in a hurry.
    assert "too_often" not in there.world.reasons("intake.refused")
