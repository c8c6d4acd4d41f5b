"""The server's certificates: its own CA, and the issuing CA that the owner's fleet CA signs.

A stolen issuing CA can pose as a machine to this server; it can order no machine, and no
statement of a machine is believed because of a certificate.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.runtime.keys import FileSigner
from fleetward.runtime.x509 import (
    MAX_PEM_BYTES,
    Authority,
    SessionSpiffeId,
    SpiffeId,
    certificate_sha256,
    issue_device_certificate,
    issue_session_certificate,
    make_authority,
    make_request,
    new_key,
    not_after_ms,
    read_certificates,
    read_key,
    spki_der,
    write_certificates,
    write_key,
)
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.keys import PublicKey

SERVER_CA_DAYS: Final = 3650


@dataclass(frozen=True)
class IssuedCertificate:
    """A certificate for a machine's transport key, with the chain above it."""

    chain_pem: str
    serial: str
    not_after_ms: int


class CertificateAuthorities:
    """The two authorities of a server, kept in `folder` (0700)."""

    def __init__(self, folder: Path, now_ms: int) -> None:
        self._folder = folder
        self.server_ca = _load_or_make_server_ca(folder, now_ms)
        self._issuing_key = _load_or_make_key(folder / "issuing.key")

    @property
    def server_ca_sha256(self) -> str:
        """The hash that join strings carry."""
        return certificate_sha256(self.server_ca.certificate)

    @property
    def server_ca_pem(self) -> str:
        """The server CA's certificate."""
        return write_certificates([self.server_ca.certificate]).decode("ascii")

    @property
    def issuing_signer(self) -> FileSigner:
        """The issuing key as a signer: what a thief could try it for."""
        return FileSigner(self._issuing_key)

    def issuing_request(self) -> bytes:
        """Return the certificate request for the issuing CA, in DER, for the owner to sign."""
        return make_request(self._issuing_key, "Fleetward issuing CA")

    def check_chain(self, pem: str, fleet_ca: str) -> None:
        """Return when `pem` is our issuing certificate under the fleet CA that the policy names.

        Raises `Malformed` or `Untrusted`.
        """
        chain = read_certificates(pem.encode("ascii", errors="replace"))
        if len(chain) != 2:
            raise Malformed(
                "Expected the issuing certificate and the fleet CA.", reason="bad_issuing_chain"
            )
        issuing, root = chain
        if certificate_sha256(root) != fleet_ca:
            raise Untrusted(
                "The fleet CA is not the one that the policy names.", reason="wrong_fleet_ca"
            )
        public = issuing.public_key()
        ours = spki_der(self._issuing_key.public_key())
        if not isinstance(public, ec.EllipticCurvePublicKey) or spki_der(public) != ours:
            raise Untrusted(
                "The issuing certificate is for another server's key.", reason="wrong_issuing_key"
            )
        try:
            issuing.verify_directly_issued_by(root)
        except Exception as e:  # the library raises several kinds; all mean no
            raise Untrusted(
                "The fleet CA did not sign the issuing certificate.", reason="bad_issuing_chain"
            ) from e

    def issue(
        self, chain_pem: str, owner: str, device: str, transport: PublicKey, times: tuple[int, int]
    ) -> IssuedCertificate:  # fmt: skip
        """Return a certificate for a transport key, valid between the two `times` (Unix ms)."""
        chain, public = _check_parts(chain_pem, transport)
        certificate = issue_device_certificate(
            Authority(chain[0], self._issuing_key),
            public,
            spiffe_id=SpiffeId(owner, device),
            serial=_new_serial(),
            not_before_ms=times[0],
            not_after_ms=min(times[1], not_after_ms(chain[0])),
        )
        return _to_issued(certificate, chain)

    def issue_session(
        self, chain_pem: str, owner: str, session: str, transport: PublicKey, times: tuple[int, int]
    ) -> IssuedCertificate:  # fmt: skip
        """Return a certificate for the transport key of a session's requester, as `issue` does."""
        chain, public = _check_parts(chain_pem, transport)
        certificate = issue_session_certificate(
            Authority(chain[0], self._issuing_key),
            public,
            spiffe_id=SessionSpiffeId(owner, session),
            serial=_new_serial(),
            not_before_ms=times[0],
            not_after_ms=min(times[1], not_after_ms(chain[0])),
        )
        return _to_issued(certificate, chain)


def _check_parts(
    chain_pem: str, transport: PublicKey
) -> tuple[tuple[x509.Certificate, ...], ec.EllipticCurvePublicKey]:
    if not chain_pem:
        raise Refused("This server cannot issue certificates yet.", reason="no_owner")
    public = serialization.load_der_public_key(transport.spki)
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise Malformed("Expected a P-256 transport key.", reason="bad_key")
    return read_certificates(chain_pem.encode("ascii")), public


def _new_serial() -> int:
    return secrets.randbits(120) | 1 << 120


def _to_issued(
    certificate: x509.Certificate, chain: tuple[x509.Certificate, ...]
) -> IssuedCertificate:
    return IssuedCertificate(
        chain_pem=write_certificates([certificate, *chain]).decode("ascii"),
        serial=f"{certificate.serial_number:x}",
        not_after_ms=not_after_ms(certificate),
    )


def fleet_root(chain_pem: str) -> bytes:
    """Return the PEM of the fleet CA alone, which is all that the broker trusts for machines.

    The issuing CA must not be an anchor of its own: the owner's fleet CA bounds it.
    """
    if not chain_pem:
        return b""
    return write_certificates(read_certificates(chain_pem.encode("ascii"))[-1:])


def _load_or_make_server_ca(folder: Path, now_ms: int) -> Authority:
    certificate_file, key_file = folder / "server-ca.pem", folder / "server-ca.key"
    if certificate_file.exists():
        certificate = read_certificates(read_bounded(certificate_file, MAX_PEM_BYTES))[0]
        return Authority(certificate, read_key(read_bounded(key_file, MAX_PEM_BYTES)))
    authority = make_authority(
        "Fleetward server CA",
        not_before_ms=now_ms - BACKDATE_MS,
        days=SERVER_CA_DAYS,
        path_length=0,
    )
    atomic_write(key_file, write_key(authority.key))
    atomic_write(certificate_file, write_certificates([authority.certificate]), 0o644)
    return authority


def _load_or_make_key(path: Path) -> ec.EllipticCurvePrivateKey:
    if path.exists():
        return read_key(read_bounded(path, MAX_PEM_BYTES))
    key = new_key()
    atomic_write(path, write_key(key))
    return key


BACKDATE_MS: Final = 3_600_000
"""An hour: the clocks of owners, servers and machines differ."""
