"""What a machine says about itself: the inventory document and its summary.

An inventory is one canonical JSON document, named by the SHA-256 of its bytes. Nothing in it
changes by itself (no process ids, times or host names), so that a fleet of one image shares one
document. Every section says how much of it could be seen: what is not visible is never written
as zero.

Version history
- 2026-11-23: `fleetward.inventory.v1`, the first.
- 2026-11-26: the section `tools`. It is left out where nobody looked for them, so that what
  earlier agents sent keeps its digest.
- 2026-11-26: the collector says who is connected (`crowd`). The agent takes it out of the document
  and writes it down as an entry of its own (`posture.connected`): it changes by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Final, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from fleetward.trust.canonical import encode
from fleetward.trust.errors import Malformed

MAX_INVENTORY_BYTES: Final = 8 * 1024 * 1024
"""A machine with 20,000 packages stays under 4 MB; more is not an inventory."""
MAX_ROWS: Final = 50_000
MAX_TEXT_CHARACTERS: Final = 1024
MAX_PEERS: Final = 64
"""Connections that are named; more are a number."""

# Control, line-separating and direction-changing characters could forge a line of a terminal or
# of a page. The collector escapes them, so a document that holds one was not made by it.
_PRINTABLE: Final = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]*\Z"

Text = Annotated[str, Meta(max_length=MAX_TEXT_CHARACTERS, pattern=_PRINTABLE)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]

SectionName = Literal[
    "packages",
    "updates",
    "sockets",
    "users",
    "services",
    "programs",
    "kernel",
    "disk",
    "clock",
    "firmware",
    "tools",
]
SECTION_NAMES: Final[tuple[SectionName, ...]] = (
    "packages",
    "updates",
    "sockets",
    "users",
    "services",
    "programs",
    "kernel",
    "disk",
    "clock",
    "firmware",
    "tools",
)

Manager = Literal["dpkg", "rpm", "apk", "pypi", "npm"]
Exposure = Literal["loopback", "lan", "all"]
Protocol = Literal["tcp", "tcp6", "udp", "udp6"]
Hardening = Literal["yes", "no", "partial", "unknown"]


class _Word(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Common settings of every struct that travels.

    Canonical JSON knows no null: a fact that was not visible is `None` here and absent there.
    """


class Sight(_Word, frozen=True):
    """How much of a section could be seen, and in plain words why not more."""

    level: Literal["full", "partial", "none"]
    reason: Text = ""


Row = TypeVar("Row")


class Section(_Word, Generic[Row], frozen=True):
    """Rows of one kind, in a stable order, with the sight that they were seen with."""

    sight: Sight
    items: Annotated[tuple[Row, ...], Meta(max_length=MAX_ROWS)] = ()


class Package(_Word, frozen=True):
    """One installed piece of software, as its own manager records it."""

    manager: Manager
    name: Text
    version: Text
    arch: Text = ""
    source: Text = ""


class Update(_Word, frozen=True):
    """A newer version that the machine's own package lists already offer."""

    manager: Manager
    name: Text
    installed: Text
    candidate: Text
    origin: Text
    security: bool
    held: bool = False


class Socket(_Word, frozen=True):
    """A socket that waits for others. `None` means that this fact was not visible."""

    proto: Protocol
    address: Text
    port: Port
    exposure: Exposure
    process: Text | None = None
    executable: Text | None = None
    user: Text | None = None
    unit: Text | None = None
    package: Text | None = None


class Peer(_Word, frozen=True):
    """Somebody who is connected to a port that waits for others."""

    port: Port
    address: Text
    process: Text | None = None


class Crowd(_Word, frozen=True):
    """Who is connected from elsewhere to TCP ports of this machine. `more` are not named."""

    peers: Annotated[tuple[Peer, ...], Meta(max_length=MAX_PEERS)] = ()
    more: Count = 0


class User(_Word, frozen=True):
    """An account that has a login shell, and by what it can log in."""

    name: Text
    uid: Count
    shell: Text
    password: Literal["set", "empty", "locked", "not_visible"]
    administrator: bool
    keys: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    """Number of authorized SSH keys; `None` when the file was not visible."""


class Layers(_Word, frozen=True):
    """What stands between a service and the rest of the machine; `None` is not visible."""

    own_user: bool | None = None
    no_new_privileges: bool | None = None
    seccomp: bool | None = None
    capabilities_dropped: bool | None = None
    namespaces: Annotated[tuple[Text, ...], Meta(max_length=16)] | None = None
    label: Text | None = None


class Service(_Word, frozen=True):
    """One service: a unit of systemd, or a long-running process without a terminal."""

    unit: Text
    state: Literal["running", "stopped"]
    enabled: bool | None = None
    user: Text | None = None
    executable: Text | None = None
    package: Text | None = None
    layers: Layers = Layers()


class Program(_Word, frozen=True):
    """How a running executable was built. Each flag is read from its ELF file alone."""

    executable: Text
    users: Annotated[tuple[Text, ...], Meta(max_length=64)]
    network: Literal["", "loopback", "lan", "all"]
    """The widest exposure of a socket that it listens on; empty when it does not listen."""
    canary: Hardening
    nx: Hardening
    pie: Hardening
    relro: Hardening
    fortify: Hardening
    package: Text | None = None
    note: Text = ""


class Fact(_Word, frozen=True):
    """One named fact. `value` is `None` when it was not visible, and `words` says why."""

    key: Text
    words: Text
    value: Text | None = None


