"""Programs by which others reach this machine past its owner, and which of them he approved.

The list of programs is data (`remote_tools.toml`). What an owner wants on his machines stands in
`APPROVED`, which only root may have written: one table a tool, by whom it was approved and why.

    [anydesk]
    by = "Ada Berg"
    reason = "contract 2026-7 with the maker of the scanner"
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from fleetward.device.posture.files import Root, show_text, trusted_owners
from fleetward.device.posture.processes import Snapshot
from fleetward.device.posture.sockets import list_endpoints
from fleetward.trust.errors import FleetwardError, Malformed
from fleetward.wire.posture import Section, Sight, Tool

APPROVED: Final = "/etc/fleetward/approved-tools.toml"
MAX_APPROVED_BYTES: Final = 64 * 1024
MAX_APPROVED: Final = 64
STATUS: Final = "/var/lib/dpkg/status"
MAX_STATUS_BYTES: Final = 32 * 1024 * 1024
_INSTALLED: Final = re.compile(rb"^Package: (\S+)\nStatus: \S+ \S+ installed$", re.MULTILINE)
_FOLDERS: Final = ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt")
_UNITS: Final = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class KnownTool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One program of the list."""

    id: str
    name: str
    why: str
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()


class _List(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tool: tuple[KnownTool, ...]


class Approval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who approved a tool, and why."""

    by: str
    reason: str


@dataclass(frozen=True)
class Traces:
    """By what a tool may be known here. `ports` are those that others can reach."""

    packages: Collection[str] = ()
    programs: Collection[str] = ()
    paths: Collection[str] = ()
    units: Collection[str] = ()
    ports: Collection[int] = ()


@dataclass(frozen=True)
class Approvals:
    """What the owner approved. `problem` says why a file that is there counts for nothing."""

    tools: dict[str, Approval] = field(default_factory=dict)
    problem: str = ""


@cache
def known_tools() -> tuple[KnownTool, ...]:
    """Return the list of programs, as it was installed with this agent."""
    content = Path(__file__).with_name("remote_tools.toml").read_bytes()
    return msgspec.convert(tomllib.loads(content.decode("utf-8")), _List).tool


def places_of_tools() -> list[str]:
    """Return every path at which a tool may have been put."""
    named = [folder for tool in known_tools() for folder in tool.folders]
    files = [f"{place}/{name}" for tool in known_tools() for name in tool.programs
             for place in _FOLDERS]  # fmt: skip
    return [*named, *files]


def names_of_packages(status: bytes) -> set[str]:
    """Return the packages of the list that a status file of dpkg calls installed."""
    wanted = {name.encode() for tool in known_tools() for name in tool.packages}
    return {name.decode() for name in set(_INSTALLED.findall(status)) & wanted}


def collect_tools(root: Root, snapshot: Snapshot) -> Section[Tool]:
    """List the tools of this machine, those that the owner approved too."""
    try:
        status = root.read(STATUS, MAX_STATUS_BYTES)
    except FleetwardError:
        status = b""
    ends = list_endpoints(snapshot)[0]
    approvals = read_approvals(root)
    traces = Traces(
        packages=names_of_packages(status),
        programs={process.name for process in snapshot.processes},
        paths=[path for path in places_of_tools() if root.exists(path)],
        units={name for folder in _UNITS for name in root.entries(folder)},
        ports={end.port for end in ends if end.exposure != "loopback"},
    )
    found = tuple(find_tools(traces, approvals))
    if approvals.problem:
        return Section(Sight("partial", approvals.problem), found)
    return Section(Sight("full"), found)


def find_tools(traces: Traces, approvals: Approvals) -> list[Tool]:
    """Return the tools that are here, each with what it was known by. Pure."""
    packages, programs = set(traces.packages), set(traces.programs)
    paths, units, ports = set(traces.paths), set(traces.units), set(traces.ports)
    found = []
    for tool in known_tools():
        seen = [f"package {name}" for name in tool.packages if name in packages]
        seen += [f"running as {name}" for name in tool.programs if name[:15] in programs]
        files = [*tool.folders, *(f"{place}/{name}" for name in tool.programs
                                  for place in _FOLDERS)]  # fmt: skip
        seen += [f"file {path}" for path in files if path in paths]
        seen += [f"unit {name}" for name in tool.units if name in units]
        seen += [f"port {port} reachable by others" for port in tool.ports if port in ports]
        if seen:
            given = approvals.tools.get(tool.id)
            found.append(
                Tool(
                    id=tool.id,
                    name=tool.name,
                    why=tool.why,
                    how=show_text("; ".join(seen[:6])),
                    approved_by="" if given is None else show_text(given.by, 80),
                    reason="" if given is None else show_text(given.reason, 200),
                )
            )
    return found


def read_approvals(root: Root) -> Approvals:
    """Return what the owner approved. A file that others could have written approves nothing."""
    if not root.exists(APPROVED):
        return Approvals()
    try:
        descriptor = root.open(APPROVED)
        try:
            status = os.fstat(descriptor)
            content = os.read(descriptor, MAX_APPROVED_BYTES + 1)
        finally:
            os.close(descriptor)
        _check_owner(status, root)
        return Approvals(_parse(content))
    except (FleetwardError, OSError) as e:
        words = e.message if isinstance(e, FleetwardError) else f"{e.strerror}."
        return Approvals(problem=show_text(f"{APPROVED} approves nothing: {words}"))


def _check_owner(status: os.stat_result, root: Root) -> None:
    if status.st_uid not in trusted_owners(root.path) or status.st_mode & _OTHERS_MAY_WRITE:
        raise Malformed(
            "Expected that it belongs to root and that nobody else may write it. "
            f"Run: chown root:root {APPROVED} && chmod 644 {APPROVED}",
            reason="approved_not_roots",
        )


def _parse(content: bytes) -> dict[str, Approval]:
    if len(content) > MAX_APPROVED_BYTES:
        raise Malformed("It is too long.", reason="approved_too_long")
    try:
        tables = tomllib.loads(content.decode("utf-8"))
        given = msgspec.convert(tables, dict[str, Approval])
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeError, RecursionError) as e:
        raise Malformed(f"{e}.", reason="approved_malformed") from e
    unknown = sorted(set(given) - {tool.id for tool in known_tools()})
    if unknown or len(given) > MAX_APPROVED:
        raise Malformed(
            f"{unknown[:1]} is no tool of the list. `fleetward-agent tools` shows them.",
            reason="approved_unknown",
        )
    if not all(one.by.strip() and one.reason.strip() for one in given.values()):
        raise Malformed("Say by whom each was approved, and why.", reason="approved_by_nobody")
    return given
