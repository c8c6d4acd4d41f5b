"""What a site's cache gives to machines that all ask at once, and what it costs.

    python bench/site_cache.py [--machines 100] [--megabytes 100] [--line MBIT]

Workload: the cache's own process, cold, over TLS 1.3 on loopback with its own certificate. So many
machines, each with the agent's own client (`OriginClient`, a pin, pieces of 512 KiB, one connection
each), begin at once and take one blob of random bytes to its end. The blob comes from a web server
in this process, over TLS too; with `--line` over a line of so many Mbit a second. What a machine
would ask its server for instead, because the cache was not ready in time, is counted.

The clients take CPU too, on the same cores. So the rate is a lower bound, and the CPU time is that
of the cache's process alone. Then all of them take it again, from a cache that has it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import ssl
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.cache_world import SITE_HOST, UPSTREAM, Site, caching
from tests.origin_world import OUTSIDE, Asked, Steered, answer_files, serving

from fleetward.device.updates.origin import OriginClient, Piece
from fleetward.trust.errors import FleetwardError
from fleetward.trust.origin import read_origin
from fleetward.wire.updates import MAX_PIECE_BYTES

MEGABYTE = 1_000_000
TICKS = os.sysconf("SC_CLK_TCK")
BUSY_PAUSE_SECONDS = 2.0


class Line:
    """An upstream over a line of so many bytes a second; 0 for no limit."""

    def __init__(self, files: dict[str, bytes], bytes_per_second: float) -> None:
        self._honest = answer_files(files)
        self._pace = bytes_per_second
        self._lock = threading.Lock()

    def __call__(self, asked: Asked, sock: ssl.SSLSocket) -> bool:
        if self._pace:
            with self._lock:
                time.sleep(asked.length / self._pace)
        return self._honest(asked, sock)


@dataclass
class Tally:
    """What the machines saw."""

    busy: int = 0
    other: int = 0


async def take(site: Site, piece_of: tuple[str, int], tally: Tally) -> None:
    """Take the whole blob as one machine does."""
    name, total = piece_of
    client = OriginClient(Steered({SITE_HOST: [OUTSIDE]}, site.port))
    origin, here = read_origin(site.origin), 0
    while here < total:
        length = min(MAX_PIECE_BYTES, total - here)
        try:
            here += len(await client.fetch(origin, Piece(name, here, length)))
        except FleetwardError as e:
            tally.busy += e.reason == "origin_busy"
            tally.other += e.reason != "origin_busy"
            await asyncio.sleep(BUSY_PAUSE_SECONDS)
    client.close()


async def take_all(site: Site, piece_of: tuple[str, int], machines: int) -> Tally:
    """Take it with all machines at once."""
    tally = Tally()
    await asyncio.gather(*(take(site, piece_of, tally) for _ in range(machines)))
    return tally


def read_cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def read_memory_mib(pid: int, what: str) -> float:
    """Return a process's memory: `VmHWM`, its peak."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--machines", type=int, default=100)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--line", type=float, default=0.0, help="Mbit/s of the site's line")
    chosen = parser.parse_args()
    data = os.urandom(chosen.megabytes * MEGABYTE)
    name = hashlib.sha256(data).hexdigest()
    line = Line({name: data}, chosen.line * MEGABYTE / 8)
    print(
        f"{chosen.machines} machines, a blob of {chosen.megabytes} MB, line {chosen.line or 'free'}"
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(UPSTREAM, line) as there,
        caching(Path(folder), there) as site,
    ):
        assert site.process is not None
        pid = site.process.pid
        print(f"  memory before: {read_memory_mib(pid, 'VmRSS'):.0f} MiB")
        for words in ("cold", "warm"):
            cpu, began = read_cpu_seconds(pid), time.monotonic()
            tally = asyncio.run(take_all(site, (name, len(data)), chosen.machines))
            passed, used = time.monotonic() - began, read_cpu_seconds(pid) - cpu
            served = chosen.machines * len(data)
            asked = sum(min(a.last + 1, len(data)) - a.first for a in there.asked)
            print(
                f"  {words}: {passed:.1f} s, {served / MEGABYTE / passed:.0f} MB/s in all, "
                f"{used / (served / 1e9):.2f} CPU s a GB, peak {read_memory_mib(pid, 'VmHWM'):.0f} "
                f"MiB; put off {tally.busy}, other failures {tally.other}; upstream asked for "
                f"{asked / len(data):.3f} of the blob in {len(there.asked)} questions"
            )


if __name__ == "__main__":
    main()
