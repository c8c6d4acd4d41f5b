"""Journals cut into batches at any place: whole when honest, refused when one byte is not."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.test_trust_canonical import KEYS, VALUES
from tests.trust_world import World

from fleetward.trust.canonical import JsonObject
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.journal import Entry, verify_batch

UNHURRIED = settings(deadline=None)
"""A shared machine is slow at times; what counts is the answer."""


WORLD = World.make()
BODIES = st.dictionaries(KEYS, VALUES, max_size=3)


@settings(max_examples=40, deadline=None)
@given(st.lists(BODIES, min_size=1, max_size=12), st.data())
def test_batches_give_back_the_journal(bodies: list[JsonObject], draw: st.DataObject) -> None:
    machine = WORLD.machine()
    for body in bodies:
        machine.write("posture.changed", body)
    entries: list[Entry] = []
    head = machine.heads[0].hex()
    while machine.cut_to < len(bodies):
        batch = verify_batch(machine.cut(draw.draw(st.integers(1, 5))), machine.key, WORLD.owner)
        assert batch.header.previous == head
        assert batch.header.first == len(entries) + 1
        entries += batch.entries
        head = batch.header.head
    assert [e.body for e in entries] == bodies
    assert [e.raw for e in entries] == machine.entries
    assert head == machine.heads[-1].hex()


MACHINE = WORLD.machine()
for _number in range(3):
    MACHINE.write("agent.started", {"n": _number, "text": "\u00e4\u2028"})
BATCH = MACHINE.cut()


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(BATCH) - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(place: int, mask: int) -> None:
    data = bytearray(BATCH)
    data[place] ^= mask
    assert_refused(bytes(data))


def test_each_byte_of_a_batch_counts() -> None:
    for place in range(len(BATCH)):
        assert_refused(BATCH[:place] + bytes([BATCH[place] ^ 1]) + BATCH[place + 1 :])
        assert_refused(BATCH[:place] + BATCH[place + 1 :])


@UNHURRIED
@given(st.integers(0, len(BATCH)), st.binary(min_size=1, max_size=8))
def test_nothing_can_be_put_in(place: int, what: bytes) -> None:
    changed = BATCH[:place] + what + BATCH[place:]
    assert_refused(changed)


def assert_refused(data: bytes) -> None:
    try:
        verify_batch(data, MACHINE.key, WORLD.owner)
    except (Malformed, Untrusted):
        return
    raise AssertionError("a changed batch was accepted")
