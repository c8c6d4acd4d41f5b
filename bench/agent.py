"""Memory and idle CPU of the agent on this very machine: `uplink` and `guard`, as they really run.

    python bench/agent.py [--seconds 120] [--busy]

Workload: a control plane, an owner and one machine on loopback; the machine is confirmed, its full
inventory sent and proven; then nothing happens but the agent's own watching and heartbeats. Memory
is PSS of the two processes (the light supervisor beside them is printed apart; under systemd there
is none). CPU is user and system time of the processes and of the collectors that they started.

As root everything runs in a network and a process namespace of its own, so that the machine is as
idle as it says: each port that another program opens or closes costs the agent a look. `--busy`
leaves that out, and measures the machine as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent
TICKS = os.sysconf("SC_CLK_TCK")


def fleetward(*words: str, program: str = "fleetward") -> str:
    """Run a command and return what it printed."""
    done = subprocess.run(
        [str(BIN / program), *words], check=True, capture_output=True, text=True, timeout=120
    )
    return done.stdout


def pss_kib(pid: int) -> int:
    """Return the proportional set size of a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError(pid)


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process and of its ended children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(fields[i]) for i in (11, 12, 13, 14)) / TICKS


def children(pid: int) -> dict[str, int]:
    """Return pids of guard and uplink below the supervisor."""
    found: dict[str, int] = {}
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            line = Path(f"/proc/{child}/cmdline").read_bytes().decode()
            for name in ("guard", "uplink"):
                if f"{name}_main" in line:
                    found[name] = int(child)
    return found


def measure(data: Path, machine: Path, seconds: float) -> None:
    """Join, wait until everything is proven, then measure."""
    passphrase = data.parent / "passphrase"
    passphrase.write_text("correct horse battery staple\n")
    passphrase.chmod(0o600)
    secret = ("--passphrase-file", str(passphrase))
    owner = str(data.parent / "owner")
    fleetward("owner", "init", "--name", "Bench", "--person", "Ada", "--data", str(data),
              "--out", owner, *secret)  # fmt: skip
    invited = json.loads(
        fleetward("owner", "invite", "--site", "Bench", "--uses", "1", "--ttl", "600",
                  "--preapproved", "--owner", owner, *secret, "--json")
    )  # fmt: skip
    fleetward("join", invited["join"], "--data", str(machine), program="fleetward-agent")
    agent = subprocess.Popen([str(BIN / "fleetward-agent"), "run", "--data", str(machine)])
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            time.sleep(1)
            status = json.loads(
                fleetward("status", "--data", str(machine), "--json", program="fleetward-agent")
            )
            if status["settled"]:
                break
        time.sleep(5)
        pids = children(agent.pid)
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        time.sleep(seconds)
        after = {name: cpu_seconds(pid) for name, pid in pids.items()}
        memory = {name: pss_kib(pid) / 1024 for name, pid in pids.items()}
        used = {name: after[name] - before[name] for name in pids}
        print(f"workload: one confirmed machine, idle for {seconds:.0f} s, heartbeat 60 s, "
              f"sockets looked at every few seconds; wall {status['wall']}")  # fmt: skip
        for name in sorted(pids):
            print(f"{name:8} PSS {memory[name]:5.1f} MiB   CPU {used[name] / seconds:7.3%}")
        print(f"{'both':8} PSS {sum(memory.values()):5.1f} MiB   "
              f"CPU {sum(used.values()) / seconds:7.3%}")  # fmt: skip
        print(f"supervisor PSS {pss_kib(agent.pid) / 1024:.1f} MiB")
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.wait(timeout=20)


def main() -> None:
    """Start a control plane in a temporary folder, measure, and stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--busy", action="store_true")
    options = parser.parse_args()
    seconds = options.seconds
    if os.geteuid() == 0 and not options.busy:
        again = [sys.executable, __file__, "--seconds", str(seconds), "--busy"]
        alone = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "sh", "-c"]
        alone += ['ip link set lo up && exec "$@"', "sh", *again]
        raise SystemExit(subprocess.run(alone, check=False).returncode)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        fleetward("up", "--data", str(data), "--detach")
        try:
            measure(data, Path(folder) / "machine", seconds)
        finally:
            fleetward("down", "--data", str(data))


if __name__ == "__main__":
    main()
