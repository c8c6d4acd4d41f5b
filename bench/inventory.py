"""What a look at this machine costs: the full inventory, the quick look, and the watch of sockets.

    python bench/inventory.py

Processor time of the child and of the kernel for it, behind the same walls as the agent's. The
targets: at most 2 s for a machine of 1,000 packages; at most 0.5 % of a core while idle.
"""

from __future__ import annotations

import resource
import statistics
import time
import zlib
from collections.abc import Callable

from fleetward.device.confine import ConfinedResult, run_confined
from fleetward.device.posture.watch import SocketWatch
from fleetward.wire.posture import Inventory, decode_inventory

RUNS = 5
POLL_SECONDS = 5
FINGERPRINTS = 200


def look(*arguments: str) -> ConfinedResult:
    """Run the collector as the agent does."""
    result = run_confined(
        ["fleetward.device.posture.collect", *arguments],
        hidden=[],
        timeout_seconds=60,
        memory_bytes=512 << 20,
        output_bytes=8 << 20,
    )
    if result.state != "done":
        raise SystemExit(f"the look failed: {result.state} {result.errors}")
    return result


def measure(run: Callable[[], ConfinedResult]) -> tuple[float, float, ConfinedResult]:
    """Return median processor and wall seconds over RUNS, and the last result."""
    spent, walls = [], []
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = run()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        walls.append(result.seconds)
    return statistics.median(spent), statistics.median(walls), result


def describe(inventory: Inventory, document: bytes) -> str:
    """Say what was looked at."""
    parts = [
        f"{len(section.items)} {name}"
        for name in ("packages", "updates", "sockets", "users", "services", "programs")
        if (section := getattr(inventory, name)) is not None
    ]
    packed = len(zlib.compress(document, 6))
    return f"{', '.join(parts)}; document {len(document):,} B, packed {packed:,} B"


def main() -> None:
    """Measure and print."""
    spent, wall, result = measure(look)
    print(f"workload: {describe(decode_inventory(result.output), result.output)}")
    print(f"walls: {', '.join(w.name for w in result.walls if w.built)}; "
          f"missing: {', '.join(w.name for w in result.missing) or 'none'}")  # fmt: skip
    print(f"full inventory: {spent:.2f} s CPU, {wall:.2f} s wall (target <= 2 s CPU)")
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"largest collector: {memory:.0f} MiB resident")
    spent, wall, _ = measure(lambda: look("--sections", "sockets,users"))
    print(f"sockets and users only: {spent:.2f} s CPU, {wall:.2f} s wall")
    watch = SocketWatch()
    started = time.process_time()
    for _ in range(FINGERPRINTS):
        watch.fingerprint()
    each = (time.process_time() - started) / FINGERPRINTS
    watch.close()
    print(
        f"watch of sockets: {each * 1000:.1f} ms CPU a look, every {POLL_SECONDS} s "
        f"{each / POLL_SECONDS * 100:.2f} % of a core (target: idle agent <= 0.5 %)"
    )


if __name__ == "__main__":
    main()
