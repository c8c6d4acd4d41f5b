"""A small client of the server's API: stdlib, bounded, and without belief in what comes back.

An answer of the server is a proposal. What matters in it is verified by `trust` afterwards; here
it is only measured, decoded strictly, and problem details become the error that they describe.
"""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from fleetward.trust.errors import Malformed, Refused, Unreachable, Untrusted

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""Bytes of a JSON answer: the pending machines and documents of a fleet of 100,000."""
TIMEOUT_SECONDS: Final = 30
_CHUNK_BYTES: Final = 1024 * 1024
_REASON: Final = re.compile("[a-z0-9_]{1,64}")

T = TypeVar("T")


class NotThere(Refused):
    """The server answers that there is no such thing (404)."""


class _Problem(msgspec.Struct, frozen=True):
    """The parts of problem details (RFC 9457) that a person is told."""

    status: int = 0
    detail: str = "The server gave no reason."
    reason: str = "refused"


@dataclass(frozen=True)
class ApiClient:
    """Speaks to one server with one token. Each request is a connection of its own."""

    api: str
    token: str = ""
    server_ca_pem: str = ""
    """A CA to accept besides those of the system: the server's own, once it is pinned."""

    def get(self, path: str, kind: type[T]) -> T:
        """Return the decoded answer of a GET. Raises as `request` does."""
        return _decode(self.request("GET", path), kind)

    def post(self, path: str, body: Any, kind: type[T]) -> T:
        """Return the decoded answer of a POST with a JSON body. Raises as `request` does."""
        return _decode(self.request("POST", path, msgspec.json.encode(body)), kind)

    def request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Return the bytes of an answer.

        Raises `Unreachable`, `Malformed` for an answer that is too large, or what the problem
        details say: `Refused`, or `Unreachable` when the server itself is in trouble.
        """
        return self._exchange(method, path, body, _read_bounded)

    def put(self, path: str, body: bytes) -> bytes:
        """Return the bytes of an answer to a PUT of raw bytes. Raises as `request` does."""
        return self._exchange("PUT", path, body, _read_bounded, "application/octet-stream")

    def download(self, path: str, into: BinaryIO, max_bytes: int) -> int:
        """Write the answer of a GET to a file, and return its size. Raises as `request` does."""

        def copy(response: http.client.HTTPResponse) -> int:
            total = 0
            while chunk := response.read(_CHUNK_BYTES):
                total += len(chunk)
                if total > max_bytes:
                    raise Malformed(
                        f"Expected at most {max_bytes} bytes from the server; more came.",
                        reason="answer_too_large",
                    )
                into.write(chunk)
            return total

        return self._exchange("GET", path, None, copy)

    def piece(self, path: str, max_bytes: int) -> tuple[bytes, dict[str, str]]:
        """Return the bytes of a GET and its headers, names in small letters. Raises as `request`.

        Raises `Malformed` when more than `max_bytes` come.
        """

        def take(response: http.client.HTTPResponse) -> tuple[bytes, dict[str, str]]:
            data = response.read(max_bytes + 1)
            if len(data) > max_bytes:
                raise Malformed(
                    f"Expected at most {max_bytes} bytes from the server; more came.",
                    reason="answer_too_large",
                )
            return data, {name.lower(): value for name, value in response.getheaders()}

        return self._exchange("GET", path, None, take)

    def seek(self, path: str, max_bytes: int) -> bytes | None:
        """Return the bytes of a GET, or None where nothing is there. Raises as `piece`."""
        try:
            return self.piece(path, max_bytes)[0]
        except NotThere:
            return None

    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        take: Callable[[http.client.HTTPResponse], T],
        kind: str = "application/json",
    ) -> T:
        parts = urlsplit(self.api)
        headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {self.token}",
            "Host": parts.netloc,
        }
        if body is not None:
            headers["Content-Type"] = kind
        connection = self._connect(parts.scheme, parts.hostname or "", parts.port)
        try:
            connection.request(method, parts.path + path, body, headers)
            response = connection.getresponse()
            if not 200 <= response.status < 300:
                raise _read_problem(response)
            return take(response)
        except ssl.SSLCertVerificationError as e:
            raise Untrusted(
                f"The server at {self.api} showed a certificate that nobody vouches for: "
                f"{e.verify_message}.",
                reason="server_not_trusted",
            ) from e
        except (OSError, http.client.HTTPException) as e:
            raise Unreachable(
                f"Expected an answer of the server at {self.api}; {e or type(e).__name__}. "
                "Is it running? Nothing is lost: try again.",
                reason="server_unreachable",
            ) from e
        finally:
            connection.close()

    def _connect(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        if scheme == "http":
            # Names below localhost are this computer (RFC 6761, section 6.3); few resolvers know.
            here = "127.0.0.1" if host.endswith(".localhost") else host
            return http.client.HTTPConnection(here, port, timeout=TIMEOUT_SECONDS)
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if self.server_ca_pem:
            context.load_verify_locations(cadata=self.server_ca_pem)
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=context)


def decode_answer(data: bytes, kind: type[T]) -> T:
    """Return a decoded answer. Raises `Malformed`."""
    return _decode(data, kind)


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Malformed(
            f"Expected an answer in the form of this release; {e}. Are both of one version?",
            reason="bad_answer",
        ) from e


def _read_bounded(response: http.client.HTTPResponse) -> bytes:
    data = response.read(MAX_ANSWER_BYTES + 1)
    if len(data) > MAX_ANSWER_BYTES:
        raise Malformed(
            f"Expected at most {MAX_ANSWER_BYTES} bytes from the server; more came.",
            reason="answer_too_large",
        )
    return data


def _read_problem(response: http.client.HTTPResponse) -> Exception:
    data = response.read(64 * 1024)
    try:
        problem = msgspec.json.decode(data, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        problem = _Problem()
    words = "".join(c if c.isprintable() else " " for c in problem.detail[:1000])
    # A reason is a code that programs read. What is none of ours says nothing.
    reason = problem.reason if _REASON.fullmatch(problem.reason) else "refused"
    if response.status in (429, 500, 502, 503, 504):
        return Unreachable(f"The server could not: {words}", reason=reason)
    if response.status == 404:
        return NotThere(f"The server refused: {words}", reason=reason)
    return Refused(f"The server refused: {words}", reason=reason)
