"""Files of a machine: list, get, put. Nothing half is left under a name, on either side."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from fleetward.keyholder.access.connecting import SessionLink
from fleetward.keyholder.access.streams import Stream
from fleetward.keyholder.access.terminal_safe import one_line
from fleetward.runtime.files import sync_directory
from fleetward.trust.access import MAX_FILE_BYTES
from fleetward.trust.errors import Malformed, Refused, Unreachable
from fleetward.wire.access import MAX_DATA_BYTES, OpenStream

MAX_LIST_BYTES: Final = 16 * 1024 * 1024
Progress: TypeAlias = Callable[[str, int, int], None]
"""Told a name, how many bytes of it are there, and how many there will be."""


class FileRow(msgspec.Struct, frozen=True):
    """One name in a folder of the machine."""

    name: str
    kind: str = "file"
    size: int = 0
    modified: int = 0


class _Size(msgspec.Struct, frozen=True):
    size: int


@dataclass(frozen=True, slots=True)
class Moved:
    """A file that was moved whole."""

    path: str
    local: str
    size: int
    sha256: str


async def list_files(link: SessionLink, scope: int, path: str) -> list[FileRow]:
    """Return what is in a folder below the scope's. Raises `Refused` with the machine's words."""
    stream = await link.open_stream(scope, OpenStream(verb="list", path=_folder(path)))
    await stream.wait_ready()
    data = bytearray()
    while part := await stream.receive():
        data += part
        if len(data) > MAX_LIST_BYTES:
            await stream.close()
            raise Malformed("The folder has more names than can be shown.", reason="too_many_files")
    await _finish(stream, path)
    try:
        return [
            msgspec.json.decode(line, type=FileRow) for line in bytes(data).split(b"\n") if line
        ]
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise Malformed(f"Expected a list of names; {e}.", reason="bad_answer") from e


async def get_file(
    link: SessionLink, scope: int, path: str, into: Path, progress: Progress
) -> Moved:
    """Fetch a file to `into`, a file or a folder that is there. Raises `Refused`, `Unreachable`.

    The local name is never the machine's to choose: it is the last step of what was asked for.
    """
    wanted = path.strip("/")
    target = into / wanted.rsplit("/", 1)[-1] if into.is_dir() else into
    stream = await link.open_stream(scope, OpenStream(verb="get", path=wanted))
    size = _read_size(await stream.wait_ready())
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    digest, moved = hashlib.sha256(), 0
    try:
        with partial.open("xb") as file:
            while data := await stream.receive():
                digest.update(data)
                moved += len(data)
                if moved > size:
                    await stream.close()
                    raise Malformed(
                        f"{wanted} has {size} bytes as the machine said; more came.",
                        reason="file_too_long",
                    )
                await asyncio.to_thread(file.write, data)
                progress(wanted, moved, size)
            await _finish(stream, wanted)
            file.flush()
            os.fsync(file.fileno())
        if moved != size:
            raise Unreachable(
                f"{wanted} has {size} bytes; {moved} came. It may have changed meanwhile: try "
                "again.",
                reason="file_cut_off",
            )
        partial.replace(target)
        sync_directory(target.parent)
    except OSError as e:
        raise Unreachable(
            f"Expected to write {target}; the system says: {e.strerror}.", reason="disk_refused"
        ) from e
    finally:
        partial.unlink(missing_ok=True)
    return Moved(wanted, str(target), moved, digest.hexdigest())


async def put_file(
    link: SessionLink, scope: int, local: Path, path: str, progress: Progress
) -> Moved:
    """Put a local file at a path below the scope's folder. Raises `Refused`, `Unreachable`."""
    wanted = path.strip("/")
    try:
        with local.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            stream = await link.open_stream(scope, OpenStream(verb="put", path=wanted, size=size))
            await stream.wait_ready()
            digest, moved = hashlib.sha256(), 0
            while data := await asyncio.to_thread(file.read, MAX_DATA_BYTES):
                digest.update(data)
                moved += len(data)
                await stream.send(data)
                progress(wanted, moved, size)
    except OSError as e:
        raise Unreachable(
            f"Expected to read {local}; the system says: {e.strerror}.", reason="disk_refused"
        ) from e
    await stream.end()
    await _finish(stream, wanted)
    return Moved(wanted, str(local), moved, digest.hexdigest())


async def _finish(stream: Stream, path: str) -> None:
    """Wait for the machine's last word; none is good. Raises `Refused` with any other."""
    words = one_line(await stream.wait_closed())
    if words:
        raise Refused(f"{path or '.'}: {words}", reason="file_refused")


def _folder(path: str) -> str:
    """Return a folder's path as the machine takes it: nothing for the scope's own."""
    return "" if path in ("", ".", "/") else path.strip("/")


def _read_size(data: bytes) -> int:
    try:
        size = msgspec.json.decode(data, type=_Size).size
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise Malformed(f"Expected the size of a file; {e}.", reason="bad_answer") from e
    if not 0 <= size <= MAX_FILE_BYTES:
        raise Malformed(f"Expected the size of a file, got {size}.", reason="bad_answer")
    return size
