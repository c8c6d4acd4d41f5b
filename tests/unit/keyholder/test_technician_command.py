"""`fleetward connect … --browser`: what it prints, when it ends, and what has no place in it."""

# ruff: noqa: F811  (pytest takes fixtures by the names of arguments)
from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import httpx
import pytest
from tests.unit.keyholder.access_scene import Scene, scene  # noqa: F401
from tests.unit.keyholder.owner_fixtures import (  # noqa: F401
    PASSPHRASE,
    clock,
    desk,
    made_once,
    one_server,
    owner,
    server,
)
from typer.testing import CliRunner

from fleetward.cli.connect import connect_app
from fleetward.keyholder.access.answering import sign_stop
from fleetward.keyholder.technician import main as technician
from fleetward.trust.grants.request import verify_request


def run(scene: Scene, folder: Path, *words: str) -> tuple[int, str]:
    secret = folder / "secret"
    secret.write_bytes(PASSPHRASE)
    secret.chmod(0o600)
    told = CliRunner().invoke(
        connect_app,
        ["pump-7", *words, "--as", str(scene.folder.path), "--passphrase-file", str(secret)],
    )
    return told.exit_code, told.stdout + told.stderr


def test_what_has_no_place_in_a_page_is_refused(scene: Scene, tmp_path: Path) -> None:
    wrong = ("--stdio", "--follow", "--list x", "--get x", "--put x")
    for more in ("--no-browser", *(f"--browser {each}" for each in wrong)):
        code, told = run(scene, tmp_path, "--port", "8080", *more.split(), "--reason", "x")
        assert (code, "[no_browser_here]" in told) == (1, True), more
    assert scene.rows == {}


def test_it_serves_a_page_while_the_owner_is_asked_and_ends_with_his_no(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(technician, "UNREAD_SECONDS", 0)

    def say_no() -> None:
        deadline = time.monotonic() + 20
        while not (scene.rows and scene.row.state == "offered") and time.monotonic() < deadline:
            time.sleep(0.05)
        policy = scene.desk.documents().policy
        request = verify_request(scene.row.request, policy, scene.machine.device)
        stop = sign_stop(policy, request, "not now", scene.desk.signer("approver"), 1)
        scene.api.hand(scene.row.id, "stop", stop.raw)

    real = technician.House.ready

    def look(house: technician.House) -> technician.Ready:
        ready: technician.Ready = real.fget(house)  # type: ignore[attr-defined]
        threading.Thread(target=say_no, daemon=True).start()
        return ready

    monkeypatch.setattr(technician.House, "ready", property(look))
    code, told = run(
        scene, tmp_path, "--terminal", "app", "--browser", "--no-browser", "--json", "--reason", "x"
    )
    assert code == 1
    assert "The owner said no" in told
    line = json.loads(next(part for part in told.splitlines() if part.startswith("{")))
    assert line["url"].startswith("http://technician.localhost:")
    assert line["open"].startswith(line["url"] + "#secret=")
    assert line["request"] == scene.row.id
    port = int(line["url"].rsplit(":", 1)[1].strip("/"))
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/")
