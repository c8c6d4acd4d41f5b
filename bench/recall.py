"""A recall over 10,000 machines: what a look at all of them costs the server.

    python bench/recall.py [--machines 10000]

Workload: a fleet on one owner's roster, in SQLite with a flush to the disk. Of ten machines eight
run the recalled version, one has named none and one runs another. A look is what the server does
every five seconds while machines report, and every minute otherwise: read what machines run and the
machines of the recall, judge each, write those that changed and the line of the day. Looked at
are: the first one, which finds nine tenths of the fleet; one in which nothing changed; and one in
which a hundred machines have just been updated. A page of 25 machines and the whole proof are
read besides. Seconds of CPU of one process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.rollout import CALLER, OWNER, open_fleet  # noqa: E402  (found by the path above)

from fleetward.server.updates.book import UpdateBook  # noqa: E402  (likewise)
from fleetward.server.updates.recall_show import RecallsShown  # noqa: E402  (likewise)
from fleetward.server.updates.recall_store import MembersWanted  # noqa: E402  (likewise)
from fleetward.server.updates.recalls import Recalls, RecallWish  # noqa: E402  (likewise)
from fleetward.server.updates.tables import states  # noqa: E402  (likewise)
from fleetward.trust.selector import Selector  # noqa: E402  (likewise)

UPDATED = 100
WISH = RecallWish(
    "kiosk", ("#10",), Selector(), "Open debug port", "Anybody can log in.", (), "stop", "", 0
)


def fill(book: UpdateBook) -> list[str]:
    """Let nine of ten machines say what they run; return those that run the recalled version."""
    old: list[str] = []
    rows: list[dict[str, Any]] = []
    for number, device in enumerate(book.entries):
        if number % 10 == 0:
            continue
        good = number % 10 == 1
        rows.append(
            {
                "device_id": device, "product": "kiosk", "owner_id": OWNER, "at": 0,
                "version": "1.1" if good else "1.0", "counter": 11 if good else 10,
                "said_at": number,
            }
        )  # fmt: skip
        if not good:
            old.append(device)
    with book.near.database.write() as conn:
        conn.execute(states.insert(), rows)
    return old


def update(book: UpdateBook, devices: list[str]) -> None:
    """Let machines run what is not recalled."""
    with book.near.database.write() as conn:
        for device in devices:
            conn.execute(
                states.update()
                .where(states.c.device_id == device)
                .values(version="1.1", counter=11)
            )


def measure(words: str, what: Callable[[], Any]) -> Any:
    """Do something, and print what it cost."""
    cpu, wall = time.process_time(), time.monotonic()
    found = what()
    print(f"{words}: {time.process_time() - cpu:.2f} s CPU, {time.monotonic() - wall:.2f} s")
    return found


def main() -> None:
    """Play, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--machines", type=int, default=10_000)
    machines = parser.parse_args().machines
    with tempfile.TemporaryDirectory() as name:
        database, book = open_fleet(Path(name), machines)
        documents: Any = book.near.owner.documents
        documents.roster.version = 1
        old = fill(book)
        recalls = Recalls(book)
        print(f"{machines} machines, SQLite")
        row = measure("opened, and found the machines", lambda: recalls.open(WISH, CALLER))
        measure("a look, nothing changed", lambda: recalls.look(row))
        update(book, old[:UPDATED])
        measure(f"a look, {UPDATED} changed", lambda: recalls.look(row))
        record: Any = SimpleNamespace(generation=1, size=0, places_of=lambda _: {})
        shown = RecallsShown(recalls, cast("Any", record))
        wanted = MembersWanted()
        measure("a page of 25", lambda: shown.detail(row, wanted, (0, 25), 1))
        proof = measure("the whole proof", lambda: shown.proof(row))
        if proof.tally.updated != UPDATED:
            raise AssertionError("another number was updated")
        database.close()


if __name__ == "__main__":
    main()
