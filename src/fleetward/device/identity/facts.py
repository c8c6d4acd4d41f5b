"""What this machine says it is when it joins: hints for people, proof of nothing."""

from __future__ import annotations

import platform
import socket
from pathlib import Path
from typing import Final

from fleetward.runtime.files import read_bounded
from fleetward.trust.errors import FleetwardError
from fleetward.trust.statements import MachineFacts

MAX_FACT_CHARACTERS: Final = 80
_DMI: Final = Path("/sys/class/dmi/id")


def read_facts(name: str = "") -> MachineFacts:
    """Return the facts of this machine; `name` replaces its host name. Raises nothing."""
    return MachineFacts(
        hostname=_clean(name or socket.gethostname()),
        model=_clean(_read_line(_DMI / "product_name") or platform.machine()),
        maker=_clean(_read_line(_DMI / "sys_vendor")),
        system=_clean(_read_system()),
        simulated=False,
    )


def _read_system() -> str:
    try:
        lines = read_bounded(Path("/usr/lib/os-release"), 64 * 1024).decode("utf-8", "replace")
    except FleetwardError:
        return platform.system()
    for line in lines.splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.removeprefix("PRETTY_NAME=").strip("\"'")
    return platform.system()


def _read_line(path: Path) -> str:
    try:
        return read_bounded(path, 4096).decode("utf-8", "replace").strip()
    except FleetwardError:
        return ""


def _clean(text: str) -> str:
    kept = "".join(c for c in text if c.isprintable())
    return kept[:MAX_FACT_CHARACTERS].strip()
