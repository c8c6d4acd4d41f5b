"""Both databases, and a server's rooms on each."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.postgres import cluster, database
from tests.server_world import ServerWorld, server_world

from fleetward.runtime.database import Database
from fleetward.runtime.files import make_private_directory

__all__ = ["cluster", "database", "world"]


@pytest.fixture
def world(database: Database, tmp_path: Path) -> Iterator[ServerWorld]:
    """A server with an owner."""
    with server_world(database, make_private_directory(tmp_path / "ca")) as made:
        yield made
