"""What the API says and takes about closings and the three tiers."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from fleetward.runtime.http.times import Instant

MAX_ENVELOPE_CHARACTERS = 96 * 1024
"""A closing of 64 KiB in base64url."""
State = Literal["handed", "applied", "kept", "restored", "refused", "undone"]


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Common settings of every answer."""


class SignedClosing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signed document, base64url."""

    envelope: Annotated[str, msgspec.Meta(max_length=MAX_ENVELOPE_CHARACTERS)]


class ClosingRow(_Answer, frozen=True):
    """A closing, and at how many machines it stands how.

    People are shown as the stored policy has them: machines and the owner's tools verify.
    """

    id: str
    serial: int
    words: str
    opens_all: bool
    for_all: bool
    people: list[str]
    reason: str
    restore_seconds: int
    issued_at: Instant
    kept_at: Instant | None
    counts: dict[State, int]


class ClosingPart(_Answer, frozen=True):
    """Where a closing stands at one machine. `report` is what the machine signed: verify it."""

    device_id: str
    name: str
    site: str
    state: State
    rule: str
    words: str
    seconds_left: int
    """As the machine said when it reported; it counts down from `at`."""
    at: Instant
    report: str


class ClosingDetail(_Answer, frozen=True):
    """A closing with its signed documents and a page of its machines."""

    closing: ClosingRow
    envelope: str
    kept: str
    machines: list[ClosingPart]
    total: int
    page: int
    per_page: int


class ClosingPage(_Answer, frozen=True):
    """A page of closings, newest first."""

    items: list[ClosingRow]
    total: int
    page: int
    per_page: int


class TierRow(_Answer, frozen=True):
    """One of the three tiers: `yes`, `no`, `unknown` or `stale`, why, and as of when."""

    number: int
    title: str
    state: Literal["yes", "no", "unknown", "stale"]
    words: str
    as_of: Instant | None


class OpenPort(_Answer, frozen=True):
    """A port that waits for others, as the newest inventory has it, and whether it is closed."""

    protocol: str
    port: int
    exposure: Literal["loopback", "lan", "all"]
    process: str | None
    closed: bool


class ConnectedPeer(_Answer, frozen=True):
    """Somebody who was connected to a port of a machine."""

    port: int
    address: str
    process: str | None


class MachineClosing(_Answer, frozen=True):
    """A machine: its tiers, what waits there, who is connected, and what is closed."""

    device_id: str
    name: str
    site: str
    connected: bool
    simulated: bool
    tiers: list[TierRow]
    ports: list[OpenPort]
    looked_at: Instant | None
    peers: list[ConnectedPeer]
    peers_more: int
    peers_at: Instant | None
    closed: str
    """What is closed now, in words; empty when nothing was ever ordered."""
    seconds_left: int
    report: str
    reported_at: Instant | None
    last_cut: list[str]


class MachineClosings(_Answer, frozen=True):
    """A page of machines."""

    items: list[MachineClosing]
    total: int
    page: int
    per_page: int
