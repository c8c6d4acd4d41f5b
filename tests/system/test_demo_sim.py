"""`fleetward sim` against a real server: what it counts is what the server stored."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

FLEETWARD = Path(sys.executable).with_name("fleetward")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def fleetward(*words: object) -> Any:
    """Run a command and return the document that it printed."""
    done = subprocess.run(
        [FLEETWARD, *map(str, words), "--json"], capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@dataclass(frozen=True)
class Estate:
    """A running server with its owner."""

    data: Path
    owner: Path
    passphrase: Path

    def invite(self, uses: int) -> str:
        """Return a join string."""
        invited = fleetward(
            "owner", "invite", "--site", "Load", "--uses", uses, "--ttl", 600, "--preapproved",
            "--owner", self.owner, "--passphrase-file", self.passphrase,
        )  # fmt: skip
        return str(invited["join"])

    def devices(self) -> dict[str, dict[str, Any]]:
        """Return the machines that the server knows, by id."""
        return {row["id"]: row for row in fleetward("device", "list", "--data", self.data)}

    def events(self) -> list[tuple[str, str]]:
        """Return machine and words of every simulated event that the server has."""
        rows = fleetward("event", "list", "--data", self.data, "--limit", 100_000)
        return [
            (row["device_id"], row["words"]) for row in rows if "of a simulated" in row["words"]
        ]


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    folder = tmp_path_factory.mktemp("sim")
    made = Estate(folder / "server", folder / "owner", folder / "passphrase")
    made.passphrase.write_text("correct horse battery staple\n")
    made.passphrase.chmod(0o600)
    subprocess.run([FLEETWARD, "up", "--data", made.data, "--detach"], check=True, timeout=90)
    try:
        fleetward("owner", "init", "--name", "Load", "--person", "Ada", "--data", made.data,
                  "--out", made.owner, "--passphrase-file", made.passphrase)  # fmt: skip
        yield made
    finally:
        subprocess.run([FLEETWARD, "down", "--data", made.data], check=True, timeout=60)


def test_every_event_is_stored_once_and_a_refused_join_is_counted(
    estate: Estate, tmp_path: Path
) -> None:
    join = estate.invite(4)
    load = ("--events", 30, "--batch", 10, "--data", tmp_path / "kept")
    said = fleetward("sim", "--machines", 5, "--join", join, *load, "--seconds", 40)
    assert (said["joined"], said["connected"]) == (4, 4)
    assert said["join_refusals"] == {"invitation_used_up": 1}
    assert said["events"] == 120
    assert said["receipts"] == said["batches"] >= 4 * 3
    assert said["refusals"] == {}
    assert said["unproven"] == 0
    assert said["latency_ms"]["p50"] <= said["latency_ms"]["max"]
    events = estate.events()
    assert len(events) == len(set(events)) == 120
    rows = estate.devices()
    assert {row["id"] for row in said["devices"]} == set(rows)
    assert all(row["simulated"] for row in rows.values())

    again = fleetward("sim", "--machines", 4, "--join", join, *load)
    assert {row["id"] for row in again["devices"]} == set(rows)
    assert (again["joined"], again["join_refusals"]) == (4, {})
    assert again["seconds"] < 40
    assert len(estate.events()) == 240


def test_a_damaged_join_string_is_refused_before_anything_starts() -> None:
    done = subprocess.run(
        [FLEETWARD, "sim", "--machines", "1", "--join", "fleetward-join-1.AAAA"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert "[" in done.stderr
    assert "Traceback" not in done.stderr
