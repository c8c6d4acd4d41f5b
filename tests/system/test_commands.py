"""What a person types first, and what gets typed wrong, against a real control plane."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.command_line import Plane, run, running_plane


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with running_plane(tmp_path_factory.mktemp("plane")) as plane:
        assert plane.agent("join", "pump", plane.invite()).status == 0
        assert plane.agent("run", "pump", "--once").status == 0
        yield plane


@pytest.mark.timeout(120)
def test_the_commands_as_they_are_listed(plane: Plane) -> None:
    (row,) = plane.fleetward("device", "list", "--json").json
    assert {"id", "name", "site", "state"} <= set(row)
    for verb, state in (("quarantine", "quarantined"), ("readmit", "active")):
        done = plane.fleetward("device", verb, row["id"], "--json")
        assert done.json == {"id": row["id"], "state": state}
    told = plane.fleetward("event", "list", "--json").json
    for since in ("2026-01-01", "2026-01-01T00:00:00Z", "2026-01-01T02:00:00+02:00"):
        assert plane.fleetward("event", "list", "--since", since, "--json").json == told
    assert plane.fleetward("event", "list", "--since", "2100-01-01", "--json").json == []
    shown = plane.fleetward("device", "show", row["name"])
    assert "Not shown" in shown.out
    assert "not_shown" not in shown.out
    empty = plane.fleetward("device", "list", "--site", "Nowhere")
    assert (empty.status, empty.out, "No device is so" in empty.err) == (0, "", True)


@pytest.mark.timeout(60)
def test_from_elsewhere_by_the_address_that_the_console_shows(plane: Plane, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    made = plane.fleetward("token", "create", "--role", "viewer", "--ttl", "600", "--json").json
    token.write_text(made["token"])
    for address in (plane.ready["url"].rstrip("/"), plane.ready["api"].removesuffix("/api/v1")):
        said = run(
            "fleetward", "device", "list", "--server", address, "--token-file", token, "--json",
            home=tmp_path,
        )  # fmt: skip
        assert len(said.json) == 1, said.err


@pytest.mark.timeout(60)
def test_where_nothing_runs_the_next_step_is_said(tmp_path: Path) -> None:
    nowhere = Plane(tmp_path, tmp_path / "nowhere")
    for words in (["device", "list"], ["doctor", "--json"], ["login-link"]):
        said = nowhere.fleetward(*words)
        assert (said.status, said.out, "fleetward up --data" in said.err) == (1, "", True)
    out = ("--out", tmp_path / "b", "--passphrase-file", nowhere.passphrase)
    assert "no_control_plane" in nowhere.fleetward("backup", *out).err
    passphrase = ("--passphrase-file", nowhere.passphrase)
    assert "no_backup" in nowhere.fleetward("restore", tmp_path / "none", *passphrase).err
    other = tmp_path / "other"
    other.write_text("not a backup\n")
    assert "control plane backup" in nowhere.fleetward("restore", other, *passphrase).err
    assert not nowhere.data.exists()


@pytest.mark.timeout(60)
def test_a_start_that_failed_is_not_kept(tmp_path: Path) -> None:
    plane = Plane(tmp_path, tmp_path / "data")
    assert plane.up().status == 0
    url = plane.ready["url"]
    assert plane.fleetward("down").status == 0
    kept = (plane.data / "fleetward.toml").read_text()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "is taken" in plane.up("--port", str(taken.getsockname()[1])).err
    assert "Expected a host" in plane.up("--host", "no such host").err
    assert (plane.data / "fleetward.toml").read_text() == kept
    assert plane.up().status == 0
    try:
        assert plane.ready["url"] == url
    finally:
        assert plane.fleetward("down").status == 0


@pytest.mark.timeout(120)
def test_one_run_of_a_machine_that_waits_ends_soon_and_says_for_whom(plane: Plane) -> None:
    said = plane.owner_does("invite", "--site", "Plant", "--ttl", "600", "--json")
    assert plane.agent("join", "tablet", said.json["join"]).status == 0
    began = time.monotonic()
    once = plane.agent("run", "tablet", "--once")
    assert (once.status, "waits for its owner" in once.err) == (1, True)
    assert time.monotonic() - began < 60
    status = json.loads(plane.agent("status", "tablet", "--json").out)
    assert status["journal"]["unproven"] > 0


@pytest.mark.timeout(60)
def test_a_fleet_that_cannot_join_is_a_failure(plane: Plane, tmp_path: Path) -> None:
    join = plane.invite()
    assert plane.agent("join", "only", join).status == 0
    words = ("--machines", "2", "--seconds", "3", "--join", join, "--json")
    said = run("fleetward", "sim", *words, home=tmp_path)
    assert said.status == 1
    assert json.loads(said.out)["joined"] == 0
    assert "invitation_used_up" in said.err
