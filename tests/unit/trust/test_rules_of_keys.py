"""Public keys: one spelling, known suites, points that only their holder can sign for."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from tests.trust_world import refused

from fleetward.runtime.keys import FileSigner, make_key
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.keys import (
    ED25519,
    ES256,
    SUITES,
    key_id_of,
    public_key_of,
    read_key_fields,
    read_public_key,
    read_signature,
)

ED25519_PREFIX = bytes.fromhex("302a300506032b6570032100")
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
FIELD = 2**255 - 19
D = -121665 * pow(121666, -1, FIELD) % FIELD


def spki(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | x25519.X25519PublicKey
         | rsa.RSAPublicKey) -> bytes:  # fmt: skip
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.parametrize("suite", SUITES)
def test_a_key_verifies_its_own_signature_and_no_other(suite: str) -> None:
    signer, other = make_key(suite), make_key(suite)
    signature = signer.sign(b"message")
    signer.public.verify(signature, b"message")
    for key, value, message in [
        (other.public, signature, b"message"),
        (signer.public, signature, b"messagE"),
        (signer.public, bytes(64), b"message"),
        (signer.public, b"\xff" * 64, b"message"),
        (signer.public, signature[:-1], b"message"),
        (signer.public, signature + b"\x00", b"message"),
        (signer.public, b"", b"message"),
    ]:
        with refused(Untrusted, "bad_signature"):
            key.verify(value, message)


def test_a_key_id_is_the_base32_of_the_spki_hash() -> None:
    key = make_key(ES256).public
    expected = base64.b32encode(hashlib.sha256(key.spki).digest()[:20]).decode().lower()
    assert key.key_id == key_id_of(key.spki) == expected
    assert len(key.key_id) == 32


def test_another_algorithm_curve_or_suite_is_refused() -> None:
    p384 = ec.generate_private_key(ec.SECP384R1()).public_key()
    k256 = ec.generate_private_key(ec.SECP256K1()).public_key()
    x = x25519.X25519PrivateKey.generate().public_key()
    for key in (p384, k256, x):
        with refused(Malformed, "bad_key"):
            read_public_key(ES256, spki(key))
    with refused(Malformed, "bad_key"):
        read_public_key(ED25519, make_key(ES256).public.spki)
    with refused(Malformed, "bad_key"):
        read_public_key(ES256, make_key(ED25519).public.spki)
    with refused(Malformed, "unknown_suite"):
        read_public_key("rs256", make_key(ES256).public.spki)
    with refused(Malformed, "bad_key"):
        read_public_key(ES256, bytes(129))
    with refused(Malformed, "bad_key"):
        public_key_of(p384)


def test_another_spelling_of_a_key_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )
    usual = spki(key)
    compressed = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point
    assert serialization.load_der_public_key(compressed) == key
    for strange in (compressed, usual + b"\x00", usual[:-1], b"", b"\x30\x00"):
        with refused(Malformed, "bad_key"):
            read_public_key(ES256, strange)


def test_a_point_off_the_curve_is_refused() -> None:
    usual = bytearray(make_key(ES256).public.spki)
    usual[-1] ^= 1
    with refused(Malformed, "bad_key"):
        read_public_key(ES256, bytes(usual))


def small_order_points() -> list[bytes]:
    """All encodings of points P of edwards25519 with 8P = 0, found by arithmetic, not copied."""

    def add(p: tuple[int, int], q: tuple[int, int]) -> tuple[int, int]:
        (a, b), (c, d) = p, q
        t = D * a * b * c * d % FIELD
        return (
            (a * d + b * c) * pow(1 + t, -1, FIELD) % FIELD,
            (b * d + a * c) * pow(1 - t, -1, FIELD) % FIELD,
        )

    def of_y(y: int) -> tuple[int, int] | None:
        square = (y * y - 1) * pow(D * y * y + 1, -1, FIELD) % FIELD
        x = pow(square, (FIELD + 3) // 8, FIELD)
        if x * x % FIELD != square:
            x = x * pow(2, (FIELD - 1) // 4, FIELD) % FIELD
        return (x, y) if x * x % FIELD == square else None

    group_order = 2**252 + 27742317777372353535851937790883648493
    for y in range(2, 100):
        point, torsion, factor = of_y(y), (0, 1), group_order
        while point and factor:
            torsion = add(torsion, point) if factor & 1 else torsion
            point, factor = add(point, point), factor >> 1
        multiples, step = {torsion}, torsion
        while (step := add(step, torsion)) not in multiples:
            multiples.add(step)
        if len(multiples) == 8:
            return [
                ((y2 | sign << 255) % 2**256).to_bytes(32, "little")
                for _, y2 in multiples
                for sign in (0, 1)
            ]
    raise AssertionError("some small y has full torsion")


def test_keys_that_fit_signatures_nobody_made_are_refused() -> None:
    points = small_order_points()
    assert len(set(points)) == 10
    forged = (1).to_bytes(32, "little") + bytes(32)
    for raw in points:
        # The library itself takes such a key, and the constant signature over many messages.
        weak = ed25519.Ed25519PublicKey.from_public_bytes(raw)
        fitting = 0
        for number in range(200):
            try:
                weak.verify(forged, b"%d" % number)
                fitting += 1
            except InvalidSignature:
                pass
        assert fitting > 0
        with refused(Malformed, "bad_key"):
            read_public_key(ED25519, ED25519_PREFIX + raw)


@pytest.mark.parametrize("y", [FIELD, FIELD + 1, FIELD + 3, 2**255 - 1])
def test_a_point_in_a_long_spelling_is_refused(y: int) -> None:
    with refused(Malformed, "bad_key"):
        read_public_key(ED25519, ED25519_PREFIX + y.to_bytes(32, "little"))


def test_the_twin_of_an_ecdsa_signature_changes_no_hash() -> None:
    """ECDSA admits (r, n - s) beside (r, s). So no hash or id of ours covers a signature alone."""
    signer = FileSigner(ec.generate_private_key(ec.SECP256R1()))
    signature = signer.sign(b"message")
    s = int.from_bytes(signature[32:], "big")
    twin = signature[:32] + (P256_ORDER - s).to_bytes(32, "big")
    signer.public.verify(twin, b"message")
    too_large = signature[:32] + min(s + P256_ORDER, 2**256 - 1).to_bytes(32, "big")
    with refused(Untrusted, "bad_signature"):
        signer.public.verify(too_large, b"message")


def test_key_fields_must_name_their_own_id() -> None:
    key, other = make_key(ED25519).public, make_key(ED25519).public
    names = {"key_id", "public", "suite"}
    assert read_key_fields(Fields(key.to_json(), "a key", names)) == key
    with refused(Malformed, "bad_key_id"):
        read_key_fields(Fields({**key.to_json(), "key_id": other.key_id}, "a key", names))


def test_signature_text_has_64_bytes() -> None:
    assert read_signature("A" * 86) == bytes(64)
    with refused(Malformed, "bad_signature_length"):
        read_signature("A" * 84)
    with refused(Malformed, "not_base64url"):
        read_signature("A" * 85)


def test_raw_signatures_have_full_width() -> None:
    key = ec.derive_private_key(7, ec.SECP256R1())
    for number in range(300):  # some r or s begins with a zero byte
        message = b"%d" % number
        signature = FileSigner(key).sign(message)
        assert len(signature) == 64
        FileSigner(key).public.verify(signature, message)
    assert isinstance(key.curve, ec.SECP256R1)
    assert hashes.SHA256().digest_size == 32
