"""Which facts of an inventory need a person, and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fleetward.server.posture.decide import count_updates
from fleetward.wire.posture import SECTION_NAMES, Inventory, Socket, can_log_in, is_visible

Kind = Literal["exposure", "updates", "setup"]

_PLAIN_TEXT: Final = {
    21: "FTP",
    23: "Telnet",
    512: "rexec",
    513: "rlogin",
    514: "rsh",
    2323: "Telnet",
    5900: "VNC",
}
"""Services that send passwords in the clear."""

_INNER: Final = {
    502: "Modbus",
    1433: "SQL Server",
    1883: "MQTT without TLS",
    2375: "Docker without TLS",
    3306: "MySQL",
    5432: "PostgreSQL",
    6379: "Redis",
    9200: "Elasticsearch",
    11211: "memcached",
    27017: "MongoDB",
}
"""Services that belong behind another one, never on a network."""


@dataclass(frozen=True, slots=True)
class Attention:
    """One thing that needs a person. `tab` is the part of the device's page that shows it."""

    key: str
    kind: Kind
    title: str
    why: str
    since_ms: int
    verb: str
    tab: str
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Since:
    """Since when a machine says this, is open to every network, and lacks security updates."""

    said_ms: int
    exposed_ms: int
    updates_ms: int


def judge_attention(inventory: Inventory, since: Since) -> list[Attention]:
    """Return what needs a person, the most urgent first."""
    found = [
        *_judge_ports(inventory, since),
        *_judge_users(inventory, since.said_ms),
        *_judge_tools(inventory, since.said_ms),
        *_judge_updates(inventory, since.updates_ms),
        *_judge_sight(inventory, since.said_ms),
    ]
    return sorted(found, key=lambda card: not card.urgent)


def _judge_ports(inventory: Inventory, since: Since) -> list[Attention]:
    sockets = inventory.sockets
    if sockets is None:
        return []
    reachable: dict[int, Socket] = {}
    for row in sockets.items:
        if row.exposure != "loopback" and row.proto.startswith("tcp"):
            reachable.setdefault(row.port, row)
    cards = []
    for port, row in sorted(reachable.items()):
        name = _PLAIN_TEXT.get(port) or _INNER.get(port)
        if name is not None:
            # A port to the local network alone has no beginning of its own.
            wide = row.exposure == "all"
            cards.append(_judge_port(row, name, since.exposed_ms if wide else since.said_ms))
    rest = [row for port, row in sorted(reachable.items())
            if port not in _PLAIN_TEXT and port not in _INNER]  # fmt: skip
    open_to_all = [row for row in rest if row.exposure == "all"]
    if open_to_all:
        cards.append(_judge_wide(open_to_all, since.exposed_ms))
    return cards


def _judge_port(row: Socket, name: str, since_ms: int) -> Attention:
    who = row.process or "a process that is not visible"
    if row.port in _PLAIN_TEXT:
        why = f"{who} answers to others and sends passwords in the clear."
    else:
        why = f"{who} answers to others; it belongs behind another service."
    return Attention(
        key=f"port/{row.port}",
        kind="exposure",
        title=f"{name} is open on port {row.port}",
        why=why,
        since_ms=since_ms,
        verb="See what is open",
        tab="sockets",
        urgent=True,
    )


def _judge_wide(rows: Sequence[Socket], since_ms: int) -> Attention:
    shown = ", ".join(
        f"port {row.port} ({row.process or 'its program is not visible'})" for row in rows[:3]
    )
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    number = "1 port is" if len(rows) == 1 else f"{len(rows)} ports are"
    return Attention(
        key="ports/all",
        kind="exposure",
        title=f"{number} open to every network",
        why=f"Whoever reaches this machine can speak to {shown}{more}.",
        since_ms=since_ms,
        verb="See what is open",
        tab="sockets",
    )


def _judge_users(inventory: Inventory, since_ms: int) -> list[Attention]:
    users = inventory.users
    rows = users.items if users is not None and is_visible(users) else ()
    names = [user.name for user in rows if can_log_in(user) and user.password in ("empty",)]
    if not names:
        return []
    return [
        Attention(
            key="users/empty",
            kind="exposure",
            title=f"{', '.join(names[:3])} can log in without a password",
            why="Whoever reaches a login of this machine is in.",
            since_ms=since_ms,
            verb="See who can log in",
            tab="users",
            urgent=True,
        )
    ]


def _judge_tools(inventory: Inventory, since_ms: int) -> list[Attention]:
    """Name programs by which others reach in that nobody approved on the machine."""
    tools = inventory.tools
    rows = tools.items if tools is not None and is_visible(tools) else ()
    return [
        Attention(
            key=f"tools/{tool.id}",
            kind="exposure",
            title=f"{tool.name} is on this device and nobody approved it",
            why=f"It gives others {tool.why}. Known by: {tool.how}.",
            since_ms=since_ms,
            verb="See what runs",
            tab="services",
            urgent=True,
        )
        for tool in rows
        if not tool.approved_by
    ]


def _judge_updates(inventory: Inventory, since_ms: int) -> list[Attention]:
    updates = inventory.updates
    rows = updates.items if updates is not None and is_visible(updates) else ()
    waiting = [row for row in rows if row.security]
    if not waiting:
        return []
    number = count_updates(len(waiting), "security ")
    names = ", ".join(row.name for row in waiting[:3])
    return [
        Attention(
            key="updates/security",
            kind="updates",
            title=f"{number} waiting",
            why=f"Known weaknesses stay open in {names}{' and others' if waiting[3:] else ''}.",
            since_ms=since_ms,
            verb="See the updates",
            tab="packages",
        )
    ]


def _judge_sight(inventory: Inventory, since_ms: int) -> list[Attention]:
    if inventory.machine.root:
        return []
    blind = [
        name
        for name in SECTION_NAMES
        if (section := getattr(inventory, name)) is not None and section.sight.level != "full"
    ]
    if not blind:
        return []
    return [
        Attention(
            key="sight",
            kind="setup",
            title="The agent runs without root and sees only a part",
            why=f"Not wholly visible: {', '.join(blind)}.",
            since_ms=since_ms,
            verb="How to see all",
            tab="facts",
        )
    ]
