"""What a look at the machine costs, before and after a session, and what it adds to an opening.

    python bench/compare.py [--looks 7] [--openings 12]

Workload: this machine as it is. A look is the child behind its walls, as guard starts it; its
processor time is the child's, its length from start to the packed look. Making a comparison is two
such looks unpacked and compared. An opening is measured as in `bench/session.py`, from handing over
the grant to the prompt of a terminal: once with an owner who takes two seconds, once with a grant
that comes the moment the offer is there, which waits for the look (at most two seconds).
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.requester_end import RequesterEnd  # noqa: E402
from tests.session_world import SessionWorld, decode_hash, session_world  # noqa: E402

from fleetward.device.collector import LOOK_MEMORY_BYTES, LOOK_MODULE  # noqa: E402
from fleetward.device.confine import run_confined  # noqa: E402
from fleetward.device.posture.compare.making import Frame, make_comparison  # noqa: E402
from fleetward.device.posture.compare.snapshot import (  # noqa: E402
    MAX_PACKED_BYTES,
    unpack_snapshot,
)
from fleetward.trust.access import TerminalScope  # noqa: E402


def percentile(times: list[float], share: float) -> float:
    """Return a percentile in milliseconds."""
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] * 1000


def measure_looks(count: int) -> bytes:
    """Print what looks cost; return the last one."""
    lengths, processor, packed = [], [], b""
    for _ in range(count):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.monotonic()
        result = run_confined(
            [LOOK_MODULE], hidden=[], timeout_seconds=60, memory_bytes=LOOK_MEMORY_BYTES,
            output_bytes=MAX_PACKED_BYTES, secret=b"k" * 32,
        )  # fmt: skip
        lengths.append(time.monotonic() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        packed = result.output
    look = unpack_snapshot(packed)
    files = sum(map(len, look.folders.values()))
    print(
        f"a look: {statistics.median(processor):.2f} s of processor, "
        f"{statistics.median(lengths):.2f} s long, {len(packed) / 1024:.0f} KiB, {files} files"
    )
    return packed


def measure_comparison(packed: bytes) -> None:
    """Print what it costs to compare two looks."""
    began = time.process_time()
    frame = Frame("a" * 32, "ab" * 32, 1, 2, 3, 4)
    make_comparison(frame, unpack_snapshot(packed), unpack_snapshot(packed))
    print(f"comparing two: {(time.process_time() - began) * 1000:.0f} ms of processor")


async def open_one(world: SessionWorld, thinking: float) -> float:
    """Return how long a terminal's prompt took to come behind its grant."""
    request = world.make_request(TerminalScope(world.user))
    offer = await world.offered(request)
    await asyncio.sleep(thinking)
    grant = world.make_grant(request, offer)
    began = time.monotonic()
    await world.push(grant)
    keys = (world.access.session_private, offer.session_key)
    end = await RequesterEnd(world.bus, world.device, decode_hash(grant), keys).begin()
    shell = await end.open(0)
    took = time.monotonic() - began
    await shell.close()
    await end.leave()
    await world.receipt(end.session)
    return took


async def measure_openings(folder: Path, count: int) -> None:
    """Print how long openings take."""
    async with session_world(folder) as world:
        for words, thinking, pause in (
            ("an owner who takes two seconds", 2.0, 0.0),
            ("a grant at once, and no look within a minute", 0.0, 61.0),
        ):
            times = []
            for _ in range(count if not pause else min(count, 3)):
                await asyncio.sleep(pause)
                times.append(await open_one(world, thinking))
            print(
                f"grant to prompt, {words}: p50 {percentile(times, 0.5):.0f} ms, "
                f"p95 {percentile(times, 0.95):.0f} ms"
            )


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--looks", type=int, default=7)
    parser.add_argument("--openings", type=int, default=12)
    options = parser.parse_args()
    measure_comparison(measure_looks(options.looks))
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure_openings(Path(folder), options.openings))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
