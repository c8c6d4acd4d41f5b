"""Secrets: made here, shown once, and kept only as a hash.

A secret is 256 random bits behind a prefix that says what it is, so that a leaked one is found by a
scanner. It needs no slow hash: nobody guesses 256 bits. It is looked up by its hash, whose bytes
tell nothing about the secret; the comparison after that takes constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

SECRET_BYTES: Final = 32
MAX_LENGTH: Final = 128
SESSION_PREFIX: Final = "fws_"
TOKEN_PREFIX: Final = "fwt_"  # noqa: S105 -- the prefix, not a secret
LINK_PREFIX: Final = "fwl_"
_DOMAIN: Final = b"fleetward.secret.v1\0"


def make_secret(prefix: str) -> str:
    """Return a fresh secret."""
    return prefix + secrets.token_urlsafe(SECRET_BYTES)


def make_id() -> str:
    """Return a fresh public id: 128 random bits, hexadecimal."""
    return secrets.token_hex(16)


def hash_secret(secret: str) -> str:
    """Return what is stored. Anything longer than a secret can be has the hash of nothing."""
    known = secret if len(secret) <= MAX_LENGTH else ""
    return hashlib.sha256(_DOMAIN + known.encode("utf-8", "surrogatepass")).hexdigest()


def same_hash(found: str, expected: str) -> bool:
    """Compare two hashes in constant time."""
    return hmac.compare_digest(found.encode("ascii"), expected.encode("ascii"))
