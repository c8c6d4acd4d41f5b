"""The service manager of "this machine": it keeps the machine's own program running on one port.

That program is the page of `plain_page` before any release, and then what the release in force
brought: `app.py` behind the link `current`. It is started again when it ends, and at once when the
link points elsewhere: that is how a new release takes over, and how the one before comes back. The
port is the same for the life of the demo's folder, on 127.0.0.1 alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetward.demo.display import PROGRAM
from fleetward.demo.plain_page import LOOPBACK
from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.runtime.supervise import ChildSpec, Supervised
from fleetward.trust.errors import FleetwardError, Unreachable

FIRST_PORT: Final = 8080
LAST_PORT: Final = 8999
"""The owner's rules of the demo open ports 8000 to 8999."""
LOOK_SECONDS: Final = 0.1
AGAIN_SECONDS: Final = 1.0
_PLAIN: Final = ("-m", "fleetward.demo.plain_page")


@dataclass(frozen=True, slots=True)
class Service:
    """What is kept running, and where it is said."""

    current: Path
    port: int
    port_file: Path
    log: Path


def choose_port(kept: Path) -> int:
    """Return the port of this folder: that of the last start, or else the first that is free.

    Raises `Unreachable` when there is none.
    """
    before: list[int] = []
    with contextlib.suppress(FleetwardError, ValueError):
        before.append(int(read_bounded(kept, 64)))
    before += range(FIRST_PORT, LAST_PORT + 1)
    for port in before:
        if FIRST_PORT <= port <= LAST_PORT and _is_free(port):
            atomic_write(kept, f"{port}\n".encode("ascii"))
            return port
    raise Unreachable(
        f"Expected a free port from {FIRST_PORT} to {LAST_PORT}; there is none.",
        reason="no_free_port",
    )


def find_release(current: Path) -> str:
    """Return where the release in force lies, or an empty text before the first."""
    try:
        return str(current.parent / current.readlink())
    except OSError:
        return ""


async def keep(service: Service) -> None:
    """Keep the program of the release in force running until this is cancelled."""
    while True:
        release = find_release(service.current)
        running = asyncio.create_task(_run(service, release))
        try:
            while find_release(service.current) == release:
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def _run(service: Service, release: str) -> None:
    words = (str(Path(release) / PROGRAM),) if release else _PLAIN
    argv = (sys.executable, *words, "--port", str(service.port))
    spec = ChildSpec("the machine's own program", argv, service.log, stop_seconds=2.0)
    child = Supervised(spec, probe=lambda: _answers(service.port), on_change=_say)
    try:
        while True:
            try:
                await child.start()
                break
            except Unreachable as e:
                _say(e.message)
                await asyncio.sleep(AGAIN_SECONDS)
        atomic_write(service.port_file, f"{service.port}\n".encode("ascii"))
        await asyncio.Event().wait()
    finally:
        await child.stop()


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()


async def _serve(service: Service) -> None:
    kept = asyncio.create_task(keep(service))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, kept.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await kept


def main() -> None:
    """Serve until SIGTERM; the port is written to the named file once somebody answers there."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    for name in ("--port-file", "--kept-port", "--current", "--log"):
        parser.add_argument(name, required=True, type=Path)
    named = parser.parse_args()
    os.umask(0o077)
    port = choose_port(named.kept_port)
    asyncio.run(_serve(Service(named.current, port, named.port_file, named.log)))


if __name__ == "__main__":
    main()
