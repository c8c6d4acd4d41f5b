"""A token for one site, and everything it asks about the others: no row, no count, no hint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from tests.postgres import cluster, database
from tests.server_world import ServerWorld, server_world
from tests.trust_world import Machine
from tests.unit.server.overview_world import overview

from fleetward.runtime.database import Database
from fleetward.runtime.files import make_private_directory
from fleetward.runtime.http.hosts import HostPolicy
from fleetward.server.deeds import Deed
from fleetward.server.events.routes import make_event_handlers
from fleetward.server.overview.routes import make_overview_handlers
from fleetward.server.web.app import Services, create_app
from fleetward.server.web.caller import WHOLE_FLEET, Caller, Role, Scope
from fleetward.wire.subjects import Up

__all__ = ["cluster", "database"]

HOST = "console.localhost"
THEIRS = "Süd's own secret words"


class Callers:
    """Knows whoever says which scope he has."""

    def __init__(self, scopes: Mapping[str, Scope]) -> None:
        self._scopes = scopes

    def authenticate(self, bearer: str, address: str) -> Caller:
        return Caller("token", bearer, bearer, Role.ADMIN, self._scopes[bearer])


@pytest.fixture
def world(database: Database, tmp_path: Path) -> Iterator[ServerWorld]:
    with server_world(database, make_private_directory(tmp_path / "ca")) as made:
        for name, site, words in (
            ("north 1", "Nord", "A port was opened."),
            ("north 2", "Nord", "A port was closed."),
            ("south", "Süd", THEIRS),
        ):
            machine = made.join(name, site=site, preapproved=True)
            made.send(machine, Up.HELLO, machine.hello(made.nonce(machine)))
            for kind in ("gate.refused", "posture.changed"):
                machine.write(kind, {"words": words})
            made.send(machine, Up.BATCH, machine.cut())
            made.house.devices.quarantine(machine.device, "person:ada", words)
        yield made


def named(world: ServerWorld, name: str) -> Machine:
    return next(m for m in world.machines if m.name == name)


@pytest.fixture
def client(world: ServerWorld, tmp_path: Path) -> Iterator[TestClient[Litestar]]:
    scopes = {
        "all": WHOLE_FLEET,
        "north": Scope(sites=frozenset({"Nord"})),
        "one": Scope(devices=frozenset({named(world, "north 1").device})),
        "nobody": Scope(sites=frozenset({"Ost"}), devices=frozenset({"a" * 32})),
    }
    handlers = [
        *make_event_handlers(world.database, world.house.devices),
        *make_overview_handlers(overview(world)),
    ]
    app = create_app(
        Services(
            handlers=handlers,
            authenticator=Callers(scopes),
            hosts=HostPolicy(frozenset({HOST})),
            static=tmp_path,
        )
    )
    with TestClient(app, base_url=f"http://{HOST}") as opened:
        yield opened


def ask(client: TestClient[Litestar], who: str, path: str) -> dict[str, Any]:
    answer = client.get(f"/api/v1{path}", headers={"authorization": f"Bearer {who}"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def devices_in(page: dict[str, Any]) -> set[str]:
    return {item["device_id"] for item in page["items"]}


@pytest.mark.parametrize("path", ["/events", "/timeline"])
def test_a_narrow_token_sees_what_is_about_its_machines_and_counts_nothing_else(
    world: ServerWorld, client: TestClient[Litestar], path: str
) -> None:
    north = {named(world, "north 1").device, named(world, "north 2").device}
    south = named(world, "south").device
    everything = ask(client, "all", f"{path}?per_page=500")
    assert south in devices_in(everything)
    for who, may_see in (("north", north), ("one", {named(world, "north 1").device})):
        page = ask(client, who, f"{path}?per_page=500")
        assert devices_in(page) == may_see
        mine = [item for item in everything["items"] if item["device_id"] in may_see]
        assert page["items"] == mine
        assert page["total"] == len(mine)
        assert THEIRS not in str(page)
        # No way of asking brings the others back, or says how many they are.
        for query in (f"device={south}", f"device={south}&kind=gate.refused"):
            assert ask(client, who, f"{path}?{query}") == {
                "items": [], "total": 0, "page": 1, "per_page": 50,
            }  # fmt: skip
        paged = ask(client, who, f"{path}?per_page=1&page=2")
        assert (paged["total"], devices_in(paged) <= may_see) == (len(mine), True)
        assert ask(client, who, f"{path}?since=2030-01-01T00:00:00.000Z")["total"] == 0
    assert ask(client, "nobody", path)["total"] == 0


def test_deeds_of_people_and_the_server_are_not_about_a_site(
    world: ServerWorld, client: TestClient[Litestar]
) -> None:
    for subject in ("person:eve", "server", f"xdevice:{named(world, 'north 1').device}"):
        world.house.deeds.record(
            Deed("person.added", "person:ada", subject, world.trust.owner, {"words": THEIRS}, 1)
        )
    assert THEIRS in str(ask(client, "all", "/timeline?per_page=500"))
    page = ask(client, "north", "/timeline?per_page=500")
    assert THEIRS not in str(page)
    assert not {item["kind"] for item in page["items"]} & {"person.added", "document.policy"}


def test_the_first_page_says_nothing_of_other_sites(
    world: ServerWorld, client: TestClient[Litestar]
) -> None:
    body = {"words": THEIRS, "reason": "forked_journal"}
    south = named(world, "south").device
    world.house.deeds.record(
        Deed(
            "intake.refused",
            "server",
            f"device:{south}",
            world.trust.owner,
            body,
            world.clock.now,
        )
    )
    assert any(card["id"] == "identity" for card in ask(client, "all", "/today")["cards"])
    page = ask(client, "north", "/today")
    assert page["counts"]["total"] == 2
    assert page["changes"]
    assert THEIRS not in str(page)
    assert south not in str(page)


def test_a_machines_history_out_of_scope_is_not_found(
    world: ServerWorld, client: TestClient[Litestar]
) -> None:
    south = named(world, "south").device
    for path in (f"/devices/{south}/history", f"/devices/{'b' * 32}/history"):
        answer = client.get(f"/api/v1{path}", headers={"authorization": "Bearer north"})
        assert (answer.status_code, answer.json()["reason"]) == (404, "not_found")
