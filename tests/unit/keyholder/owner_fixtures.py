"""A small server and an owner made at it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.keyholder.small_server import NOW_MS, SmallServer, serving

from fleetward.keyholder.ceremony import NewOwner
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.init import init_owner, name_local_server
from fleetward.runtime import keys
from fleetward.trust.canonical import decode_object, from_base64url

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


@pytest.fixture(scope="session")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallServer]:
    with serving(tmp_path_factory.mktemp("server")) as state:
        yield state


@pytest.fixture(scope="session")
def made_once(
    one_server: SmallServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[NewOwner, list[dict[str, Any]]]:
    """An owner, made by the real ceremony once: scrypt is slow on purpose."""
    folder = tmp_path_factory.mktemp("owner")
    named = name_local_server(one_server.write_data(folder / "data"))
    made = init_owner(folder / "owner", PASSPHRASE, named, ("Ward 3", "Ada"), FixedClock())
    return made, one_server.uploads[-1:]


@pytest.fixture
def server(one_server: SmallServer) -> SmallServer:
    one_server.reset()
    return one_server


@pytest.fixture
def data(tmp_path: Path, server: SmallServer) -> Path:
    return server.write_data(tmp_path / "data")


@pytest.fixture
def owner(
    tmp_path: Path, server: SmallServer, made_once: tuple[NewOwner, list[dict[str, Any]]]
) -> NewOwner:
    """A copy of that owner's folder."""
    made, uploads = made_once
    server.reset()
    server.uploads.extend(uploads)
    copy = shutil.copytree(made.folder.path, tmp_path / "owner")
    return replace(made, folder=OwnerFolder.open(copy))


@pytest.fixture
def desk(owner: NewOwner, clock: FixedClock) -> Desk:
    return Desk(owner.folder, PASSPHRASE, clock)


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.write_bytes(PASSPHRASE + b"\n")
    path.chmod(0o600)
    return path


REAL: dict[tuple[bytes, bytes], bytes] = {}
"""Stretched passphrases of the owner that is made once: slow on purpose, and kept."""


@pytest.fixture
def quick_keys(owner: NewOwner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let keys that a test makes be sealed quickly; those of the owner are stretched once."""
    salts = {
        from_base64url(str(decode_object(path.read_bytes())["header"]["salt"]))  # type: ignore[index, call-overload]
        for path in (owner.folder.path / "keys").glob("*.key")
    }
    stretch = keys._stretch

    def quick(passphrase: bytes, salt: bytes) -> bytes:
        if salt not in salts:
            return hashlib.sha256(salt + passphrase).digest()
        if (passphrase, salt) not in REAL:
            REAL[passphrase, salt] = stretch(passphrase, salt)
        return REAL[passphrase, salt]

    monkeypatch.setattr(keys, "_stretch", quick)
