"""The programs as a user types them, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

PROGRAMS = Path(sys.executable).parent
PASSPHRASE = "seven plain words that nobody else has"


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.status == 0, self.err
        return json.loads(self.out)


def environment(home: Path) -> dict[str, str]:
    """Return the whole environment of a command."""
    return {"HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


def run(program: str, *words: str | Path, home: Path, timeout_seconds: int = 120) -> Said:
    """Run a command with an empty environment."""
    done = subprocess.run(
        [PROGRAMS / program, *map(str, words)],
        env=environment(home),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Plane:
    """A control plane's folder and the commands on it."""

    home: Path
    data: Path

    @property
    def owner(self) -> Path:
        return self.home / "owner"

    @property
    def passphrase(self) -> Path:
        path = self.home / "passphrase"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(PASSPHRASE)
        return path

    @property
    def ready(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.data / "run" / "ready.json").read_text())
        return found

    @property
    def host_token(self) -> str:
        return (self.data / "run" / "admin-token").read_text()

    def fleetward(self, *words: str | Path) -> Said:
        """Run `fleetward` with this folder."""
        return run("fleetward", *words, "--data", self.data, home=self.home)

    def owner_does(self, *words: str | Path) -> Said:
        """Run `fleetward owner …` with the owner's folder and passphrase."""
        keys = ("--owner", self.owner, "--passphrase-file", self.passphrase)
        return self.fleetward("owner", *words, *keys)

    def agent(self, verb: str, machine: str, *words: str | Path) -> Said:
        """Run the agent of a machine."""
        return run("fleetward-agent", verb, *words, "--data", self.home / machine, home=self.home)

    def start_agent(self, machine: str) -> subprocess.Popen[bytes]:
        """Start the agent of a machine, which ends when it has proof of all that it sent."""
        return subprocess.Popen(
            [PROGRAMS / "fleetward-agent", "run", "--once", "--data", self.home / machine],
            env=environment(self.home),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def up(self, *words: str | Path) -> Said:
        return self.fleetward("up", "--detach", *words)

    def get(self, path: str, token: str = "") -> httpx.Response:
        """Ask the API."""
        return httpx.get(
            f"{self.ready['api']}{path}",
            headers={"authorization": f"Bearer {token or self.host_token}"},
            timeout=30,
        )

    def own(self) -> None:
        """Make an owner and hand over its documents."""
        said = self.fleetward(
            "owner", "init", "--name", "Ward 3", "--person", "Ada", "--out", self.owner,
            "--passphrase-file", self.passphrase,
        )  # fmt: skip
        assert said.status == 0, said.err

    def invite(self, uses: int = 1) -> str:
        """Return a join string that lets machines in at once."""
        said = self.owner_does(
            "invite", "--site", "Plant", "--uses", str(uses), "--ttl", "3600", "--preapproved",
            "--json",
        )  # fmt: skip
        return str(said.json["join"])


@contextmanager
def running_plane(home: Path, name: str = "data", *, owned: bool = True) -> Iterator[Plane]:
    """Start a control plane, with an owner, and stop it at the end."""
    plane = Plane(home, home / name)
    said = plane.up()
    assert said.status == 0, said.err
    try:
        if owned:
            plane.own()
        yield plane
    finally:
        plane.fleetward("down")
