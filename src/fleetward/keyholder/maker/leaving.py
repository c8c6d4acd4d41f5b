"""What leaves the maker's computer with a release: chosen here, once, for every way out.

It is what a machine asks for that has seen nothing yet: all roots, the newest timestamp, snapshot,
targets and products, the manifest, and the blobs that it names. It is taken by names out of
verified metadata; nothing goes because it lies in a folder. So no key can: keys lie elsewhere, and
have no such names.
"""

from __future__ import annotations

from dataclasses import dataclass

from tuf.api.metadata import Snapshot

from fleetward.keyholder.maker.as_machine import Reader, open_as_machine
from fleetward.keyholder.maker.blobs import BlobStore, list_names
from fleetward.keyholder.maker.desk import MakerDesk
from fleetward.keyholder.maker.released import list_released
from fleetward.keyholder.maker.repository import FIRST_ROOT, TIMESTAMP, Verified
from fleetward.trust.errors import Misuse, Refused
from fleetward.trust.release_manifest import Manifest
from fleetward.trust.releases.names import name_file
from fleetward.trust.releases.target import Target


@dataclass(frozen=True, slots=True)
class Leaving:
    """A signed release and all that belongs to it."""

    manifest: Manifest
    data: bytes
    """The manifest as it was signed."""
    target: Target
    metadata: tuple[tuple[str, bytes], ...]
    """Names and bytes in the order in which they are written: `timestamp.json` is the last."""
    blobs: tuple[tuple[str, int], ...]
    """Hash and length of everything that the manifest names."""
    state: Verified

    @property
    def root(self) -> bytes:
        """The first root, by whose hash owners and servers know this repository."""
        return self.metadata[0][1]


def gather(desk: MakerDesk, product: str, version: str) -> Leaving:
    """Return what leaves with a release, judged as a machine judges it now.

    Raises `Refused` when it is not signed or not whole, or when a machine would refuse it.
    """
    with desk.folder.locked():
        state = desk.require_product(product)
        manifest = _find(desk, state, product, version)
        first = desk.repository.read(FIRST_ROOT)
        if first is None:
            raise Misuse("A verified repository has a first root.", reason="no_root")
        data = read_signed(desk, manifest)
        target, read = open_as_machine(
            Reader(first), desk.repository.read, (manifest.path, data), desk.now_ms
        )
        BlobStore(desk.repository.blobs).require(read)
        return Leaving(read, data, target, list_metadata(desk, state), list_names(read), state)


def list_metadata(desk: MakerDesk, state: Verified) -> tuple[tuple[str, bytes], ...]:
    """Return the metadata files that a machine may ask for: roots first, the timestamp last."""
    snapshot = state.open("snapshot", Snapshot).signed
    names = [*desk.repository.list_roots()]
    names += [
        name_file(name.removesuffix(".json"), meta.version)
        for name, meta in sorted(snapshot.meta.items())
    ]
    names += [name_file("snapshot", snapshot.version), TIMESTAMP]
    files = []
    for name in names:
        data = desk.repository.read(name)
        if data is None:
            raise Refused(
                f"Expected {name} in {desk.repository.metadata}; it is gone. Take it from a copy.",
                reason="metadata_missing",
            )
        files.append((name, data))
    return tuple(files)


def _find(desk: MakerDesk, state: Verified, product: str, version: str) -> Manifest:
    for each in list_released(desk.repository, state, product):
        if each.version == version:
            return each
    raise Refused(
        f"Expected {product} {version} to be signed; it is not. Sign it: fleetward release sign "
        f"{product}/{version}",
        reason="release_not_signed",
    )


def read_signed(desk: MakerDesk, manifest: Manifest) -> bytes:
    """Return the bytes of a signed release. Raises `Refused` when they are gone."""
    name = f"{manifest.product}/{manifest.version}/{manifest.hash}.release.json"
    data = desk.repository.read_target(name)
    if data is None:
        raise Refused(f"Expected {name} in the repository; it is gone.", reason="target_missing")
    return data
