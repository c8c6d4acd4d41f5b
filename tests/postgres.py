"""A throw-away PostgreSQL for tests, and one fixture that runs a test on both databases.

A conftest takes what it needs: `from tests.postgres import cluster, database  # noqa: F401`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from fleetward.runtime.database import Database

START_SECONDS = 30
POSTGRES_USER = "postgres"


@dataclass(frozen=True)
class Cluster:
    """A running server that listens on a Unix socket in its own directory and nowhere else."""

    binaries: Path
    directory: Path

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://fleetward@/{name}?host={self.directory}"

    def make_database(self) -> str:
        """Create an empty database and return its URL."""
        name = f"t{uuid.uuid4().hex}"
        engine = sa.create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as conn:
            conn.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        return self.url(name)


def find_binaries() -> Path | None:
    """Return the directory of the newest PostgreSQL server on this machine, if there is one."""
    found = sorted(
        (path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")),
        key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0,
    )
    if found:
        return found[-1]
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def _as_unprivileged(*command: str | Path) -> None:
    words = [str(word) for word in command]
    if os.geteuid() == 0:
        words = ["runuser", "-u", POSTGRES_USER, "--", *words]
    subprocess.run(words, check=True, cwd="/", timeout=START_SECONDS, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Start a cluster for the session; skip where no server is installed."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server binaries: apt install postgresql")
    # A short path: a Unix socket's name holds 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="fwpg"))
    if os.geteuid() == 0:
        shutil.chown(directory, POSTGRES_USER)
    data = directory / "data"
    _as_unprivileged(
        binaries / "initdb", "-D", data, "-U", "fleetward", "-A", "trust", "-E", "UTF8",
        "--locale=C", "-N",
    )  # fmt: skip
    options = f"-c listen_addresses='' -c unix_socket_directories={directory} -c fsync=off"
    control = binaries / "pg_ctl"
    _as_unprivileged(
        control, "-D", data, "-o", options, "-l", directory / "log", "-w", "-s", "start"
    )
    try:
        yield Cluster(binaries, directory)
    finally:
        _as_unprivileged(control, "-D", data, "-m", "immediate", "-s", "stop")
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)],
)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'state.db'}"
    else:
        url = request.getfixturevalue("cluster").make_database()
    opened = Database.open(url)
    yield opened
    opened.close()
