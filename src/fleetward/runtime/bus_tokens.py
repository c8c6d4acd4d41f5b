"""NATS nkeys and JSON web tokens, as far as the auth callout needs them.

An nkey is an Ed25519 key whose public half is written as base32 of one prefix byte, the 32 bytes,
and a CRC-16. A token is `header.payload.signature`, signed by an nkey named in the payload
(nats-io/jwt version 2). Keys live in memory only: they are made at every start and never written.
"""

import base64
import binascii
import hashlib
from enum import IntEnum
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fleetward.trust.errors import Malformed, Untrusted

MAX_TOKEN_BYTES: Final = 64 * 1024
"""An authorization request with a chain of three certificates has about 6 KiB."""
REQUEST_AUDIENCE: Final = "nats-authorization-request"

_HEADER: Final = b'{"typ":"JWT","alg":"ed25519-nkey"}'


class NkeyKind(IntEnum):
    """Prefix bytes; shifted so that the first base32 letter tells the kind (A, N, U)."""

    ACCOUNT = 0
    SERVER = 13 << 3
    USER = 20 << 3


class Nkey:
    """A fresh signing key of one kind."""

    def __init__(self, kind: NkeyKind) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.public = encode_public(kind, self._key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """The raw 64 bytes of the signature."""
        return self._key.sign(message)

    def sign_nonce(self, nonce: str) -> bytes:
        """The answer to a broker's challenge, in the encoding that the client sends."""
        return base64.b64encode(self.sign(nonce.encode()))


def encode_public(kind: NkeyKind, raw: bytes) -> str:
    """Write a public key as an nkey."""
    body = bytes([kind]) + raw
    return base64.b32encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "little")).decode()


def decode_public(kind: NkeyKind, text: str) -> Ed25519PublicKey:
    """Read a public nkey of this kind. Raises `Malformed`."""
    try:
        packed = base64.b32decode(text)
    except ValueError as e:
        raise _bad_nkey(kind, text) from e
    if len(packed) != 35 or base64.b32encode(packed).decode() != text or packed[0] != kind:
        raise _bad_nkey(kind, text)
    if binascii.crc_hqx(packed[:33], 0) != int.from_bytes(packed[33:], "little"):
        raise _bad_nkey(kind, text)
    return Ed25519PublicKey.from_public_bytes(packed[1:33])


class RequestServer(msgspec.Struct, frozen=True):
    """The broker that asks."""

    id: str
    name: str = ""


class RequestClient(msgspec.Struct, frozen=True):
    """The connection that it asks about."""

    id: int = 0
    host: str = ""


class RequestTls(msgspec.Struct, frozen=True):
    """What the connection showed in TLS. `verified_chains` are PEM, leaf first."""

    version: str = ""
    verified_chains: list[list[str]] = []


class RequestBody(msgspec.Struct, frozen=True):
    """The part of the claims that NATS defines."""

    server_id: RequestServer
    user_nkey: str
    client_info: RequestClient = RequestClient()
    client_tls: RequestTls | None = None


class AuthRequest(msgspec.Struct, frozen=True):
    """A broker's question: may this connection come in? Claims that we do not know are skipped."""

    iss: str
    sub: str
    aud: str
    nats: RequestBody


class UserGrant(msgspec.Struct, frozen=True):
    """What a connection gets: account, name, subjects, end."""

    account: str
    name: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    expires_at: int


def read_auth_request(token: bytes) -> AuthRequest:
    """Check a question of the broker and return it.

    1. The token has three parts, and its header names our algorithm.
    2. The payload is an authorization request, issued by the broker that it names.
    3. The signature is by that broker's key.
    Steps that remain the caller's: to listen only in the account that nobody but the broker and
    the server can publish in.
    Raises `Malformed` or `Untrusted`.
    """
    # 1
    if len(token) > MAX_TOKEN_BYTES:
        raise _bad_token(f"{len(token)} bytes")
    parts = token.split(b".")
    if len(parts) != 3:
        raise _bad_token(f"{len(parts)} parts")
    header, payload, signature = (_from_base64url(part) for part in parts)
    try:
        algorithm = msgspec.json.decode(header, type=dict[str, str]).get("alg")
        # 2
        request = msgspec.json.decode(payload, type=AuthRequest)
    except msgspec.MsgspecError as e:
        raise _bad_token("other JSON") from e
    if algorithm != "ed25519-nkey" or request.aud != REQUEST_AUDIENCE:
        raise _bad_token("another kind of token")
    if request.iss != request.nats.server_id.id:
        raise _bad_token("a token of another issuer")
    decode_public(NkeyKind.USER, request.nats.user_nkey)
    # 3
    try:
        decode_public(NkeyKind.SERVER, request.iss).verify(signature, parts[0] + b"." + parts[1])
    except InvalidSignature as e:
        raise Untrusted(
            "expected a question signed by the broker; it is not; look for who else speaks there",
            reason="broker_token_forged",
        ) from e
    return request


def make_user_token(issuer: Nkey, user_nkey: str, grant: UserGrant, *, issued_at: int) -> str:
    """The token that lets one connection in. Times are Unix seconds, as NATS has them."""
    claims: dict[str, object] = {
        "aud": grant.account,
        "name": grant.name,
        "exp": grant.expires_at,
        "nats": {
            "pub": {"allow": list(grant.publish)},
            "sub": {"allow": list(grant.subscribe)},
            "subs": -1,
            "data": -1,
            "payload": -1,
            "type": "user",
            "version": 2,
        },
    }
    return _sign_claims(issuer, user_nkey, claims, issued_at)


def make_auth_response(
    issuer: Nkey, request: AuthRequest, *, user_token: str = "", error: str = "", issued_at: int
) -> str:
    """The answer to the broker: a user token, or the error why there is none."""
    answer = {"jwt": user_token} if user_token else {"error": error}
    claims: dict[str, object] = {
        "aud": request.nats.server_id.id,
        "nats": {**answer, "type": "authorization_response", "version": 2},
    }
    return _sign_claims(issuer, request.nats.user_nkey, claims, issued_at)


def _sign_claims(issuer: Nkey, subject: str, claims: dict[str, object], issued_at: int) -> str:
    body = {**claims, "iss": issuer.public, "sub": subject, "iat": issued_at}
    digest = hashlib.sha256(msgspec.json.encode(body, order="sorted")).digest()
    body["jti"] = base64.b32encode(digest).decode().rstrip("=")
    unsigned = _to_base64url(_HEADER) + b"." + _to_base64url(msgspec.json.encode(body))
    return (unsigned + b"." + _to_base64url(issuer.sign(unsigned))).decode()


def _to_base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _from_base64url(text: bytes) -> bytes:
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as e:
        raise _bad_token("other base64") from e


def _bad_nkey(kind: NkeyKind, text: str) -> Malformed:
    return Malformed(
        f"expected a public nkey of kind {kind.name.lower()}; {text[:64]!r} came; drop it",
        reason="nkey_malformed",
    )


def _bad_token(came: str) -> Malformed:
    return Malformed(
        f"expected an authorization request of the broker; {came} came; drop it",
        reason="broker_token_malformed",
    )
