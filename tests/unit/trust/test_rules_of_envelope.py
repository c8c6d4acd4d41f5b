"""The signed envelope: its six rules, each broken alone."""

from __future__ import annotations

import hashlib

import pytest
from tests.trust_world import refused, strange_signature

from fleetward.runtime.keys import FileSigner, make_key
from fleetward.trust import canonical
from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.envelope import (
    MAX_ENVELOPE_BYTES,
    MAX_SIGNATURES,
    SIGNED_PREFIX,
    Role,
    RoleKey,
    add_signatures,
    document_hash,
    read_envelope,
    require_type,
    seal,
    signed_bytes,
    verify_single,
    verify_threshold,
)
from fleetward.trust.errors import Malformed, Misuse, Untrusted
from fleetward.trust.keys import ED25519, ES256

KIND = "fleetward.test.v1"
PAYLOAD: JsonObject = {"type": KIND, "value": 1}


def role_of(threshold: int, **people: list[FileSigner]) -> Role:
    keys = {
        signer.public.key_id: RoleKey(key=signer.public, person=person)
        for person, signers in people.items()
        for signer in signers
    }
    return Role(name="test", keys=keys, threshold=threshold)


def with_signatures(payload: JsonObject, signatures: list[Json]) -> bytes:
    return canonical.encode({"payload": payload, "signatures": signatures})


# Rule 1.


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"payload": PAYLOAD}, "missing_field"),
        ({"payload": PAYLOAD, "signatures": [], "extra": 1}, "unknown_field"),
        ({"payload": [], "signatures": []}, "bad_field"),
        ({"payload": PAYLOAD, "signatures": {}}, "bad_field"),
        ({"payload": PAYLOAD, "signatures": [{}]}, "missing_field"),
        ({"payload": {"value": 1}, "signatures": []}, "bad_type_string"),
        ({"payload": {"type": 1}, "signatures": []}, "bad_type_string"),
        ({"payload": {"type": "other.v1"}, "signatures": []}, "bad_type_string"),
        ({"payload": {"type": "fleetward."}, "signatures": []}, "bad_type_string"),
        ({"payload": {"type": "fleetward.a\x00b"}, "signatures": []}, "bad_type_string"),
        ({"payload": {"type": "fleetward.A"}, "signatures": []}, "bad_type_string"),
        ({"payload": {"type": "fleetward." + "a" * 55}, "signatures": []}, "bad_type_string"),
    ],
)
def test_an_envelope_has_exactly_its_fields(value: JsonObject, reason: str) -> None:
    with refused(Malformed, reason):
        read_envelope(canonical.encode(value))


def test_an_envelope_is_bounded() -> None:
    with refused(Malformed, "too_large"):
        read_envelope(b" " * (MAX_ENVELOPE_BYTES + 1))
    crowd = [strange_signature(make_key(ED25519), b"") for _ in range(MAX_SIGNATURES + 1)]
    with refused(Malformed, "bad_field"):
        read_envelope(with_signatures(PAYLOAD, list(crowd)))
    assert len(read_envelope(with_signatures(PAYLOAD, list(crowd[1:]))).signatures) == 32


# Rule 2 and 3.


def test_what_is_signed_names_the_type_twice() -> None:
    expected = SIGNED_PREFIX + KIND.encode() + b"\x00" + b'{"type":"fleetward.test.v1","value":1}'
    assert signed_bytes(PAYLOAD) == expected
    assert document_hash(PAYLOAD) == hashlib.sha256(expected).hexdigest()
    envelope = read_envelope(seal(PAYLOAD, []))
    assert (envelope.signed_bytes, envelope.hash) == (expected, document_hash(PAYLOAD))


def test_signatures_are_no_part_of_the_hash() -> None:
    a, b = make_key(ED25519), make_key(ES256)
    hashes = {read_envelope(seal(PAYLOAD, s)).hash for s in ([], [a], [b], [a, b])}
    assert hashes == {document_hash(PAYLOAD)}


def test_a_signature_does_not_serve_for_another_type() -> None:
    signer = make_key(ED25519)
    role = role_of(1, ada=[signer])
    other: JsonObject = {**PAYLOAD, "type": "fleetward.other.v1"}
    moved = with_signatures(other, [strange_signature(signer, signed_bytes(PAYLOAD))])
    with refused(Untrusted, "bad_signature"):
        verify_threshold(read_envelope(moved), "fleetward.other.v1", role)
    with refused(Malformed, "wrong_type"):
        verify_threshold(read_envelope(moved), KIND, role)


