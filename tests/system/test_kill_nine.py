"""Kill -9 of any process, fifty times, while twenty machines send ten thousand events.

The server, its broker, and the process of the machines are killed at random moments, also while
they start. Nothing that was journalled may be lost or doubled, and the record must be whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.adversary.processes import family_of, name_of

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.fetch_export import fetch_export
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.hand import hand_over
from fleetward.keyholder.init import NamedServer, init_owner
from fleetward.keyholder.pending import Confirmation, confirm_machine, fetch_pending
from fleetward.keyholder.place import SETUP_TOKEN_FILE, read_ready, read_token
from fleetward.keyholder.verify import verify_export
from fleetward.runtime.clock import SystemClock
from fleetward.trust.errors import FleetwardError
from fleetward.trust.journal import read_entry
from fleetward.trust.ledger import Auditor
from fleetward.trust.words import device_words

MACHINES = 20
EVENTS = 500
KILLS = 50
SEED = 20261123
PASSPHRASE = b"a long sentence that only the owner knows"
REPOSITORY = Path(__file__).parents[2]


class Fleet:
    """The processes: a server with its broker, and the machines. Any of them may be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.machines_folder = folder / "machines"
        self.machines_folder.mkdir()
        self.server: subprocess.Popen[bytes] | None = None
        self.machines: subprocess.Popen[bytes] | None = None
        self.log = (folder / "log").open("ab")

    def start_server(self) -> None:
        """Start the server; it is not ready yet."""
        (self.data / "run" / "ready.json").unlink(missing_ok=True)
        self.server = self._start("fleetward.server.main", "--data", str(self.data))

    def start_machines(self) -> None:
        """Start the process of the machines."""
        counts = (str(MACHINES), str(EVENTS))
        self.machines = self._start(
            "tests.adversary.fleet_main", str(self.machines_folder), *counts
        )

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=self.log,
            stderr=self.log,
        )

    def kill(self, which: str) -> str:
        """Kill one process outright and have it started again; return what was hit."""
        assert self.server is not None
        assert self.machines is not None
        if which == "broker":
            self.wait(self._brokers, "there is a broker", 60)
            for pid in self._brokers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return which
        if which == "machines" and self.machines.poll() is None:
            _end(self.machines)
            self.start_machines()
            return "machines"
        _end(self.server)
        self.start_server()
        return "server"

    def _brokers(self) -> list[int]:
        assert self.server is not None
        return [pid for pid in family_of(self.server.pid) if name_of(pid) == "nats-server"]

    def revive(self) -> None:
        """Start the server again if it gave up while it was starting."""
        if self.server is not None and self.server.poll() is not None:
            self.start_server()

    def close(self) -> None:
        """End everything that was started."""
        for process in (self.machines, self.server):
            if process is not None:
                _end(process)
        self.log.close()

    def wait(self, what: Callable[[], object], words: str, seconds: float) -> None:
        """Wait until `what` is true; fail with the end of the log otherwise."""
        deadline = time.monotonic() + seconds
        while not what():
            if time.monotonic() > deadline:
                end = (self.folder / "log").read_bytes()[-3000:].decode(errors="replace")
                pytest.fail(f"waited in vain: {words}\n{end}")
            self.revive()
            time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    opened = Fleet(tmp_path)
    try:
        yield opened
    finally:
        opened.close()


def settle(fleet: Fleet) -> Desk:
    """Have an owner, machines that joined, and all of them on the roster."""
    clock = SystemClock()
    fleet.start_server()
    fleet.wait(lambda: is_ready(fleet), "the server starts", 60)
    ready = read_ready(fleet.data)
    token = read_token(fleet.data / SETUP_TOKEN_FILE)
    named = NamedServer(ready.enrol, ready.ca_sha256, ready.api, token, same_host=False)
    owner = fleet.folder / "elsewhere"
    init_owner(owner, PASSPHRASE, named, ("Acme", "Ada"), clock)
    desk = Desk(OwnerFolder.open(owner), PASSPHRASE, clock)
    join = desk.invite("Hall", MACHINES, 3600, preapproved=True).join
    (fleet.machines_folder / "join").write_text(join)
    fleet.start_machines()
    fleet.wait((fleet.machines_folder / "joined").exists, "the machines join", 90)
    client = client_of(fleet)
    waiting = fetch_pending(client)
    assert len(waiting) == MACHINES
    for machine in waiting:
        words = device_words(desk.documents().owner, machine.id)
        confirm_machine(desk, waiting, Confirmation(machine.id, words))
    hand_over(desk.folder, client, desk.documents())
    return desk


def client_of(fleet: Fleet) -> ApiClient:
    """Return a client with the secret of this start of the server."""
    token = (fleet.data / "run" / "admin-token").read_text().strip()
    return ApiClient(read_ready(fleet.data).api, token, "")


def is_ready(fleet: Fleet) -> bool:
    try:
        read_ready(fleet.data)
    except FleetwardError:
        return False
    return True


def kill_at_random(fleet: Fleet) -> dict[str, int]:
    """Kill fifty times; return what was hit how often."""
    dice = random.Random(SEED)
    hits = {"server": 0, "broker": 0, "machines": 0}
    for _ in range(KILLS):
        time.sleep(dice.uniform(0.0, 2.0))
        fleet.revive()
        which = dice.choices(("server", "broker", "machines"), (4, 5, 2))[0]
        hits[fleet.kill(which)] += 1
    return hits


def check_store(fleet: Fleet, stands: list[dict[str, object]]) -> None:
    """Every event once, in the order in which its machine wrote it; every batch one leaf."""
    with contextlib.closing(sqlite3.connect(fleet.data / "server" / "state.db")) as database:
        for machine in stands:
            device = machine["device"]
            rows = database.execute(
                "select sequence, body from events_event where device_id = ? order by sequence",
                (device,),
            ).fetchall()
            assert [row[0] for row in rows] == list(range(1, len(rows) + 1)), device
            entries = [read_entry(row[1]) for row in rows]
            pieces = [str(e.body["words"]) for e in entries if e.kind == "posture.changed"]
            assert pieces == [f"piece {n}" for n in range(EVENTS)], device
        stored = {r[0] for r in database.execute("select hash from events_batch")}
        leaves = [
            r[0] for r in database.execute("select reference from audit_leaf where kind = 'batch'")
        ]
    assert len(leaves) == len(set(leaves))
    assert set(leaves) == stored


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_fifty_kills_lose_nothing_and_double_nothing(fleet: Fleet) -> None:
    desk = settle(fleet)
    (fleet.machines_folder / "go").touch()
    began = time.monotonic()
    hits = kill_at_random(fleet)
    done = fleet.machines_folder / "done.json"
    fleet.wait(done.exists, "every machine has proven all", 200)
    print(f"{hits} in {time.monotonic() - began:.0f} s")
    assert sum(hits.values()) == KILLS
    assert min(hits.values()) > 0
    stands = json.loads(done.read_text())
    assert len(stands) == MACHINES
    assert {machine["unproven"] for machine in stands} == {0}
    assert {machine["record"] for machine in stands} == {"intact"}
    assert {machine["lost"] for machine in stands} == {0}, "no receipt was ever taken back"
    fleet.wait(lambda: is_ready(fleet), "the server is back", 60)
    export = fetch_export(client_of(fleet), fleet.folder / "export")
    auditor = Auditor(now_ms=SystemClock().wall_ms())
    report = verify_export(export, desk.documents().owner, auditor).report
    assert report.whole, report.contradicted[:3]
    assert sum(f.id == "journal_whole" for f in report.proven) == MACHINES
    check_store(fleet, stands)
