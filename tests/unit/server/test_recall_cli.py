"""`fleetward recall` against a real listener on loopback, and without any server."""

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
from tests.recall_world import export, tell, two_releases
from tests.unit.web.floor import Names
from tests.updates_world import UpdatesWorld, updates_world
from typer.testing import CliRunner

from fleetward.cli.recall import recall_app
from fleetward.runtime.database import Database
from fleetward.runtime.http.hosts import HostPolicy
from fleetward.server.listeners import Listener
from fleetward.server.updates.recall_routes import RecallRooms, make_recall_handlers
from fleetward.server.web.app import Services, create_app

OPEN = (
    "open", "kiosk", "--version", ":1.0", "--fix", "1.1", "--title", "Open port",
    "--why", "Anybody can log in.", "--advisory", "CVE-2026-1234", "--until", "2031-01-01",
)  # fmt: skip


@dataclass
class Console:
    """A server's API, and somebody at the command line."""

    there: UpdatesWorld
    address: str
    token_file: Path

    def run(self, *words: str) -> Any:
        place = ["--server", self.address, "--token-file", str(self.token_file)]
        return CliRunner().invoke(recall_app, [*words, *place])

    def json(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    database = Database.open(f"sqlite:///{tmp_path / 'state.db'}")
    with updates_world(database, tmp_path, machines=2) as there:
        sock = socket.create_server(("127.0.0.1", 0))
        rooms = RecallRooms(there.slice.recalls, there.slice.recalls_shown)
        app = create_app(
            Services(
                handlers=make_recall_handlers(rooms),
                authenticator=Names(),
                hosts=HostPolicy(frozenset({"127.0.0.1"})),
                static=tmp_path / "static",
            )
        )
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
    database.close()


def test_from_opened_to_proven_without_the_server(console: Console, tmp_path: Path) -> None:
    there = console.there
    old, new = two_releases(there)
    tell(there, there.pumps[0], old, "committed")
    assert console.json(*OPEN, "--dry-run")["tally"]["affected"] == 1
    assert there.world.count("updates_recall") == 0
    done = console.run(*OPEN)
    assert done.exit_code == 0, done.stderr
    assert "1 machine runs a recalled version and 1 has not said what it runs." in done.stderr
    assert "It is not over" in done.stdout and "Until 2031-01-01." in done.stdout
    [row] = console.json("list")
    assert row["until"] == "2031-01-01T23:59:59.999Z"  # overdue when the day has passed
    place = row["id"][:8]
    words = console.run("show", place, "--machines").stdout
    assert "The operator: Say that you know of it" in words
    assert "affected  1.0" in words and "not known  no version named" in words
    assert console.json("acknowledge", place, "--reason", "we look")["acknowledged_by"] == "Otto"
    noted = console.run("note", place, there.pumps[1].device, "--words", "in the cellar")
    assert noted.exit_code == 0, noted.stderr
    first, record = tmp_path / "first.json", tmp_path / "record"
    console.json("export", place, "--out", str(first))
    export(there, record)
    root = ("--record", str(record), "--root", there.world.trust.owner)
    open_yet = CliRunner().invoke(recall_app, ["verify", str(first), *root])
    assert open_yet.exit_code == 1
    assert "It is about kiosk, releases with the counters 1 to 10, for all machines." in (
        open_yet.stdout
    )
    assert "It is not over. Nothing in the proof is contradicted." in open_yet.stdout
    for each in there.pumps:
        tell(there, each, new, "committed")
    there.slice.recalls.look(there.slice.recalls.all()[0])
    assert console.json("close", place)["state"] == "closed"
    second = tmp_path / "second.json"
    console.json("export", place, "--out", str(second))
    root = ("--record", str(export(there, tmp_path / "later")), *root[2:])
    over = CliRunner().invoke(recall_app, ["verify", str(second), *root])
    assert over.exit_code == 0, over.stdout
    assert "It is over: every machine of the roster" in over.stdout
    lie = json.loads(second.read_bytes())
    lie["lines"].pop()
    first.write_text(json.dumps(lie))
    shown = CliRunner().invoke(recall_app, ["verify", str(first), *root, "--json"])
    assert json.loads(shown.stdout)["contradicted"][0]["id"] == "bad_counts"
    table = tmp_path / "table.csv"
    console.json("export", place, "--csv", "--out", str(table))
    assert table.read_text().startswith("device,name,site,model,standing")
    assert console.json("reopen", place)["state"] == "open"
    assert console.json("cancel", place, "--reason", "a mistake")["state"] == "cancelled"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("open", "kiosk", "--title", "t", "--why", "w"), "no_remedy"),
        (("open", "kiosk", "--title", "t", "--why", "w", "--stop", "--disable"), "no_remedy"),
        ((*OPEN, "--version", "9.9"), "release_not_found"),
        ((*OPEN, "--version", "1.1"), "fix_is_recalled"),
        (("open", "--title", "t", "--why", "w", "--stop"), "bad_recall"),
        (("show", "../x"), "bad_recall_id"),
        (("close", "0" * 8), "recall_not_found"),
    ],
)
def test_refusals_are_words_and_a_code(
    console: Console, words: tuple[str, ...], reason: str
) -> None:
    two_releases(console.there)
    done = console.run(*words)
    assert done.exit_code == 1
    assert f"[{reason}]" in done.stderr
