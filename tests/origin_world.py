"""Origins for downloads: a TLS server on loopback that answers as a test tells it to.

    with serving(certify("parts.example"), answer_files({sha256: data})) as there:
        client = OriginClient(Steered({"parts.example": ["203.0.113.9"]}, there.port), there.trust)

Machines refuse loopback as an origin's address. So a test passes in who resolves names, to any
addresses, and who connects: to this server, whatever address was judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding

from fleetward.device.updates.origin import Address, make_context
from fleetward.runtime import x509
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.x509 import Authority

HOST: Final = "parts.example"
OUTSIDE: Final = "203.0.113.9"
DAY_MS: Final = 86_400_000
_ASKED: Final = re.compile(rb"GET (/[^ ]*) HTTP/1\.1\r\n")
_RANGE: Final = re.compile(rb"\r\nRange: bytes=([0-9]+)-([0-9]+)\r\n")
Answering = Callable[["Asked", ssl.SSLSocket], bool]
"""Answers one question; returns whether the connection is kept."""


@dataclass(frozen=True)
class Asked:
    """One question, as it came."""

    head: bytes
    path: str
    first: int
    last: int

    @property
    def range(self) -> bytes:
        return b"bytes %d-%d" % (self.first, self.last)

    @property
    def length(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True)
class Certified:
    """A certificate with its key, and the authority that gave it."""

    chain: bytes
    key: bytes
    authority: bytes

    @property
    def pin(self) -> str:
        """What an origin names this certificate by."""
        der = x509.read_certificates(self.chain)[0].public_bytes(Encoding.DER)
        return f"#sha256={hashlib.sha256(der).hexdigest()}"


def certify(*names: str, authority: Authority | None = None, days: int = 30) -> Certified:
    """Return a certificate for these names; with negative days one that is over."""
    now = SystemClock().wall_ms()
    ca = authority or x509.make_authority(
        "Origins", not_before_ms=now - 90 * DAY_MS, days=400, path_length=1
    )
    key = x509.new_key()
    begins = now - DAY_MS if days > 0 else now + days * DAY_MS - DAY_MS
    made = x509.issue_server_certificate(
        ca, key.public_key(), names=names, not_before_ms=begins, days=abs(days)
    )
    return Certified(
        x509.write_certificates([made]),
        x509.write_key(key),
        x509.write_certificates([ca.certificate]),
    )


@dataclass
class There:
    """A server that is running, and what it was asked."""

    port: int
    trust: ssl.SSLContext
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0


@dataclass
class Steered:
    """A network whose names lead where a test says, and whose connections end at one port here."""

    names: Mapping[str, Sequence[str]]
    port: int
    resolved: list[str] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)
    dead: set[str] = field(default_factory=set)

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        self.resolved.append(host)
        found = self.names.get(host)
        if found is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [Address(_family(text), (text, port)) for text in found]

    async def connect(self, address: Address) -> socket.socket:
        self.dialled.append(address.text)
        if address.text in self.dead:
            raise ConnectionRefusedError(111, "Connection refused")
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        return sock


def _family(text: str) -> int:
    return socket.AF_INET6 if ":" in text else socket.AF_INET


def answer_files(files: Mapping[str, bytes], base: str = "") -> Answering:
    """Serve files as a web server does that holds a published repository."""

    def answer(asked: Asked, sock: ssl.SSLSocket) -> bool:
        data = files.get(asked.path.removeprefix(f"{base}/blobs/"))
        if data is None:
            sock.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return True
        body = data[asked.first : asked.last + 1]
        head = (
            f"HTTP/1.1 206 Partial Content\r\nServer: plain\r\nAccept-Ranges: bytes\r\n"
            f"Content-Length: {len(body)}\r\n"
            f"Content-Range: bytes {asked.first}-{asked.first + len(body) - 1}/{len(data)}\r\n\r\n"
        )
        sock.sendall(head.encode() + body)
        return True

    return answer


@contextlib.contextmanager
def serving(
    certified: Certified,
    answer: Answering,
    *,
    host: str = "127.0.0.1",
    mute: bool = False,
    context: ssl.SSLContext | None = None,
) -> Iterator[There]:
    """Serve until the end; `mute` accepts connections and says nothing, not even TLS."""
    shown = context or load_chain(certified)
    listener = socket.create_server((host, 0))
    trust = make_context()
    trust.load_verify_locations(cadata=certified.authority.decode())
    there = There(listener.getsockname()[1], trust)
    taken: list[socket.socket] = []
    ending = threading.Event()

    def talk(raw: socket.socket) -> None:
        if mute:
            ending.wait(30)
            return
        with contextlib.suppress(OSError):
            sock = shown.wrap_socket(raw, server_side=True)
            taken.append(sock)
            _answer_all(sock, answer, there)
            sock.close()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                raw, _ = listener.accept()
                raw.settimeout(20)
                there.connections += 1
                taken.append(raw)
                threading.Thread(target=talk, args=(raw,), daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield there
    finally:
        ending.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for sock in taken:
            sock.close()
        accepting.join(5)


def load_chain(certified: Certified) -> ssl.SSLContext:
    """Return what a server shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        both = Path(folder) / "both.pem"
        both.write_bytes(certified.chain + certified.key)
        context.load_cert_chain(both)
    return context


def _answer_all(sock: ssl.SSLSocket, answer: Answering, there: There) -> None:
    head = b""
    while block := sock.recv(65536):
        head += block
        if b"\r\n\r\n" not in head:
            continue
        asked = read_question(head)
        there.asked.append(asked)
        head = b""
        if not answer(asked, sock):
            return


def read_question(head: bytes) -> Asked:
    """Return what was asked for; it must be asked in the one way that uplink asks."""
    path, said = _ASKED.match(head), _RANGE.search(head)
    assert path is not None and said is not None, head
    return Asked(head, path[1].decode(), int(said[1]), int(said[2]))
