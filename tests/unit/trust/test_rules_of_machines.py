"""What a machine says: statements, journal and batches."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.trust_world import Machine, World, alter, payload_of, refused, resign

from fleetward.runtime.keys import make_key
from fleetward.trust.canonical import JsonLike, JsonObject, to_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.errors import Malformed, Misuse, Untrusted
from fleetward.trust.journal import (
    MAX_BATCH_BYTES,
    MAX_BATCH_ENTRIES,
    NO_CHECKPOINT,
    BatchHeader,
    SeenCheckpoint,
    join_batch,
    make_batch_header,
    make_entry,
    next_head,
    read_batch_header,
    read_entry,
    start_of_chain,
    verify_batch,
    verify_batch_header,
)
from fleetward.trust.keys import ED25519, ES256
from fleetward.trust.statements import (
    device_of_statement,
    verify_hello,
    verify_join,
    verify_renewal,
)

WORLD = World.make()
NONCE = bytes(range(32))
Family = type[Malformed] | type[Untrusted]


@pytest.fixture
def machine() -> Machine:
    machine = WORLD.machine()
    for number in range(5):
        machine.write("posture.changed", {"number": number})
    return machine


# Statements.


def test_statements_are_read(machine: Machine) -> None:
    join = verify_join(machine.join("ab" * 32))
    assert (join.device, join.owner, join.invitation) == (machine.device, WORLD.owner, "ab" * 32)
    assert (join.lineage, join.facts) == (1, machine.facts())
    renewal = verify_renewal(machine.renewal(), machine.key)
    assert (renewal.device, renewal.lineage) == (machine.device, 2)
    hello = verify_hello(machine.hello(NONCE), machine.key, NONCE)
    assert (hello.sequence, hello.journal_head) == (5, machine.heads[5].hex())
    assert device_of_statement(machine.renewal()) == machine.device
    assert device_of_statement(machine.hello(NONCE)) == machine.device


def test_nobody_else_says_it(machine: Machine) -> None:
    thief = make_key(ES256)
    for data in (machine.join("ab" * 32), machine.renewal(), machine.hello(NONCE)):
        forged = resign(data, {}, [thief])
        altered = alter(data, {"owner": "00" * 32})
        for bad, reason in ((forged, "wrong_signer"), (altered, "bad_signature")):
            with refused(Untrusted, reason):
                _verify(bad, machine)


def _verify(data: bytes, machine: Machine) -> None:
    kind = payload_of(data)["type"]
    if kind == "fleetward.join.v1":
        verify_join(data)
    elif kind == "fleetward.renewal.v1":
        verify_renewal(data, machine.key)
    else:
        verify_hello(data, machine.key, NONCE)


@pytest.mark.parametrize(
    ("changes", "family", "reason"),
    [
        ({"key": make_key(ED25519).public.to_json()}, Untrusted, "bad_key"),
        ({"key": make_key(ES256).public.to_json()}, Untrusted, "wrong_signer"),
        ({"transport": to_base64url(make_key(ED25519).public.spki)}, Malformed, "bad_key"),
        ({"lineage": 0}, Malformed, "bad_field"),
        ({"invitation": ""}, Malformed, "bad_field"),
        ({"facts": {}}, Malformed, "missing_field"),
        ({"extra": 1}, Malformed, "unknown_field"),
        ({"type": "fleetward.renewal.v1"}, Malformed, "wrong_type"),
    ],
)
def test_a_join_has_its_form(
    machine: Machine, changes: JsonObject, family: Family, reason: str
) -> None:
    with refused(family, reason):
        verify_join(resign(machine.join("ab" * 32), changes, [machine.identity]))


def test_a_hostname_cannot_turn_the_owners_screen_around(machine: Machine) -> None:
    facts = {**machine.facts().to_json(), "hostname": "pump\u202e7"}
    with refused(Malformed, "bad_field"):
        verify_join(resign(machine.join("ab" * 32), {"facts": facts}, [machine.identity]))


def test_a_statement_names_the_machine_of_its_key(machine: Machine) -> None:
    other = {"device": WORLD.machine("other").device}
    with refused(Untrusted, "bad_device"):
        verify_renewal(resign(machine.renewal(), other, [machine.identity]), machine.key)
    with refused(Untrusted, "bad_device"):
        verify_hello(resign(machine.hello(NONCE), other, [machine.identity]), machine.key, NONCE)
    with refused(Malformed, "missing_field"):
        device_of_statement(machine.join("ab" * 32))


def test_a_hello_answers_one_nonce_and_knows_its_walls(machine: Machine) -> None:
    hello = machine.hello(NONCE)
    with refused(Untrusted, "wrong_nonce"):
        verify_hello(hello, machine.key, bytes(32))
    with refused(Malformed, "bad_field"):
        verify_hello(resign(hello, {"wall": "high"}, [machine.identity]), machine.key, NONCE)
    long = resign(hello, {"nonce": to_base64url(bytes(33))}, [machine.identity])
    with refused(Malformed, "bad_field"):
        verify_hello(long, machine.key, bytes(33))


# The journal.


def test_the_chain_starts_with_owner_and_device() -> None:
    owners = {start_of_chain("ab" * 32, "a" * 32), start_of_chain("cd" * 32, "a" * 32),
              start_of_chain("ab" * 32, "b" * 32)}  # fmt: skip
    assert len(owners) == 3
    assert next_head(bytes(32), b"x") != next_head(bytes(32), b"y") != next_head(b"1" * 32, b"y")


def test_an_entry_is_read() -> None:
    entry = read_entry(make_entry(7, 0, "boot-1", "agent.started", {"a": [1]}))
    assert (entry.sequence, entry.at_ms, entry.kind, entry.body) == (
        7, 0, "agent.started", {"a": [1]},
    )  # fmt: skip
    with refused(Misuse, "bad_type"):
        make_entry(1, 0, "b", "k", {"x": 1.5})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("sequence", "at_ms", "kind", "body"),
    [(0, 0, "k", {}), (1, -1, "k", {}), (1, 0, "", {}), (1, 0, "k\n", {}), (1, 0, "k", [])],
)
def test_an_entry_has_its_form(sequence: int, at_ms: int, kind: str, body: JsonLike) -> None:
    with refused(Malformed, "bad_field"):
        read_entry(make_entry(sequence, at_ms, "b", kind, body))


def test_batches_follow_one_another(machine: Machine) -> None:
    one, two = (verify_batch(machine.cut(3), machine.key, WORLD.owner) for _ in range(2))
    assert (one.header.first, one.header.last, two.header.first, two.header.last) == (1, 3, 4, 5)
    assert one.header.head == two.header.previous
    assert [e.body["number"] for e in two.entries] == [3, 4]


def test_1_a_batch_is_bounded(machine: Machine) -> None:
    with refused(Malformed, "too_large"):
        verify_batch(bytes(MAX_BATCH_BYTES + 1), machine.key, WORLD.owner)


def test_2_it_is_signed_by_the_machine_for_this_owner(machine: Machine) -> None:
    batch = machine.cut()
    other = WORLD.machine("other")
    with refused(Untrusted, "wrong_signer"):
        verify_batch(batch, other.key, WORLD.owner)
    with refused(Untrusted, "another_owner"):
        verify_batch(batch, machine.key, "00" * 32)
    lines = batch.split(b"\n")
    lying = resign(lines[0], {"device": other.device}, [machine.identity])
    with refused(Untrusted, "bad_device"):
        verify_batch_header(lying, machine.key, WORLD.owner)


def test_2_it_has_as_many_entries_as_it_says(machine: Machine) -> None:
    lines = machine.cut().split(b"\n")
    for bad in (lines[:1], lines[:-1], [*lines, lines[-1]], [*lines, b""]):
        with refused(Malformed, "bad_batch_range"):
            verify_batch(b"\n".join(bad), machine.key, WORLD.owner)


def test_3_entries_are_those_that_were_signed(machine: Machine) -> None:
    lines = machine.cut().split(b"\n")
    swapped = [lines[0], lines[2], lines[1], *lines[3:]]
    with refused(Untrusted, "bad_chain"):
        verify_batch(b"\n".join(swapped), machine.key, WORLD.owner)


def sealed(machine: Machine, header: BatchHeader, entries: list[bytes]) -> bytes:
    return join_batch(make_batch_header(header, machine.identity), entries)


def test_4_an_entry_stands_in_its_place(machine: Machine) -> None:
    entry = make_entry(9, 0, "b", "k", {})
    start = start_of_chain(WORLD.owner, machine.device)
    header = replace(machine.header(1, 1), head=next_head(start, entry).hex())
    with refused(Untrusted, "bad_sequence"):
        verify_batch(sealed(machine, header, [entry]), machine.key, WORLD.owner)
    broken = b'{"seq":1}'
    header = replace(header, head=next_head(start, broken).hex())
    with refused(Malformed, "missing_field"):
        verify_batch(sealed(machine, header, [broken]), machine.key, WORLD.owner)


def test_a_first_batch_begins_where_the_chain_does(machine: Machine) -> None:
    header = replace(machine.header(1, 1), previous="00" * 32)
    header = replace(header, head=next_head(bytes(32), machine.entries[0]).hex())
    with refused(Untrusted, "bad_chain"):
        verify_batch(sealed(machine, header, machine.entries[:1]), machine.key, WORLD.owner)


@pytest.mark.parametrize(
    ("first", "last"), [(2, 1), (1, MAX_BATCH_ENTRIES + 1), (0, 1), (5, 5 + MAX_BATCH_ENTRIES)]
)
def test_a_range_is_a_range(machine: Machine, first: int, last: int) -> None:
    header = replace(machine.header(1, 1), first=first, last=last)
    with pytest.raises(Malformed):
        read_batch_header(make_batch_header(header, machine.identity))


def test_no_checkpoint_has_one_spelling(machine: Machine) -> None:
    seen = SeenCheckpoint(generation=1, size=3, root="ab" * 32)
    machine.checkpoint = seen
    assert verify_batch(machine.cut(2), machine.key, WORLD.owner).header.checkpoint == seen
    for bad in (replace(NO_CHECKPOINT, size=1), replace(NO_CHECKPOINT, root="00" * 32)):
        header = replace(machine.header(3, 3), checkpoint=bad)
        with refused(Malformed, "bad_field"):
            read_batch_header(make_batch_header(header, machine.identity))


def test_a_header_is_no_other_type(machine: Machine) -> None:
    payload = {**payload_of(machine.cut().split(b"\n")[0]), "type": "fleetward.hello.v1"}
    with refused(Malformed, "wrong_type"):
        verify_batch_header(seal(payload, [machine.identity]), machine.key, WORLD.owner)
