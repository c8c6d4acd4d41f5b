"""Thresholds against a simple oracle, and signatures that never change their document."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.test_trust_canonical import VALUES
from tests.trust_world import strange_signature

from fleetward.runtime.keys import make_key
from fleetward.trust import canonical
from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.envelope import (
    Role,
    RoleKey,
    read_envelope,
    seal,
    signed_bytes,
    verify_single,
    verify_threshold,
)
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.keys import ED25519, ES256

UNHURRIED = settings(deadline=None)
"""A shared machine is slow at times; what counts is the answer."""


KIND = "fleetward.test.v1"
TYPES = [
    f"fleetward.{name}.v1"
    for name in (
        "owner-root", "owner-policy", "roster", "head", "lease", "invitation", "join", "renewal",
        "hello", "batch", "generation", "deed",
    )
]  # fmt: skip
SIGNERS = [make_key(ES256 if n % 2 else ED25519) for n in range(7)]
PAYLOAD: JsonObject = {"type": KIND, "value": 1}
RIGHT = [strange_signature(s, signed_bytes(PAYLOAD)) for s in SIGNERS]
WRONG = [strange_signature(s, b"another message") for s in SIGNERS]


@UNHURRIED
@given(
    people=st.lists(st.sampled_from(["ada", "ben", "cleo"]), min_size=1, max_size=5),
    threshold=st.integers(1, 4),
    signed=st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from([True, True, True, False])),
        max_size=7,
        unique_by=lambda s: s[0],
    ),
)
def test_thresholds_count_people(
    people: list[str], threshold: int, signed: list[tuple[int, bool]]
) -> None:
    """Key n belongs to people[n]; keys beyond are strangers'."""
    role = Role(
        name="test",
        keys={
            SIGNERS[n].public.key_id: RoleKey(key=SIGNERS[n].public, person=person)
            for n, person in enumerate(people)
        },
        threshold=threshold,
    )
    signatures: list[Json] = [RIGHT[n] if good else WRONG[n] for n, good in signed]
    data = canonical.encode({"payload": PAYLOAD, "signatures": signatures})
    known = [(n, good) for n, good in signed if n < len(people)]
    counted = {people[n] for n, good in known if good}
    try:
        found = verify_threshold(read_envelope(data), KIND, role)
    except Untrusted as e:
        if e.reason == "bad_signature":
            assert any(not good for _, good in known)
        else:
            assert e.reason == "too_few_signatures"
            assert len(counted) < threshold
    else:
        assert all(good for _, good in known)
        assert found == tuple(sorted(counted))
        assert len(found) >= threshold


@UNHURRIED
@given(
    before=st.sampled_from(TYPES),
    after=st.sampled_from(TYPES),
    body=st.dictionaries(st.sampled_from(["a", "owner", "version"]), VALUES, max_size=2),
    signer=st.sampled_from(SIGNERS),
)
def test_no_signature_serves_for_another_type(
    before: str, after: str, body: JsonObject, signer: object
) -> None:
    key = next(s for s in SIGNERS if s is signer)
    signature = strange_signature(key, signed_bytes({**body, "type": before}))
    moved = canonical.encode({"payload": {**body, "type": after}, "signatures": [signature]})
    try:
        verify_single(read_envelope(moved), after, key.public)
    except Untrusted as e:
        assert (e.reason, before == after) == ("bad_signature", False)
    else:
        assert before == after


@UNHURRIED
@given(st.lists(st.tuples(st.sampled_from(TYPES), VALUES), min_size=2, max_size=6))
def test_what_is_signed_is_never_the_same_for_two_payloads(
    pairs: Sequence[tuple[str, Json]],
) -> None:
    payloads: list[JsonObject] = [{"type": kind, "value": value} for kind, value in pairs]
    different = {canonical.encode(p) for p in payloads}
    assert len({signed_bytes(p) for p in payloads}) == len(different)


ENVELOPE = seal(PAYLOAD, SIGNERS[:1])


@UNHURRIED
@given(st.integers(0, len(ENVELOPE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused(place: int, mask: int) -> None:
    data = bytearray(ENVELOPE)
    data[place] ^= mask
    try:
        verify_single(read_envelope(bytes(data)), KIND, SIGNERS[0].public)
    except (Malformed, Untrusted):
        return
    raise AssertionError(f"byte {place} was changed and nobody noticed")
