"""What a signed envelope of a session says, for showing and for carrying it to the right machine.

Pure. No signature of a person is verified here, so nothing that this returns may decide about
anything but what a page shows. Only what a machine says of itself is checked against its key, as
every other word of a machine is at the door.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetward.trust.access import MAX_SCOPES, MAX_SECONDS, read_scopes
from fleetward.trust.envelope import Envelope, read_envelope, require_type, verify_single
from fleetward.trust.errors import Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.keys import PublicKey

REQUEST: Final = "request"
GRANT: Final = "grant"
STOP: Final = "stop"
BEAT: Final = "beat"
OFFER: Final = "offer"
DENIAL: Final = "denial"
RECEIPT: Final = "receipt"
OPENED: Final = "opened"
"""No envelope: an entry of the machine's journal."""
TYPES: Final = {
    kind: f"fleetward.{kind}.v1" for kind in (REQUEST, GRANT, STOP, BEAT, OFFER, DENIAL, RECEIPT)
}
SIZES: Final = {
    REQUEST: 16 * 1024, GRANT: 64 * 1024, STOP: 4096, BEAT: 4096, OFFER: 4096, DENIAL: 8192,
    RECEIPT: 8192,
}  # fmt: skip
"""Bytes of an envelope at most; a machine refuses larger ones."""
_FIELDS: Final = {
    REQUEST: {
        "case", "device", "epoch", "issued_at", "nonce", "owner", "reason", "requester", "scopes",
        "seconds", "session_key", "type",
    },
    GRANT: {
        "device", "epoch", "idle_seconds", "not_after", "not_before", "offer", "owner", "policy",
        "recording_key", "request", "scopes", "seconds", "type", "watched",
    },
    STOP: {"issued_at", "owner", "reason", "subject", "type"},
    BEAT: {"owner", "serial", "session", "type"},
    OFFER: {
        "boot", "device", "epoch", "issued_at", "nonce", "owner", "policy", "request", "sandbox",
        "session_key", "type", "wall",
    },
    DENIAL: {"at", "device", "owner", "rule", "subject", "type", "words"},
    RECEIPT: {
        "bytes_in", "bytes_out", "device", "ended_at", "ended_by", "ended_who", "opened_at",
        "owner", "recording_head", "records", "session", "type",
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says."""

    hash: str
    device: str
    requester: str
    scopes: tuple[str, ...]
    seconds: int
    reason: str
    case: str


@dataclass(frozen=True, slots=True)
class Granted:
    """What a grant says. `signers` are the ids of keys that signed, whosever they are."""

    hash: str
    device: str
    request: str
    scopes: tuple[str, ...]
    seconds: int
    not_after_ms: int
    watched: bool
    signers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a stop says."""

    subject: str
    reason: str
    signers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """What a machine says of a session. Fields that its kind does not have are empty."""

    kind: str
    subject: str
    hash: str
    opened_at_ms: int = 0
    ended_at_ms: int = 0
    ended_by: str = ""
    who: str = ""
    words: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    changes: str = ""
    findings: int = 0
    not_compared: str = ""
    wall: str = ""
    sandbox: str = ""


def read_asked(raw: bytes, owner: str) -> Asked:
    """Return what a request says. Raises `Malformed`, or `Untrusted` for another owner."""
    envelope, fields = _open(REQUEST, raw, owner)
    fields.integer("epoch", low=1)
    return Asked(
        hash=envelope.hash,
        device=fields.key_id("device"),
        requester=fields.key_id("requester"),
        scopes=_scopes(fields),
        seconds=fields.integer("seconds", low=1, high=MAX_SECONDS),
        reason=fields.text("reason", most=500, least=1),
        case=fields.text("case", most=100),
    )


def read_granted(raw: bytes, owner: str) -> Granted:
    """Return what a grant says. Raises `Malformed`, or `Untrusted` for another owner."""
    envelope, fields = _open(GRANT, raw, owner)
    return Granted(
        hash=envelope.hash,
        device=fields.key_id("device"),
        request=fields.digest("request"),
        scopes=_scopes(fields),
        seconds=fields.integer("seconds", low=1, high=MAX_SECONDS),
        not_after_ms=fields.integer("not_after"),
        watched=fields.boolean("watched"),
        signers=_signers(envelope),
    )


def read_stopped(raw: bytes, owner: str) -> Stopped:
    """Return what a stop says. Raises `Malformed`, or `Untrusted` for another owner."""
    envelope, fields = _open(STOP, raw, owner)
    return Stopped(fields.digest("subject"), fields.text("reason", most=200), _signers(envelope))


def read_beat(raw: bytes, owner: str) -> str:
    """Return the session that somebody says he watches. Raises as the others do."""
    _, fields = _open(BEAT, raw, owner)
    return fields.digest("session")


def verify_said(kind: str, raw: bytes, key: PublicKey, owner: str) -> Said:
    """Return what the machine with this key says of a session. Raises `Malformed`, `Untrusted`."""
    envelope, fields = _open(kind, raw, owner)
    # It is the machine's own word, about itself.
    verify_single(envelope, TYPES[kind], key)
    if fields.key_id("device") != key.key_id:
        raise Untrusted("This is said of another machine.", reason="another_device")
    return _read_said(envelope, fields)


def read_said(kind: str, raw: bytes, owner: str) -> Said:
    """Return what stands in a note that was verified when it came."""
    return _read_said(*_open(kind, raw, owner))


def _read_said(envelope: Envelope, fields: Fields) -> Said:
    if envelope.type == TYPES[OFFER]:
        return Said(
            OFFER,
            fields.digest("request"),
            envelope.hash,
            wall=fields.text("wall", most=32),
            sandbox=fields.text("sandbox", most=32),
        )
    if envelope.type == TYPES[DENIAL]:
        return Said(
            DENIAL,
            fields.digest("subject"),
            envelope.hash,
            ended_by=fields.text("rule", most=64, least=1),
            words=fields.text("words", most=500),
        )
    return Said(
        RECEIPT,
        fields.digest("session"),
        envelope.hash,
        opened_at_ms=fields.integer("opened_at"),
        ended_at_ms=fields.integer("ended_at"),
        ended_by=fields.text("ended_by", most=32, least=1),
        who=fields.text("ended_who", most=80),
        bytes_in=fields.integer("bytes_in"),
        bytes_out=fields.integer("bytes_out"),
        changes=fields.digest("changes") if fields.has("changes") else "",
        findings=fields.integer("findings") if fields.has("findings") else 0,
        not_compared=fields.text("not_compared", most=32) if fields.has("not_compared") else "",
    )


_OPTIONAL: Final = {RECEIPT: {"changes", "findings", "not_compared"}}
"""Fields that machines of later builds say; those of earlier ones do not."""


def _open(kind: str, raw: bytes, owner: str) -> tuple[Envelope, Fields]:
    envelope = read_envelope(raw, max_bytes=SIZES[kind])
    require_type(envelope, TYPES[kind])
    fields = Fields(envelope.payload, f"the {kind}", _FIELDS[kind], _OPTIONAL.get(kind))
    if fields.digest("owner") != owner:
        raise Untrusted(
            f"The {kind} is to another owner than this server's.", reason="another_owner"
        )
    return envelope, fields


def _scopes(fields: Fields) -> tuple[str, ...]:
    return tuple(scope.words() for scope in read_scopes(fields.items("scopes", most=MAX_SCOPES)))


def _signers(envelope: Envelope) -> tuple[str, ...]:
    return tuple(signature.key_id for signature in envelope.signatures)
