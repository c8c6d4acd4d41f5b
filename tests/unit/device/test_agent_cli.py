"""The commands of a machine, as a person or a script meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.device.device_world import Fleet, Guarded, SmallServer

from fleetward.device.cli import main
from fleetward.device.status import hold_folder


@pytest.fixture
def machine(tmp_path: Path) -> Guarded:
    machine = Guarded(tmp_path / "guard", Fleet.make())
    machine.tick()
    SmallServer(machine.fleet, machine.core.signer.public).serve(machine.core)
    machine.tick()
    return machine


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    document: dict[str, object] = json.loads(capsys.readouterr().out)
    return document


def test_status_is_one_document(machine: Guarded, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--data", str(machine.folder.parent), "--json"]) == 0
    status = shown(capsys)
    assert status["device"] == machine.device
    assert len(str(status["words"]).split()) == 6
    assert status["wall"] == "simulated"
    assert status["running"] is False
    assert status["record"] == {"state": "intact", "words": ""}


def test_a_folder_that_is_held_runs_and_is_not_run_twice(
    machine: Guarded, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(machine.folder.parent)
    with hold_folder(machine.folder):
        assert main(["status", "--data", data, "--json"]) == 0
        assert shown(capsys)["running"] is True
        assert main(["run", "--once", "--data", data]) == 1
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert "already_running" in told.err


def test_status_before_joining_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--data", str(tmp_path), "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "fleetward-agent join" in captured.err


@pytest.mark.parametrize(
    "text", ["", "hello", "fleetward-join-1.AAAA", "fleetward-join-1." + "A" * 9000]
)
def test_a_damaged_join_string_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert main(["join", text, "--data", str(tmp_path)]) == 1
    assert "Copy the whole line" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_joining_again_changes_nothing_and_another_owner_is_refused(
    machine: Guarded, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(machine.folder.parent)
    again = machine.fleet.world.join_string().to_text()
    assert main(["join", again, "--data", data, "--json"]) == 0
    assert shown(capsys)["joined_before"] is True
    other = Fleet.make("Thief").world.join_string().to_text()
    assert main(["join", other, "--data", data]) == 1
    assert "joins no other" in capsys.readouterr().err


def test_joining_without_a_server_leaves_nothing_but_the_identity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = Fleet.make().world
    assert main(["join", world.join_string().to_text(), "--data", str(tmp_path)]) == 1
    assert "127.0.0.1:8443" in capsys.readouterr().err
    left = {p.name for p in (tmp_path / "guard").iterdir()}
    assert left <= {"identity.pem", "state.json", "lock"}


def test_verify_names_the_first_bad_entry(
    machine: Guarded, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(machine.folder.parent)
    assert main(["journal", "verify", "--data", data, "--json"]) == 0
    whole = shown(capsys)
    assert whole["ok"] is True
    (path,) = (machine.folder / "journal").glob("*.entries")
    before = path.read_bytes()
    path.write_bytes(before.replace(b"The agent started.", b"The agent stopped."))
    assert main(["journal", "verify", "--data", data, "--json"]) == 1
    altered = shown(capsys)
    bad = altered["first_bad"]
    assert isinstance(bad, dict)
    assert bad["reason"] == "bad_chain"
    assert bad["sequence"] <= 2 <= bad["last"]
    lines = before.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1:]))
    assert main(["journal", "verify", "--data", data, "--json"]) == 1
    bad = shown(capsys)["first_bad"]
    assert isinstance(bad, dict)
    assert (bad["sequence"], bad["reason"]) == (1, "bad_sequence")
    path.write_bytes(before[: len(before) // 2])
    assert main(["journal", "verify", "--data", data]) == 1
    path.unlink()
    assert main(["journal", "verify", "--data", data, "--json"]) == 1
    bad = shown(capsys)["first_bad"]
    assert isinstance(bad, dict)
    assert bad["reason"] == "missing_end"


def test_misuse_leaves_with_two() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["status", "--loud"])
    assert caught.value.code == 2
