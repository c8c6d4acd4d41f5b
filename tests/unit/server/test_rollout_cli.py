"""`fleetward rollout` against a real listener on loopback."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.unit.server.overview_world import overview
from tests.unit.web.floor import Names
from tests.updates_world import UpdatesWorld, updates_world
from typer.testing import CliRunner

from fleetward.cli.rollout import rollout_app
from fleetward.runtime.database import Database
from fleetward.runtime.http.hosts import HostPolicy
from fleetward.server.listeners import Listener
from fleetward.server.overview.routes import make_overview_handlers
from fleetward.server.updates.rollout_routes import RolloutRooms, make_rollout_handlers
from fleetward.server.web.app import Services, create_app


@dataclass
class Console:
    """A server's API, and somebody at the command line."""

    there: UpdatesWorld
    address: str
    token_file: Path

    def run(self, *words: str) -> Any:
        place = ["--server", self.address, "--token-file", str(self.token_file)]
        return CliRunner().invoke(rollout_app, [*words, *place])

    def json(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def console(database: Database, tmp_path: Path) -> Iterator[Console]:
    with updates_world(database, tmp_path, machines=4) as there:
        sock = socket.create_server(("127.0.0.1", 0))
        rooms = RolloutRooms(there.slice.courses, there.slice.rollouts, there.slice.rollouts_shown)
        app = create_app(
            Services(
                handlers=[
                    *make_rollout_handlers(rooms), *make_overview_handlers(overview(there.world))
                ],
                authenticator=Names(),
                hosts=HostPolicy(frozenset({"127.0.0.1"})),
                static=tmp_path / "static",
            )
        )  # fmt: skip
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        listener = Listener(app, sock)
        asyncio.run_coroutine_threadsafe(listener.start(), loop).result(20)
        token = tmp_path / "token"
        token.write_text("operator\n")
        token.chmod(0o600)
        try:
            yield Console(there, f"http://127.0.0.1:{sock.getsockname()[1]}", token)
        finally:
            asyncio.run_coroutine_threadsafe(listener.stop(), loop).result(20)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
            sock.close()


def test_made_shown_stopped_and_ended(console: Console) -> None:
    there = console.there
    there.approve(there.release("1.1", 11))
    create = ("create", "kiosk/1.1", "--all", "--canary", "pump 1", "--waves", "50%,100%")
    forecast = console.json(*create, "--dry-run")
    assert (forecast["promise"], forecast["machines"]) == (1, 4)
    assert there.world.count("updates_rollout") == 0
    done = console.run(*create, "--soak", "2h")
    assert done.exit_code == 0, done.stderr
    assert "At most 1 of 4 machines can have it" in done.stderr
    [row] = console.json("list")
    assert (row["soak_seconds"], row["exposure"]) == (7200, 1)
    shown = console.json("show", row["id"][:8])
    assert shown["items"][0]["device_id"] == there.pumps[1].device
    assert console.json("pause", row["id"], "--reason", "look")["state"] == "paused"
    assert "to all machines: paused\nlook\n" in console.run("show", row["id"]).stdout
    assert console.json("resume", row["id"])["state"] == "running"
    assert console.json("hold", row["id"])["state"] == "held"
    assert console.json("continue", row["id"])["exposure"] == 2
    assert console.json("cancel", row["id"])["state"] == "cancelled"
    words = console.run("list").stdout
    assert words.startswith(row["id"][:12]) and "kiosk 1.1  cancelled" in words


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("create", "kiosk"), "bad_release"), (("create", "kiosk/1.1"), "no_machines"),
        (("create", "kiosk/1.1", "--all", "--site", "Plant"), "no_machines"),
        (("create", "kiosk/1.1", "--device", "nobody"), "device_not_found"),
        (("create", "kiosk/9", "--all"), "release_not_found"),
        (("create", "kiosk/1.1", "--all", "--canary", "group:a", "--canary", "pump 1"),
         "bad_canaries"),
        (("create", "kiosk/1.1", "--all", "--waves", "0%"), "bad_waves"),
        (("show", "../x"), "bad_rollout_id"), (("pause", "0" * 8), "rollout_not_found"),
    ],
)  # fmt: skip
def test_refusals_are_words_and_a_code(
    console: Console, words: tuple[str, ...], reason: str
) -> None:
    console.there.release("1.1", 11)
    done = console.run(*words)
    assert done.exit_code == 1
    assert f"[{reason}]" in done.stderr
