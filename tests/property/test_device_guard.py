"""Whatever bytes uplink or a server send, guard answers with an error of ours, and stands."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.device.device_world import Fleet, Guarded, SmallServer

from fleetward.device import port
from fleetward.device.frames import Connection
from fleetward.device.port import Answer, GetKit, Note, Wake
from fleetward.trust.errors import FleetwardError, Malformed
from fleetward.wire.access import AccessReply, RecordingReply
from fleetward.wire.audit import BlobReply, ProofItem, ProofReply, Receipt
from fleetward.wire.identity import CertificateReply, HelloReply, NonceReply, Refusal
from fleetward.wire.orders import Documents, Order, Reduce

VERBS = [kind() for kind in get_args(port.Request) if kind is not Note]
TEXTS = st.one_of(st.text(max_size=40), st.sampled_from(["ab" * 32, "AA", "", "AAAA"]))
NUMBERS = st.integers(-(2**63), 2**63 - 1)
ANSWERS = st.one_of(
    st.builds(NonceReply, nonce=TEXTS),
    st.builds(HelloReply, stored=NUMBERS, generation=NUMBERS, state=TEXTS),
    st.builds(Receipt, last=NUMBERS, head=TEXTS, want=st.lists(TEXTS, max_size=3).map(tuple)),
    st.builds(
        ProofReply,
        generation=st.integers(-1, 4),
        checkpoint=TEXTS,
        consistency=st.lists(TEXTS, max_size=3),
        items=st.lists(
            st.builds(ProofItem, batch=TEXTS, index=NUMBERS, path=st.lists(TEXTS, max_size=2)),
            max_size=2,
        ),
        opening=TEXTS,
    ),
    st.builds(BlobReply, digest=TEXTS, offset=NUMBERS, complete=st.booleans()),
    st.builds(AccessReply, subject=TEXTS),
    st.builds(RecordingReply, session=TEXTS, size=NUMBERS),
    st.builds(Documents, bundle=TEXTS),
    st.builds(Order, envelope=TEXTS),
    st.builds(Reduce, what=st.sampled_from(["report_now", "reconnect"])),
    st.builds(Refusal, reason=TEXTS, message=TEXTS, stored=NUMBERS),
    st.builds(CertificateReply, certificate=TEXTS, bundle=TEXTS),
)
BODIES = st.one_of(st.binary(max_size=200), ANSWERS.map(msgspec.json.encode))


@pytest.fixture(scope="module")
def machine() -> Iterator[Guarded]:
    with tempfile.TemporaryDirectory() as name:
        machine = Guarded(Path(name) / "guard", Fleet.make())
        machine.tick()
        server = SmallServer(machine.fleet, machine.core.signer.public)
        server.greet(machine.core)
        yield machine


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(calls=st.lists(st.tuples(st.sampled_from(VERBS), BODIES), max_size=6))
def test_any_answer_of_a_server_is_an_error_of_ours_at_most(
    machine: Guarded, calls: list[tuple[port.Request, bytes]]
) -> None:
    view = machine.core.view
    for verb, body in calls:
        try:
            machine.core.handle(verb, body)
        except FleetwardError as e:
            assert e.reason
    assert machine.core.view == view
    assert machine.core.outbox.checkpoint.size == 0
    machine.core.tick()


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_on_the_socket_end_or_are_answered(data: bytes) -> None:
    class Refusing:
        def handle(self, request: port.Request, body: bytes) -> port.Reply:
            raise Malformed("no", reason="no")

    ours, theirs = socket.socketpair()
    with theirs:
        connection = Connection(ours, Refusing())
        theirs.send(data or b"\0")
        connection.read()
        connection.close()


def test_the_list_of_verbs_is_closed() -> None:
    assert len(get_args(port.Request)) == 24
    for line in (b'{"verb":"run"}', b'{"verb":"kit","path":"/"}', b"[]", b'{"verb":"answer"}'):
        with pytest.raises(Malformed):
            port.decode_request(line + b"\n")


@pytest.mark.parametrize("length", [0, port.MAX_FRAME_BYTES + 1, 2**32 - 1])
def test_a_frame_of_a_wild_length_ends_the_connection(length: int) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        connection = Connection(ours, _Echo())
        theirs.send(port.LENGTH.pack(length) + b"x")
        assert not connection.read()
        connection.close()


def test_frames_are_answered_in_order_however_they_are_cut() -> None:
    frames = b"".join(port.encode_frame(GetKit(), str(n).encode()) for n in range(20))
    ours, theirs = socket.socketpair()
    with theirs:
        connection = Connection(ours, _Echo())
        for place in range(0, len(frames), 7):
            theirs.send(frames[place : place + 7])
            assert connection.read()
        connection.wake()
        while connection.wants_write:
            assert connection.write()
        received = theirs.recv(1 << 16)
        connection.close()
    bodies = []
    while received:
        length = port.frame_length(received[:4])
        word, body = port.decode_downward(received[4 : 4 + length])
        received = received[4 + length :]
        if isinstance(word, Answer):
            bodies.append(body)
        else:
            assert isinstance(word, Wake)
    assert bodies == [str(n).encode() for n in range(20)]


class _Echo:
    def handle(self, request: port.Request, body: bytes) -> port.Reply:
        return port.Reply(body)
