"""Nkeys and tokens: right ones pass, every bent one is refused."""

import base64
import json

import pytest

from fleetward.runtime.bus_tokens import (
    REQUEST_AUDIENCE,
    Nkey,
    NkeyKind,
    UserGrant,
    decode_public,
    encode_public,
    make_auth_response,
    make_user_token,
    read_auth_request,
)
from fleetward.trust.errors import Malformed, Untrusted


def encode(part: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")


def request_token(server: Nkey, user: str, **changes: object) -> bytes:
    claims: dict[str, object] = {
        "iss": server.public,
        "sub": user,
        "aud": REQUEST_AUDIENCE,
        "iat": 1,
        "nats": {
            "server_id": {"id": server.public, "name": "b"},
            "user_nkey": user,
            "client_info": {"id": 4, "host": "127.0.0.1"},
            "client_tls": {"version": "1.3", "verified_chains": [["pem"]]},
            "type": "authorization_request",
            "version": 2,
        },
        **changes,
    }
    unsigned = encode({"typ": "JWT", "alg": "ed25519-nkey"}) + b"." + encode(claims)
    signature = base64.urlsafe_b64encode(server.sign(unsigned)).rstrip(b"=")
    return unsigned + b"." + signature


def claims_of(token: str) -> dict[str, object]:
    payload = token.split(".")[1]
    decoded: dict[str, object] = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return decoded


def test_an_nkey_round_trips_and_its_letter_tells_its_kind() -> None:
    for kind, letter in ((NkeyKind.ACCOUNT, "A"), (NkeyKind.SERVER, "N"), (NkeyKind.USER, "U")):
        key = Nkey(kind)
        assert key.public.startswith(letter) and len(key.public) == 56
        raw = decode_public(kind, key.public).public_bytes_raw()
        assert encode_public(kind, raw) == key.public


def test_a_bent_nkey_is_malformed() -> None:
    good = Nkey(NkeyKind.USER).public
    changed = good[:10] + ("A" if good[10] != "A" else "B") + good[11:]
    for bad in ("", "U", good[:-1], good + "A", good.lower(), changed, good[:-2] + "é="):
        with pytest.raises(Malformed):
            decode_public(NkeyKind.USER, bad)
    with pytest.raises(Malformed):
        decode_public(NkeyKind.ACCOUNT, good)


def test_a_question_of_the_broker_is_read() -> None:
    server, user = Nkey(NkeyKind.SERVER), Nkey(NkeyKind.USER)
    request = read_auth_request(request_token(server, user.public))
    assert request.nats.user_nkey == user.public
    assert request.nats.client_info.id == 4
    assert request.nats.client_tls is not None
    assert request.nats.client_tls.verified_chains == [["pem"]]


def test_a_question_signed_by_somebody_else_is_untrusted() -> None:
    server, other, user = Nkey(NkeyKind.SERVER), Nkey(NkeyKind.SERVER), Nkey(NkeyKind.USER)
    parts = request_token(server, user.public).split(b".")
    forged = request_token(other, user.public).split(b".")
    with pytest.raises(Untrusted) as caught:
        read_auth_request(b".".join([parts[0], parts[1], forged[2]]))
    assert caught.value.reason == "broker_token_forged"


def test_bent_questions_are_malformed() -> None:
    server, other, user = Nkey(NkeyKind.SERVER), Nkey(NkeyKind.SERVER), Nkey(NkeyKind.USER)
    good = request_token(server, user.public)
    header, payload, signature = good.split(b".")
    bent = [
        b"",
        b"a.b",
        b"a.b.c.d",
        b"\xff.\xff.\xff",
        b"x" * 70_000,
        header + b"." + payload,
        header + b"." + encode(["list"]) + b"." + signature,
        encode({"alg": "none"}) + b"." + payload + b".",
        request_token(server, user.public, aud="somebody"),
        request_token(server, user.public, iss=other.public),
        request_token(server, "not an nkey"),
    ]
    for token in bent:
        with pytest.raises(Malformed):
            read_auth_request(token)


def test_a_grant_says_exactly_what_was_granted() -> None:
    issuer, server, user = Nkey(NkeyKind.ACCOUNT), Nkey(NkeyKind.SERVER), Nkey(NkeyKind.USER)
    grant = UserGrant("DEVICES", "device", ("a.*",), ("b.>",), 99)
    token = make_user_token(issuer, user.public, grant, issued_at=5)
    claims = claims_of(token)
    assert claims["aud"] == "DEVICES" and claims["exp"] == 99 and claims["sub"] == user.public
    assert claims["iss"] == issuer.public
    assert claims["nats"] == {
        "pub": {"allow": ["a.*"]},
        "sub": {"allow": ["b.>"]},
        "subs": -1,
        "data": -1,
        "payload": -1,
        "type": "user",
        "version": 2,
    }
    request = read_auth_request(request_token(server, user.public))
    answer = claims_of(make_auth_response(issuer, request, user_token=token, issued_at=5))
    assert answer["aud"] == server.public
    assert answer["nats"] == {"jwt": token, "type": "authorization_response", "version": 2}
    refusal = claims_of(make_auth_response(issuer, request, error="refused", issued_at=5))
    assert refusal["nats"] == {"error": "refused", "type": "authorization_response", "version": 2}
