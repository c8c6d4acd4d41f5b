"""Checking what the server issued, before it replaces the certificate in use.

Nothing that the machine believes hangs on a certificate; a wrong one would only keep it offline.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from fleetward.runtime.x509 import (
    SpiffeId,
    certificate_sha256,
    not_after_ms,
    not_before_ms,
    read_certificate_der,
    read_certificates,
    read_spiffe_id,
    spki_der,
    write_certificates,
)
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.keys import key_id_of
from fleetward.wire.identity import MAX_REPLY_BYTES, CertificateReply

MAX_CHAIN: Final = 4


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate chain that fits this machine."""

    pem: str
    key_id: str
    not_after_ms: int
    lifetime_ms: int
    serial: str


def read_certificate_reply(data: bytes) -> CertificateReply:
    """Parse the reply to joining or renewing. Raises `Malformed`."""
    if len(data) > MAX_REPLY_BYTES:
        raise Malformed("Expected a reply of at most 1 MiB.", reason="too_large")
    try:
        return msgspec.json.decode(data, type=CertificateReply)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Malformed(f"Expected a certificate and a bundle: {e}", reason="bad_reply") from e


def verify_issued(pem: str, key_id: str, names: SpiffeId, fleet_ca: str) -> Issued:
    """Return the chain when it is over the vouched key, for this machine, under the fleet CA.

    Raises `Malformed` or `Untrusted`.
    """
    chain = read_certificates(pem.encode("ascii", errors="replace"))
    if not 1 <= len(chain) <= MAX_CHAIN:
        raise Malformed("Expected a chain of certificates.", reason="bad_certificate_chain")
    # 1. Over the key that the identity key vouched for.
    leaf = chain[0]
    public = leaf.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey) or key_id_of(spki_der(public)) != key_id:
        raise Untrusted("The certificate is over another key.", reason="wrong_transport_key")
    # 2. It names this machine under its owner.
    if read_spiffe_id(leaf) != names:
        raise Untrusted("The certificate names another machine.", reason="another_device")
    # 3. It leads to the fleet CA that the owner's policy names.
    _verify_chain(chain, fleet_ca)
    return Issued(
        pem=write_certificates(chain).decode("ascii"),
        key_id=key_id,
        not_after_ms=not_after_ms(leaf),
        lifetime_ms=not_after_ms(leaf) - not_before_ms(leaf),
        serial=f"{leaf.serial_number:x}",
    )


def _verify_chain(chain: Sequence[x509.Certificate], fleet_ca: str) -> None:
    if certificate_sha256(chain[-1]) != fleet_ca:
        raise Untrusted(
            "The certificate is not under the fleet CA of the owner's policy.",
            reason="wrong_fleet_ca",
        )
    for below, above in pairwise(chain):
        try:
            below.verify_directly_issued_by(above)
        except (ValueError, TypeError, InvalidSignature) as e:
            raise Untrusted(
                "A certificate of the chain is not by the one above it.",
                reason="bad_certificate_chain",
            ) from e


def verify_server_ca(der: bytes, sha256: str) -> str:
    """Return the server's CA as PEM when it is the one that was pinned.

    Raises `Malformed` or `Untrusted`.
    """
    if hashlib.sha256(der).hexdigest() != sha256:
        raise Untrusted(
            "The server showed another CA than the owner named.", reason="wrong_server_ca"
        )
    return write_certificates([read_certificate_der(der)]).decode("ascii")
