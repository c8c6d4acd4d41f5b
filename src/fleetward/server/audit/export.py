"""The export of the record: a tar that the owner checks with nothing of ours but the verifier.

The folder in it is the one that `fleetward audit verify` reads: owner documents, and per generation
the log in the C2SP tlog-tiles layout. It is written piece by piece: a large record never stands in
memory.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from fleetward.runtime.database import Database
from fleetward.server.audit import store
from fleetward.trust.canonical import from_base64url
from fleetward.trust.merkle import HASH_BYTES
from fleetward.trust.tiles import TILE_WIDTH, bundle_path, encode_bundle, tile_path, tiles_of

FORMAT: Final = "fleetward-export/1"


def export_files(
    database: Database,
    owner: Mapping[str, bytes],
    head: Mapping[str, str | int],
    journals: Iterable[tuple[str, int, bytes]],
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every file of an export.

    `owner` are the owner's documents by file name; `head` is what export.json says; `journals` are
    the newest entries of machines (device, first sequence, lines), which show by the machine's own
    word how old its newest head is.
    """
    yield "export.json", msgspec.json.encode({"format": FORMAT, **head})
    yield from owner.items()
    for device, first, lines in journals:
        yield f"batches/{device}/{first}.jsonl", lines
    owner_id = str(head["owner_root"])
    for generation in range(1, int(head["generation"]) + 1):
        yield from _export_log(database, owner_id, generation)


def _export_log(database: Database, owner_id: str, generation: int) -> Iterator[tuple[str, bytes]]:
    folder = f"log/{generation}/"
    with database.read() as conn:
        checkpoint = store.select_checkpoint(conn, owner_id, generation)
        opening = store.select_opening(conn, owner_id, generation)
    if opening:
        yield folder + "opening.json", opening
    if checkpoint is None:
        return
    yield folder + "checkpoint", checkpoint.note
    with database.read() as conn:
        signed = store.select_cosignatures(conn, owner_id, generation)
    for row in signed:
        yield f"{folder}witnesses/{row.witness}", row.note
    size = int(checkpoint.size)
    for index, width in tiles_of(size):
        start = index * TILE_WIDTH
        with database.read() as conn:
            bodies = store.select_bodies(conn, owner_id, generation, start, start + width)
        yield folder + bundle_path(index, width), encode_bundle(bodies)
    level = 0
    while size:
        for index, width in tiles_of(size):
            with database.read() as conn:
                tile = store.select_tile(conn, owner_id, generation, level, index)
            yield folder + tile_path(level, index, width), tile[: width * HASH_BYTES]
        size, level = size // TILE_WIDTH, level + 1


def to_tar(files: Iterator[tuple[str, bytes]], at_seconds: int) -> Iterator[bytes]:
    """Yield the bytes of a tar (ustar) over these files."""
    for name, content in files:
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = len(content), at_seconds, 0o644
        yield info.tobuf(tarfile.USTAR_FORMAT)
        yield content
        yield b"\0" * (-len(content) % tarfile.BLOCKSIZE)
    yield b"\0" * (tarfile.BLOCKSIZE * 2)


def from_documents(documents: dict[str, str | list[str]]) -> dict[str, bytes]:
    """Return the files of the owner's documents (base64url values of the API's StoredDocuments)."""
    files: dict[str, bytes] = {"root.json": _one(documents["root"])}
    for version, policy in enumerate(documents["policies"], start=1):
        files[f"policies/{version:05}.json"] = from_base64url(policy)
    roster = _one(documents["roster"])
    version = msgspec.json.decode(roster)["payload"]["version"]
    files[f"rosters/{version:05}.json"] = roster
    lines = io.BytesIO()
    for entry in documents["entries"]:
        lines.write(from_base64url(entry) + b"\n")
    files[f"rosters/{version:05}.entries"] = lines.getvalue()
    files["head.json"] = _one(documents["head"])
    files["lease.json"] = _one(documents["lease"])
    return files


def _one(value: str | list[str]) -> bytes:
    return from_base64url(value if isinstance(value, str) else value[0])
