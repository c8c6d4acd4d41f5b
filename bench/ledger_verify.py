"""How long it takes to check a record: the tree alone, and with a signature of each entry.

    python bench/ledger_verify.py [--entries 1000000] [--machines 64] [--keep DIR]

Workload: every entry is a batch header of one of the machines, each signed with P-256, with the
journalled state of the record that a server gives once a second (here every 256 entries). The
record is made first, by as many processes as there are, and is not counted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.unit.keyholder.ledger_world import Machine, World, write_export

from fleetward.keyholder.export_folder import ExportFolder
from fleetward.keyholder.verify import verify_export
from fleetward.runtime.keys import FileSigner, from_pkcs8, to_pkcs8
from fleetward.trust.journal import (
    BatchHeader,
    SeenCheckpoint,
    make_batch_header,
    make_entry,
    next_head,
)
from fleetward.trust.ledger import Auditor
from fleetward.trust.ledger_tree import RecordTree
from fleetward.trust.merkle import hash_leaf
from fleetward.trust.note import Checkpoint, origin_of, sign_checkpoint
from fleetward.trust.tiles import (
    bundle_path,
    decode_bundle,
    encode_bundle,
    encode_tile,
    tile_path,
    tiles_of,
)

STATE_EVERY = 256
NOW_MS = 1_795_000_000_000


def sign_many(pem: bytes, headers: list[BatchHeader]) -> list[bytes]:
    """Sign headers, in a process of its own."""
    signer: FileSigner = from_pkcs8(pem)
    return [make_batch_header(header, signer) for header in headers]


def next_headers(
    world: World, machine: Machine, count: int, seen: SeenCheckpoint
) -> Iterator[BatchHeader]:
    """Yield the next headers of a machine, one entry each."""
    for _ in range(count):
        sequence = machine.sequence + 1
        line = make_entry(sequence, NOW_MS, "b", "posture.changed", {"words": "x"})
        head = next_head(machine.head, line)
        yield BatchHeader(
            machine.id, world.owner, "b", sequence, sequence,
            machine.head.hex(), head.hex(), seen, "", b"",
        )  # fmt: skip
        machine.head, machine.sequence = head, sequence


def build(folder: Path, entries: int, machines: int) -> World:
    """Write a record of signed batches. Each round of 256 entries is one machine's."""
    world = World([f"machine {i}" for i in range(machines)])
    leaves, tree = list(world.log.leaves), RecordTree()
    for leaf in leaves:
        tree.append(hash_leaf(leaf))
    seen = SeenCheckpoint(1, tree.size, tree.root_at(tree.size).hex())
    rounds = max(1, (entries - len(leaves)) // STATE_EVERY)
    workers = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for start in range(0, rounds, workers):
            jobs = []
            for turn in range(start, min(start + workers, rounds)):
                machine = world.machines[turn % machines]
                headers = list(next_headers(world, machine, STATE_EVERY, seen))
                jobs.append(pool.submit(sign_many, to_pkcs8(machine.key), headers))
            for job in jobs:
                for leaf in job.result():
                    leaves.append(leaf)
                    tree.append(hash_leaf(leaf))
            seen = SeenCheckpoint(1, tree.size, tree.root_at(tree.size).hex())
    world.log.leaves = leaves[:0]
    write_export(world, folder, contents=False)
    base = folder / "log/1"
    note = Checkpoint(origin_of(world.owner, 1), tree.size, tree.root_at(tree.size))
    (base / "checkpoint").write_bytes(sign_checkpoint(note, world.log_key))
    for index, width in tiles_of(len(leaves)):
        part = leaves[index * 256 : index * 256 + width]
        for name, data in (
            (bundle_path(index, width), encode_bundle(part)),
            (tile_path(0, index, width), encode_tile([hash_leaf(each) for each in part])),
        ):
            (base / name).parent.mkdir(parents=True, exist_ok=True)
            (base / name).write_bytes(data)
    return world


def cpu_seconds() -> float:
    """CPU of this process and of those that it waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure_tree(folder: Path, size: int) -> tuple[float, float, bytes]:
    """Read every bundle and compute the root, as the verifier does, without judging entries."""
    export, tree = ExportFolder(folder), RecordTree()
    wall, cpu = time.monotonic(), cpu_seconds()
    for place in tiles_of(size):
        for leaf in decode_bundle(export.bundle(1, *place) or b""):
            tree.append(hash_leaf(leaf))
    root = tree.root_at(size)
    return time.monotonic() - wall, cpu_seconds() - cpu, root


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--machines", type=int, default=64)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.keep or Path(scratch)) / "export"
        started = time.monotonic()
        world = build(folder, options.entries, options.machines)
        made = time.monotonic() - started
        auditor = Auditor(NOW_MS)
        wall, cpu = time.monotonic(), cpu_seconds()
        result = verify_export(folder, world.owner, auditor)
        wall, cpu = time.monotonic() - wall, cpu_seconds() - cpu
        tree_wall, tree_cpu, _ = measure_tree(folder, result.entries)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if not result.report.whole:
        raise SystemExit(f"an honest record was contradicted: {result.report.contradicted[:3]}")
    millions = result.entries / 1e6
    print(f"workload: {result.entries} entries, each a batch header signed with P-256, of "
          f"{options.machines} machines; a new state journalled every {STATE_EVERY} entries; "
          f"{len(os.sched_getaffinity(0))} cores; made in {made:.0f} s (not counted)")  # fmt: skip
    print(f"tree alone:     {tree_wall:7.1f} s, {tree_cpu:7.1f} CPU s "
          f"({tree_wall / millions:.1f} s a million; goal 10)")  # fmt: skip
    print(f"all signatures: {wall:7.1f} s, {cpu:7.1f} CPU s "
          f"({wall / millions:.1f} s a million; goal 90 on two cores)")  # fmt: skip
    print(f"memory of the verifier's own process: {memory:.0f} MB")


if __name__ == "__main__":
    main()
