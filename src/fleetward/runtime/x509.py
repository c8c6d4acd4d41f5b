"""Certificates: the server's own CA, the fleet's CA, and what they issue.

Two trees that never meet:

    server CA  ->  TLS server certificate; certificates of the server's own bus connections
    fleet CA   ->  issuing CA (held by the server)  ->  device certificates

A certificate opens a TLS connection and nothing else: no statement of a machine is believed
because of one. All keys are P-256 and all signatures SHA-256. Times are arguments, in Unix
milliseconds, and are cut to whole seconds, which is all that a certificate can hold.

    authority = make_authority("Fleetward server CA", not_before_ms=now, days=3650, path_length=0)
    key = new_key()
    certificate = issue_server_certificate(
        authority, key.public_key(), names=("localhost", "127.0.0.1"), not_before_ms=now
    )
"""

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleetward.trust.errors import Malformed, Misuse, Refused, Untrusted

SERVER_CERTIFICATE_DAYS: Final = 90
"""Renewed by the program at half of it."""
MAX_REQUEST_BYTES: Final = 4096
"""A P-256 request has about 300 bytes."""
MAX_PEM_BYTES: Final = 256 * 1024
"""A bundle of a few hundred CA certificates."""
MAX_COMMON_NAME: Final = 64
"""RFC 5280, ub-common-name."""

