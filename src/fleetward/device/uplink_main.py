"""Starts uplink: `python -I -m fleetward.device.uplink_main --folder DIR --fd N --parent PID`.

Everything that it will ever need is imported first. Then it opens its own folder, becomes its own
user, and from there on can reach neither the code nor guard's files. `--enrol` joins and ends.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures.thread  # noqa: F401 - imported late by asyncio otherwise
import contextlib
import encodings.idna  # noqa: F401 - imported late by the resolver otherwise
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final

import msgspec

from fleetward.device.identity.transport import Transport, get_kit
from fleetward.device.port import problem_of
from fleetward.device.privileges import become, bound_memory, seal_process, uplink_ids
from fleetward.device.socket_port import SocketPort
from fleetward.device.updates.sources import Sources
from fleetward.device.uplink import UplinkSession
from fleetward.runtime.files import make_private_directory
from fleetward.trust.errors import FleetwardError

MEMORY_BYTES: Final = 192 * 1024 * 1024
"""Five times what uplink needs. A broker that sends a message without end ends uplink, not the
machine; it is started again."""


def main(argv: list[str] | None = None) -> int:
    """Run uplink until SIGTERM or until guard is gone; return the exit status."""
    arguments = _parse(argv)
    _settle_down(arguments.folder, arguments.parent)
    sock = _connect(arguments.fd, arguments.connect)
    try:
        asyncio.run(_serve(sock, enrol=arguments.enrol))
    except FleetwardError as e:
        if arguments.enrol:
            sys.stdout.buffer.write(msgspec.json.encode(problem_of(e)))
            sys.stdout.buffer.flush()
        elif e.reason != "guard_gone":  # That is how every stop begins.
            sys.stderr.write(f"uplink: {e.message}\n")
        return 1
    return 0


def _settle_down(folder: Path, parent: int) -> None:
    """Enter the folder, then give up all rights. From here on paths are relative to it."""
    root = os.geteuid() == 0
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if root:
        ids = uplink_ids()
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        os.fchown(descriptor, ids.uid, ids.gid)
        os.fchmod(descriptor, 0o700)
        for name in os.listdir(descriptor):  # noqa: PTH208 - by descriptor, not by path
            os.chown(name, ids.uid, ids.gid, dir_fd=descriptor, follow_symlinks=False)
        os.fchdir(descriptor)
        os.close(descriptor)
        become(ids)
    else:
        make_private_directory(folder)
        os.chdir(folder)
    bound_memory(MEMORY_BYTES)
    seal_process(parent)


def _connect(descriptor: int | None, path: Path | None) -> socket.socket:
    if descriptor is not None:
        return socket.socket(fileno=descriptor)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(str(path))
    return sock


async def _serve(sock: socket.socket, *, enrol: bool) -> None:
    port = SocketPort(sock)
    here = Path()
    try:
        if enrol:
            await Transport(here).enrol(port, await get_kit(port))
            return
        sources = Sources(port, say=_say)
        session = asyncio.create_task(UplinkSession(port, here, sources=sources).run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, session.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await session
    finally:
        await port.close()


def _say(words: str) -> None:
    sys.stderr.write(f"uplink: {words}\n")
    sys.stderr.flush()


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Hold the one connection of this machine.")
    parser.add_argument("--folder", type=Path, required=True)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--fd", type=int)
    where.add_argument("--connect", type=Path)
    parser.add_argument("--parent", type=int, default=0)
    parser.add_argument("--enrol", action="store_true")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
