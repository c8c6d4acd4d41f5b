"""Whom the cache asks for a part that it has not got: a web server with a published repository, or
a Fleetward server's API. Part of the gateway.

1. HTTPS, by the system's authorities or by one file of them, for the host that the settings name.
2. No redirect is followed, and no word of an answer becomes an address, a path or a name.
3. An answer is the range that was asked for, plainly encoded and in bounded size; all else fails.
   Its time is bounded by whoever asks, who cuts the line.

What comes is unverified. The cache gives a blob its name by its hash, and machines verify it again.

Everything raises `Refused` (`part_missing`) for a part that is not there, `Malformed` for an answer
that is none, `Untrusted` for another certificate, and `Unreachable`.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fleetward.runtime.blob_folder import MAX_PIECE_BYTES
from fleetward.runtime.files import read_bounded
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable, Untrusted

IDLE_SECONDS: Final = 20
"""Between two readings of an answer, and to connect."""
MAX_CA_BYTES: Final = 256 * 1024
MAX_STATE_BYTES: Final = 64 * 1024
MAX_TOKEN_BYTES: Final = 4096
API: Final = "/api/v1"
_PLACE: Final = re.compile(
    r"https://(?:\[(?P<v6>[0-9a-f:.]{2,45})\]|(?P<name>[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?))"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?(?P<base>(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*)/?"
)
_RANGE: Final = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})")
_TOKEN: Final = re.compile(r"[!-~]{1,512}")


@dataclass(frozen=True, slots=True)
class Got:
    """Bytes of a blob, and how many it has in all."""

    data: bytes
    total: int


@dataclass(frozen=True, slots=True)
class Upstream:
    """A place to ask. With a token it is a Fleetward server, else a published repository."""

    text: str
    host: str
    port: int
    base: str
    context: ssl.SSLContext
    token_file: Path | None = None
    """Read anew for each part, so that a new token needs no restart."""

    def open(self) -> Line:
        """Return a line to it, which connects when it is first asked."""
        return Line(self)


class _BlobState(msgspec.Struct, frozen=True):
    """What a server says of a blob."""

    size: int
    complete: bool


def read_upstream(text: str, ca_file: Path | None, token_file: Path | None) -> Upstream:
    """Return whom the settings name. Raises `Malformed`, and as `read_bounded`."""
    found = _PLACE.fullmatch(text)
    if found is None or len(text) > 253 or int(found["port"] or 443) > 65535:
        raise Malformed(
            "Expected whom to ask as https://parts.example/folder, in lower case; got "
            f"{text[:80]!r}.",
            reason="bad_upstream",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is None:
        context.load_default_certs()
    else:
        pem = read_bounded(ca_file, MAX_CA_BYTES).decode("ascii", errors="replace")
        try:
            context.load_verify_locations(cadata=pem)
        except ssl.SSLError as e:
            raise Malformed(
                f"Expected certificates as PEM in {ca_file}.", reason="bad_certificate"
            ) from e
    if token_file is not None:
        read_token(token_file)
    host = found["v6"] or found["name"]
    place = text.removesuffix("/")
    return Upstream(place, host, int(found["port"] or 443), found["base"], context, token_file)


def read_token(path: Path) -> str:
    """Return a token out of a file that nobody else may read. Raises `Malformed`, `Refused`."""
    token = read_bounded(path, MAX_TOKEN_BYTES).decode("ascii", errors="replace").strip()
    if path.stat().st_mode & 0o077:
        raise Refused(
            f"Expected {path} to be readable by its owner alone: chmod 600 {path}",
            reason="token_file_open",
        )
    if _TOKEN.fullmatch(token) is None:
        raise Malformed(f"Expected a token in {path}.", reason="bad_token_file")
    return token


class Line:
    """One connection to an upstream, for one thread at a time; `cut` may come from any."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._connection: http.client.HTTPSConnection | None = None
        self._used = False
        self._total: int | None = None
        self._lock = threading.Lock()

    def fetch(self, sha256: str, offset: int, length: int) -> Got:
        """Return up to `length` bytes of a blob from `offset`, and how long it is."""
        if length > MAX_PIECE_BYTES:
            raise Malformed("Expected a smaller piece.", reason="bad_piece")
        try:
            return self._fetch(sha256, offset, length)
        except BaseException as e:
            self.cut()
            if isinstance(e, FleetwardError):
                raise
            problem = self._translate(e)
            if problem is None:
                raise
            raise problem from e

    def cut(self) -> None:
        """End the connection, also under a thread that waits for it."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            sock = connection.sock
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                connection.close()

    def _fetch(self, sha256: str, offset: int, length: int) -> Got:
        place = self._upstream
        if place.token_file is None:
            span = f"bytes={offset}-{offset + length - 1}"
            answer = self._ask(f"{place.base}/blobs/{sha256}", {"Range": span})
            return self._read_range(answer, offset, length)
        if self._total is None:
            answer = self._ask(f"{place.base}{API}/updates/blobs/{sha256}", {})
            self._total = self._read_state(answer)
        length = min(length, self._total - offset)
        if length <= 0:
            raise _misplaced()
        path = f"{place.base}{API}/updates/blob-bytes/{sha256}?offset={offset}&length={length}"
        answer = self._ask(path, {})
        _check_status(answer, 200)
        return Got(_read_body(answer, length), self._total)

    def _ask(self, path: str, fields: dict[str, str]) -> http.client.HTTPResponse:
        """Send a question; once more over a fresh connection where a kept one had ended."""
        fields = {"Accept-Encoding": "identity", "User-Agent": "fleetward-cache"} | fields
        if self._upstream.token_file is not None:
            fields["Authorization"] = f"Bearer {read_token(self._upstream.token_file)}"
        while True:
            kept, connection = self._used, self._connect()
            try:
                connection.request("GET", path, headers=fields)
                answer = connection.getresponse()
            except (ConnectionError, http.client.RemoteDisconnected):
                if not kept:
                    raise
                self._drop()
                continue
            self._used = True
            return answer

    def _connect(self) -> http.client.HTTPSConnection:
        with self._lock:
            if self._connection is None:
                place, self._used = self._upstream, False
                self._connection = http.client.HTTPSConnection(
                    place.host, place.port, timeout=IDLE_SECONDS, context=place.context
                )
            return self._connection

    def _drop(self) -> None:
        self.cut()
        self._used = False

    def _read_range(self, answer: http.client.HTTPResponse, offset: int, length: int) -> Got:
        if answer.status == 416:
            raise _misplaced()
        _check_status(answer, 206)
        said = _RANGE.fullmatch(answer.getheader("Content-Range", ""))
        if said is None:
            raise _bad("a range", answer.getheader("Content-Range", "none"))
        first, last, total = int(said[1]), int(said[2]), int(said[3])
        if total <= offset:
            raise _misplaced()
        if first != offset or last != min(offset + length, total) - 1:
            raise _bad(f"the range from {offset}", f"{first}-{last}/{total}")
        return Got(_read_body(answer, last - first + 1), total)

    def _read_state(self, answer: http.client.HTTPResponse) -> int:
        _check_status(answer, 200)
        data = answer.read(MAX_STATE_BYTES + 1)
        if len(data) > MAX_STATE_BYTES:
            raise _bad("a short answer", f"more than {MAX_STATE_BYTES} bytes")
        try:
            state = msgspec.json.decode(data, type=_BlobState)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
            raise _bad("how much of a blob is there", "something else") from e
        if not state.complete:
            raise _missing(404)
        return state.size

    def _translate(self, error: BaseException) -> FleetwardError | None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return Untrusted(
                f"Its certificate is not that of this host: {error.verify_message}.",
                reason="upstream_certificate",
            )
        if isinstance(error, TimeoutError):
            return Unreachable("It takes too long to answer.", reason="upstream_slow")
        if isinstance(error, (OSError, http.client.HTTPException, ValueError, AttributeError)):
            # The last two are what http.client makes of a connection that another thread cut.
            words = getattr(error, "strerror", None) or type(error).__name__
            return Unreachable(f"It cannot be reached: {words}.", reason="upstream_unreachable")
        return None


def _check_status(answer: http.client.HTTPResponse, wanted: int) -> None:
    status = answer.status
    if status in (404, 410):
        # The rest of the answer stays unread, and so this connection is not used again.
        raise _missing(status)
    if status in (401, 403):
        raise Refused(
            f"It answered {status}: it does not let this cache read parts. See to its token.",
            reason="upstream_refuses",
        )
    if status in (429, 502, 503, 504):
        raise Unreachable(f"It answered {status}: it cannot now.", reason="upstream_busy")
    if status != wanted:
        raise _bad(f"status {wanted}", str(status))
    if answer.getheader("Content-Encoding", "identity").lower() != "identity":
        raise _bad("bytes as they are", answer.getheader("Content-Encoding", ""))


def _read_body(answer: http.client.HTTPResponse, length: int) -> bytes:
    """Return a body of just this length, by its `Content-Length`."""
    if answer.length != length:
        raise _bad(f"{length} bytes", str(answer.length))
    data = answer.read(length)
    if len(data) != length:
        raise Unreachable(
            f"Expected {length} bytes, got {len(data)}.", reason="upstream_unreachable"
        )
    return data


def _missing(status: int) -> Refused:
    return Refused(f"It answered {status}: it has not got this part.", reason="part_missing")


def _misplaced() -> Malformed:
    return Malformed("It has not got as much of this part as is here.", reason="part_shorter")


def _bad(expected: str, came: str) -> Malformed:
    shown = "".join(c if " " <= c <= "~" else "?" for c in came[:60])
    return Malformed(f"Expected {expected}, got {shown!r}.", reason="upstream_answer")