_SPIFFE: Final = re.compile(r"spiffe://([0-9a-f]{64})/device/([a-z2-7]{32})")
_SESSION_SPIFFE: Final = re.compile(r"spiffe://([0-9a-f]{64})/session/([0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """Whom a device certificate names."""

    owner_id: str
    device_id: str

    @property
    def uri(self) -> str:
        return f"spiffe://{self.owner_id}/device/{self.device_id}"


@dataclass(frozen=True, slots=True)
class SessionSpiffeId:
    """Which session the certificate of a requester names. It names no machine."""

    owner_id: str
    session: str

    @property
    def uri(self) -> str:
        return f"spiffe://{self.owner_id}/session/{self.session}"


@dataclass(frozen=True, slots=True)
class _Profile:
    """What differs between the kinds of certificate."""

    subject: str
    issuer: x509.Name | None
    not_before_ms: int
    not_after_ms: int
    serial: int
    extensions: tuple[tuple[x509.ExtensionType, bool], ...]


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def make_authority(
    common_name: str,
    *,
    not_before_ms: int,
    days: int,
    path_length: int,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Authority:
    """A self-signed CA, with a fresh key unless one is given. `path_length` counts CAs below it."""
    key = new_key() if key is None else key
    profile = _Profile(
        common_name,
        None,
        not_before_ms,
        _days_later(not_before_ms, days),
        x509.random_serial_number(),
        _ca_extensions(path_length),
    )
    return Authority(_sign(profile, key.public_key(), key, key.public_key()), key)


def issue_intermediate(
    authority: Authority,
    public_key: ec.EllipticCurvePublicKey,
    common_name: str,
    *,
    owner_id: str,
    not_before_ms: int,
    days: int,
) -> x509.Certificate:
    """An issuing CA that can name devices of this owner only, and can make no CA below it.

    Raises `Misuse` for an owner id of another shape, `Refused` when it would outlive its issuer.
    """
    if re.fullmatch(r"[0-9a-f]{64}", owner_id) is None:
        raise Misuse(
            f"an owner id is 64 hex digits; {owner_id!r} came", reason="owner_id_malformed"
        )
    own_devices = x509.NameConstraints([x509.UniformResourceIdentifier(owner_id)], None)
    profile = _Profile(
        common_name,
        authority.certificate.subject,
        not_before_ms,
        _days_later(not_before_ms, days),
        x509.random_serial_number(),
        (*_ca_extensions(0), (own_devices, True)),
    )
    return _sign_below(authority, profile, public_key)


def issue_server_certificate(
    authority: Authority,
    public_key: ec.EllipticCurvePublicKey,
    *,
    names: Sequence[str],
    not_before_ms: int,
    days: int = SERVER_CERTIFICATE_DAYS,
) -> x509.Certificate:
    """A TLS server certificate for these DNS names and IP addresses.

    Raises `Misuse` when there is no name or one is neither, `Refused` when it would outlive the CA.
    """
    if not names:
        raise Misuse("a server certificate needs a name or address", reason="names_missing")
    profile = _Profile(
        names[0][:MAX_COMMON_NAME],
        authority.certificate.subject,
        not_before_ms,
        _days_later(not_before_ms, days),
        x509.random_serial_number(),
        (
            *_leaf_extensions(ExtendedKeyUsageOID.SERVER_AUTH),
            (x509.SubjectAlternativeName([_general_name(name) for name in names]), False),
        ),
    )
    return _sign_below(authority, profile, public_key)


def issue_internal_certificate(
    authority: Authority,
    public_key: ec.EllipticCurvePublicKey,
    name: str,
    *,
    not_before_ms: int,
    days: int = SERVER_CERTIFICATE_DAYS,
) -> x509.Certificate:
    """A TLS client certificate for a part of the server itself. It names no device.

    Raises `Refused` when it would outlive the CA.
    """
    profile = _Profile(
        name,
        authority.certificate.subject,
        not_before_ms,
        _days_later(not_before_ms, days),
        x509.random_serial_number(),
        _leaf_extensions(ExtendedKeyUsageOID.CLIENT_AUTH),
    )
    return _sign_below(authority, profile, public_key)


def issue_device_certificate(
    issuing: Authority,
    public_key: ec.EllipticCurvePublicKey,
    *,
    spiffe_id: SpiffeId,
    serial: int,
    not_before_ms: int,
    not_after_ms: int,
) -> x509.Certificate:
    """The certificate of a transport key, naming its device by one SPIFFE URI and nothing else.

    Raises `Misuse` for ids of another shape, `Refused` when it would outlive the issuing CA.
    """
    if _SPIFFE.fullmatch(spiffe_id.uri) is None:
        raise Misuse(f"ids of another shape: {spiffe_id.uri!r}", reason="spiffe_malformed")
    profile = _Profile(
        spiffe_id.device_id,
        issuing.certificate.subject,
        not_before_ms,
        not_after_ms,
        serial,
        _named_by(spiffe_id.uri),
    )
    return _sign_below(issuing, profile, public_key)


def issue_session_certificate(
    issuing: Authority,
    public_key: ec.EllipticCurvePublicKey,
    *,
    spiffe_id: SessionSpiffeId,
    serial: int,
    not_before_ms: int,
    not_after_ms: int,
) -> x509.Certificate:
    """The certificate with which the requester of one session comes to the bus.

    Raises `Misuse` for ids of another shape, `Refused` when it would outlive the issuing CA.
    """
    if _SESSION_SPIFFE.fullmatch(spiffe_id.uri) is None:
        raise Misuse(f"ids of another shape: {spiffe_id.uri!r}", reason="spiffe_malformed")
    profile = _Profile(
        f"session {spiffe_id.session}",
        issuing.certificate.subject,
        not_before_ms,
        not_after_ms,
        serial,
        _named_by(spiffe_id.uri),
    )
    return _sign_below(issuing, profile, public_key)


def make_request(key: ec.EllipticCurvePrivateKey, common_name: str) -> bytes:
    """A certificate request (PKCS#10, DER) that proves possession of the key."""
    request = x509.CertificateSigningRequestBuilder().subject_name(_name(common_name))
    return request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def verify_request(der: bytes) -> ec.EllipticCurvePublicKey:
    """The key of a certificate request, after checking that its sender holds it.

    Nothing but the key is taken from the request: names and extensions are the issuer's choice.
    Raises `Malformed` for other bytes, `Untrusted` when the signature is not by that key.
    """
    if len(der) > MAX_REQUEST_BYTES:
        raise _bad_request(f"{len(der)} bytes")
    try:
        request = x509.load_der_x509_csr(der)
        key = request.public_key()
        valid = request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as e:
        raise _bad_request("other bytes") from e
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _bad_request("a key of another kind")
    if not isinstance(request.signature_hash_algorithm, hashes.SHA256):
        raise _bad_request("a signature of another kind")
    if not valid:
        raise Untrusted(
            "expected a request signed by the key in it; it is not; make a new request",
            reason="possession_not_proven",
        )
    return key


def read_spiffe_id(certificate: x509.Certificate) -> SpiffeId:
    """The owner and device that a certificate names.

    Strict: exactly one alternative name, a SPIFFE URI of our shape. Raises `Malformed` otherwise.
    The signature is not checked here.
    """
    uri = _read_only_uri(certificate)
    matched = _SPIFFE.fullmatch(uri)
    if matched is None:
        raise _not_a_device(repr(uri[:160]))
    return SpiffeId(owner_id=matched[1], device_id=matched[2])


def read_peer_id(certificate: x509.Certificate) -> SpiffeId | SessionSpiffeId:
    """The device, or the session, that a certificate names. Strict as `read_spiffe_id`."""
    matched = _SESSION_SPIFFE.fullmatch(_read_only_uri(certificate))
    if matched is None:
        return read_spiffe_id(certificate)
    return SessionSpiffeId(owner_id=matched[1], session=matched[2])


def certificate_sha256(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate's DER, in hex: what `up` prints and join strings carry."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def spki_der(key: ec.EllipticCurvePublicKey) -> bytes:
    """The key as SubjectPublicKeyInfo DER."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def not_after_ms(certificate: x509.Certificate) -> int:
    """The end of a certificate, in Unix milliseconds."""
    return int(certificate.not_valid_after_utc.timestamp()) * 1000


def not_before_ms(certificate: x509.Certificate) -> int:
    """The beginning of a certificate, in Unix milliseconds."""
    return int(certificate.not_valid_before_utc.timestamp()) * 1000


def write_certificates(certificates: Iterable[x509.Certificate]) -> bytes:
    """A PEM bundle in the order given."""
    return b"".join(item.public_bytes(serialization.Encoding.PEM) for item in certificates)


def read_certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM bundle, at least one. Raises `Malformed`."""
    if len(pem) > MAX_PEM_BYTES:
        raise _bad_pem(f"{len(pem)} bytes")
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as e:
        raise _bad_pem("other bytes") from e


def read_certificate_der(der: bytes) -> x509.Certificate:
    """One certificate from DER. Raises `Malformed`."""
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as e:
        raise _bad_pem("other bytes") from e


def write_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS#8 PEM without a passphrase, for a file that only its program can read."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def read_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """A P-256 key from PKCS#8 PEM. Raises `Malformed`."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise _bad_key() from e
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _bad_key()
    return key


def _sign_below(
    authority: Authority, profile: _Profile, public_key: ec.EllipticCurvePublicKey
) -> x509.Certificate:
    end = not_after_ms(authority.certificate)
    if profile.not_after_ms > end:
        raise Refused(
            f"a certificate must end before its CA does ({_moment(end).isoformat()}); "
            f"{_moment(profile.not_after_ms).isoformat()} was asked for; renew the CA first",
            reason="authority_ends_first",
        )
    return _sign(profile, public_key, authority.key, authority.key.public_key())


def _sign(
    profile: _Profile,
    public_key: ec.EllipticCurvePublicKey,
    signing_key: ec.EllipticCurvePrivateKey,
    signing_public: ec.EllipticCurvePublicKey,
) -> x509.Certificate:
    if profile.not_after_ms <= profile.not_before_ms or profile.serial <= 0:
        raise Misuse("a certificate needs a length and a serial", reason="certificate_malformed")
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(profile.subject))
        .issuer_name(_name(profile.subject) if profile.issuer is None else profile.issuer)
        .public_key(public_key)
        .serial_number(profile.serial)
        .not_valid_before(_moment(profile.not_before_ms))
        .not_valid_after(_moment(profile.not_after_ms))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_public), critical=False
        )
    )
    for extension, critical in profile.extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signing_key, hashes.SHA256())


