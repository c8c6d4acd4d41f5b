"""Passkeys as approvers: a yes counts at the owner's own origin, with the person, to this grant."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.access_world import AccessWorld
from tests.trust_world import NOW_MS, alter, key_row, payload_of, refused
from tests.unit.people.authenticator import USER_PRESENT, Authenticator

from fleetward.runtime.keys import FileSigner
from fleetward.trust.canonical import Json, JsonObject, from_base64url, to_base64url
from fleetward.trust.envelope import Signature, add_assertion, read_envelope, seal
from fleetward.trust.errors import FleetwardError, Malformed, Untrusted
from fleetward.trust.grants.ending import MAX_ENDING_BYTES, make_stop_payload, verify_stop
from fleetward.trust.keys import der_to_raw
from fleetward.trust.passkey import WEBAUTHN, Assertion, Passkey, challenge_of

ORIGIN, RP_ID = "http://owner.localhost:8787", "owner.localhost"


@dataclass
class PasskeyWorld:
    """An owner whose one approver, Eve, has a passkey and no other key."""

    access: AccessWorld
    key: Authenticator = field(default_factory=lambda: Authenticator(ORIGIN, RP_ID))

    @property
    def row(self) -> JsonObject:
        """The passkey as a policy names it."""
        plain = key_row(FileSigner(self.key.key).public, "eve")
        return {**plain, "suite": WEBAUTHN, "rp_id": RP_ID, "origins": [ORIGIN]}

    def adopt(self, *, role: str = "approve", row: JsonObject | None = None) -> None:
        """Sign the next policy, in which the passkey stands in this role."""
        trust = self.access.trust
        payload = payload_of(trust.policy.raw)
        keys, roles = payload["keys"], payload["roles"]
        assert isinstance(keys, list)
        assert isinstance(roles, dict)
        named: list[Json] = [self.row["key_id"]]
        changed: JsonObject = {**roles, role: {"keys": named, "threshold": 1}}
        trust.next_policy({"keys": [*keys, row or self.row], "roles": changed})

    def say_yes(self, raw: bytes, **lies: Any) -> bytes:
        """Add the passkey's signature to an envelope; `lies` are fields of the authenticator."""
        envelope = read_envelope(raw)
        key = replace(self.key, **lies)
        options = {"challenge": to_base64url(challenge_of(envelope.signed_bytes))}
        answer = key.get(options)["response"]
        signature = Signature(
            key_id=str(self.row["key_id"]),
            suite=WEBAUTHN,
            value=der_to_raw(from_base64url(answer["signature"])),
            assertion=Assertion(
                from_base64url(answer["authenticatorData"]),
                from_base64url(answer["clientDataJSON"]),
            ),
        )
        return add_assertion(envelope, signature)


@pytest.fixture(scope="module")
def world() -> PasskeyWorld:
    made = PasskeyWorld(AccessWorld.make())
    made.adopt()
    return made


def test_a_passkey_grants(world: PasskeyWorld) -> None:
    request = world.access.request()
    offer = world.access.offer(request)
    raw = world.say_yes(world.access.grant(request, offer, signers=[]))
    assert world.access.judge(raw, request, offer).people == ("eve",)


@pytest.mark.parametrize(
    ("lies", "reason"),
    [
        ({"origin": "http://owner.localhost:8788"}, "passkey_origin"),
        ({"origin": "http://console.localhost:8787"}, "passkey_origin"),
        ({"origin": "http://localhost:8787"}, "passkey_origin"),
        ({"origin": ORIGIN + "/"}, "passkey_origin"),
        ({"rp_id": "console.localhost"}, "passkey_rp_id"),
        ({"flags": USER_PRESENT}, "passkey_unverified"),
        ({"flags": 0}, "passkey_unverified"),
        ({"key": Authenticator(ORIGIN).key}, "bad_signature"),
    ],
)
def test_a_yes_at_another_place_or_without_the_person(
    world: PasskeyWorld, lies: dict[str, Any], reason: str
) -> None:
    request = world.access.request()
    offer = world.access.offer(request)
    raw = world.say_yes(world.access.grant(request, offer, signers=[]), **lies)
    with refused(Untrusted, reason):
        world.access.judge(raw, request, offer)


def test_a_yes_to_another_document_is_none(world: PasskeyWorld) -> None:
    """The page showed one grant, and the server put the signature on another."""
    request = world.access.request()
    offer = world.access.offer(request)
    raw = world.say_yes(world.access.grant(request, offer, signers=[]))
    with refused(Untrusted, "passkey_challenge"):
        world.access.judge(alter(raw, {"seconds": 599}), request, offer)


class Browser(Authenticator):
    """A browser that says something else than browsers do."""

    said: bytes = b""

    def _client_data(self, kind: str, challenge: str) -> bytes:
        told = {"type": kind, "challenge": challenge, "origin": self.origin}
        change = json.loads(self.said) if self.said.startswith(b"{") else {}
        whole = json.dumps({**told, **change}).encode()
        return self.said if self.said and not change else whole


