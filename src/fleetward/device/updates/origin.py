"""Asking one origin for a piece of a part, over HTTPS. Part of uplink.

The owner's policy names the origin, guard names the blob by its hash, and nothing that an origin,
a name server or the control plane says changes who is asked for what:

1. The name is looked up once; what may not be asked (`trust.origin`) is left out, and the address
   that was judged is the one that is connected to.
2. TLS 1.2 at least, by the system's authorities, for the host that the policy names. Where the
   policy names a certificate, TLS 1.3 and that very certificate, before anything is asked; no
   authority, name or date makes up for another.
3. An answer is the range that was asked for, as long as it was asked for, plainly encoded. All
   else is a failure: redirects, chunks, packed bytes, pages that say why not.
4. Head, body and time are bounded. The connection is kept for the next piece after an answer that
   was in order, and after no other.

It does not judge the bytes: guard does, as it does those of the server.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import ssl
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.origin import Origin, check_address

MAX_HEAD_BYTES: Final = 16 * 1024
MAX_ADDRESSES: Final = 4
"""Addresses of one name that are tried."""
READ_BYTES: Final = 64 * 1024
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n]*)?")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSEEN: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_RANGE: Final = re.compile(rb"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15}|\*)")
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Piece:
    """What is asked for: a blob, by its SHA-256, and which bytes of it."""

    name: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an origin may take. A test makes it shorter; no value turns anything off."""

    connect_seconds: float = 10.0
    idle_seconds: float = 10.0
    """Between two readings of an answer, and before its head is whole."""
    whole_seconds: float = 60.0
    """For one piece, so that one byte at a time does not take for ever."""


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a name, as the resolver gives it."""

    family: int
    place: tuple[Any, ...]

    @property
    def text(self) -> str:
        """The IP address."""
        return str(self.place[0])


class Network(Protocol):
    """How names become addresses, and addresses connections."""

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        """Return the addresses of a name. Raises `OSError`."""

    async def connect(self, address: Address) -> socket.socket:
        """Return a connection to this very address. Raises `OSError`, or `Refused`."""


class SystemNetwork:
    """The network of this machine."""

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        """Return the addresses of a name. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [Address(family, place) for family, _, _, _, place in found]

    async def connect(self, address: Address) -> socket.socket:
        """Return a connection to this very address. Raises `OSError`.

        Raises `Refused` where that is one of this machine's own, which is loopback by another name.
        """
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, address.place)
            if sock.getsockname()[0] == address.text:
                raise Refused("It leads to this machine itself.", reason="address_refused")
        except BaseException:
            sock.close()
            raise
        return sock


def make_context() -> ssl.SSLContext:
    """Return what origins are verified by: the authorities of the system, and the host's name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_default_certs()
    return context


def make_pinned_context() -> ssl.SSLContext:
    """Return what an origin with a pin is spoken to by: it proves the key of what it shows, only.

    Whoever uses this compares what was shown (`_check_pin`) before he says a word.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True, slots=True)
class _Line:
    """An open connection to an origin."""

    origin: Origin
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class _GoneError(Exception):
    """A kept connection ended before it answered: a fresh one is worth a try."""


