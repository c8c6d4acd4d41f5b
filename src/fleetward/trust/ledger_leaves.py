"""Reading one entry of an exported record: what it is, and whether its machine signed it.

`LeafReader.read` is a pure function of the entry, the owner and the machines' keys, so that a tool
can spread it over processes. It judges an entry alone; what an entry means beside the others is
`ledger`'s.

A batch header is read by a regular expression first, which matches only what canonical JSON would
be, at a tenth of the cost of parsing; whatever it does not match takes the long way through
`journal.read_batch_header`. Both ways give the same facts, which a property test checks.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

from fleetward.trust import canonical
from fleetward.trust.canonical import MAX_INTEGER, JsonObject, from_base64url
from fleetward.trust.envelope import SIGNED_PREFIX, read_envelope, verify_single
from fleetward.trust.errors import FleetwardError, Malformed, Untrusted
from fleetward.trust.fields import Fields, require_digest
from fleetward.trust.generation import GENERATION_TYPE
from fleetward.trust.head import HEAD_TYPE, LEASE_TYPE
from fleetward.trust.invitation import INVITATION_TYPE
from fleetward.trust.journal import (
    BATCH_TYPE,
    MAX_BATCH_ENTRIES,
    NO_CHECKPOINT,
    BatchHeader,
    Entry,
    join_batch,
    read_batch_header,
    verify_batch,
)
from fleetward.trust.keys import ES256, PublicKey, read_signature
from fleetward.trust.merkle import hash_leaf
from fleetward.trust.policy import POLICY_TYPE
from fleetward.trust.root import ROOT_TYPE
from fleetward.trust.roster import ROSTER_TYPE

BATCH: Final = "batch"
DEED: Final = "deed"
DOCUMENT: Final = "document"
STRANGE: Final = "strange"
"""Of a type of ours that this release does not know."""
BAD: Final = "bad"

DEED_TYPE: Final = "fleetward.deed.v1"
RECALL_OPENED: Final = "recall.opened"
"""The kind of a deed that opens a recall: its body names it, and what it is about."""
JOINED: Final = "device.joined"
"""The kind of a deed that lets a machine in: its body names the invitation."""
SESSION_TYPES: Final = frozenset(
    f"fleetward.{name}.v1"
    for name in (
        "request", "offer", "grant", "stop", "denial", "receipt", "standing", "entry",
        "standing-state",
    )
)  # fmt: skip
CLOSING_TYPES: Final = frozenset(
    f"fleetward.{name}.v1" for name in ("closing", "closing-kept", "closing-report")
)
WITHDRAWAL_OF_RELEASE: Final = "fleetward.release-withdrawal.v1"
REPORT_OF_UPDATE: Final = "fleetward.update-report.v1"
UPDATE_TYPES: Final = frozenset(
    {
        "fleetward.release-approval.v1",
        "fleetward.release-standing.v1",
        WITHDRAWAL_OF_RELEASE,
        REPORT_OF_UPDATE,
    }
)
"""Papers of sessions, of closings and of releases, by the names of their types: who reads an entry
alone need not judge them."""
CLOSING_KINDS: Final = {
    f"closing.{outcome}": outcome
    for outcome in (
        "accepted", "confirmed", "applied", "kept", "restored", "refused", "undone",
    )
}  # fmt: skip
"""What entries of a machine's journal say of closings, by their kinds."""
UPDATE_KINDS: Final = {
    f"update.{outcome}": outcome
    for outcome in ("accepted", "refused", "installed", "committed", "rolled_back", "failed")
}
"""What entries of a machine's journal say of releases."""
DOCUMENT_TYPES: Final = frozenset(
    {
        ROOT_TYPE,
        POLICY_TYPE,
        ROSTER_TYPE,
        HEAD_TYPE,
        LEASE_TYPE,
        INVITATION_TYPE,
        GENERATION_TYPE,
    }
)

_KNOWN_TYPES: Final = DOCUMENT_TYPES | SESSION_TYPES | CLOSING_TYPES | UPDATE_TYPES
_CLOSING: Final = re.compile(r"[0-9a-f]{64}")
_NUMBER: Final = rb"(0|[1-9][0-9]{0,15})"
_DIGEST: Final = rb'"([0-9a-f]{64})"'
_ID: Final = rb'"([a-z2-7]{32})"'
_BATCH: Final = re.compile(
    rb'\{"payload":(\{"boot":"[ !#-\[\]-~]{0,64}","checkpoint":\{"generation":' + _NUMBER
    + rb',"root":' + _DIGEST + rb',"size":' + _NUMBER + rb'\},"device":' + _ID
    + rb',"first":' + _NUMBER + rb',"head":' + _DIGEST + rb',"last":' + _NUMBER
    + rb',"owner":' + _DIGEST + rb',"previous":' + _DIGEST + rb',"type":"'
    + re.escape(BATCH_TYPE.encode()) + rb'"\}),"signatures":\[\{"key_id":' + _ID
    + rb',"signature":"([A-Za-z0-9_-]{86})","suite":"es256"\}\]\}'
)  # fmt: skip
_NOTHING_SEEN: Final = (NO_CHECKPOINT.size, NO_CHECKPOINT.root)
_SIGNED_START: Final = SIGNED_PREFIX + BATCH_TYPE.encode() + b"\x00"


