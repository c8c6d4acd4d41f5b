"""An hour of a hostile server's histories: does anything open that no approver signed?

    python bench/hostile_server.py [--minutes 60] [--seed N]

Workload: histories of 30 to 60 random moves over three whole guards and two owners, as
`tests/attack/test_hostile_server.py` tells them; its oracle looks on after every move. It prints
how many histories and moves there were, and how many of them got somewhere. A history that breaks
the promise is printed whole, with the seed of the run, and the exit is 1. One core.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.attack.hostile_play import MOVES, NAMES, NUMBERS, REACHED, Move, play  # noqa: E402  (found by the path above)

TELL_SECONDS = 60.0
GOT = ("opened", "visited")


def draw(source: random.Random) -> list[Move]:
    """Return a history."""

    def number() -> int:
        return source.randrange(NUMBERS)

    length = source.randint(MOVES // 2, MOVES)
    return [(source.choice(NAMES), number(), number(), number()) for _ in range(length)]


def tell(began: float, histories: int, moves: int) -> None:
    """Print how far it is."""
    got = ", ".join(f"{REACHED[name]:,} {name}" for name in GOT)
    print(
        f"{(time.monotonic() - began) / 60:6.1f} min  {histories:,} histories, {moves:,} moves: "
        f"{got}; nothing that no approver signed",
        flush=True,
    )


def main() -> int:
    """Read the options and play."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    wish = parser.parse_args()
    print(f"{wish.minutes:g} minutes, seed {wish.seed}", flush=True)
    source = random.Random(wish.seed)
    began = told = time.monotonic()
    histories = moves = 0
    while time.monotonic() - began < wish.minutes * 60:
        history = draw(source)
        try:
            play(history)
        except BaseException:
            print(f"After {histories} histories of seed {wish.seed} this one failed:\n{history}")
            raise
        histories += 1
        moves += len(history)
        if time.monotonic() - told >= TELL_SECONDS:
            told = time.monotonic()
            tell(began, histories, moves)
    tell(began, histories, moves)
    return 0


if __name__ == "__main__":
    sys.exit(main())