class OriginClient:
    """Asks origins, one at a time, over one connection at a time."""

    def __init__(
        self,
        network: Network | None = None,
        context: ssl.SSLContext | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._network = network or SystemNetwork()
        self._context = context
        self._pinned: ssl.SSLContext | None = None
        self._patience = patience or Patience()
        self._line: _Line | None = None

    async def fetch(self, origin: Origin, piece: Piece) -> bytes:
        """Return the bytes of a piece, unverified.

        Raises `Unreachable`, `Untrusted` for another host's certificate, `Malformed` for an answer
        that is none, `Refused` for an address of rule 1 (`address_refused`) and for a blob that is
        not there (`part_missing`). `Unreachable` with `origin_busy` is a cache's that has not got
        these bytes yet.
        """
        try:
            async with asyncio.timeout(self._patience.whole_seconds):
                data, keep = await self._fetch(origin, piece)
        except BaseException as e:
            self.close()
            problem = _translate(e)
            if problem is None:
                raise
            raise problem from e
        if not keep:
            self.close()
        return data

    def close(self) -> None:
        """End the connection at once, whatever is still under way."""
        line, self._line = self._line, None
        if line is not None:
            line.writer.transport.abort()

    # --- connecting

    async def _fetch(self, origin: Origin, piece: Piece) -> tuple[bytes, bool]:
        if self._line is not None and self._line.origin == origin:
            try:
                return await self._ask(self._line, piece)
            except _GoneError:
                pass
        self.close()
        self._line = await self._connect(origin)
        try:
            return await self._ask(self._line, piece)
        except _GoneError as e:
            raise Unreachable("It ended the connection.", reason="origin_unreachable") from e

    async def _connect(self, origin: Origin) -> _Line:
        async with asyncio.timeout(self._patience.connect_seconds):
            sock = await self._dial(origin)
            try:
                reader, writer = await asyncio.open_connection(
                    sock=sock,
                    ssl=self._context_for(origin),
                    server_hostname=origin.host,
                    limit=MAX_HEAD_BYTES,
                )
            except BaseException:
                sock.close()
                raise
            _check_pin(origin, writer)
        return _Line(origin, reader, writer)

    def _context_for(self, origin: Origin) -> ssl.SSLContext:
        """Return one of two contexts that never stand in for each other (rule 2)."""
        if origin.pin:
            self._pinned = self._pinned or make_pinned_context()
            return self._pinned
        self._context = self._context or make_context()
        return self._context

    async def _dial(self, origin: Origin) -> socket.socket:
        found = await self._network.resolve(origin.host, origin.port)
        problem: FleetwardError = Unreachable("It has no address.", reason="origin_unreachable")
        good = []
        for address in found:
            try:
                check_address(address.text)
            except (Malformed, Refused) as e:
                problem = e
            else:
                good.append(address)
        for address in good[:MAX_ADDRESSES]:
            try:
                return await self._network.connect(address)
            except OSError as e:
                problem = _unreachable(e)
        raise problem

    # --- asking

    async def _ask(self, line: _Line, piece: Piece) -> tuple[bytes, bool]:
        """Return the bytes, and whether the connection serves for another piece."""
        last = piece.offset + piece.length - 1
        question = (
            f"GET {line.origin.target(piece.name)} HTTP/1.1\r\n"
            f"Host: {line.origin.authority}\r\n"
            f"Range: bytes={piece.offset}-{last}\r\n"
            "Accept-Encoding: identity\r\n"
            "User-Agent: fleetward\r\n\r\n"
        )
        try:
            line.writer.write(question.encode("ascii"))
            head = await self._patiently(line.reader.readuntil(b"\r\n\r\n"))
        except ConnectionError as e:
            raise _GoneError from e
        except asyncio.IncompleteReadError as e:
            if not e.partial:
                raise _GoneError from e
            raise
        keep = read_head(head, piece)
        return await self._read_body(line.reader, piece.length), keep

    async def _read_body(self, reader: asyncio.StreamReader, length: int) -> bytes:
        body = bytearray()
        while len(body) < length:
            most = min(READ_BYTES, length - len(body))
            block = await self._patiently(reader.read(most))
            if not block:
                raise Unreachable(
                    f"Expected {length} bytes, got {len(body)}.", reason="origin_unreachable"
                )
            body += block
        return bytes(body)

    async def _patiently(self, reading: Awaitable[_T]) -> _T:
        async with asyncio.timeout(self._patience.idle_seconds):
            return await reading


def _check_pin(origin: Origin, writer: asyncio.StreamWriter) -> None:
    """Return when the origin has no pin, or showed the very certificate. Raises `Untrusted`."""
    if not origin.pin:
        return
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""
    found = hashlib.sha256(shown).hexdigest()
    if found != origin.pin:
        writer.transport.abort()
        raise Untrusted(
            f"It showed the certificate {found[:16]}…, and the owner's policy names "
            f"{origin.pin[:16]}….",
            reason="origin_certificate",
        )


# --- answers


def read_head(head: bytes, piece: Piece) -> bool:
    """Judge the head of an answer; return whether the connection is kept after its body.

    RFC 9110, 14.4 and 15.3.7: what came must be the very range. A whole file serves where it is
    what was asked for. Raises `Malformed`, or `Refused` (`part_missing`).
    """
    first, *rest = head[:-4].split(b"\r\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise _bad("an answer in HTTP/1.1", first)
    code = int(status[2])
    if code in (404, 410, 416):
        raise Refused(f"It answered {code}: it has not got this part.", reason="part_missing")
    if code == 503:
        raise Unreachable("It is still fetching this part itself.", reason="origin_busy")
    if code not in (200, 206):
        raise _bad("status 206", b"%d" % code)
    fields = _read_fields(rest)
    _check_range(fields, piece, whole=code == 200)
    return status[1] == b"1" and b"close" not in fields.get(b"connection", b"").lower()


def _read_fields(lines: list[bytes]) -> dict[bytes, bytes]:
    """Return the fields of a head; one that comes twice, or is folded, is refused where it counts.

    Raises `Malformed`.
    """
    fields: dict[bytes, bytes] = {}
    for line in lines:
        before, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(before) or _UNSEEN.search(value):
            raise _bad("fields of HTTP", line)
        name = before.lower()
        if name in fields and name.startswith((b"content-", b"transfer-", b"connection")):
            raise _bad("one field of each kind", line)
        fields[name] = value.strip(b" \t")
    return fields


def _check_range(fields: dict[bytes, bytes], piece: Piece, *, whole: bool) -> None:
    if b"transfer-encoding" in fields:
        raise _bad("a body in one piece", fields[b"transfer-encoding"])
    if fields.get(b"content-encoding", b"identity").lower() != b"identity":
        raise _bad("bytes as they are", fields[b"content-encoding"])
    length = fields.get(b"content-length", b"")
    if not _LENGTH.fullmatch(length) or int(length) != piece.length:
        raise _bad(f"{piece.length} bytes", length)
    if whole:
        if piece.offset or b"content-range" in fields:
            raise _bad("status 206", b"200")
        return
    said = _RANGE.fullmatch(fields.get(b"content-range", b""))
    last = piece.offset + piece.length - 1
    right = said is not None and (int(said[1]), int(said[2])) == (piece.offset, last)
    if said is None or not right or (said[3] != b"*" and int(said[3]) <= last):
        raise _bad(
            f"the range bytes {piece.offset}-{last}", fields.get(b"content-range", b"no range")
        )


def _bad(expected: str, came: bytes) -> Malformed:
    shown = "".join(c if " " <= c <= "~" else "?" for c in came[:60].decode("latin-1"))
    return Malformed(f"Expected {expected}, got {shown!r}.", reason="origin_answer")


def _translate(error: BaseException) -> FleetwardError | None:
    """Return what went wrong as an error of ours, or None for what is none of the network's."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Untrusted(
            f"Its certificate is not that of this host: {error.verify_message}.",
            reason="origin_certificate",
        )
    if isinstance(error, TimeoutError):
        return Unreachable("It takes too long to answer.", reason="origin_slow")
    if isinstance(error, OSError):
        return _unreachable(error)
    if isinstance(error, asyncio.LimitOverrunError):
        return _bad(f"a head of at most {MAX_HEAD_BYTES} bytes", b"more")
    if isinstance(error, asyncio.IncompleteReadError):
        return Unreachable("It ended the connection.", reason="origin_unreachable")
    return None


def _unreachable(error: OSError) -> Unreachable:
    words = error.strerror or type(error).__name__
    return Unreachable(f"It cannot be reached: {words}.", reason="origin_unreachable")
