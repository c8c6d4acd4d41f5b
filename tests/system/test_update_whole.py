"""A release's whole way: a maker, an owner, a server, a broker and an agent, each for real.

Nobody here calls what is under test but by its commands. The server is killed while a machine
fetches from it, and the machine's agent is killed too.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.maker_world import Maker, make_maker

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.maker.sending import send_release
from fleetward.keyholder.place import find_server
from fleetward.trust.release_checks import Check

BIN = Path(sys.executable).parent
PRODUCT = "kiosk"
MUCH = 24 * 1024 * 1024
"""Bytes of a part: six segments, so that there is time to cut in between."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


class Scene:
    """One owner, one server, one machine, one maker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server, self.owner = folder / "server", folder / "owner"
        self.machine, self.passphrase = folder / "machine", folder / "passphrase"
        self.passphrase.touch(0o600)
        self.passphrase.write_text("correct horse battery staple\n")
        self.maker: Maker = make_maker(folder / "maker")
        self.device = self.root = ""
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    # --- programs

    def fleetward(self, *words: object) -> dict[str, Any]:
        done = subprocess.run(
            [BIN / "fleetward", *map(str, words), "--json"],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stderr)
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def as_owner(self, *words: object) -> dict[str, Any]:
        return self.fleetward(
            "owner", *words, "--owner", self.owner, "--data", self.server,
            "--passphrase-file", self.passphrase,
        )  # fmt: skip

    def start_server(self) -> None:
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        self._start("server", "-m", "fleetward.server.main", "--data", self.server,
                    "--ready-file", ready)  # fmt: skip
        self.wait("the server", ready.exists, 60)

    def start_agent(self) -> None:
        self._start("agent", "-m", "fleetward.device.cli", "run", "--data", self.machine)

    def kill(self, name: str) -> None:
        """Kill -9, as a power cut would; what it started ends with it."""
        program = self._running.pop(name)
        os.killpg(program.pid, signal.SIGKILL)
        program.wait()

    def stop(self) -> None:
        for program in self._running.values():
            program.terminate()
        for program in self._running.values():
            program.wait(30)

    def _start(self, name: str, *words: object) -> None:
        self._running[name] = subprocess.Popen(
            [sys.executable, *map(str, words)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    # --- what is so

    def status(self) -> dict[str, Any]:
        done = subprocess.run(
            [BIN / "fleetward-agent", "update", "status", "--data", self.machine, "--json"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def installed(self) -> str:
        found = self.status().get("installed") or [{}]
        return str(found[0].get("version", ""))

    def wait(self, what: str, so: Callable[[], bool], seconds: float = 150) -> None:
        until = time.monotonic() + seconds
        while not so():
            assert time.monotonic() < until, (what, self.status())
            time.sleep(0.1)

    def publish(self, version: str, files: dict[str, bytes], **wish: Any) -> None:
        """Have the maker sign a release and publish it, and the owner approve it."""
        self.maker.release(PRODUCT, version, files, **wish)
        maker = self.maker
        send_release(self.client(), maker.desk, maker.leaving(PRODUCT, version), quiet=True)
        self.as_owner("approve", f"{PRODUCT}/{version}", "--all", "--yes")
        self.fleetward("rollout", "create", f"{PRODUCT}/{version}", "--all", "--data", self.server)

    def client(self) -> ApiClient:
        place = find_server(self.server, "", None)
        return ApiClient(place.api, place.token, place.server_ca_pem)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    try:
        made.start_server()
        said = made.fleetward(
            "owner", "init", "--name", "Plant", "--person", "Ada", "--data", made.server,
            "--out", made.owner, "--passphrase-file", made.passphrase,
        )  # fmt: skip
        made.root = str(said["owner_root"])
        root = tmp_path / "1.root.json"
        root.write_bytes(made.maker.root)
        made.as_owner("policy", "set", "maker", PRODUCT, root)
        invited = made.as_owner("invite", "--site", "Plant", "--preapproved", "--ttl", "600")
        joined = subprocess.run(
            [BIN / "fleetward-agent", "join", str(invited["join"]), "--data", made.machine,
             "--json"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        machine = json.loads(joined.stdout)
        made.device = str(machine["id"])
        made.as_owner("confirm", machine["id"], machine["words"])
        made.start_agent()
        yield made
    finally:
        made.stop()


def test_a_release_arrives_over_cuts_and_a_bad_one_is_taken_back(scene: Scene) -> None:
    check = (Check("file", part="app", path="index.html"),)
    scene.publish("1.1", {"index.html": b"eleven", "much": os.urandom(MUCH)}, checks=check)
    scene.wait("a part of it", lambda: 0 < scene.status().get("percent", 0) < 100)
    # The server goes, and comes back; then the machine does.
    scene.kill("server")
    scene.start_server()
    scene.wait(
        "more of it", lambda: scene.status().get("percent", 0) > 30 or bool(scene.installed())
    )
    scene.kill("agent")
    scene.start_agent()
    scene.wait("1.1", lambda: scene.installed() == "1.1")
    current = scene.machine / "software" / PRODUCT / "app" / "current"
    assert (current / "index.html").read_bytes() == b"eleven"

    sick = (Check("command", part="app", path="check", seconds=5),)
    files = {"index.html": b"twelve", "check": b"#!/bin/sh\nexit 1\n"}
    scene.publish("1.2", files, checks=sick, within_seconds=5)
    scene.wait("the end of 1.2", lambda: "1.2" in str(scene.status().get("last")))
    assert scene.installed() == "1.1"
    assert (current / "index.html").read_bytes() == b"eleven"

    # What the machine signed of it is on the server, and in the owner's record.
    def outcomes() -> list[str]:
        answer = scene.client().request("GET", f"/updates/devices/{scene.device}")
        return [str(row["outcome"]) for row in json.loads(answer)["items"]]

    scene.wait("its reports", lambda: "rolled_back" in outcomes(), 60)
    assert {"accepted", "installed", "committed", "rolled_back"} <= set(outcomes())
    record = scene.folder / "record"
    scene.fleetward("audit", "export", "--out", record, "--data", scene.server,
                    "--owner", scene.owner)  # fmt: skip
    scene.fleetward("audit", "verify", record, "--root", scene.root)
