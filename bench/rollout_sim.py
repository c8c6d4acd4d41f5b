"""A release that fails on some machines, rolled out to a fleet of simulated ones, from end to end.

    python bench/rollout_sim.py [--machines 10000] [--failing 3] [--allow 0] [--minutes 10]
                                [--crowds 2] [--joining-minutes 60]

Workload: a control plane on loopback with its embedded database, an owner and a maker made by the
commands that people use, and simulated machines (`fleetward sim`, in as many processes as
`--crowds`), each with its own keys, its own TLS connection, a journal on the disk and a guard that
judges releases as a real one does; only installing is played, and fails on `--failing` per cent by
a seed. All are on the owner's
roster, which is signed once. A release of one small part is published, a rollout made in waves of
1 %, 10 % and everybody without a soak, and the release approved for all. It runs until the rollout
is held, for at most `--minutes`, and a minute longer. Exposure is counted three times: as the
server shows it, as the director told machines, and by what began on the machines themselves.

CPU is user and system time of each process; memory is PSS, when it was held.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.hand import hand_over
from fleetward.keyholder.init import name_local_server
from fleetward.keyholder.pending import fetch_pending, read_machine_key
from fleetward.runtime.clock import SystemClock
from fleetward.trust.roster import ACTIVE, RosterEntry

FLEETWARD = str(Path(sys.executable).with_name("fleetward"))
TICKS = os.sysconf("SC_CLK_TCK")
AFTER_SECONDS = 60
LOOK_SECONDS = 2.0
WAVES = "1%,10%,100%"


class Bench:
    """One run in a folder of its own."""

    def __init__(self, folder: Path, wish: argparse.Namespace) -> None:
        self.folder, self.wish = folder, wish
        self.data, self.owner = folder / "server", folder / "owner"
        passphrase = folder / "passphrase"
        passphrase.write_text("correct horse battery staple\n")
        passphrase.chmod(0o600)
        self.secret = ("--passphrase-file", str(passphrase))
        self.client: ApiClient
        self.row: dict[str, Any] = {}
        """The rollout, as the server showed it last."""

    def run(self, *words: str) -> str:
        """Run a command and return what it printed."""
        done = subprocess.run([FLEETWARD, *words], capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise SystemExit(f"fleetward {' '.join(words)}: {done.stderr}")
        return done.stdout

    def wait(self, minutes: float, is_so: Callable[[], bool]) -> float | None:
        """Wait for a condition; return how many seconds it took, or None when it did not come."""
        began = time.monotonic()
        while not is_so():
            if time.monotonic() > began + minutes * 60:
                return None
            time.sleep(LOOK_SECONDS)
        return time.monotonic() - began

    def start_crowds(self, join: str) -> dict[str, subprocess.Popen[str]]:
        """Start the machines, shared out among processes."""
        wish, crowds = self.wish, dict[str, subprocess.Popen[str]]()
        for number in range(wish.crowds):
            many = wish.machines // wish.crowds + (number < wish.machines % wish.crowds)
            crowds[f"machines {number + 1}"] = subprocess.Popen(
                [FLEETWARD, "sim", "--machines", str(many), "--join", join, "--json",
                 "--failing", str(wish.failing / 100)],
                stdout=subprocess.PIPE, stderr=None if wish.loud else subprocess.DEVNULL, text=True,
            )  # fmt: skip
        return crowds

    def set_up(self) -> str:
        """Make owner, maker and release; return a join string for all."""
        run, secret = self.run, self.secret
        at_maker, at_owner = ("--maker", str(self.folder / "maker")), ("--owner", str(self.owner))
        run("owner", "init", "--name", "Bench", "--person", "Ada", "--data", str(self.data),
            "--out", str(self.owner), *secret)  # fmt: skip
        run("maker", "init", "--name", "Acme", *at_maker, *secret)
        run("maker", "product", "add", "kiosk", "--support-ends", "2035-12-31", *at_maker, *secret)
        part = self.folder / "part"
        part.mkdir()
        (part / "words").write_text("The newest words.\n")
        run("release", "build", "kiosk", "1.1", "--part", f"app={part}", "--within", "10",
            "--steady", "0", *at_maker)  # fmt: skip
        run("release", "sign", "kiosk/1.1", *at_maker, *secret)
        here = ("--data", str(self.data))
        root = next((self.folder / "maker").rglob("1.root.json"))
        run("owner", "policy", "set", "maker", "kiosk", str(root), *here, *at_owner, *secret)
        run("owner", "policy", "set", "director", *here, *at_owner, *secret)
        run("release", "publish", "kiosk/1.1", *here, *at_maker)
        place = name_local_server(self.data)
        self.client = ApiClient(place.api, place.token)
        uses = str(self.wish.machines)
        invited = run("owner", "invite", "--site", "Bench", "--uses", uses, "--ttl", "86400",
                      "--preapproved", *at_owner, *secret, "--json")  # fmt: skip
        return str(json.loads(invited)["join"])

    def count(self, query: str) -> int:
        """Return how many machines the server counts."""
        return int(self.client.get(f"/devices?{query}&per_page=1", dict[str, Any])["total"])

    def confirm_all(self) -> None:
        """Sign one roster with everybody on it, as an owner who has compared all words."""
        desk = Desk.open(self.owner, Path(self.secret[1]), SystemClock())
        entries = [
            RosterEntry(
                m.id, read_machine_key(m), m.name_suggested, m.site, (), m.model, m.maker, ACTIVE
            )
            for m in fetch_pending(self.client)
        ]
        with desk.folder.locked():
            documents = desk._change_roster(desk.documents(), entries)
        hand_over(desk.folder, self.client, documents)

    def told(self) -> int:
        """Return how many machines the director named the release to."""
        database = sqlite3.connect(f"file:{self.data}/server/state.db?mode=ro", uri=True)
        with database:
            return int(database.execute("SELECT count(*) FROM updates_offer").fetchone()[0])


def find_processes(pid: int) -> dict[str, int]:
    """Return the server and everything that it started, by name."""
    found = {Path(f"/proc/{pid}/comm").read_text().strip(): pid}
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            found |= find_processes(int(child))
    return found


def pss_mib(pid: int) -> float:
    """Return the proportional set size of a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError(pid)


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(fields[i]) for i in (11, 12)) / TICKS


