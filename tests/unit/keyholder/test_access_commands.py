"""The commands for sessions: what they print, ask and leave behind; exit 0 done, 1 refused."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from tests.adversary.session_end import MemoryWire, make_wires
from tests.runbook_world import WORD, Hole
from tests.unit.keyholder.access_scene import Scene, now_ms
from tests.unit.keyholder.owner_fixtures import PASSPHRASE
from tests.unit.keyholder.test_access_flow import asked, granted
from typer.testing import CliRunner, Result

from fleetward.cli.access import request_app, session_app
from fleetward.cli.connect import connect_app
from fleetward.cli.owner import owner_app
from fleetward.cli.requester import requester_app
from fleetward.keyholder.access import connecting
from fleetward.keyholder.access.answering import Answer, prepare_grant, read_question, sign_grant
from fleetward.keyholder.access.requester_folder import RequesterFolder
from fleetward.runtime.bus import BusEndpoint, Handler, Inbound
from fleetward.runtime.files import atomic_write
from fleetward.runtime.keys import seal_key
from fleetward.trust.access import RootScope
from fleetward.trust.errors import Unreachable

Run = Callable[..., Result]


class MemoryBus:
    """The bus of a session in memory, with the machine's end behind it."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._wire, there = make_wires()
        self.machine = scene.end_of(scene.row, there)
        self.machine.files = {"logs/pump.log": b"it leaks\n" * 1000}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> MemoryBus:
        self._tasks.append(asyncio.create_task(self.machine._run()))
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0.05)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._scene.finish(self._scene.row)

    async def subscribe(self, subject: str, handler: Handler) -> None:
        async def deliver(wire: MemoryWire) -> None:
            while True:
                try:
                    await handler(Inbound(subject, "", await wire.receive()))
                except Unreachable:
                    return

        self._tasks.append(asyncio.create_task(deliver(self._wire)))

    async def flush(self) -> None:
        await asyncio.sleep(0)

    async def publish(self, subject: str, payload: bytes) -> None:
        assert subject.endswith(".in")
        await self._wire.send(payload)

    async def wait_closed(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture
def bus(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> list[MemoryBus]:
    """Every connection to the bus is in memory."""
    made: list[MemoryBus] = []

    async def connect(endpoint: BusEndpoint, profile: Any, *, on_problem: Any) -> MemoryBus:
        assert endpoint.certificate_file.stat().st_mode & 0o777 == 0o600
        made.append(MemoryBus(scene))
        return made[-1]

    monkeypatch.setattr(connecting, "connect_bus", connect)
    return made


@pytest.fixture
def as_owner(scene: Scene, passphrase_file: Path) -> Run:
    near = [
        "--owner", str(scene.desk.folder.path), "--server",
        scene.server.api.removesuffix("/api/v1"), "--token-file", scene.folder.facts().token_file,
    ]  # fmt: skip

    def run(*words: object, sealed: bool = True) -> Result:
        more = ["--passphrase-file", str(passphrase_file)] if sealed else []
        return CliRunner().invoke(owner_app, [*map(str, words), *near, *more])

    return run


@pytest.fixture
def as_tom(scene: Scene, passphrase_file: Path) -> Run:
    def run(app: typer.Typer, *words: object, sealed: bool = True) -> Result:
        more = ["--passphrase-file", str(passphrase_file)] if sealed else []
        return CliRunner().invoke(app, [*map(str, words), "--as", str(scene.folder.path), *more])

    return run


def answer(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def approve_when_asked(scene: Scene) -> None:
    """Let the owner say yes as soon as a request has come, on another thread of the server."""
    honest = scene._take

    def take(steps: list[str], envelope: bytes, body: dict[str, Any]) -> Any:
        reply = honest(steps, envelope, body)
        if not steps:
            question = read_question(scene.judge, _papers(scene), now_ms())
            prepared = prepare_grant(question, Answer(), now_ms())
            raw = sign_grant(prepared, [scene.desk.signer("approver")])
            honest([scene.row.id, "grant"], raw, {})
        return reply

    vars(scene)["_take"] = take


def _papers(scene: Scene) -> Any:
    from fleetward.keyholder.access.server_rows import AccessPapers

    return msgspec.convert(scene.detail(scene.row), AccessPapers)


def test_a_technician_makes_a_folder_and_the_owner_names_him(
    scene: Scene, tmp_path: Path, passphrase_file: Path, as_owner: Run
) -> None:
    out = tmp_path / "una"
    made = answer(CliRunner().invoke(requester_app, [
        "init", "--person", "Una", "--org", "Makers Ltd", "--owner-root",
        scene.desk.documents().owner, "--server", scene.server.api.removesuffix("/api/v1"),
        "--token-file", scene.folder.facts().token_file, "--out", str(out),
        "--passphrase-file", str(passphrase_file), "--json",
    ]))  # fmt: skip
    assert made["owner_command"].startswith("fleetward owner policy requester add --person Una")
    assert (out.stat().st_mode & 0o777, (out / "requester.key").stat().st_mode & 0o777) == (
        0o700, 0o600,
    )  # fmt: skip
    named = answer(as_owner(
        "policy", "requester", "add", "--person", "Una", "--org", "Makers Ltd", "--key",
        made["key"], "--json",
    ))  # fmt: skip
    assert [r["words"] for r in named["requesters"] if r["person"] == "Una"] == [made["words"]]
    assert RequesterFolder.open(out).signer(PASSPHRASE).public.key_id == made["key_id"]


def test_a_technician_sends_somebody_in_his_place(
    scene: Scene, tmp_path: Path, passphrase_file: Path, as_owner: Run, as_tom: Run
) -> None:
    ana = tmp_path / "ana"
    by_ana = ["--as", str(ana), "--passphrase-file", str(passphrase_file), "--json"]
    made = answer(CliRunner().invoke(requester_app, [
        "init", "--person", "Ana", "--org", "Drives Ltd", "--owner-root",
        scene.desk.documents().owner, "--server", scene.server.api.removesuffix("/api/v1"),
        "--token-file", scene.folder.facts().token_file, "--out", str(ana),
        "--passphrase-file", str(passphrase_file), "--json",
    ]))  # fmt: skip
    sent = [
        "delegate", "--to", made["key"], "--person", "Ana", "--org", "Drives Ltd", "--machine",
        "pump-7", "--scope", "terminal:app", "--for", "10m", "--days", "7", "--json",
    ]  # fmt: skip
    refused = as_tom(requester_app, *sent, "--out", tmp_path / "early.json")
    assert "unknown_delegator" in refused.stderr
    named = answer(as_owner("policy", "requester", "delegating", "--person", "Tom", "--json"))
    assert [r["may_delegate"] for r in named["requesters"] if r["person"] == "Tom"] == [True]
    scene.publish()
    told = answer(as_tom(requester_app, *sent, "--out", tmp_path / "ana.json"))
    assert (told["by"], told["machines"][0]["name"], told["seconds"]) == ("Tom", "pump-7", 600)
    wish = ["pump-7", "--scope", "terminal:app", "--for", "10m", "--reason", "its drive"]
    alone = CliRunner().invoke(request_app, [*wish, *by_ana])
    assert "unknown_requester" in alone.stderr
    accepted = CliRunner().invoke(requester_app, ["accept", str(tmp_path / "ana.json"), *by_ana])
    assert answer(accepted)["words"] == made["words"]
    asked = answer(CliRunner().invoke(request_app, [*wish, *by_ana]))
    assert (asked["person"], asked["org"]) == ("Ana", "Drives Ltd, sent by Tom of Makers Ltd")
    longer = CliRunner().invoke(request_app, [*wish[:4], "20m", *wish[5:], *by_ana])
    assert "longer_than_delegated" in longer.stderr
    stolen = as_tom(requester_app, "accept", tmp_path / "ana.json")
    assert "another_key" in stolen.stderr


def test_rules_by_the_command_line(as_owner: Run) -> None:
    told = answer(as_owner(
        "policy", "access", "allow", "terminal", "ops", "--for", "20m", "--watched", "--json"
    ))  # fmt: skip
    assert told["rules"]["terminal"] == {
        "profiles": ["app", "ops"], "seconds": 1200, "threshold": 1, "watched": True,
    }  # fmt: skip
    told = answer(as_owner("policy", "access", "forbid", "terminal", "app", "--json"))
    assert told["rules"]["terminal"]["profiles"] == ["ops"]
    shown = as_owner("policy", "access", "show", sealed=False)
    assert shown.exit_code == 2  # it takes no server: nothing is asked of one
    refused = as_owner("policy", "access", "allow", "tcp", "22", "--json")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "port_never" in refused.stderr


def test_ask_look_and_approve(scene: Scene, as_tom: Run, as_owner: Run) -> None:
    made = answer(as_tom(
        request_app, "pump-7", "--scope", "terminal:app", "--scope", "logs:nginx.service",
        "--for", "30m", "--reason", "it does not start", "--case", "c-7", "--json",
    ))  # fmt: skip
    assert (made["machine"], made["seconds"]) == ("pump-7", 1800)
    rows = answer(as_owner("session", "list", "--json", sealed=False))
    assert [(row["id"], row["state"]) for row in rows] == [(made["id"], "offered")]
    refused = as_owner("approve", made["id"])
    assert refused.exit_code == 1
    assert "--yes" in refused.stderr
    told = answer(as_owner(
        "approve", made["id"][:12], "--only", "terminal:app", "--for", "10m", "--yes", "--json"
    ))  # fmt: skip
    assert (told["granted"], told["granted_seconds"]) == (["terminal:app"], 600)
    shown = answer(as_tom(session_app, "show", made["id"], "--json", sealed=False))
    assert shown["six_words"] == told["six_words"]
    assert (shown["people"], shown["session"]) == (["Ada"], told["session"])
    again = as_owner("approve", made["id"], "--yes")
    assert "answered_already" in again.stderr


def test_deny_and_stop(scene: Scene, as_owner: Run) -> None:
    asked(scene)
    told = answer(as_owner("deny", scene.row.id, "--reason", "not now", "--json"))
    assert told["id"] == scene.row.id
    assert scene.row.state == "stopped"
    asked(scene)
    granted(scene)
    refused = as_owner("deny", scene.row.id)
    assert "fleetward owner stop" in refused.stderr
    told = answer(as_owner("stop", scene.row.session[:10], "--reason", "enough", "--json"))
    assert scene.row.state == "ended"
    told = answer(as_owner("session", "show", scene.row.id, "--json", sealed=False))
    assert (told["ended_by"], told["ended_who"]) == ("stopped", "Ada")


def test_two_people_by_a_file(
    scene: Scene, as_owner: Run, tmp_path: Path, passphrase_file: Path
) -> None:
    asked(scene, RootScope())
    refused = as_owner("approve", scene.row.id, "--yes")
    assert "more_signatures_needed" in refused.stderr
    (draft,) = (scene.desk.folder.path / "drafts").glob("grant-*.json")
    travelled = tmp_path / "draft.json"
    travelled.write_bytes(draft.read_bytes())
    key = tmp_path / "bo.key"
    atomic_write(key, seal_key(scene.second, PASSPHRASE, "bo"))
    told = answer(CliRunner().invoke(owner_app, [
        "cosign", str(travelled), "--root", scene.desk.documents().owner, "--key", str(key),
        "--yes", "--passphrase-file", str(passphrase_file), "--json",
    ]))  # fmt: skip
    assert (told["people_needed"], told["granted"]) == (2, ["root"])
    early = as_owner("approve", scene.row.id, "--draft", draft)
    assert "too_few_signatures" in early.stderr
    done = answer(as_owner("approve", scene.row.id, "--draft", travelled, "--json"))
    assert done["six_words"] == told["six_words"]
    assert scene.row.state == "open"


def test_connect_asks_and_ends_or_goes_on(
    scene: Scene, as_tom: Run, bus: list[MemoryBus], tmp_path: Path
) -> None:
    first = as_tom(connect_app, "pump-7", "--files", "--reason", "read its log", "--no-wait")
    assert first.exit_code == 0, first.stderr
    hash_ = first.stdout.strip()
    assert scene.folder.kept_hashes() == [hash_]
    granted(scene)
    result = as_tom(
        connect_app, "pump-7", "--request", hash_[:12], "--get", "logs/pump.log", "--into",
        tmp_path, "--json",
    )  # fmt: skip
    told = answer(result)
    assert (tmp_path / "pump.log").read_bytes() == b"it leaks\n" * 1000
    assert told["moved"][0]["size"] == 9000
    assert "left by who was inside" in result.stderr
    assert scene.folder.kept_hashes() == []
    gone = as_tom(connect_app, "pump-7", "--request", hash_[:12])
    assert (gone.exit_code, "no_session_key" in gone.stderr) == (1, True)


def test_connect_waits_for_the_owner(scene: Scene, as_tom: Run, bus: list[MemoryBus]) -> None:
    approve_when_asked(scene)
    result = as_tom(connect_app, "pump-7", "--files", "--list", ".", "--reason", "look", "--json")
    told = answer(result)
    assert [row["name"] for row in told["files"]] == ["logs/pump.log"]
    assert "Six words: " in result.stderr


@pytest.mark.parametrize("words", ["", "Step 1 of 1 ended with 3; the rest was not run."])
def test_connect_runs_a_runbook(
    scene: Scene, as_tom: Run, bus: list[MemoryBus], tmp_path: Path, words: str
) -> None:
    end_of = scene.end_of
    vars(scene)["end_of"] = lambda row, wire: replace(end_of(row, wire), ran_words=words)
    approve_when_asked(scene)
    book = scene.maker.sign([("/opt/pump/bundle", Hole("what"))], WORD)
    (tmp_path / "b.runbook").write_bytes(book.raw)
    result = as_tom(
        connect_app, "pump-7", "--runbook", tmp_path / "b.runbook", "--argument", "what=a",
        "--reason", "look", "--json",
    )  # fmt: skip
    assert result.exit_code == (1 if words else 0), result.stderr
    (ran,) = json.loads(result.stdout)["runbooks"]
    assert (ran["digest"], ran["good"], ran["words"]) == (book.digest, not words, words)
    assert ran["output"] == "[1/1] /opt/pump/bundle\ndone\n", "the clipboard is out of reach"
    assert (words or "ended well") in result.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--terminal"], "no_reason"),
        (["--reason", "x"], "nothing_asked"),
        (["--stdio", "--reason", "x"], "no_port"),
        (["--terminal", "app", "--json", "--reason", "x"], "no_json_here"),
        (["--port", "22", "--reason", "x"], "port_never"),
        (["--port", "9000", "--reason", "x"], "scope_not_allowed"),
        (["--terminal", "root", "--for", "2h", "--reason", "x"], "too_long"),
        (["--request", "abc"], "no_session_key"),
        (["--argument", "a=b", "--reason", "x"], "no_file"),
        (["--runbook", "/nowhere", "--reason", "x"], "file_missing"),
        (["--serial", "/dev/ttyS9", "--reason", "x"], "scope_not_allowed"),
        (["--serial", "--baud", "12345", "--reason", "x"], "bad_scope"),
        (["--serial", "--json", "--reason", "x"], "no_json_here"),
    ],
)
def test_what_connect_refuses(scene: Scene, as_tom: Run, words: list[str], reason: str) -> None:
    result = as_tom(connect_app, "pump-7", *words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert reason in result.stderr


def test_an_unknown_machine_and_a_missing_option(scene: Scene, as_tom: Run) -> None:
    result = as_tom(connect_app, "pump-9", "--terminal", "--reason", "x")
    assert "device_not_found" in result.stderr
    assert as_tom(request_app, "pump-7").exit_code == 2


def test_replay_and_verify(scene: Scene, as_owner: Run, tmp_path: Path) -> None:
    asked(scene)
    granted(scene)
    row = scene.row
    scene.record(row, b'[0.0,"r","100x30"]', b'[0.1,"o","$ "]')
    scene.record(row, b'[0.2,"o","date\\r\\n"]')
    scene.finish(row)
    cast = tmp_path / "s.cast"
    told = answer(as_owner("session", "replay", row.id, "--cast", cast, "--json"))
    assert (told["events"], told["recording"]) == (3, "whole")
    assert json.loads(cast.read_text().splitlines()[0])["width"] == 100
    told = answer(as_owner("session", "replay", row.session[:9], "--json"))
    assert told["events"][1] == [0.1, "o", "$ "]
    shown = as_owner("session", "replay", row.id, "--speed", "0")
    assert "$ date" in shown.stdout
    told = answer(as_owner("session", "verify", row.id, "--json"))
    assert (told["whole"], told["contradicted"]) == (True, [])
    row.recording = row.recording[:-1] + bytes((row.recording[-1] ^ 1,))
    broken = as_owner("session", "verify", row.id, "--json")
    assert broken.exit_code == 1
    assert json.loads(broken.stdout)["contradicted"][0]["id"] == "recording_recording_altered"


def test_watch_follows_and_beats(scene: Scene, as_owner: Run) -> None:
    asked(scene)
    granted(scene)
    scene.record(scene.row, b'[0.1,"o","$ \\u001b]0;x\\u0007"]', b'[0.2,"m","terminal opened"]')
    scene.finish(scene.row)
    result = as_owner("session", "watch", scene.row.id)
    assert result.exit_code == 0, result.stderr
    assert "$ " in result.stdout
    assert "terminal opened" in result.stdout
    assert "\x1b]" not in result.stdout
    assert scene.row.beats


def test_a_request_id_that_is_none(as_owner: Run) -> None:
    for named, reason in (("abc", "bad_request_id"), (secrets.token_hex(8), "request_not_found")):
        result = as_owner("approve", named, "--yes")
        assert (result.exit_code, reason in result.stderr) == (1, True)
