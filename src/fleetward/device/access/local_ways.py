"""SSH and Telnet on this machine: which programs give them, and switching these off and on.

With systemd a service is disabled and stopped. Without it nothing is stopped: the filter closes the
port, and the program goes on running behind it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from fleetward.device.access.closing_words import PROGRAMS_PATH, UNITS, Access, Unit
from fleetward.device.access.connections import Look, Waiting

SYSTEMD: Final = Path("/run/systemd/system")
TOOL_SECONDS: Final = 60
PORTS: Final[Mapping[Access, tuple[int, ...]]] = {"ssh": (22,), "telnet": (23,)}
PROGRAMS: Final[Mapping[Access, frozenset[str]]] = {
    "ssh": frozenset({"sshd", "dropbear", "sshd-listener"}),
    "telnet": frozenset({"telnetd", "in.telnetd", "utelnetd"}),
}
"""As the kernel names them. Who calls his own program so has its port closed with them, unless it
is one that the maker keeps open."""
_STREAM: Final = re.compile(r"[:\]](\d{1,5}) \(Stream\)|^(\d{1,5}) \(Stream\)")


class Services:
    """The services of this machine. `tool` is None where systemd does not run."""

    def __init__(self, tool: str | None) -> None:
        self._tool = tool

    def list_on(self, ways: Collection[Access]) -> tuple[Unit, ...]:
        """Return the units of these ways that run now, or would with the next start."""
        found: list[Unit] = []
        for way in ways:
            for unit in UNITS[way]:
                if self._ask("is-active", "--quiet", unit) or self._ask(
                    "is-enabled", "--quiet", unit
                ):
                    found.append(unit)
        return tuple(found)

    def ports_of(self, units: Sequence[Unit]) -> tuple[int, ...]:
        """Return the TCP ports on which systemd itself waits for these units."""
        ports: set[int] = set()
        for unit in units:
            if unit.endswith(".socket"):
                said = self._read("show", "--property=Listen", "--value", unit)
                for line in said.splitlines():
                    for groups in _STREAM.findall(line.strip()):
                        number = int(groups[0] or groups[1])
                        ports |= {number} if 0 < number < 65536 else set()
        return tuple(sorted(ports))

    def stop(self, units: Sequence[Unit]) -> tuple[Unit, ...]:
        """Disable and stop these; return those that did not."""
        return tuple(u for u in units if not self._ask("disable", "--now", u))

    def start(self, units: Sequence[Unit]) -> tuple[Unit, ...]:
        """Enable and start these again; return those that did not."""
        return tuple(u for u in units if not self._ask("enable", "--now", u))

    def _ask(self, *arguments: str) -> bool:
        return self._run(arguments) is not None

    def _read(self, *arguments: str) -> str:
        return self._run(arguments) or ""

    def _run(self, arguments: Sequence[str]) -> str | None:
        """Return what systemctl printed, or None when it said no."""
        if self._tool is None:
            return None
        try:
            done = subprocess.run(
                [self._tool, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TOOL_SECONDS,
                check=False,
                env={"LC_ALL": "C", "PATH": PROGRAMS_PATH},
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def find_services() -> Services:
    """Return the services of this machine."""
    if not SYSTEMD.is_dir():
        return Services(None)
    return Services(shutil.which("systemctl", path=PROGRAMS_PATH))


def find_ports(ways: Collection[Access], seen: Look, names: Mapping[int, str]) -> tuple[int, ...]:
    """Return the TCP ports of these ways: the usual ones, and where their programs wait."""
    ports = {port for way in ways for port in PORTS[way]}
    for row in seen.waiting:
        if row.protocol == "tcp" and any(names.get(row.inode) in PROGRAMS[way] for way in ways):
            ports.add(row.port)
    return tuple(sorted(ports))


def find_running(
    ways: Collection[Access], waiting: Collection[Waiting], names: Mapping[int, str]
) -> tuple[Access, ...]:
    """Return the ways of which a program waits for others."""
    held = {names.get(row.inode) for row in waiting if row.protocol == "tcp" and not row.loopback}
    open_ports = {row.port for row in waiting if row.protocol == "tcp" and not row.loopback}
    return tuple(way for way in ways if held & PROGRAMS[way] or open_ports & set(PORTS[way]))
