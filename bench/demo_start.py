"""Seconds until a person sees this machine: the first start of a demo, and the second.

    python bench/demo_start.py [--machines 12]

Workload: `fleetward demo` in an empty folder, as `make demo` calls it after the set-up. The clock
runs from the start of the command until the login address was answered and the list of devices, as
that session sees it, shows this very machine, connected, with its packages and open ports. Then
the demo is stopped and started again in the same folder.
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
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

FLEETWARD = Path(sys.executable).with_name("fleetward")
PATIENCE_SECONDS = 180


def call(api: str, token: str, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
    """Ask the API as a browser would."""
    request = urllib.request.Request(f"{api}{path}")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    if body is not None:
        request.add_header("Content-Type", "application/json")
        request.data = json.dumps(body).encode()
    with urllib.request.urlopen(request, timeout=10) as answer:
        decoded: dict[str, Any] = json.load(answer)
    return decoded


def wait_first_page(ready_file: Path, demo: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Return this machine's row as soon as the first page would show it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not ready_file.exists():
        if demo.poll() is not None or time.monotonic() > deadline:
            raise SystemExit("the demo did not become ready")
        time.sleep(0.05)
    ready = json.loads(ready_file.read_text())
    code = ready["login_url"].partition("#code=")[2]
    token = call(ready["api"], "", "/session/redeem", {"code": code})["token"]
    while time.monotonic() < deadline:
        rows = call(ready["api"], token, "/devices?per_page=500")["items"]
        for row in rows:
            if row["id"] == ready["devices"]["this"] and row["open_ports"] is not None:
                shown: dict[str, Any] = call(ready["api"], token, f"/devices/{row['id']}")
                if shown["software"]["packages"] and row["connection"] == "connected":
                    return shown
        time.sleep(0.05)
    raise SystemExit("this machine did not appear")


def start(data: Path, machines: int) -> tuple[float, dict[str, Any]]:
    """Start a demo, wait for its first page, stop it; return the seconds and the machine."""
    ready_file = data.parent / "ready.json"
    ready_file.unlink(missing_ok=True)
    began = time.monotonic()
    demo = subprocess.Popen(
        [FLEETWARD, "demo", "--data", data, "--machines", str(machines), "--no-browser",
         "--ready-file", ready_file]
    )  # fmt: skip
    try:
        shown = wait_first_page(ready_file, demo)
        return time.monotonic() - began, shown
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(90)


def main() -> None:
    """Measure both starts and print them with their workload."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=12)
    machines = parser.parse_args().machines
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="fleetward-bench-") as folder:
        first, shown = start(Path(folder) / "demo", machines)
        second, _ = start(Path(folder) / "demo", machines)
    software, ports = shown["software"], shown["reachability"]["sockets_total"]
    print(
        f"workload: this machine ({software['os']}, {software['packages']} packages, {ports} "
        f"listening sockets) and {machines} simulated ones "
        f"on {os.cpu_count()} cores, load {load:.1f}"
    )
    print(f"first start to first page with this machine on it: {first:.1f} s (<= 60)")
    print(f"second start to the same page: {second:.1f} s (<= 20)")


if __name__ == "__main__":
    main()
