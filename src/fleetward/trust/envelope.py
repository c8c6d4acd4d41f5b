"""The signed envelope: a payload, and signatures over it.

    {"payload": {"type": "fleetward.…", …}, "signatures": [{"key_id", "signature", "suite"}, …]}

Rules:

1. The whole envelope is canonical JSON with exactly these fields. A type is `fleetward.` and
   then small letters, digits, dots and dashes, 64 characters in all.
2. What is signed is `SIGNED_PREFIX || type || 0x00 || canonical payload`. The type is inside the
   payload and in the prefix, so no signature serves for another type.
3. A document's hash is the SHA-256 of what is signed. Signatures are not part of it.
4. Each key signs once. A signature by a key that is not asked for is ignored, neither counted
   nor an error, so that a document can carry the old and the new signers.
5. **Thresholds count people.** Two keys of one person are one.
6. A passkey's signature (suite `webauthn`) carries what the authenticator and the browser said,
   and counts only for a key that a role names as a passkey; see `passkey`.
7. A signature by a key that is asked for and does not verify refuses the document: somebody
   meddled with it.

    >>> envelope = read_envelope(data)
    >>> verify_threshold(envelope, "fleetward.roster.v1", role)   # returns, or raises
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.trust import canonical
from fleetward.trust.canonical import Json, JsonLike, JsonObject, to_base64url
from fleetward.trust.errors import Malformed, Misuse, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.keys import SUITES, PublicKey, Signer, read_signature
from fleetward.trust.passkey import (
    MAX_AUTHENTICATOR_BYTES,
    MAX_CLIENT_BYTES,
    WEBAUTHN,
    Assertion,
    Passkey,
    verify_assertion,
)

SIGNED_PREFIX: Final = b"fleetward-signed-v1\x00"
MAX_SIGNATURES: Final = 32
"""More people than ever sign one document."""
_START: Final = len(b'{"payload":')
_AFTER: Final = b',"signatures":['
MAX_ENVELOPE_BYTES: Final = 256 * 1024
"""Bytes of one envelope. The largest, a policy with a hundred keys, has 30 KB."""
_TYPE: Final = re.compile(r"fleetward\.[a-z0-9.-]{1,54}")


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature of an envelope, not yet checked."""

    key_id: str
    suite: str
    value: bytes
    assertion: Assertion | None = None

    def to_json(self) -> JsonObject:
        """Return the signature as it stands in an envelope."""
        said: JsonObject = {
            "key_id": self.key_id,
            "signature": to_base64url(self.value),
            "suite": self.suite,
        }
        if self.assertion is not None:
            said["authenticator_data"] = to_base64url(self.assertion.authenticator_data)
            said["client_data"] = to_base64url(self.assertion.client_data)
        return said


@dataclass(frozen=True, slots=True)
class Envelope:
    """An envelope as read. **Nothing in it is verified**, only well formed."""

    type: str
    payload: JsonObject
    signed_bytes: bytes
    signatures: tuple[Signature, ...]
    raw: bytes

    @property
    def hash(self) -> str:
        """The document's hash: 64 hex digits."""
        return hashlib.sha256(self.signed_bytes).hexdigest()


@dataclass(frozen=True, slots=True)
class RoleKey:
    """A key in a role, and the person who holds it. A passkey's own is P-256."""

    key: PublicKey
    person: str
    passkey: Passkey | None = None

    @property
    def suite(self) -> str:
        """The suite that a signature by this key must name."""
        return self.key.suite if self.passkey is None else WEBAUTHN


@dataclass(frozen=True, slots=True)
class Role:
    """Who may sign something, and how many different people must."""

    name: str
    keys: Mapping[str, RoleKey]
    threshold: int


def document_hash(payload: JsonLike) -> str:
    """Return the hash that a document with this payload has. Raises `Misuse` on a bad payload."""
    return hashlib.sha256(signed_bytes(payload)).hexdigest()


def signed_bytes(payload: JsonLike) -> bytes:
    """Return the bytes that a signature over `payload` covers (rule 2)."""
    kind = payload.get("type") if isinstance(payload, Mapping) else None
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise Misuse("A payload needs a type of ours.", reason="no_type")
    return SIGNED_PREFIX + kind.encode("ascii") + b"\x00" + canonical.encode(payload)


def seal(payload: JsonLike, signers: Sequence[Signer]) -> bytes:
    """Return the bytes of an envelope over `payload`, signed by each of `signers`."""
    message = signed_bytes(payload)
    signatures = [
        {
            "key_id": signer.public.key_id,
            "signature": to_base64url(signer.sign(message)),
            "suite": signer.public.suite,
        }
        for signer in signers
    ]
    return canonical.encode({"payload": payload, "signatures": signatures})


