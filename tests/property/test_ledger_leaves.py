"""The quick way of reading a batch header gives what the long way gives, whatever comes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetward.runtime.keys import make_key
from fleetward.trust.envelope import verify_single
from fleetward.trust.errors import FleetwardError
from fleetward.trust.journal import (
    BATCH_TYPE,
    NO_CHECKPOINT,
    BatchHeader,
    SeenCheckpoint,
    make_batch_header,
    read_batch_header,
)
from fleetward.trust.keys import ES256
from fleetward.trust.ledger_leaves import BATCH, LeafReader

KEY = make_key(ES256)
OWNER = "ab" * 32
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
NUMBERS = st.integers(min_value=0, max_value=2**53 - 1)
READER = LeafReader(OWNER, {KEY.public.key_id: KEY.public})


SEEN = st.builds(SeenCheckpoint, NUMBERS, NUMBERS, DIGESTS)


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    first = draw(st.integers(min_value=1, max_value=2**53 - 1000))
    boot = draw(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=64))
    header = BatchHeader(
        device=KEY.public.key_id,
        owner=OWNER,
        boot=boot,
        first=first,
        last=first + draw(st.integers(min_value=0, max_value=999)),
        previous=draw(DIGESTS),
        head=draw(DIGESTS),
        checkpoint=draw(st.one_of(st.just(NO_CHECKPOINT), SEEN)),
        hash="",
        raw=b"",
    )
    return make_batch_header(header, KEY)


def agrees(leaf: bytes) -> None:
    """Assert that the reader says of a batch what `journal` says."""
    fact = READER.read(leaf)
    try:
        header, envelope = read_batch_header(leaf)
        verify_single(envelope, BATCH_TYPE, KEY.public)
    except FleetwardError:
        assert fact.batch is None or not fact.batch.signed
        return
    assert fact.kind == BATCH
    assert fact.batch is not None
    assert fact.batch.signed
    assert (fact.batch.device, fact.batch.first, fact.batch.last) == (
        header.device, header.first, header.last,
    )  # fmt: skip
    assert (fact.batch.previous.hex(), fact.batch.head.hex()) == (header.previous, header.head)
    seen = SeenCheckpoint(
        fact.batch.seen_generation, fact.batch.seen_size, fact.batch.seen_root.hex()
    )
    assert seen == header.checkpoint


@given(headers())
@settings(max_examples=150, deadline=None)
def test_true_headers(leaf: bytes) -> None:
    agrees(leaf)


@given(headers(), st.data())
@settings(max_examples=300, deadline=None)
def test_headers_with_a_byte_changed_added_or_taken(leaf: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(min_value=0, max_value=len(leaf) - 1))
    new = data.draw(st.binary(max_size=2))
    taken = data.draw(st.integers(min_value=0, max_value=2))
    agrees(leaf[:place] + new + leaf[place + taken :])


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_noise_never_raises(noise: bytes) -> None:
    assert READER.read(noise).kind == "bad"
