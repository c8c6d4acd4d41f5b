"""What the API says and takes about sessions."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from fleetward.runtime.http.times import Instant
from fleetward.trust.access import MAX_SCOPES

State = Literal["asked", "offered", "granted", "open", "ended", "denied", "stopped"]
MAX_ENVELOPE_CHARACTERS = 96 * 1024
"""A grant of 64 KiB in base64url."""


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Common settings of every answer."""


class AccessRow(_Answer, frozen=True):
    """A request and what became of it.

    `id` is the hash of the request, `requester` a key id, `session` the hash of the grant (or of
    the entry by what was allowed ahead, whose hash is `standing` then), `words` its six words.
    `break_glass`: the usual approvers were away. Person, org and scopes are shown as the request
    and the stored policy have them: the machine and the owner's tools verify, this server does not.
    """

    id: str
    device_id: str
    device_name: str
    site: str
    state: State
    requester: str
    person: str
    org: str
    reason: str
    case: str
    scopes: list[str]
    seconds: int
    asked_at: Instant
    offered_at: Instant | None
    granted_at: Instant | None
    opened_at: Instant | None
    ended_at: Instant | None
    ended_by: str
    session: str
    words: str
    standing: str
    recording_bytes: int
    break_glass: bool


class AccessPage(_Answer, frozen=True):
    """A page of requests, newest first."""

    items: list[AccessRow]
    total: int
    page: int
    per_page: int


class AccessStep(_Answer, frozen=True):
    """One thing that happened to a request, in words. `who` is a person, or empty."""

    at: Instant
    kind: str
    who: str
    words: str


class DeviceKey(_Answer, frozen=True):
    """The machine's identity key as this server knows it. Take it from the roster instead."""

    key_id: str
    public: str
    suite: str


class NextNotice(_Answer, frozen=True):
    """Who is told next, and when, while nobody answers."""

    at: Instant
    names: list[str]


class AccessRunbook(_Answer, frozen=True):
    """A runbook that came with a request. Its name and version are its own words."""

    digest: str
    name: str
    version: int
    envelope: str


class AccessDetail(AccessRow, frozen=True):
    """A request with its signed envelopes (base64url; empty where there is none).

    `people` are those whose keys signed the grant, by the stored policy. `recording_done` says
    that the whole recording is here. Steps of kind `notice` say who was told of the request. Who
    was let in by what was allowed ahead has an `entry` in the place of the grant, and
    `standing_document` is what the owner's people signed.
    """

    request: str
    offer: str
    grant: str
    entry: str
    standing_document: str
    denial: str
    receipt: str
    device_key: DeviceKey
    people: list[str]
    watched: bool
    wall: str
    sandbox: str
    denied_words: str
    ended_who: str
    bytes_in: int
    bytes_out: int
    recording_done: bool
    changes: SessionChanges | None
    not_compared: str
    """Why the receipt names no comparison; empty where it does, or where there is no receipt."""
    steps: list[AccessStep]
    next_notice: NextNotice | None
    runbooks: list[AccessRunbook]


class FindingView(_Answer, frozen=True):
    """A change that somebody should look at. `attack` are techniques of MITRE ATT&CK."""

    rule: str
    severity: str
    words: str
    evidence: str
    attack: list[str]


class ChangeView(_Answer, frozen=True):
    """One thing that was added, removed or changed."""

    kind: str
    change: str
    name: str
    before: str
    after: str


class SessionChanges(_Answer, frozen=True):
    """What changed on a machine during a session, as the machine says. `here` says that its
    document has come; the owner's tools compare it with the receipt. `left` are changes that are
    not listed here, `notes` say what was not looked at."""

    digest: str
    here: bool
    words: str
    finding_count: int
    change_count: int
    findings: list[FindingView]
    changes: list[ChangeView]
    left: int
    notes: list[str]


class Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A signed envelope, base64url."""

    envelope: Annotated[str, msgspec.Meta(max_length=MAX_ENVELOPE_CHARACTERS)]


class Asking(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A signed request, and the signed runbooks that its scopes name; all base64url."""

    envelope: Annotated[str, msgspec.Meta(max_length=MAX_ENVELOPE_CHARACTERS)]
    runbooks: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=MAX_ENVELOPE_CHARACTERS)]],
        msgspec.Meta(max_length=MAX_SCOPES),
    ] = []


class Taken(_Answer, frozen=True):
    """The envelope is stored, or on its way. The machine decides what it does."""

    id: str
    state: State


class ConnectionWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A P-256 transport key (SPKI, base64url), and the requester's signed word for it.

    `proof` is an envelope of the type `fleetward.connection.v1` (base64url), signed by the key that
    the request names as its requester.
    """

    public_key: Annotated[str, msgspec.Meta(max_length=512)]
    proof: Annotated[str, msgspec.Meta(max_length=8192)]


class Connection(_Answer, frozen=True):
    """All that a requester needs to come to the bus for one session.

    `certificate` and `server_ca` are PEM; `bus` are addresses as `host:port`.
    """

    certificate: str
    bus: list[str]
    server_ca: str
    server_ca_sha256: str
    device_id: str
    session: str
    expires_at: Instant
