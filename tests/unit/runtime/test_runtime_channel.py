"""The sealed channel and the recording: both sides agree, and every meddling ends it."""

from __future__ import annotations

import io

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.trust_world import refused

from fleetward.runtime import channel as channel_module
from fleetward.runtime.channel import Channel, make_session_key, open_as_machine, open_as_requester
from fleetward.runtime.keys import make_key
from fleetward.runtime.recording import (
    Opener,
    Sealer,
    open_content_key,
    read_header,
    read_records,
)
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Malformed, Misuse, Refused, Untrusted
from fleetward.trust.keys import ES256

SESSION = "5e" * 32


def pair() -> tuple[Channel, Channel]:
    requester, requester_public = make_session_key()
    machine, machine_public = make_session_key()
    first, ours = open_as_requester(requester, machine_public, SESSION)
    return ours, open_as_machine(machine, requester_public, first, SESSION)


def test_both_sides_read_each_other() -> None:
    ours, theirs = pair()
    for number in range(5):
        assert theirs.open(ours.seal(b"in %d" % number)) == b"in %d" % number
        assert ours.open(theirs.seal(b"out %d" % number)) == b"out %d" % number


def test_keys_are_replaced_and_still_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "REKEY_RECORDS", 3)
    ours, theirs = pair()
    records = [ours.seal(b"same") for _ in range(10)]
    assert [theirs.open(r) for r in records] == [b"same"] * 10
    assert len({r[8:] for r in records}) == 10


@pytest.mark.parametrize("trick", ["drop", "double", "swap", "alter", "shorten", "reflect", "long"])
def test_a_relay_that_meddles_ends_the_channel(trick: str) -> None:
    ours, theirs = pair()
    one, two = ours.seal(b"one"), ours.seal(b"two")
    sent = {
        "drop": [two],
        "double": [one, one],
        "swap": [two, one],
        "alter": [one[:-1] + bytes([one[-1] ^ 1])],
        "shorten": [one[:-1]],
        "reflect": [theirs.seal(b"mine")],
        "long": [one + b"\x00" * channel_module.MAX_RECORD_BYTES],
    }[trick]
    with pytest.raises(Untrusted):
        for record in sent:
            theirs.open(record)
    with refused(Untrusted, "channel_closed"):
        theirs.open(one)
    with pytest.raises(Misuse):
        theirs.seal(b"x")


def test_another_requester_or_session_opens_nothing() -> None:
    requester, requester_public = make_session_key()
    machine, machine_public = make_session_key()
    _, stranger_public = make_session_key()
    first, ours = open_as_requester(requester, machine_public, SESSION)
    record = ours.seal(b"hello")
    for public, session in ((stranger_public, SESSION), (requester_public, "5f" * 32)):
        with pytest.raises(Untrusted):
            open_as_machine(machine, public, first, session).open(record)
    with refused(Malformed, "bad_session_key"):
        open_as_machine(machine, requester_public, b"\x00" * 32, SESSION)
    with refused(Malformed, "bad_session_key"):
        open_as_machine(machine, requester_public, b"short", SESSION)


def recording() -> tuple[ec.EllipticCurvePrivateKey, bytes, bytes]:
    key = make_key(ES256)
    named = f"{ES256}:{to_base64url(key.public.spki)}"
    sealer = Sealer("a" * 64, "b" * 32, SESSION, named, 1)
    data = sealer.header + b"".join(sealer.seal(b"line %d\n" % n) for n in range(5))
    private = key.private
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return private, data, sealer.head


def test_a_recording_is_read_by_its_owner_alone() -> None:
    private, data, head = recording()
    source = io.BytesIO(data)
    header = read_header(source)
    opener = Opener(header, open_content_key(header, private))
    assert b"".join(map(opener.open, read_records(source))).count(b"line") == 5
    assert (opener.head, opener.records) == (head, 5)
    assert b"line" not in data
    with refused(Refused, "another_recording_key"):
        open_content_key(header, ec.generate_private_key(ec.SECP256R1()))


@pytest.mark.parametrize("trick", ["alter", "drop", "swap"])
def test_a_recording_that_was_changed_says_so(trick: str) -> None:
    private, data, _ = recording()
    source = io.BytesIO(data)
    header = read_header(source)
    records = list(read_records(source))
    if trick == "alter":
        records[2] = records[2][:-1] + bytes([records[2][-1] ^ 1])
    elif trick == "drop":
        del records[2]
    else:
        records[1], records[2] = records[2], records[1]
    opener = Opener(header, open_content_key(header, private))
    with refused(Untrusted, "recording_altered"):
        for record in records:
            opener.open(record)


def test_a_recording_that_a_crash_cut_off_is_read_as_far_as_it_goes() -> None:
    private, data, head = recording()
    source = io.BytesIO(data[:-3])
    header = read_header(source)
    opener = Opener(header, open_content_key(header, private))
    assert len([opener.open(r) for r in read_records(source)]) == 4
    assert opener.head != head
    with refused(Malformed, "bad_recording"):
        list(read_records(io.BytesIO(b"\xff\xff\xff\xff" + data)))
