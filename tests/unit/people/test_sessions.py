"""Links, sessions and who may do what with them, over the real application."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from tests.unit.people.conftest import ORIGIN, House, code_of

from fleetward.runtime.database import Database
from fleetward.server.people.limits import FAILURES_PER_WINDOW, WINDOW_MS
from fleetward.server.people.model import LINK_LIFE_MS, SESSION_LIFE_MS
from fleetward.server.people.secret import make_secret
from fleetward.server.people.tables import LINKS, SESSIONS, TOKENS
from fleetward.server.web.caller import ON_THE_HOST, Role
from fleetward.trust.errors import Unreachable


def test_a_link_opens_a_session_once(house: House) -> None:
    link = house.slice.people.make_login_link(house.slice.people.bootstrap("Ada"), ORIGIN)
    assert link.startswith(f"{ORIGIN}/login#code=fwl_")
    opened = house.call("POST", "/session/redeem", body={"code": code_of(link)})
    body = opened.json()
    assert opened.status_code == 201
    assert body["person"]["name"] == "Ada"
    assert body["passkey"] == {"registered": False, "required": False}
    assert body["passkey_only"] is False
    shown = house.call("GET", "/session", body["token"]).json()
    assert shown["person"]["role"] == "admin"
    assert shown["expires_at"] == body["expires_at"]
    again = house.call("POST", "/session/redeem", body={"code": code_of(link)})
    assert (again.status_code, again.json()["reason"]) == (401, "link_not_valid")
    assert house.recorder.kinds == [
        "person.added",
        "login_link.made",
        "session.opened",
        "session.refused",
    ]


def test_one_link_used_by_many_at_once_opens_one_session(house: House) -> None:
    code = code_of(house.slice.people.make_login_link(house.slice.people.bootstrap(), ORIGIN))

    def redeem(_: int) -> int:
        return house.call("POST", "/session/redeem", body={"code": code}).status_code

    with ThreadPoolExecutor(6) as pool:
        statuses = sorted(pool.map(redeem, range(6)))
    assert statuses == [201, 401, 401, 401, 401, 401]


def test_a_link_lives_fifteen_minutes(house: House) -> None:
    link = house.slice.people.make_login_link(house.slice.people.bootstrap(), ORIGIN)
    house.clock.now_ms += LINK_LIFE_MS
    late = house.call("POST", "/session/redeem", body={"code": code_of(link)})
    assert late.json()["reason"] == "link_not_valid"


def test_bootstrap_makes_one_admin(house: House) -> None:
    assert house.slice.people.bootstrap("Ada") == house.slice.people.bootstrap("Bob")
    assert house.recorder.kinds == ["person.added"]


def test_a_session_lives_twelve_hours(house: House) -> None:
    secret = house.sign_in()
    house.clock.now_ms += SESSION_LIFE_MS - 1
    assert house.call("GET", "/session", secret).status_code == 200
    house.clock.now_ms += 1
    ended = house.call("GET", "/session", secret)
    assert (ended.status_code, ended.json()["reason"]) == (401, "session_ended")


def test_signing_out_ends_the_session(house: House) -> None:
    secret = house.sign_in()
    assert house.call("DELETE", "/session", secret).status_code == 204
    assert house.call("GET", "/session", secret).json()["reason"] == "session_ended"
    assert house.recorder.kinds[-1] == "session.ended"


def test_no_secret_is_stored(house: House, database: Database) -> None:
    secret = house.sign_in()
    code = code_of(house.slice.people.make_login_link(house.slice.people.bootstrap(), ORIGIN))
    made = house.slice.people.make_token(ON_THE_HOST, "nightly", Role.VIEWER, 60)
    with database.read() as conn:
        stored = [
            str(tuple(row))
            for table in (LINKS, SESSIONS, TOKENS)
            for row in conn.execute(sa.select(table))
        ]
    assert len(stored) == 4
    for value in (secret, code, made.secret):
        assert not any(value in row or value[4:] in row for row in stored)
    assert not any(secret in str(deed) or code in str(deed) for deed in house.recorder.deeds)


def test_failures_past_the_limit_are_not_recorded_and_lock_nobody_out(house: House) -> None:
    secret = house.sign_in()
    before = len(house.recorder.deeds)
    statuses = [
        house.call("GET", "/session", make_secret("fws_")).status_code
        for _ in range(FAILURES_PER_WINDOW + 5)
    ]
    assert statuses == [401] * FAILURES_PER_WINDOW + [429] * 5
    assert len(house.recorder.deeds) - before == FAILURES_PER_WINDOW
    assert house.call("GET", "/session", secret).status_code == 200
    house.clock.now_ms += WINDOW_MS
    assert house.call("GET", "/session", make_secret("fws_")).status_code == 401


@pytest.mark.parametrize("credential", ["fws_", "fwt_x", "x" * 9000, "\xff\xfe", "fws_ ; DROP"])
def test_odd_credentials_are_not_signed_in(house: House, credential: str) -> None:
    answer = house.client.get(
        "/api/v1/session", headers={b"authorization": b"Bearer " + credential.encode("latin-1")}
    )
    assert (answer.status_code, answer.json()["reason"]) == (401, "not_signed_in")


def test_roles_bound_what_a_person_may(house: House) -> None:
    admin = house.sign_in()
    added = house.call("POST", "/persons", admin, {"name": "Vera", "role": "viewer"})
    assert added.status_code == 201
    viewer = house.sign_in(added.json()["id"])
    for method, path, body in [
        ("GET", "/persons", None),
        ("POST", "/persons", {"name": "Eve", "role": "admin"}),
        ("POST", "/login-links", {}),
        ("GET", "/tokens", None),
        ("POST", "/tokens", {"name": "t", "role": "viewer", "ttl_seconds": 60}),
    ]:
        refused = house.call(method, path, viewer, body)
        assert (refused.status_code, refused.json()["reason"]) == (403, "forbidden"), path
    promoted = house.call("PATCH", f"/persons/{added.json()['id']}", admin, {"role": "operator"})
    assert promoted.json()["role"] == "operator"
    assert house.call("GET", "/session", viewer).json()["person"]["role"] == "operator"


def test_the_last_admin_stays(house: House) -> None:
    admin = house.sign_in()
    own = house.call("GET", "/session", admin).json()["person"]["id"]
    for method, body in (("DELETE", None), ("PATCH", {"role": "viewer"})):
        refused = house.call(method, f"/persons/{own}", admin, body)
        assert (refused.status_code, refused.json()["reason"]) == (409, "last_admin")
    house.call("POST", "/persons", admin, {"name": "Bob", "role": "admin"})
    assert house.call("DELETE", f"/persons/{own}", admin).status_code == 204


def test_a_removed_person_has_no_credentials(house: House) -> None:
    admin = house.sign_in()
    bob = house.call("POST", "/persons", admin, {"name": "Bob", "role": "admin"}).json()["id"]
    session = house.sign_in(bob)
    wish = {"name": "t", "role": "viewer", "ttl_seconds": 600}
    token = house.call("POST", "/tokens", session, wish).json()["token"]
    link = house.slice.people.make_login_link(bob, ORIGIN)
    assert house.call("DELETE", f"/persons/{bob}", admin).status_code == 204
    assert house.call("GET", "/session", session).json()["reason"] == "session_ended"
    assert house.call("GET", "/session", token).json()["reason"] == "session_ended"
    redeemed = house.call("POST", "/session/redeem", body={"code": code_of(link)})
    assert redeemed.json()["reason"] == "link_not_valid"
    gone = house.call("DELETE", f"/persons/{bob}", admin)
    assert (gone.status_code, gone.json()["reason"]) == (404, "person_not_found")
    names = [row["name"] for row in house.call("GET", "/persons", admin).json()["items"]]
    assert names == ["Ada"]


def test_what_cannot_be_recorded_is_not_done(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    admin = house.sign_in()

    def fail(_deed: object) -> int:
        raise Unreachable("the ledger is full", reason="ledger")

    monkeypatch.setattr(house.recorder, "record", fail)
    wish = {"name": "Eve", "role": "admin"}
    assert house.call("POST", "/persons", admin, wish).status_code == 503
    assert house.call("GET", "/persons", admin).json()["total"] == 1


def test_tokens_do_what_their_role_and_scope_say(house: House) -> None:
    admin = house.sign_in()
    wish = {"name": "nightly", "role": "admin", "ttl_seconds": 3600}
    made = house.call("POST", "/tokens", admin, wish).json()
    token = made["token"]
    assert token.startswith("fwt_")
    assert house.call("GET", "/session", token).json()["kind"] == "token"
    assert house.call("GET", "/tokens", token).status_code == 200
    for path, body in (("/tokens", wish), ("/persons", {"name": "E", "role": "admin"})):
        refused = house.call("POST", path, token, body)
        assert (refused.status_code, refused.json()["reason"]) == (403, "person_required")
    part = house.call("POST", "/tokens", admin, {**wish, "scope": {"sites": ["Ward 3"]}}).json()
    narrowed = house.call("GET", "/tokens", part["token"])
    assert (narrowed.status_code, narrowed.json()["reason"]) == (403, "out_of_scope")
    rows = {row["id"]: row for row in house.call("GET", "/tokens", admin).json()["items"]}
    assert rows[made["id"]]["scope"] is None
    assert rows[part["id"]]["scope"] == {"sites": ["Ward 3"], "devices": []}
    assert rows[made["id"]]["last_used_at"] is not None
    assert "token" not in rows[made["id"]]


def test_tokens_end(house: House) -> None:
    admin = house.sign_in()
    wish = {"name": "short", "role": "viewer", "ttl_seconds": 60}
    first = house.call("POST", "/tokens", admin, wish).json()
    second = house.call("POST", "/tokens", admin, wish).json()
    assert house.call("DELETE", f"/tokens/{first['id']}", admin).status_code == 204
    assert house.call("GET", "/session", first["token"]).json()["reason"] == "session_ended"
    assert house.call("DELETE", f"/tokens/{first['id']}", admin).status_code == 404
    house.clock.now_ms += 60_000
    assert house.call("GET", "/session", second["token"]).json()["reason"] == "session_ended"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"ttl_seconds": 365 * 86400 + 1}, 422),
        ({"ttl_seconds": 0}, 422),
        ({"role": "root"}, 422),
        ({"scope": {"sites": [], "devices": []}}, 400),
        ({"scope": {"rooms": ["a"]}}, 422),
        ({"name": "a\n"}, 400),
        ({"name": " "}, 400),
    ],
)
def test_bad_tokens_are_not_made(house: House, change: dict[str, object], status: int) -> None:
    admin = house.sign_in()
    wish = {"name": "t", "role": "viewer", "ttl_seconds": 60, **change}
    assert house.call("POST", "/tokens", admin, wish).status_code == status
    assert house.call("GET", "/tokens", admin).json()["total"] == 0


def test_ending_all_credentials_leaves_people_and_passkeys(house: House) -> None:
    admin = house.sign_in()
    token = house.slice.people.make_token(ON_THE_HOST, "t", Role.VIEWER, 600).secret
    link = house.slice.people.make_login_link(house.slice.people.bootstrap(), ORIGIN)
    house.slice.people.end_all_credentials(ON_THE_HOST, "restored from a backup")
    for secret in (admin, token):
        assert house.call("GET", "/session", secret).json()["reason"] == "session_ended"
    redeemed = house.call("POST", "/session/redeem", body={"code": code_of(link)})
    assert redeemed.status_code == 401
    assert house.call("GET", "/session", house.sign_in()).status_code == 200


def test_login_links_can_be_made_by_an_admin(house: House) -> None:
    admin = house.sign_in()
    bodies: list[dict[str, str] | None] = [None, {}]
    for body in bodies:
        made = house.call("POST", "/login-links", admin, body)
        assert made.status_code == 201, made.text
    opened = house.call("POST", "/session/redeem", body={"code": code_of(made.json()["url"])})
    assert opened.json()["person"]["name"] == "Ada"
    missing = house.call("POST", "/login-links", admin, {"person_id": "nobody"})
    assert (missing.status_code, missing.json()["reason"]) == (404, "person_not_found")
