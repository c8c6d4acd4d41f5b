"""What the API says about the fleet as a whole, and about one machine."""

from __future__ import annotations

from typing import Literal

import msgspec

from fleetward.runtime.http.times import Instant
from fleetward.server.shown import PropertyView, Reachability, Software

Need = Literal["", "waiting", "quarantined", "silent", "exposed", "updates", "unconfirmed"]
Severity = Literal["normal", "critical"]
"""`critical`: somebody broke in, or tried to, without the owner's usual approvers."""
State = Literal["seen", "pending", "active", "quarantined", "retired", "refused"]


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Common settings of every answer."""


class Verb(_Answer, frozen=True):
    """The one thing to do about a card."""

    label: str
    href: str


class Card(_Answer, frozen=True):
    """One thing that needs a person: what, where, why it matters, since when, what to do."""

    id: str
    kind: str
    title: str
    where: str
    why: str
    since: Instant
    verb: Verb


class WaitingItem(_Answer, frozen=True):
    """Something that waits for somebody else."""

    id: str
    title: str
    where: str
    since: Instant


class ChangeItem(_Answer, frozen=True):
    """One change of the last day, in words."""

    at: Instant
    device_id: str
    device_name: str
    kind: str
    words: str
    severity: Severity = "normal"


class Counts(_Answer, frozen=True):
    """How many machines are how. Each machine counts once."""

    total: int
    fine: int
    need_you: int
    silent: int
    waiting: int


class RecordState(_Answer, frozen=True):
    """Whether the record is whole, as of the server's own last check."""

    state: Literal["intact", "broken", "unknown"]
    as_of: Instant | None
    size: int
    words: str


class Today(_Answer, frozen=True):
    """The first page."""

    sentence: str
    as_of: Instant
    counts: Counts
    cards: list[Card]
    waiting: list[WaitingItem]
    changes: list[ChangeItem]
    record: RecordState
    first_run: bool


class DeviceRow(_Answer, frozen=True):
    """A machine in the list."""

    id: str
    name: str
    site: str
    state: State
    confirmed: bool
    connection: Literal["connected", "silent", "never"]
    model: str
    maker: str
    owner: str
    simulated: bool
    last_seen_at: Instant | None
    open_ports: int | None
    updates_pending: int | None
    security_updates: int | None
    need: Need


class DevicePage(_Answer, frozen=True):
    """A page of machines."""

    items: list[DeviceRow]
    total: int
    page: int
    per_page: int


class SiteRow(_Answer, frozen=True):
    """A site with its machines counted."""

    site: str
    total: int
    fine: int
    need_you: int
    silent: int


class Sites(_Answer, frozen=True):
    """All sites."""

    items: list[SiteRow]


class Sight(_Answer, frozen=True):
    """How much of itself a machine can see. `root` is null before it reported."""

    root: bool | None
    words: str


class Trust(_Answer, frozen=True):
    """What proves this machine's identity, and since when that is known."""

    level: str
    words: str
    as_of: Instant | None


class Certificate(_Answer, frozen=True):
    """The certificate that the machine connects with."""

    not_after: Instant | None
    lineage: int
    serial: str


class Identity(_Answer, frozen=True):
    """The identity key."""

    key_id: str
    suite: str
    lineage: int


class Proof(_Answer, frozen=True):
    """Where the machine's evidence stands in the owner's record."""

    last_sequence: int
    last_leaf: int | None
    head_at: Instant | None
    journal_head: str | None


class Device(DeviceRow, frozen=True):
    """Everything about one machine. The posture groups are those of the posture capability."""

    words: str
    reason: str
    agent: str
    wall: str
    system: str
    joined_at: Instant
    sight: Sight
    trust: Trust
    do_now: list[Card]
    reachability: Reachability
    software: Software
    properties: list[PropertyView]
    certificate: Certificate
    identity: Identity
    proof: Proof


class TimelineItem(_Answer, frozen=True):
    """A change or a deed; heartbeats are no entries."""

    at: Instant
    kind: str
    words: str
    source: Literal["machine", "record"]
    device_id: str | None
    device_name: str | None
    sequence: int | None
    leaf: int | None
    severity: Severity = "normal"


class Timeline(_Answer, frozen=True):
    """A page of the timeline, newest first."""

    items: list[TimelineItem]
    total: int
    page: int
    per_page: int


class RecordDevice(_Answer, frozen=True):
    """How old the newest signed head of a machine is."""

    id: str
    name: str
    head_at: Instant | None
    age_seconds: int | None


class WitnessRow(_Answer, frozen=True):
    """A witness of the owner's policy, and what it signed last."""

    name: str
    at: Instant | None
    size: int | None


class Record(_Answer, frozen=True):
    """The record as the Proof page shows it."""

    state: Literal["intact", "broken", "unknown"]
    size: int
    generation: int
    checkpoint: str | None
    as_of: Instant | None
    words: str
    owner_root: str
    witnesses: list[WitnessRow]
    devices: list[RecordDevice]
