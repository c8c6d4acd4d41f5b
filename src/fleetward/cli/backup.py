"""`fleetward backup` and `restore`: an encrypted copy of a control plane, without the owner's keys.

What is in it: the state database, the server's own keys and its configuration. What is not: the
blobs of releases, which can be published again, the owner's folder, the folders of machines, the
broker's files, tokens and links of the running server.
"""

from __future__ import annotations

import io
import os
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, BinaryIO, Final
from urllib.parse import quote

import typer

from fleetward.cli.plain import PLAIN
from fleetward.keyholder.passphrase import ask_passphrase
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.runtime.files import (
    PRIVATE_FILE,
    make_private_directory,
    read_bounded,
    sync_directory,
)
from fleetward.runtime.sealed import open_stream, seal_stream
from fleetward.trust.errors import Malformed, Refused, Unreachable

WHAT: Final = "control-plane-backup"
FILES: Final = (
    "fleetward.toml",
    "server/ca/server-ca.pem",
    "server/ca/server-ca.key",
    "server/ca/issuing.key",
    "server/log.key",
)
IF_THERE: Final = (
    "server/owner-was-here",
    "server/director/director.key",
    "server/director/1.root.json",
)
"""What not every control plane has: one of an older release has no director."""
DATABASE: Final = "server/state.db"
MAX_FILE_BYTES: Final = 1024 * 1024
STEP_BYTES: Final = 1024 * 1024
CLOSE_SECONDS: Final = 300

backup_app: Final = typer.Typer(**PLAIN)
restore_app: Final = typer.Typer(**PLAIN)