ContentOf: TypeAlias = Callable[[str, int], "bytes | None"]
"""Gives the journal entries of a device behind the batch that begins at a sequence."""


class ClosingFact(NamedTuple):
    """What an entry of a machine's journal says of a closing; `report` is empty or an envelope."""

    outcome: str
    closing: str
    at_ms: int
    report: bytes = b""


class UpdateFact(NamedTuple):
    """What an entry of a machine's journal says of a release; `report` is an envelope."""

    outcome: str
    report: bytes


class BatchFact(NamedTuple):
    """What a batch header says. `signed` is None when the machine's key is not known."""

    device: str
    first: int
    last: int
    previous: bytes
    head: bytes
    seen_generation: int
    seen_size: int
    seen_root: bytes
    signed: bool | None
    newest_at_ms: int = 0
    """The machine's own clock at its newest entry, where the entries themselves were given."""
    content: str = ""
    """Empty: not given. `whole`: the given entries are those signed. Else: why they are not."""
    closings: tuple[ClosingFact, ...] = ()
    """What the entries say of closings, where they are those that were signed."""
    updates: tuple[UpdateFact, ...] = ()
    """What they say of releases."""


class JoinFact(NamedTuple):
    """What a deed says of a machine that joined."""

    device: str
    invitation: str


class RecallFact(NamedTuple):
    """What a deed says of a recall that somebody opened: its id, and what it is about."""

    recall: str
    scope: bytes
    """Canonical JSON."""


class LeafFact(NamedTuple):
    """What one entry is. `reason` and `words` say what is wrong with a bad one."""

    kind: str
    hash: bytes
    batch: BatchFact | None = None
    type: str = ""
    at_ms: int = 0
    reason: str = ""
    words: str = ""
    join: JoinFact | None = None
    recall: RecallFact | None = None


class LeafReader:
    """Reads entries of one owner's record. `keys` are the identity keys by device id."""

    def __init__(self, owner: str, keys: Mapping[str, PublicKey]) -> None:
        self._owner = owner
        self._keys = keys

    def read(self, leaf: bytes, content_of: ContentOf | None = None) -> LeafFact:
        """Return what an entry is. It never raises: what is wrong stands in the fact.

        `content_of` gives the journal entries behind a batch header, a line each, where there are
        any.
        """
        digest = hash_leaf(leaf)
        try:
            return self._read(leaf, digest, content_of)
        except FleetwardError as e:
            return LeafFact(BAD, digest, reason=e.reason, words=e.message)

    def _read(self, leaf: bytes, digest: bytes, content_of: ContentOf | None) -> LeafFact:
        batch = self._read_quickly(leaf)
        if batch is None:
            value = canonical.decode_object(leaf)
            kind = _type_of(value)
            if kind != BATCH_TYPE:
                return self._read_other(leaf, digest, kind, value)
            batch = self._read_slowly(leaf)
        content = content_of(batch.device, batch.first) if content_of and batch.signed else None
        if content is not None:
            batch = self._check_content(batch, leaf, content)
        return LeafFact(BATCH, digest, batch)

    def _read_quickly(self, leaf: bytes) -> BatchFact | None:
        match = _BATCH.fullmatch(leaf)
        if match is None:
            return None
        payload, generation, root, size, device, first, head, *rest = match.groups()
        last, owner, previous, key_id, value = rest
        numbers = [int(each) for each in (generation, size, first, last)]
        key = self._keys.get(device.decode("ascii"))
        if key is None or key.suite != ES256 or max(numbers) > MAX_INTEGER:
            return None
        if key_id != device or owner.decode("ascii") != self._owner:
            return None
        if not 1 <= numbers[2] <= numbers[3] < numbers[2] + MAX_BATCH_ENTRIES:
            return None
        if numbers[0] == 0 and (numbers[1], root.decode("ascii")) != _NOTHING_SEEN:
            return None
        signature = read_signature(value.decode("ascii"))
        return BatchFact(
            device=key.key_id,
            first=numbers[2],
            last=numbers[3],
            previous=bytes.fromhex(previous.decode("ascii")),
            head=bytes.fromhex(head.decode("ascii")),
            seen_generation=numbers[0],
            seen_size=numbers[1],
            seen_root=bytes.fromhex(root.decode("ascii")),
            signed=_is_signed(key, signature, _SIGNED_START + payload),
        )

    def _read_slowly(self, leaf: bytes) -> BatchFact:
        header, envelope = read_batch_header(leaf)
        if header.owner != self._owner:
            raise Untrusted("The batch is for another owner.", reason="another_owner")
        key = self._keys.get(header.device)
        if key is None:
            return _to_fact(header, signed=None)
        try:
            verify_single(envelope, BATCH_TYPE, key)
        except Untrusted:
            return _to_fact(header, signed=False)
        return _to_fact(header, signed=True)

    def _check_content(self, batch: BatchFact, leaf: bytes, content: bytes) -> BatchFact:
        lines = content.removesuffix(b"\n").split(b"\n")
        try:
            whole = verify_batch(join_batch(leaf, lines), self._keys[batch.device], self._owner)
        except FleetwardError as e:
            return batch._replace(content=e.message)
        closings = tuple(fact for entry in whole.entries if (fact := read_closing(entry)))
        updates = tuple(said for entry in whole.entries if (said := read_update(entry)))
        return batch._replace(
            content="whole",
            newest_at_ms=whole.entries[-1].at_ms,
            closings=closings,
            updates=updates,
        )

    def _read_other(self, leaf: bytes, digest: bytes, kind: str, value: JsonObject) -> LeafFact:
        if kind == DEED_TYPE:
            at_ms, join = self._read_deed(value)
            recall = _read_recall(value) if value.get("kind") == RECALL_OPENED else None
            return LeafFact(DEED, digest, type=kind, at_ms=at_ms, join=join, recall=recall)
        if kind in _KNOWN_TYPES:
            if kind != ROOT_TYPE:
                read_envelope(leaf)
            return LeafFact(DOCUMENT, digest, type=kind)
        return LeafFact(STRANGE, digest, type=kind)

    def _read_deed(self, value: JsonObject) -> tuple[int, JoinFact | None]:
        """Return when the server says the deed was done, and of a join, who joined by what.

        Its words are the server's own.
        """
        names = {"actor", "at", "body", "kind", "owner", "subject", "type"}
        fields = Fields(value, "a deed", names, {"nonce"})
        body = fields.map("body")
        # What was done before the owner came names no owner.
        if fields.text("owner", most=64) not in (self._owner, ""):
            raise Untrusted("The deed is of another owner.", reason="another_owner")
        join = _read_join(value, body) if value.get("kind") == JOINED else None
        return fields.integer("at"), join


