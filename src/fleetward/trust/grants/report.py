"""What the machine says of a session under its identity key: receipts and denials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypedDict

from fleetward.trust.canonical import JsonObject
from fleetward.trust.envelope import read_envelope, verify_single
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.keys import PublicKey

RECEIPT_TYPE: Final = "fleetward.receipt.v1"
DENIAL_TYPE: Final = "fleetward.denial.v1"
MAX_REPORT_BYTES: Final = 8192
ENDINGS: Final = (
    "closed", "length", "idle", "stopped", "unwatched", "panel", "policy", "failed", "restarted"
)  # fmt: skip
"""How a session ends: by who was inside, its length, silence, a stop, no beat, the machine's own
button, a policy under which it could not have begun, a fault, or because the agent ended."""
NOT_COMPARED: Final = ("nothing_looks", "no_before", "no_after", "failed")
"""Why a receipt names no comparison: nothing on the machine looks, there was no look before the
session or none after it, or what was found could not be written down."""
MAX_FINDINGS: Final = 10**9


@dataclass(frozen=True, slots=True)
class Receipt:
    """A verified receipt of one session."""

    device: str
    owner: str
    session: str
    opened_at_ms: int
    ended_at_ms: int
    ended_by: str
    ended_who: str
    bytes_in: int
    bytes_out: int
    records: int
    recording_head: str
    hash: str
    raw: bytes
    changes: str = ""
    """Digest of the document that says what changed on the machine; empty when there is none."""
    findings: int = 0
    not_compared: str = ""
    """Why there is none; empty too in a receipt of an agent that did not compare yet."""

    @property
    def compared_words(self) -> str:
        """Say to a person whether the machine looked at what changed, and what came of it."""
        if self.changes:
            many = "finding" if self.findings == 1 else "findings"
            return f"compared, {self.findings or 'no'} {many}"
        return f"not compared: {_WHY_NOT.get(self.not_compared, 'its agent did not say why')}"


@dataclass(frozen=True, slots=True)
class Denial:
    """A verified denial. `subject` is the hash of what was denied, 64 zeros if unreadable."""

    device: str
    owner: str
    subject: str
    rule: str
    words: str
    at_ms: int
    hash: str
    raw: bytes


def make_receipt_payload(receipt: Receipt) -> JsonObject:
    """Return the payload of a receipt; `hash` and `raw` of the argument are ignored."""
    payload: JsonObject = {
        "bytes_in": receipt.bytes_in,
        "bytes_out": receipt.bytes_out,
        "device": receipt.device,
        "ended_at": receipt.ended_at_ms,
        "ended_by": receipt.ended_by,
        "ended_who": receipt.ended_who,
        "opened_at": receipt.opened_at_ms,
        "owner": receipt.owner,
        "recording_head": receipt.recording_head,
        "records": receipt.records,
        "session": receipt.session,
        "type": RECEIPT_TYPE,
    }
    if receipt.changes:
        payload["changes"] = receipt.changes
        payload["findings"] = receipt.findings
    elif receipt.not_compared:
        payload["not_compared"] = receipt.not_compared
    return payload


def make_denial_payload(denial: Denial) -> JsonObject:
    """Return the payload of a denial; `hash` and `raw` of the argument are ignored."""
    return {
        "at": denial.at_ms,
        "device": denial.device,
        "owner": denial.owner,
        "rule": denial.rule,
        "subject": denial.subject,
        "type": DENIAL_TYPE,
        "words": denial.words,
    }


def verify_receipt(data: bytes, key: PublicKey, owner: str) -> Receipt:
    """Return the receipt that the machine with this key signed. Raises `Malformed`, `Untrusted`."""
    envelope = read_envelope(data, max_bytes=MAX_REPORT_BYTES)
    verify_single(envelope, RECEIPT_TYPE, key)
    fields = Fields(
        envelope.payload,
        "the receipt",
        {
            "bytes_in", "bytes_out", "device", "ended_at", "ended_by", "ended_who", "opened_at",
            "owner", "recording_head", "records", "session", "type",
        },
        {"changes", "findings", "not_compared"},
    )  # fmt: skip
    _check_names(fields, key, owner)
    return Receipt(
        device=key.key_id,
        owner=owner,
        session=fields.digest("session"),
        opened_at_ms=fields.integer("opened_at"),
        ended_at_ms=fields.integer("ended_at"),
        ended_by=fields.choice("ended_by", ENDINGS),
        ended_who=fields.text("ended_who", most=80),
        bytes_in=fields.integer("bytes_in"),
        bytes_out=fields.integer("bytes_out"),
        records=fields.integer("records"),
        recording_head=fields.digest("recording_head"),
        hash=envelope.hash,
        raw=data,
        **_read_compared(fields),
    )


def verify_denial(data: bytes, key: PublicKey, owner: str) -> Denial:
    """Return the denial that the machine with this key signed. Raises `Malformed`, `Untrusted`."""
    envelope = read_envelope(data, max_bytes=MAX_REPORT_BYTES)
    verify_single(envelope, DENIAL_TYPE, key)
    names = {"at", "device", "owner", "rule", "subject", "type", "words"}
    fields = Fields(envelope.payload, "the denial", names)
    _check_names(fields, key, owner)
    return Denial(
        device=key.key_id,
        owner=owner,
        subject=fields.digest("subject"),
        rule=fields.text("rule", most=64, least=1),
        words=fields.text("words", most=500),
        at_ms=fields.integer("at"),
        hash=envelope.hash,
        raw=data,
    )


class _Compared(TypedDict, total=False):
    """The fields of a receipt about what changed."""

    changes: str
    findings: int
    not_compared: str


def _read_compared(fields: Fields) -> _Compared:
    """Return what a receipt says of changes: a digest with a count, or why there is none."""
    if fields.has("changes") != fields.has("findings") or (
        fields.has("changes") and fields.has("not_compared")
    ):
        raise Malformed(
            "Expected the receipt to name a comparison and its findings, or why there is none.",
            reason="bad_field",
        )
    if fields.has("changes"):
        findings = fields.integer("findings", high=MAX_FINDINGS)
        return {"changes": fields.digest("changes"), "findings": findings}
    if fields.has("not_compared"):
        return {"not_compared": fields.choice("not_compared", NOT_COMPARED)}
    return {}


_WHY_NOT: Final = {
    "nothing_looks": "nothing on this machine looks",
    "no_before": "there was no look before the session",
    "no_after": "the look after the session did not come",
    "failed": "what was found could not be written down",
    "": "its agent is older than comparisons",
}


def _check_names(fields: Fields, key: PublicKey, owner: str) -> None:
    if fields.key_id("device") != key.key_id or fields.digest("owner") != owner:
        raise Untrusted("This is said of another machine or owner.", reason="another_device")
