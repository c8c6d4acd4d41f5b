"""Minutes of a hostile director's histories: is anything installed that was not agreed upon?

    python bench/hostile_director.py [--minutes 10] [--seed N]

Workload: histories of 8 to 16 random moves of a machine's whole guard, its maker, its owner and a
server in the wrong hands, as `tests/attack/test_hostile_director.py` tells them; its oracle looks
on at each switch. It prints how many histories, moves and switches there were. A history that
breaks the promise is printed whole, with its seed, and the exit is 1. One core.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.adversary.hostile_director import REACHED, play  # noqa: E402  (found by the path above)

TELL_SECONDS = 60.0


def tell(began: float, histories: int) -> None:
    """Print how far it is."""
    print(
        f"{(time.monotonic() - began) / 60:6.1f} min  {histories:,} histories, "
        f"{REACHED['moves']:,} moves: {REACHED['switched']:,} switches, "
        f"{REACHED['committed']:,} committed; nothing that was not agreed upon",
        flush=True,
    )


def main() -> int:
    """Read the options and play."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    wish = parser.parse_args()
    print(f"{wish.minutes:g} minutes, from seed {wish.seed}", flush=True)
    began = told = time.monotonic()
    histories = 0
    while time.monotonic() - began < wish.minutes * 60:
        try:
            play(wish.seed + histories)
        except BaseException:
            print(f"The history of seed {wish.seed + histories} failed.", flush=True)
            raise
        histories += 1
        if time.monotonic() - told >= TELL_SECONDS:
            told = time.monotonic()
            tell(began, histories)
    tell(began, histories)
    return 0


if __name__ == "__main__":
    sys.exit(main())
