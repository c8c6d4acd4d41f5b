"""From the owner's command to the machine's filter and back, every program in its own process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.closing_world import Wire, can_have_network, listening, own_network
from tests.system.command_line import PROGRAMS, Plane, environment, run

from fleetward.runtime.files import make_private_directory

pytestmark = pytest.mark.skipif(
    not can_have_network() or not Path("/usr/sbin/nft").exists(),
    reason="needs root, network name spaces and nft",
)


@contextmanager
def running_machine(plane: Plane, name: str) -> Iterator[str]:
    """Join a machine, confirm it, and run its agent until the end; yield its id."""
    join = plane.owner_does("invite", "--site", "Hall", "--json").json["join"]
    assert plane.agent("join", name, join).status == 0
    status = plane.agent("status", name, "--json").json
    said = plane.owner_does(
        "confirm", status["device"], status["words"], "--name", name, "--site", "Hall",
        "--json",
    )  # fmt: skip
    assert said.status == 0, said.err
    with (plane.home / "agent.log").open("ab") as log:
        agent = subprocess.Popen(
            [PROGRAMS / "fleetward-agent", "run", "--data", plane.home / name],
            env=environment(plane.home), stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield status["device"]
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.wait(20)


def until(true: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Wait until something is so."""
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up, what
        time.sleep(0.2)


def walk(plane: Plane, wire: Wire, device: str) -> None:
    """Preview, close, keep, look at the tiers, open again."""

    def machine() -> Any:
        return plane.get(f"/closing-machines/{device}").json()

    until(lambda: machine()["looked_at"] is not None, "the machine has looked at itself")
    seen = plane.owner_does("close", "pump", "--port", "2323", "--preview")
    assert "tcp/2323" in seen.out and "waits for others" in seen.out, seen.out
    assert wire.reaches(2323)
    said = plane.owner_does(
        "close", "pump", "--port", "2323", "--ssh", "--restore", "5m", "--yes", "--json",
        "--reason", "nobody needs it",
    )  # fmt: skip
    assert said.json["counts"] == {"applied": 1}, said.err
    assert not wire.reaches(2323)
    assert said.json["machines"][0]["seconds_left"] > 200
    assert plane.owner_does("close", "keep", "--json").json["counts"] == {"kept": 1}
    (row,) = plane.owner_does("close", "list", "--json").json
    assert row["kept_at"] and row["counts"] == {"kept": 1}
    tiers = machine()["tiers"]
    assert [tier["state"] for tier in tiers] == ["yes", "yes", "yes"], tiers
    again = plane.owner_does("close", "open", "pump", "--yes", "--json")
    assert again.json["counts"] == {"applied": 1}, again.err
    assert wire.reaches(2323)
    refused = plane.owner_does("close", "keep", said.json["id"][:12])
    assert refused.status == 1 and "nothing to keep" in refused.err


def check_record(plane: Plane) -> None:
    """Export the record and check it offline: who ordered what, and what became of it."""
    out = plane.home / "record"
    exported = plane.fleetward("audit", "export", "--out", out)
    assert exported.status == 0, exported.err
    root = json.loads((out / "export.json").read_text())["owner_root"]
    checked = run("fleetward", "audit", "verify", out, "--root", root, "--json", home=plane.home)
    assert checked.status == 0, checked.err
    said = [f["words"] for f in checked.json["proven"] if f["id"] == "closing"]
    assert len(said) == 2, said
    assert "close SSH, tcp/2323" in said[0] and "1 keeps it" in said[0]
    assert "open again all that was closed" in said[1] and "1 carried it out" in said[1]
    assert not [f for f in checked.json["unknown"] if f["id"].startswith(("clos", "strange"))]


def test_an_owner_closes_keeps_and_opens_again(tmp_path: Path) -> None:
    with own_network() as wire, listening(2323):
        home = make_private_directory(tmp_path / "home")
        plane = Plane(home, home / "data")
        assert plane.up().status == 0
        try:
            plane.own()
            with running_machine(plane, "pump") as device:
                walk(plane, wire, device)
                check_record(plane)
        finally:
            plane.fleetward("down")
    assert os.geteuid() == 0
