"""Attacks by a server that answers truly, about something else than it was asked.

Each paper that it hands out stands: it is signed, and of this owner. It is only that of another
request, session or closing than the one that the person named.
"""

# ruff: noqa: F401, F811  (pytest takes fixtures by the names of arguments)
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from tests.unit.keyholder.access_scene import Row, Scene, scene
from tests.unit.keyholder.owner_fixtures import (
    clock,
    desk,
    made_once,
    one_server,
    owner,
    passphrase_file,
    server,
)
from tests.unit.keyholder.test_access_console import page
from tests.unit.keyholder.test_access_flow import TERMINAL, asked, granted
from typer.testing import CliRunner, Result

from fleetward.cli.owner import owner_app
from fleetward.keyholder.access.asking import Wait
from fleetward.trust.access import LogsScope
from fleetward.trust.envelope import read_envelope
from fleetward.trust.errors import Untrusted

Run = Callable[..., Result]


@pytest.fixture
def as_owner(scene: Scene, passphrase_file: Path) -> Run:
    near = [
        "--owner", str(scene.desk.folder.path), "--server",
        scene.server.api.removesuffix("/api/v1"), "--token-file", scene.folder.facts().token_file,
    ]  # fmt: skip

    def run(*words: str) -> Result:
        sealed = [] if "show" in words else ["--passphrase-file", str(passphrase_file)]
        return CliRunner().invoke(owner_app, [*words, *near, *sealed])

    return run


def two_requests(scene: Scene, *, given: bool = False) -> tuple[Row, Row]:
    """Return two requests; with `given`, each is a session."""
    rows = []
    for scope in (TERMINAL, LogsScope("nginx.service")):
        asked(scene, scope)
        if given:
            granted(scene)
        rows.append(scene.row)
    return rows[0], rows[1]


def show_instead(scene: Scene, named: Row, other: Row) -> None:
    """Have the list be true, and the papers of one request be those of the other."""
    scene.lie = lambda path, answer: (
        scene.detail(other) if path.endswith(f"/access/requests/{named.id}") else answer
    )


def nothing_signed(*rows: Row) -> bool:
    return not any("grant" in row.papers or row.stops for row in rows)


@pytest.mark.parametrize("words", [("approve", "--yes"), ("deny",), ("stop",)])
def test_the_owner_answers_the_request_that_he_named(
    scene: Scene, as_owner: Run, words: tuple[str, ...]
) -> None:
    named, other = two_requests(scene)
    show_instead(scene, named, other)
    done = as_owner(words[0], named.id[:16], *words[1:])
    assert done.exit_code == 1 and "[another_request]" in done.stderr
    assert nothing_signed(named, other)


@pytest.mark.parametrize("words", [("approve", "--yes"), ("deny",), ("stop",)])
def test_a_list_that_names_one_request_as_another(
    scene: Scene, as_owner: Run, words: tuple[str, ...]
) -> None:
    """The list says that a session of this name is another request's."""
    _, other = two_requests(scene)
    name = "3f9a01bc" * 8

    def lie(path: str, answer: Any) -> Any:
        if "items" in answer:
            return {**answer, "items": [{**scene.show(other), "session": name}], "total": 1}
        return answer

    scene.lie = lie
    done = as_owner(words[0], name[:16], *words[1:])
    assert done.exit_code == 1 and "[another_request]" in done.stderr
    assert nothing_signed(other)


@pytest.mark.parametrize("words", [("session", "show"), ("session", "verify"), ("stop",)])
def test_a_session_is_shown_verified_and_stopped_under_its_own_name(
    scene: Scene, as_owner: Run, words: tuple[str, ...]
) -> None:
    """What is proven of another session is not proven of this one."""
    named, other = two_requests(scene, given=True)
    for row in (named, other):
        scene.record(row, b'[0,"o","x"]')
    scene.finish(other)
    show_instead(scene, named, other)
    for name in (named.id, named.session):
        done = as_owner(*words, name)
        assert done.exit_code == 1 and "[another_request]" in done.stderr
        assert "Proven" not in done.stdout
    assert not named.stops and not other.stops


def test_a_stop_of_doubted_papers_is_of_what_was_named(
    scene: Scene, as_owner: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is signed all the same, and not for the session that the server writes beside them."""
    named, other = two_requests(scene, given=True)
    taken: list[bytes] = []
    monkeypatch.setattr(scene, "_stop", lambda row, envelope: taken.append(envelope))
    scene.lie = lambda path, answer: (
        {**answer, "request": "AAAA", "session": other.session}
        if path.endswith(named.id)
        else answer
    )
    done = as_owner("stop", named.id)
    assert done.exit_code == 0, done.stderr
    assert [read_envelope(raw).payload["subject"] for raw in taken] == [named.id]


def test_the_console_stops_and_prepares_what_the_page_named(
    scene: Scene, page: TestClient[Litestar]
) -> None:
    named, other = two_requests(scene)
    show_instead(scene, named, other)
    for path in ("prepare", "deny", "stop"):
        answer = page.post(f"/api/v1/access/{path}", json={"id": named.id})
        assert answer.status_code >= 400 and answer.json()["reason"] == "another_request", path
    assert nothing_signed(named, other)
    for path in ("", "/recording", "/changes"):
        answer = page.get(f"/api/v1/access/{named.id}{path}")
        assert other.id not in answer.text and answer.status_code >= 400, path


def test_the_console_stops_doubted_papers_by_what_the_page_named(
    scene: Scene, page: TestClient[Litestar], monkeypatch: pytest.MonkeyPatch
) -> None:
    named, other = two_requests(scene, given=True)
    taken: list[bytes] = []
    monkeypatch.setattr(scene, "_stop", lambda row, envelope: taken.append(envelope))
    scene.lie = lambda path, answer: (
        {**answer, "request": "AAAA", "session": other.session}
        if path.endswith(named.id)
        else answer
    )
    assert page.post("/api/v1/access/stop", json={"id": named.id}).status_code == 200
    assert [read_envelope(raw).payload["subject"] for raw in taken] == [named.id]


def test_a_technician_enters_no_other_session_of_his_own(scene: Scene) -> None:
    """He asked for two machines; what he types for the one must not reach the other."""
    named, other = two_requests(scene, given=True)
    show_instead(scene, named, other)
    with pytest.raises(Untrusted, match="answers about request"):
        Wait(scene.folder, scene.api, named.id).look()
