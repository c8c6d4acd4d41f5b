"""What the tour's pages and the ready file name: commands to copy, addresses, machines."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fleetward.demo.places import DemoPlaces
from fleetward.demo.technician import Allowed

TOUR_PORT: Final = 8023
"""The port that the tour has its reader open: not used by anything that is commonly installed."""
_ALTER: Final = (
    "import pathlib, sys; "
    "p = sorted(f for f in pathlib.Path(sys.argv[1]).rglob('entries/**/*') if f.is_file())[-1]; "
    "b = bytearray(p.read_bytes()); b[-2] ^= 1; p.write_bytes(b); print(p)"
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What stands when the demo is ready."""

    this: str
    waiting: str
    waiting_slug: str
    owner_root: str
    owner_console: str
    machines: dict[str, str]
    """Ids by the names of the simulated machines."""
    allowed: Allowed
    page_port: int


def make_facts(places: DemoPlaces, shown: Shown) -> dict[str, Any]:
    """Return the facts of the tour.

    The owner's console is named by a command and not by its address: that address holds a secret
    which confirms machines, and this file is given to the server.
    """
    record = places.data / "record"
    data = ("--data", places.data)
    owner = ("--owner", places.owner, "--passphrase-file", places.passphrase)
    facts: dict[str, Any] = {
        "device_id": shown.this,
        "waiting_device_id": shown.waiting,
        "open_port_command": f"python3 -m http.server {TOUR_PORT} --bind 0.0.0.0",
        "close_port_command": "Ctrl-C in that terminal",
        "export_command": run_line("fleetward", "audit", "export", "--out", record, *data),
        "verify_command": run_line(
            "fleetward", "audit", "verify", record, "--root", shown.owner_root
        ),
        "alter_command": shlex.join([sys.executable, "-c", _ALTER, str(record)]),
        "invite_command": run_line("fleetward", "owner", "invite", "--site", "Here", *owner),
        "join_command": f"{_program('fleetward-agent')} join STRING --data DIR",
        "release_command": run_line("fleetward", "demo", "release", *data),
        "reset_command": run_line("fleetward", "demo", "--reset", *data),
    }
    if shown.allowed.named:
        facts |= _make_session_facts(places, shown)
    if shown.owner_console:
        facts["owner_console_command"] = shlex.join(["cat", str(places.owner_console)])
    if shown.waiting_slug:
        panel = places.devices / shown.waiting_slug
        facts["panel_command"] = run_line("fleetward-agent", "status", "--data", panel)
    return {name: value for name, value in facts.items() if value}


def _make_session_facts(places: DemoPlaces, shown: Shown) -> dict[str, str]:
    """Return the commands of the step with the technician. SESSION stands for the session's id."""
    owner = ("--owner", places.owner, "--data", places.data)
    signing = (*owner, "--passphrase-file", places.passphrase)
    return {
        "connect_command": run_line("fleetward", *_connect_words(places, shown)),
        "stop_command": run_line("fleetward", "owner", "stop", "SESSION", *signing),
        "replay_command": run_line("fleetward", "owner", "session", "replay", "SESSION", *signing),
    }


def _connect_words(places: DemoPlaces, shown: Shown) -> list[str | Path]:
    """Return how the technician asks for what he may: a terminal, and the machine's own page."""
    wanted: list[str | Path] = []
    if shown.allowed.user:
        wanted += ["--terminal", shown.allowed.user]
    if shown.allowed.ports and shown.page_port:
        wanted += ["--port", str(shown.page_port), "--http"]
    return [
        "connect", shown.this, *(wanted or ["--logs", "*"]),
        "--reason", "the display stays dark", "--case", "C-118",
        "--as", places.technician, "--passphrase-file", places.technician_passphrase,
    ]  # fmt: skip


def make_ready(places: DemoPlaces, server: dict[str, Any], shown: Shown) -> dict[str, Any]:
    """Return what the ready file says: what `up` writes, and what the demo adds."""
    devices = {"this": shown.this, "waiting": shown.waiting, **shown.machines}
    named = shown.allowed.named
    return {
        **server,
        "devices": {name: device for name, device in devices.items() if device},
        "owner_console": shown.owner_console,
        "owner_root": shown.owner_root,
        "passphrase_file": str(places.passphrase),
        "page_port": shown.page_port,
        "technician": str(places.technician) if named else "",
        "technician_passphrase_file": str(places.technician_passphrase) if named else "",
        "terminal_user": shown.allowed.user,
    }


def run_line(program: str, *words: str | Path) -> str:
    """Return a command line to copy, which works from any folder."""
    return shlex.join([_program(program), *map(str, words)])


def _program(name: str) -> str:
    """Return how to call a program of ours from any folder."""
    return str(Path(sys.executable).with_name(name))
