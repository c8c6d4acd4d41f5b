"""Attacks on passkeys of approvers: a yes from elsewhere, of nobody, or to something else.

The page may be anybody's; what counts is decided by the owner's program, and again by the machine.
"""

# ruff: noqa: F811  (pytest takes fixtures by the names of arguments)
from __future__ import annotations

from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from tests.unit.keyholder.access_scene import Scene, scene  # noqa: F401
from tests.unit.keyholder.owner_fixtures import (  # noqa: F401
    clock,
    desk,
    made_once,
    one_server,
    owner,
    server,
)
from tests.unit.keyholder.passkey_hand import ORIGIN, Hand
from tests.unit.keyholder.test_access_console import post
from tests.unit.keyholder.test_access_flow import asked
from tests.unit.keyholder.test_passkey_console import (  # noqa: F401
    WORDS,
    named,
    page,
    prepared,
)
from tests.unit.people.authenticator import USER_PRESENT, Authenticator

from fleetward.keyholder.policy_changes import add_person, change_policy
from fleetward.runtime.keys import FileSigner
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.envelope import document_hash, read_envelope
from fleetward.trust.passkey import challenge_of

Page = TestClient[Litestar]


class Framing(Authenticator):
    """A browser in which the page is inside another one."""

    def _client_data(self, kind: str, challenge: str) -> bytes:
        told = super()._client_data(kind, challenge)
        return told.replace(b'"crossOrigin": false', b'"crossOrigin": true')


LIES: list[tuple[dict[str, Any], str]] = [
    ({"origin": "http://owner.localhost:7481"}, "passkey_origin"),
    ({"origin": "http://console.localhost:7480"}, "passkey_origin"),
    ({"origin": "http://localhost:7480"}, "passkey_origin"),
    ({"origin": "https://owner.localhost:7480"}, "passkey_origin"),
    ({"rp_id": "console.localhost"}, "passkey_rp_id"),
    ({"flags": USER_PRESENT}, "passkey_unverified"),
    ({"key": Authenticator(ORIGIN).key}, "unknown_passkey"),
]


def refused_as(page: Page, grant: str, yes: dict[str, Any]) -> str:
    """Try to approve, and return why it was not taken."""
    answer = page.post("/api/v1/access/passkey/approve", json={"grant": grant, "passkey": yes})
    assert answer.status_code in {400, 403, 409}, answer.text
    return str(answer.json()["reason"])


def test_a_yes_from_elsewhere_or_of_nobody_is_not_sent(page: Page, scene: Scene) -> None:
    hand = named(page, scene)
    asked(scene)
    shown = prepared(page, scene)
    challenge = shown["passkey"]["challenge"]
    for lies, why in LIES:
        assert refused_as(page, shown["grant"], hand.yes(challenge, **lies)) == why
    framed = Hand(Framing(ORIGIN, "owner.localhost", key=hand.key.key))
    assert refused_as(page, shown["grant"], framed.yes(challenge)) == "passkey_framed"
    assert "grant" not in scene.row.papers


def test_a_yes_to_another_grant_signs_nothing(page: Page, scene: Scene) -> None:
    hand = named(page, scene)
    asked(scene)
    shown = prepared(page, scene)
    shorter = post(page, "/access/prepare", {"id": scene.row.id, "seconds": 60})
    yes = hand.yes(shorter["passkey"]["challenge"])
    assert refused_as(page, shown["grant"], yes) == "passkey_challenge"
    assert "grant" not in scene.row.papers


def test_a_page_that_has_another_document_signed_gets_nothing(page: Page, scene: Scene) -> None:
    """The page shows one grant and asks the passkey about one of its own making."""
    hand = named(page, scene)
    asked(scene)
    shown = prepared(page, scene)
    wider = b"fleetward-signed-v1\x00fleetward.grant.v1\x00{}"
    yes = hand.yes(to_base64url(challenge_of(wider)))
    assert refused_as(page, shown["grant"], yes) == "passkey_challenge"
    # Nor does it help to name what was never shown.
    assert refused_as(page, document_hash({"type": "fleetward.grant.v1"}), yes) == "not_prepared"
    assert "grant" not in scene.row.papers


def test_a_passkey_is_no_plain_key_and_no_plain_key_a_passkey(page: Page, scene: Scene) -> None:
    stranger = Hand()
    plain = FileSigner(stranger.key.key)
    change_policy(scene.desk, add_person("Cy", plain.public, ["approve"]), _now(scene))
    hand = named(page, scene)
    asked(scene)
    shown = prepared(page, scene)
    challenge = shown["passkey"]["challenge"]
    # A key that the policy names as plain says nothing through a browser.
    assert refused_as(page, shown["grant"], stranger.yes(challenge)) == "unknown_passkey"
    # A passkey's bare signature over the grant itself is no yes of it either.
    bare = {**hand.yes(challenge), "signature": to_base64url(b"\x30\x06\x02\x01\x01\x02\x01\x01")}
    assert refused_as(page, shown["grant"], bare) == "unknown_passkey"


