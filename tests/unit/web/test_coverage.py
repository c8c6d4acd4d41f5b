"""Every route has a row, and the check that says so finds what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar, get, post
from litestar.params import JSONBody
from litestar.testing import TestClient
from tests.unit.web.floor import HOST, Names, make_app

from fleetward.runtime.http.hosts import HostPolicy
from fleetward.server.web.app import Services, create_app
from fleetward.server.web.coverage import find_gaps
from fleetward.server.web.request import ApiRequest


class Loose(msgspec.Struct):
    a: int = 0


@get("/nowhere", sync_to_thread=False)
def no_row() -> None:
    """Have no action."""


@get("/invented", opt={"action": "all.read"}, sync_to_thread=False)
def unknown_row() -> None:
    """Have an action that nobody knows."""


@post("/loose", opt={"action": "owner.submit"}, sync_to_thread=False)
def takes_anything(data: JSONBody[Loose]) -> None:
    """Take unknown fields."""


@get("/narrow", opt={"action": "devices.read"}, sync_to_thread=False)
def looks_at_nobody() -> None:
    """Ignore who calls."""


@get("/loud", opt={"action": "devices.quarantine"}, sync_to_thread=False)
def acts_by_reading(request: ApiRequest) -> None:
    """Act by a GET."""


def with_handlers(static: Path, *handlers: Any) -> Litestar:
    policy = HostPolicy(frozenset({"console.localhost"}))
    return create_app(Services(handlers, Names(), policy, static=static))


def test_the_small_application_has_no_gaps(tmp_path: Path) -> None:
    assert find_gaps(with_handlers(tmp_path)) == []
    assert find_gaps(make_app(tmp_path)) == []


def test_every_kind_of_gap_is_found(tmp_path: Path) -> None:
    app = with_handlers(
        tmp_path, no_row, unknown_row, takes_anything, looks_at_nobody, acts_by_reading
    )
    assert [gap.partition("/api/v1/")[2] for gap in find_gaps(app)] == [
        "invented has the action 'all.read', which has no row",
        "loud leaves a deed, and is a read",
        "narrow is open to narrowed callers, and does not look at who calls",
        "nowhere has the action None, which has no row",
        f"loose takes {Loose}, which would ignore unknown fields",
    ]


def test_a_route_without_a_row_answers_nobody(tmp_path: Path) -> None:
    app = with_handlers(tmp_path, no_row)
    with TestClient(app, base_url=f"http://{HOST}", raise_server_exceptions=False) as client:
        answer = client.get("/api/v1/nowhere", headers={"authorization": "Bearer admin"})
    assert answer.status_code == 500
