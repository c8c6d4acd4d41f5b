"""A machine that has seen one release, and what tests do to its repository."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import pytest
from tests.adversary.release_repository import Machine, Repository
from tuf.api.metadata import MetaFile

from fleetward.trust.errors import FleetwardError
from fleetward.trust.releases.names import name_file

IMAGE: Final = "pump/1.0.img"


def make_world() -> tuple[Repository, Machine]:
    """Return a repository with one release, and a machine that has seen it."""
    repository = Repository.make()
    repository.delegate("targets", "pump", "pump/*")
    repository.add_target("pump", IMAGE, b"one", counter=1)
    repository.publish_all("pump", "targets")
    machine = Machine.make(repository)
    assert machine.find(repository.answer, IMAGE)
    return repository, machine


def refused(
    family: type[FleetwardError], reason: str, act: Callable[[], object], machine: Machine
) -> None:
    """Demand a refusal, after which no role that was kept has another content."""
    before = (machine.root, dict(machine.kept))
    with pytest.raises(family) as caught:
        act()
    assert caught.value.reason == reason
    assert (machine.root, machine.kept) == before


def edit(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """Change parsed metadata and write it again, signatures as they were."""
    parsed = json.loads(data)
    change(parsed)
    return json.dumps(parsed).encode()


def restate(repository: Repository, role: str) -> None:
    """Have snapshot and timestamp state what is served of a role, truly signed."""
    version = repository.roles[role].signed.version
    data = repository.files[name_file(role, version)]
    stated = MetaFile.from_data(version, data, ["sha256"])
    if role == "snapshot":
        repository.timestamp.snapshot_meta = stated
    else:
        repository.snapshot.meta[f"{role}.json"] = stated
        repository.publish("snapshot")
    repository.publish("timestamp")
