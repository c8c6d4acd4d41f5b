"""Fetching an export from the server, which may send anything.

The tar is written to a file of bounded size first. Out of it comes nothing but plain files under
names that an export has: no link, no device, no absolute path, no step upwards, no name twice.
"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import IO, BinaryIO, Final

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.folder import MAX_ENTRIES_BYTES
from fleetward.runtime.files import PRIVATE_FILE, make_private_directory, sync_directory
from fleetward.trust.errors import Malformed, Refused, Unreachable

MAX_EXPORT_BYTES: Final = 64 * 1024**3
"""Bytes of a whole export: a hundred million entries."""
MAX_FILES: Final = 20_000_000
_NAME: Final = re.compile(
    r"export\.json|root\.json|head\.json|lease\.json"
    r"|policies/[0-9]{5,10}\.json|rosters/[0-9]{5,10}\.(json|entries)"
    r"|log/[0-9]{1,4}/(checkpoint|opening\.json|witnesses/[A-Za-z0-9][A-Za-z0-9._-]{0,79})"
    r"|log/[0-9]{1,4}/tile/(entries|[0-9]{1,2})(/x[0-9]{3}){0,4}/[0-9]{3}(\.p/[0-9]{1,3})?"
    r"|batches/[a-z2-7]{32}/[0-9]{1,16}\.jsonl"
)
_CHUNK_BYTES: Final = 1024 * 1024


def fetch_export(client: ApiClient, out: Path) -> Path:
    """Download an export and unpack it at `out`, which must not exist.

    Raises `Refused` when something is there, `Malformed` for a tar with anything else in it,
    `Unreachable`. Nothing is left at `out` unless it is complete.
    """
    if out.is_symlink() or out.exists():
        raise Refused(
            f"Expected nothing at {out}; something is there. An export is never written over "
            "another: it may be the evidence.",
            reason="folder_exists",
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        with tempfile.TemporaryFile(dir=partial) as tar:
            client.download("/record/export", tar, MAX_EXPORT_BYTES)
            tar.seek(0)
            unpack(tar, partial)
        partial.rename(out)
        sync_directory(out.parent)
    except OSError as e:
        raise Unreachable(
            f"Expected to write the export to {out}; the system says: {e.strerror}.",
            reason="disk_refused",
        ) from e
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def unpack(tar: BinaryIO, folder: Path) -> None:
    """Unpack an export's tar into an empty folder. Raises `Malformed`."""
    try:
        with tarfile.open(fileobj=tar, mode="r|") as archive:
            for count, member in enumerate(archive):
                _check_member(member, count)
                source = archive.extractfile(member)
                if source is None:
                    raise _bad(member.name, "no plain file")
                _write(folder / member.name, source, member.size)
    except (tarfile.TarError, EOFError, ValueError) as e:
        raise Malformed(
            f"Expected an export as a tar; it cannot be read: {e}.", reason="bad_export"
        ) from e
    except FileExistsError as e:
        raise Malformed(
            "Expected each file of an export once; one came twice.", reason="bad_export"
        ) from e


def _check_member(member: tarfile.TarInfo, count: int) -> None:
    if count >= MAX_FILES:
        raise _bad(member.name, "too many files")
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise _bad(member.name, "no plain file")
    if _NAME.fullmatch(member.name) is None:
        raise _bad(member.name, "a name that no export has")
    if member.size > MAX_ENTRIES_BYTES:
        raise _bad(member.name, "too large")


def _write(path: Path, source: IO[bytes], size: int) -> None:
    make_private_directory(path.parent)
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE
    )
    with os.fdopen(descriptor, "wb") as file:
        shutil.copyfileobj(source, file, _CHUNK_BYTES)
    if path.stat().st_size != size:
        raise _bad(path.name, "shorter than it says")


def _bad(name: str, what: str) -> Malformed:
    return Malformed(
        f"Expected the files of an export; {name[:120]!a} is {what}. Nothing was unpacked.",
        reason="bad_export",
    )
