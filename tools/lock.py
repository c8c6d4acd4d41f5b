"""Write the lock files again: every package with its version and hashes, none with an address.

Packages younger than a week are left out, so that a release that was taken over has time to be
noticed. Run it with `make lock`, read the difference, and commit it.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
COOLING_DAYS: Final = 7


@dataclass(frozen=True)
class Lock:
    """One lock file: where it is written, what it is resolved from, what it must agree with."""

    target: str
    source: str
    extra: str = ""
    constraint: str = ""


LOCKS: Final = (
    Lock("locks/dev.txt", "pyproject.toml", extra="dev"),
    Lock("locks/server.txt", "pyproject.toml", extra="server", constraint="locks/dev.txt"),
    Lock("locks/device.txt", "pyproject.toml", extra="device", constraint="locks/dev.txt"),
    Lock("locks/hsm.txt", "pyproject.toml", extra="hsm", constraint="locks/dev.txt"),
    Lock("locks/tools.txt", "locks/tools.in", constraint="locks/dev.txt"),
    Lock("locks/node.txt", "locks/node.in"),
)


def build_command(lock: Lock, day: str) -> list[str]:
    """Say how one lock file is compiled."""
    command = [
        str(ROOT / ".venv/bin/uv"),
        "pip",
        "compile",
        lock.source,
        "--generate-hashes",
        "--no-emit-index-url",
    ]
    command += ["--python-version", "3.11", "--no-header", "--quiet", "--upgrade"]
    command += ["--exclude-newer", day, "--output-file", lock.target]
    if lock.extra:
        command += ["--extra", lock.extra]
    if lock.constraint:
        command += ["--constraint", lock.constraint]
    return command


def main() -> int:
    day = (datetime.now(UTC) - timedelta(days=COOLING_DAYS)).date().isoformat()
    print(f"Resolving packages that were published before {day}.", flush=True)
    for lock in LOCKS:
        subprocess.run(build_command(lock, day), cwd=ROOT, check=True)
        print(f"  wrote {lock.target}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
