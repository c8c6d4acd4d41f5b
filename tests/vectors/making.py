"""How vectors are made: keys from labels, cases that are good or refused, files of cases.

Equal code gives equal files: keys come from seeds, Ed25519 is deterministic, and ES256 signs by
RFC 6979.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from tests.vectors.checks import CHECKS

from fleetward.trust.canonical import to_base64url as b64
from fleetward.trust.errors import FleetwardError
from fleetward.trust.keys import ED25519, PublicKey, Signer, der_to_raw, public_key_of

LONG: Final = 200
"""Characters from which on a text that stands twice is shared."""
P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True)
class SeededSigner:
    """A key derived from a label, which signs the same way every time."""

    private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return public_key_of(self.private.public_key())

    def sign(self, message: bytes) -> bytes:
        """Return 64 bytes; for P-256 with the nonce of RFC 6979."""
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(message)
        how = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        return der_to_raw(self.private.sign(message, how))


def seeded_key(suite: str, label: str) -> Signer:
    """Return the key of this label."""
    seed = hashlib.sha256(f"fleetward vectors\x00{suite}\x00{label}".encode()).digest()
    if suite == ED25519:
        return SeededSigner(ed25519.Ed25519PrivateKey.from_private_bytes(seed))
    scalar = int.from_bytes(seed, "big") % (P256_ORDER - 1) + 1
    return SeededSigner(ec.derive_private_key(scalar, ec.SECP256R1()))


@dataclass
class Vectors:
    """The cases of one file."""

    name: str
    about: str
    cases: list[dict[str, Any]] = field(default_factory=list)

    def good(self, name: str, check: str, /, **given: Any) -> None:
        """Add a case that is accepted; what comes out is what the code says today."""
        found = CHECKS[check](given)
        self.cases.append({"name": name, "check": check, "input": given, "expect": found})

    def bad(self, name: str, check: str, refused: str, /, **given: Any) -> None:
        """Add a case that is refused for `refused`, written `Family/reason`."""
        try:
            CHECKS[check](given)
        except FleetwardError as e:
            assert f"{type(e).__name__}/{e.reason}" == refused, (name, e.reason, e.message)
        else:
            raise AssertionError(f"{name}: was accepted")
        family, _, reason = refused.partition("/")
        outcome = {"family": family, "reason": reason}
        self.cases.append({"name": name, "check": check, "input": given, "refused": outcome})

    def text(self) -> str:
        """Return the file: one case a line, so that a change shows as a change of one line.

        Long texts that stand more than once are named in `shared` and referred to as `@name`.
        """
        counts = Counter(t for c in self.cases for t in _texts(c["input"]) if len(t) > LONG)
        names = {t: f"@{n}" for n, t in enumerate(t for t, n in counts.items() if n > 1)}
        cases = [{**c, "input": _named(c["input"], names)} for c in self.cases]
        rows = ",\n".join(json.dumps(c, sort_keys=True) for c in cases)
        shared = ",\n".join(f'"{name}": {json.dumps(text)}' for text, name in names.items())
        return (
            f'{{"about": {json.dumps(self.about)},\n"shared": {{\n{shared}\n}},\n'
            f'"cases": [\n{rows}\n]}}\n'
        )


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value
    return [t for v in inner for t in _texts(v)] if isinstance(value, dict | list) else []


def _named(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {k: _named(v, names) for k, v in value.items()}
    if isinstance(value, list):
        return [_named(v, names) for v in value]
    return names.get(value, value) if isinstance(value, str) else value


def public(key: PublicKey) -> dict[str, str]:
    """Return a key as cases carry it."""
    return {"suite": key.suite, "public": b64(key.spki)}
