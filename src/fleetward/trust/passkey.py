"""Signatures by passkeys: what an authenticator signs, and when that counts for a document.

A passkey never signs our bytes. It signs its own data and the hash of the browser's, in which our
bytes stand as the challenge (Web Authentication Level 3, section 7.2). The challenge here is the
SHA-256 of what any other key would sign (`envelope.signed_bytes`), so that a passkey's yes is a yes
to that document and to nothing else.

A key of the suite `webauthn` is named in a policy with its rp id and with the whole origins
(scheme, host and port) at which its owner uses it. A page at another port of the same host has
another origin. Which words the page showed, no signature says: so that page comes from the
owner's own computer, and shows the same six words as every other place.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.keys import PublicKey

WEBAUTHN: Final = "webauthn"
MAX_AUTHENTICATOR_BYTES: Final = 1024
"""The authenticator's data: 37 bytes, and extensions that nobody here asks for."""
MAX_CLIENT_BYTES: Final = 4096
_LEAST_BYTES: Final = 37
_FLAGS_AT: Final = 32
_USER_PRESENT: Final = 0x01
_USER_VERIFIED: Final = 0x04


@dataclass(frozen=True, slots=True)
class Passkey:
    """Where a passkey may be used."""

    rp_id: str
    origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Assertion:
    """What comes beside a passkey's signature, as the authenticator and the browser gave it."""

    authenticator_data: bytes
    client_data: bytes


def challenge_of(message: bytes) -> bytes:
    """Return the challenge for signing `message` with a passkey: its SHA-256."""
    return hashlib.sha256(message).digest()


def verify_assertion(
    assertion: Assertion, signature: bytes, message: bytes, key: PublicKey, passkey: Passkey
) -> None:
    """Return when the passkey with this key said yes to `message`. Raises as below.

    `Malformed` for data that no browser makes, `Untrusted` for a yes to something else, at
    another place, or without the person. Signature counters are not looked at: synchronised
    passkeys have none.
    """
    # 1. What the browser says: a yes (not a registration), to this message, at a whole origin of
    #    the policy, in a page that no other one frames (section 7.2, steps 10 to 14).
    client = _read_client_data(assertion.client_data)
    if client.get("type") != "webauthn.get":
        raise Untrusted("Expected a passkey's signature.", reason="passkey_type")
    if client.get("challenge") != to_base64url(challenge_of(message)):
        raise Untrusted("The passkey signed another document.", reason="passkey_challenge")
    if client.get("origin") not in passkey.origins:
        raise Untrusted(
            "The passkey was used at another address than the policy names.",
            reason="passkey_origin",
        )
    if client.get("crossOrigin", False) is not False or "topOrigin" in client:
        raise Untrusted("The passkey was used inside another page.", reason="passkey_framed")
    # 2. What the authenticator says: for this rp id, with the person present and verified by a
    #    finger, a face or a PIN (steps 15 to 17).
    data = assertion.authenticator_data
    if not _LEAST_BYTES <= len(data) <= MAX_AUTHENTICATOR_BYTES:
        raise Malformed("Expected an authenticator's data.", reason="bad_passkey")
    if data[:_FLAGS_AT] != hashlib.sha256(passkey.rp_id.encode()).digest():
        raise Untrusted("The passkey is for another site.", reason="passkey_rp_id")
    wanted = _USER_PRESENT | _USER_VERIFIED
    if data[_FLAGS_AT] & wanted != wanted:
        raise Untrusted(
            "The passkey did not verify the person who used it.", reason="passkey_unverified"
        )
    # 3. The signature is over both (steps 20 and 21).
    key.verify(signature, data + hashlib.sha256(assertion.client_data).digest())


def _read_client_data(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_CLIENT_BYTES:
        raise Malformed("Expected a browser's short JSON.", reason="bad_passkey")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as e:
        raise Malformed("Expected a browser's JSON.", reason="bad_passkey") from e
    if not isinstance(value, dict):
        raise Malformed("Expected a browser's JSON object.", reason="bad_passkey")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise Malformed("Expected each key of a browser's JSON once.", reason="bad_passkey")
    return dict(pairs)
