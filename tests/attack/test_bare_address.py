"""A server that is known by a bare address: programs reach the API, and nobody gets a page.

A passkey is bound to a DNS name. Where there is none, a person could only sign in by what can be
stolen, so the server offers people no way in at all.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from fleetward.runtime.clock import SystemClock
from fleetward.runtime.database import Database
from fleetward.server.handlers import make_handlers
from fleetward.server.listeners import free_port
from fleetward.server.main import _write_ready
from fleetward.server.program import Program
from fleetward.server.schema.migrate import migrate
from fleetward.server.settings import LOOPBACK as ADDRESS
from fleetward.server.settings import Places, ServerSettings, check_host
from fleetward.server.web.caller import ON_THE_HOST, Role
from fleetward.trust.errors import Malformed

Asked = Callable[[Program, httpx.AsyncClient], Awaitable[None]]


class OnLoopback(ServerSettings):
    """Settings of a server with a bare address, whose sockets stay on this computer."""

    __slots__ = ()

    @property
    def listen_host(self) -> str:
        return ADDRESS


def ask(folder: Path, asked: Asked) -> None:
    """Run a server that is known by a bare address, and ask it as one who trusts its CA alone."""

    async def run() -> None:
        settings = OnLoopback(
            host=check_host(ADDRESS), bus_port=free_port(), public_names=(ADDRESS,)
        )
        program = Program(Places(folder), settings, SystemClock(), make_handlers)
        database = Database.open(f"sqlite:///{program.places.database}")
        await asyncio.to_thread(migrate, database, backup=lambda: None)
        await program.start(database)
        context = ssl.create_default_context(cadata=program.authorities.server_ca_pem)
        client = httpx.AsyncClient(verify=context, base_url=program.origin)
        try:
            await asked(program, client)
        finally:
            await client.aclose()
            await program.stop()

    asyncio.run(run())


def test_programs_reach_the_api_under_a_certificate_for_the_address(tmp_path: Path) -> None:
    async def asked(program: Program, client: httpx.AsyncClient) -> None:
        assert program.origin == f"https://{ADDRESS}:{program.settings.port}"
        made = program.house.people.people.make_token(ON_THE_HOST, "nightly", Role.VIEWER, 600)
        bearer = {"authorization": f"Bearer {made.secret}"}
        answer = await client.get("/api/v1/today", headers=bearer)
        assert answer.status_code == 200
        assert (await client.get("/api/openapi.json")).status_code == 200
        unknown = await client.get("/api/v1/nothing")
        assert (unknown.status_code, unknown.json()["reason"]) == (404, "route_not_found")

    ask(tmp_path / "data", asked)


def test_a_bare_address_serves_no_page_and_no_way_in_for_people(tmp_path: Path) -> None:
    async def asked(program: Program, client: httpx.AsyncClient) -> None:
        people = program.house.people.people
        admin = people.bootstrap()
        _write_ready(program, None)
        ready = json.loads((program.places.run / "ready.json").read_bytes())
        assert ready["login_url"] == ""
        assert not (program.places.run / "login-link").exists()
        # A link that was made while the server had a name, or by whoever holds its database.
        code = people.make_login_link(admin, program.origin).partition("#code=")[2]
        host = {"authorization": f"Bearer {program.host_secret}"}
        answers = [await client.get(path) for path in ("/", "/fleet", "/index.html", "/login")]
        answers += [
            await client.post("/api/v1/session/redeem", json={"code": code}),
            await client.post("/api/v1/session/passkey/login/begin", json={}),
            await client.post("/api/v1/login-links", headers=host, json={"person_id": "x"}),
        ]
        for answer in answers:
            assert answer.status_code == 409, (answer.url, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["reason"] == "api_only"
            assert "--host NAME" in answer.json()["detail"]
        assert b"<html" not in b"".join(each.content.lower() for each in answers)

    ask(tmp_path / "data", asked)


def test_no_other_name_or_address_is_answered(tmp_path: Path) -> None:
    async def asked(program: Program, client: httpx.AsyncClient) -> None:
        for host in ("localhost", "127.0.0.2", "console.localhost", "evil.example"):
            answer = await client.get("/api/openapi.json", headers={"host": host})
            assert (answer.status_code, answer.json()["reason"]) == (403, "host_not_allowed")
        posted = await client.post(
            "/api/v1/session/redeem", json={"code": "x"}, headers={"origin": "https://evil.example"}
        )
        assert posted.json()["reason"] == "origin_not_allowed"

    ask(tmp_path / "data", asked)


@pytest.mark.parametrize("host", ["::1", "[::1]", "2001:db8::7", "0.0.0.0", "224.0.0.1"])
def test_an_address_that_cannot_be_served_is_refused(host: str) -> None:
    with pytest.raises(Malformed, match="IPv4 address"):
        check_host(host)


def test_a_host_is_compared_in_one_spelling() -> None:
    assert check_host("Fleet.Example.") == "fleet.example"
    assert check_host("192.0.2.7") == "192.0.2.7"
    assert ServerSettings(host="192.0.2.7").api_only
    assert not ServerSettings(host="fleet.example").api_only
    assert not ServerSettings().api_only
