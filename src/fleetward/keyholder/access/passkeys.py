"""Passkeys of approvers, on the owner's own computer: what a browser gave, checked and put to use.

A new one is read from what the authenticator says of it (Web Authentication Level 3, sections 6.1
and 7.1). Its maker's attestation is neither asked for nor looked at: what makes it an approver's
key is the policy, which the owner's root key signs.

A yes is put beside a document whose bytes were made here. Whether it counts is judged by `trust`,
as the machine will judge it, before the document leaves this computer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleetward.trust.canonical import to_base64url
from fleetward.trust.envelope import Envelope, RoleKey, Signature, add_assertion
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.grants.grant import approvers_of
from fleetward.trust.keys import ES256, PublicKey, der_to_raw, read_public_key
from fleetward.trust.passkey import (
    MAX_AUTHENTICATOR_BYTES,
    MAX_CLIENT_BYTES,
    WEBAUTHN,
    Assertion,
    Passkey,
    verify_assertion,
)
from fleetward.trust.policy import Policy

CHALLENGE_BYTES: Final = 32
MAX_CREDENTIAL_BYTES: Final = 1023
"""Web Authentication Level 3, section 7.1, step 25."""
_FLAGS_AT: Final = 32
_ID_LENGTH_AT: Final = 53
"""Hash of the rp id, flags, counter and the model's number stand before it."""
_ID_AT: Final = 55
_VERIFIED_AND_NEW: Final = 0x01 | 0x04 | 0x40
_HAS_EXTENSIONS: Final = 0x80
_COSE_X: Final = bytes.fromhex("a5010203262001215820")
"""A P-256 key for ES256 in the one spelling of CTAP 2 (RFC 9052): up to x, and between x and y."""
_COSE_Y: Final = bytes.fromhex("225820")
_COORDINATE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """A passkey that was just made: its key, and the name by which its authenticator finds it."""

    key: PublicKey
    credential_id: bytes


@dataclass(frozen=True, slots=True)
class Yes:
    """A passkey's signature as a browser hands it out: in DER, with what was said beside it."""

    signature: bytes
    assertion: Assertion


def read_new_passkey(made: Assertion, challenge: bytes, place: Passkey) -> NewPasskey:
    """Return the passkey that was made at `place` for this challenge.

    Raises `Malformed` for what is no P-256 passkey, and `Untrusted` for one that was made
    elsewhere, for another challenge, or without verifying the person.
    """
    # 1. What the browser says (section 7.1, steps 5 to 11).
    client = _read_json(made.client_data)
    wanted = {"type": "webauthn.create", "challenge": to_base64url(challenge)}
    if any(client.get(name) != value for name, value in wanted.items()):
        raise Untrusted(
            "Expected the passkey that was asked for now. Begin again.", reason="passkey_challenge"
        )
    if client.get("origin") not in place.origins:
        raise Untrusted("The passkey was made at another address.", reason="passkey_origin")
    if client.get("crossOrigin", False) is not False or "topOrigin" in client:
        raise Untrusted("The passkey was made inside another page.", reason="passkey_framed")
    # 2. What the authenticator says: here, with the person verified (steps 14 to 17).
    data = made.authenticator_data
    if not _ID_AT < len(data) <= MAX_AUTHENTICATOR_BYTES:
        raise Malformed("Expected an authenticator's data.", reason="bad_passkey")
    if data[:_FLAGS_AT] != hashlib.sha256(place.rp_id.encode()).digest():
        raise Untrusted("The passkey is for another site.", reason="passkey_rp_id")
    flags = data[_FLAGS_AT]
    if flags & _VERIFIED_AND_NEW != _VERIFIED_AND_NEW:
        raise Untrusted(
            "The passkey did not verify the person. Choose one with a finger, a face or a PIN.",
            reason="passkey_unverified",
        )
    # 3. The key itself (section 6.5.1).
    length = int.from_bytes(data[_ID_LENGTH_AT:_ID_AT])
    if not 0 < length <= MAX_CREDENTIAL_BYTES:
        raise Malformed("Expected a passkey's name.", reason="bad_passkey")
    end = _ID_AT + length
    key, rest = _read_cose_key(data[end:])
    if bool(rest) != bool(flags & _HAS_EXTENSIONS):
        raise Malformed("Expected nothing behind the passkey's key.", reason="bad_passkey")
    return NewPasskey(key, data[_ID_AT:end])


def passkeys_at(
    policy: Policy, place: Passkey, requester: str = "", *, break_glass: bool = False
) -> dict[str, RoleKey]:
    """Return the passkeys of approvers that work at `place`; none of `requester`, who asks.

    Without a requester they are those that may say no or stop: for that everybody's counts.
    With `break_glass` they are those of who stands in for the approvers.
    """
    return {
        key_id: holder
        for key_id, holder in approvers_of(policy, break_glass=break_glass).keys.items()
        if holder.passkey is not None
        and holder.passkey.rp_id == place.rp_id
        and set(place.origins) <= set(holder.passkey.origins)
        and holder.person != requester
    }


def add_yes(envelope: Envelope, yes: Yes, keys: Mapping[str, RoleKey]) -> bytes:
    """Return the envelope with a passkey's yes, which one of `keys` must have given to it.

    Raises `Refused` when there is no such passkey, `Malformed`, or `Untrusted` with the first
    rule that is broken.
    """
    try:
        raw = der_to_raw(yes.signature)
    except (ValueError, OverflowError) as e:
        raise Malformed("Expected a signature in DER.", reason="bad_signature") from e
    for key_id, holder in keys.items():
        if holder.passkey is None:
            continue
        try:
            verify_assertion(yes.assertion, raw, envelope.signed_bytes, holder.key, holder.passkey)
        except Untrusted as e:
            # What is wrong but for the signature is wrong for every passkey of this page.
            if e.reason != "bad_signature":
                raise
            continue
        return add_assertion(envelope, Signature(key_id, WEBAUTHN, raw, yes.assertion))
    raise Refused(
        "That passkey is none that may say yes to this here. The page Policy shows which do.",
        reason="unknown_passkey",
    )


def _read_cose_key(data: bytes) -> tuple[PublicKey, bytes]:
    x_at = len(_COSE_X)
    y_at = x_at + _COORDINATE_BYTES + len(_COSE_Y)
    end = y_at + _COORDINATE_BYTES
    if (
        len(data) < end
        or not data.startswith(_COSE_X)
        or data[x_at + _COORDINATE_BYTES : y_at] != _COSE_Y
    ):
        raise Malformed("Expected a passkey with a P-256 key (ES256).", reason="bad_passkey")
    point = b"\x04" + data[x_at : x_at + _COORDINATE_BYTES] + data[y_at:end]
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except (ValueError, UnsupportedAlgorithm) as e:
        raise Malformed("Expected a point on the curve P-256.", reason="bad_passkey") from e
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return read_public_key(ES256, spki), data[end:]


def _read_json(data: bytes) -> dict[str, object]:
    try:
        value = json.loads(data.decode("utf-8")) if len(data) <= MAX_CLIENT_BYTES else None
    except (ValueError, RecursionError) as e:
        raise Malformed("Expected a browser's JSON.", reason="bad_passkey") from e
    if not isinstance(value, dict):
        raise Malformed("Expected a browser's short JSON object.", reason="bad_passkey")
    return value
