"""Bytes made to hurt a parser, at every place where trust reads any.

Claim: hostile bytes cost a bounded time and end in `Malformed`, never in another exception.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from tests.trust_world import World, refused, resign

from fleetward.trust import canonical
from fleetward.trust.canonical import from_base64url
from fleetward.trust.documents import Bundle, advance, read_bundle
from fleetward.trust.envelope import read_envelope
from fleetward.trust.errors import Malformed
from fleetward.trust.invitation import JOIN_PREFIX, read_join_string
from fleetward.trust.journal import read_entry as read_journal_entry
from fleetward.trust.journal import verify_batch
from fleetward.trust.note import read_checkpoint
from fleetward.trust.root import root_hash
from fleetward.trust.roster import read_entry as read_roster_entry
from fleetward.trust.statements import device_of_statement, verify_join

WORLD = World.make()
MACHINE = WORLD.machine()
VIEW = WORLD.view(MACHINE)
MACHINE.write("posture.changed", {"port": 23})
BATCH = MACHINE.cut()
MOST_SECONDS = 2.0
"""For one refusal, on a slow and busy machine."""

DOORS: dict[str, Callable[[bytes], object]] = {
    "canonical": canonical.decode,
    "envelope": read_envelope,
    "root": root_hash,
    "policy": lambda d: advance(VIEW, Bundle(root=b"", policies=(d,))),
    "head": lambda d: advance(VIEW, Bundle(root=b"", head=d or b"x")),
    "bundle": read_bundle,
    "roster entry": read_roster_entry,
    "journal entry": read_journal_entry,
    "batch": lambda d: verify_batch(d, MACHINE.key, WORLD.owner),
    "join": verify_join,
    "statement": device_of_statement,
    "join string": lambda d: read_join_string(JOIN_PREFIX + d.decode("latin-1")),
    "checkpoint": read_checkpoint,
}
BOMBS: dict[str, bytes] = {
    "nothing": b"",
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep lists, open": b"[" * 100_000,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "huge integer": b"9" * 100_000,
    "huge exponent": b"1e999999999",
    "huge negative": b"-" + b"9" * 4000,
    "many integers": b"[" + b"1," * 100_000 + b"1]",
    "duplicate keys": b'{"payload":{},"payload":{},"signatures":[]}',
    "invalid UTF-8": b'{"payload":"\xff\xfe"}',
    "surrogate": b'{"payload":"\\ud800"}',
    "overlong NUL": b'"\xc0\x80"',
    "NULs": bytes(50_000),
    "line breaks": b"\n" * 50_000,
    "BOM": b"\xef\xbb\xbf{}",
    "spaces": b" " * 100_000,
    "quotes": b'"' * 50_001,
    "backslashes": b'"' + b"\\" * 50_001,
    "ten megabytes": b'"' + b"a" * 10_000_000 + b'"',
    "base64": b"A" * 8000,
    "dashes": "\u2014 a AAAA\n".encode() * 5_000,
}


@pytest.mark.parametrize("bomb", sorted(BOMBS))
@pytest.mark.parametrize("door", sorted(DOORS))
def test_a_bomb_at_a_door(door: str, bomb: str) -> None:
    data = BOMBS[bomb]
    if door == "canonical" and bomb == "many integers":
        assert canonical.encode(canonical.decode(data)) == data  # Large, and honest.
        return
    started = time.process_time()
    with pytest.raises(Malformed):
        DOORS[door](data)
    assert time.process_time() - started < MOST_SECONDS


def test_duplicate_keys_in_a_signed_document() -> None:
    """Two readers might each believe another of the two. So none is believed."""
    head = WORLD.heads[-1].raw
    for twice in (
        head.replace(b'"version":1}', b'"version":1,"version":2}'),
        head.replace(b'{"payload":', b'{"payload":{},"payload":'),
        head.replace(b'"type":', b'"\\u0074ype":"x","type":'),
    ):
        assert twice != head
        with refused(Malformed, "not_canonical"):
            read_envelope(twice)


def test_the_same_document_in_another_spelling() -> None:
    """Equal hashes need equal bytes: a second spelling would be a second leaf of one document."""
    head = WORLD.heads[-1].raw
    for other in (
        head + b"\n",
        b" " + head,
        head.replace(b",", b", "),
        head.replace(b"fleetward.head", b"fleetward\\u002ehead"),
        head.replace(b'"version":1', b'"version":1.0'),
        head.replace(b'"version":1', b'"version":1e0'),
    ):
        with pytest.raises(Malformed):
            read_envelope(other)
    signature = head.rsplit(b'"signature":"', 1)[1].split(b'"')[0]
    for spelled in (signature + b"==", signature.replace(b"-", b"+").replace(b"_", b"/") + b"="):
        with pytest.raises(Malformed):
            read_envelope(head.replace(signature, spelled))
    loose = head.replace(signature, signature[:-1] + bytes([signature[-1] + 1]))
    with pytest.raises(Malformed):
        read_envelope(loose)
    assert len(from_base64url(signature.decode())) == 64


def test_a_thousand_signatures_are_not_checked() -> None:
    envelope = canonical.decode_object(WORLD.heads[-1].raw)
    signatures = envelope["signatures"]
    assert isinstance(signatures, list)
    crowd = canonical.encode({**envelope, "signatures": signatures * 500})
    with refused(Malformed, "bad_field"):
        read_envelope(crowd)


def test_a_batch_of_a_million_lines() -> None:
    lines = BATCH + b"\n{}" * 200_000
    with refused(Malformed, "bad_batch_range"):
        verify_batch(lines, MACHINE.key, WORLD.owner)


def test_a_name_that_reads_backwards_on_the_owners_screen() -> None:
    """A right-to-left override makes `gpj.exe` of `exe.jpg`, or another ward of a pump's name."""
    facts = {**MACHINE.facts().to_json(), "hostname": "pump \u202e7 draW"}
    with refused(Malformed, "bad_field"):
        verify_join(resign(MACHINE.join("ab" * 32), {"facts": facts}, [MACHINE.identity]))


def test_nothing_above_was_refused_for_being_honest() -> None:
    assert verify_batch(BATCH, MACHINE.key, WORLD.owner).header.last == 1
    assert advance(VIEW, WORLD.bundle(MACHINE.device)) == VIEW
