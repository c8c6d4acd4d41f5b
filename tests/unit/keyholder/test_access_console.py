"""The owner's console on sessions: shown from the papers, signed as it was shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from tests.unit.keyholder.access_scene import Scene
from tests.unit.keyholder.small_server import TOKEN
from tests.unit.keyholder.test_access_flow import TERMINAL, asked

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.console.app import create_app
from fleetward.keyholder.console.keeper import Keeper
from fleetward.runtime.clock import SystemClock
from fleetward.trust.access import LogsScope, RootScope
from fleetward.trust.envelope import read_envelope

SECRET = "the-secret-of-this-start"


@pytest.fixture
def page(scene: Scene, tmp_path: Path) -> Iterator[TestClient[Litestar]]:
    (tmp_path / "static").mkdir()
    (tmp_path / "static/index.html").write_text("<!doctype html><title>Owner</title>")
    scene.server.answers["/owner/pending"] = {"items": []}
    keeper = Keeper(scene.desk, lambda: ApiClient(scene.server.api, TOKEN), SystemClock())
    app = create_app(keeper, SECRET, SystemClock(), tmp_path / "static")
    with TestClient(app, base_url="http://owner.localhost:7480") as client:
        client.headers["authorization"] = f"Bearer {SECRET}"
        yield client


def get(page: TestClient[Litestar], path: str) -> Any:
    answer = page.get(f"/api/v1{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def post(page: TestClient[Litestar], path: str, body: dict[str, Any]) -> Any:
    answer = page.post(f"/api/v1{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_request_is_shown_and_answered(page: TestClient[Litestar], scene: Scene) -> None:
    asked(scene, TERMINAL, LogsScope("nginx.service"))
    (view,) = get(page, "/access")["items"]
    assert (view["machine"], view["person"], view["state"]) == ("pump-7", "Tom", "offered")
    assert (view["answerable"], view["people_needed"], view["trouble"]) == ("", 1, "")
    assert [s["words"] for s in view["scopes"]] == [
        "a terminal as app", "the logs of nginx.service",
    ]  # fmt: skip
    wish = {"id": view["id"], "scopes": ["terminal:app"], "seconds": 300, "watched": True}
    prepared = post(page, "/access/prepare", wish)
    assert (prepared["seconds"], prepared["watched"]) == (300, True)
    assert not scene.row.papers.get("grant")
    done = post(page, "/access/approve", {"grant": prepared["grant"]})
    assert (done["session"], done["watched"]) == (prepared["grant"], True)
    assert read_envelope(scene.row.papers["grant"]).hash == prepared["grant"]
    view = get(page, f"/access/{view['id']}")
    assert (view["six_words"], view["people"]) == (prepared["six_words"], ["Ada"])


def test_nothing_is_signed_that_was_not_shown(page: TestClient[Litestar], scene: Scene) -> None:
    asked(scene)
    answer = page.post("/api/v1/access/approve", json={"grant": "1" * 64})
    assert (answer.status_code, answer.json()["reason"]) == (409, "not_prepared")
    assert "grant" not in scene.row.papers


def test_live_replay_and_stop(page: TestClient[Litestar], scene: Scene) -> None:
    asked(scene)
    (view,) = get(page, "/access")["items"]
    prepared = post(page, "/access/prepare", {"id": view["id"]})
    post(page, "/access/approve", {"grant": prepared["grant"]})
    row = scene.row
    scene.record(row, b'[0.1,"r","80x24"]', b'[0.2,"o","$ \\u001b]52;c;eA==\\u0007"]')
    path = f"/access/{row.id}/recording"
    first = get(page, f"{path}?begin=0&live=1")
    assert [e[1:] for e in first["events"]] == [["r", "80x24"], ["o", "$ "]]
    assert (first["next"], first["done"], first["state"], first["beats"]) == (2, False, "open", "")
    assert len(row.beats) == 1
    get(page, f"{path}?begin=2&live=1")
    assert len(row.beats) == 1  # not more often than every five seconds
    scene.record(row, b'[0.3,"o","date"]')
    assert get(page, f"{path}?begin=2")["events"] == [[0.3, "o", "date"]]
    post(page, "/access/stop", {"id": row.id, "reason": "enough"})
    assert row.state == "ended"
    last = get(page, f"{path}?begin=3")
    assert (last["done"], last["state"]) == (True, "whole")
    view = get(page, f"/access/{row.id}")
    assert (view["ended_by"], view["ended_who"]) == ("stopped", "Ada")


def test_a_recording_that_was_altered_is_said(page: TestClient[Litestar], scene: Scene) -> None:
    asked(scene)
    (view,) = get(page, "/access")["items"]
    prepared = post(page, "/access/prepare", {"id": view["id"]})
    post(page, "/access/approve", {"grant": prepared["grant"]})
    row = scene.row
    scene.record(row, b'[0.1,"o","x"]')
    row.recording = row.recording[:-1] + bytes((row.recording[-1] ^ 1,))
    shown = get(page, f"/access/{row.id}/recording")
    assert (shown["state"], shown["events"], shown["done"]) == ("false", [], True)


def test_a_no_and_what_takes_two(page: TestClient[Litestar], scene: Scene) -> None:
    asked(scene)
    post(page, "/access/deny", {"id": scene.row.id, "reason": "not now"})
    assert scene.row.state == "stopped"
    asked(scene, RootScope())
    view = get(page, f"/access/{scene.row.id}")
    assert (view["people_needed"], view["must_watch"]) == (2, True)
    prepared = post(page, "/access/prepare", {"id": scene.row.id})
    answer = page.post("/api/v1/access/approve", json={"grant": prepared["grant"]})
    assert answer.json()["reason"] == "more_signatures_needed"
    assert list((scene.desk.folder.path / "drafts").glob("grant-*.json"))


def test_papers_that_are_not_believed_show_nothing_of_themselves(
    page: TestClient[Litestar], scene: Scene
) -> None:
    asked(scene)
    scene.lie = lambda path, answer: (
        {**answer, "offer": answer["request"]} if isinstance(answer, dict) and "offer" in answer
        else answer
    )  # fmt: skip
    (view,) = get(page, "/access")["items"]
    assert view["trouble"].startswith("Not believed")
    assert (view["machine"], view["person"], view["scopes"]) == ("", "", [])


@pytest.mark.parametrize("path", ["/access", "/access/" + "1" * 64, "/access/x/recording"])
def test_the_secret_is_needed(page: TestClient[Litestar], path: str) -> None:
    answer = page.get(f"/api/v1{path}", headers={"authorization": "Bearer wrong"})
    assert answer.status_code == 401


@pytest.mark.parametrize("what", ["prepare", "approve", "deny", "stop"])
def test_another_origin_signs_nothing(page: TestClient[Litestar], what: str) -> None:
    answer = page.post(
        f"/api/v1/access/{what}", json={}, headers={"origin": "http://console.localhost:7480"}
    )
    assert answer.status_code == 403
