"""Who is not let in: with a stolen database, from a page of another site, with a low role."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import httpx
import pytest
from tests.system.test_api_server import RunningApi, run_api

from fleetward.server.people.secret import SESSION_PREFIX, TOKEN_PREFIX
from fleetward.server.web.caller import ON_THE_HOST, Role, Scope


def call(
    api: RunningApi,
    method: str,
    path: str,
    secret: str,
    body: bytes | None = None,
    headers: Mapping[str, str] = MappingProxyType({"content-type": "application/json"}),
) -> httpx.Response:
    """Send a request with a credential."""
    sent = {"authorization": f"Bearer {secret}", **headers}
    return httpx.request(method, f"{api.url}/api/v1{path}", headers=sent, content=body)


def test_a_stolen_database_holds_nothing_that_signs_in(tmp_path: Path) -> None:
    with run_api(tmp_path) as api:
        api.sign_in()
        api.people.people.make_token(ON_THE_HOST, "nightly", Role.ADMIN, 3600)
        api.people.people.make_login_link(api.people.people.bootstrap(), api.url)
        stolen = sqlite3.connect(tmp_path / "state.db")
        words = {
            str(value)
            for (table,) in stolen.execute("select name from sqlite_master where type='table'")
            if table.startswith("people_")
            for row in stolen.execute(f"select * from {table}").fetchall()
            for value in row
            if isinstance(value, str) and len(value) >= 16
        }
        stolen.close()
        assert len(words) >= 6
        for word in words:
            for prefix in ("", SESSION_PREFIX, TOKEN_PREFIX):
                assert call(api, "GET", "/session", prefix + word).status_code in (401, 429)
            redeemed = httpx.post(f"{api.url}/api/v1/session/redeem", json={"code": word})
            assert redeemed.status_code in (401, 429)


def test_a_viewer_reaches_nothing_that_makes_credentials(tmp_path: Path) -> None:
    with run_api(tmp_path) as api:
        viewer = api.people.people.make_token(ON_THE_HOST, "v", Role.VIEWER, 600).secret
        paths = httpx.get(f"{api.url}/api/openapi.json").json()["paths"]
        before = api.recorder.count
        refused = [
            call(api, method, path.removeprefix("/api/v1"), viewer, b"{}").status_code
            for path, operations in paths.items()
            for method, operation in operations.items()
            if operation["tags"] == ["persons"]
            or operation["tags"] in (["tokens"], ["login-links"])
        ]
        assert len(refused) >= 8
        assert set(refused) == {403}
        assert api.recorder.count == before


def test_a_narrow_token_does_not_widen(tmp_path: Path) -> None:
    with run_api(tmp_path) as api:
        scope = Scope(sites=frozenset({"Ward 3"}))
        narrow = api.people.people.make_token(ON_THE_HOST, "n", Role.ADMIN, 600, scope).secret
        for method, path in [("GET", "/persons"), ("GET", "/tokens"), ("GET", "/stream")]:
            assert call(api, method, path, narrow).status_code == 403
        wish = b'{"name":"wide","role":"admin","ttl_seconds":600}'
        assert call(api, "POST", "/tokens", narrow, wish).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "rebound.example"},
        {"host": "127.0.0.1.rebound.example"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"content-type": "text/plain"},
    ],
)
def test_a_page_of_another_site_changes_nothing(tmp_path: Path, headers: dict[str, str]) -> None:
    """Even with a credential: a rebound name, a cross-site form, a request without preflight."""
    with run_api(tmp_path) as api:
        secret = api.sign_in()
        before = api.recorder.count
        wish = b'{"name":"Eve","role":"admin"}'
        sent = {"content-type": "application/json", **headers}
        answer = call(api, "POST", "/persons", secret, wish, sent)
        assert answer.status_code in (403, 415)
        assert api.recorder.count == before
        preflight = httpx.options(f"{api.url}/api/v1/persons", headers={"origin": "http://evil"})
        assert not any("access-control" in name for name in preflight.headers)
