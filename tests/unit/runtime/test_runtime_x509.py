"""Certificates: what they say, what they refuse to say."""

import datetime
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleetward.runtime.x509 import (
    Authority,
    SpiffeId,
    certificate_sha256,
    issue_device_certificate,
    issue_intermediate,
    issue_internal_certificate,
    issue_server_certificate,
    make_authority,
    make_request,
    new_key,
    not_after_ms,
    not_before_ms,
    read_certificate_der,
    read_certificates,
    read_key,
    read_spiffe_id,
    spki_der,
    verify_request,
    write_certificates,
    write_key,
)
from fleetward.trust.errors import Malformed, Misuse, Refused, Untrusted

NOW = 1_780_000_000_000
DAY = 86_400_000
OWNER = "0f" * 32
DEVICE = "abcdefghijklmnopqrstuvwxyz234567"


def fleet() -> Authority:
    root = make_authority("fleet CA", not_before_ms=NOW, days=3650, path_length=1)
    key = new_key()
    certificate = issue_intermediate(
        root, key.public_key(), "issuing CA", owner_id=OWNER, not_before_ms=NOW, days=365
    )
    certificate.verify_directly_issued_by(root.certificate)
    return Authority(certificate, key)


def device_certificate(issuing: Authority, *, ends: int = NOW + DAY) -> x509.Certificate:
    return issue_device_certificate(
        issuing,
        new_key().public_key(),
        spiffe_id=SpiffeId(OWNER, DEVICE),
        serial=7,
        not_before_ms=NOW,
        not_after_ms=ends,
    )


def signed_with_names(names: list[x509.GeneralName]) -> x509.Certificate:
    key = new_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    start = datetime.datetime.fromtimestamp(NOW // 1000, datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256())


def test_a_device_certificate_names_its_device_and_serves_tls_clients_only() -> None:
    issuing = fleet()
    certificate = device_certificate(issuing)
    certificate.verify_directly_issued_by(issuing.certificate)
    assert read_spiffe_id(certificate) == SpiffeId(OWNER, DEVICE)
    assert certificate.serial_number == 7
    assert (not_before_ms(certificate), not_after_ms(certificate)) == (NOW, NOW + DAY)
    extensions = certificate.extensions
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical and not basic.value.ca
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.digital_signature and not usage.value.key_cert_sign


def test_an_issuing_ca_is_bound_to_its_owner_and_makes_no_ca() -> None:
    extensions = fleet().certificate.extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    names = extensions.get_extension_for_class(x509.NameConstraints)
    assert names.critical
    assert names.value.permitted_subtrees == [x509.UniformResourceIdentifier(OWNER)]


def test_a_certificate_cannot_outlive_its_ca() -> None:
    with pytest.raises(Refused) as caught:
        device_certificate(fleet(), ends=NOW + 366 * DAY)
    assert caught.value.reason == "authority_ends_first"


@pytest.mark.parametrize(
    ("owner", "device"),
    [(OWNER.upper(), DEVICE), (OWNER[:-1], DEVICE), (OWNER, DEVICE[:-1]), (OWNER, DEVICE + "/x")],
)
def test_ids_of_another_shape_are_a_bug(owner: str, device: str) -> None:
    with pytest.raises(Misuse):
        issue_device_certificate(
            fleet(),
            new_key().public_key(),
            spiffe_id=SpiffeId(owner, device),
            serial=1,
            not_before_ms=NOW,
            not_after_ms=NOW + DAY,
        )


URI = f"spiffe://{OWNER}/device/{DEVICE}"


@pytest.mark.parametrize(
    "names",
    [
        [],
        [x509.DNSName("localhost")],
        [x509.UniformResourceIdentifier(URI), x509.DNSName("localhost")],
        [x509.UniformResourceIdentifier(URI), x509.UniformResourceIdentifier(URI)],
        [x509.UniformResourceIdentifier(URI + "/")],
        [x509.UniformResourceIdentifier(URI + "?x")],
        [x509.UniformResourceIdentifier(URI.replace("device", "server"))],
        [x509.UniformResourceIdentifier(URI.upper())],
        [x509.UniformResourceIdentifier("https://" + URI.removeprefix("spiffe://"))],
        [x509.UniformResourceIdentifier(URI + "\n")],
    ],
)
def test_only_one_exact_spiffe_name_makes_a_device(names: list[x509.GeneralName]) -> None:
    with pytest.raises(Malformed) as caught:
        read_spiffe_id(signed_with_names(names))
    assert caught.value.reason == "certificate_names_no_device"


def test_a_server_certificate_has_its_names_and_ninety_days() -> None:
    authority = make_authority("server CA", not_before_ms=NOW, days=3650, path_length=0)
    certificate = issue_server_certificate(
        authority,
        new_key().public_key(),
        names=("fleet.example.org", "127.0.0.1", "::1"),
        not_before_ms=NOW,
    )
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["fleet.example.org"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("127.0.0.1"),
        ipaddress.ip_address("::1"),
    ]
    assert not_after_ms(certificate) == NOW + 90 * DAY
    with pytest.raises(Misuse):
        issue_server_certificate(authority, new_key().public_key(), names=(), not_before_ms=NOW)


def test_an_internal_certificate_names_no_device() -> None:
    authority = make_authority("server CA", not_before_ms=NOW, days=3650, path_length=0)
    certificate = issue_internal_certificate(
        authority, new_key().public_key(), "intake", not_before_ms=NOW
    )
    with pytest.raises(Malformed):
        read_spiffe_id(certificate)


def test_a_request_gives_its_key() -> None:
    key = new_key()
    assert spki_der(verify_request(make_request(key, "x"))) == spki_der(key.public_key())


def test_a_request_must_be_signed_by_its_own_key() -> None:
    request = bytearray(make_request(new_key(), "x"))
    other = spki_der(new_key().public_key())
    at = bytes(request).index(other[:27])
    request[at : at + len(other)] = other
    with pytest.raises(Untrusted) as caught:
        verify_request(bytes(request))
    assert caught.value.reason == "possession_not_proven"


def test_a_request_of_another_kind_is_malformed() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    der = serialization.Encoding.DER
    requests = [
        b"",
        b"\x30\x80",
        make_request(new_key(), "x") + b"\x00",
        b"\x30" * 5000,
        builder.sign(ed25519.Ed25519PrivateKey.generate(), None).public_bytes(der),
        builder.sign(ec.generate_private_key(ec.SECP384R1()), hashes.SHA256()).public_bytes(der),
        builder.sign(new_key(), hashes.SHA512()).public_bytes(der),
    ]
    for request in requests:
        with pytest.raises(Malformed):
            verify_request(request)


def test_pem_round_trips_and_refuses_other_bytes() -> None:
    authority = make_authority("x", not_before_ms=NOW, days=1, path_length=0)
    pem = write_certificates([authority.certificate, authority.certificate])
    assert read_certificates(pem) == (authority.certificate, authority.certificate)
    der = authority.certificate.public_bytes(serialization.Encoding.DER)
    assert certificate_sha256(read_certificate_der(der)) == certificate_sha256(
        authority.certificate
    )
    assert spki_der(read_key(write_key(authority.key)).public_key()) == spki_der(
        authority.key.public_key()
    )
    for wrong in (b"", b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(Malformed):
            read_certificates(wrong)
        with pytest.raises(Malformed):
            read_key(wrong)
        with pytest.raises(Malformed):
            read_certificate_der(wrong)
