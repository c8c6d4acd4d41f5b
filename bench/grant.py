"""What the machine's judgement costs: a request, and a grant under which a session may open.

    python bench/grant.py [--rounds 2000]

Workload: the documents of `tests/access_world.py`: an owner of two people, a policy with rules for
five kinds of scope, a technician. A request and a grant with five scopes are read from their bytes,
every signature checked, every rule applied, as the gate does before anything is written. Once with
one approver, once with two, on one core, in CPU time. Nothing is kept between rounds but what a
machine keeps: its policy, parsed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.access_world import FILES, LOGS, PAGE, TERMINAL, AccessWorld  # noqa: E402

from fleetward.trust.access import TcpScope  # noqa: E402
from fleetward.trust.grants.grant import verify_grant  # noqa: E402
from fleetward.trust.grants.request import verify_request  # noqa: E402

GOAL_MS = 2.0


def measure(words: str, work: Callable[[], object], rounds: int) -> None:
    """Print the median and the 99th of so many rounds."""
    times = []
    for _ in range(rounds):
        began = time.thread_time()
        work()
        times.append((time.thread_time() - began) * 1000)
    times.sort()
    print(
        f"{words:<32} median {times[rounds // 2]:6.3f} ms   99th of 100 "
        f"{times[rounds * 99 // 100]:6.3f} ms   (goal {GOAL_MS:.0f})"
    )


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    rounds: int = parser.parse_args().rounds
    world = AccessWorld.make()
    request = world.request(TERMINAL, PAGE, LOGS, FILES, TcpScope(8081, "raw"))
    offer = world.offer(request)
    here = world.situation()
    policy, device = world.trust.policy, world.machine.device
    measure("request", lambda: verify_request(request.raw, policy, device), rounds)
    for count in (1, 2):
        grant = world.grant(request, offer, signers=world.trust.signers[:count])

        def judge(grant: bytes = grant) -> object:
            again = verify_request(request.raw, policy, device)
            return verify_grant(grant, here, again, offer)

        measure(f"request and grant, {count} approver(s)", judge, rounds)


if __name__ == "__main__":
    main()
