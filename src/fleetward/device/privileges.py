"""Giving up rights, for good: the two processes of a machine do it before they meet any bytes."""

from __future__ import annotations

import ctypes
import os
import platform
import pwd
import resource
import signal
import struct
from dataclasses import dataclass
from typing import Final

UPLINK_USER: Final = "fleetward-uplink"
UPLINK_UID: Final = 64917
"""Used where that user does not exist; outside the ranges that Debian and systemd hand out."""
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_FILTER: Final = 2
_AF_UNIX: Final = 1
_CALLS: Final = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""Audit number of the architecture, and the number of socket(2)."""
_IO_URING_SETUP: Final = 425
_X32: Final = 0x40000000


@dataclass(frozen=True, slots=True)
class Ids:
    """A user and group."""

    uid: int
    gid: int


def uplink_ids() -> Ids:
    """Return whom uplink becomes: its own user where it exists, a number nobody else has else."""
    try:
        found = pwd.getpwnam(UPLINK_USER)
    except KeyError:
        return Ids(UPLINK_UID, UPLINK_UID)
    return Ids(found.pw_uid, found.pw_gid)


def become(ids: Ids) -> None:
    """Become another user for good, without groups or capabilities. Raises `OSError`."""
    os.setgroups([])
    os.setresgid(ids.gid, ids.gid, ids.gid)
    os.setresuid(ids.uid, ids.uid, ids.uid)


def seal_process(parent: int) -> None:
    """No new rights, no core files, nobody traces us, and we end when our parent does.

    `parent` is the pid of the starter, or 0 for a service manager. To be called after `become`,
    which clears the last two. Raises `OSError`.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    if parent:
        end_with_parent(parent)


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; end when it has. Raises `OSError`."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def adopt_orphans() -> None:
    """Have every process below this one become its child when its parent ends. Raises `OSError`."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def bound_memory(size_bytes: int) -> None:
    """Let this process hold no more data than this, whatever somebody pours into it."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = size_bytes if hard == resource.RLIM_INFINITY else min(size_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def deny_network() -> None:
    """Let this process and its children open Unix sockets only. Raises `OSError`.

    The tables of the kernel stay readable: guard watches which ports are open.
    """
    machine = platform.machine()
    if machine not in _CALLS:
        raise OSError(f"the system calls of {machine} are not listed")
    audit, socket_call = _CALLS[machine]
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    allow, refuse, end = 0x7FFF0000, 0x00050000 | 1, 0x80000000
    step = struct.Struct("=HBBI")
    program = b"".join(
        step.pack(*line)
        for line in (
            (load, 0, 0, 4),
            (equal, 1, 0, audit),
            (give, 0, 0, end),
            (load, 0, 0, 0),
            (at_least, 5, 0, _X32),
            (equal, 4, 0, _IO_URING_SETUP),
            (equal, 0, 2, socket_call),
            (load, 0, 0, 16),
            (equal, 0, 1, _AF_UNIX),
            (give, 0, 0, allow),
            (give, 0, 0, refuse),
        )
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    head = ctypes.create_string_buffer(
        struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    )
    _prctl(_PR_SET_SECCOMP, _SECCOMP_FILTER, ctypes.addressof(head))


def _prctl(option: int, *values: int) -> None:
    wide = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, *wide) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
