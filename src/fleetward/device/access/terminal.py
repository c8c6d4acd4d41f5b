"""A terminal: a PTY with the login shell of a user behind it. Started by the attendant."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import sys
import termios
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fleetward.device.access.accounts import Account
from fleetward.device.access.sandbox import Sandbox
from fleetward.device.privileges import end_with_parent

_TERM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_DEFAULT_TERM: Final = "xterm-256color"
_SIZE: Final = struct.Struct("HHHH")
MOST_CELLS: Final = 1000


@dataclass(frozen=True, slots=True)
class Program:
    """A program that was started: its pid, and our end of its streams."""

    pid: int
    descriptor: int


def start_terminal(sandbox: Sandbox, account: Account, size: tuple[int, int], term: str) -> Program:
    """Start the account's shell on a new terminal of (columns, rows). Raises `OSError`."""
    term = term if _TERM.fullmatch(term) else _DEFAULT_TERM
    command = sandbox.command([account.shell, "-l"], account, writable=True)
    ours, theirs = os.openpty()
    set_size(ours, *size)

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        for number in (0, 1, 2):
            os.dup2(theirs, number)
        sandbox.become(account)

    try:
        if os.geteuid() == 0:
            os.fchown(theirs, account.uid, account.gid)
        return Program(start_child(command, account.environment(term), take_terminal), ours)
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(theirs)


def set_size(descriptor: int, columns: int, rows: int) -> None:
    """Tell a terminal its size. Raises `OSError`."""
    wide, high = (max(1, min(MOST_CELLS, n)) for n in (columns, rows))
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, _SIZE.pack(high, wide, 0, 0))


def is_echoing(descriptor: int) -> bool:
    """Return whether the terminal shows what is typed; False when that cannot be told."""
    try:
        return bool(termios.tcgetattr(descriptor)[3] & termios.ECHO)
    except (OSError, termios.error):
        return False


def keep_open(*descriptors: int) -> None:
    """Close all but these and the standard streams."""
    kept = sorted({0, 1, 2, *descriptors})
    for low, high in zip(kept, [*kept[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
        os.closerange(low + 1, high)


def start_child(
    command: list[str], environment: dict[str, str], prepare: Callable[[], None]
) -> int:
    """Fork, prepare, execute; return the pid. The child dies with this process.

    It inherits its standard streams and no other descriptor: one to guard or to the other half,
    in the hands of whoever is inside, would speak for them.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        prepare()
        end_with_parent(parent)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os.execve(command[0], command, environment)  # noqa: S606 - no shell is wanted
    except BaseException:  # noqa: BLE001 - a child of a fork must never go on in its parent's code
        sys.stderr.write(traceback.format_exc(limit=1))
        sys.stderr.flush()
    finally:
        os._exit(127)