def test_a_yes_is_read_strictly(page: Page, scene: Scene) -> None:
    hand = named(page, scene)
    asked(scene)
    shown = prepared(page, scene)
    good = hand.yes(shown["passkey"]["challenge"])
    for name, value in (("signature", "AAAA"), ("signature", ""), ("authenticator_data", ""),
                        ("client_data", "e30"), ("client_data", "AA")):  # fmt: skip
        refused_as(page, shown["grant"], {**good, name: value})
    assert "grant" not in scene.row.papers


@pytest.mark.parametrize(
    ("lies", "why"),
    [
        *((lies, why) for lies, why in LIES if "key" not in lies),
        ({"flags": 0x04 | USER_PRESENT | 0x80}, "bad_passkey"),
        ({"credential_id": b""}, "bad_passkey"),
    ],
)
def test_a_passkey_made_elsewhere_is_not_named(
    page: Page, scene: Scene, lies: dict[str, Any], why: str
) -> None:
    before = scene.desk.documents().policy.version
    begun = post(page, "/passkeys/begin", {"person": "Ada", "passphrase": WORDS})
    made = {**Hand().make(begun, **lies), "passphrase": WORDS}
    answer = page.post("/api/v1/passkeys/add", json=made)
    assert (answer.status_code in {400, 403}, answer.json()["reason"]) == (True, why)
    assert scene.desk.documents().policy.version == before


def test_a_passkey_for_another_challenge_or_of_another_curve_is_not_named(
    page: Page, scene: Scene
) -> None:
    begun = post(page, "/passkeys/begin", {"person": "Ada", "passphrase": WORDS})
    old = Hand().make({**begun, "challenge": to_base64url(bytes(32))})
    answer = page.post(
        "/api/v1/passkeys/add",
        json={**old, "challenge": begun["challenge"], "passphrase": WORDS},
    )
    assert answer.json()["reason"] == "passkey_challenge"
    begun = post(page, "/passkeys/begin", {"person": "Ada", "passphrase": WORDS})
    made = Hand().make(begun)
    data = bytearray(from_base64url(made["authenticator_data"]))
    data[-1] ^= 1  # a point that is not on the curve
    answer = page.post(
        "/api/v1/passkeys/add",
        json={**made, "authenticator_data": to_base64url(bytes(data)), "passphrase": WORDS},
    )
    assert answer.json()["reason"] == "bad_passkey"


def test_no_policy_is_signed_without_the_passphrase(page: Page, scene: Scene) -> None:
    named(page, scene)
    policy = scene.desk.documents().policy
    (passkey,) = [i for i, h in policy.keys.items() if h.passkey]
    tries: list[tuple[str, dict[str, Any]]] = [
        ("begin", {"person": "Eve", "passphrase": "guess"}),
        ("remove", {"key_id": passkey, "passphrase": "guess"}),
        ("remove", {"key_id": passkey}),
    ]
    for path, body in tries:
        assert page.post(f"/api/v1/passkeys/{path}", json=body).status_code in {409, 422}
    for headers in ({"authorization": "Bearer wrong"}, {"origin": "http://console.localhost:7480"}):
        answer = page.post("/api/v1/passkeys/begin", json={}, headers=headers)
        assert answer.status_code in {401, 403}
    assert scene.desk.documents().policy.version == policy.version


def test_who_asks_says_no_yes_to_himself_by_a_passkey(page: Page, scene: Scene) -> None:
    named(page, scene, "Ada")
    hand = named(page, scene, "Tom")
    asked(scene)
    shown = prepared(page, scene)
    assert shown["passkey"]["people"] == ["Ada"]
    yes = hand.yes(shown["passkey"]["challenge"])
    assert refused_as(page, shown["grant"], yes) == "unknown_passkey"
    assert "grant" not in scene.row.papers


def test_the_server_cannot_move_a_yes_to_another_request(page: Page, scene: Scene) -> None:
    hand = named(page, scene)
    asked(scene)
    shown = prepared(page, scene)
    body = {"grant": shown["grant"], "passkey": hand.yes(shown["passkey"]["challenge"])}
    post(page, "/access/passkey/approve", body)
    taken = read_envelope(scene.row.papers["grant"])
    asked(scene)
    row = scene.row
    row.papers["grant"], row.session = taken.raw, taken.hash
    scene.push_grant(row)
    assert (row.state, row.id in scene.grants) == ("denied", False)


def _now(scene: Scene) -> int:
    return scene.desk.documents().policy.issued_at_ms + 1
