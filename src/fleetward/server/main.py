"""The control plane as a program: read the configuration, open the database, serve until told.

    python -m fleetward.server.main --data DIR [--ready-file FILE]

`fleetward up` starts it. It writes DIR/run/ready.json when machines and people can come, and stops
in order on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import gc
import json
import logging
import logging.handlers
import os
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from sqlalchemy.engine import make_url

from fleetward.runtime.clock import SystemClock
from fleetward.runtime.config import load_config
from fleetward.runtime.database import Database
from fleetward.runtime.files import atomic_write, make_private_directory, read_bounded
from fleetward.server.handlers import make_handlers
from fleetward.server.listeners import free_port
from fleetward.server.program import Program
from fleetward.server.schema.upgrade import upgrade
from fleetward.server.settings import Places, ServerSettings, check_host
from fleetward.server.web.caller import ON_THE_HOST, Role
from fleetward.trust.errors import FleetwardError, Refused

MAX_CONFIG_BYTES: Final = 64 * 1024
SETUP_TOKEN_SECONDS: Final = 86_400
LOG_BYTES: Final = 4 * 1024 * 1024


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM; return the exit status."""
    arguments = _parse(argv)
    places = Places(arguments.data.resolve())
    make_private_directory(places.data)
    for folder in (places.server, places.logs, places.run):
        make_private_directory(folder)
    _log_to(places.logs / "server.log")
    try:
        with _sole_owner_of(places):
            settings = load_settings(places, arguments)
            asyncio.run(_serve(places, settings, arguments.ready_file))
    except FleetwardError as e:
        print(e.message, file=sys.stderr)  # noqa: T201 - the program's last words
        return 1
    return 0


def load_settings(places: Places, arguments: argparse.Namespace) -> ServerSettings:
    """Return the configuration; ports are chosen at the first start.

    It is written down only once the server has started with it. Raises `Malformed`.
    """
    settings = ServerSettings()
    if places.config.exists():
        settings = load_config(ServerSettings, read_bounded(places.config, MAX_CONFIG_BYTES))
    if arguments.host:
        host = check_host(arguments.host)
        names = tuple(dict.fromkeys((*settings.public_names, host)))
        settings = replace(settings, host=host, public_names=names)
    check_host(settings.host)
    if arguments.port:
        settings = replace(settings, port=arguments.port)
    port = settings.port or free_port()
    enrol_port = settings.enrol_port or free_port({port})
    bus_port = settings.bus_port or free_port({port, enrol_port})
    return replace(settings, port=port, enrol_port=enrol_port, bus_port=bus_port)


async def _serve(places: Places, settings: ServerSettings, ready_file: Path | None) -> None:
    clock = SystemClock()
    database = Database.open(settings.database_url or places.database_url)
    try:
        await asyncio.to_thread(upgrade, database, places.copies, say=_say)
    except FleetwardError as e:
        database.close()
        raise type(e)(
            f"The state database cannot be used ({_name_of(settings, places)}): "
            f"{e.message.rstrip('.')}. "
            "Restore a backup by `fleetward restore` into a new folder, or mend the database.",
            reason=e.reason,
        ) from e
    program = Program(places, settings, clock, make_handlers)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await program.start(database)
        atomic_write(places.config, _to_toml(settings).encode("utf-8"))
        gc.collect()
        gc.freeze()  # what is here stays: later collections need not walk through it
        _write_ready(program, ready_file)
        await stop.wait()
    finally:
        (places.run / "ready.json").unlink(missing_ok=True)
        await program.stop()


def _name_of(settings: ServerSettings, places: Places) -> str:
    if not settings.database_url:
        return str(places.database)
    return make_url(settings.database_url).render_as_string(hide_password=True)


def _write_ready(program: Program, ready_file: Path | None) -> None:
    people = program.house.people.people
    person = people.bootstrap()
    run = program.places.run
    (program.places.server / "setup-token").unlink(missing_ok=True)
    atomic_write(run / "admin-token", program.host_secret.encode("ascii"))
    if not program.house.directory.owner_id:
        setup = people.make_token(ON_THE_HOST, "first owner", Role.OPERATOR, SETUP_TOKEN_SECONDS)
        atomic_write(program.places.server / "setup-token", setup.secret.encode("ascii"))
    (run / "login-link").unlink(missing_ok=True)
    link = ""
    if not program.settings.api_only:
        link = people.make_login_link(person, program.origin)
        atomic_write(run / "login-link", link.encode("utf-8"))
    ready: dict[str, Any] = {
        "url": f"{program.origin}/",
        "api": program.api,
        "bus": f"tls://{program.bus_addresses[0]}",
        "enrol": program.enrol_addresses[0],
        "pid": os.getpid(),
        "broker_pid": program.broker.pid,
        "login_url": link,
        "ca_sha256": program.authorities.server_ca_sha256,
    }
    content = json.dumps(ready, indent=1).encode("utf-8")
    atomic_write(run / "ready.json", content)
    if ready_file is not None:
        atomic_write(ready_file, content)


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()


class _sole_owner_of:  # noqa: N801 - a context manager that reads as words
    """Holds a lock on the data folder, so that two servers never share one; it names its holder."""

    def __init__(self, places: Places) -> None:
        self._path = places.lock

    def __enter__(self) -> None:
        self._file = self._path.open("a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            self._file.close()
            raise Refused(
                "A control plane runs on this folder already. `fleetward down --data DIR` ends it.",
                reason="already_running",
            ) from e
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _to_toml(settings: ServerSettings) -> str:
    lines = []
    for name, value in asdict(settings).items():
        shown = list(value) if isinstance(value, tuple) else value
        lines.append(f"{name} = {json.dumps(shown)}\n")
    return "".join(lines)


def _log_to(path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=2)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serve a Fleetward control plane.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--host", default="")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ready-file", type=Path)
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