def _read_join(value: JsonObject, body: JsonObject) -> JoinFact:
    subject, invitation = value.get("subject"), body.get("invitation")
    if not isinstance(subject, str) or not isinstance(invitation, str):
        raise Malformed(
            "Expected a join to name its machine and its invitation.", reason="bad_field"
        )
    return JoinFact(subject.removeprefix("device:"), require_digest(invitation, "an invitation"))


def _read_recall(value: JsonObject) -> RecallFact | None:
    """Return what was opened; None where the deed does not say it as this release would."""
    body = value.get("body")
    if not isinstance(body, dict):
        return None
    recall, scope = body.get("recall"), body.get("scope")
    if not isinstance(recall, str) or not isinstance(scope, dict):
        return None
    return RecallFact(recall[:64], canonical.encode(scope))


def read_closing(entry: Entry) -> ClosingFact | None:
    """Return what an entry says of a closing, or None when it says nothing of any."""
    outcome, closing = CLOSING_KINDS.get(entry.kind), entry.body.get("closing")
    if outcome is None or not isinstance(closing, str) or not _CLOSING.fullmatch(closing):
        return None
    return ClosingFact(outcome, closing, entry.at_ms, _read_report(entry))


def read_update(entry: Entry) -> UpdateFact | None:
    """Return what an entry says of a release, or None when it has no report of any."""
    outcome, report = UPDATE_KINDS.get(entry.kind), _read_report(entry)
    return UpdateFact(outcome, report) if outcome is not None and report else None


def _read_report(entry: Entry) -> bytes:
    """Return the bytes of the report in an entry, which may be no report; or nothing."""
    report = entry.body.get("report")
    if isinstance(report, str):
        with contextlib.suppress(Malformed):
            return from_base64url(report)
    return b""


def _type_of(value: JsonObject) -> str:
    """Return the type of an entry, signed or not. Raises `Malformed`."""
    payload = value.get("payload")
    kind = payload.get("type") if isinstance(payload, dict) else value.get("type")
    if not isinstance(kind, str) or not kind.startswith("fleetward."):
        raise Malformed("Expected an entry with a type of ours.", reason="bad_type_string")
    return kind


def _is_signed(key: PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except Untrusted:
        return False
    return True


def _to_fact(header: BatchHeader, *, signed: bool | None) -> BatchFact:
    return BatchFact(
        device=header.device,
        first=header.first,
        last=header.last,
        previous=bytes.fromhex(header.previous),
        head=bytes.fromhex(header.head),
        seen_generation=header.checkpoint.generation,
        seen_size=header.checkpoint.size,
        seen_root=bytes.fromhex(header.checkpoint.root),
        signed=signed,
    )
