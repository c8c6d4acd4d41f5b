"""What a thief of the whole server could try to get somebody into a machine: pure, bytes out.

He has the papers of true sessions as the server carried them, and the server's keys. He has no key
of the owner's people and none of a technician's. Nothing here is judged; that is the machine's.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fleetward.server.drill.attack import Attack, HeldDocuments, make_order_attack
from fleetward.trust.access import RootScope
from fleetward.trust.canonical import JsonObject, encode, to_base64url
from fleetward.trust.envelope import Envelope, read_envelope, seal
from fleetward.trust.keys import Signer

HOUR_MS: Final = 3_600_000
SECONDS: Final = 600
NONCE_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Papers:
    """The newest papers of sessions with one machine that the server carried; empty for none.

    `request` is one that waits for its owner, where there is one. `grant` and `granted` are the
    newest grant and its request.
    """

    device: str
    request: bytes = b""
    offer: bytes = b""
    grant: bytes = b""
    granted: bytes = b""


def make_session_attacks(
    held: HeldDocuments, papers: Papers, stolen: Sequence[Signer], now_ms: int
) -> list[Attack]:
    """Return the attacks that try to open a session."""
    forge = _Forge(held, papers.device, now_ms)
    return [
        _alone(forge, stolen),
        _with_another_key(forge, papers, stolen),
        _sign_otherwise(forge, papers),
    ]


@dataclass(frozen=True, slots=True)
class _Forge:
    """Makes papers that say whatever the thief wants."""

    held: HeldDocuments
    device: str
    now_ms: int

    def request(self, requester: str) -> JsonObject:
        """Return a request for a terminal as root, with a session key of the thief's."""
        return {
            "case": "",
            "device": self.device,
            "epoch": self.held.policy.epoch,
            "issued_at": self.now_ms,
            "nonce": to_base64url(secrets.token_bytes(NONCE_BYTES)),
            "owner": self.held.policy.owner,
            "reason": "to help",
            "requester": requester,
            "scopes": [RootScope().to_json()],
            "seconds": SECONDS,
            "session_key": make_thiefs_key(),
            "type": "fleetward.request.v1",
        }

    def grant(self, request: Envelope, offer: str = "") -> JsonObject:
        """Return a grant of all that a request asks for."""
        policy = self.held.policy
        return {
            "device": self.device,
            "epoch": policy.epoch,
            "idle_seconds": SECONDS,
            "not_after": self.now_ms + HOUR_MS,
            "not_before": self.now_ms - HOUR_MS,
            "offer": offer or hashlib.sha256(request.raw).hexdigest(),
            "owner": policy.owner,
            "policy": {"hash": policy.hash, "version": policy.version},
            "recording_key": policy.roots.recording_key,
            "request": request.hash,
            "scopes": request.payload["scopes"],
            "seconds": request.payload["seconds"],
            "type": "fleetward.grant.v1",
            "watched": False,
        }


def make_thiefs_key() -> str:
    """Return a session key of which the thief has the other half."""
    return to_base64url(X25519PrivateKey.generate().public_key().public_bytes_raw())


def put_under(signed: Envelope, payload: JsonObject) -> bytes:
    """Return other words under the signatures of a signed document."""
    return encode({"payload": payload, "signatures": [s.to_json() for s in signed.signatures]})


def _alone(forge: _Forge, stolen: Sequence[Signer]) -> Attack:
    request = seal(forge.request(stolen[0].public.key_id), stolen[:1])
    grant = seal(forge.grant(read_envelope(request)), stolen)
    return make_order_attack(
        "session-alone",
        "Open a session without the owner",
        "A request for a terminal as root and its permission, both signed with the server's keys.",
        [request, grant],
    )


def _with_another_key(forge: _Forge, papers: Papers, stolen: Sequence[Signer]) -> Attack:
    words = "A technician's true request, and a permission that the server's keys signed."
    true = papers.request or papers.granted
    if not true:
        words = "A permission that the server's keys signed; no technician has asked yet."
        true = seal(forge.request(stolen[0].public.key_id), stolen[:1])
    offer = read_envelope(papers.offer).hash if papers.offer else ""
    grant = seal(forge.grant(read_envelope(true), offer), stolen)
    return make_order_attack("grant-another-key", "Say yes with another key", words, [grant])


def _sign_otherwise(forge: _Forge, papers: Papers) -> Attack:
    """True signatures under other words: of a true session, or else of the owner's documents."""
    if papers.grant:
        request, grant = read_envelope(papers.granted), read_envelope(papers.grant)
        words = (
            "A true request with the thief's session key, and the owner's true permission widened "
            "to root, each under its true signature."
        )
        pushed = [
            put_under(request, {**request.payload, "session_key": make_thiefs_key()}),
            put_under(grant, {**grant.payload, "scopes": [RootScope().to_json()]}),
        ]
    else:
        head = read_envelope(forge.held.head.raw)
        words = "A request and a permission under what the owner signed for something else."
        asked = put_under(head, forge.request(head.signatures[0].key_id))
        pushed = [asked, put_under(head, forge.grant(read_envelope(asked)))]
    return make_order_attack(
        "signed-otherwise", "Have the owner sign something else", words, pushed
    )
