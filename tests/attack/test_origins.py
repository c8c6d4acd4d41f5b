"""Attacks by origins of downloads, by name servers, and by who would have uplink ask somebody else.

Origins come out of the owner's policy, by guard's kit. What they answer, and where a name server
says that they are, leads a machine nowhere else, and costs it bounded time and memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.closing_world import FAR, NEAR, can_have_network, own_network
from tests.origin_world import (
    HOST,
    OUTSIDE,
    Answering,
    Asked,
    Steered,
    There,
    answer_files,
    certify,
    load_chain,
    serving,
)
from tests.unit.trust.test_origin import ITSELF

from fleetward.device.updates.origin import (
    Address,
    OriginClient,
    Patience,
    Piece,
    SystemNetwork,
    make_context,
    make_pinned_context,
    read_head,
)
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.origin import read_origin

SHA256 = "ab" * 32
DATA = bytes(range(256)) * 4096
PIECE = Piece(SHA256, 4096, 65536)
WANTED = DATA[4096 : 4096 + 65536]
ORIGIN = read_origin(f"https://{HOST}")
SHORT = Patience(connect_seconds=1.0, idle_seconds=0.5, whole_seconds=1.5)
CERTIFIED = certify(HOST)


def client_of(
    there: There, *others: str, patience: Patience | None = None
) -> tuple[OriginClient, Steered]:
    network = Steered({host: [OUTSIDE] for host in (HOST, *others)}, there.port)
    return OriginClient(network, there.trust, patience), network


def fetch(client: OriginClient, piece: Piece = PIECE, times: int = 1) -> bytes:
    """Fetch as uplink does, in one loop."""

    async def act() -> bytes:
        try:
            for _ in range(times):
                data = await client.fetch(ORIGIN, piece)
        finally:
            client.close()
        return data

    return asyncio.run(act())


def failure(client: OriginClient, piece: Piece = PIECE) -> FleetwardError:
    with pytest.raises((Malformed, Refused, Unreachable, Untrusted)) as caught:
        fetch(client, piece)
    error: FleetwardError = caught.value
    return error


def plainly(head: bytes, body: bytes = b"") -> Answering:
    """Answer with these bytes, whatever was asked."""

    def answer(asked: Asked, sock: ssl.SSLSocket) -> bool:
        del asked
        sock.sendall(head + body)
        return True

    return answer


# --- what an honest origin gives


def test_an_honest_origin_gives_pieces_over_one_connection() -> None:
    with serving(CERTIFIED, answer_files({SHA256: DATA})) as there:
        client, network = client_of(there)
        assert fetch(client, times=5) == WANTED
        assert (there.connections, len(there.asked)) == (1, 5)
        assert (network.resolved, network.dialled) == ([HOST], [OUTSIDE])
        asked = there.asked[0]
        assert asked.path == f"/blobs/{SHA256}"
        assert b"\r\nAccept-Encoding: identity\r\n" in asked.head


def test_a_connection_that_was_not_kept_is_made_anew() -> None:
    honest = answer_files({SHA256: DATA})

    def hang_up(asked: Asked, sock: ssl.SSLSocket) -> bool:
        honest(asked, sock)
        return False

    with serving(CERTIFIED, hang_up) as there:
        client, network = client_of(there)
        assert fetch(client, times=3) == WANTED
        assert there.connections == 3
        assert network.resolved == [HOST] * 3


def test_a_whole_file_serves_where_it_was_asked_for() -> None:
    answer = plainly(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"parts")
    with serving(CERTIFIED, answer) as there:
        assert fetch(client_of(there)[0], Piece(SHA256, 0, 5)) == b"parts"


# --- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", [
    "http://169.254.169.254/latest/meta-data", "https://elsewhere.example/blobs/x", "/other",
    "//127.0.0.1/", f"https://{HOST}/blobs/{SHA256}",
])  # fmt: skip
def test_redirects_lead_nowhere(status: int, place: str) -> None:
    head = f"HTTP/1.1 {status} Go\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n"
    with serving(CERTIFIED, plainly(head.encode())) as there:
        client, network = client_of(there, "elsewhere.example")
        assert failure(client).reason == "origin_answer"
        assert (network.resolved, network.dialled) == ([HOST], [OUTSIDE])
        assert len(there.asked) == 1


# --- name servers


@pytest.mark.parametrize("address", ITSELF)
def test_a_name_that_leads_to_the_machine_or_its_link(address: str) -> None:
    network = Steered({HOST: [address]}, 1)
    error = failure(OriginClient(network, make_context()))
    assert error.reason == "address_refused"
    assert network.dialled == []


def test_among_good_addresses_bad_ones_are_left_out() -> None:
    with serving(CERTIFIED, answer_files({SHA256: DATA})) as there:
        network = Steered(
            {HOST: ["127.0.0.1", "::1", "198.51.100.7", "fe80::1", OUTSIDE]}, there.port
        )
        network.dead.add("198.51.100.7")
        assert fetch(OriginClient(network, there.trust)) == WANTED
        assert network.dialled == ["198.51.100.7", OUTSIDE]


def test_a_crowd_of_addresses_is_bounded() -> None:
    crowd = [f"198.51.100.{n}" for n in range(1, 200)]
    network = Steered({HOST: crowd}, 1, dead=set(crowd))
    assert failure(OriginClient(network, make_context())).reason == "origin_unreachable"
    assert len(network.dialled) == 4


class Rebinding(Steered):
    """A name that leads outside when it is looked at, and inside when it is looked up again."""

    async def resolve(self, host: str, port: int) -> Any:
        first = not self.resolved
        found = await super().resolve(host, port)
        return found if first else [Address(socket.AF_INET, ("127.0.0.1", port))]


def test_the_address_that_was_judged_is_the_one_that_is_asked() -> None:
    with serving(CERTIFIED, answer_files({SHA256: DATA})) as there:
        network = Rebinding({HOST: [OUTSIDE]}, there.port)
        client = OriginClient(network, there.trust)
        assert fetch(client, times=3) == WANTED
        assert (network.resolved, network.dialled) == ([HOST], [OUTSIDE])
        assert failure(client).reason == "address_refused"
        assert network.dialled == [OUTSIDE]


def test_the_systems_own_network_refuses_what_leads_back_here() -> None:
    async def act(port: int) -> None:
        network = SystemNetwork()
        (found, *_) = await network.resolve("127.0.0.1", port)
        await network.connect(found)

    with serving(CERTIFIED, answer_files({})) as there:
        with pytest.raises(Refused) as caught:
            asyncio.run(act(there.port))
        assert caught.value.reason == "address_refused"
        assert there.asked == []


@pytest.mark.skipif(not can_have_network(), reason="needs a network of its own")
def test_over_a_real_network_by_a_real_address(tmp_path: Path) -> None:
    far = f"""
