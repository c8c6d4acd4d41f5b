"""`release sign`: a draft becomes a target of its product, and machines may see it.

1. The draft says what was built: it is read again, and every blob it names is here.
2. Its counter is above every signed one of the product; a signed version stays what it is.
3. It is added to the product's role; the product, snapshot and timestamp are signed.
4. A machine is asked: it finds the release, by the path and under the keys that it should.
5. All of it is written as one change, `timestamp.json` last (`repository`).

A program that is killed at any point leaves a repository that verifies, with or without the
release; `release sign` again ends it.
"""

from __future__ import annotations

import hashlib

from tuf.api.metadata import TargetFile, Targets

from fleetward.keyholder.maker.as_machine import Reader, open_as_machine
from fleetward.keyholder.maker.blobs import BlobStore
from fleetward.keyholder.maker.desk import MakerDesk
from fleetward.keyholder.maker.released import (
    drop_draft,
    last_counter,
    list_released,
    read_draft_release,
)
from fleetward.keyholder.maker.repository import FIRST_ROOT
from fleetward.keyholder.maker.signing import sign_change
from fleetward.trust.errors import Misuse, Refused
from fleetward.trust.release_manifest import Manifest
from fleetward.trust.releases.target import make_target


def sign_release(desk: MakerDesk, product: str, version: str) -> Manifest:
    """Sign a draft. One that is signed already is returned as it is.

    Raises `Refused` for a draft that cannot be released, and what a machine raises.
    """
    with desk.folder.locked():
        state = desk.require_product(product)
        released = list_released(desk.repository, state, product)
        for each in released:
            if each.version == version:
                drop_draft(desk.folder, product, version)
                return each
        # 1.
        data, manifest = read_draft_release(desk.folder, product, version)
        BlobStore(desk.repository.blobs).require(manifest)
        # 2.
        last = last_counter(released)
        if manifest.counter <= last:
            raise Refused(
                f"Expected a counter above {last}, the last one signed; the draft has "
                f"{manifest.counter}. Build it again.",
                reason="counter_too_low",
            )
        # 3.
        role = state.open(product, Targets)
        file = TargetFile(len(data), {"sha256": hashlib.sha256(data).hexdigest()}, manifest.path)
        role.signed.targets[manifest.path] = file
        files = sign_change(state, {product: role}, desk.keys, desk.now_ms)
        target = make_target(file, ("targets", product), is_consistent=True)
        files[f"targets/{target.file_name}"] = data
        # 4.
        _ask_machine(desk, files, (manifest.path, data))
        # 5.
        desk.repository.commit(files, desk.now_ms)
        drop_draft(desk.folder, product, version)
    return manifest


def _ask_machine(desk: MakerDesk, files: dict[str, bytes], release: tuple[str, bytes]) -> None:
    def read(name: str) -> bytes | None:
        return files.get(f"metadata/{name}") or desk.repository.read(name)

    first = read(FIRST_ROOT)
    if first is None:
        raise Misuse("A release was signed without a root.", reason="no_root")
    open_as_machine(Reader(first), read, release, desk.now_ms)
