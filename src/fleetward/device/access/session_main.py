"""The process of one session: `python -I -m fleetward.device.access.session_main --guard FD`.

It hears one word of guard: try the sandbox and say what there is, or be a session. A session is
two processes. The outer one, as whoever the agent is, starts and ends things and reads no byte of
the requester. The inner one reads them all, and before the first gives up, for good: its user (as
root), and the system calls by which it could open a file, start a program, make a socket, signal
or look at another process. So it cannot reach guard's files, whoever it runs as.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import signal
import socket
import sys
from typing import Final

from fleetward.device.access.accounts import SESSION_UID
from fleetward.device.access.attendant import Attendant
from fleetward.device.access.plans import read_plans
from fleetward.device.access.recorder import Recorder
from fleetward.device.access.sandbox import Sandbox, probe
from fleetward.device.access.session import Session
from fleetward.device.access.words import (
    MAX_WORD_BYTES,
    OpenOrder,
    Probe,
    encode,
    make_pair,
    read_downward,
)
from fleetward.device.confine import forbid_calls
from fleetward.device.privileges import (
    Ids,
    adopt_orphans,
    become,
    bound_memory,
    end_with_parent,
    seal_process,
)
from fleetward.runtime.channel import make_session_key, open_as_machine, open_as_requester
from fleetward.runtime.keys import make_key
from fleetward.runtime.recording import Sealer
from fleetward.trust.access import Scope
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import FleetwardError
from fleetward.trust.keys import ES256

MEMORY_BYTES: Final = 512 * 1024 * 1024
"""Windows of every stream in both directions, three times."""


def main(argv: list[str] | None = None) -> int:
    """Do what guard says; return the exit status."""
    arguments = _parse(argv)
    seal_process(arguments.parent)
    os.umask(0o022)
    _warm_up()
    guard = _take_socket(arguments.guard)
    try:
        data, passed, _, _ = socket.recv_fds(guard, MAX_WORD_BYTES, 3)
        if not data:
            return 0
        word = read_downward(data)
        if isinstance(word, Probe):
            guard.send(encode(probe(word.hidden)))
        elif isinstance(word, OpenOrder) and len(passed) in (2, 3):
            _be_session(guard, word, passed)
    except (FleetwardError, OSError) as e:
        sys.stderr.write(f"session: {e}\n")
        return 1
    return 0


def _take_socket(descriptor: int) -> socket.socket:
    """Return guard's socket, which nothing that is started here inherits."""
    if descriptor > 2:
        os.set_inheritable(descriptor, False)
        return socket.socket(fileno=descriptor)
    moved = os.dup(descriptor)
    nothing = os.open("/dev/null", os.O_RDWR)
    os.dup2(nothing, descriptor)
    os.close(nothing)
    return socket.socket(fileno=moved)


def _be_session(guard: socket.socket, order: OpenOrder, passed: list[int]) -> None:
    scopes = order.read_scopes()
    plans = read_plans(passed.pop()) if len(passed) > 2 else {}
    adopt_orphans()
    ours, theirs = make_pair()
    parent = os.getpid()
    inner = os.fork()
    if inner == 0:
        status = 1
        try:
            guard.close()
            ours.close()
            _be_inner(order, scopes, (passed[0], passed[1]), (theirs, parent))
            status = 0
        except BaseException as e:  # noqa: BLE001 - a child of a fork must never leave this block
            with contextlib.suppress(OSError):
                sys.stderr.write(f"session: {e!r}\n")
        finally:
            os._exit(status)
    theirs.close()
    for descriptor in passed:
        os.close(descriptor)
    walls = Sandbox(order.sandbox, order.hidden)
    Attendant((guard, ours), inner, scopes, walls, plans).run()


def _be_inner(
    order: OpenOrder,
    scopes: tuple[Scope, ...],
    passed: tuple[int, int],
    hatch: tuple[socket.socket, int],
) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if os.geteuid() == 0:
        become(Ids(SESSION_UID, SESSION_UID))
    seal_process(0)
    end_with_parent(hatch[1])
    bound_memory(MEMORY_BYTES)
    sealer = Sealer(
        order.owner, order.device, order.session, order.recording_key, order.started_at_ms
    )
    bus = socket.socket(fileno=passed[0])
    session = Session(order, scopes, (bus, hatch[0]), Recorder(sealer, passed[1]))
    forbid_calls(opening=False)
    session.run()


def _warm_up() -> None:
    """Do once what a library loads late: afterwards nothing can be opened any more."""
    ours, mine = make_session_key()
    theirs, other = make_session_key()
    session = "00" * 32
    enc, channel = open_as_requester(theirs, mine, session)
    open_as_machine(ours, other, enc, session).open(channel.seal(b""))
    recorded = make_key(ES256).public.spki
    Sealer("", "", session, f"{ES256}:{to_base64url(recorded)}", 0).seal(b"")
    gc.freeze()


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Be one session. Started by the agent alone.")
    parser.add_argument("--guard", type=int, default=0)
    parser.add_argument("--parent", type=int, default=0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