def _ca_extensions(path_length: int) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    return (
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (_key_usage(certificate_signing=True), True),
    )


def _leaf_extensions(purpose: x509.ObjectIdentifier) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    return (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(certificate_signing=False), True),
        (x509.ExtendedKeyUsage([purpose]), False),
    )


def _named_by(uri: str) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    """Return the extensions of a client whom one URI names and nothing else."""
    return (
        *_leaf_extensions(ExtendedKeyUsageOID.CLIENT_AUTH),
        (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), False),
    )


def _read_only_uri(certificate: x509.Certificate) -> str:
    """Return the only alternative name, which is a URI. Raises `Malformed`."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (
        ValueError,
        x509.ExtensionNotFound,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ) as e:
        raise _not_a_device("no readable alternative name") from e
    listed = list(names)
    if len(listed) != 1 or not isinstance(listed[0], x509.UniformResourceIdentifier):
        raise _not_a_device(f"{len(listed)} alternative names")
    return listed[0].value


def _key_usage(*, certificate_signing: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificate_signing,
        key_cert_sign=certificate_signing,
        crl_sign=certificate_signing,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as e:
        raise Misuse(f"neither a DNS name nor an address: {name!r}", reason="name_malformed") from e


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC)


def _days_later(milliseconds: int, days: int) -> int:
    return milliseconds + int(timedelta(days=days).total_seconds()) * 1000


def _bad_request(came: str) -> Malformed:
    return Malformed(
        f"expected a certificate request of a P-256 key, signed with SHA-256; {came} came; "
        "make a new request",
        reason="request_malformed",
    )


def _not_a_device(came: str) -> Malformed:
    return Malformed(
        f"expected one name, spiffe://<owner id>/device/<device id>; {came} came; join again",
        reason="certificate_names_no_device",
    )


def _bad_pem(came: str) -> Malformed:
    return Malformed(
        f"expected X.509 certificates; {came} came; restore the file or make it anew",
        reason="certificate_malformed",
    )


def _bad_key() -> Malformed:
    return Malformed(
        "expected a P-256 key as PKCS#8 PEM; other bytes came; restore the file or make it anew",
        reason="key_malformed",
    )
