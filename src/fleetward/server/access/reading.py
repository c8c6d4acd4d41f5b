"""What a signed envelope of a session says, for showing and for carrying it to the right machine.

Pure. No signature of a person is verified here, so nothing that this returns may decide about
anything but what a page shows. Only what a machine says of itself is checked against its key, as
every other word of a machine is at the door.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetward.trust.access import MAX_SCOPES, MAX_SECONDS, read_scopes
from fleetward.trust.access_runbook import RunbookScope
from fleetward.trust.break_glass import read_mark
from fleetward.trust.delegation import MAX_DELEGATION_BYTES, verify_delegation
from fleetward.trust.envelope import Envelope, read_envelope, require_type, verify_single
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.keys import PublicKey
from fleetward.trust.policy import Policy

REQUEST: Final = "request"
GRANT: Final = "grant"
STOP: Final = "stop"
BEAT: Final = "beat"
OFFER: Final = "offer"
DENIAL: Final = "denial"
RECEIPT: Final = "receipt"
STANDING: Final = "standing"
ENTRY: Final = "entry"
STATE: Final = "standing-state"
YES: Final = (GRANT, ENTRY)
"""What opens a session: a grant for it alone, or an entry by what was allowed ahead."""
OPENED: Final = "opened"
"""No envelope: an entry of the machine's journal."""
TYPES: Final = {
    kind: f"fleetward.{kind}.v1"
    for kind in (
        REQUEST, GRANT, STOP, BEAT, OFFER, DENIAL, RECEIPT, STANDING, ENTRY, STATE
    )
}  # fmt: skip
SIZES: Final = {
    REQUEST: 16 * 1024, GRANT: 64 * 1024, STOP: 4096, BEAT: 4096, OFFER: 4096, DENIAL: 8192,
    RECEIPT: 8192, STANDING: 64 * 1024, ENTRY: 4096, STATE: 4096,
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
    STANDING: {
        "devices", "epoch", "idle_seconds", "issued_at", "owner", "reason", "recording_key",
        "requesters", "scopes", "seconds", "series", "time_zone", "type", "watched", "windows",
    },
    ENTRY: {"device", "epoch", "offer", "owner", "request", "standing", "type", "window"},
    STATE: {"at", "device", "next_window", "owner", "standing", "state", "type", "words"},
}  # fmt: skip
_OPTIONAL: Final = {
    REQUEST: {"break_glass", "delegation"}, GRANT: {"break_glass"}, STOP: {"what"},
    RECEIPT: {"changes", "findings", "not_compared"},
}  # fmt: skip
"""Fields that later builds say; those of earlier ones do not."""
MAX_ORG_CHARACTERS: Final = 80


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says. `break_glass`: it goes by the rules for when the approvers are away."""

    hash: str
    device: str
    requester: str
    scopes: tuple[str, ...]
    runbooks: tuple[str, ...]
    seconds: int
    reason: str
    case: str
    delegation: bytes = b""
    break_glass: bool = False


@dataclass(frozen=True, slots=True)
class Asker:
    """Who a key is said to be. `key` is None where nobody names it."""

    person: str
    org: str
    key: PublicKey | None


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
    envelope, fields = open_paper(REQUEST, raw, owner)
    fields.integer("epoch", low=1)
    scopes = read_scopes(fields.items("scopes", most=MAX_SCOPES))
    return Asked(
        hash=envelope.hash,
        device=fields.key_id("device"),
        requester=fields.key_id("requester"),
        scopes=tuple(scope.words() for scope in scopes),
        runbooks=tuple(scope.digest for scope in scopes if isinstance(scope, RunbookScope)),
        seconds=fields.integer("seconds", low=1, high=MAX_SECONDS),
        reason=fields.text("reason", most=500, least=1),
        case=fields.text("case", most=100),
        delegation=(
            fields.binary("delegation", most=MAX_DELEGATION_BYTES)
            if fields.has("delegation")
            else b""
        ),
        break_glass=read_mark(fields),
    )


def says_break_glass(raw: bytes) -> bool:
    """Return whether a stored request or grant says so, for a page."""
    return read_envelope(raw).payload.get("break_glass") is True


def read_asker(asked: Asked, policy: Policy) -> Asker:
    """Return who asks, by the policy that is stored here, or by the delegation that he shows."""
    if asked.delegation:
        try:
            delegation = verify_delegation(asked.delegation, policy)
        except (Malformed, Untrusted):
            return Asker(f"key {asked.requester[:8]}", "", None)
        key = delegation.key if delegation.key.key_id == asked.requester else None
        return Asker(delegation.person, delegation.words[:MAX_ORG_CHARACTERS], key)
    holder = policy.keys.get(asked.requester)
    if holder is None:
        return Asker(f"key {asked.requester[:8]}", "", None)
    return Asker(holder.person, policy.orgs.get(asked.requester, ""), holder.key)


def read_granted(raw: bytes, owner: str) -> Granted:
    """Return what a grant says. Raises `Malformed`, or `Untrusted` for another owner."""
    envelope, fields = open_paper(GRANT, raw, owner)
    return Granted(
        hash=envelope.hash,
        device=fields.key_id("device"),
        request=fields.digest("request"),
        scopes=scope_words(fields),
        seconds=fields.integer("seconds", low=1, high=MAX_SECONDS),
        not_after_ms=fields.integer("not_after"),
        watched=fields.boolean("watched"),
        signers=signers_of(envelope),
    )


def read_stopped(raw: bytes, owner: str) -> Stopped:
    """Return what a stop says. Raises `Malformed`, or `Untrusted` for another owner."""
    envelope, fields = open_paper(STOP, raw, owner)
    return Stopped(fields.digest("subject"), fields.text("reason", most=200), signers_of(envelope))


def read_beat(raw: bytes, owner: str) -> str:
    """Return the session that somebody says he watches. Raises as the others do."""
    _, fields = open_paper(BEAT, raw, owner)
    return fields.digest("session")


def verify_said(kind: str, raw: bytes, key: PublicKey, owner: str) -> Said:
    """Return what the machine with this key says of a session. Raises `Malformed`, `Untrusted`."""
    envelope, fields = open_paper(kind, raw, owner)
    # It is the machine's own word, about itself.
    verify_single(envelope, TYPES[kind], key)
    if fields.key_id("device") != key.key_id:
        raise Untrusted("This is said of another machine.", reason="another_device")
    return _read_said(envelope, fields)


def read_said(kind: str, raw: bytes, owner: str) -> Said:
    """Return what stands in a note that was verified when it came."""
    return _read_said(*open_paper(kind, raw, owner))


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


def open_paper(kind: str, raw: bytes, owner: str) -> tuple[Envelope, Fields]:
    """Return a paper of this kind, unverified. Raises `Malformed`, `Untrusted` as `read_asked`."""
    envelope = read_envelope(raw, max_bytes=SIZES[kind])
    require_type(envelope, TYPES[kind])
    fields = Fields(envelope.payload, f"the {kind}", _FIELDS[kind], _OPTIONAL.get(kind))
    if fields.digest("owner") != owner:
        raise Untrusted(
            f"The {kind} is to another owner than this server's.", reason="another_owner"
        )
    return envelope, fields


def scope_words(fields: Fields) -> tuple[str, ...]:
    """Return the scopes that stand in a paper, in words."""
    return tuple(scope.words() for scope in read_scopes(fields.items("scopes", most=MAX_SCOPES)))


def signers_of(envelope: Envelope) -> tuple[str, ...]:
    return tuple(signature.key_id for signature in envelope.signatures)
