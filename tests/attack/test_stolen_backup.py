"""Somebody has a backup of the server, or hands in one of his own making.

He reads nothing of it without its passphrase, finds nothing of the owner's in it even with one,
and cannot cut, splice or swap pieces of two backups into a third.
"""

from __future__ import annotations

import contextlib
import io
import sqlite3
import struct
from pathlib import Path

import pytest

from fleetward.cli.backup import FILES, WHAT, read_backup, write_backup
from fleetward.runtime.sealed import open_stream, seal_stream
from fleetward.trust.errors import FleetwardError

PASSPHRASE = b"the operator's own words"
SECRET = "a-secret-of-the-server"
OWNERS = "a-secret-of-the-owner"
RECORD = 1024 * 1024


@pytest.fixture
def plane(tmp_path: Path) -> Path:
    """The folder of a control plane, with secrets to look for in every file."""
    data = tmp_path / "data"
    for name in FILES:
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'database_url = ""\n# {SECRET}\n')
    with contextlib.closing(sqlite3.connect(data / "server" / "state.db")) as database:
        database.execute("create table t (body text)")
        database.execute("insert into t values (?)", (SECRET,))
        database.commit()
    (data / "owner").mkdir()
    (data / "owner" / "root.key").write_text(OWNERS)
    (data / "run").mkdir()
    (data / "run" / "admin-token").write_text(OWNERS)
    return data


def test_a_stolen_backup_shows_nothing(plane: Path, tmp_path: Path) -> None:
    out = tmp_path / "backup"
    write_backup(plane, out, PASSPHRASE)
    assert SECRET.encode() not in out.read_bytes()
    assert out.stat().st_mode & 0o077 == 0
    for wrong in (b"", b"the operator's own word", PASSPHRASE + b"\n"):
        with pytest.raises(FleetwardError):
            read_backup(out, tmp_path / "new", wrong)
        assert not (tmp_path / "new").exists()


def test_the_owners_keys_and_the_days_secrets_are_in_no_backup(plane: Path, tmp_path: Path) -> None:
    out = tmp_path / "backup"
    write_backup(plane, out, PASSPHRASE)
    with out.open("rb") as source:
        plain = b"".join(open_stream(source, PASSPHRASE, WHAT))
    assert SECRET.encode() in plain
    assert OWNERS.encode() not in plain


def records_of(sealed: bytes) -> tuple[bytes, list[bytes]]:
    """Return the header and the records of a sealed stream."""
    header, _, rest = sealed.partition(b"\n")
    found = []
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        found.append(rest[: 4 + length])
        rest = rest[4 + length :]
    return header + b"\n", found


def test_pieces_of_a_backup_cannot_be_moved() -> None:
    chunks = [bytes([n]) * RECORD for n in range(4)]
    header, records = records_of(b"".join(seal_stream(chunks, PASSPHRASE, WHAT)))
    other, strange = records_of(b"".join(seal_stream(chunks, PASSPHRASE, WHAT)))
    forgeries = {
        "a record less": records[1:],
        "the end cut off": records[:-1],
        "two exchanged": [records[1], records[0], *records[2:]],
        "one twice": [records[0], *records],
        "one of another backup": [strange[0], *records[1:]],
    }
    for forged in forgeries.values():
        with pytest.raises(FleetwardError):
            open_all(header + b"".join(forged))
    with pytest.raises(FleetwardError):
        open_all(other + b"".join(records))
    with pytest.raises(FleetwardError):
        open_all(header + b"".join(records), what="another-thing")
    assert open_all(header + b"".join(records)) == b"".join(chunks)


def open_all(sealed: bytes, what: str = WHAT) -> bytes:
    return b"".join(open_stream(io.BytesIO(sealed), PASSPHRASE, what))
