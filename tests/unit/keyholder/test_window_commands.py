"""Windows at the command line: allowed ahead, used without asking, taken back."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.keyholder.access_scene import Scene, now_ms
from tests.unit.keyholder.owner_fixtures import PASSPHRASE
from tests.unit.keyholder.standing_scene import Ahead
from tests.unit.keyholder.test_access_commands import (
    MemoryBus,
    Run,
    answer,
    as_owner,
    as_tom,
    bus,
)
from typer.testing import CliRunner

from fleetward.cli.access import request_app
from fleetward.cli.connect import connect_app
from fleetward.cli.owner import owner_app
from fleetward.cli.window import window_app
from fleetward.runtime.files import atomic_write
from fleetward.runtime.keys import seal_key

__all__ = ["as_owner", "as_tom", "bus"]


@pytest.fixture
def ahead(scene: Scene) -> Ahead:
    return Ahead(scene)


def now_window() -> str:
    """Return a window that is open now, as --at takes it."""
    return f"{datetime.fromtimestamp(now_ms() / 1000 - 120, UTC):%Y-%m-%dT%H:%M}"


def allow(as_owner: Run, *more: str, **changes: str) -> Any:
    words = {"--for": "Tom", "--scope": "terminal:app", "--reason": "the weekly update"}
    words |= {f"--{name}": value for name, value in changes.items()}
    flat = [word for pair in words.items() for word in pair]
    return as_owner("window", "add", "pump-7", *flat, *more, "--yes", "--json")


def test_allow_come_and_take_back(
    ahead: Ahead, scene: Scene, as_owner: Run, as_tom: Run, bus: list[MemoryBus]
) -> None:
    later = f"{datetime.now(UTC) + timedelta(days=7):%Y-%m-%dT%H:%M}"
    made = answer(allow(as_owner, "--at", now_window(), "--at", later))
    assert (made["machines"], made["for"], len(made["windows"])) == (["pump-7"], ["Tom"], 2)
    assert made["seconds"] == 3600
    (mine,) = answer(as_tom(window_app, "list", "--json", sealed=False))
    assert (mine["id"], mine["six_words"]) == (made["id"], made["six_words"])
    assert (mine["next_window"], mine["in_force"]) == (0, True)
    came = as_tom(request_app, "pump-7", "--scope", "terminal:app", "--reason", "update", "--json")
    told = answer(came)
    assert (told["window"], told["standing"]) == (0, made["id"])
    assert scene.row.state == "open"
    again = as_tom(request_app, "pump-7", "--scope", "terminal:app", "--reason", "update")
    assert "fleetward connect" in again.stdout
    assert "The next window in which you need not ask" in again.stderr
    shown = answer(as_owner("window", "show", made["id"][:12], "--json", sealed=False))
    assert shown["machines"][0]["windows"] == ["used", "ahead"]
    (listed,) = answer(as_owner("window", "list", "--json", sealed=False))
    assert listed["id"] == made["id"]
    back = answer(as_owner("window", "revoke", made["id"][:12], "--reason", "Tom left", "--json"))
    assert (back["revoked_by"], back["revoked_everywhere"]) == ("Ada", True)
    assert answer(as_tom(window_app, "list", "--json", sealed=False)) == []


def test_connect_says_by_which_window(
    ahead: Ahead, scene: Scene, as_owner: Run, as_tom: Run, bus: list[MemoryBus]
) -> None:
    answer(allow(as_owner, "--at", now_window(), scope="files:/srv/app:read"))
    came = as_tom(
        connect_app, "pump-7", "--files", "/srv/app", "--list", "", "--reason", "read", "--json"
    )
    assert came.exit_code == 0, came.stderr
    assert re.search(r"inside the window of .* UTC, allowed ahead by Ada", came.stderr)
    assert "Waiting" not in came.stderr


def test_a_machine_that_cannot_tell_the_time_says_what_helps(
    ahead: Ahead, scene: Scene, as_owner: Run, as_tom: Run
) -> None:
    answer(allow(as_owner, "--at", now_window()))
    ahead.doubt = "its clock follows no time source"
    came = as_tom(request_app, "pump-7", "--scope", "terminal:app", "--reason", "update")
    assert came.exit_code == 1
    assert "press at its panel" in came.stderr
    assert "clock_untrusted" in came.stderr
    (listed,) = answer(as_owner("window", "list", "--json", sealed=False))
    assert listed["machines"][0]["windows"] == ["open"]
    asked = as_tom(
        request_app, "pump-7", "--scope", "terminal:app", "--reason", "update", "--ask-owner"
    )
    assert asked.exit_code == 0
    assert scene.row.state == "offered"


def test_taken_back_is_done_only_when_the_machine_says_so(
    ahead: Ahead, scene: Scene, as_owner: Run
) -> None:
    made = answer(allow(as_owner, "--at", now_window()))
    scene.off = True
    said = as_owner("window", "revoke", made["id"])
    assert "pump-7" in said.stdout
    listed = as_owner("window", "list", sealed=False)
    assert "NOT DONE YET: pump-7" in listed.stdout
    ahead.hidden = True  # a server that forgets both
    (kept,) = answer(as_owner("window", "list", "--json", sealed=False))
    assert (kept["revoked_by"], kept["waiting_for"]) == ("Ada", ["pump-7"])
    ahead.hidden = scene.off = False
    answer(as_owner("window", "revoke", made["id"], "--json"))
    assert answer(as_owner("window", "show", made["id"], "--json", sealed=False))[
        "revoked_everywhere"
    ]


def test_two_people_by_a_file(
    ahead: Ahead, scene: Scene, as_owner: Run, tmp_path: Path, passphrase_file: Path
) -> None:
    first = allow(as_owner, "--at", now_window(), scope="root")
    assert first.exit_code == 1
    assert "more_signatures_needed" in first.stderr
    assert not ahead.documents
    (draft,) = (scene.desk.folder.path / "drafts").glob("ahead-*.json")
    key = tmp_path / "bo.key"
    atomic_write(key, seal_key(scene.second, PASSPHRASE, "bo"))
    signed = CliRunner().invoke(owner_app, [
        "cosign", str(draft), "--root", scene.desk.documents().owner, "--key", str(key),
        "--passphrase-file", str(passphrase_file), "--yes", "--json",
    ])  # fmt: skip
    assert answer(signed)["people_needed"] == 2
    made = answer(as_owner("window", "add", "--draft", draft, "--json"))
    assert (made["watched"], made["seconds"]) == (True, 900)
    assert list(ahead.documents) == [made["id"]]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--at", "tomorrow"], "bad_window"),
        (["--every", "Tue 25:00-26:00"], "bad_window"),
        (["--every", "Someday 02:00-04:00"], "bad_window"),
        (["--at", "2027-03-28T02:30", "--time-zone", "Europe/Berlin"], "no_such_hour"),
        (["--at", "2027-03-01T02:30", "--time-zone", "Europe/Nowhere"], "bad_zone"),
        (["--at", "2027-03-01T02:30", "--at", "2027-03-01T03:30"], "bad_window"),
        ([], "no_window"),
    ],
)
def test_what_is_refused_before_anybody_signs(
    ahead: Ahead, as_owner: Run, more: list[str], reason: str
) -> None:
    said = allow(as_owner, *more)
    assert (said.exit_code, said.stdout) == (1, "")
    assert f"[{reason}]" in said.stderr
    assert not ahead.documents


def test_who_may_not_be_let_in_ahead(ahead: Ahead, as_owner: Run) -> None:
    assert "[unknown_requester]" in allow(as_owner, "--at", now_window(), **{"for": "Una"}).stderr
    wider = allow(as_owner, "--at", now_window(), scope="terminal:other")
    assert "[scope_not_allowed]" in wider.stderr
    assert "[too_long]" in allow(as_owner, "--at", now_window(), session="2h").stderr
    assert json.loads(as_owner("window", "list", "--json", sealed=False).stdout) == []
    assert as_owner("window", "list", sealed=False).stdout == "Nothing was allowed ahead.\n"
