"""Starts guard: `python -I -m fleetward.device.guard_main --data DIR --control FD --parent PID`.

Imports neither asyncio nor the bus; a test says so.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom
from typing import Final

from fleetward.device.access.doors import ServiceDoors, SupervisedDoors
from fleetward.device.access.panel_user import open_panel
from fleetward.device.collector import ConfinedCollector, ConfinedLooker
from fleetward.device.comparing import load_mark_key
from fleetward.device.guard import GuardLoop, read_boot_id
from fleetward.device.guard_core import GuardCore, Seat, Wall
from fleetward.device.hardware.tpm import DeviceLine
from fleetward.device.hardware.tpm_counter import TpmCounter
from fleetward.device.kernel_clock import MachineClock
from fleetward.device.launcher.interpreter import own_release
from fleetward.device.launcher.vitals import Vitals
from fleetward.device.looking import Eyes
from fleetward.device.posture.watch import SocketWatch
from fleetward.device.privileges import deny_network, seal_process, uplink_ids
from fleetward.device.status import hold_folder
from fleetward.device.updates.link import InstallerLink
from fleetward.device.updates.own_code import OwnCode
from fleetward.trust.errors import FleetwardError

TPM: Final = Path("/dev/tpmrm0")
BOUND: Final = Path("guard/updates/floors.bound")
"""Below the data folder; it is there when counters are bound to a TPM (`device/updates/floors`)."""
TPM_SECONDS: Final = 10.0
"""How long such a machine's driver is waited for: a start of the system may load it after guard."""
FIRST_PASSED_FD: Final = 3
"""Where a service manager puts the socket that it listens on (sd_listen_fds(3))."""


def main(argv: list[str] | None = None) -> int:
    """Run guard until SIGTERM; return the exit status."""
    arguments = _parse(argv)
    try:
        return _run(arguments)
    except FleetwardError as e:
        sys.stderr.write(f"{e.message}\n")
        return 1


def _run(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.data / "guard"
    watch = SocketWatch()
    missing: list[str] = []
    seal_process(arguments.parent)
    try:
        deny_network()
    except OSError as e:
        missing.append(f"guard's network: not taken away: {e}")
    descriptor = FIRST_PASSED_FD if arguments.control is None else arguments.control
    source = socket.socket(fileno=descriptor)
    root = os.geteuid() == 0
    wall: Wall = "uid" if root else "none"
    hidden = list_hidden(arguments.data.resolve())
    doors = ServiceDoors() if arguments.control is None else SupervisedDoors(source)
    seat = Seat(
        clock=MachineClock(),
        eyes=Eyes(ConfinedCollector(hidden), watch, crowd=watch.crowd),
        boot=read_boot_id(),
        wall=wall,
        root=root,
        once=arguments.once,
        spread=SystemRandom().random(),
        missing_walls=tuple(missing),
        doors=doors,
        looker=ConfinedLooker(hidden, load_mark_key(folder)),
        closers=doors,
        installers=lambda clock: InstallerLink(doors, clock),
        counter=find_counter(arguments.data) if arguments.control is None else None,
        own_code=OwnCode(
            arguments.data, own_release(), MachineClock(), launched=arguments.launched
        ),
    )
    with hold_folder(folder):
        core = GuardCore(folder, seat)
        listens = arguments.control is None
        panel = None if arguments.once else open_panel(arguments.data, core)
        peer_uid = uplink_ids().uid if listens and root else None
        vitals = Vitals(arguments.launcher)
        return GuardLoop(core, source, peer_uid, panel, vitals).run()


def list_hidden(data: Path) -> tuple[Path, ...]:
    """Return what collectors must not see of the data folder: all of it, but for the code that
    they are themselves, where a release of the agent runs."""
    if not own_release():
        return (data,)
    known = {data / name for name in ("guard", "panel", "software", "uplink")}
    return tuple(sorted({*known, *data.iterdir()} - {data / "agent"}))


def find_counter(
    data: Path, tpm: Path = TPM, wait: Callable[[float], None] = time.sleep
) -> Callable[[str], TpmCounter] | None:
    """Return what makes a machine's counter in its TPM, where there is one. An agent that somebody
    tries out by hand leaves nothing in the TPM of his computer.

    Where counters are bound to one, it is waited for: without it they would be in doubt at each
    start that is faster than the driver. One that is gone costs that wait at every start.
    """
    until = time.monotonic() + (TPM_SECONDS if (data / BOUND).exists() else 0)
    while not tpm.exists():
        if time.monotonic() >= until:
            return None
        wait(0.1)
    return lambda device: TpmCounter(DeviceLine(tpm), device)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Hold the journal, the gate and the identity.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--control", type=int, help="descriptor over which uplinks come")
    parser.add_argument("--parent", type=int, default=0)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--launched", action="store_true", help="the launcher started this")
    parser.add_argument("--launcher", type=int, help="descriptor on which to say how it is")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
