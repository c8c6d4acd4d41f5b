"""A small server and an owner made at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.unit.keyholder.small_server import NOW_MS, SmallServer, serving

from fleetward.keyholder.ceremony import NewOwner
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.init import init_owner, name_local_server

PASSPHRASE = b"correct horse battery staple"


@dataclass
class FixedClock:
    """A clock that a test moves."""

    now: int = NOW_MS

    def wall_ms(self) -> int:
        return self.now

    def monotonic_ms(self) -> int:
        return self.now

    def boottime_ms(self) -> int:
        return self.now


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SmallServer]:
    with serving(tmp_path) as state:
        yield state


@pytest.fixture
def data(tmp_path: Path, server: SmallServer) -> Path:
    return server.write_data(tmp_path / "data")


@pytest.fixture
def owner(tmp_path: Path, data: Path, clock: FixedClock) -> NewOwner:
    named = name_local_server(data)
    return init_owner(tmp_path / "owner", PASSPHRASE, named, ("Ward 3", "Ada"), clock)


@pytest.fixture
def desk(owner: NewOwner, clock: FixedClock) -> Desk:
    return Desk(owner.folder, PASSPHRASE, clock)


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.write_bytes(PASSPHRASE + b"\n")
    path.chmod(0o600)
    return path
