"""Notes: what is signed is read back, and a changed byte is noticed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetward.runtime.keys import make_key
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.keys import ED25519
from fleetward.trust.note import (
    Checkpoint,
    cosign,
    origin_of,
    read_checkpoint,
    sign_checkpoint,
    verify_checkpoint,
    verify_cosignature,
)

UNHURRIED = settings(deadline=None)
"""A shared machine is slow at times; what counts is the answer."""

LOG, WITNESS = make_key(ED25519), make_key(ED25519)
NAMES = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="+"),
    min_size=1,
    max_size=20,
)
ROOTS = st.binary(min_size=32, max_size=32)


@UNHURRIED
@given(NAMES, st.integers(0, 10**16 - 1), ROOTS, NAMES, st.integers(0, 2**40))
def test_round_trip(origin: str, size: int, root: bytes, witness: str, at_seconds: int) -> None:
    checkpoint = Checkpoint(origin=origin, size=size, root=root)
    note = cosign(sign_checkpoint(checkpoint, LOG), witness, WITNESS, at_seconds)
    assert verify_checkpoint(note, origin, LOG.public) == checkpoint
    assert verify_cosignature(note, witness, WITNESS.public) == at_seconds


ORIGIN = origin_of("ab" * 32, 3)
NOTE = sign_checkpoint(Checkpoint(origin=ORIGIN, size=77, root=bytes(range(32))), LOG)


@UNHURRIED
@given(st.integers(0, len(NOTE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused(place: int, mask: int) -> None:
    data = bytearray(NOTE)
    data[place] ^= mask
    try:
        verify_checkpoint(bytes(data), ORIGIN, LOG.public)
    except (Malformed, Untrusted):
        return
    raise AssertionError(f"byte {place} was changed and nobody noticed")


@UNHURRIED
@given(
    st.binary(max_size=80)
    | st.text(st.sampled_from("ab/1\n\u2014 +=A"), max_size=60).map(str.encode)
)
def test_whatever_comes_is_read_or_malformed(data: bytes) -> None:
    try:
        signed = read_checkpoint(data)
    except Malformed:
        return
    assert data.startswith(signed.checkpoint.text().encode() + b"\n")