@pytest.mark.parametrize(
    ("said", "family", "reason"),
    [
        (b'{"crossOrigin": true}', Untrusted, "passkey_framed"),
        (b'{"crossOrigin": 0}', Untrusted, "passkey_framed"),
        (b'{"topOrigin": "http://console.localhost"}', Untrusted, "passkey_framed"),
        (b'{"type": "webauthn.create"}', Untrusted, "passkey_type"),
        (b'{"type": ["webauthn.get"]}', Untrusted, "passkey_type"),
        (b'{"origin": ["http://owner.localhost:8787"]}', Untrusted, "passkey_origin"),
        (b"not json", Malformed, "bad_passkey"),
        (b"[]", Malformed, "bad_passkey"),
        (b"\xff", Malformed, "bad_passkey"),
        (b"[" * 3000, Malformed, "bad_passkey"),
    ],
)
def test_what_no_browser_says(
    world: PasskeyWorld, said: bytes, family: type[FleetwardError], reason: str
) -> None:
    browser = Browser(ORIGIN, RP_ID, key=world.key.key)
    browser.said = said
    other = PasskeyWorld(world.access, browser)
    request = world.access.request()
    offer = world.access.offer(request)
    envelope = read_envelope(world.access.grant(request, offer, signers=[]))
    options = {"challenge": to_base64url(challenge_of(envelope.signed_bytes))}
    answer = other.key.get(options)["response"]
    raw = add_assertion(
        envelope,
        Signature(
            str(world.row["key_id"]),
            WEBAUTHN,
            der_to_raw(from_base64url(answer["signature"])),
            Assertion(
                from_base64url(answer["authenticatorData"]),
                from_base64url(answer["clientDataJSON"]),
            ),
        ),
    )
    with refused(family, reason):
        world.access.judge(raw, request, offer)


def test_a_plain_signature_by_a_passkeys_key_is_none(world: PasskeyWorld) -> None:
    request = world.access.request()
    offer = world.access.offer(request)
    raw = world.access.grant(request, offer, signers=[FileSigner(world.key.key)])
    with refused(Untrusted, "bad_suite"):
        world.access.judge(raw, request, offer)


def test_a_passkey_stops(world: PasskeyWorld) -> None:
    request = world.access.request()
    policy = world.access.trust.policy
    stop = seal(make_stop_payload(policy, request.hash, "no", NOW_MS), [])
    assert verify_stop(world.say_yes(stop), policy, request).person == "eve"


@given(
    host=st.lists(st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=63), min_size=2,
                  max_size=20).map(".".join).filter(lambda name: len(name) <= 253),
    reason=st.text(max_size=200),
    beside=st.text("x", max_size=200),
)  # fmt: skip
@example(host=".".join(["a" * 62] * 4), reason="\U0001f600" * 200, beside="x" * 200)
@settings(max_examples=30, deadline=None)
def test_a_passkeys_stop_fits_whatever_its_host_and_reason(
    host: str, reason: str, beside: str
) -> None:
    """Also with what browsers put beside the origin, to keep others from comparing."""
    world = _world_for_sizes()
    origin = f"https://{host}:65535"
    world.key = replace(world.key, origin=origin, rp_id=host)
    policy = world.access.trust.policy
    held = policy.roles["approve"].keys[str(world.row["key_id"])]
    place = Passkey(host, (origin,))
    keys = {held.key.key_id: replace(held, passkey=place)}
    policy = replace(policy, roles={**policy.roles, "approve": replace(
        policy.roles["approve"], keys=keys)})  # fmt: skip
    browser = Browser(origin, host, key=world.key.key)
    browser.said = json.dumps({"other_keys_can_be_added_here": beside}).encode()
    request = world.access.request()
    stop = seal(make_stop_payload(policy, request.hash, reason, NOW_MS), [])
    signed = PasskeyWorld(world.access, browser).say_yes(stop)
    try:
        assert verify_stop(signed, policy, request).reason == reason
    except Malformed as e:
        # A reason that no person types is refused for itself, and never for its size.
        assert e.reason == "bad_field"
    assert len(signed) <= MAX_ENDING_BYTES


@cache
def _world_for_sizes() -> PasskeyWorld:
    made = PasskeyWorld(AccessWorld.make())
    made.adopt()
    return made


@pytest.mark.parametrize("role", ["policy", "roster", "head", "invite", "lease"])
def test_a_passkey_signs_nothing_but_sessions(role: str) -> None:
    with refused(Malformed, "bad_role"):
        PasskeyWorld(AccessWorld.make()).adopt(role=role)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"key_id": "a" * 32}, "bad_key_id"),
        ({"rp_id": ""}, "bad_field"),
        ({"x": 1}, "unknown_field"),
    ],
)
def test_a_passkey_that_a_policy_cannot_name(change: dict[str, Json], reason: str) -> None:
    world = PasskeyWorld(AccessWorld.make())
    with refused(Malformed, reason):
        world.adopt(row={**world.row, **change})
