"""Signing keys in files: making, sealing under a passphrase, reading, signing.

A sealed key is JSON: scrypt (RFC 7914) turns the passphrase into an AES-256-GCM key, whose
associated data is the file's header, so that no parameter can be swapped. Unsealed keys (a
machine's, the server's own) are PKCS#8 in a 0600 file.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from fleetward.trust import canonical
from fleetward.trust.canonical import JsonObject, from_base64url, to_base64url
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.fields import Fields
from fleetward.trust.keys import ED25519, PublicKey, der_to_raw, public_key_of

PrivateKey: TypeAlias = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey

SCRYPT_COST: Final = 2**16
"""64 MiB and about 0.2 s a guess. A higher value in a file is refused: it could eat the memory."""
MAX_SEALED_BYTES: Final = 4096
_SEALED_TYPE: Final = "fleetward.sealed-key.v1"


@dataclass(frozen=True)
class FileSigner:
    """A `trust.keys.Signer` over a private key in memory."""

    private: PrivateKey

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return public_key_of(self.private.public_key())

    def sign(self, message: bytes) -> bytes:
        """Return 64 bytes: Ed25519, or r || s of ECDSA with SHA-256."""
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(message)
        return der_to_raw(self.private.sign(message, ec.ECDSA(hashes.SHA256())))


def make_key(suite: str) -> FileSigner:
    """Return a new key of `suite`, from the system's random source."""
    if suite == ED25519:
        return FileSigner(ed25519.Ed25519PrivateKey.generate())
    return FileSigner(ec.generate_private_key(ec.SECP256R1()))


def to_pkcs8(signer: FileSigner) -> bytes:
    """Return the unencrypted PKCS#8 PEM, for a 0600 file of the program that owns the key."""
    return signer.private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def from_pkcs8(data: bytes) -> FileSigner:
    """Return the key of a PKCS#8 PEM. Raises `Malformed`."""
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as e:
        raise Malformed("Expected a private key in PKCS#8 PEM.", reason="bad_key_file") from e
    if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        raise Malformed("Expected an Ed25519 or P-256 private key.", reason="bad_key_file")
    return FileSigner(key)


def seal_key(signer: FileSigner, passphrase: bytes, label: str) -> bytes:
    """Return the bytes of a sealed key file. `label` says what the key is for."""
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    header: JsonObject = {
        "cost": SCRYPT_COST,
        "key_id": signer.public.key_id,
        "label": label,
        "nonce": to_base64url(nonce),
        "salt": to_base64url(salt),
        "type": _SEALED_TYPE,
    }
    sealed = AESGCM(_stretch(passphrase, salt)).encrypt(
        nonce, to_pkcs8(signer), canonical.encode(header)
    )
    return canonical.encode({"header": header, "sealed": to_base64url(sealed)})


def key_id_of_sealed(data: bytes) -> str:
    """Return the id that a sealed key's file says it has. Raises `Malformed`."""
    outer = Fields(
        canonical.decode(data, max_bytes=MAX_SEALED_BYTES), "the key file", {"header", "sealed"}
    )
    header = outer.map("header")
    return Fields(header, "the key file's header", {"key_id"}, set(header)).key_id("key_id")


def open_key(data: bytes, passphrase: bytes) -> FileSigner:
    """Return the key of a sealed file.

    Raises `Malformed`, or `Refused` when the passphrase is wrong or the file was altered.
    """
    outer = Fields(
        canonical.decode(data, max_bytes=MAX_SEALED_BYTES), "the key file", {"header", "sealed"}
    )
    header = outer.map("header")
    fields = Fields(
        header, "the key file's header", {"cost", "key_id", "label", "nonce", "salt", "type"}
    )
    fields.choice("type", (_SEALED_TYPE,))
    fields.integer("cost", low=SCRYPT_COST, high=SCRYPT_COST)
    nonce = fields.binary("nonce", most=12)
    key = _stretch(passphrase, fields.binary("salt", most=16))
    try:
        pkcs8 = AESGCM(key).decrypt(
            nonce, from_base64url(outer.text("sealed", most=MAX_SEALED_BYTES)),
            canonical.encode(header),
        )  # fmt: skip
    except (InvalidTag, ValueError) as e:
        raise Refused(
            "The passphrase is not the one that this key was sealed with, or the file was "
            "altered. Try again, or take the owner's folder from its backup.",
            reason="wrong_passphrase",
        ) from e
    return from_pkcs8(pkcs8)


def _stretch(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=SCRYPT_COST, r=8, p=1).derive(passphrase)
