"""Passkeys on the owner's console: made there, named in the policy, and used to say yes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from tests.unit.keyholder.access_scene import Scene
from tests.unit.keyholder.owner_fixtures import PASSPHRASE
from tests.unit.keyholder.passkey_hand import ORIGIN, Hand
from tests.unit.keyholder.small_server import TOKEN
from tests.unit.keyholder.test_access_console import SECRET, get, post
from tests.unit.keyholder.test_access_flow import asked

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.console.app import create_app
from fleetward.keyholder.console.keeper import Keeper
from fleetward.runtime.clock import SystemClock
from fleetward.trust.access import RootScope
from fleetward.trust.envelope import read_envelope

WORDS = PASSPHRASE.decode()


@pytest.fixture
def page(scene: Scene, tmp_path: Path) -> Iterator[TestClient[Litestar]]:
    (tmp_path / "static").mkdir()
    (tmp_path / "static/index.html").write_text("<!doctype html><title>Owner</title>")
    scene.server.answers["/owner/pending"] = {"items": []}
    keeper = Keeper(scene.desk, lambda: ApiClient(scene.server.api, TOKEN), SystemClock())
    keeper.passkeys.serve_at(ORIGIN)
    app = create_app(keeper, SECRET, SystemClock(), tmp_path / "static")
    with TestClient(app, base_url=ORIGIN) as client:
        client.headers["authorization"] = f"Bearer {SECRET}"
        yield client


def named(page: TestClient[Litestar], scene: Scene, person: str = "Ada") -> Hand:
    """Make a passkey for a person and name it in the policy."""
    hand = Hand()
    begun = post(page, "/passkeys/begin", {"person": person, "passphrase": WORDS})
    done = post(page, "/passkeys/add", {**hand.make(begun), "passphrase": WORDS})
    assert done["handed_over"], done
    scene.publish()
    return hand


def prepared(page: TestClient[Litestar], scene: Scene) -> dict[str, Any]:
    shown: dict[str, Any] = post(page, "/access/prepare", {"id": scene.row.id})
    return shown


def test_a_passkey_is_made_named_and_says_yes(page: TestClient[Litestar], scene: Scene) -> None:
    hand = named(page, scene)
    asked(scene)
    shown = prepared(page, scene)
    choice = shown["passkey"]
    assert (choice["rp_id"], choice["people"], shown["own_key"]) == (
        "owner.localhost", ["Ada"], True,
    )  # fmt: skip
    assert len(choice["names"]) == 1
    body = {"grant": shown["grant"], "passkey": hand.yes(choice["challenge"])}
    done = post(page, "/access/passkey/approve", body)
    assert done["session"] == shown["grant"]
    grant = scene.grants[scene.row.id]
    assert (grant.people, grant.hash) == (("Ada",), shown["grant"])
    (signature,) = read_envelope(scene.row.papers["grant"]).signatures
    assert signature.suite == "webauthn"


def test_the_page_shows_it_and_takes_it_out(page: TestClient[Litestar], scene: Scene) -> None:
    named(page, scene)
    people = get(page, "/state")["policy"]["people"]
    (key,) = [k for p in people for k in p["keys"] if k["suite"] == "webauthn"]
    assert (key["origins"], key["scopes"]) == ([ORIGIN], ["approve"])
    wish = {"key_id": key["key_id"], "passphrase": WORDS}
    assert post(page, "/passkeys/remove", wish)["handed_over"]
    scene.publish()
    asked(scene)
    assert prepared(page, scene)["passkey"] is None


def test_the_key_in_the_folder_still_signs(page: TestClient[Litestar], scene: Scene) -> None:
    named(page, scene)
    asked(scene)
    post(page, "/access/approve", {"grant": prepared(page, scene)["grant"]})
    assert scene.grants[scene.row.id].people == ("Ada",)


def test_two_people_sign_on_one_page(page: TestClient[Litestar], scene: Scene) -> None:
    hand = named(page, scene, "Bo")
    asked(scene, RootScope())
    shown = prepared(page, scene)
    first = page.post("/api/v1/access/approve", json={"grant": shown["grant"]})
    assert first.json()["reason"] == "more_signatures_needed"
    body = {"grant": shown["grant"], "passkey": hand.yes(shown["passkey"]["challenge"])}
    post(page, "/access/passkey/approve", body)
    assert scene.grants[scene.row.id].people == ("Ada", "Bo")


def test_two_keys_of_one_person_are_one(page: TestClient[Litestar], scene: Scene) -> None:
    hand = named(page, scene)
    asked(scene, RootScope())
    shown = prepared(page, scene)
    body = {"grant": shown["grant"], "passkey": hand.yes(shown["passkey"]["challenge"])}
    for path, sent in (("passkey/approve", body), ("approve", {"grant": shown["grant"]})):
        answer = page.post(f"/api/v1/access/{path}", json=sent)
        assert answer.json()["reason"] == "more_signatures_needed"
    assert "grant" not in scene.row.papers


def test_a_wrong_passphrase_makes_nothing(page: TestClient[Litestar], scene: Scene) -> None:
    before = scene.desk.documents().policy.version
    body = {"person": "Ada", "passphrase": "wrong"}
    answer = page.post("/api/v1/passkeys/begin", json=body)
    assert answer.status_code >= 400
    begun = post(page, "/passkeys/begin", {**body, "passphrase": WORDS})
    answer = page.post("/api/v1/passkeys/add", json={**Hand().make(begun), "passphrase": "wrong"})
    assert answer.status_code >= 400
    assert scene.desk.documents().policy.version == before


def test_a_challenge_serves_once(page: TestClient[Litestar], scene: Scene) -> None:
    begun = post(page, "/passkeys/begin", {"person": "Ada", "passphrase": WORDS})
    made = {**Hand().make(begun), "passphrase": WORDS}
    post(page, "/passkeys/add", made)
    answer = page.post("/api/v1/passkeys/add", json=made)
    assert answer.json()["reason"] == "not_begun"
