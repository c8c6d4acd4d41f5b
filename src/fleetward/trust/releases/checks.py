"""Four questions put to every metadata file: who signed, is it whole, its version, its age.

Each function returns nothing when the answer is yes, and raises when it is no. `words` names the
role in messages and reasons.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from tuf.api.metadata import Key, Metadata, Root, Signed, Targets

from fleetward.trust.errors import FleetwardError, Malformed, Refused, Untrusted
from fleetward.trust.releases import limits

Delegator: TypeAlias = Root | Targets
"""Who says which keys sign for a role: root for the four, a targets role for those below it."""

HASHES: Final = ("sha256", "sha512")
"""What a file may be known by, in the order of preference. Others are refused, not skipped."""

_ENCODER: Final = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def require_threshold(delegator: Delegator, role: str, metadata: Metadata[Any], words: str) -> None:
    """Demand that as many different keys signed as the delegator says (5.3.4, 5.4.2, 5.5.3, 5.6.3).

    Keys are counted by what they are and not by their ids: one key under two ids, or in two
    spellings, counts once. Raises `Untrusted`, or `Malformed` for what cannot be judged.
    """
    try:
        holders = delegator.get_delegated_role(role)
        if max(len(holders.keyids), len(metadata.signatures)) > limits.MAX_ROLE_KEYS:
            raise Malformed(
                f"Expected at most {limits.MAX_ROLE_KEYS} keys and signatures for {words}.",
                reason="too_many_keys",
            )
        result = delegator.get_verification_result(
            role, write_signed(metadata), metadata.signatures
        )
        signers = {identify_key(key) for key in result.signed.values()}
    except FleetwardError:
        raise
    except Exception as e:  # the boundary to the library, which raises many kinds
        raise Malformed(
            f"The signatures on {words} cannot be read: {type(e).__name__}.",
            reason=f"{words}_malformed",
        ) from e
    if len(signers) < result.threshold:
        raise Untrusted(
            f"Expected {result.threshold} keys to have signed {words} {role!r}, got "
            f"{len(signers)}. Ask the maker for a file that enough of its people signed.",
            reason=f"{words}_threshold",
        )


def write_signed(metadata: Metadata[Any]) -> bytes:
    """Return the bytes that were signed: OLPC canonical JSON (specification 4.1).

    It is compact sorted JSON in which only quote and backslash are escaped. Where nothing is
    escaped, that is what the standard library writes, three times faster than the library of TUF,
    whose own encoder serves for the rest. Raises what either raises.
    """
    text = _ENCODER.encode(metadata.signed.to_dict())
    return metadata.signed_bytes if "\\" in text else text.encode("utf-8")


def identify_key(key: Key) -> bytes:
    """Return bytes that are equal for two spellings of one key. Raises what the library raises."""
    public: str = key.keyval["public"]
    if key.keytype == "ed25519":
        return bytes.fromhex(public)
    loaded = load_pem_public_key(public.encode("utf-8"))
    return loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def require_fresh(signed: Signed, now_ms: int, words: str) -> None:
    """Demand that it has not expired at the time of the refresh (5.3.10, 5.4.4, 5.5.6, 5.6.5)."""
    if now_ms >= (signed.expires - _EPOCH) // timedelta(milliseconds=1):
        raise Refused(
            f"The newest {words} expired at {signed.expires:%Y-%m-%d %H:%M} UTC. Have the maker "
            "sign it again, or set this machine's clock.",
            reason=f"{words}_expired",
        )


def require_version(signed: Signed, expected: int, words: str) -> None:
    """Demand the version that the file before it names (5.3.5, 5.5.4, 5.6.4)."""
    if signed.version != expected:
        raise Untrusted(
            f"Expected version {expected} of {words}, got {signed.version}.",
            reason=f"{words}_wrong_version",
        )


def require_not_older(version: int, known: int, words: str) -> None:
    """Demand that a version does not fall below the one known (5.4.3, 5.5.5)."""
    if version < known:
        raise Untrusted(
            f"Expected {words} {known} or newer, got {version}: an older one was served again.",
            reason=f"rollback_{words}",
        )


def require_whole(
    data: bytes, length_bytes: int | None, hashes: Mapping[str, str] | None, words: str
) -> None:
    """Demand the length and every hash that are stated (5.5.2, 5.6.2). Raises `Untrusted`."""
    if length_bytes is not None and len(data) != length_bytes:
        raise wrong_length(words, length_bytes)
    for name, expected in (hashes or {}).items():
        require_known_hash(name)
        if hashlib.new(name, data).hexdigest() != expected:
            raise wrong_hash(words, name)


def require_known_hash(name: str) -> None:
    """Demand a hash of the list above. Raises `Malformed`."""
    if name not in HASHES:
        raise Malformed(f"Expected {' or '.join(HASHES)}, got {name[:20]!r}.", reason="bad_hash")


def wrong_length(words: str, expected: int) -> Untrusted:
    """Build the error for bytes of another length."""
    return Untrusted(f"Expected {expected} bytes of {words}.", reason="wrong_length")


def wrong_hash(words: str, name: str) -> Untrusted:
    """Build the error for bytes of another hash."""
    return Untrusted(
        f"The {name} of {words} is not the one that was signed: it was changed on the way, or "
        "comes from another state of the repository. Fetch it again from elsewhere.",
        reason="wrong_hash",
    )
