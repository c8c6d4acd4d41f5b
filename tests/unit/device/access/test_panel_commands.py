"""The panel's commands against a guard that serves it, as a person or a script meets them."""

from __future__ import annotations

import json
import os
import pwd
import select
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.unit.device.session_guard import SessionGuard

from fleetward.device.access import panel_user
from fleetward.device.access.panel_door import PanelDoor
from fleetward.device.access.words import End
from fleetward.device.cli import main
from fleetward.device.privileges import UPLINK_UID
from fleetward.trust.errors import Refused


@dataclass
class Served:
    """A guard whose panel is served by a thread, as its loop would."""

    guard: SessionGuard
    door: PanelDoor
    over: bool = False

    @property
    def data(self) -> str:
        return str(self.guard.folder.parent)

    def run(self) -> None:
        while not self.over:
            self.guard.core.tick()
            self.door.tick()
            for sock in select.select(self.door.sockets(), [], [], 0.01)[0]:
                self.door.serve(sock)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    guard = SessionGuard.make(tmp_path)
    guard.tick()
    door = panel_user.open_panel(guard.folder.parent, guard.core)
    assert door is not None
    made = Served(guard, door)
    yield made
    made.over = True
    made.door.close()
    guard.close()


def serve(served: Served) -> threading.Thread:
    thread = threading.Thread(target=served.run, daemon=True)
    thread.start()
    return thread


def test_it_shows_refuses_and_stops(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    guard = served.guard
    opened = guard.enter()
    request, _ = guard.ask(seconds=60)
    thread = serve(served)
    capsys.readouterr()
    assert main(["panel", "--data", served.data, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    (inside,), (asking,) = shown["inside"], shown["asking"]
    assert (inside["person"], inside["people"], inside["watched"]) == ("tom", ["ada"], False)
    assert (asking["request"], asking["seconds"]) == (request.hash, 60)
    assert len(shown["six_words"].split()) == len(asking["six_words"].split()) == 6
    assert main(["panel", "--data", served.data]) == 0
    text = capsys.readouterr().out
    assert "INSIDE: tom (Makers Ltd)" in text
    assert "ASKS: tom (Makers Ltd)" in text
    assert "\x1b" not in text
    assert main(["panel", "refuse", request.hash[:10], "--data", served.data, "--json"]) == 0

    def end_when_told() -> None:
        assert isinstance(opened.told(), End)
        opened.close()

    threading.Thread(target=end_when_told, daemon=True).start()
    assert main(["panel", "stop", inside["session"][:8], "--data", served.data]) == 0
    for words, reason in (
        (["stop", inside["session"]], "no_such_session"),
        (["stop", "abc"], "no_such_session"),
        (["press", request.hash], "nothing_waits"),
        (["press"], "nothing_named"),
    ):
        assert main(["panel", *words, "--data", served.data]) == 1
        assert reason in capsys.readouterr().err
    served.over = True
    thread.join()
    (ended,) = guard.entries("session.ended")
    assert (ended["by"], ended["who"]) == ("panel", panel_user._own_name())
    assert (request.hash, "panel_refused") in guard.denials()
    assert guard.entries("session.refused")[0]["person"] == panel_user._own_name()
    guard.core.write_status()
    assert main(["status", "--data", served.data]) == 0
    assert "panel       open to " in capsys.readouterr().out


def test_without_an_agent_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["panel", "--data", str(tmp_path)]) == 1
    assert "panel_unreachable" in capsys.readouterr().err


def test_a_guard_whose_panel_cannot_be_opened_goes_on(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.door.close()
    (served.guard.folder / panel_user.FILE).write_bytes(b"{")
    assert panel_user.open_panel(served.guard.folder.parent, served.guard.core) is None
    assert "could not be opened" in capsys.readouterr().err
    (served.guard.folder / panel_user.FILE).unlink()
    again = panel_user.open_panel(served.guard.folder.parent, served.guard.core)
    assert again is not None
    served.door = again


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_one_more_user_is_named_by_root(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {
        "kiosk": SimpleNamespace(pw_name="kiosk", pw_uid=64_898, pw_gid=64_898),
        "root": SimpleNamespace(pw_name="root", pw_uid=0, pw_gid=0),
        "uplink": SimpleNamespace(pw_name="uplink", pw_uid=UPLINK_UID, pw_gid=7),
    }
    monkeypatch.setattr(pwd, "getpwnam", known.__getitem__)
    data = served.guard.folder.parent
    join = served.guard.fleet.world.join_string().to_text()
    assert main(["join", join, "--data", str(data), "--panel-user", "kiosk"]) == 0
    assert panel_user.read_users(served.guard.folder)[64_898] == "kiosk"
    found = (data / "panel").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, 64_898, 0o750)
    assert "anyway" in panel_user.name_panel_user(data, "root")
    with pytest.raises(Refused, match="network"):
        panel_user.name_panel_user(data, "uplink")
    assert panel_user.read_users(served.guard.folder)[64_898] == "kiosk"
    assert main(["join", join, "--data", str(data), "--panel-user", "no-such-user-here"]) == 1
    assert "no_such_user" in capsys.readouterr().err
