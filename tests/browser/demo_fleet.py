"""What a walk needs beside a demo: 5,000 devices, a broken server, an agent without root."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.browser.console_chromium import REPOSITORY
from tests.browser.demo_walk import BIN, Program, stop

MANY: Final = 5_000
QUARANTINED_EVERY: Final = 8
LONG_NAME: Final = "pump-of-the-third-operating-theatre-in-the-east-wing-second-floor-left-side-"
NOBODY: Final = 65_534
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"


def copy_control_plane(demo: Program, folder: Path) -> None:
    """Copy a control plane, as it stands, to where it may be swollen, broken and stopped."""
    server = folder / "data" / "server"
    (server / "logs").mkdir(parents=True, mode=0o700)
    for part in ("ca", "tls", "broker"):
        shutil.copytree(demo.data / "server" / part, server / part)
    for part in ("log.key", "setup-token", "owner-was-here"):
        shutil.copy2(demo.data / "server" / part, server / part)
    with (
        contextlib.closing(sqlite3.connect(demo.data / "server" / "state.db")) as live,
        contextlib.closing(sqlite3.connect(server / "state.db")) as copied,
    ):
        live.backup(copied)


def swell(database: Path) -> None:
    """Write devices of the demo again and again, until there are 5,000. All are simulated."""
    with contextlib.closing(sqlite3.connect(database)) as db:
        db.row_factory = sqlite3.Row
        like = db.execute(
            "SELECT * FROM identity_device WHERE simulated AND state = 'active'"
        ).fetchall()
        seen = {row["device_id"]: row for row in db.execute("SELECT * FROM posture_device")}
        have = db.execute("SELECT count(*) FROM identity_device").fetchone()[0]
        for number in range(MANY - have):
            model = like[number % len(like)]
            device = "simulated" + _write_number(number).rjust(23, "a")
            is_long = number % 2 == 0
            _insert(
                db,
                "identity_device",
                {
                    **dict(model),
                    "device_id": device,
                    "name": f"{LONG_NAME}{number:04d}"[-80:] if is_long else f"pump-{number:04d}",
                    "state": "quarantined" if number % QUARANTINED_EVERY == 0 else "active",
                    "connected": 0,
                },
            )
            posture = seen.get(model["device_id"])
            if posture is not None and number % 3:
                _insert(db, "posture_device", {**dict(posture), "device_id": device})
        db.commit()


def _insert(db: sqlite3.Connection, table: str, values: dict[str, Any]) -> None:
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(values.values()))


def _write_number(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits


@contextlib.contextmanager
def missing_table(database: Path, table: str) -> Iterator[None]:
    """Take a table away for a while: whatever needs it, the server cannot answer."""
    with contextlib.closing(sqlite3.connect(database)) as db:
        db.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
        try:
            yield
        finally:
            db.execute(f"ALTER TABLE {table}_away RENAME TO {table}")


@contextlib.contextmanager
def altered_entry(database: Path) -> Iterator[int]:
    """Change one letter of an old entry of the record, as who holds the server can."""
    with contextlib.closing(sqlite3.connect(database, timeout=20)) as db:
        position, body = db.execute(
            "SELECT position, body FROM audit_leaf WHERE kind LIKE '%device%' "
            "ORDER BY position LIMIT 1 OFFSET 2"
        ).fetchone()
        changed = bytearray(body)
        changed[-2] ^= 1
        _write_entry(db, position, bytes(changed))
        try:
            yield int(position)
        finally:
            _write_entry(db, position, body)


def _write_entry(db: sqlite3.Connection, position: int, body: bytes) -> None:
    db.execute("UPDATE audit_leaf SET body = ? WHERE position = ?", (body, position))
    db.commit()


class Unprivileged:
    """Our agent, run by a user who may nothing.

    Where that user cannot reach the interpreter of the tests, a second one of the same version is
    used that can be reached, with the same packages. `reason` says why there is none, or is empty.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._python = Path(sys.executable)
        self.reason = ""
        if os.geteuid() != 0:
            self.reason = "the tests do not run as root, so they cannot become another user"
        elif shutil.which("setpriv") is None:
            self.reason = "setpriv is not installed"
        elif not self._can_run():
            self._use_system_python()

    def _can_run(self) -> bool:
        # The agent starts interpreters itself, so the probe starts one too.
        again = (
            "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]], check=True)"
        )
        probe = [str(self._python), "-I", "-c", again, "-I", "-c", "import fleetward.device.cli"]
        return self._become(*probe).returncode == 0

    def _use_system_python(self) -> None:
        hidden = self._python.resolve()
        system = shutil.which("python3", path="/usr/bin:/usr/local/bin")
        if system is None:
            self.reason = f"{hidden} lies where another user cannot reach it"
            return
        place = self._folder / "python"
        made = subprocess.run([system, "-m", "venv", "--without-pip", place], capture_output=True)
        packages = Path(sys.prefix) / "lib"
        found = [*packages.glob("python3*/site-packages")]
        for site in (place / "lib").glob("python3*/site-packages"):
            lines = (str(REPOSITORY / "src"), *map(str, found))
            (site / "walk.pth").write_text("\n".join(lines) + "\n", "utf-8")
        self._python = place / "bin" / "python"
        if made.returncode != 0 or not self._can_run():
            self.reason = (
                f"{hidden} lies where another user cannot reach it, and {system} cannot load the "
                "same packages"
            )

    def _become(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._argv(), *words], env=self._environment(), capture_output=True, text=True
        )

    def _argv(self) -> list[str]:
        return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]

    def _environment(self) -> dict[str, str]:
        return {"HOME": "/nonexistent", "PATH": "/usr/bin:/bin"}

    def agent(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command of the agent as that user."""
        return self._become(
            str(self._python), "-m", "fleetward.device.cli", *(str(word) for word in words)
        )

    @contextlib.contextmanager
    def run(self, data: Path) -> Iterator[None]:
        """Keep the agent running."""
        argv = [*self._argv(), str(self._python), "-m", "fleetward.device.cli", "run"]
        process = subprocess.Popen(
            [*argv, "--data", str(data)],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            stop(process)


@contextlib.contextmanager
def open_port(port: int) -> Iterator[None]:
    """Really open a port to every network."""
    argv = [sys.executable, "-m", "http.server", str(port), "--bind", "0.0.0.0"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        stop(process)


def start_agent(data: Path) -> subprocess.Popen[bytes]:
    """Start the agent of a machine that has joined."""
    return subprocess.Popen(
        [BIN / "fleetward-agent", "run", "--data", data],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
