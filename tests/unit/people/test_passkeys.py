"""Passkeys over the real application, with an authenticator in software, honest and not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.people.authenticator import USER_PRESENT, Authenticator
from tests.unit.people.conftest import ORIGIN, House

from fleetward.server.people.model import CHALLENGE_LIFE_MS

REGISTER, LOGIN = "/session/passkey/register", "/session/passkey/login"


def begin(house: House, what: str, secret: str = "") -> tuple[str, dict[str, Any]]:
    begun = house.call("POST", f"{what}/begin", secret)
    assert begun.status_code == 200, begun.text
    return begun.json()["challenge_id"], begun.json()["options"]


def register(house: House, secret: str, key: Authenticator) -> None:
    challenge_id, options = begin(house, REGISTER, secret)
    body = {"challenge_id": challenge_id, "credential": key.create(options)}
    finished = house.call("POST", f"{REGISTER}/finish", secret, body)
    assert finished.status_code == 201, finished.text


def log_in(house: House, key: Authenticator) -> tuple[int, dict[str, Any]]:
    challenge_id, options = begin(house, LOGIN)
    body = {"challenge_id": challenge_id, "credential": key.get(options)}
    finished = house.call("POST", f"{LOGIN}/finish", body=body)
    return finished.status_code, finished.json()


def test_a_passkey_is_registered_and_signs_in(house: House) -> None:
    secret, key = house.sign_in(), Authenticator(ORIGIN)
    register(house, secret, key)
    assert house.call("GET", "/session", secret).json()["passkey"]["registered"] is True
    for _ in range(2):
        status, opened = log_in(house, key)
        assert status == 201, opened
        assert opened["person"]["name"] == "Ada"
        assert house.call("GET", "/session", opened["token"]).status_code == 200
    assert house.recorder.kinds[-3:] == ["passkey.registered", "session.opened", "session.opened"]


def test_away_from_loopback_a_link_only_registers_a_passkey(public_house: House) -> None:
    secret, key = public_house.sign_in(), Authenticator(ORIGIN)
    refused = public_house.call("GET", "/persons", secret)
    assert (refused.status_code, refused.json()["reason"]) == (403, "passkey_required")
    shown = public_house.call("GET", "/session", secret).json()
    assert shown["passkey"] == {"registered": False, "required": True}
    assert shown["passkey_only"] is True
    register(public_house, secret, key)
    assert public_house.call("GET", "/persons", secret).status_code == 200
    status, opened = log_in(public_house, key)
    assert (status, opened["passkey_only"]) == (201, False)


def other_origin(key: Authenticator) -> None:
    key.origin = "http://console.localhost:8081"


def other_host(key: Authenticator) -> None:
    key.rp_id = "owner.localhost"


def not_verified(key: Authenticator) -> None:
    key.flags = USER_PRESENT


def replayed_counter(key: Authenticator) -> None:
    key.count = -1


def other_key(key: Authenticator) -> None:
    key.key = Authenticator(ORIGIN).key


def other_person(key: Authenticator) -> None:
    key.user_handle = b"YWJj"


def unknown_credential(key: Authenticator) -> None:
    key.credential_id = b"unknown"


Change = Callable[[Authenticator], None]


@pytest.mark.parametrize(
    "change",
    [
        other_origin,
        other_host,
        not_verified,
        other_key,
        other_person,
        unknown_credential,
        replayed_counter,
    ],
)
def test_a_hostile_authenticator_does_not_sign_in(house: House, change: Change) -> None:
    key = Authenticator(ORIGIN)
    register(house, house.sign_in(), key)
    assert log_in(house, key)[0] == 201
    change(key)
    status, problem = log_in(house, key)
    assert (status, problem["reason"]) == (403, "passkey_not_valid")
    assert house.recorder.kinds[-1] == "session.refused"


@pytest.mark.parametrize("change", [other_origin, other_host, not_verified])
def test_a_hostile_authenticator_does_not_register(house: House, change: Change) -> None:
    secret, key = house.sign_in(), Authenticator(ORIGIN)
    change(key)
    challenge_id, options = begin(house, REGISTER, secret)
    body = {"challenge_id": challenge_id, "credential": key.create(options)}
    refused = house.call("POST", f"{REGISTER}/finish", secret, body)
    assert (refused.status_code, refused.json()["reason"]) == (403, "passkey_not_valid")
    assert "passkey.registered" not in house.recorder.kinds


def test_a_challenge_is_answered_once_and_in_time(house: House) -> None:
    key = Authenticator(ORIGIN)
    register(house, house.sign_in(), key)
    challenge_id, options = begin(house, LOGIN)
    body = {"challenge_id": challenge_id, "credential": key.get(options)}
    assert house.call("POST", f"{LOGIN}/finish", body=body).status_code == 201
    assert house.call("POST", f"{LOGIN}/finish", body=body).status_code == 403
    challenge_id, options = begin(house, LOGIN)
    house.clock.now_ms += CHALLENGE_LIFE_MS
    late = {"challenge_id": challenge_id, "credential": key.get(options)}
    assert house.call("POST", f"{LOGIN}/finish", body=late).status_code == 403


def test_a_challenge_for_one_purpose_serves_no_other(house: House) -> None:
    secret, key = house.sign_in(), Authenticator(ORIGIN)
    register(house, secret, key)
    challenge_id, options = begin(house, REGISTER, secret)
    body = {"challenge_id": challenge_id, "credential": key.get(options)}
    assert house.call("POST", f"{LOGIN}/finish", body=body).status_code == 403


@pytest.mark.parametrize(
    "credential",
    [
        {},
        {"id": 1},
        {"id": "a", "rawId": "a", "type": "public-key", "response": []},
        {"id": "\u0000", "response": {"userHandle": "%"}},
        {"id": "a", "response": {"userHandle": "\u00ff"}},
    ],
)
def test_noise_instead_of_a_credential_is_refused(
    house: House, credential: dict[str, object]
) -> None:
    key = Authenticator(ORIGIN)
    secret = house.sign_in()
    register(house, secret, key)
    challenge_id, _ = begin(house, LOGIN)
    body = {"challenge_id": challenge_id, "credential": credential}
    assert house.call("POST", f"{LOGIN}/finish", body=body).status_code in (400, 403)
    challenge_id, _ = begin(house, REGISTER, secret)
    body["challenge_id"] = challenge_id
    assert house.call("POST", f"{REGISTER}/finish", secret, body).status_code in (400, 403)


def test_a_token_registers_no_passkey(house: House) -> None:
    wish = {"name": "t", "role": "admin", "ttl_seconds": 600}
    token = house.call("POST", "/tokens", house.sign_in(), wish).json()["token"]
    refused = house.call("POST", f"{REGISTER}/begin", token)
    assert (refused.status_code, refused.json()["reason"]) == (404, "session_not_found")
