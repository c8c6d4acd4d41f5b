"""The collector: looks once, writes one inventory to its output, and ends.

    python -m fleetward.device.posture.collect [--sections a,b] [--root /]

Started through `fleetward.device.confine` it looks at the kernel's tables first
(`before_walls`) and parses files afterwards, behind the walls. It changes nothing, runs nothing
of what it finds, and a section that fails is recorded as not visible, with the reason.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import msgspec

from fleetward.device.posture import (
    dpkg,
    facts,
    programs,
    services,
    sockets,
    software,
    tools,
    users,
)
from fleetward.device.posture.files import Root, show_text
from fleetward.device.posture.processes import Snapshot, take_snapshot
from fleetward.trust.errors import FleetwardError
from fleetward.wire.posture import (
    SECTION_NAMES,
    Inventory,
    Section,
    SectionName,
    Sight,
    encode_inventory,
)

_TYPES: Final = {field.name: field.type for field in msgspec.structs.fields(Inventory)}
_DEEP: Final[frozenset[SectionName]] = frozenset({"services", "programs"})


@dataclass(frozen=True)
class Request:
    """What to look at."""

    root: Root
    sections: tuple[SectionName, ...]


def parse_request(arguments: Sequence[str]) -> Request:
    """Read the command line; leaves with status 2 when it is not understood."""
    parser = argparse.ArgumentParser(prog="collect", description="Look at this machine once.")
    parser.add_argument("--sections", default="", help="names, separated by commas; all if empty")
    parser.add_argument("--root", type=Path, default=Path("/"), help="the tree to look at")
    options = parser.parse_args(arguments)
    names = [name for name in options.sections.split(",") if name]
    unknown = sorted(set(names) - set(SECTION_NAMES))
    if unknown:
        parser.error(f"expected sections among {', '.join(SECTION_NAMES)}; came {unknown[0]!r}")
    chosen = tuple(name for name in SECTION_NAMES if not names or name in names)
    return Request(Root(options.root), chosen)


def before_walls(arguments: Sequence[str]) -> Snapshot:
    """Read the kernel's tables of processes and sockets; parse no file."""
    request = parse_request(arguments)
    return take_snapshot(request.root, deep=bool(_DEEP & set(request.sections)))


@dataclass(frozen=True)
class _Look:
    """One collection: its request, what the kernel said, and what the sections share."""

    request: Request
    snapshot: Snapshot
    now_seconds: float

    @cached_property
    def names(self) -> Mapping[int, str]:
        return users.read_user_names(self.request.root)

    @cached_property
    def owners(self) -> Mapping[str, str]:
        if {"services", "programs"} & set(self.request.sections):
            watched = self.snapshot.processes
        else:
            holders = sockets.map_owners(self.snapshot)
            inodes = {row.inode for row in sockets.list_endpoints(self.snapshot)[0]}
            watched = tuple(holders[inode] for inode in inodes if inode in holders)
        paths = {process.executable for process in watched if process.executable}
        return dpkg.find_owners(self.request.root, paths)

    def collectors(self) -> dict[SectionName, Callable[[], Section[Any]]]:
        root, snapshot = self.request.root, self.snapshot
        init = next((process.name for process in snapshot.processes if process.pid == 1), "")
        return {
            "packages": lambda: software.collect_packages(root),
            "updates": lambda: collect_updates(root, self.now_seconds),
            "sockets": lambda: sockets.collect_sockets(snapshot, self.names, self.owners),
            "users": lambda: users.collect_users(root),
            "services": lambda: services.collect_services(
                root, snapshot, init, self.names, self.owners
            ),
            "programs": lambda: programs.collect_programs(root, snapshot, self.names, self.owners),
            "kernel": lambda: facts.collect_kernel(root),
            "disk": lambda: facts.collect_disk(root, snapshot.mounts),
            "clock": lambda: facts.collect_clock(root, snapshot),
            "firmware": lambda: facts.collect_firmware(root),
            "tools": lambda: tools.collect_tools(root, snapshot),
        }


def collect_updates(root: Root, now_seconds: float) -> Section[Any]:
    """List pending updates where the package manager keeps lists that can be read."""
    if root.exists(dpkg.STATUS):
        return dpkg.collect_updates(root, now_seconds)
    return Section(Sight("none", "Pending updates are only known for dpkg and apt so far."))


def collect_section(collect: Callable[[], Section[Any]]) -> Section[Any]:
    """Run one collector; whatever goes wrong becomes a section without sight.

    This is the named boundary at which every failure of a section ends.
    """
    try:
        return collect()
    except FleetwardError as error:
        return Section(Sight("none", show_text(error.message)))
    except MemoryError:
        return Section(Sight("none", "Looking took more memory than is allowed."))
    except Exception as error:  # noqa: BLE001 - recorded in the document, see above
        words = f"Looking failed: {type(error).__name__}: {error}"
        return Section(Sight("none", show_text(words)))


def check_section(name: SectionName, section: Section[Any]) -> Section[Any]:
    """Return the section, or one without sight when it breaks the rules of the document.

    So that one file of a strange form does not cost the whole look.
    """
    try:
        checked: Section[Any] = msgspec.json.decode(msgspec.json.encode(section), type=_TYPES[name])
    except (msgspec.MsgspecError, UnicodeError) as error:
        return Section(Sight("none", show_text(f"What was found cannot be written: {error}")))
    return checked


def collect_inventory(request: Request, snapshot: Snapshot, now_seconds: float) -> Inventory:
    """Return the inventory of the sections that were asked for."""
    look = _Look(request, snapshot, now_seconds)
    collectors = look.collectors()
    found = {
        name: check_section(name, collect_section(collectors[name]))
        for name in collectors
        if name in request.sections
    }
    machine = facts.read_machine(request.root, snapshot)
    crowd = sockets.collect_crowd(snapshot) if "sockets" in request.sections else None
    return Inventory(type="fleetward.inventory.v1", machine=machine, crowd=crowd, **found)


def after_walls(arguments: Sequence[str], snapshot: Snapshot) -> bytes:
    """Parse what is to be parsed and return the document."""
    return encode_inventory(collect_inventory(parse_request(arguments), snapshot, time.time()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Look without walls, for a person at a terminal; the agent uses `confine`."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        document = after_walls(given, before_walls(given))
    except FleetwardError as error:
        os.write(2, f"{error.message}\n".encode())
        return 1
    sys.stdout.buffer.write(document)
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
