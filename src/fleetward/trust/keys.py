"""Public keys, suites and key ids.

Two suites: `ed25519` (RFC 8032) and `es256` (ECDSA on P-256 with SHA-256, FIPS 186-5; the
signature is r || s, 64 bytes, as in RFC 7518 section 3.4). A key travels as its
SubjectPublicKeyInfo in DER (RFC 5280 section 4.1), and only in the one spelling that we would
write ourselves. Its id is the first 20 bytes of the SHA-256 of that, in lower-case base32.

An Ed25519 key whose point has a small order, or is not written in its shortest form, is refused:
under such a key one signature can be made to fit many messages without any private key, so that
whoever "signed" could deny it.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from fleetward.trust.canonical import JsonObject, from_base64url, to_base64url
from fleetward.trust.errors import Malformed, Misuse, Untrusted
from fleetward.trust.fields import Fields

ED25519: Final = "ed25519"
ES256: Final = "es256"
SUITES: Final = (ED25519, ES256)
SIGNATURE_BYTES: Final = 64
MAX_SPKI_BYTES: Final = 128
"""A P-256 SubjectPublicKeyInfo has 91 bytes, an Ed25519 one 44."""

_FIELD: Final = 2**255 - 19
_EIGHTH: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER: Final = frozenset({0, 1, _FIELD - 1, _EIGHTH, _FIELD - _EIGHTH})
"""The y coordinates of the eight points of edwards25519 whose order divides eight."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key of a known suite. Build it by `read_public_key` or `public_key_of`."""

    suite: str
    spki: bytes
    key_id: str

    def verify(self, signature: bytes, message: bytes) -> None:
        """Return when `signature` over `message` is by this key. Raises `Untrusted` otherwise."""
        if len(signature) != SIGNATURE_BYTES:
            raise Untrusted("Expected a signature of 64 bytes.", reason="bad_signature")
        key = _load(self.spki)
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, message)
            elif isinstance(key, ec.EllipticCurvePublicKey):
                r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
                key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
            else:  # read_public_key admits the two above only
                raise Misuse("A key of an unknown suite was built.", reason="unknown_suite")
        except InvalidSignature as e:
            raise Untrusted(
                f"The signature is not by the key {self.key_id}.", reason="bad_signature"
            ) from e

    def to_json(self) -> JsonObject:
        """Return the fields `key_id`, `public` and `suite`, as documents carry them."""
        return {"key_id": self.key_id, "public": to_base64url(self.spki), "suite": self.suite}


@lru_cache(maxsize=16_384)
def _load(spki: bytes) -> object:
    """Return the library's view of a key that was read before: parsing costs a fifth of a check."""
    return serialization.load_der_public_key(spki)


class Signer(Protocol):
    """Something that can sign: a file key, a token, a TPM. It is passed in; trust has none."""

    @property
    def public(self) -> PublicKey:
        """The public half."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of a signature over `message`."""


def key_id_of(spki: bytes) -> str:
    """Return the id of a SubjectPublicKeyInfo: base32 of the first 20 bytes of its SHA-256."""
    return base64.b32encode(hashlib.sha256(spki).digest()[:20]).decode("ascii").lower()


def read_public_key(suite: str, spki: bytes) -> PublicKey:
    """Return the key that `spki` holds, when it is of `suite` and in its one spelling.

    Raises `Malformed` for another algorithm, curve or encoding, or a point not on the curve.
    """
    if suite not in SUITES:
        raise Malformed(f"Expected a suite of {list(SUITES)}.", reason="unknown_suite")
    if len(spki) > MAX_SPKI_BYTES:
        raise Malformed("Expected a shorter public key.", reason="bad_key")
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as e:
        raise Malformed("Expected a SubjectPublicKeyInfo in DER.", reason="bad_key") from e
    if isinstance(key, ed25519.Ed25519PublicKey):
        found = ED25519
        _refuse_weak_point(key.public_bytes_raw())
    elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        found = ES256
    else:
        raise Malformed("Expected an Ed25519 or a P-256 key.", reason="bad_key")
    if found != suite:
        raise Malformed(f"Expected a key for {suite}, got one for {found}.", reason="bad_key")
    spelled = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    if spelled != spki:
        raise Malformed("Expected the usual spelling of the key.", reason="bad_key")
    return PublicKey(suite=suite, spki=spki, key_id=key_id_of(spki))


def _refuse_weak_point(raw: bytes) -> None:
    y = int.from_bytes(raw, "little") & (2**255 - 1)  # without the bit that says which x
    if y >= _FIELD or y in _SMALL_ORDER:
        raise Malformed("Expected an Ed25519 key of full order.", reason="bad_key")


def public_key_of(key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey) -> PublicKey:
    """Return our view of a key of the `cryptography` library. Raises `Malformed` as above."""
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    suite = ED25519 if isinstance(key, ed25519.Ed25519PublicKey) else ES256
    return read_public_key(suite, spki)


def read_key_fields(fields: Fields) -> PublicKey:
    """Read `key_id`, `public` and `suite` of an open object; the id must be the key's own.

    Raises `Malformed`.
    """
    key = read_public_key(
        fields.choice("suite", SUITES), fields.binary("public", most=MAX_SPKI_BYTES)
    )
    if fields.key_id("key_id") != key.key_id:
        raise Malformed("Expected the key id to be the hash of the key.", reason="bad_key_id")
    return key


def der_to_raw(signature: bytes) -> bytes:
    """Return r || s of a DER encoded ECDSA signature, as signers in `runtime` need it."""
    r, s = decode_dss_signature(signature)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def read_signature(text: str) -> bytes:
    """Return the 64 bytes of a base64url signature. Raises `Malformed`."""
    signature = from_base64url(text)
    if len(signature) != SIGNATURE_BYTES:
        raise Malformed("Expected a signature of 64 bytes.", reason="bad_signature_length")
    return signature
