"""What it costs a machine to learn from TUF metadata which file it may install.

    python bench/tuf_refresh.py [--shape 500x200 --shape 1000x100] [--rounds 9]

Workload: a repository of 100,000 targets: 500 products, each a terminating role with an Ed25519 key
of its own and 200 releases, and again as 1,000 products of 100; every target has a length, a
SHA-256, and a hardware id and a counter beside them. Root takes two of three keys; the snapshot
states a length and a hash for each file. A
machine with nothing but the first root (cold), or with all that it kept (warm), refreshes and finds
one target of one product, each time in a fresh process. The repository is a folder: reading it
counts, a network is not in it. The time is wall time from the first wish to the target found; the
import of the verifier is printed apart. Memory is the highest resident size of the whole process,
interpreter, `cryptography` and python-tuf included.

"next" is a machine that kept everything while the maker released once more for another product:
timestamp, snapshot and the list of delegations are served anew.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

COLD_GOAL_MS, COLD_GOAL_MIB, WARM_GOAL_MS = 250, 80, 50
SHAPES = ((500, 200), (1000, 100))
PATH = "product-{0:04}/1.{1}.img"


def build(folder: Path, products: int, releases: int) -> int:
    """Write a repository, and beside it the one with a release more; return the bytes served."""
    from tests.adversary.release_repository import Repository
    from tuf.api.metadata import TargetFile

    repository = Repository.make()
    for product in range(products):
        role = f"product-{product:04}"
        repository.delegate("targets", role, f"{role}/*")
        for release in range(releases):
            path = PATH.format(product, release)
            file = TargetFile.from_data(path, path.encode(), ["sha256"])
            file.unrecognized_fields["custom"] = {"counter": release + 1, "hardware": [role]}
            repository.targets(role).targets[path] = file
    roles = [f"product-{product:04}" for product in range(products)]
    repository.publish(*roles, rise=False)
    repository.publish_all("targets")
    write(folder / "first", repository.files)
    repository.add_target(roles[-1], f"{roles[-1]}/2.0.img", b"newer")
    repository.publish_all(roles[-1])
    write(folder / "next", repository.files)
    return sum(len(data) for data in repository.files.values())


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Write what is served into a folder."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def peak_kib() -> int:
    """Return the highest resident size of this process since its program began.

    `getrusage` would tell that of whoever started it.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise ValueError("no VmHWM")


def run_machine(served: Path, kept: Path, path: str) -> None:
    """Be the machine: refresh, search, store, and print what it cost."""
    began = time.perf_counter()
    from fleetward.trust.releases.refresh import Refresh
    from fleetward.trust.releases.search import Search
    from fleetward.trust.releases.steps import Steps

    imported = time.perf_counter()
    before_kib = peak_kib()
    cpu = time.process_time()
    fetched = 0

    def drive(steps: Steps[Any]) -> None:
        nonlocal fetched
        while (want := steps.want) is not None:
            file = (kept if want.is_kept else served) / want.file_name
            data = file.read_bytes() if file.is_file() else None
            fetched += 0 if want.is_kept or data is None else len(data)
            steps.give(data)
            for change in steps.take_changes():
                changes[change.file_name] = change.data

    changes: dict[str, bytes | None] = {}
    root = kept / "root.json"
    refresh = Refresh(root.read_bytes(), 1_780_272_000_000)
    drive(refresh)
    search = Search(refresh.result, path)
    drive(search)
    found = time.perf_counter()
    cpu = time.process_time() - cpu
    after_kib = peak_kib()
    assert search.result is not None and search.result.path == path
    for name, data in changes.items():
        (kept / name).write_bytes(data or b"")
    print(
        json.dumps(
            {
                "import_ms": (imported - began) * 1000,
                "ms": (found - imported) * 1000,
                "cpu_ms": cpu * 1000,
                "before_mib": before_kib / 1024,
                "peak_mib": after_kib / 1024,
                "fetched_bytes": fetched,
            }
        )
    )


def spawn(served: Path, kept: Path, path: str) -> dict[str, float]:
    """Run a machine in a fresh process."""
    command = [sys.executable, __file__, "--machine", str(served), str(kept), path]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    told: dict[str, float] = json.loads(done.stdout)
    return told


def tell(words: str, runs: list[dict[str, float]], goals: str) -> None:
    """Print the median and the worst of some runs."""
    middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    worst_ms, worst_mib = (max(run[name] for run in runs) for name in ("ms", "peak_mib"))
    print(
        f"{words:<5} {middle['ms']:7.1f} ms (worst {worst_ms:.1f}; CPU {middle['cpu_ms']:.1f})   "
        f"peak {middle['peak_mib']:.1f} MiB (worst {worst_mib:.1f}; {middle['before_mib']:.1f} "
        f"before)   {middle['fetched_bytes'] / 1024:.0f} KiB fetched   {goals}"
    )


def read_shape(text: str) -> tuple[int, int]:
    """Read `PRODUCTSxRELEASES`."""
    products, _, releases = text.partition("x")
    return int(products), int(releases)


def measure(products: int, releases: int, rounds: int) -> None:
    """Build a repository of a shape, and run machines against it."""
    path = PATH.format(products // 2, releases - 1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        size = build(folder, products, releases)
        print(
            f"{products * releases:,} targets as {products:,} products of {releases:,}, "
            f"{size / 1024**2:.1f} MiB of metadata; {rounds} rounds, each in a fresh process"
        )
        runs: dict[str, list[dict[str, float]]] = {"cold": [], "warm": [], "next": []}
        for number in range(rounds):
            kept = folder / f"kept-{number}"
            kept.mkdir()
            (kept / "root.json").write_bytes((folder / "first" / "1.root.json").read_bytes())
            runs["cold"].append(spawn(folder / "first", kept, path))
            runs["warm"].append(spawn(folder / "first", kept, path))
            runs["next"].append(spawn(folder / "next", kept, path))
        imports = statistics.median(run["import_ms"] for each in runs.values() for run in each)
        print(f"import of the verifier: {imports:.0f} ms, not counted below")
        tell("cold", runs["cold"], f"(goals {COLD_GOAL_MS} ms, {COLD_GOAL_MIB} MiB)")
        tell("warm", runs["warm"], f"(goal {WARM_GOAL_MS} ms)")
        tell("next", runs["next"], "")


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", action="append", type=read_shape, metavar="PRODUCTSxRELEASES")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--machine", nargs=3, metavar=("SERVED", "KEPT", "PATH"))
    said = parser.parse_args()
    if said.machine:
        run_machine(Path(said.machine[0]), Path(said.machine[1]), said.machine[2])
        return
    for products, releases in said.shape or SHAPES:
        measure(products, releases, said.rounds)


if __name__ == "__main__":
    main()
