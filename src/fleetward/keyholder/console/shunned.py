"""Keys by which no phone may know the owner's console: the server's, the fleet's, a data folder's.

Who holds the server would otherwise hold a certificate for the owner's console, or could make one.
Keys are compared, not names: a certificate anew for the same key is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleetward.keyholder.folder import OwnerFolder
from fleetward.runtime.files import read_bounded
from fleetward.runtime.x509 import certificate_sha256, read_certificates
from fleetward.trust.errors import FleetwardError
from fleetward.trust.policy import Policy

OWNER_FILES: Final = ("server-ca.pem", "fleet-ca.pem", "issuing-chain.pem")
DATA_FOLDERS: Final = ("server/ca", "server/tls")
"""Where a server keeps its CA, its issuing key, and what its listeners show."""
DEFAULT_DATA: Final = "fleetward"
"""Below the home directory."""
MAX_FILES: Final = 64
_MAX_FILE_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class Shunned:
    """Keys (SubjectPublicKeyInfo) and certificates' hashes that must not vouch for the console."""

    keys: frozenset[bytes]
    certificates: frozenset[str]

    def find(self, chain: Iterable[x509.Certificate]) -> x509.Certificate | None:
        """Return the first certificate that is one of these, or was signed by one."""
        signers = [key for spki in self.keys if (key := _load(spki))]
        for certificate in chain:
            if (
                spki_of(certificate) in self.keys
                or certificate_sha256(certificate) in self.certificates
                or any(_has_signed(key, certificate) for key in signers)
            ):
                return certificate
        return None


def find_shunned(folder: OwnerFolder, policy: Policy, data_folders: Sequence[Path]) -> Shunned:
    """Return what is known of the server and the fleet: from the policy, and from the disk."""
    keys: set[bytes] = set()
    for name in OWNER_FILES:
        if folder.has(name):
            keys |= _keys_in(folder.path / name)
    for data in data_folders:
        for below in DATA_FOLDERS:
            for path in sorted((data / below).glob("*"))[:MAX_FILES]:
                keys |= _keys_in(path)
    roots = policy.roots
    return Shunned(frozenset(keys), frozenset({roots.server_ca, roots.fleet_ca}))


def data_folders_near(named: Path | None, files: Sequence[Path]) -> list[Path]:
    """Return the data folders of servers on this computer that are known of: the one that was
    named, the one in the usual place, and any in which one of the files lies."""
    found = [named] if named is not None else []
    found.append(Path.home() / DEFAULT_DATA)
    for path in files:
        found += [above for above in path.resolve().parents if (above / "server" / "ca").is_dir()]
    return found


def spki_of(certificate: x509.Certificate) -> bytes:
    """Return a certificate's key as SubjectPublicKeyInfo."""
    return certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _keys_in(path: Path) -> set[bytes]:
    """Return the public sides of all that a file holds; nothing for what is neither."""
    try:
        data = read_bounded(path, _MAX_FILE_BYTES)
    except FleetwardError:
        return set()
    try:
        return {spki_of(each) for each in read_certificates(data)}
    except FleetwardError:
        pass
    for load in (serialization.load_pem_private_key, serialization.load_der_private_key):
        try:
            public = load(data, None).public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
        return {
            public.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        }
    return set()


def _load(spki: bytes) -> ec.EllipticCurvePublicKey | None:
    """Return a key of Fleetward's own kind: every CA of it is P-256."""
    key = serialization.load_der_public_key(spki)
    return key if isinstance(key, ec.EllipticCurvePublicKey) else None


def _has_signed(key: ec.EllipticCurvePublicKey, certificate: x509.Certificate) -> bool:
    algorithm = certificate.signature_hash_algorithm
    if algorithm is None:
        return False
    try:
        key.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(algorithm))
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True
