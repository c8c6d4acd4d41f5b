"""`release publish --to FOLDER`: a copy of the repository that any web server or share can hold.

1. The folder is read as a machine reads it first. One that is newer than ours, or of another maker,
   is left as it is.
2. Blobs and manifests that are missing are copied, and verified as they pass.
3. Metadata follows, `timestamp.json` last: until then a machine sees what was there before, whole.
4. Then the folder is read as a machine again.

Once more is no error, and goes on where it was cut off.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from fleetward.keyholder.maker.as_machine import NO_AGE_MS, Reader, open_as_machine
from fleetward.keyholder.maker.blobs import BlobStore, Tick, list_names
from fleetward.keyholder.maker.desk import MakerDesk
from fleetward.keyholder.maker.leaving import Leaving, read_signed
from fleetward.keyholder.maker.progress import Meter
from fleetward.keyholder.maker.released import list_released
from fleetward.keyholder.maker.repository import (
    FIRST_ROOT,
    PUBLIC_FILE,
    TIMESTAMP,
    Repository,
    read_verified,
)
from fleetward.runtime.files import atomic_write
from fleetward.trust.errors import Refused, Unreachable, Untrusted


@dataclass(frozen=True, slots=True)
class Published:
    """What was done."""

    copied_bytes: int
    blobs_copied: int
    blobs_there: int


def publish_to_folder(
    desk: MakerDesk, leaving: Leaving, path: Path, *, quiet: bool = False
) -> Published:
    """Bring a folder up to date with a release. Raises `Refused`, `Untrusted`, `Unreachable`."""
    there = Repository(path)
    if there.path.resolve() == desk.repository.path.resolve():
        raise Refused(
            "Expected another folder than the maker's own repository.", reason="same_folder"
        )
    # 1.
    _require_older(there, leaving)
    try:
        for each in (there.metadata, there.targets, there.blobs):
            each.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise Unreachable(
            f"Expected to write in {path}; the system says: {e.strerror}.", reason="disk_refused"
        ) from e
    # 2.
    ours, theirs = BlobStore(desk.repository.blobs), BlobStore(there.blobs)
    missing = [row for row in _list_blobs(desk, leaving, ours) if not theirs.has(*row)]
    meter = Meter("Copying", sum(length for _, length in missing), quiet=quiet)
    for sha256, _ in missing:
        copy_blob(ours, theirs, sha256, meter)
    meter.end()
    _copy_manifests(desk, leaving, there)
    # 3.
    for name, data in leaving.metadata:
        if there.read(name) != data:
            atomic_write(there.metadata / name, data, PUBLIC_FILE)
    # 4.
    open_as_machine(
        Reader(leaving.root), there.read, (leaving.manifest.path, leaving.data), desk.now_ms
    )
    return Published(
        copied_bytes=sum(length for _, length in missing),
        blobs_copied=len(missing),
        blobs_there=len(leaving.blobs) - sum(row in missing for row in leaving.blobs),
    )


def copy_blob(ours: BlobStore, theirs: BlobStore, sha256: str, tick: Tick) -> None:
    """Copy a blob that is still what its name says. Raises `Untrusted` when it is not."""
    source, place = ours.place(sha256), theirs.place(sha256)
    part = place.with_name(f".{sha256}.part")
    digest = hashlib.sha256()
    try:
        with source.open("rb") as file, part.open("wb") as out:
            while piece := file.read(1024 * 1024):
                digest.update(piece)
                out.write(piece)
                tick(len(piece))
            out.flush()
            os.fsync(out.fileno())
        if digest.hexdigest() != sha256:
            raise damaged_blob(source)
        part.chmod(PUBLIC_FILE)
        part.replace(place)
    except OSError as e:
        raise Unreachable(
            f"Expected to copy {source} to {place}; the system says: {e.strerror}. Has the disk "
            "room? Run it again: what is there stays.",
            reason="disk_refused",
        ) from e
    finally:
        part.unlink(missing_ok=True)


def damaged_blob(place: Path) -> Untrusted:
    """Build the error for a blob that is not what its name says."""
    return Untrusted(
        f"Expected {place} to be what its name says; it is damaged or was changed. Remove it and "
        "build the release again, or take it from a copy.",
        reason="blob_damaged",
    )


def _require_older(there: Repository, leaving: Leaving) -> None:
    if there.read(TIMESTAMP) is None:
        return
    if there.read(FIRST_ROOT) != leaving.root:
        raise Refused(
            f"Expected this maker's repository in {there.path}, or nothing; another maker's is "
            "there. Name another folder by --to.",
            reason="another_maker",
        )
    theirs = Reader(leaving.root, dict(read_verified(there.read).kept))
    by_name = dict(leaving.metadata)
    before = theirs.kept["timestamp"]
    try:
        theirs.refresh(by_name.get, NO_AGE_MS)
        if theirs.kept["timestamp"] == before != by_name[TIMESTAMP]:
            raise Untrusted("Two timestamps have one version.", reason="forked_timestamp")
    except Untrusted as e:
        raise Refused(
            f"Expected {there.path} to be older than this folder; it has something newer. Was it "
            f"published from another computer? Go on there. ({e.message})",
            reason="newer_there",
        ) from e


def _list_blobs(desk: MakerDesk, leaving: Leaving, ours: BlobStore) -> list[tuple[str, int]]:
    """Name the blobs of this release, and of the others whose blobs are all still here."""
    named = dict(leaving.blobs)
    for product in leaving.state.products:
        for each in list_released(desk.repository, leaving.state, product):
            rows = list_names(each)
            if all(ours.has(*row) for row in rows):
                named |= dict(rows)
    return list(named.items())


def _copy_manifests(desk: MakerDesk, leaving: Leaving, there: Repository) -> None:
    for product in leaving.state.products:
        for each in list_released(desk.repository, leaving.state, product):
            name = f"{each.product}/{each.version}/{each.hash}.release.json"
            data = read_signed(desk, each)
            if there.read_target(name) == data:
                continue
            place = there.targets / name
            place.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(place, data, PUBLIC_FILE)
