"""Fetching a server's introduction over TLS that is pinned to its CA's SHA-256.

The owner was given the hash by `fleetward up`, on paper or on the server's own disk. The procedure:

1. Ask the server for its certificates, in a handshake that carries nothing else.
2. Take the one whose SHA-256 is the pin. Without it: stop, nothing was sent.
3. Connect again, with that certificate as the only CA, names checked, TLS 1.3. All that is
   believed comes over this second connection.
"""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
from dataclasses import dataclass
from typing import Final, cast

import msgspec

from fleetward.trust.errors import Malformed, Unreachable, Untrusted
from fleetward.trust.fields import require_digest
from fleetward.trust.invitation import split_address
from fleetward.wire.identity import INTRODUCTION_PATH, MAX_REPLY_BYTES, Introduction

TIMEOUT_SECONDS: Final = 15
_PEM: Final = "PEM"


@dataclass(frozen=True, slots=True)
class PinnedServer:
    """A server that proved to stand under the CA that the owner was told of."""

    server_ca: str
    server_ca_pem: str
    introduction: Introduction


def fetch_introduction(address: str, server_ca: str) -> PinnedServer:
    """Return what the server at `host:port` says of itself.

    Raises `Unreachable`, `Untrusted` when it does not stand under the pinned CA, `Malformed`.
    """
    pin = require_digest(server_ca.lower().replace(":", ""), "the hash of the server CA")
    host, port = split_address(address)
    try:
        pem = _find_authority(host, port, pin)
        data = _get(host, port, pem)
    except ssl.SSLError as e:
        raise Untrusted(
            f"Expected {address} to stand under the server CA {pin[:16]}…; {e.reason}. "
            "Compare the hash with what `fleetward up` printed.",
            reason="wrong_server_ca",
        ) from e
    except (OSError, http.client.HTTPException) as e:
        raise Unreachable(
            f"Expected an answer of {address}; {e or type(e).__name__}. Is the server running?",
            reason="server_unreachable",
        ) from e
    try:
        introduction = msgspec.json.decode(data, type=Introduction)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise Malformed(f"Expected a server's introduction; {e}.", reason="bad_introduction") from e
    if introduction.server_ca != pin:
        raise Untrusted(
            "The server introduces itself under another CA than the one it was reached by.",
            reason="wrong_server_ca",
        )
    return PinnedServer(pin, pem, introduction)


def _find_authority(host: str, port: int, pin: str) -> str:
    # 1. This context checks nothing, and nothing is sent or believed under it: what comes out is
    #    compared with the pin.
    probe = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    probe.minimum_version = ssl.TLSVersion.TLSv1_3
    probe.check_hostname = False
    probe.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((host, port), timeout=TIMEOUT_SECONDS) as plain,
        probe.wrap_socket(plain, server_hostname=host) as connection,
    ):
        chain = _shown_chain(connection)
    # 2.
    for der in chain:
        if hashlib.sha256(der).hexdigest() == pin:
            return ssl.DER_cert_to_PEM_cert(der)
    raise Untrusted(
        f"Expected the server CA {pin[:16]}… at {host}:{port}; another server answered. "
        "Compare the hash with what `fleetward up` printed.",
        reason="wrong_server_ca",
    )


def _get(host: str, port: int, pem: str) -> bytes:
    # 3.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=pem)
    connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=context)
    try:
        connection.request("GET", INTRODUCTION_PATH)
        response = connection.getresponse()
        data = response.read(MAX_REPLY_BYTES + 1)
    finally:
        connection.close()
    if response.status != 200 or len(data) > MAX_REPLY_BYTES:
        raise Malformed(
            f"Expected an introduction; the server answered with status {response.status}.",
            reason="bad_introduction",
        )
    return data


def _shown_chain(connection: ssl.SSLSocket) -> list[bytes]:
    """Return the certificates that the server showed, in DER.

    Python 3.13 names this `get_unverified_chain`; before, the same lies one object below.
    """
    if hasattr(connection, "get_unverified_chain"):
        return cast("list[bytes]", connection.get_unverified_chain())
    shown = connection._sslobj.get_unverified_chain() or []  # type: ignore[attr-defined]
    return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in shown]
