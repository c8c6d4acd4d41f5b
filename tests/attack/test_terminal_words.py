"""Attacks on the terminal of who runs our commands: by words of the server, and of a machine.

A terminal obeys what it is shown. The server chooses what it refuses with and what stands in its
lists; a machine chooses what a session shows, and how long its files are.
"""

# ruff: noqa: F811  (pytest takes fixtures by the names of arguments)
from __future__ import annotations

import asyncio
import json
import os
import pty
import re
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.keyholder.access_scene import Scene, scene  # noqa: F401
from tests.unit.keyholder.owner_fixtures import (  # noqa: F401
    clock,
    desk,
    made_once,
    one_server,
    owner,
    passphrase_file,
    server,
)
from tests.unit.keyholder.test_access_flow import asked, granted
from typer.testing import CliRunner, Result

from fleetward.cli.fleet import device_app
from fleetward.cli.owner import owner_app
from fleetward.keyholder.access.connecting import SessionLink
from fleetward.keyholder.access.front_files import get_file
from fleetward.keyholder.access.front_terminal import raw_terminal
from fleetward.keyholder.access.recordings import (
    RecordingReader,
    compare_receipt,
    recording_key,
    subject_of,
)
from fleetward.keyholder.access.terminal_safe import LIVE, Filter
from fleetward.keyholder.speak import make_plain, write_json
from fleetward.trust.errors import Malformed

OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
CLIPBOARD = "\x1b]52;c;Y3VybCBldmlsfHNoCg==\x07"
EIGHT_BIT = "\x9d52;c;eA==\x9c"


def owner_says(scene: Scene, *words: str) -> Result:
    near = [
        "--owner", str(scene.desk.folder.path), "--server",
        scene.server.api.removesuffix("/api/v1"), "--token-file", scene.folder.facts().token_file,
    ]  # fmt: skip
    return CliRunner().invoke(owner_app, [*words, *near])


def test_a_refusal_is_words_and_a_code(scene: Scene) -> None:
    """Problem details have a reason that is printed beside the words."""
    problem = {"status": 403, "detail": f"no{CLIPBOARD}\nyes", "reason": CLIPBOARD}
    scene.server.hook = lambda method, path, body: (403, problem, {})
    done = owner_says(scene, "session", "list")
    assert done.exit_code == 1 and "[refused]" in done.stderr
    assert not OBEYED.search(done.stderr)


@pytest.mark.parametrize("field", ["id", "device_id", "session"])
def test_an_answer_that_is_none_is_told_without_its_controls(scene: Scene, field: str) -> None:
    asked(scene)
    scene.lie = lambda path, answer: {
        **answer, "items": [{**scene.show(scene.row), field: CLIPBOARD}],
    }  # fmt: skip
    done = owner_says(scene, "session", "list")
    assert done.exit_code == 1 and not OBEYED.search(done.stderr)


def test_json_holds_nothing_that_a_terminal_obeys(scene: Scene) -> None:
    """Also in eight bits, which JSON lets stand; it says the same."""
    asked(scene)
    scene.lie = lambda path, answer: {
        **answer, "items": [{**scene.show(scene.row), "reason": EIGHT_BIT}],
    }  # fmt: skip
    done = owner_says(scene, "session", "list", "--json")
    assert done.exit_code == 0 and not OBEYED.search(done.stdout)
    said = {"reason": f"{CLIPBOARD}{EIGHT_BIT}\u202e\ufeff"}
    assert not OBEYED.search(write_json(said)) and json.loads(write_json(said)) == said
    assert not OBEYED.search(make_plain(said["reason"]))


def test_a_table_of_machines_draws_its_own_lines_alone(scene: Scene, tmp_path: Path) -> None:
    row: dict[str, Any] = {
        "id": "a" * 32, "name": f"pump{CLIPBOARD}\nevil", "site": EIGHT_BIT, "state": "active",
    }  # fmt: skip
    scene.server.hook = lambda method, path, body: (
        200, {"items": [row], "total": 1, "page": 1, "per_page": 500}, {},
    )  # fmt: skip
    done = CliRunner().invoke(device_app, [
        "list", "--server", scene.server.api.removesuffix("/api/v1"),
        "--token-file", scene.folder.facts().token_file,
    ])  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "pump" in done.stdout and not OBEYED.search(done.stdout)
    assert not any(line.startswith("evil") for line in done.stdout.splitlines())


def test_a_live_terminal_prints_nothing_and_tells_no_title() -> None:
    shown = Filter(LIVE).feed(
        b"a\x1b[5i\x1b[21t\x1b[3;0;0t\x1b[?5i\xc2\x9b5ib\x1b[31;1H\x1b[?1000h"
    )
    assert shown == b"a" + b"b\x1b[31;1H\x1b[?1000h"


def test_a_session_leaves_no_mode_behind() -> None:
    """Else what moves over the window afterwards is typed into the technician's own shell."""
    there, here = pty.openpty()
    try:
        with raw_terminal(here, here):
            os.write(here, b"\x1b[?1003h\x1b[?1006h\x1b[?2004h\x1b[2h")
        after = os.read(there, 4096).split(b"\x1b[2h", 1)[1]
    finally:
        os.close(there)
        os.close(here)
    for off in (b"\x1b[?1003l", b"\x1b[?1006l", b"\x1b[?2004l", b"\x1b[?1004l", b"\x1b[2l"):
        assert off in after


class LongFile:
    """A machine's stream that says four bytes, and never ends."""

    def __init__(self) -> None:
        self.sent = 0
        self.closed = False

    async def open_stream(self, scope: int, opening: object) -> LongFile:
        return self

    async def wait_ready(self) -> bytes:
        return b'{"size":4}'

    async def receive(self) -> bytes:
        self.sent += 1
        assert self.sent < 100, "it was read on and on"
        return b"x" * 1024

    async def close(self) -> None:
        self.closed = True


def test_a_file_that_never_ends_fills_no_disk(tmp_path: Path) -> None:
    machine = LongFile()
    with pytest.raises(Malformed, match="more came"):
        asyncio.run(get_file(cast(SessionLink, machine), 0, "log", tmp_path, lambda *_: None))
    assert machine.closed and not list(tmp_path.iterdir())


def test_a_recording_of_nothing_is_short_and_no_fault(scene: Scene) -> None:
    """The server hands out not one byte of a session in which nothing was shown."""
    asked(scene)
    granted(scene)
    scene.finish(scene.row)
    case = scene.judge.read_case(scene.api.papers(scene.row.id))
    reader = RecordingReader(subject_of(case), recording_key(scene.desk.signer("recording")))
    assert reader.feed(b"") == []
    assert compare_receipt(reader, case.receipt)[0] == "short"
