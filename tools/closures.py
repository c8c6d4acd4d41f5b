"""List what each program can import, and what it loads from outside when it starts.

The lists are checked in under `tests/closures/`, so that a program which begins to reach for
something new shows it in a reviewed difference. `make closures` writes them again.

Each list has three parts: our own modules that the program can reach, those imported inside
functions too (read from the source); the third-party packages loaded when the program starts; and
those modules of the standard library loaded then that can speak to a network, start a process or
revive objects (both seen in a fresh interpreter).
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import grimp

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = ROOT / "tests" / "closures"
PACKAGE: Final = "fleetward"

PROGRAMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "agent": "fleetward.device.cli",
        "launcher": "fleetward.device.launcher.main",
        "guard": "fleetward.device.guard",
        "uplink": "fleetward.device.uplink",
        "collector": "fleetward.device.posture.collect",
        "session": "fleetward.device.access.session_main",
        "closer": "fleetward.device.access.closer_main",
        "installer": "fleetward.device.updates.installer_main",
        "cache": "fleetward.gateway.updates.main",
        "server": "fleetward.server.main",
        "owner-console": "fleetward.keyholder.console.main",
        "technician-page": "fleetward.keyholder.technician.main",
        "verifier": "fleetward.keyholder.verify",
        "fleetward": "fleetward.cli.main",
    }
)
"""Each list's name, and the module in which the program begins."""

WATCHED: Final = frozenset(
    {
        *("asyncio", "ctypes", "ftplib", "http", "marshal", "multiprocessing", "pickle"),
        *("selectors", "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess"),
        *("telnetlib", "threading", "urllib.request", "xmlrpc"),
    }
)
"""Modules of the standard library whose arrival in a program is worth a reviewer's look."""

_SHOW_LOADED: Final = "import sys\nprint(*sorted(sys.modules), sep='\\n')"


def has_program(module: str) -> bool:
    """Say whether the module in which a program begins exists."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def read_reachable(graph: grimp.ImportGraph, module: str) -> list[str]:
    """List our own modules that a module can reach, with the packages that hold them."""
    begin = {module} | graph.find_descendants(module)
    reached = set(begin)
    for one in begin:
        reached |= graph.find_upstream_modules(one)
    ours = {one for one in reached if one.split(".")[0] == PACKAGE}
    parts = (one.split(".") for one in ours)
    return sorted({".".join(part[:end]) for part in parts for end in range(1, len(part) + 1)})


def see_loaded(module: str | None) -> set[str]:
    """Import a module in a fresh interpreter and return the names of all that is loaded then."""
    code = (f"import {module}\n" if module else "") + _SHOW_LOADED
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True
    )
    if finished.returncode != 0:
        raise ImportError(f"{module} cannot be imported:\n{finished.stderr[-2000:]}")
    return set(finished.stdout.split())


def build_graph() -> grimp.ImportGraph:
    """Read every import of the project's sources; imports for type checking do not count."""
    return grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)


def build_closure(graph: grimp.ImportGraph, module: str) -> str:
    """Write the list of one program as text."""
    loaded = see_loaded(module) - see_loaded(None)
    tops = {name.split(".")[0] for name in loaded}
    foreign = tops - sys.stdlib_module_names - {PACKAGE}
    parts: list[tuple[str, Iterable[str]]] = [
        (f"{module} can reach", read_reachable(graph, module)),
        ("third-party packages loaded at the start", sorted(foreign, key=str.casefold)),
        ("standard library worth a look, loaded at the start", sorted(loaded & WATCHED)),
    ]
    return "\n".join("\n".join([f"# {title}", *names, ""]) for title, names in parts)


def write_closures() -> list[str]:
    """Write the list of every program that exists, and remove those of programs that do not."""
    graph = build_graph()
    FOLDER.mkdir(parents=True, exist_ok=True)
    written = []
    for name, module in PROGRAMS.items():
        path = FOLDER / f"{name}.txt"
        if has_program(module):
            path.write_text(build_closure(graph, module), encoding="utf-8")
            written.append(name)
        else:
            path.unlink(missing_ok=True)
    return written


if __name__ == "__main__":
    print("wrote tests/closures/ for", *write_closures())
