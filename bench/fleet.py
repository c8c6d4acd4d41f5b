"""What a fleet at rest costs the server: CPU and memory of every process, memory a connection.

    python bench/fleet.py [--machines 5000] [--beat 60] [--seconds 120]

Workload: a control plane on loopback with its embedded database, an owner, and one process of
simulated machines (`fleetward sim`). Each machine has joined by an invitation, has its own identity
key, its own TLS 1.3 connection with a client certificate, a journal, an inventory that was sent and
proven; then it sends heartbeats only. Memory is PSS; memory a connection is what every process grew
by from the start to the settled fleet, divided by the machines. CPU is user and system time over
the measured seconds, all of which begin after the last machine has connected and settled.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

FLEETWARD = str(Path(sys.executable).with_name("fleetward"))
TICKS = os.sysconf("SC_CLK_TCK")
SETTLE_SECONDS = 40
"""Behind the last connection: proofs come, checkpoints are journalled."""
EACH_SECONDS = 1.0
"""How long one machine may take to join and connect, before the bench gives up."""


def fleetward(*words: str) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run(
        [FLEETWARD, *words], check=True, capture_output=True, text=True, timeout=120
    )
    return done.stdout


def find_processes(pid: int) -> dict[str, int]:
    """Return the server and everything that it started, by name."""
    found = {Path(f"/proc/{pid}/comm").read_text().strip(): pid}
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            found |= find_processes(int(child))
    return found


def pss_kib(pid: int) -> int:
    """Return the proportional set size of a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError(pid)


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(fields[i]) for i in (11, 12)) / TICKS


def count_connected(data: Path) -> int:
    """Return how many machines the server counts as connected; a question that costs it little."""
    ready = json.loads((data / "run/ready.json").read_text())
    request = urllib.request.Request(f"{ready['api']}/devices?connection=connected&per_page=1")
    token = (data / "run/admin-token").read_text()
    request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return int(json.load(answer)["total"])


def invite(data: Path, folder: Path, machines: int) -> str:
    """Make an owner beside the server and return a join string for all."""
    passphrase = folder / "passphrase"
    passphrase.write_text("correct horse battery staple\n")
    passphrase.chmod(0o600)
    secret = ("--passphrase-file", str(passphrase))
    owner = str(folder / "owner")
    fleetward("owner", "init", "--name", "Bench", "--person", "Ada", "--data", str(data),
              "--out", owner, *secret)  # fmt: skip
    invited = json.loads(
        fleetward("owner", "invite", "--site", "Bench", "--uses", str(machines), "--ttl", "86400",
                  "--preapproved", "--owner", owner, *secret, "--json")
    )  # fmt: skip
    return str(invited["join"])


def measure(data: Path, folder: Path, wish: argparse.Namespace) -> None:
    """Bring the fleet up, let it settle, measure, and print."""
    processes = find_processes(json.loads((data / "run/ready.json").read_text())["pid"])
    join = invite(data, folder, wish.machines)
    empty = {name: pss_kib(pid) for name, pid in processes.items()}
    began = time.monotonic()
    crowd = subprocess.Popen(
        [FLEETWARD, "sim", "--machines", str(wish.machines), "--join", join,
         "--beat", str(wish.beat)]
    )  # fmt: skip
    try:
        deadline = began + 120 + wish.machines * EACH_SECONDS
        while count_connected(data) < wish.machines:
            if crowd.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("not every machine connected")
            time.sleep(5)
        took = time.monotonic() - began
        time.sleep(SETTLE_SECONDS)
        before = {name: cpu_seconds(pid) for name, pid in processes.items()}
        start = time.monotonic()
        time.sleep(wish.seconds)
        seconds = time.monotonic() - start
        used = {name: cpu_seconds(pid) - before[name] for name, pid in processes.items()}
        full = {name: pss_kib(pid) for name, pid in processes.items()}
        still = count_connected(data)
    finally:
        crowd.terminate()
        crowd.wait(300)
    print(
        f"workload: {wish.machines} simulated machines, a heartbeat every {wish.beat} s each, "
        f"measured for {seconds:.0f} s on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"joined and connected in {took:.0f} s; {still} connected at the end"
    )
    for name in processes:
        grown = full[name] - empty[name]
        print(
            f"{name:<16} cpu {100 * used[name] / seconds:6.2f} % of a core   memory "
            f"{full[name] / 1024:7.1f} MiB (empty {empty[name] / 1024:.1f}), "
            f"{grown / wish.machines:.1f} KiB a connection"
        )
    share = sum(used.values()) / seconds
    grown = sum(full.values()) - sum(empty.values())
    each = grown / wish.machines
    print(f"all processes: {100 * share:.2f} % of a core, {each:.1f} KiB a connection")
    print(f"machines a core at this heartbeat, by CPU: {wish.machines / share:,.0f}")


def main() -> None:
    """Start a control plane in a temporary folder and measure on it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=5000)
    parser.add_argument("--beat", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, default=120.0)
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleetward-bench-") as folder:
        data = Path(folder) / "server"
        fleetward("up", "--data", str(data), "--detach")
        try:
            measure(data, Path(folder), wish)
        finally:
            fleetward("down", "--data", str(data))


if __name__ == "__main__":
    main()
