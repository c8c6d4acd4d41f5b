"""Machines that the director answers: words decided and signed on demand, per CPU second.

    python bench/director.py [--machines 3000] [--releases 20] [--approvals 8] [--group 64]

Workload: a fleet on one owner's roster in groups and models, a maker's releases of four products,
approvals by group, model and for all, and one standing. For each machine its word is decided from
all of them and signed with Ed25519; every word is different. First decided and signed alone. Then
as the server does it: read from SQLite, decided, signed, and stored with a flush to the disk before
any is handed out, one by one, and in groups as the door makes them while many ask at once
(`--group`). At last again without any news, when the stored words are handed out. CPU is that of
the process, one thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from fleetward.runtime.clock import SystemClock
from fleetward.runtime.database import Database
from fleetward.runtime.keys import make_key
from fleetward.server.schema.migrate import migrate
from fleetward.server.updates.answers import UpdateDesk
from fleetward.server.updates.book import Known, Neighbours, UpdateBook, UpdatePlace
from fleetward.server.updates.decide import Papers, Release, decide_targets
from fleetward.server.updates.director import NamedTarget, open_director
from fleetward.server.updates.reading import APPROVAL, STANDING, Paper
from fleetward.server.updates.rollout_course import RolloutCourses
from fleetward.server.updates.rollout_motion import RolloutMotion
from fleetward.trust.keys import ES256
from fleetward.trust.roster import ACTIVE, RosterEntry
from fleetward.trust.selector import Selector

OWNER = "0" * 64
DAY_MS = 86_400_000
PRODUCTS = ("firmware", "system", "kiosk", "policy")


@dataclass(frozen=True)
class Workload:
    """What is decided from."""

    entries: list[RosterEntry]
    releases: list[Release]
    papers: list[Paper]


def make_workload(machines: int, releases: int, approvals: int, now_ms: int) -> Workload:
    """Return a fleet and what its owner approved. The machines share one key: none signs here."""
    key = make_key(ES256).public
    names = [
        f"{n:05d}".translate(str.maketrans("0123456789", "abcdefghij")) for n in range(machines)
    ]
    entries = [
        RosterEntry(
            device=f"{name:a<32}", key=key, name=f"machine {name}", site=f"site {n % 7}",
            groups=(f"group {n % 5}",), model=f"model {n % 3}", maker="Acme", state=ACTIVE,
        )
        for n, name in enumerate(names)
    ]  # fmt: skip
    made = [
        Release(
            f"{n:064x}", PRODUCTS[n % 4], f"1.{n}", n + 1, 2000, ("*",), 0,
            replaces_agent=False, released_at_ms=0,
        )
        for n in range(releases)
    ]  # fmt: skip
    selectors = [Selector(), Selector(groups=("group 1", "group 2")), Selector(models=("model 0",))]
    papers = [
        Paper(
            STANDING if n == 0 else APPROVAL, f"{n:064x}", f"{n:064x}", 1, now_ms, "", (), b"",
            product=PRODUCTS[n % 4], release="" if n == 0 else made[-1 - (n % releases)].id,
            selector=selectors[n % 3], not_after_ms=now_ms + 90 * DAY_MS,
        )
        for n in range(approvals)
    ]  # fmt: skip
    fitting = {each.id: each.product for each in made}
    papers = [p for p in papers if not p.release or fitting[p.release] == p.product] + [
        Paper(
            APPROVAL, f"{n + 1000:064x}", f"{n + 1000:064x}", 1, now_ms, "", (), b"",
            product=each.product, release=each.id, selector=selectors[n % 3],
            not_after_ms=now_ms + 90 * DAY_MS,
        )
        for n, each in enumerate(made[-approvals:])
    ]  # fmt: skip
    return Workload(entries, made, papers)


def measure(words: str, machines: int, act: Callable[[], object]) -> float:
    """Run, print and return machines per CPU second."""
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"{words:<44} {machines / cpu:8.0f} a CPU second   {machines / wall:8.0f} a second")
    return machines / cpu


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--machines", type=int, default=3000)
    parser.add_argument("--releases", type=int, default=20)
    parser.add_argument("--approvals", type=int, default=8)
    parser.add_argument("--group", type=int, default=64)
    wanted = parser.parse_args()
    clock = SystemClock()
    now_ms = clock.wall_ms()
    load = make_workload(wanted.machines, wanted.releases, wanted.approvals, now_ms)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        director = open_director(folder / "director", now_ms)
        sizes: list[int] = []

        def sign_alone() -> None:
            for entry in load.entries:
                named = decide_targets(load.releases, load.papers, entry, {}, {})
                targets = [NamedTarget(each.path, each.length, each.id) for each in named]
                word = director.sign_word((entry.device, OWNER), now_ms // 1000, now_ms, targets)
                sizes.append(len(word))

        print(
            f"{wanted.machines} machines, {wanted.releases} releases of {len(PRODUCTS)} products, "
            f"{len(load.papers)} approvals"
        )
        measure("decided and signed", wanted.machines, sign_alone)
        print(f"{sum(sizes) / len(sizes):.0f} bytes a word on average")
        database = Database.open(f"sqlite:///{folder}/state.db")
        migrate(database, backup=lambda: None)
        desk = open_desk(database, UpdatePlace(folder / "blobs", director), load)

        ids = [entry.device for entry in load.entries]

        def answer(devices: list[str], size: int) -> None:
            for at in range(0, len(devices), size):
                if None in desk.words_to(devices[at : at + size]):
                    raise AssertionError("no word")

        alone, many = ids[:300], ids[300:]
        group = wanted.group
        measure("read, decided, signed, stored one by one", 300, lambda: answer(alone, 1))
        measure(f"the same, {group} at a time", len(many), lambda: answer(many, group))
        measure(f"without news, {group} at a time", len(many), lambda: answer(many, group))
        database.close()


def open_desk(database: Database, place: UpdatePlace, load: Workload) -> UpdateDesk:
    """Return the desk of a server with this owner, these releases and these papers in memory."""
    policy = SimpleNamespace(epoch=1, roots=SimpleNamespace(makers=dict.fromkeys(PRODUCTS, "r")))
    documents = SimpleNamespace(roster=SimpleNamespace(hash="1"), entries=tuple(load.entries))
    owner: Any = SimpleNamespace(owner_id=OWNER, policy=policy, documents=documents)
    none = cast("Any", None)
    book = UpdateBook(Neighbours(database, owner, none, none, none, SystemClock()), place)
    known = Known(
        releases=tuple(load.releases),
        repositories={each.id: "m" for each in load.releases},
        published={each.id: 0 for each in load.releases},
        approvals=tuple(load.papers),
        withdrawals=(),
        papers=Papers(tuple(load.papers), frozenset()),
        roots={"r": "m"},
    )
    book.use(known)
    return UpdateDesk(book, RolloutMotion(RolloutCourses(book)))


if __name__ == "__main__":
    main()
