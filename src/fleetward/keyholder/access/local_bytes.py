"""Bytes of this process's own descriptors, read and written beside other work."""

from __future__ import annotations

import asyncio
import os
from typing import Final

READ_BYTES: Final = 32 * 1024
AT_ONCE_BYTES: Final = 4096
"""Written at once where it stands: a terminal or a pipe takes so much without waiting long."""


async def read_some(descriptor: int) -> bytes:
    """Return what there is to read, none at the end. Can be cancelled while it waits."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:  # a plain file is always ready (epoll takes none)
        return _read(descriptor)
    try:
        await ready.wait()
        return _read(descriptor)
    finally:
        loop.remove_reader(descriptor)


async def write_all(descriptor: int, data: bytes) -> None:
    """Write everything; larger pieces in a thread, so that a slow reader holds up nothing else."""
    if len(data) <= AT_ONCE_BYTES:
        _write(descriptor, data)
    else:
        await asyncio.to_thread(_write, descriptor, data)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, READ_BYTES)
    except OSError:  # the terminal is gone: that is its end
        return b""


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
