"""`release bundle`: one file with a release, for a machine without a network.

The format is `wire.update_bundle`'s.
It holds every root, the newest metadata, the manifest, each part, and what the owner gave along:
approvals, and his documents for a machine that was away for long. Of a part it holds the packed
form, the delta out of nothing, where that is named, because it is shorter; else the part itself.
Each blob is verified as it is written, and the whole is read again as a machine does before it gets
its name.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from fleetward.keyholder.maker.as_machine import Reader, open_as_machine
from fleetward.keyholder.maker.blobs import PIECE_BYTES, BlobStore, list_names
from fleetward.keyholder.maker.desk import MakerDesk
from fleetward.keyholder.maker.leaving import Leaving
from fleetward.keyholder.maker.progress import Meter
from fleetward.keyholder.maker.publishing import damaged_blob
from fleetward.runtime.files import read_bounded, sync_directory
from fleetward.trust.envelope import read_envelope
from fleetward.trust.errors import Malformed, Misuse, Unreachable
from fleetward.trust.release_approval import (
    APPROVAL_TYPE,
    MAX_APPROVAL_BYTES,
    STANDING_TYPE,
    WITHDRAWAL_TYPE,
)
from fleetward.trust.release_manifest import MAX_MANIFEST_BYTES, Manifest, read_manifest
from fleetward.trust.releases import limits
from fleetward.trust.releases.names import quote_role
from fleetward.wire.delta import EMPTY_SOURCE
from fleetward.wire.update_bundle import (
    DOCUMENTS,
    HEAD_BYTES,
    Index,
    index_length,
    read_index,
    write_head,
)

MAX_DOCUMENTS_BYTES: Final = 256 * 1024 * 1024
_TYPES: Final = (APPROVAL_TYPE, STANDING_TYPE, WITHDRAWAL_TYPE)


@dataclass(frozen=True, slots=True)
class Bundled:
    """A bundle that was written."""

    file: str
    size_bytes: int
    files: int
    approvals: int


@dataclass(frozen=True, slots=True)
class Along:
    """What goes along with a release: of its owner; and whether every blob does that it names."""

    approvals: tuple[Path, ...] = ()
    documents: Path | None = None
    is_everything: bool = False


def write_bundle(
    desk: MakerDesk, leaving: Leaving, out: Path, along: Along, *, quiet: bool = False
) -> Bundled:
    """Write a bundle.

    Raises `Malformed` for approvals that are none, `Untrusted` for a damaged blob, `Unreachable`.
    """
    small = _gather_small(leaving, along)
    blobs = leaving.blobs if along.is_everything else list_least(leaving.manifest)
    rows = [(name, len(data)) for name, data in small]
    rows += [(f"blob/{sha256}", length) for sha256, length in blobs]
    head = write_head(rows)
    meter = Meter(f"Writing {out.name}", sum(length for _, length in rows), quiet=quiet)
    part = out.with_name(f".{out.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            file.write(head)
            for _, data in small:
                file.write(data)
                meter(len(data))
            for row in blobs:
                _write_blob(file, BlobStore(desk.repository.blobs), row, meter)
            file.flush()
            os.fsync(file.fileno())
        meter.end()
        index = check_bundle(part, leaving.root, leaving.manifest.product, desk.now_ms)
        part.replace(out)
        sync_directory(out.parent)
    except OSError as e:
        raise Unreachable(
            f"Expected to write {out}; the system says: {e.strerror}. Has the disk room?",
            reason="disk_refused",
        ) from e
    finally:
        part.unlink(missing_ok=True)
    return Bundled(str(out), index.total_bytes, len(index.files), len(along.approvals))


def check_bundle(path: Path, root: bytes, product: str, now_ms: int) -> Index:
    """Read a bundle as a machine does that trusts `root`: its index, metadata and manifest.

    Raises what a machine raises. Blobs are not read.
    """
    with path.open("rb") as file:
        index = read_index(file.read(index_length(file.read(HEAD_BYTES))))
        if index.total_bytes != path.stat().st_size:
            raise Malformed("The bundle is not as long as its index says.", reason="bad_bundle")

        def read(name: str, most: int = limits.MAX_TARGETS_BYTES) -> bytes | None:
            span = index.files.get(name)
            if span is None:
                return None
            file.seek(span.offset)
            return file.read(min(span.length, most + 1))

        manifests = [name for name in index.files if name.startswith("manifest/")]
        data = read(manifests[0], MAX_MANIFEST_BYTES) if len(manifests) == 1 else None
        if data is None or read(f"root/{hashlib.sha256(root).hexdigest()}") != root:
            raise Misuse("A bundle without root or manifest was made.", reason="bad_bundle")
        from_image = f"image/{product}/"
        release = (read_manifest(data).path, data)
        open_as_machine(Reader(root), lambda name: read(from_image + name), release, now_ms)
    return index


def list_least(manifest: Manifest) -> tuple[tuple[str, int], ...]:
    """Return hash and length of the fewest bytes that any machine can install a release from."""
    parts = []
    for part in manifest.parts:
        packed = [delta for delta in part.deltas if delta.source == EMPTY_SOURCE]
        least = min([part.blob, *(each.blob for each in packed)], key=lambda b: b.length_bytes)
        parts.append(replace(part, blob=least, deltas=()))
    return list_names(replace(manifest, parts=tuple(parts)))


def _gather_small(leaving: Leaving, along: Along) -> list[tuple[str, bytes]]:
    product = leaving.manifest.product
    small = []
    if along.documents is not None:
        small.append((DOCUMENTS, read_bounded(along.documents, MAX_DOCUMENTS_BYTES)))
    for name, data in leaving.metadata:
        if name.endswith(".root.json"):
            small.append((f"root/{hashlib.sha256(data).hexdigest()}", data))
    others = tuple(
        f".{quote_role(each)}.json" for each in leaving.state.products if each != product
    )
    small += [
        (f"image/{product}/{name}", data)
        for name, data in leaving.metadata
        if not name.endswith(others)
    ]
    small.append((f"manifest/{leaving.manifest.hash}", leaving.data))
    small += [(f"approval/{n}", _read_approval(path)) for n, path in enumerate(along.approvals)]
    return small


def _read_approval(path: Path) -> bytes:
    """Return an approval or a withdrawal. Who signed it, a machine judges."""
    data = read_bounded(path, MAX_APPROVAL_BYTES)
    kind = read_envelope(data).payload.get("type")
    if kind not in _TYPES:
        raise Malformed(
            f"Expected an owner's approval or withdrawal in {path}, as `fleetward owner` "
            "writes them.",
            reason="no_approval",
        )
    return data


def _write_blob(file: BinaryIO, store: BlobStore, row: tuple[str, int], meter: Meter) -> None:
    sha256, length = row
    digest, left = hashlib.sha256(), length
    with store.place(sha256).open("rb") as source:
        while left and (piece := source.read(min(left, PIECE_BYTES))):
            digest.update(piece)
            file.write(piece)
            meter(len(piece))
            left -= len(piece)
    if left or digest.hexdigest() != sha256:
        raise damaged_blob(store.place(sha256))
