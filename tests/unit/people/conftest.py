"""The people slice on a real application and both databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from httpx import Response
from litestar import Litestar
from litestar.testing import TestClient
from tests.postgres import cluster, database

from fleetward.runtime.database import Database
from fleetward.runtime.http.hosts import HostPolicy
from fleetward.server.deeds import Deed
from fleetward.server.people import tables
from fleetward.server.people.wiring import PeopleSettings, PeopleSlice, open_people
from fleetward.server.schema.tables import metadata
from fleetward.server.web.app import Services, create_app
from fleetward.server.web.guard import WatchedRecorder

__all__ = ["cluster", "database"]

ORIGIN = "http://console.localhost:8080"
START_MS = 1_795_000_000_000


@dataclass
class HeldClock:
    """Stands still until a test moves it."""

    now_ms: int = START_MS

    def wall_ms(self) -> int:
        return self.now_ms

    def monotonic_ms(self) -> int:
        return self.now_ms

    def boottime_ms(self) -> int:
        return self.now_ms


@dataclass
class MemoryRecorder:
    """Keeps deeds in a list."""

    deeds: list[Deed] = field(default_factory=list)

    def record(self, deed: Deed) -> int:
        self.deeds.append(deed)
        return len(self.deeds) - 1

    @property
    def kinds(self) -> list[str]:
        return [deed.kind for deed in self.deeds]


@dataclass(frozen=True)
class House:
    """The slice, a client of it, and what it recorded."""

    slice: PeopleSlice
    client: TestClient[Litestar]
    clock: HeldClock
    recorder: MemoryRecorder

    def call(self, method: str, path: str, secret: str = "", body: object = None) -> Response:
        headers = {"authorization": f"Bearer {secret}"} if secret else {}
        return self.client.request(method, f"/api/v1{path}", headers=headers, json=body)

    def sign_in(self, person_id: str = "") -> str:
        """Open a session by a link, as a person does, and return its secret."""
        link = self.slice.people.make_login_link(
            person_id or self.slice.people.bootstrap("Ada"), ORIGIN
        )
        opened = self.call("POST", "/session/redeem", body={"code": code_of(link)})
        assert opened.status_code == 201, opened.text
        return str(opened.json()["token"])


def code_of(link: str) -> str:
    """Return the code in a sign-in link."""
    return link.partition("#code=")[2]


def open_house(database: Database, static: Path, *, loopback_only: bool) -> House:
    """Build the application on a database."""
    mine = [table for table in metadata.sorted_tables if table.name.startswith("people_")]
    assert tables.PERSONS in mine
    with database.write() as conn:
        metadata.create_all(conn, mine)
    clock, recorder = HeldClock(), MemoryRecorder()
    settings = PeopleSettings("console.localhost", ORIGIN, loopback_only)
    opened = open_people(database, WatchedRecorder(recorder), clock, lambda: "owner", settings)
    app = create_app(
        Services(
            handlers=opened.handlers,
            authenticator=opened.sessions,
            hosts=HostPolicy(frozenset({"console.localhost"})),
            static=static,
        )
    )
    return House(opened, TestClient(app, base_url=ORIGIN), clock, recorder)


@pytest.fixture
def house(database: Database, tmp_path: Path) -> Iterator[House]:
    """The slice on loopback."""
    opened = open_house(database, tmp_path, loopback_only=True)
    with opened.client:
        yield opened


@pytest.fixture
def public_house(database: Database, tmp_path: Path) -> Iterator[House]:
    """The slice where others than this host can reach it."""
    opened = open_house(database, tmp_path, loopback_only=False)
    with opened.client:
        yield opened
