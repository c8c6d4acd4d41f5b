"""An installer with places of a test's own, which may die at one exact step.

    python -m tests.adversary.installer_process PLACES STEP --data DIR --guard FD

It is the real program, with another `places.toml`. With a STEP above 0 it kills itself, as by
`kill -9`, before the so-manieth thing that it would change on the disk or start: the interpreter
tells of each (`sys.addaudithook`).
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from fleetward.device.updates.installer_main import main

CHANGES = frozenset(
    {
        *("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.chmod"),
        *("os.truncate", "subprocess.Popen"),
    }
)


class Death:
    """Counts changes, and comes at one of them."""

    def __init__(self, step: int) -> None:
        self._left = step

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
        if event in CHANGES or writes:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def run(arguments: list[str]) -> NoReturn:
    """Be the installer, and end."""
    places, step, *rest = arguments
    if int(step):
        sys.addaudithook(Death(int(step)))
    status = 1
    try:
        status = main(rest, Path(places))
    except BaseException:  # noqa: BLE001 - what a whole process says of it, and then it ends
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    run(sys.argv[1:])
