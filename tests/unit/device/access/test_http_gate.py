"""Request lines are seen whole however they are cut, and nothing that reads in two ways passes."""

from __future__ import annotations

import pytest
from tests.trust_world import refused

from fleetward.device.access.http_gate import MAX_HEAD_BYTES, HttpGate
from fleetward.trust.errors import Refused

GOOD = (
    b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
    b"POST /b HTTP/1.1\r\nContent-Length: 4\r\n\r\nGET "
    b"PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;x=y\r\nhello\r\n0\r\nTrailer: 1\r\n\r\n"
    b"OPTIONS * HTTP/1.0\r\n\r\n"
)
LINES = ["GET /a HTTP/1.1", "POST /b HTTP/1.1", "PUT /c HTTP/1.1", "OPTIONS * HTTP/1.0"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_every_request_line_is_seen_and_every_byte_goes_on(size: int) -> None:
    gate, passed = HttpGate(), b""
    labels: list[str] = []
    for place in range(0, len(GOOD), size):
        found = gate.take(GOOD[place : place + size])
        labels += found.labels
        passed += found.data
    assert labels == LINES
    assert passed == GOOD


def test_a_request_line_goes_on_only_when_it_is_whole() -> None:
    gate = HttpGate()
    assert gate.take(b"GET /secret HTTP/1.1\r\nHost: x\r\n") == type(gate.take(b""))((), b"")
    assert gate.take(b"\r\n").labels == ("GET /secret HTTP/1.1",)


UPGRADE = b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def test_after_an_upgrade_bytes_pass() -> None:
    gate = HttpGate()
    assert gate.take(UPGRADE).labels == ("GET /ws HTTP/1.1",)
    assert gate.take(b"\x81\x05early").data == b""
    assert gate.see(b"HTTP/1.1 ").data == b""
    passed = gate.see(b"101 Switching Protocols\r\n")
    assert passed.data == b"\x81\x05early"
    assert "not read" in passed.labels[0]
    assert gate.take(b"\x81\x05hello").data == b"\x81\x05hello"


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 404 x\r\n"])
def test_an_upgrade_that_the_server_ignores_hides_no_request(answer: bytes) -> None:
    gate = HttpGate()
    gate.take(UPGRADE)
    assert gate.take(b"GET /secret HTTP/1.1\r\n\r\n").data == b""
    assert gate.see(answer).labels == ("GET /secret HTTP/1.1",)
    assert gate.take(b"GET /more HTTP/1.1\r\n\r\n").labels == ("GET /more HTTP/1.1",)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 100 Go\r\n", b"SSH-2.0-OpenSSH", b"HTTP/2 101  ."])
def test_an_answer_to_an_upgrade_that_is_none(answer: bytes) -> None:
    gate = HttpGate()
    gate.take(UPGRADE)
    with refused(Refused, "http_refused"):
        gate.see(answer)


def test_only_the_first_request_may_ask_for_an_upgrade() -> None:
    gate = HttpGate()
    gate.take(b"GET / HTTP/1.1\r\n\r\n")
    with refused(Refused, "http_refused"):
        gate.take(UPGRADE)


def test_what_waits_for_an_answer_is_bounded() -> None:
    gate = HttpGate()
    gate.take(UPGRADE)
    with refused(Refused, "http_refused"):
        gate.take(b"x" * (MAX_HEAD_BYTES + 1))


@pytest.mark.parametrize(
    "head",
    [
        b"GET http://example.org/ HTTP/1.1\r\n\r\n",
        b"GET //example.org@x HTTP/2\r\n\r\n",
        b"CONNECT 10.0.0.1:22 HTTP/1.1\r\n\r\n",
        b"CONNECT / HTTP/1.1\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA : b\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 29\r\n\r\nGET /secret HTTP/1.1\r\nA: b\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"x" * (MAX_HEAD_BYTES + 1),
    ],
)
def test_what_is_refused(head: bytes) -> None:
    gate = HttpGate()
    with refused(Refused, "http_refused"):
        gate.take(head)