def add_signatures(envelope: Envelope, signers: Sequence[Signer]) -> bytes:
    """Return `envelope` with further signatures; a signer who signed already replaces his own."""
    new = {signer.public.key_id for signer in signers}
    kept: list[JsonLike] = [s.to_json() for s in envelope.signatures if s.key_id not in new]
    added = canonical.decode_object(seal(envelope.payload, signers))["signatures"]
    if not isinstance(added, list):
        raise Misuse("An envelope without a list of signatures was made.", reason="bad_envelope")
    return canonical.encode({"payload": envelope.payload, "signatures": [*kept, *added]})


def add_assertion(envelope: Envelope, signature: Signature) -> bytes:
    """Return `envelope` with a passkey's signature; it replaces one by the same key.

    Nothing is verified here: who adds it verifies the whole before it leaves his computer.
    """
    kept: list[JsonLike] = [
        s.to_json() for s in envelope.signatures if s.key_id != signature.key_id
    ]
    return canonical.encode(
        {"payload": envelope.payload, "signatures": [*kept, signature.to_json()]}
    )


def read_envelope(data: bytes, *, max_bytes: int = MAX_ENVELOPE_BYTES) -> Envelope:
    """Parse an envelope without checking any signature. Raises `Malformed`."""
    fields = Fields(
        canonical.decode(data, max_bytes=max_bytes), "the envelope", {"payload", "signatures"}
    )
    payload = fields.map("payload")
    kind = payload.get("type")
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise Malformed("Expected a payload with a type of ours.", reason="bad_type_string")
    signatures = tuple(_read_signature(s) for s in fields.items("signatures", most=MAX_SIGNATURES))
    if len({s.key_id for s in signatures}) != len(signatures):
        raise Malformed("Expected each key to sign once.", reason="duplicate_signature")
    # The bytes are canonical, and so is the payload in them: there is no need to write it again.
    # Nothing behind the last mark can hold another: signatures are letters and digits.
    end = data.rindex(_AFTER)
    return Envelope(
        type=kind,
        payload=payload,
        signed_bytes=SIGNED_PREFIX + kind.encode("ascii") + b"\x00" + data[_START:end],
        signatures=signatures,
        raw=data,
    )


def require_type(envelope: Envelope, kind: str) -> None:
    """Return when the envelope is of the type `kind`. Raises `Malformed`."""
    if envelope.type != kind:
        raise Malformed(f"Expected a {kind}, got a {envelope.type}.", reason="wrong_type")


def verify_threshold(envelope: Envelope, kind: str, role: Role) -> tuple[str, ...]:
    """Check that enough people of `role` signed, and return their names in order.

    Raises `Malformed` when the envelope is of another type, `Untrusted` when a signature by a
    key of the role is wrong (rule 7) or too few people signed (rule 5).
    """
    require_type(envelope, kind)
    people: set[str] = set()
    for signature in envelope.signatures:
        holder = role.keys.get(signature.key_id)
        if holder is None:
            continue
        _check(envelope, signature, holder)
        people.add(holder.person)
    if len(people) < role.threshold:
        raise Untrusted(
            f"Expected {role.threshold} of the people who may sign as {role.name!r}; "
            f"{len(people)} did. Ask the owner for a document with the missing signatures.",
            reason="too_few_signatures",
        )
    return tuple(sorted(people))


def verify_single(envelope: Envelope, kind: str, key: PublicKey) -> None:
    """Check that the envelope is of `kind` and that `key`, and it alone, signed it.

    Raises `Malformed` or `Untrusted`.
    """
    verify_holder(envelope, kind, RoleKey(key, ""))


def verify_holder(envelope: Envelope, kind: str, holder: RoleKey) -> None:
    """Like `verify_single`, for a key of a role, which may be a passkey."""
    require_type(envelope, kind)
    if len(envelope.signatures) != 1 or envelope.signatures[0].key_id != holder.key.key_id:
        raise Untrusted(f"Expected one signature, by {holder.key.key_id}.", reason="wrong_signer")
    _check(envelope, envelope.signatures[0], holder)


def _check(envelope: Envelope, signature: Signature, holder: RoleKey) -> None:
    if signature.suite != holder.suite:
        raise Untrusted("The signature names another suite than its key.", reason="bad_suite")
    if holder.passkey is None:
        holder.key.verify(signature.value, envelope.signed_bytes)
    elif signature.assertion is None:
        raise Untrusted("Expected what the passkey said beside it.", reason="bad_signature")
    else:
        verify_assertion(
            signature.assertion, signature.value, envelope.signed_bytes, holder.key, holder.passkey
        )


def _read_signature(value: Json) -> Signature:
    named = isinstance(value, dict) and value.get("suite") == WEBAUTHN
    beside = {"authenticator_data", "client_data"} if named else set[str]()
    fields = Fields(value, "a signature", {"key_id", "signature", "suite"} | beside)
    return Signature(
        key_id=fields.key_id("key_id"),
        suite=fields.choice("suite", (*SUITES, WEBAUTHN)),
        value=read_signature(fields.text("signature", most=128)),
        assertion=Assertion(
            fields.binary("authenticator_data", most=MAX_AUTHENTICATOR_BYTES),
            fields.binary("client_data", most=MAX_CLIENT_BYTES),
        )
        if named
        else None,
    )
