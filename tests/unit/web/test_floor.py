"""What every route gets from the floor: strict requests, problem details, headers, permissions."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from httpx import Response
from litestar import Litestar
from litestar.testing import TestClient
from tests.unit.web.floor import MemoryRecorder

from fleetward.runtime.http.decoding import MAX_BODY_BYTES, MAX_DEPTH

Client = TestClient[Litestar]
QUARANTINE = "/api/v1/devices/d1/quarantine"
GOOD = b'{"reason":"open port"}'


def problem_of(response: Response, status: int, reason: str) -> Mapping[str, Any]:
    """Return the problem, after checking that it is one, whole and of this kind."""
    assert response.headers["content-type"].startswith("application/problem+json")
    problem: Mapping[str, Any] = response.json()
    assert (response.status_code, problem["reason"]) == (status, reason), problem
    assert problem["status"] == status
    assert problem["type"] == f"urn:fleetward:problem:{reason}"
    assert problem["title"]
    assert problem["detail"]
    assert "default-src 'none'" in response.headers["content-security-policy"]
    return problem


def test_a_good_request_is_answered_and_recorded(client: Client, recorder: MemoryRecorder) -> None:
    response = client.post(QUARANTINE, json={"reason": "open port", "count": 3})
    assert response.status_code == 201
    assert response.json() == {"id": "d1", "at": "1970-01-01T00:00:00.003Z"}
    assert [(deed.kind, deed.actor) for deed in recorder.deeds] == [
        ("device.quarantined", "person:p3")
    ]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b'{"reason":"a","reason":"b"}', 400, "duplicate_key"),
        (b'{"reason":"\xff"}', 400, "encoding"),
        (b"\xef\xbb\xbf" + GOOD, 400, "encoding"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), 400, "nesting"),
        (b'{"a":' * 200_000, 400, "nesting"),
        (b"", 400, "body_missing"),
        (b"{", 400, "json"),
        (GOOD + b"x", 400, "json"),
        (b'{"reason":NaN}', 400, "json"),
        (b'{"reason":"\\ud800"}', 400, "json"),
        (b'{"reason":"a","count":' + b"9" * 5000 + b"}", 422, "body_shape"),
        (b'{"reason":"a","more":1}', 422, "body_shape"),
        (b'{"reason":"a","count":"3"}', 422, "body_shape"),
        (b'{"reason":"a","count":3.5}', 422, "body_shape"),
        (b'{"reason":""}', 422, "body_shape"),
        (b"{}", 422, "body_shape"),
        (b"null", 422, "body_shape"),
        (b'{"reason":"' + b"a" * MAX_BODY_BYTES + b'"}', 413, "body_too_large"),
    ],
)
def test_bad_bodies_are_refused_and_nothing_is_recorded(
    client: Client, recorder: MemoryRecorder, body: bytes, status: int, reason: str
) -> None:
    response = client.post(QUARANTINE, content=body, headers={"content-type": "application/json"})
    problem_of(response, status, reason)
    assert recorder.deeds == []


def test_brackets_in_strings_do_not_count_as_nesting(client: Client) -> None:
    body = {"reason": '["\\{' * 40}
    assert client.post(QUARANTINE, json=body).status_code == 201


def test_a_shape_error_says_what_was_expected_and_what_came(client: Client) -> None:
    problem = problem_of(
        client.post(QUARANTINE, json={"reason": "a", "count": "3"}), 422, "body_shape"
    )
    assert (problem["expected"], problem["came"]) == ("`int`", "`str`")


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_other_media_types_are_refused(client: Client, media_type: str) -> None:
    response = client.post(QUARANTINE, content=GOOD, headers={"content-type": media_type})
    problem_of(response, 415, "media_type")


@pytest.mark.parametrize(
    "query", ["page=0", "page=x", "page=1&page=2", "pgae=2", "per_page=501", "state=a&state=b"]
)
def test_bad_queries_are_refused(client: Client, query: str) -> None:
    problem_of(client.get(f"/api/v1/devices?{query}"), 400, "parameter")


def test_lists_have_pages(client: Client) -> None:
    body = client.get("/api/v1/devices?page=3&per_page=3&state=x").json()
    assert [row["id"] for row in body["items"]] == ["x"]
    assert {name: body[name] for name in ("total", "page", "per_page")} == {
        "total": 7,
        "page": 3,
        "per_page": 3,
    }
    assert client.get("/api/v1/devices?page=9").json()["items"] == []


@pytest.mark.parametrize(
    ("fail", "status", "reason"),
    [
        ("refused", 409, "because"),
        ("untrusted", 403, "signature"),
        ("unreachable", 503, "database_unreachable"),
        ("missing", 404, "device_not_found"),
    ],
)
def test_families_become_statuses(client: Client, fail: str, status: int, reason: str) -> None:
    response = client.get(f"/api/v1/today?fail={fail}")
    problem_of(response, status, reason)
    assert ("retry-after" in response.headers) == (status == 503)


@pytest.mark.parametrize("fail", ["bug", "misuse"])
def test_a_bug_is_logged_under_an_id_and_tells_nothing_else(
    client: Client, caplog: pytest.LogCaptureFixture, fail: str
) -> None:
    with caplog.at_level(logging.ERROR):
        problem = problem_of(client.get(f"/api/v1/today?fail={fail}"), 500, "bug")
    assert "secret detail" not in json.dumps(problem)
    incident = problem["instance"].removeprefix("urn:fleetward:incident:")
    assert incident in caplog.text
    assert "secret detail" in caplog.text


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1", "/api/x/y", "/missing.js"])
def test_unknown_addresses_are_problems(client: Client, path: str) -> None:
    problem_of(client.get(path), 404, "route_not_found")


def test_a_wrong_method_names_the_right_ones(client: Client) -> None:
    response = client.put("/api/v1/devices")
    problem_of(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, OPTIONS"
    deep = client.delete(QUARANTINE)
    assert deep.headers["allow"] == "OPTIONS, POST"


@pytest.mark.parametrize(
    ("credential", "status", "reason"),
    [
        ("", 401, "not_signed_in"),
        ("Basic YTpi", 401, "not_signed_in"),
        ("Bearer", 401, "not_signed_in"),
        ("Bearer nobody", 401, "not_signed_in"),
        ("Bearer viewer", 403, "forbidden"),
        ("Bearer fresh", 403, "passkey_required"),
    ],
)
def test_only_whom_the_table_names_may(
    client: Client, recorder: MemoryRecorder, credential: str, status: int, reason: str
) -> None:
    response = client.post(QUARANTINE, json={"reason": "a"}, headers={"authorization": credential})
    problem_of(response, status, reason)
    assert ("www-authenticate" in response.headers) == (status == 401)
    assert recorder.deeds == []


def test_a_narrow_token_is_refused_where_the_route_does_not_narrow(client: Client) -> None:
    headers = {"authorization": "Bearer part"}
    assert client.get("/api/v1/devices", headers=headers).status_code == 200
    problem_of(client.get("/api/v1/stream", headers=headers), 403, "out_of_scope")


def test_a_deed_that_leaves_no_entry_is_an_error(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    problem_of(client.post("/api/v1/devices/d1/readmit"), 500, "bug")
    assert "left no entry in the ledger" in caplog.text


@pytest.mark.parametrize(
    "host", ["evil.example", "console.localhost.evil.example", "console.localhost@evil", "", "::1"]
)
def test_another_host_is_refused(client: Client, host: str) -> None:
    problem_of(client.get("/api/v1/today", headers={"host": host}), 403, "host_not_allowed")
    problem_of(client.get("/", headers={"host": host}), 403, "host_not_allowed")


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "https://console.localhost:8080", "http://console.localhost"],
)
def test_another_origin_changes_nothing(
    client: Client, recorder: MemoryRecorder, origin: str
) -> None:
    response = client.post(QUARANTINE, content=GOOD, headers={"origin": origin})
    problem_of(response, 403, "origin_not_allowed")
    assert recorder.deeds == []


def test_our_own_origin_may(client: Client) -> None:
    headers = {"origin": "http://console.localhost:9999", "host": "console.localhost:9999"}
    assert client.post(QUARANTINE, json={"reason": "a"}, headers=headers).status_code == 201


def test_every_answer_has_the_security_headers(client: Client) -> None:
    for path in ("/", "/api/v1/today", "/api/v1/nothing", "/api/openapi.json"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        for part in ("require-trusted-types-for 'script'", "script-src 'self';", "base-uri 'none'"):
            assert part in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert "set-cookie" not in headers


def test_reports_are_counted_whatever_they_are(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    report = {"csp-report": {"violated-directive": "script-src", "blocked-uri": "inline\n"}}
    for body in (
        json.dumps(report).encode(),
        b"{",
        b"\xff",
        b"[" * 5000,
        b"[]",
        b'{"csp-report":1}',
    ):
        assert client.post("/csp-report", content=body).status_code == 204
    assert "script-src" in caplog.text
    assert "inline\n'" not in caplog.text
    problem_of(client.post("/csp-report", content=b"x" * 20_000), 413, "body_too_large")
