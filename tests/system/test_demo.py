"""The demo as a person starts it: real server, real broker, the real agent on this very machine."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

BIN = Path(sys.executable).parent
START_SECONDS = 150
pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]


@dataclass(frozen=True)
class RunningDemo:
    """A demo that said that it is ready, and how long that took."""

    process: subprocess.Popen[bytes]
    data: Path
    ready: dict[str, Any]
    said: Path
    seconds: float

    def get(self, path: str) -> Any:
        """Ask the API as a program on this host."""
        token = (self.data / "run/admin-token").read_text()
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.get(f"{self.ready['api']}{path}", headers=headers, timeout=30)
        return answer.raise_for_status().json()

    def devices(self) -> dict[str, dict[str, Any]]:
        """Return the rows of the list of devices by their names."""
        return {row["name"]: row for row in self.get("/devices?per_page=100")["items"]}

    @property
    def this(self) -> str:
        """The id of this very machine."""
        return str(self.ready["devices"]["this"])


@contextmanager
def running_demo(data: Path, *options: str) -> Iterator[RunningDemo]:
    """Run a demo until the block ends; then stop it as Ctrl-C does."""
    ready_file, said = data.parent / "ready.json", data.parent / "said"
    ready_file.unlink(missing_ok=True)
    began = time.monotonic()
    with said.open("wb") as file:
        process = subprocess.Popen(
            [BIN / "fleetward", "demo", "--data", data, "--machines", "3", "--no-browser",
             "--ready-file", ready_file, *options],
            stderr=file,
        )  # fmt: skip
    try:
        wait_for(lambda: ready_file.exists() or process.poll() is not None, START_SECONDS)
        assert ready_file.exists(), said.read_text()
        seconds = time.monotonic() - began
        ready = json.loads(ready_file.read_text())
        yield RunningDemo(process, data, ready, said, seconds)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(90)


def wait_for(is_so: Callable[[], bool], seconds: float) -> float:
    """Return after how many seconds something became so; fail when it does not."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < seconds, "it did not come in time"
        time.sleep(0.1)
    return time.monotonic() - began


def list_processes(data: Path) -> list[str]:
    """Return the command lines of all processes that name this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        line = b" ".join(words).decode("utf-8", "replace")
        if str(data) in line:
            found.append(line)
    return found


def agent_json(data: Path, *words: str) -> Any:
    """Run a command of the agent and return what it printed."""
    done = subprocess.run(
        [BIN / "fleetward-agent", *words, "--data", data, "--json"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "data"


@pytest.fixture(scope="module")
def demo(folder: Path) -> Iterator[RunningDemo]:
    with running_demo(folder) as started:
        yield started


def test_this_machine_is_confirmed_and_shown_as_it_is(demo: RunningDemo) -> None:
    shown = demo.get(f"/devices/{demo.this}")
    assert (shown["state"], shown["confirmed"], shown["simulated"]) == ("active", True, False)
    assert shown["connection"] == "connected"
    assert shown["software"]["packages"] > 10
    status = agent_json(demo.data / "devices/this-machine", "status")
    assert (status["device"], status["words"]) == (demo.this, shown["words"])
    assert status["wall"] in ("uid", "none")

    def lists(kind: str) -> bool:
        return bool(demo.get(f"/devices/{demo.this}/{kind}?per_page=1")["total"])

    # A port that opens meanwhile names a new inventory, which takes a moment to come.
    wait_for(lambda: lists("packages"), 10)
    wait_for(lambda: lists("sockets"), 10)


def test_simulated_machines_say_so_and_one_waits(demo: RunningDemo) -> None:
    rows = {name: row for name, row in demo.devices().items() if row["id"] != demo.this}
    assert {name: (row["state"], row["simulated"]) for name, row in rows.items()} == {
        "infusion-gateway-7": ("pending", True),
        "camera-recorder-2": ("active", True),
        "ward-kiosk-1": ("active", True),
    }
    waiting = demo.ready["devices"]["waiting"]
    assert [machine["id"] for machine in demo.get("/owner/pending")["items"]] == [waiting]
    status = agent_json(demo.data / "devices/infusion-gateway-7", "status")
    assert (status["device"], status["wall"]) == (waiting, "simulated")


def test_the_stranger_was_refused_and_the_record_says_so(demo: RunningDemo) -> None:
    refused = json.loads((demo.data / "devices/visitor-tablet/refused.json").read_text())
    assert refused["reason"] == "invitation_used_up"
    assert "visitor-tablet" not in demo.devices()
    entries = demo.get("/record/entries?per_page=500")["items"]
    assert [entry["kind"] for entry in entries].count("device.join_refused") == 1


def test_a_port_that_opens_and_closes_is_told_within_ten_seconds(demo: RunningDemo) -> None:
    def told(words: str) -> bool:
        history = demo.get(f"/devices/{demo.this}/history?per_page=100")["items"]
        return any(item["words"].startswith(words) for item in history)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert wait_for(lambda: told(f"port {port} opened"), 20) < 10
    assert wait_for(lambda: told(f"port {port} closed"), 20) < 10


def test_secrets_are_for_their_owner_alone_and_never_for_the_server(demo: RunningDemo) -> None:
    passphrase = Path(demo.ready["passphrase_file"])
    other = Path(demo.ready["technician_passphrase_file"])
    for path in (passphrase, other, demo.data / "owner-console", demo.data.parent / "ready.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(demo.data.stat().st_mode) == 0o700
    secret = demo.ready["owner_console"].partition("#secret=")[2]
    assert len(secret) > 20
    tour = json.dumps(demo.get("/tour"))
    assert secret not in tour
    assert passphrase.read_text().strip() not in tour
    assert other.read_text().strip() not in tour


def test_the_tour_names_commands_that_work(demo: RunningDemo) -> None:
    facts = demo.get("/tour")["facts"]
    assert facts["device_id"] == demo.this
    assert facts["waiting_device_id"] == demo.ready["devices"]["waiting"]

    def run(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            facts[name], shell=True, capture_output=True, text=True, timeout=60, check=False
        )

    panel = agent_json(demo.data / "devices/infusion-gateway-7", "status")
    assert panel["words"] in run("panel_command").stdout
    assert "fleetward-join-1." in run("invite_command").stdout
    assert demo.ready["owner_console"] in run("owner_console_command").stdout
    assert run("export_command").returncode == 0
    assert run("verify_command").returncode == 0
    assert run("alter_command").returncode == 0
    assert run("verify_command").returncode == 1


def test_a_second_demo_is_told_how_to_stop_the_first(demo: RunningDemo) -> None:
    second = subprocess.run(
        [BIN / "fleetward", "demo", "--data", demo.data, "--no-browser"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert f"kill {demo.process.pid}" in second.stderr
    assert demo.process.poll() is None


def test_it_ends_wholly_goes_on_quickly_survives_kill_and_is_wiped(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_demo(data) as first:
        assert len(list_processes(data)) >= 6
        ids = first.ready["devices"]
    assert list_processes(data) == []
    assert first.process.returncode == 0

    with running_demo(data) as second:
        assert second.ready["devices"] == ids
        assert second.seconds < 20
        second.process.kill()
        second.process.wait(10)
    assert list_processes(data) != []

    with running_demo(data) as third:
        assert third.ready["devices"] == ids
        rows = third.devices()
        assert len(rows) == 4
        third.process.send_signal(signal.SIGTERM)
        assert third.process.wait(60) == 0
    assert list_processes(data) == []

    with running_demo(data, "--reset") as fresh:
        assert fresh.this != ids["this"]
    assert list_processes(data) == []
