"""The requester's word for the transport key with which he comes to a session's bus subjects.

The server issues a certificate for that key, which opens a TLS connection and nothing else: what
happens in a session is sealed between the session keys. This word only keeps others who may speak
to the server from taking the requester's place on the bus and disturbing him. That he holds the
transport key shows in TLS.
"""

from __future__ import annotations

from typing import Final

from fleetward.trust.canonical import JsonObject, to_base64url
from fleetward.trust.envelope import read_envelope, verify_single
from fleetward.trust.errors import Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.keys import ES256, PublicKey, read_public_key

CONNECTION_TYPE: Final = "fleetward.connection.v1"
MAX_CONNECTION_BYTES: Final = 4096
MAX_SPKI_BYTES: Final = 256


def make_connection_payload(owner: str, session: str, transport: PublicKey) -> JsonObject:
    """Return the payload that the requester signs. `session` is the hash of the grant."""
    return {
        "owner": owner,
        "public_key": to_base64url(transport.spki),
        "session": session,
        "type": CONNECTION_TYPE,
    }


def verify_connection(data: bytes, requester: PublicKey, owner: str, session: str) -> PublicKey:
    """Return the P-256 transport key that the requester of this session vouches for.

    Raises `Malformed` or `Untrusted`.
    """
    envelope = read_envelope(data, max_bytes=MAX_CONNECTION_BYTES)
    verify_single(envelope, CONNECTION_TYPE, requester)
    names = {"owner", "public_key", "session", "type"}
    fields = Fields(envelope.payload, "the connection", names)
    if fields.digest("owner") != owner or fields.digest("session") != session:
        raise Untrusted("This was signed for another session.", reason="another_session")
    return read_public_key(ES256, fields.binary("public_key", most=MAX_SPKI_BYTES))
