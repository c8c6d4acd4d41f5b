"""A release that fails on some machines, rolled out to 10,000: how many get it before it is held.

    python bench/rollout.py [--machines 10000] [--failing 3] [--seed 1]

Workload: a fleet on one owner's roster, approved as a whole. A rollout in waves of 1 %, 10 % and
everybody, without a soak. Whoever was let in asks the director (a signed word, stored in SQLite
with a flush to the disk), and reports: `--failing` per cent that it was rolled back, the others
that it was committed. Reports go to the very code that the door calls, each in its own transaction;
the ledger and the machines' signatures are left out. It runs until it is held or everybody has it;
once with no failure allowed, and once with ten. What was promised is printed beside what came.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from fleetward.runtime.clock import SystemClock
from fleetward.runtime.database import Database
from fleetward.runtime.keys import make_key
from fleetward.server.schema.migrate import migrate
from fleetward.server.updates.answers import UpdateDesk
from fleetward.server.updates.book import Known, Neighbours, UpdateBook, UpdatePlace
from fleetward.server.updates.decide import Papers, Release
from fleetward.server.updates.decide_rollout import PLACED, RUNNING
from fleetward.server.updates.director import open_director
from fleetward.server.updates.reading import APPROVAL, Paper
from fleetward.server.updates.rollout_course import RolloutCourses, Wish
from fleetward.server.updates.rollout_motion import RolloutMotion
from fleetward.server.updates.rollouts import Rollouts
from fleetward.server.web.caller import Caller, Role
from fleetward.trust.keys import ES256
from fleetward.trust.roster import ACTIVE, RosterEntry
from fleetward.trust.selector import Selector
from fleetward.trust.update_report import UpdateReport

OWNER = "0" * 64
RELEASE = "a" * 64
GROUP = 64
CALLER = Caller("host", "local", "bench", Role.ADMIN)


class NoDeeds:
    """Takes deeds and keeps none: there is no ledger here."""

    def record(self, deed: object) -> int:
        """Return an index."""
        del deed
        return 0


def open_fleet(folder: Path, machines: int) -> tuple[Database, UpdateBook]:
    """Return a database and the slice's memory for an owner of so many machines."""
    key, letters = make_key(ES256).public, str.maketrans("0123456789", "abcdefghij")
    entries = tuple(
        RosterEntry(
            device=f"{str(n).translate(letters):a>32}", key=key, name=f"machine {n}",
            site="Plant", groups=(), model="m", maker="Acme", state=ACTIVE,
        )
        for n in range(machines)
    )  # fmt: skip
    release = Release(
        RELEASE, "kiosk", "1.1", 11, 2000, ("*",), 0, replaces_agent=False, released_at_ms=0
    )
    paper = Paper(
        APPROVAL, "b" * 64, "b" * 64, 1, 0, "", (), b"", product="kiosk", release=RELEASE,
        selector=Selector(), not_after_ms=2**50,
    )  # fmt: skip
    policy = SimpleNamespace(epoch=1, roots=SimpleNamespace(makers={"kiosk": "r"}))
    documents = SimpleNamespace(roster=SimpleNamespace(hash="1"), entries=entries)
    owner: Any = SimpleNamespace(owner_id=OWNER, policy=policy, documents=documents)
    database = Database.open(f"sqlite:///{folder}/state.db")
    migrate(database, backup=lambda: None)
    none, clock = cast("Any", None), SystemClock()
    director = open_director(folder / "director", clock.wall_ms())
    place = UpdatePlace(folder / "blobs", director)
    book = UpdateBook(Neighbours(database, owner, none, none, NoDeeds(), clock), place)
    papers = Papers((paper,), frozenset())
    book.use(
        Known((release,), {RELEASE: "m"}, {RELEASE: 0}, (paper,), (), papers, roots={"r": "m"})
    )
    return database, book


def report(device: str, number: int, *, good: bool) -> UpdateReport:
    """Return what a machine says of the release."""
    outcome = "committed" if good else "rolled_back"
    return UpdateReport(
        device, OWNER, "kiosk", "1.1", 11, RELEASE, "", 1, outcome, "" if good else "health", "",
        (), (), (), 0, hash=f"{number:064x}",
    )  # fmt: skip


def play(machines: int, failing: int, allowed: int, seed: int) -> None:
    """Roll out until it is held or over, and print."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        database, book = open_fleet(Path(name), machines)
        courses = RolloutCourses(book)
        motion = RolloutMotion(courses)
        rollouts = Rollouts(courses, motion)
        desk = UpdateDesk(book, motion)
        cpu = time.process_time()
        wish = Wish("kiosk", "1.1", Selector(), None, ("1%", "10%", "100%"), 0, allowed, 0)
        course = rollouts.create(wish, CALLER)
        promises, said = [course.promise], 0
        while course.plan.state == RUNNING:
            fresh = [each.device for each in course.inside if each.state == PLACED]
            for at in range(0, len(fresh), GROUP):
                desk.words_to(fresh[at : at + GROUP])
            chance.shuffle(fresh)
            for device in fresh:
                said += 1
                good = chance.randrange(100) >= failing
                motion.take_report(device, report(device, said, good=good), "health: ping")
            motion.advance()
            course = courses.find(course.plan.id)
            promises += [course.promise] if course.promise not in promises else []
        cpu = time.process_time() - cpu
        with database.read() as conn:
            told = conn.exec_driver_sql("SELECT count(*) FROM updates_offer").scalar_one()
        failed = sum(each.state == "rolled_back" for each in course.inside)
        print(
            f"{allowed} failures allowed: {course.plan.state}; promised {promises}, let in "
            f"{len(course.inside)}, told {told}, failed {failed}; {said} reports, {cpu:.1f} s CPU"
        )
        if max(len(course.inside), told) > max(promises):
            raise AssertionError("more machines have it than were promised")
        database.close()


def main() -> None:
    """Play both, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--machines", type=int, default=10_000)
    parser.add_argument("--failing", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    print(f"{wanted.machines} machines, {wanted.failing} % fail, waves 1 %, 10 %, everybody")
    for allowed in (0, 10):
        play(wanted.machines, wanted.failing, allowed, wanted.seed)


if __name__ == "__main__":
    main()
