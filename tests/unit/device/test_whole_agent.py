"""The agent against the real control plane: joining, proving, renewing, many in one process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.trust_world import refused
from tests.unit.device.device_world import make_inventory

from fleetward.device.agent import Agent
from fleetward.device.audit.segments import Chain
from fleetward.device.audit.verify import verify_journal
from fleetward.device.cli import main
from fleetward.device.guard_core import Seat
from fleetward.device.identity.keys import load_identity
from fleetward.device.looking import Eyes, FixtureCollector
from fleetward.device.status import read_status
from fleetward.device.uplink import Timing
from fleetward.runtime.clock import SystemClock
from fleetward.trust.errors import Untrusted
from fleetward.trust.invitation import JoinString, read_join_string
from fleetward.trust.statements import MachineFacts

FAST = Timing(beat_seconds=1.0, proof_seconds=0.2, pause_seconds=1.0)


@dataclass(frozen=True)
class ControlPlane:
    """A running server with an owner, and a join string of a preapproved invitation."""

    data: Path
    join: JoinString


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    folder = tmp_path_factory.mktemp("plane")
    data, passphrase = folder / "data", folder / "passphrase"
    passphrase.touch(0o600)
    passphrase.write_text("correct horse battery staple\n")
    ready = folder / "ready.json"
    server = subprocess.Popen(
        [sys.executable, "-m", "fleetward.server.main", "--data", data, "--ready-file", ready]
    )
    try:
        deadline = time.monotonic() + 40
        while not ready.exists():
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        owner = folder / "owner"
        run_owner("init", "--name", "Plant", "--person", "Ada", "--data", data, "--out", owner,
                  "--passphrase-file", passphrase)  # fmt: skip
        invited = run_owner("invite", "--site", "Plant", "--uses", "20", "--ttl", "600", "--owner",
                            owner, "--preapproved", "--passphrase-file", passphrase)  # fmt: skip
        yield ControlPlane(data, read_join_string(str(invited["join"])))
    finally:
        server.terminate()
        server.wait(20)


def run_owner(*arguments: object) -> dict[str, object]:
    fleetward = Path(sys.executable).with_name("fleetward")
    done = subprocess.run(
        [str(fleetward), "owner", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def make_agent(folder: Path, port: int = 80) -> Agent:
    eyes = Eyes(FixtureCollector(lambda: make_inventory(port)), files=())
    return Agent(folder, Seat(SystemClock(), eyes, boot="boot-1", wall="simulated"), FAST)


def facts(name: str) -> MachineFacts:
    return MachineFacts(name, "P7", "Acme", "Debian 12", simulated=True)


def check_settled(folder: Path) -> None:
    status = read_status(folder / "guard")
    assert status.last_checkpoint is not None
    assert status.record.state == "intact"
    # Only that it stopped is not proven yet.
    assert status.journal.unproven == 1
    chain = Chain(load_identity(folder / "guard").public, status.owner)
    assert verify_journal(folder / "guard/journal", chain, None).ok


def test_many_machines_in_one_process_join_and_prove_all_they_saw(
    plane: ControlPlane, tmp_path: Path
) -> None:
    async def be(number: int) -> None:
        agent = make_agent(tmp_path / f"m{number}", 8000 + number)
        await agent.join(plane.join, facts(f"machine {number}"))
        await asyncio.wait_for(agent.run(until_settled=True), 60)

    async def be_all() -> None:
        await asyncio.gather(*(be(number) for number in range(5)))

    asyncio.run(be_all())
    for number in range(5):
        check_settled(tmp_path / f"m{number}")


def test_a_machine_renews_by_its_identity_and_goes_on(plane: ControlPlane, tmp_path: Path) -> None:
    agent = make_agent(tmp_path)

    async def twice() -> None:
        await agent.join(plane.join, facts("renewing"))
        await asyncio.wait_for(agent.run(until_settled=True), 60)
        state = tmp_path / "guard/state.json"
        kept = json.loads(state.read_bytes())
        kept["certificate"]["lifetime_ms"] = 0
        state.write_bytes(json.dumps(kept).encode())
        await asyncio.wait_for(agent.run(until_settled=True), 60)

    asyncio.run(twice())
    status = read_status(tmp_path / "guard")
    assert status.certificate is not None
    assert status.certificate.lineage == 2
    check_settled(tmp_path)


def test_a_join_string_with_another_ca_leads_nowhere(plane: ControlPlane, tmp_path: Path) -> None:
    agent = make_agent(tmp_path)
    with refused(Untrusted, "wrong_server_ca"):
        asyncio.run(agent.join(replace(plane.join, server_ca="ab" * 32), facts("lost")))
    assert agent.joined is None


def test_a_join_string_of_another_owner_leads_nowhere(plane: ControlPlane, tmp_path: Path) -> None:
    agent = make_agent(tmp_path)
    with pytest.raises(Exception, match="owner"):
        asyncio.run(agent.join(replace(plane.join, owner="ab" * 32), facts("lost")))
    assert agent.joined is None


def test_the_commands_join_this_machine_and_prove_its_first_look(
    plane: ControlPlane, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(tmp_path / "data")
    assert main(["join", plane.join.to_text(), "--data", data, "--name", "this one", "--json"]) == 0
    joined = json.loads(capsys.readouterr().out)
    assert joined["name"] == "this one"
    done = subprocess.run(
        [sys.executable, "-m", "fleetward.device.cli", "run", "--once", "--data", data],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert main(["status", "--data", data, "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["device"] == joined["id"]
    assert status["inventory"]["problem"] == ""
    check_settled(tmp_path / "data")