def play(bench: Bench) -> None:
    """Bring the fleet up, roll out until it is held, and print."""
    wish, data = bench.wish, bench.data
    processes = find_processes(json.loads((data / "run/ready.json").read_text())["pid"])
    join = bench.set_up()
    crowds = bench.start_crowds(join)
    try:
        processes |= {name: crowd.pid for name, crowd in crowds.items()}
        joined = bench.wait(
            wish.joining_minutes, lambda: bench.count("connection=connected") >= wish.machines
        )
        if joined is None:
            raise SystemExit(f"not all connected within {wish.joining_minutes:g} minutes")
        joining = {name: cpu_seconds(pid) for name, pid in processes.items()}
        began = time.monotonic()
        bench.confirm_all()
        confirmed = time.monotonic() - began
        rollout = json.loads(
            bench.run("rollout", "create", "kiosk/1.1", "--all", "--waves", WAVES, "--soak", "0",
                      "--allow-failures", str(wish.allow), "--data", str(data), "--json")
        )  # fmt: skip
        before = {name: cpu_seconds(pid) for name, pid in processes.items()}
        bench.run("owner", "approve", "kiosk/1.1", "--all", "--yes", "--data", str(data),
                  "--owner", str(bench.owner), *bench.secret)  # fmt: skip
        promises: list[int] = []

        def is_held() -> bool:
            row = bench.client.get(f"/updates/rollouts/{rollout['id']}?per_page=1", dict[str, Any])[
                "rollout"
            ]
            if row["promise"] not in promises:
                promises.append(row["promise"])
            bench.row = row
            return bool(row["state"] != "running")

        held = bench.wait(wish.minutes, is_held)
        used = {name: cpu_seconds(pid) - before[name] for name, pid in processes.items()}
        full = {name: pss_mib(pid) for name, pid in processes.items()}
        time.sleep(AFTER_SECONDS)
        is_held()
        still, told = bench.count("connection=connected"), bench.told()
    finally:
        for crowd in crowds.values():
            crowd.send_signal(signal.SIGTERM)
        said = [json.loads(crowd.communicate(timeout=300)[0]) for crowd in crowds.values()]
    row, began_on = bench.row, sum(each["began"] for each in said)
    run_it = sum(each["releases"].get("kiosk 1.1", 0) for each in said)
    when = f"{held:.0f} s after the approval" if held else f"still after {wish.minutes:g} minutes"
    print(
        f"workload: {wish.machines} simulated machines, {wish.failing} % fail, {wish.allow} "
        f"failures allowed, waves {WAVES}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"joined and connected in {joined:.0f} s, {still} connected at the end; all on the roster "
        f"in {confirmed:.1f} s"
    )
    print(f"{row['state']} {when}: {row['words']}")
    print(
        f"promised {promises}; let in {row['exposure']}, told {told}, began on machines "
        f"{began_on}, run it {run_it}"
    )
    for name in processes:
        print(
            f"{name:<16} until all were connected {joining[name]:7.1f} s CPU, from approval to "
            f"hold {used[name]:7.1f} s CPU, {full[name]:7.1f} MiB"
        )
    if row["state"] == "running" or max(row["exposure"], told, began_on) > max(promises):
        raise SystemExit("more machines have it than were promised, or it was not held in time")


def main() -> None:
    """Start a control plane in a temporary folder and play on it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=10_000)
    parser.add_argument("--failing", type=float, default=3)
    parser.add_argument("--allow", type=int, default=0)
    parser.add_argument("--crowds", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--joining-minutes", type=float, default=60)
    parser.add_argument("--loud", action="store_true")
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleetward-bench-") as folder:
        bench = Bench(Path(folder), wish)
        bench.run("up", "--data", str(bench.data), "--detach")
        try:
            play(bench)
        finally:
            bench.run("down", "--data", str(bench.data))


if __name__ == "__main__":
    main()
