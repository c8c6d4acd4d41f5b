"""`fleetward backup` and `restore`: an encrypted copy of a control plane, without the owner's keys.

What is in it: the state database, the server's own keys and its configuration. What is not: the
owner's folder, the folders of machines, the broker's files, tokens and links of the running server.
"""

from __future__ import annotations

import io
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from fleetward.keyholder.passphrase import ask_passphrase
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.runtime.files import PRIVATE_FILE, make_private_directory, read_bounded
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
MARKS: Final = ("server/owner-was-here",)
DATABASE: Final = "server/state.db"
MAX_FILE_BYTES: Final = 1024 * 1024
STEP_BYTES: Final = 1024 * 1024

backup_app: Final = typer.Typer(add_completion=False)
restore_app: Final = typer.Typer(add_completion=False)

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
        passphrase = ask_passphrase(passphrase_file, twice=True)
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
        passphrase = ask_passphrase(passphrase_file)
        names = read_backup(file, data, passphrase)
        subprocess.run(
            [sys.executable, "-m", "fleetward.server.restored", "--data", str(data)], check=True
        )
        say("Start it by `fleetward up`, then let the owner run `fleetward owner restore-open`.")
        emit({"data": str(data), "files": names}, as_json, f"Restored into {data}.")


def write_backup(data: Path, out: Path, passphrase: bytes) -> int:
    """Write the backup of a folder and return its size. Raises `Refused` for another database."""
    _require_sqlite(data)
    with tempfile.TemporaryDirectory(dir=make_private_directory(data / "run")) as scratch:
        copy = Path(scratch) / "state.db"
        _copy_database(data / DATABASE, copy)
        temporary = out.with_name(out.name + ".part")
        with temporary.open("wb") as target:
            temporary.chmod(PRIVATE_FILE)
            for chunk in seal_stream(_tar(data, copy), passphrase, WHAT):
                target.write(chunk)
        temporary.replace(out)
    return out.stat().st_size


def read_backup(file: Path, data: Path, passphrase: bytes) -> list[str]:
    """Unpack a backup into an empty folder and return the names. Raises and leaves nothing half.

    Only the names that a backup has are written, whatever the file says.
    """
    if data.exists() and any(data.iterdir()):
        raise Refused(
            f"Expected {data} to be empty or absent. Restore into a new folder.",
            reason="folder_not_empty",
        )
    make_private_directory(data.parent)
    scratch = Path(tempfile.mkdtemp(dir=data.parent, prefix=".restore-"))
    plain = scratch / "backup.tar"
    try:
        with file.open("rb") as source, plain.open("wb") as target:
            for chunk in open_stream(source, passphrase, WHAT):
                target.write(chunk)
        names = _unpack(plain, scratch / "data")
        if data.exists():
            data.rmdir()
        (scratch / "data").rename(data)
    except OSError as e:
        raise Unreachable(f"The backup could not be unpacked: {e}.", reason="disk") from e
    finally:
        plain.unlink(missing_ok=True)
        subprocess.run(["rm", "-rf", "--", str(scratch)], check=False)
    return names


def _require_sqlite(data: Path) -> None:
    content = read_bounded(data / "fleetward.toml", MAX_FILE_BYTES)
    url = str(tomllib.loads(content.decode("utf-8")).get("database_url", ""))
    if url and not url.startswith("sqlite:"):
        raise Refused(
            "This control plane keeps its state in PostgreSQL. Back that up with pg_dump, and "
            "copy server/ca and server/log.key beside it.",
            reason="not_sqlite",
        )


def _copy_database(source: Path, target: Path) -> None:
    with sqlite3.connect(f"file:{source}?mode=ro", uri=True) as live:
        with sqlite3.connect(target) as copy:
            live.backup(copy, pages=4096)
        copy.close()
    live.close()


def _tar(data: Path, database: Path) -> Iterator[bytes]:
    for name in (*FILES, *(m for m in MARKS if (data / m).exists())):
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
    allowed = {*FILES, *MARKS, DATABASE}
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
