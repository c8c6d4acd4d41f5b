"""The control plane as a program: it starts, says what is wrong, and stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest
from tests.system.command_line import Plane, running_plane
from tests.system.test_api_schemathesis import run_schemathesis

SCHEMATHESIS_SECONDS = 40


def listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.timeout(180)
def test_up_down_and_up_again(tmp_path: Path) -> None:
    plane = Plane(tmp_path, tmp_path / "data")
    ready_file = tmp_path / "ready.json"
    said = plane.up("--ready-file", ready_file)
    assert said.status == 0, said.err
    ready = json.loads(ready_file.read_text())
    assert {"url", "api", "bus", "pid", "login_url", "ca_sha256"} <= set(ready)
    assert ready["login_url"].startswith(ready["url"])
    ports = [int(ready[n].rstrip("/").rsplit(":")[-1]) for n in ("url", "bus", "enrol")]
    assert all(map(listening, ports))
    assert (plane.data.stat().st_mode & 0o077) == 0
    for name in ("run/admin-token", "run/login-link", "server/setup-token", "server/log.key"):
        assert ((plane.data / name).stat().st_mode & 0o077) == 0, name
    # Before there is an owner, everything that needs one says so, and nothing breaks.
    for path in ("/today", "/devices", "/record", "/doctor", "/tour", "/owner/pending"):
        assert plane.get(path).status_code == 200, path
    for path in ("/record/checkpoint", "/record/export", "/owner/documents"):
        answer = plane.get(path)
        assert answer.json()["reason"] == "no_owner", path
        assert answer.status_code == 404
    # A second one on this folder is refused, and the first is still found.
    again = plane.up()
    assert again.status == 1
    assert "runs on" in again.err
    assert plane.get("/today").status_code == 200
    assert plane.fleetward("doctor", "--json").json["checks"]
    plane.own()
    assert not (plane.data / "server" / "setup-token").exists() or plane.get("/today").json()
    assert plane.fleetward("down").status == 0
    assert not any(map(listening, ports))
    assert plane.fleetward("down").status == 1
    # The same addresses, the same owner, and no setup token any more.
    assert plane.up().status == 0
    try:
        assert plane.ready["api"] == ready["api"]
        assert plane.get("/owner/documents").json()["name"] == "Ward 3"
        assert not (plane.data / "server" / "setup-token").exists()
    finally:
        assert plane.fleetward("down").status == 0


@pytest.mark.timeout(120)
def test_after_a_kill_nothing_else_is_ever_killed(tmp_path: Path) -> None:
    with running_plane(tmp_path, owned=False) as plane:
        broker = int(plane.ready["broker_pid"])
        os.kill(int(plane.ready["pid"]), signal.SIGKILL)
        time.sleep(0.5)
        # The stale ready file and lock name a process that is no server of this folder.
        ready = plane.ready | {"pid": os.getpid()}
        (plane.data / "run" / "ready.json").write_text(json.dumps(ready))
        (plane.data / "run" / "server.lock").write_text(str(os.getpid()))
        said = plane.fleetward("down")
        assert said.status == 1
        assert "No control plane runs" in said.err
        deadline = time.monotonic() + 15
        while Path(f"/proc/{broker}").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not Path(f"/proc/{broker}").exists()
        said = plane.up()
        assert said.status == 0, said.err
        assert plane.get("/today").status_code == 200


def broken(tmp_path: Path, config: str) -> str:
    """Start with this configuration, which must fail; return the last words."""
    plane = Plane(tmp_path, tmp_path / "data")
    plane.data.mkdir(mode=0o700, exist_ok=True)
    (plane.data / "fleetward.toml").write_text(config)
    said = plane.up()
    assert said.status == 1
    assert "Traceback" not in said.err
    assert not (plane.data / "run" / "ready.json").exists()
    return said.err


def test_an_unknown_setting(tmp_path: Path) -> None:
    assert "did you mean port" in broken(tmp_path, "porrt = 1\n")
    assert "TOML" in broken(tmp_path, "port = \n")


@pytest.mark.parametrize("name", ["port", "enrol_port", "bus_port"])
def test_a_port_that_is_taken(tmp_path: Path, name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = broken(tmp_path, f"{name} = {port}\n")
        assert f"Port {port} on 127.0.0.1 is taken" in words


def test_a_broken_database(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "server"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "state.db").write_bytes(b"this is no database" * 1000)
    words = broken(tmp_path, "")
    assert "database cannot be used" in words
    assert str(folder / "state.db") in words
    words = broken(tmp_path, 'database_url = "postgresql://nobody:secret@127.0.0.1:1/none"\n')
    assert "database cannot be used" in words
    assert "secret" not in words


@pytest.mark.slow
@pytest.mark.timeout(SCHEMATHESIS_SECONDS * 3 + 60)
def test_the_wired_api_keeps_to_its_document(tmp_path: Path) -> None:
    with running_plane(tmp_path) as plane:
        url = plane.ready["api"].removesuffix("/api/v1")
        told = run_schemathesis(url, plane.host_token, tmp_path, SCHEMATHESIS_SECONDS)
        assert told.returncode == 0, told.stdout[-12_000:] + told.stderr[-2_000:]
        assert plane.get("/today").status_code == 200
        log = (plane.data / "server" / "logs" / "server.log").read_text()
        assert "Traceback" not in log, log[-4000:]
        assert httpx.get(f"{url}/api/v1/today").status_code == 401
