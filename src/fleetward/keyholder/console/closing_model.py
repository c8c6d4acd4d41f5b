"""What the owner's console says and takes about closings."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from fleetward.keyholder.console.model import Answer, DeviceId, Question
from fleetward.trust.closing import MAX_DEVICES, MAX_PORTS, RESTORE_SECONDS

Hash: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Port: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Ports: TypeAlias = Annotated[list[Port], msgspec.Meta(max_length=MAX_PORTS)]
Devices: TypeAlias = Annotated[list[DeviceId], msgspec.Meta(max_length=MAX_DEVICES)]
Seconds: TypeAlias = Annotated[int, msgspec.Meta(ge=RESTORE_SECONDS[0], le=RESTORE_SECONDS[1])]
Reason: TypeAlias = Annotated[str, msgspec.Meta(max_length=200)]


class TierView(Answer, frozen=True, kw_only=True):
    """One of the three tiers, as the server says it."""

    number: int
    title: str
    state: str
    words: str
    as_of: str | None


class PortView(Answer, frozen=True, kw_only=True):
    """A port that waits for others."""

    name: str
    process: str
    closed: bool


class PeerView(Answer, frozen=True, kw_only=True):
    """Somebody who was connected."""

    port: int
    address: str


class MachineView(Answer, frozen=True, kw_only=True):
    """A machine of the roster. `closed` and `said` come from its own signed report, if any."""

    id: str
    name: str
    site: str
    connected: bool
    simulated: bool
    tiers: list[TierView]
    ports: list[PortView]
    looked_at: str | None
    peers: list[PeerView]
    peers_more: int
    peers_at: str | None
    closed: str
    said: str
    trouble: str


class TrialView(Answer, frozen=True, kw_only=True):
    """A closing that machines hold on trial, by their own reports."""

    id: str
    words: str
    reason: str
    machines: list[str]
    others: list[str]
    """What the machines said that do not hold it, in words."""
    cut: list[str]
    ends_at: str


class ClosingView(Answer, frozen=True, kw_only=True):
    """The page."""

    machines: list[MachineView]
    more: int
    trials: list[TrialView]


class CloseWish(Question, frozen=True, kw_only=True):
    """Close this. `devices` empty and `everywhere` true: all machines."""

    devices: Devices
    everywhere: bool = False
    tcp: Ports = msgspec.field(default_factory=list)
    udp: Ports = msgspec.field(default_factory=list)
    local_access: list[Literal["ssh", "telnet"]] = msgspec.field(default_factory=list)
    restore_seconds: Seconds = 600
    reason: Reason = ""


class KeepWish(Question, frozen=True, kw_only=True):
    """Keep the closing with this id."""

    id: Hash


class Closed(Answer, frozen=True, kw_only=True):
    """Signed and handed over."""

    id: str
    words: str
