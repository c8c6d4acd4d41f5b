"""What changed between two looks, in a person's words. Pure: two documents in, changes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal, TypeVar

from fleetward.device.posture.debversion import compare_versions
from fleetward.wire.posture import (
    MAX_TEXT_CHARACTERS,
    Change,
    Exposure,
    Fact,
    Inventory,
    Package,
    Section,
    Service,
    Socket,
    Tool,
    Update,
    User,
    can_log_in,
    is_visible,
)

MAX_OF_A_KIND: Final = 10
"""More changes of one kind become one line with their number."""

Severity = Literal["info", "notice", "warning"]
Row = TypeVar("Row")
Keyed = dict[tuple[str, ...], Row]

_REACH: Final[dict[Exposure, str]] = {
    "loopback": "reachable from this machine only",
    "lan": "reachable from the LAN",
    "all": "reachable from the LAN and every other network",
}
_SEVERITY: Final[dict[Exposure, Severity]] = {
    "loopback": "info",
    "lan": "warning",
    "all": "warning",
}
_WIDTH: Final[dict[Exposure, int]] = {"loopback": 1, "lan": 2, "all": 3}
_FACTS_THAT_WARN: Final = ("boot.", "kernel.lsm", "kernel.lockdown", "kernel.aslr", "disk.")


def describe_changes(before: Inventory, after: Inventory) -> list[Change]:
    """Return the changes from one inventory to the next, the gravest first.

    A section that is absent or was not visible in either is left out: a fact that goes out of
    sight has not changed.
    """
    changes = [
        *_describe_ports(before.sockets, after.sockets),
        *_describe_users(before.users, after.users),
        *_describe_packages(before.packages, after.packages),
        *_describe_updates(before.updates, after.updates),
        *_describe_services(before.services, after.services),
        *_describe_facts(before.kernel, after.kernel),
        *_describe_facts(before.disk, after.disk),
        *_describe_facts(before.clock, after.clock),
        *_describe_facts(before.firmware, after.firmware),
        *describe_tools(before.tools, after.tools),
    ]
    order = {"warning": 0, "notice": 1, "info": 2}
    clipped = [_clip(change) for change in _coalesce(changes)]
    return sorted(clipped, key=lambda change: order[change.severity])


def _clip(change: Change) -> Change:
    """Keep every text within what a message may hold: names on a machine can be very long."""
    return Change(
        key=_shorten(change.key),
        what=change.what,
        words=_shorten(change.words),
        before=_shorten(change.before),
        after=_shorten(change.after),
        severity=change.severity,
    )


def _shorten(text: str) -> str:
    if len(text) <= MAX_TEXT_CHARACTERS:
        return text
    return text[: MAX_TEXT_CHARACTERS - 1] + "…"


def _rows(
    before: Section[Row] | None, after: Section[Row] | None
) -> tuple[Iterable[Row], Iterable[Row]] | None:
    if before is None or after is None or not is_visible(before) or not is_visible(after):
        return None
    return before.items, after.items


def _key(rows: Iterable[Row], key: Callable[[Row], tuple[str, ...]]) -> Keyed[Row]:
    return {key(row): row for row in rows}


def _group_ports(sockets: Iterable[Socket]) -> Keyed[Socket]:
    """One row per transport and port, the one that can be reached from the farthest."""
    ports: Keyed[Socket] = {}
    for row in sockets:
        key = (row.proto[:3], str(row.port))
        if key not in ports or _WIDTH[row.exposure] > _WIDTH[ports[key].exposure]:
            ports[key] = row
    return ports


def _name_port(row: Socket) -> str:
    return f"port {row.port}" if row.proto.startswith("tcp") else f"UDP port {row.port}"


def _name_process(row: Socket) -> str:
    return row.process or "a process that is not visible"


def _describe_ports(before: Section[Socket] | None, after: Section[Socket] | None) -> list[Change]:
    both = _rows(before, after)
    if both is None:
        return []
    old, new = _group_ports(both[0]), _group_ports(both[1])
    changes = []
    for key in sorted(old.keys() | new.keys()):
        change = _describe_port("/".join(key), old.get(key), new.get(key))
        if change is not None:
            changes.append(change)
    return changes


def _describe_port(key: str, old: Socket | None, new: Socket | None) -> Change | None:
    if new is None:
        if old is None:
            return None
        words = f"{_name_port(old)} closed"
        return Change(key, "port.closed", words, _REACH[old.exposure], "", "info")
    who, reach = _name_process(new), _REACH[new.exposure]
    if old is None:
        words = f"{_name_port(new)} opened by {who}, {reach}"
        return Change(key, "port.opened", words, "", f"{who}, {reach}", _SEVERITY[new.exposure])
    if old.exposure != new.exposure:
        words = f"{_name_port(new)} of {who} is now {reach}"
        wider = _WIDTH[new.exposure] > _WIDTH[old.exposure]
        severity = _SEVERITY[new.exposure] if wider else "info"
        return Change(key, "port.exposure", words, _REACH[old.exposure], reach, severity)
    if old.process is not None and new.process is not None and old.process != new.process:
        words = f"{_name_port(new)} is now held by {new.process}, before by {old.process}"
        return Change(key, "port.owner", words, old.process, new.process, "notice")
    return None


def _describe_users(before: Section[User] | None, after: Section[User] | None) -> list[Change]:
    both = _rows(before, after)
    if both is None:
        return []
    old = _key(both[0], lambda user: (user.name,))
    new = _key(both[1], lambda user: (user.name,))
    changes = []
    for key in sorted(old.keys() | new.keys()):
        changes += _describe_user(key[0], old.get(key), new.get(key))
    return changes


def _describe_user(name: str, old: User | None, new: User | None) -> list[Change]:
    could, can = old is not None and can_log_in(old), new is not None and can_log_in(new)
    if can and not could:
        words = f"user {name} can now log in"
        return [Change(name, "user.allowed", words, "no", "yes", "warning")]
    if could and not can:
        words = f"user {name} can no longer log in"
        return [Change(name, "user.denied", words, "yes", "no", "info")]
    if old is None or new is None:
        return []
    changes = []
    if new.administrator and not old.administrator:
        words = f"user {name} is now an administrator"
        changes.append(Change(name, "user.raised", words, "no", "yes", "warning"))
    if old.keys is not None and new.keys is not None and new.keys > old.keys:
        words = f"user {name} has {new.keys} SSH keys, before {old.keys}"
        changes.append(Change(name, "user.keys", words, str(old.keys), str(new.keys), "warning"))
    if _is_open(new) and not _is_open(old):
        words = f"user {name} can now log in without a password"
        changes.append(Change(name, "user.open", words, old.password, "empty", "warning"))
    return changes


def _is_open(user: User) -> bool:
    return user.password in ("empty",)


def _list_versions(rows: Iterable[Package]) -> dict[tuple[str, ...], list[str]]:
    versions: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        versions.setdefault((row.manager, row.name, row.arch), []).append(row.version)
    return versions


def _describe_packages(
    before: Section[Package] | None, after: Section[Package] | None
) -> list[Change]:
    both = _rows(before, after)
    if both is None:
        return []
    old, new = _list_versions(both[0]), _list_versions(both[1])
    changes = []
    for key in sorted(old.keys() | new.keys()):
        gone = sorted(set(old.get(key, ())) - set(new.get(key, ())))
        come = sorted(set(new.get(key, ())) - set(old.get(key, ())))
        if gone or come:
            changes.append(_describe_package(key, ", ".join(gone), ", ".join(come)))
    return changes


def _describe_package(key: tuple[str, ...], old: str, new: str) -> Change:
    manager, name, _ = key
    shown = name if manager in ("dpkg", "rpm", "apk") else f"{name} ({manager})"
    whole = "/".join(key)
    if not old:
        words = f"{shown} {new} installed"
        return Change(whole, "package.installed", words, "", new, "notice")
    if not new:
        return Change(whole, "package.removed", f"{shown} removed", old, "", "notice")
    # The order of other managers differs in fine points; for a word it is near enough.
    if compare_versions(old, new) > 0:
        words = f"{shown} went back from {old} to {new}"
        return Change(whole, "package.downgraded", words, old, new, "warning")
    words = f"{shown} upgraded from {old} to {new}"
    return Change(whole, "package.upgraded", words, old, new, "info")


def _describe_updates(
    before: Section[Update] | None, after: Section[Update] | None
) -> list[Change]:
    both = _rows(before, after)
    if both is None:
        return []
    old = _key(both[0], lambda row: (row.name, row.candidate))
    changes = []
    for row in both[1]:
        if (row.name, row.candidate) in old:
            continue
        kind = "security update" if row.security else "update"
        what = "update.security" if row.security else "update.pending"
        words = f"{kind} for {row.name} is waiting: {row.candidate}"
        severity: Severity = "notice" if row.security else "info"
        changes.append(Change(row.name, what, words, row.installed, row.candidate, severity))
    return changes


def _describe_services(
    before: Section[Service] | None, after: Section[Service] | None
) -> list[Change]:
    both = _rows(before, after)
    if both is None:
        return []
    old = {row.unit: row.state for row in both[0]}
    new = {row.unit: row.state for row in both[1]}
    changes = []
    for unit in sorted(old.keys() | new.keys()):
        was, now = old.get(unit, "stopped"), new.get(unit, "stopped")
        if was == now:
            continue
        verb = "started" if now == "running" else "stopped"
        what = f"service.{verb}"
        changes.append(Change(unit, what, f"service {unit} {verb}", was, now, "notice"))
    return changes


def _describe_facts(before: Section[Fact] | None, after: Section[Fact] | None) -> list[Change]:
    both = _rows(before, after)
    if both is None:
        return []
    old = {fact.key: fact for fact in both[0]}
    changes = []
    for fact in both[1]:
        was = old.get(fact.key)
        if was is None or was.value is None or fact.value is None or was.value == fact.value:
            continue
        words = f"{fact.words} changed from {was.value} to {fact.value}"
        warns = fact.key.startswith(_FACTS_THAT_WARN)
        changes.append(
            Change(
                fact.key,
                "fact.changed",
                words,
                was.value,
                fact.value,
                "warning" if warns else "notice",
            )
        )
    return changes


def describe_tools(before: Section[Tool] | None, after: Section[Tool] | None) -> list[Change]:
    """Return a line for each program by which others reach in that is new, or newly unapproved.

    Without an earlier look every one is new: such a program is a finding whenever it is first
    seen.
    """
    if after is None or not is_visible(after):
        return []
    old = {} if before is None else {tool.id: tool for tool in before.items}
    changes = []
    for tool in after.items:
        was = old.get(tool.id)
        if was is not None and was.approved_by == tool.approved_by:
            continue
        if tool.approved_by:
            words = f"{tool.name} is on this machine, approved by {tool.approved_by}"
            changes.append(Change(tool.id, "tool.approved", words, "", tool.how, "info"))
        else:
            words = f"{tool.name} is on this machine and nobody approved it: {tool.why}"
            changes.append(Change(tool.id, "tool.found", words, "", tool.how, "warning"))
    now = {tool.id for tool in after.items}
    for gone in old.values():
        if gone.id not in now:
            words = f"{gone.name} is no longer on this machine"
            changes.append(Change(gone.id, "tool.gone", words, gone.how, "", "info"))
    return changes


_TOGETHER: Final = {
    "package.installed": "packages installed",
    "package.removed": "packages removed",
    "package.upgraded": "packages upgraded",
    "package.downgraded": "packages went back to an older version",
    "update.security": "security updates are waiting",
    "update.pending": "updates are waiting",
    "service.started": "services started",
    "service.stopped": "services stopped",
    "port.opened": "ports opened",
    "port.closed": "ports closed",
    "user.allowed": "users can now log in",
    "user.denied": "users can no longer log in",
}


def _coalesce(changes: list[Change]) -> list[Change]:
    """Make one line of more than MAX_OF_A_KIND changes of a kind."""
    kinds: dict[str, list[Change]] = {}
    for change in changes:
        kinds.setdefault(change.what, []).append(change)
    result: list[Change] = []
    for what, group in kinds.items():
        if len(group) <= MAX_OF_A_KIND:
            result += group
            continue
        grave: Severity = "info"
        for change in group:
            if change.severity == "warning" or (change.severity == "notice" and grave == "info"):
                grave = change.severity
        first = ", ".join(
            change.key.split("/")[1] if what.startswith("package.") else change.key
            for change in group[:3]
        )
        words = f"{len(group)} {_TOGETHER.get(what, 'changes of one kind')}, among them {first}"
        result.append(Change("*", what, words, "", str(len(group)), grave))
    return result
