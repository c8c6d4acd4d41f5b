"""What must not move on a machine when a release is refused, and a look at it before and after.

    with nothing_changes(guard):
        guard.run()

Held releases, counters and what is active stay; the installer is told nothing that writes; and the
metadata that was kept is not of an older version than before.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from tests.update_world import UpdateGuard
from tuf.api.metadata import Metadata, TargetFile, Targets

from fleetward.trust.canonical import to_base64url
from fleetward.trust.release_manifest import Manifest, write_manifest
from fleetward.trust.releases.director import DEVICE_FIELD, OWNER_FIELD
from fleetward.wire.updates import UpdateAnswer, UpdateQuestion

IN_MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None
WRITING: Final = frozenset({"write", "patch", "switch", "commit"})


@contextmanager
def machine_with_a_release() -> Iterator[UpdateGuard]:
    """Give a machine on which 1.0, counter 10, was committed. Its disk is memory, for speed."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        guard = UpdateGuard.make(Path(folder) / "m")
        guard.release("1.0", 10)
        guard.approve()
        guard.run()
        assert guard.outcomes()[-1] == "committed"
        yield guard
        guard.core.updates.close()


def kept_versions(guard: UpdateGuard) -> dict[str, int]:
    """Return the version of every metadata file that the machine keeps, by its path."""
    shelf = guard.folder / "updates" / "metadata"
    return {
        str(path.relative_to(shelf)): int(Metadata.from_bytes(path.read_bytes()).signed.version)
        for path in sorted(shelf.rglob("*.json"))
    }


@contextmanager
def nothing_changes(guard: UpdateGuard) -> Iterator[None]:
    """Demand that the machine is afterwards as it was."""
    memory = guard.core.updates.memory
    held, floors = dict(memory.held), dict(memory.floors)
    active, told, kept = (
        dict(guard.installer.active),
        len(guard.installer.words),
        kept_versions(guard),
    )
    yield
    memory = guard.core.updates.memory
    assert (memory.held, memory.floors) == (held, floors)
    assert guard.installer.active == active
    assert not WRITING & set(guard.installer.words[told:])
    now = kept_versions(guard)
    assert all(now.get(name, version) >= version for name, version in kept.items())


def names_rule(guard: UpdateGuard) -> set[str]:
    """Return the rules that stand in signed reports or in entries of refusals."""
    refused = {str(body["reason"]) for body in guard.bodies("gate.refused")}
    return refused | {report.rule for report in guard.reports() if report.rule}


def data_of(answer: bytes | None) -> UpdateAnswer:
    """Return an answer with these bytes, or that there are none."""
    if answer is None:
        return UpdateAnswer(found=False)
    return UpdateAnswer(found=True, data=to_base64url(answer))


def lie(guard: UpdateGuard, what: str, name: str, data: bytes | None) -> None:
    """Have every question for a file of this name answered with these bytes."""

    def change(question: UpdateQuestion, honest: UpdateAnswer) -> UpdateAnswer:
        return data_of(data) if question.name == name else honest

    guard.server.lies[what] = change


def direct(guard: UpdateGuard, *files: TargetFile, **changes: object) -> bytes:
    """Return a word of the director, with its real key, changed."""
    targets = Targets(version=int(str(changes.get("version", guard.director.version + 1))))
    honest = guard.director.direct(guard.device, guard.fleet.world.owner, files)
    targets.expires = Metadata.from_bytes(honest).signed.expires
    targets.targets = {file.path: file for file in files}
    targets.unrecognized_fields = {
        DEVICE_FIELD: changes.get("device", guard.device),
        OWNER_FIELD: changes.get("owner", guard.fleet.world.owner),
        **{k: v for k, v in changes.items() if k == "delegations"},
    }
    metadata = Metadata(targets)
    metadata.sign(guard.director.key)
    return metadata.to_bytes()


def file_of(manifest: Manifest, path: str = "") -> TargetFile:
    """Return how a director names a release."""
    return TargetFile.from_data(path or manifest.path, write_manifest(manifest), ["sha256"])


def encode(answer: UpdateAnswer) -> bytes:
    """Return an answer as it comes over the bus."""
    return msgspec.json.encode(answer)
