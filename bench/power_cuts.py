"""Power cuts while software is installed: kill -9 of the installer, again and again.

    python bench/power_cuts.py [--count 200] [--installer KIND] [--seed N]
                               KIND: agent, directory, dpkg, file-slot, rauc

Workload: a machine with release 1 tries release 2. At a moment drawn at random over the whole of
writing, switching, committing and going back, the installer's process is killed; the machine is
looked at as its own programs see it; another process then hears the same words again, or is told to
go back. Counted are cuts after which the machine had neither the old release nor the new one
(`mixed`; for dpkg, which has no one step, only after the repeated word), and words that did not end
well (`stuck`). Both have to be 0. Printed too is how long the repeated word took, from the start of
its process: p50 and p95 in milliseconds.

Who is killed loses nothing that he has handed to the kernel. A real power cut may lose that too;
what guards against it is that everything is synchronised before it is believed, which this does not
try.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.agent_world import AgentGround
from tests.installer_rauc_world import RaucGround
from tests.installer_world import (
    DirectoryGround,
    DpkgGround,
    Ground,
    InstallerProcess,
    SlotGround,
)
from tests.system.test_installer_kill_nine import WORDS, Trial, say

GROUNDS: dict[str, type[Ground]] = {
    "agent": AgentGround,
    "directory": DirectoryGround,
    "file-slot": SlotGround,
    "dpkg": DpkgGround,
    "rauc": RaucGround,
}


def run(kind: str, count: int, seed: int, folder: Path) -> dict[str, object]:
    """Cut so often, and return what was counted."""
    ground = GROUNDS[kind](folder)
    chance = random.Random(seed)
    trial = Trial(ground)
    for word in WORDS:
        with ground.begin(trial.next, trial.now) as session:
            for each in trial.path_to(word):
                say(session, each)
        trial.settle(word, back=False)
    found = {"mixed": 0, "stuck": 0}
    took: list[float] = []
    for number in range(count):
        word = WORDS[number % len(WORDS)]
        trial.cut(word, chance.uniform(0, 1.2 * trial.usual[word]))
        try:
            trial.look(word)
        except AssertionError:
            found["mixed"] += 1
        started = time.monotonic()
        try:
            trial.settle(word, back=chance.random() < 0.3)
        except AssertionError:
            found["stuck"] += 1
            print(f"cut {number}, {word}; active: {ground.content()}", file=sys.stderr)
            traceback.print_exc()
            break
        took.append(1000 * (time.monotonic() - started))
    ground.close()
    took.sort()
    return {
        "installer": kind,
        "cuts": len(took) + found["stuck"],
        **found,
        "repeat_p50_ms": round(took[len(took) // 2]) if took else None,
        "repeat_p95_ms": round(took[len(took) * 95 // 100]) if took else None,
        "seed": seed,
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> int:
    """Run, print, and return 0 when every cut ended well."""
    parser = argparse.ArgumentParser(description="Cut the power while software is installed.")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--installer", choices=sorted(GROUNDS), action="append")
    parser.add_argument("--seed", type=int, default=20261127)
    arguments = parser.parse_args()
    InstallerProcess.fresh = True
    good = True
    for kind in arguments.installer or sorted(GROUNDS):
        with tempfile.TemporaryDirectory() as name:
            found = run(kind, arguments.count, arguments.seed, Path(name))
        print(json.dumps(found))
        good = good and not found["mixed"] and not found["stuck"]
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