@pytest.mark.parametrize(
    "payload", [{}, {"type": 1}, {"type": "x"}, {"type": "fleetward.\u00e4"}, []]
)
def test_a_payload_without_a_type_is_our_bug(payload: Json) -> None:
    with refused(Misuse, "no_type"):
        signed_bytes(payload)


# Rule 4.


def test_each_key_signs_once() -> None:
    signer = make_key(ED25519)
    signature = strange_signature(signer, signed_bytes(PAYLOAD))
    with refused(Malformed, "duplicate_signature"):
        read_envelope(with_signatures(PAYLOAD, [signature, dict(signature)]))


def test_a_stranger_neither_counts_nor_harms() -> None:
    ada, stranger = make_key(ED25519), make_key(ES256)
    role = role_of(1, ada=[ada])
    bad = strange_signature(stranger, b"something else")
    good = strange_signature(ada, signed_bytes(PAYLOAD))
    assert verify_threshold(read_envelope(with_signatures(PAYLOAD, [bad, good])), KIND, role) == (
        "ada",
    )
    with refused(Untrusted, "too_few_signatures"):
        verify_threshold(read_envelope(with_signatures(PAYLOAD, [bad])), KIND, role)


# Rule 5.


def test_two_keys_of_one_person_are_one() -> None:
    first, second, bens = make_key(ED25519), make_key(ES256), make_key(ES256)
    role = role_of(2, ada=[first, second], ben=[bens])
    with refused(Untrusted, "too_few_signatures"):
        verify_threshold(read_envelope(seal(PAYLOAD, [first, second])), KIND, role)
    both = verify_threshold(read_envelope(seal(PAYLOAD, [second, bens])), KIND, role)
    assert both == ("ada", "ben")


def test_no_signature_is_too_few() -> None:
    with refused(Untrusted, "too_few_signatures"):
        verify_threshold(read_envelope(seal(PAYLOAD, [])), KIND, role_of(1, ada=[make_key(ES256)]))


# Rule 6.


def test_a_wrong_signature_by_a_known_key_refuses_although_enough_are_right() -> None:
    ada, ben = make_key(ED25519), make_key(ED25519)
    role = role_of(1, ada=[ada], ben=[ben])
    good = strange_signature(ada, signed_bytes(PAYLOAD))
    bad = strange_signature(ben, b"something else")
    for order in ([good, bad], [bad, good]):
        with refused(Untrusted, "bad_signature"):
            verify_threshold(read_envelope(with_signatures(PAYLOAD, list(order))), KIND, role)


def test_a_signature_names_the_suite_of_its_key() -> None:
    ada = make_key(ED25519)
    lying = {**strange_signature(ada, signed_bytes(PAYLOAD)), "suite": ES256}
    envelope = read_envelope(with_signatures(PAYLOAD, [lying]))
    with refused(Untrusted, "bad_suite"):
        verify_threshold(envelope, KIND, role_of(1, ada=[ada]))
    with refused(Untrusted, "bad_suite"):
        verify_single(envelope, KIND, ada.public)


# One signer.


def test_a_statement_has_one_signature_by_its_own_key() -> None:
    ada, ben = make_key(ES256), make_key(ES256)
    verify_single(read_envelope(seal(PAYLOAD, [ada])), KIND, ada.public)
    for signers in ([], [ben], [ada, ben], [ben, ada]):
        with refused(Untrusted, "wrong_signer"):
            verify_single(read_envelope(seal(PAYLOAD, signers)), KIND, ada.public)
    with refused(Malformed, "wrong_type"):
        verify_single(read_envelope(seal(PAYLOAD, [ada])), "fleetward.other.v1", ada.public)
    forged = {**strange_signature(ben, signed_bytes(PAYLOAD)), "key_id": ada.public.key_id}
    with refused(Untrusted, "bad_signature"):
        verify_single(read_envelope(with_signatures(PAYLOAD, [forged])), KIND, ada.public)


def test_signatures_are_added_and_replaced() -> None:
    ada, ben = make_key(ED25519), make_key(ES256)
    role = role_of(2, ada=[ada], ben=[ben])
    once = read_envelope(seal(PAYLOAD, [ada]))
    twice = read_envelope(add_signatures(once, [ben]))
    assert verify_threshold(twice, KIND, role) == ("ada", "ben")
    again = read_envelope(add_signatures(twice, [ada]))
    assert len(again.signatures) == 2
    assert again.hash == once.hash
    require_type(again, KIND)