import sys, threading
from tests.origin_world import answer_files, certify, serving, Certified
from pathlib import Path
parts = [Path(p).read_bytes() for p in sys.argv[1:4]]
with serving(Certified(*parts), answer_files({{"{SHA256}": bytes(range(256)) * 4096}}),
             host="0.0.0.0") as there:
    print(there.port, flush=True)
    sys.stdin.read()
"""
    made = certify(FAR, NEAR)
    names = []
    for name, data in (("chain", made.chain), ("key", made.key), ("ca", made.authority)):
        (tmp_path / name).write_bytes(data)
        names.append(str(tmp_path / name))
    trust = make_context()
    trust.load_verify_locations(cadata=made.authority.decode())
    with own_network() as wire:
        there = wire.start(far, *names)
        assert there.stdout is not None
        port = int(there.stdout.readline())
        client = OriginClient(None, trust)
        try:

            async def act() -> bytes:
                data = await client.fetch(read_origin(f"https://{FAR}:{port}"), PIECE)
                with pytest.raises(Unreachable):
                    await client.fetch(read_origin(f"https://{FAR}:1"), PIECE)
                # An address of this machine's own is loopback by another name.
                with serving(made, answer_files({}), host=NEAR) as here:
                    own = read_origin(f"https://{NEAR}:{here.port}")
                    with pytest.raises(Refused) as caught:
                        await client.fetch(own, PIECE)
                    assert caught.value.reason == "address_refused"
                    assert here.asked == []
                return data

            assert asyncio.run(act()) == WANTED
        finally:
            there.communicate("", timeout=10)


# --- certificates


@pytest.mark.parametrize("shown", [
    lambda: certify("other.example"), lambda: certify("example"),
    lambda: certify("*.other.example"), lambda: certify(OUTSIDE), lambda: certify(HOST, days=-3),
])  # fmt: skip
def test_the_certificate_of_another_host_or_time(shown: Callable[[], Any]) -> None:
    with serving(shown(), answer_files({SHA256: DATA})) as there:
        assert failure(client_of(there)[0]).reason == "origin_certificate"
        assert there.asked == []


def test_an_authority_that_the_system_does_not_know() -> None:
    with serving(CERTIFIED, answer_files({SHA256: DATA})) as there:
        network = Steered({HOST: [OUTSIDE]}, there.port)
        error = failure(OriginClient(network))
        assert isinstance(error, Untrusted) and error.reason == "origin_certificate"
        assert there.asked == []


def test_what_is_verified_cannot_be_less() -> None:
    context = make_context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.check_hostname and context.verify_mode == ssl.CERT_REQUIRED


# --- a certificate that the policy names


def fetch_each(client: OriginClient, *origins: str) -> list[bytes | str]:
    """Ask these one after another, over one client; return what came, or why nothing."""

    async def act() -> list[bytes | str]:
        came: list[bytes | str] = []
        try:
            for text in origins:
                try:
                    came.append(await client.fetch(read_origin(text), PIECE))
                except FleetwardError as e:
                    came.append(e.reason)
        finally:
            client.close()
        return came

    return asyncio.run(act())


@pytest.mark.parametrize("shown", [
    lambda: CERTIFIED, lambda: certify("other.example"), lambda: certify(HOST, days=-3),
])  # fmt: skip
def test_the_very_certificate_that_the_policy_names(shown: Callable[[], Any]) -> None:
    """Its name, its dates and who gave it say nothing then; no other certificate will do."""
    made = shown()
    with serving(made, answer_files({SHA256: DATA})) as there:
        client = OriginClient(Steered({HOST: [OUTSIDE]}, there.port))
        named = f"https://{HOST}{made.pin}"
        assert fetch_each(client, named, named) == [WANTED, WANTED]
        assert (there.connections, len(there.asked)) == (1, 2)


def test_another_certificate_than_the_named_one_hears_no_question() -> None:
    """Also one that the system would accept for this host."""
    other = certify(HOST).pin
    with serving(CERTIFIED, answer_files({SHA256: DATA})) as there:
        client, _ = client_of(there)
        near = CERTIFIED.pin[:-1] + ("0" if CERTIFIED.pin[-1] != "0" else "1")
        for pin in (other, near, "#sha256=" + "0" * 64):
            assert fetch_each(client, f"https://{HOST}{pin}") == ["origin_certificate"]
        assert there.asked == []


def test_a_pin_makes_no_other_origin_weaker() -> None:
    """Over one client, in every order: one without a pin is verified as ever."""
    with serving(CERTIFIED, answer_files({SHA256: DATA})) as there:
        client = OriginClient(Steered({HOST: [OUTSIDE]}, there.port))
        plain, pinned = f"https://{HOST}", f"https://{HOST}{CERTIFIED.pin}"
        assert fetch_each(client, plain, pinned, plain, pinned, pinned, plain) == [
            "origin_certificate", WANTED, "origin_certificate", WANTED, WANTED,
            "origin_certificate",
        ]  # fmt: skip
        assert len(there.asked) == 3


def test_a_connection_with_a_pin_is_not_kept_for_one_without() -> None:
    with serving(CERTIFIED, answer_files({SHA256: DATA})) as there:
        client, _ = client_of(there)
        plain, pinned = f"https://{HOST}", f"https://{HOST}{CERTIFIED.pin}"
        assert fetch_each(client, plain, pinned, plain) == [WANTED] * 3
        assert there.connections == 3


def test_a_named_certificate_is_shown_by_tls_1_3_alone() -> None:
    context = make_pinned_context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    listening = load_chain(CERTIFIED)
    listening.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(CERTIFIED, answer_files({SHA256: DATA}), context=listening) as there:
        client, _ = client_of(there)
        (reason,) = fetch_each(client, f"https://{HOST}{CERTIFIED.pin}")
        assert reason == "origin_unreachable"
        assert there.asked == []


# --- answers

GOOD = (
    b"HTTP/1.1 206 Partial Content\r\nContent-Length: 65536\r\n"
    b"Content-Range: bytes 4096-69631/1048576\r\n"
)


def swap(old: bytes, new: bytes) -> bytes:
    assert old in GOOD
    return GOOD.replace(old, new) + b"\r\n"


def add(line: bytes) -> bytes:
    return GOOD + line + b"\r\n\r\n"


HEADS = {
    "whole": b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n",
    "whole without length": b"HTTP/1.1 200 OK\r\n\r\n",
    "whole of the right length": b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n",
    "another range": swap(b"bytes 4096-69631", b"bytes 0-65535"),
    "a longer range": swap(b"bytes 4096-69631", b"bytes 4096-69632"),
    "a shorter range": swap(b"bytes 4096-69631", b"bytes 4096-69630"),
    "a range backwards": swap(b"bytes 4096-69631", b"bytes 69631-4096"),
    "a range in other units": swap(b"bytes 4096", b"blocks 4096"),
    "a range of too little": swap(b"/1048576", b"/69631"),
    "a range without total": swap(b"/1048576", b""),
    "a range of words": swap(b"4096-69631/1048576", b"x-y/z"),
    "a range without end": swap(b"/1048576", b"/" + b"9" * 4000),
    "a range that was not satisfied": swap(b"bytes 4096-69631/1048576", b"bytes */1048576"),
    "no range": swap(b"Content-Range: bytes 4096-69631/1048576\r\n", b""),
    "two ranges": add(b"Content-Range: bytes 0-1/2"),
    "many ranges": swap(
        b"Content-Range: bytes 4096-69631/1048576",
        b"Content-Type: multipart/byteranges; boundary=x",
    ),
    "no length": swap(b"Content-Length: 65536\r\n", b""),
    "a longer length": swap(b"65536", b"65537"),
    "a length of a terabyte": swap(b"65536", b"1099511627776"),
    "a length below nothing": swap(b"65536", b"-1"),
    "a length with a sign": swap(b"65536", b"+65536"),
    "a length with an underline": swap(b"65536", b"65_536"),
    "a length without end": swap(b"65536", b"9" * 9000),
    "two lengths": swap(b"Content-Length", b"Content-Length: 65536\r\nContent-Length"),
    "chunks": swap(b"Content-Length: 65536", b"Transfer-Encoding: chunked"),
    "chunks and a length": add(b"Transfer-Encoding: chunked"),
    "packed": add(b"Content-Encoding: gzip"),
    "packed twice": add(b"Content-Encoding: identity, br"),
    "a folded field": add(b" Content-Range: x"),
    "a field without a name": add(b": x"),
    "a name with a blank": swap(b"Content-Length:", b"Content-Length :"),
    "a field with zeros": add(b"X: \0"),
    "a bare line end": add(b"X: a\nContent-Encoding: gzip"),
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "HTTP/2": swap(b"HTTP/1.1", b"HTTP/2"),
    "HTTP/1.10": swap(b"HTTP/1.1", b"HTTP/1.10"),
    "status 2060": swap(b"206 Partial", b"2060 Partial"),
    "status 099": swap(b"206", b"099"),
    "a word in between": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
    "go on": b"HTTP/1.1 100 Continue\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
    "who are you": b"HTTP/1.1 401 No\r\nWWW-Authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n",
    "a proxy asks": b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n",
    "broken": b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
    "a long line": b"HTTP/1.1 206 " + b"x" * 200_000 + b"\r\n\r\n",
    "a long field": add(b"X: " + b" " * 17_000 + b""),
    "many fields": GOOD + b"X: y\r\n" * 50_000 + b"\r\n",
    "nothing but line ends": b"\r\n" * 40_000,
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_answers_that_are_not_the_range(name: str) -> None:
    with serving(CERTIFIED, plainly(HEADS[name], WANTED)) as there:
        client, network = client_of(there)
        began = time.monotonic()
        assert failure(client).reason == "origin_answer"
        assert time.monotonic() - began < 8, "it is known by the head, and not by the time"
        assert network.resolved == [HOST]
        # What the origin goes on to say is no answer to the next question.
        client.close()
        assert failure(client).reason == "origin_answer"
        assert there.connections == 2


def test_the_good_head_is_good() -> None:
    assert read_head(GOOD + b"\r\n", PIECE) is True
    assert read_head(GOOD + b"connection: Close\r\n\r\n", PIECE) is False
    assert read_head((GOOD + b"\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"), PIECE) is False


@pytest.mark.parametrize("status", [404, 410, 416])
def test_a_part_that_is_not_there_is_told_apart(status: int) -> None:
    head = f"HTTP/1.1 {status} No\r\nContent-Length: 900000\r\n\r\n".encode()
    with serving(CERTIFIED, plainly(head)) as there:
        assert failure(client_of(there)[0]).reason == "part_missing"


def test_one_that_is_still_fetching_is_told_apart() -> None:
    head = b"HTTP/1.1 503 Later\r\nRetry-After: 999999\r\nContent-Length: 0\r\n\r\n"
    with serving(CERTIFIED, plainly(head)) as there:
        assert failure(client_of(there)[0]).reason == "origin_busy"


def test_a_head_of_blanks_costs_no_time() -> None:
    for filling in (b" " * 16_000, b"a" * 16_000, b"X:" * 8_000, b"\t \x0b" * 5_000):
        for head in (b"HTTP/1.1 206 P\r\nX:" + filling + b"\0\r\n\r\n", filling + b"\r\n\r\n"):
            began = time.monotonic()
            with contextlib.suppress(Malformed):
                read_head(head, PIECE)
            assert time.monotonic() - began < 0.5


def pour(first: bytes) -> Answering:
    """Send this, and then more for as long as it is taken."""

    def answer(asked: Asked, sock: ssl.SSLSocket) -> bool:
        del asked
        sock.sendall(first)
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(b"\xff" * 65536)
        return False

    return answer


@pytest.mark.parametrize("first", [
    b"", b"HTTP/1.1 206 Partial\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n", GOOD + b"\r\n" + WANTED,
])  # fmt: skip
def test_bytes_without_end_cost_what_was_asked_for(first: bytes) -> None:
    with serving(CERTIFIED, pour(first)) as there:
        client, _ = client_of(there)
        tracemalloc.start()
        try:
            if first.startswith(GOOD):
                assert fetch(client) == WANTED
            else:
                assert failure(client).reason == "origin_answer"
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 6 * 1024 * 1024, peak


def drip(head: bytes, pause_seconds: float = 0.1) -> Answering:
    """Send the head, and then one byte after another."""

    def answer(asked: Asked, sock: ssl.SSLSocket) -> bool:
        del asked
        sock.sendall(head)
        with contextlib.suppress(OSError):
            for _ in range(200):
                sock.sendall(b"x")
                time.sleep(pause_seconds)
        return False

    return answer


@pytest.mark.parametrize("answer", [
    drip(b""), drip(b"HTTP/1.1 206 Partial\r\nX: "), drip(GOOD + b"\r\n"),
    drip(GOOD + b"\r\n" + WANTED[:-200]), drip(GOOD + b"\r\n", 15.0),
])  # fmt: skip
def test_one_byte_after_another_is_given_up(answer: Answering) -> None:
    with serving(CERTIFIED, answer) as there:
        client, _ = client_of(there, patience=SHORT)
        began = time.monotonic()
        assert failure(client).reason == "origin_slow"
        assert time.monotonic() - began < 8


def test_who_accepts_and_says_nothing_is_given_up() -> None:
    with serving(CERTIFIED, answer_files({}), mute=True) as there:
        client, _ = client_of(there, patience=SHORT)
        began = time.monotonic()
        assert failure(client).reason == "origin_slow"
        assert time.monotonic() - began < 8


def test_silence_is_given_up_long_before_the_whole_time_is_over() -> None:
    idle = Patience(idle_seconds=0.5, whole_seconds=100.0)
    for head in (b"HTTP/1.1 206", GOOD + b"\r\n"):
        with serving(CERTIFIED, drip(head, 15.0)) as there:
            began = time.monotonic()
            assert failure(client_of(there, patience=idle)[0]).reason == "origin_slow"
            assert time.monotonic() - began < 12


@pytest.mark.parametrize("short", [0, 1, 65535])
def test_an_answer_that_ends_early_is_none(short: int) -> None:
    def answer(asked: Asked, sock: ssl.SSLSocket) -> bool:
        del asked
        sock.sendall(GOOD + b"\r\n" + WANTED[:short])
        return False

    with serving(CERTIFIED, answer) as there:
        assert failure(client_of(there)[0]).reason == "origin_unreachable"


def test_words_of_an_origin_are_shown_plainly() -> None:
    head = b"HTTP/1.1 206 P\r\nContent-Length: \x1b[2J\x1b]0;x\x07\r\n\r\n"
    with serving(CERTIFIED, plainly(head)) as there:
        assert failure(client_of(there)[0]).message.isprintable()
