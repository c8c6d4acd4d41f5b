"""A process of many machines that can be killed at any moment and started again.

    python -m tests.adversary.fleet_main FOLDER COUNT EVENTS

Each machine joins by the join string in FOLDER/join, waits for FOLDER/go, and then writes EVENTS
pieces of evidence into its journal, numbered, in bursts. What it wrote before it was killed it
finds in its own journal and does not write again. When every machine has written all, and the
record was proven to hold all of it, FOLDER/done.json says so.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path
from typing import Final

from tests.adversary.machine import FieldMachine, hurried

from fleetward.runtime.clock import SystemClock
from fleetward.runtime.files import atomic_write
from fleetward.trust.invitation import read_join_string

PAUSE_SECONDS: Final = 1.2
BURST: Final = 20


def written(machine: FieldMachine) -> int:
    """Return how many numbered pieces of evidence are in a machine's journal on its disk."""
    return sum(
        line.startswith(b'{"at"') and b'"what":"socket.opened"' in line
        for path in (machine.guard / "journal").glob("*.entries")
        for line in path.read_bytes().splitlines()
    )


async def live(machine: FieldMachine, folder: Path, events: int) -> dict[str, object]:
    """Be one machine until everything was written and proven; return how it stands."""
    dice = random.Random(machine.name)
    while not (folder / "go").exists():
        await asyncio.sleep(0.2)
    count = written(machine) if machine.agent.joined else 0
    machine.start()
    await machine.until(lambda: machine.agent.core is not None, "guard starts")
    while count < events:
        for _ in range(min(dice.randint(1, BURST), events - count)):
            machine.speak(f"piece {count}")
            count += 1
        await watch(machine, PAUSE_SECONDS * dice.random())
    while not machine.core.settled:
        await watch(machine, 0.2)
    core = machine.core
    return {
        "device": machine.device,
        "sequence": core.journal.tip.sequence,
        "unproven": core.outbox.unproven,
        "record": core.state.record,
        "lost": len(machine.entries("store.lost")),
    }


async def watch(machine: FieldMachine, seconds: float) -> None:
    """Let a while pass; an error of the machine ends the process."""
    assert machine.task is not None
    done, _ = await asyncio.wait({machine.task}, timeout=max(0.01, seconds))
    for task in done:
        task.result()


async def run(folder: Path, count: int, events: int) -> None:
    """Be the whole fleet."""
    join = read_join_string((folder / "join").read_text())
    clock = SystemClock()
    fleet = [FieldMachine(folder / f"m{n:02}", f"m{n:02}", clock) for n in range(count)]
    for machine in fleet:
        if machine.agent.joined is None:
            await machine.join(join)
    (folder / "joined").touch()
    stands = await asyncio.gather(*(live(machine, folder, events) for machine in fleet))
    for machine in fleet:
        await machine.stop()
    atomic_write(folder / "done.json", json.dumps(stands).encode())


if __name__ == "__main__":
    with hurried():
        asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
