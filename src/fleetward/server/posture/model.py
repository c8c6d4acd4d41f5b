"""What the API says about a posture: every group with its age and how much was seen."""

from __future__ import annotations

from typing import Literal

import msgspec

from fleetward.runtime.http.times import Instant
from fleetward.server.shown import PropertyView, Reachability, Software
from fleetward.wire.posture import Hardening


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Common settings of every answer."""


class SightView(_Answer, frozen=True):
    """How much of a group was seen, and why not more."""

    level: Literal["full", "partial", "none"]
    words: str


class AttentionView(_Answer, frozen=True):
    """One thing that needs a person."""

    id: str
    kind: Literal["exposure", "updates", "setup"]
    title: str
    why: str
    since: Instant
    urgent: bool
    verb: str
    tab: str


class DevicePosture(_Answer, frozen=True):
    """All that a device's page shows of its posture."""

    root: bool | None
    sight: str
    reachability: Reachability
    software: Software
    properties: list[PropertyView]
    attention: list[AttentionView]


class PackageRow(_Answer, frozen=True):
    """An installed package and, where one waits, its update."""

    manager: str
    name: str
    version: str
    arch: str
    source: str
    update: str | None = None
    security: bool = False


class SocketRow(_Answer, frozen=True):
    """A listening socket; null is not visible."""

    proto: str
    address: str
    port: int
    exposure: Literal["loopback", "lan", "all"]
    process: str | None
    executable: str | None
    user: str | None
    unit: str | None
    package: str | None


class UserRow(_Answer, frozen=True):
    """An account with a login shell."""

    name: str
    uid: int
    shell: str
    can_log_in: bool
    password: Literal["set", "empty", "locked", "not_visible"]
    keys: int | None
    administrator: bool


class LayersView(_Answer, frozen=True):
    """Layers around a service; null is not visible."""

    own_user: bool | None
    no_new_privileges: bool | None
    seccomp: bool | None
    capabilities_dropped: bool | None
    namespaces: list[str] | None
    label: str | None


class ServiceRow(_Answer, frozen=True):
    """A service and what stands between it and the rest of the machine."""

    unit: str
    state: Literal["running", "stopped"]
    enabled: bool | None
    user: str | None
    executable: str | None
    package: str | None
    layers: LayersView


class ProgramRow(_Answer, frozen=True):
    """A running program and how it was built."""

    executable: str
    package: str | None
    users: list[str]
    network: Literal["", "loopback", "lan", "all"]
    canary: Hardening
    nx: Hardening
    pie: Hardening
    relro: Hardening
    fortify: Hardening
    note: str


class FactRow(_Answer, frozen=True):
    """One fact; `value` is null when it was not visible."""

    group: str
    key: str
    value: str | None
    words: str


class _List(_Answer, frozen=True):
    """A page of rows with their age and sight."""

    total: int
    page: int
    per_page: int
    as_of: Instant | None
    sight: SightView


class PackageList(_List, frozen=True):
    """A page of packages."""

    items: list[PackageRow]


class SocketList(_List, frozen=True):
    """A page of sockets."""

    items: list[SocketRow]


class UserList(_List, frozen=True):
    """A page of accounts."""

    items: list[UserRow]


class ServiceList(_List, frozen=True):
    """A page of services."""

    items: list[ServiceRow]


class ProgramList(_List, frozen=True):
    """A page of running programs."""

    items: list[ProgramRow]


class FactList(_List, frozen=True):
    """A page of facts."""

    items: list[FactRow]


class ChangeRow(_Answer, frozen=True):
    """One change that the machine reported, in a person's words."""

    device_id: str
    sequence: int
    at: Instant
    received_at: Instant
    what: str
    words: str
    before: str
    after: str
    severity: Literal["info", "notice", "warning"]
