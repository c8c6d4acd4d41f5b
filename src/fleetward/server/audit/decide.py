"""What becomes a leaf, and how: pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from fleetward.server.deeds import Deed
from fleetward.trust import canonical
from fleetward.trust.canonical import JsonLike, decode_object
from fleetward.trust.errors import FleetwardError

DEED_TYPE: Final = "fleetward.deed.v1"
BATCH: Final = "batch"
DOCUMENT_PREFIX: Final = "document."
OF_SESSIONS: Final = {
    "document.request": "Somebody asked to enter a machine.",
    "document.offer": "A machine checked a request to enter it.",
    "document.grant": "The owner's people let somebody enter a machine.",
    "document.stop": "A session, a request for one, or what was allowed ahead was stopped.",
    "document.standing": "The owner's people allowed sessions ahead, in windows of time.",
    "document.entry": "Somebody came by a window that was allowed ahead.",
    "document.standing-state": "A machine said what it keeps of what was allowed ahead.",
    "document.denial": "A machine said no to a request or a grant.",
    "document.receipt": "A machine said how a session on it ended.",
    "document.closing": "The owner's people ordered machines to close ports, or to open all.",
    "document.closing-kept": "The owner's people confirmed what is closed.",
    "document.closing-report": "A machine said what became of a closing.",
    "document.release-approval": "The owner's people approved a release.",
    "document.release-standing": "The owner's people approved what a maker releases, ahead.",
    "document.release-withdrawal": "The owner's people withdrew an approval.",
    "document.update-report": "A machine said how an update of it went.",
}
"""What is signed about sessions, in words. Whether it holds, the owner's own check says."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf to append. `reference` makes it unique within a generation."""

    kind: str
    actor: str
    subject: str
    reference: str
    at_ms: int
    body: bytes
    maker_id: str = ""


def make_deed_leaf(deed: Deed, owner: str, nonce: str) -> Leaf:
    """Return the leaf of a deed. `nonce` tells equal deeds apart."""
    value: dict[str, JsonLike] = {
        "actor": deed.actor,
        "at": deed.at_ms,
        "body": dict(deed.body),
        "kind": deed.kind,
        "nonce": nonce,
        "owner": owner,
        "subject": deed.subject,
        "type": DEED_TYPE,
    }
    data = canonical.encode(value)
    reference = hashlib.sha256(data).hexdigest()
    return Leaf(deed.kind, deed.actor, deed.subject, reference, deed.at_ms, data)


def make_document_leaf(kind: str, raw: bytes, owner: str, at_ms: int) -> Leaf:
    """Return the leaf of an owner's signed document, byte for byte as it was signed."""
    return Leaf(
        DOCUMENT_PREFIX + kind,
        f"owner:{owner[:12]}",
        f"owner:{owner[:12]}",
        hashlib.sha256(raw).hexdigest(),
        at_ms,
        raw,
    )


def make_session_leaf(kind: str, raw: bytes, by: tuple[str, str], at_ms: int) -> Leaf:
    """Return the leaf of a signed document of a session. `by` is who brought it and the machine."""
    reference = hashlib.sha256(raw).hexdigest()
    return Leaf(DOCUMENT_PREFIX + kind, by[0], f"device:{by[1]}", reference, at_ms, raw)


def make_batch_leaf(device: str, batch_hash: str, header: bytes, at_ms: int) -> Leaf:
    """Return the leaf of a machine's batch: its signed header."""
    return Leaf(BATCH, f"device:{device}", f"device:{device}", batch_hash, at_ms, header)


def start_of(reference: str) -> int:
    """Return the first 8 bytes of a reference as a signed number, by which it is looked up."""
    return int.from_bytes(bytes.fromhex(reference[:16]), "big", signed=True)


def describe_leaf(kind: str, body: bytes) -> str:
    """Return one line in plain words for a deed's or a document's leaf."""
    if kind in OF_SESSIONS:
        return OF_SESSIONS[kind]
    if kind.startswith(DOCUMENT_PREFIX):
        return f"The owner signed a new {kind.removeprefix(DOCUMENT_PREFIX)}."
    try:
        details = decode_object(body).get("body")
    except FleetwardError:
        return kind
    words = details.get("words") if isinstance(details, dict) else None
    return words if isinstance(words, str) else kind.replace(".", " ").replace("_", " ")