class Tool(_Word, frozen=True):
    """A program by which others reach this machine past its owner, and who approved it."""

    id: Text
    name: Text
    why: Text
    how: Text
    """By what it was known: package, file, unit, process, port."""
    approved_by: Text = ""
    reason: Text = ""


class Machine(_Word, frozen=True):
    """What the machine is, without anything that names this one machine."""

    os_id: Text
    os_name: Text
    os_version: Text
    kernel: Text
    arch: Text
    init: Text
    root: bool
    """Whether the collector had the rights of root."""


class Inventory(_Word, frozen=True):
    """The whole document. A section is absent when it was not asked for."""

    type: Literal["fleetward.inventory.v1"]
    machine: Machine
    packages: Section[Package] | None = None
    updates: Section[Update] | None = None
    sockets: Section[Socket] | None = None
    users: Section[User] | None = None
    services: Section[Service] | None = None
    programs: Section[Program] | None = None
    kernel: Section[Fact] | None = None
    disk: Section[Fact] | None = None
    clock: Section[Fact] | None = None
    firmware: Section[Fact] | None = None
    tools: Section[Tool] | None = None
    crowd: Crowd | None = None
    """Only between the collector and guard; never in a document that is stored."""


class Summary(_Word, frozen=True):
    """What the fleet list shows of an inventory; `None` is not visible, never zero."""

    os: Text
    kernel: Text
    root: bool
    packages: Count | None = None
    open_ports: Count | None = None
    lan_ports: Count | None = None
    exposed_ports: Count | None = None
    updates_pending: Count | None = None
    security_updates: Count | None = None


class Change(_Word, frozen=True):
    """One difference between two inventories, in a person's words."""

    key: Text
    what: Text
    words: Text
    before: Text
    after: Text
    severity: Literal["info", "notice", "warning"]


class InventoryNotice(_Word, frozen=True):
    """Body of the journal entry `posture.inventory`."""

    digest: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    size: Annotated[int, Meta(ge=2, le=MAX_INVENTORY_BYTES)]
    summary: Summary


_decoder: Final = msgspec.json.Decoder(Inventory)


def encode_inventory(inventory: Inventory) -> bytes:
    """Return the canonical bytes of an inventory.

    Raises Malformed when they would be more than MAX_INVENTORY_BYTES.
    """
    encoded = encode(msgspec.to_builtins(inventory))
    if len(encoded) > MAX_INVENTORY_BYTES:
        raise Malformed(
            f"Expected an inventory of at most {MAX_INVENTORY_BYTES} bytes, "
            f"came {len(encoded)}; ask for fewer sections.",
            reason="inventory_too_large",
        )
    return encoded


def decode_inventory(encoded: bytes) -> Inventory:
    """Return the inventory that these bytes are, or raise Malformed.

    The bytes must be canonical: one inventory has one digest.
    """
    if len(encoded) > MAX_INVENTORY_BYTES:
        raise Malformed(
            f"Expected an inventory of at most {MAX_INVENTORY_BYTES} bytes, came {len(encoded)}.",
            reason="inventory_too_large",
        )
    try:
        inventory = _decoder.decode(encoded)
        same = encode(msgspec.to_builtins(inventory)) == encoded
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Malformed(
            f"Expected an inventory document of version 1, came something else: {error}.",
            reason="inventory_malformed",
        ) from error
    if not same:
        raise Malformed(
            "Expected the canonical form of an inventory, came another spelling of it.",
            reason="inventory_not_canonical",
        )
    return inventory


def digest_inventory(encoded: bytes) -> str:
    """Return the name of an inventory: 64 hexadecimal digits of SHA-256."""
    return hashlib.sha256(encoded).hexdigest()


def is_visible(section: Section[Row] | None) -> bool:
    """Say whether anything of this section could be seen."""
    return section is not None and section.sight.level != "none"


def can_log_in(user: User) -> bool:
    """Say whether an account with a shell has a way in that is known, or cannot be excluded."""
    return user.password in ("set", "empty", "not_visible") or user.keys is None or user.keys > 0


def _count(section: Section[Row] | None) -> int | None:
    return len(section.items) if section is not None and is_visible(section) else None


def count_ports(sockets: Sequence[Socket], exposures: Sequence[Exposure]) -> int:
    """Count distinct (transport, port) pairs among sockets of these exposures.

    A service that listens by IPv4 and by IPv6 is one open port to a person.
    """
    return len({(row.proto[:3], row.port) for row in sockets if row.exposure in exposures})


def summarize(inventory: Inventory) -> Summary:
    """Return the numbers of the fleet list. Numbers of sections without sight are None."""
    sockets = inventory.sockets
    rows = sockets.items if sockets is not None and is_visible(sockets) else None
    # "No open ports" may only be said with full sight; one that was seen is a fact in any case.
    if sockets is not None and sockets.sight.level != "full" and not rows:
        rows = None
    updates = inventory.updates
    pending = updates.items if updates is not None and is_visible(updates) else None
    return Summary(
        os=f"{inventory.machine.os_name} {inventory.machine.os_version}".strip(),
        kernel=inventory.machine.kernel,
        packages=_count(inventory.packages),
        open_ports=None if rows is None else count_ports(rows, ("loopback", "lan", "all")),
        lan_ports=None if rows is None else count_ports(rows, ("lan",)),
        exposed_ports=None if rows is None else count_ports(rows, ("all",)),
        updates_pending=None if pending is None else len(pending),
        security_updates=None if pending is None else sum(row.security for row in pending),
        root=inventory.machine.root,
    )
