"""Speaking to the enrolment listener: HTTPS under the one CA that was pinned. Part of uplink.

The CA itself comes from the server, in the chain that it shows. The first connection believes
nothing and sends nothing: it only looks in that chain for the certificate whose hash was pinned.
Every request then goes over a second connection, verified by that CA in the usual way.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import ssl
from collections.abc import Sequence
from typing import Any, Final

from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.invitation import split_address
from fleetward.wire.identity import MAX_REPLY_BYTES

CONNECT_SECONDS: Final = 10.0
MAX_PROBLEM_CHARACTERS: Final = 500
_DER: Final = 2
"""`_ssl.ENCODING_DER`."""


def fetch_pinned_ca(addresses: Sequence[str], sha256: str) -> bytes:
    """Return the DER of the CA with this hash out of the chain that the server shows.

    Raises `Untrusted` when no certificate of the chain has it, `Unreachable`.
    """
    return _try_each(addresses, lambda address: _fetch_ca(address, sha256))


def post_enrolment(addresses: Sequence[str], ca_pem: str, path: str, body: bytes) -> bytes:
    """Post a request and return the reply's bytes, unread.

    Raises `Refused` with the server's reason, `Untrusted` for another server, `Unreachable`.
    """
    return _try_each(addresses, lambda address: _post(address, ca_pem, path, body))


def _try_each(addresses: Sequence[str], attempt: Any) -> bytes:
    problem: FleetwardError = Unreachable("There is no address to ask.", reason="no_address")
    for address in addresses:
        try:
            answer: bytes = attempt(address)
        except Unreachable as e:
            problem = e
            continue
        return answer
    raise problem


def _fetch_ca(address: str, sha256: str) -> bytes:
    host, port = split_address(address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Nothing is believed of this connection and nothing is sent over it; see above.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=CONNECT_SECONDS) as raw,
            context.wrap_socket(raw, server_hostname=host) as tls,
        ):
            chain = _read_chain(tls)
    except OSError as e:
        raise _unreachable(address, e) from e
    for der in chain:
        if hashlib.sha256(der).hexdigest() == sha256:
            return der
    raise Untrusted(
        f"Expected the server at {address} to show the CA {sha256[:16]}… of the join string; it "
        "showed another. Somebody may stand between, or the server has a new CA: ask the owner.",
        reason="wrong_server_ca",
    )


def _read_chain(tls: ssl.SSLSocket) -> list[bytes]:
    """Return the chain in DER. Python 3.13 names this method publicly; before, it is inside."""
    inner: Any = tls if hasattr(tls, "get_unverified_chain") else tls._sslobj  # type: ignore[attr-defined]
    chain = inner.get_unverified_chain() or []
    return [c if isinstance(c, bytes) else c.public_bytes(_DER) for c in chain]


def _post(address: str, ca_pem: str, path: str, body: bytes) -> bytes:
    host, port = split_address(address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=ca_pem)
    connection = http.client.HTTPSConnection(host, port, timeout=CONNECT_SECONDS, context=context)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        data = response.read(MAX_REPLY_BYTES + 1)
        status = response.status
    except ssl.SSLCertVerificationError as e:
        raise Untrusted(
            f"The server at {address} is not the one that the owner named: {e.verify_message}.",
            reason="server_certificate_untrusted",
        ) from e
    except (OSError, http.client.HTTPException) as e:
        raise _unreachable(address, e) from e
    finally:
        connection.close()
    if len(data) > MAX_REPLY_BYTES:
        raise Malformed("Expected a reply of at most 1 MiB.", reason="too_large")
    if status != 200:
        raise _refusal(status, data)
    return data


def _refusal(status: int, data: bytes) -> FleetwardError:
    """Return the server's problem as an error; its words are only shown."""
    reason, words = "server_refused", f"The server answered {status}."
    try:
        problem = json.loads(data)
        if isinstance(problem, dict):
            reason = _clean(problem.get("reason"), 64) or reason
            words = _clean(problem.get("detail"), MAX_PROBLEM_CHARACTERS) or words
    except (ValueError, RecursionError):
        pass
    if status in (429, 500, 502, 503, 504):
        return Unreachable(words, reason=reason)
    return Refused(words, reason=reason)


def _clean(value: object, most: int) -> str:
    if not isinstance(value, str):
        return ""
    return "".join(c for c in value if c.isprintable())[:most]


def _unreachable(address: str, error: Exception) -> Unreachable:
    return Unreachable(
        f"Expected the enrolment of the server at {address}; {error or type(error).__name__}. "
        "Check the network, and try again.",
        reason="enrolment_unreachable",
    )
