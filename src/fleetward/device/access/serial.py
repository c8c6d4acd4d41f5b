"""A serial port of the machine, opened by the attendant for one stream, and put back afterwards.

1. No link on the way: every step of the path is opened without following one, so that a rule for
   `/dev/ttyUSB0` reaches nothing else.
2. It is a character device and a terminal, or it is not touched.
3. Nobody else has it: not by this program, not by a lock (`flock`), not by any process that can be
   seen. A machine's own program that drives the port is not disturbed.
4. From then on nobody else gets it (`TIOCEXCL`; root may all the same).
5. Raw, eight bits, no parity, one stop bit, no flow control, at the speed of the scope.
6. At the end the settings are as they were. An attendant that is killed cannot do that.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fleetward.trust.access_serial import SerialScope
from fleetward.trust.errors import Refused, Unreachable

_TIOCGEXCL: Final = 0x80045440
_WALK: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
_CONTROL: Final = 6
"""Where termios keeps the control characters; before it stand four flags and two speeds."""


@dataclass(slots=True)
class SerialPort:
    """An open port, and its settings before."""

    descriptor: int
    before: list[Any]

    def share(self) -> int:
        """Return a descriptor of the same port for the other half. Raises `OSError`."""
        return os.dup(self.descriptor)

    def close(self) -> None:
        """Put the settings back, let others have it, and close it. Raises nothing."""
        with contextlib.suppress(OSError, termios.error):
            termios.tcflush(self.descriptor, termios.TCIOFLUSH)
            termios.tcsetattr(self.descriptor, termios.TCSANOW, self.before)
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.descriptor, termios.TIOCNXCL)
        with contextlib.suppress(OSError):
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        os.close(self.descriptor)


def open_serial(scope: SerialScope) -> SerialPort:
    """Open the port of a scope for one stream. Raises `Refused` or `Unreachable`."""
    # 1. and 2.
    descriptor = _open(scope.path)
    try:
        _check_is_terminal(descriptor, scope.path)
        # 3.
        _check_not_locked(descriptor, scope.path)
    except BaseException:
        os.close(descriptor)
        raise
    try:
        # 4., before anybody is looked for: who comes in between is kept out, or is found.
        fcntl.ioctl(descriptor, termios.TIOCEXCL)
        if holder := _find_holder(os.fstat(descriptor).st_rdev):
            raise _in_use(scope.path, f" by the process {holder}")
        before = termios.tcgetattr(descriptor)
        # 5.
        _set(descriptor, _settings(before, scope.baud))
        return SerialPort(descriptor, before)
    except (OSError, termios.error) as e:
        _give_up(descriptor)
        raise Unreachable(
            f"{scope.path} took no settings of a serial port: {e}.", reason="serial_settings"
        ) from e
    except BaseException:
        _give_up(descriptor)
        raise


def _open(path: str) -> int:
    *folders, name = path.split("/")[1:]
    place = os.open("/", _WALK)
    try:
        for step in folders:
            inner = os.open(step, _WALK, dir_fd=place)
            os.close(place)
            place = inner
        # What is no device is not even opened: opening some of them does something.
        if not stat.S_ISCHR(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):
            raise _no_port(path)
        return os.open(name, _OPEN, dir_fd=place)
    except OSError as e:
        if e.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _no_port(path) from e
        if e.errno == errno.EBUSY:
            raise _in_use(path) from e
        raise Unreachable(
            f"The serial port {path} could not be opened: {e.strerror}. Is it plugged in, and "
            "may the agent use it?",
            reason="serial_closed",
        ) from e
    finally:
        os.close(place)


def _check_is_terminal(descriptor: int, path: str) -> None:
    if not stat.S_ISCHR(os.fstat(descriptor).st_mode) or not os.isatty(descriptor):
        raise _no_port(path)


def _check_not_locked(descriptor: int, path: str) -> None:
    """Return when nobody has kept the port to himself. Raises `Refused`."""
    with contextlib.suppress(OSError):
        answer = fcntl.ioctl(descriptor, _TIOCGEXCL, bytes(4))
        if struct.unpack("i", answer)[0]:
            raise _in_use(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        raise _in_use(path) from e


def _find_holder(device: int) -> int:
    """Return the pid of another process that has the device open, or 0."""
    here = os.getpid()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == here:
            continue
        with contextlib.suppress(OSError):
            for opened in (entry / "fd").iterdir():
                with contextlib.suppress(OSError):
                    found = opened.stat()
                    if stat.S_ISCHR(found.st_mode) and found.st_rdev == device:
                        return int(entry.name)
    return 0


def _set(descriptor: int, settings: list[Any]) -> None:
    """Make the settings those of the port. A part of them that it cannot do is no success."""
    termios.tcsetattr(descriptor, termios.TCSANOW, settings)
    if termios.tcgetattr(descriptor)[4:6] != settings[4:6]:
        raise OSError(errno.EINVAL, "not at this speed")
    termios.tcflush(descriptor, termios.TCIOFLUSH)


def _settings(before: list[Any], baud: int) -> list[Any]:
    """Return raw settings at this speed, with what the port had where that does not matter."""
    speed = getattr(termios, f"B{baud}")
    flags = ~(termios.CSIZE | termios.PARENB | termios.CSTOPB | termios.CRTSCTS)
    control = (before[2] & flags) | termios.CS8 | termios.CREAD | termios.CLOCAL
    characters = list(before[_CONTROL])
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    return [0, 0, control, 0, speed, speed, characters]


def _give_up(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.ioctl(descriptor, termios.TIOCNXCL)
    os.close(descriptor)


def _no_port(path: str) -> Refused:
    return Refused(
        f"At {path} is no serial port, but something else, or a link. Name the device itself, as "
        "/dev/ttyUSB0.",
        reason="no_serial_port",
    )


def _in_use(path: str, by: str = "") -> Refused:
    return Refused(
        f"The serial port {path} is in use{by}. Try again when it is free.", reason="serial_in_use"
    )
