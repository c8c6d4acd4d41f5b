"""The two doors of one console over one scene, for attacks on phones."""

# ruff: noqa: F811  (pytest takes fixtures by the names of arguments)
from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from tests.unit.keyholder.access_scene import Scene, make_scene
from tests.unit.keyholder.owner_fixtures import (  # noqa: F401
    PASSPHRASE,
    FixedClock,
    made_once,
    one_server,
)
from tests.unit.keyholder.passkey_hand import ORIGIN as LOCAL_ORIGIN
from tests.unit.keyholder.passkey_hand import Hand
from tests.unit.keyholder.phone_world import NAME, ORIGIN, enrol, make_hand
from tests.unit.keyholder.small_server import TOKEN, SmallServer
from tests.unit.keyholder.test_access_console import SECRET, get, post

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.ceremony import NewOwner
from fleetward.keyholder.console.app import create_app, create_phone_app
from fleetward.keyholder.console.keeper import Keeper
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.folder import OwnerFolder
from fleetward.runtime.clock import SystemClock

Page = TestClient[Litestar]


class MovableClock(SystemClock):
    """The time of this computer, and as much more as a test says."""

    ahead_ms = 0

    def wall_ms(self) -> int:
        return super().wall_ms() + self.ahead_ms

    def boottime_ms(self) -> int:
        return super().boottime_ms() + self.ahead_ms


@dataclass
class Doors:
    """The two doors of one console: this computer's page, and a phone without a secret.

    Ada and Bo have passkeys for the phones' address already.
    """

    local: Page
    phone: Page
    keeper: Keeper
    clock: MovableClock
    scene: Scene
    ada: Hand
    bo: Hand

    def code(self) -> str:
        return str(post(self.local, "/phones/code", {})["code"])


@pytest.fixture(scope="module")
def both(
    made_once: tuple[NewOwner, list[dict[str, Any]]],
    one_server: SmallServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Doors]:
    folder = tmp_path_factory.mktemp("phones")
    copy = shutil.copytree(made_once[0].folder.path, folder / "owner")
    one_server.reset()
    one_server.uploads.extend(made_once[1])
    scene = make_scene(Desk(OwnerFolder.open(copy), PASSPHRASE, FixedClock()), one_server, folder)
    (folder / "static").mkdir()
    (folder / "static/index.html").write_text("<!doctype html><title>Owner</title>")
    one_server.answers["/owner/pending"] = {"items": []}
    moving = MovableClock()
    keeper = Keeper(scene.desk, lambda: ApiClient(one_server.api, TOKEN), moving)
    keeper.passkeys.serve_at(LOCAL_ORIGIN)
    keeper.phones.serve_at(NAME, ORIGIN)
    local = create_app(keeper, SECRET, moving, folder / "static")
    phone = create_phone_app(keeper, moving, folder / "static")
    with (
        TestClient(local, base_url=LOCAL_ORIGIN) as here,
        TestClient(phone, base_url=ORIGIN) as there,
    ):
        here.headers["authorization"] = f"Bearer {SECRET}"
        made = Doors(here, there, keeper, moving, scene, make_hand(), make_hand())
        for person, hand in (("Ada", made.ada), ("Bo", made.bo)):
            enrol(there, made.code(), person)
            offer_and_name(made, hand, person)
        yield made


@pytest.fixture
def doors(both: Doors) -> Doors:
    """The doors as they are before the first phone is added."""
    for name in ("phones.json", "phones.log"):
        (both.keeper.desk.folder.path / name).unlink(missing_ok=True)
    both.clock.ahead_ms = 0
    both.phone.headers.pop("authorization", None)
    return both


@pytest.fixture
def scene(doors: Doors) -> Scene:
    return doors.scene


def offer_and_name(doors: Doors, hand: Hand, person: str) -> None:
    """Make a passkey on the phone, and have the owner name it at his computer."""
    begun = post(doors.phone, "/phone/passkey/begin", {"person": person})
    words = post(doors.phone, "/phone/passkey/offer", hand.make(begun))["words"]
    (row,) = [r for r in get(doors.local, "/phones")["items"] if r["offered_words"] == words]
    wish = {"id": row["id"], "words": words, "person": person, "passphrase": PASSPHRASE.decode()}
    assert post(doors.local, "/phones/passkey", wish)["handed_over"]
    doors.scene.publish()


def reason(answer: Any) -> str:
    return f"{answer.status_code} {answer.json()['reason']}"
