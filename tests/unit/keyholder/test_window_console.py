"""Windows on the owner's console: shown and signed are the same, by key and by passkey."""

from __future__ import annotations

from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from tests.unit.keyholder.access_scene import Scene
from tests.unit.keyholder.standing_scene import Ahead
from tests.unit.keyholder.test_access_console import get, post
from tests.unit.keyholder.test_passkey_console import named, page

from fleetward.trust.envelope import read_envelope

__all__ = ["page"]


@pytest.fixture
def ahead(scene: Scene) -> Ahead:
    return Ahead(scene)


def wish(scene: Scene, **changes: Any) -> dict[str, Any]:
    return {
        "machines": [scene.machine.device], "people": ["Tom"], "scopes": ["terminal:app"],
        "every": "Tue 02:00-04:00", "weeks": 3, "time_zone": "Europe/Berlin",
        "reason": "the weekly update", **changes,
    }  # fmt: skip


def test_two_people_allow_on_one_page(
    page: TestClient[Litestar], scene: Scene, ahead: Ahead
) -> None:
    hand = named(page, scene, "Bo")
    shown = post(page, "/windows/prepare", wish(scene, scopes=["root"]))
    assert (shown["people_needed"], shown["watched"], len(shown["windows"])) == (2, True, 3)
    body = {"standing": shown["standing"]}
    first = page.post("/api/v1/windows/allow", json=body)
    assert first.json()["reason"] == "more_signatures_needed"
    assert not ahead.documents
    said = {**body, "passkey": hand.yes(shown["passkey"]["challenge"])}
    post(page, "/windows/allow", said)
    assert list(ahead.documents) == [shown["standing"]]
    suites = {s.suite for s in read_envelope(ahead.documents[shown["standing"]]).signatures}
    assert suites == {"ed25519", "webauthn"}
    (item,) = get(page, "/windows")["items"]
    assert (item["allowed_by"], item["machines"][0]["state"]) == (["Ada", "Bo"], "held")
    assert item["machines"][0]["windows"] == ["ahead"] * 3
    post(page, "/windows/revoke", {"standing": item["id"], "reason": "enough"})
    (item,) = get(page, "/windows")["items"]
    assert (item["revoked_by"], item["waiting_for"]) == ("Ada", [])


def test_only_what_was_shown_is_signed(
    page: TestClient[Litestar], scene: Scene, ahead: Ahead
) -> None:
    refused = page.post("/api/v1/windows/allow", json={"standing": "0" * 64})
    assert refused.json()["reason"] == "not_prepared"
    for changes, reason in (
        ({"people": ["Ada"]}, "unknown_requester"),
        ({"machines": ["b" * 32]}, "not_on_roster"),
        ({"every": ""}, "bad_window"),
        ({"time_zone": "Mars/Base"}, "bad_zone"),
        ({"scopes": ["tcp:22/raw"]}, "port_never"),
        ({"seconds": 7200}, "too_long"),
    ):
        answer = page.post("/api/v1/windows/prepare", json=wish(scene, **changes))
        assert answer.json()["reason"] == reason
    assert not ahead.documents


def test_a_server_that_lies_shows_nothing(
    page: TestClient[Litestar], scene: Scene, ahead: Ahead
) -> None:
    shown = post(page, "/windows/prepare", wish(scene))
    post(page, "/windows/allow", {"standing": shown["standing"]})
    ahead.hidden = True
    (item,) = get(page, "/windows")["items"]  # the folder knows what was signed
    assert (item["id"], item["machines"][0]["state"]) == (shown["standing"], "")
    ahead.hidden = False
    ahead.documents["f" * 64] = ahead.documents[shown["standing"]]
    items = {item["id"]: item for item in get(page, "/windows")["items"]}
    assert items["f" * 64]["trouble"].startswith("Not believed")
    del ahead.documents["f" * 64]
    ahead.signed[shown["standing"]] = ahead.documents[shown["standing"]]
    (item,) = get(page, "/windows")["items"]
    assert item["trouble"].startswith("Not believed")
