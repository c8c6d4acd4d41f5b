"""`fleetward-agent join`: this process is guard for a moment, a child is uplink for a moment."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from pathlib import Path
from typing import Final

import msgspec

from fleetward.device.frames import Connection
from fleetward.device.guard import read_boot_id
from fleetward.device.identity.facts import read_facts
from fleetward.device.identity.join import Joining, Newcomer, check_same_owner
from fleetward.device.identity.joined import GuardFiles, Joined
from fleetward.device.port import Problem
from fleetward.device.run import UPLINK, spawn_module
from fleetward.device.status import lock_folder
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.files import make_private_directory
from fleetward.trust.errors import Unreachable
from fleetward.trust.invitation import read_join_string

JOIN_SECONDS: Final = 90.0
MAX_PROBLEM_BYTES: Final = 4096


def join_owner(text: str, data: Path, name: str) -> tuple[Joined, bool]:
    """Join the owner of a join string; return whom, and whether that was so before.

    Raises `Malformed` for a damaged string, `Refused` for a machine of another owner or when the
    server says no, `Untrusted` when what came back is not the owner's, `Unreachable`.
    """
    join = read_join_string(text)
    folder = make_private_directory(data / "guard")
    known = GuardFiles(folder).read_joined()
    if known is not None:
        check_same_owner(known, join)
        return known, True
    with lock_folder(folder):
        newcomer = Newcomer(read_facts(name), read_boot_id())
        joining = Joining(folder, join, newcomer, SystemClock())
        _enrol_in_child(joining, data / "uplink")
    if joining.joined is None:
        raise Unreachable(
            "Joining was interrupted before the server's answer was taken. Try again with the "
            "same join string.",
            reason="join_interrupted",
        )
    return joining.joined, False


def _enrol_in_child(joining: Joining, folder: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    told, tell = os.pipe()
    connection = Connection(ours, joining)
    with theirs:
        arguments = ["--folder", str(folder), "--fd", str(theirs.fileno()), "--enrol"]
        pid = spawn_module(UPLINK, arguments, theirs.fileno(), stdout=tell)
    os.close(tell)
    try:
        _serve(connection, time.monotonic() + JOIN_SECONDS)
        problem = os.read(told, MAX_PROBLEM_BYTES)
    finally:
        connection.close()
        os.close(told)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 15)
        os.waitpid(pid, 0)
    if problem and joining.joined is None:
        raise msgspec.json.decode(problem, type=Problem).to_error()


def _serve(connection: Connection, deadline: float) -> None:
    """Answer the child until it ends the connection."""
    good = True
    while good and (left := deadline - time.monotonic()) > 0:
        writing = [connection.sock] if connection.wants_write else []
        readable, writable, _ = select.select([connection.sock], writing, [], left)
        good = bool(readable or writable)
        if writable:
            good = connection.write()
        if good and readable:
            good = connection.read()