Data = Annotated[Path, typer.Option("--data", help="The control plane's folder.")]
PassphraseFile = Annotated[
    Path | None, typer.Option("--passphrase-file", help="File of mode 600; else you are asked.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


@backup_app.command()
def backup(
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    data: Data,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Write an encrypted backup of a control plane, also while it runs.

    fleetward backup --data ~/fleetward --out fleetward.backup
    """
    with refusals():
        passphrase = ask_passphrase(passphrase_file, twice=True, of="the backup")
        size = write_backup(data, out, passphrase)
        words = f"{out}: {size} bytes. The owner's folder is not in it; back it up by itself."
        emit({"file": str(out), "size_bytes": size}, as_json, words)


@restore_app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `fleetward backup` wrote.")],
    data: Data,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Restore a control plane into an empty folder.

    Tokens, links and invitations die. The record goes on once its owner has opened it again, by
    `fleetward owner restore-open`; machines send again what they kept.

    fleetward restore fleetward.backup --data ~/fleetward
    """
    with refusals():
        passphrase = ask_passphrase(passphrase_file, of="the backup")
        names = read_backup(file, data, passphrase)
        say("Start it by `fleetward up`, then let the owner run `fleetward owner restore-open`.")
        emit({"data": str(data), "files": names}, as_json, f"Restored into {data}.")


def write_backup(data: Path, out: Path, passphrase: bytes) -> int:
    """Write the backup of a folder and return its size. Raises `Refused` for another database."""
    _require_sqlite(data)
    with tempfile.TemporaryDirectory(dir=make_private_directory(data / "run")) as scratch:
        copy = Path(scratch) / "state.db"
        _copy_database(data / DATABASE, copy)
        temporary = out.with_name(out.name + ".part")
        try:
            temporary.unlink(missing_ok=True)
            with _open_private(temporary) as target:
                for chunk in seal_stream(_tar(data, copy), passphrase, WHAT):
                    target.write(chunk)
                target.flush()
                os.fsync(target.fileno())
            temporary.replace(out)
            sync_directory(out.absolute().parent)
            return out.stat().st_size
        except OSError as e:
            raise Unreachable(f"The backup could not be written: {e}.", reason="disk") from e
        finally:
            temporary.unlink(missing_ok=True)


def read_backup(file: Path, data: Path, passphrase: bytes) -> list[str]:
    """Unpack a backup into an empty folder and return the names. Raises and leaves nothing half.

    Only the names that a backup has are written, whatever the file says. The folder appears with
    its record closed and its credentials ended, or not at all.
    """
    if not file.is_file():
        raise Refused(
            f"Expected a backup at {file}; there is none. `fleetward backup` writes one.",
            reason="no_backup",
        )
    if data.exists() and any(data.iterdir()):
        raise Refused(
            f"Expected {data} to be empty or absent. Restore into a new folder.",
            reason="folder_not_empty",
        )
    try:
        data.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data.parent, prefix=".restore-") as name:
            plain, unpacked = Path(name) / "backup.tar", Path(name) / "data"
            with file.open("rb") as source, _open_private(plain) as target:
                for chunk in open_stream(source, passphrase, WHAT):
                    target.write(chunk)
            names = _unpack(plain, unpacked)
            _close_record(unpacked)
            os.sync()
            unpacked.rename(data)
    except tarfile.TarError as e:
        raise Malformed(f"Expected the files of a backup: {e}.", reason="bad_backup") from e
    except OSError as e:
        raise Unreachable(f"The backup could not be unpacked: {e}.", reason="disk") from e
    return names


def _close_record(data: Path) -> None:
    """End credentials and close the record, by the server's own program in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "fleetward.server.restored", "--data", str(data)],
        check=False,
        capture_output=True,
        text=True,
        timeout=CLOSE_SECONDS,
    )
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise Refused(
            f"The backup's record could not be closed: {words[-1] if words else 'no words came'}",
            reason="not_closed",
        )


def _open_private(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE), "wb")


def _require_sqlite(data: Path) -> None:
    if not (data / "fleetward.toml").is_file():
        raise Refused(
            f"Expected a control plane's folder at {data}; there is none. "
            "Name by --data the folder that `fleetward up` was given.",
            reason="no_control_plane",
        )
    content = read_bounded(data / "fleetward.toml", MAX_FILE_BYTES)
    url = str(tomllib.loads(content.decode("utf-8")).get("database_url", ""))
    if url:
        raise Refused(
            "This control plane keeps its state in a database of its own choosing. Back that up "
            "with its own tools (pg_dump), and copy server/ca and server/log.key beside it.",
            reason="not_sqlite",
        )


def _copy_database(source: Path, target: Path) -> None:
    # In one go: in WAL mode it holds up no writer, and in steps every write would begin it anew.
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)) as live,
            closing(sqlite3.connect(target)) as copy,
        ):
            live.backup(copy)
    except sqlite3.Error as e:
        raise Unreachable(f"The database could not be copied: {e}.", reason="database") from e


def _tar(data: Path, database: Path) -> Iterator[bytes]:
    for name in (*FILES, *(m for m in IF_THERE if (data / m).exists())):
        content = read_bounded(data / name, MAX_FILE_BYTES)
        yield _header(name, len(content)) + content + _padding(len(content))
    size = database.stat().st_size
    yield _header(DATABASE, size)
    with database.open("rb") as source:
        while chunk := source.read(STEP_BYTES):
            yield chunk
    yield _padding(size) + b"\0" * (2 * tarfile.BLOCKSIZE)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, PRIVATE_FILE
    return info.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return b"\0" * (-size % tarfile.BLOCKSIZE)


def _unpack(plain: Path, data: Path) -> list[str]:
    allowed = {*FILES, *IF_THERE, DATABASE}
    names: list[str] = []
    with tarfile.open(plain, "r:") as archive:
        for member in archive:
            if member.name not in allowed or not member.isreg() or member.name in names:
                raise Malformed(
                    f"Expected the files of a backup, got {member.name[:80]!r}.",
                    reason="bad_backup",
                )
            source = archive.extractfile(member) or io.BytesIO()
            target = data / member.name
            make_private_directory(data)
            make_private_directory(data / "server")
            make_private_directory(target.parent)
            with target.open("xb") as file:
                target.chmod(PRIVATE_FILE)
                while chunk := source.read(STEP_BYTES):
                    file.write(chunk)
            names.append(member.name)
    if missing := sorted({*FILES, DATABASE} - set(names)):
        raise Malformed(f"The backup lacks {missing[0]}.", reason="bad_backup")
    return names
