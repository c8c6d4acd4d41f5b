"""A witness: somebody besides owner and server who signs what he has seen of the record.

He signs a checkpoint only when it extends the last one that he signed, which he keeps in a folder
of his own. So a server cannot show one record to the owner and another to him without one of them
noticing. He needs no trust in the server: the log key comes from the owner's policy, and that from
the owner root's hash. His key lies open in a 0600 file, because he works unattended.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives import serialization

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.export_folder import ExportFolder
from fleetward.keyholder.verify import verify_export
from fleetward.runtime.files import atomic_write, make_private_directory, read_bounded
from fleetward.runtime.keys import FileSigner, from_pkcs8, make_key, to_pkcs8
from fleetward.trust.canonical import from_base64url
from fleetward.trust.errors import Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.fields import require_digest
from fleetward.trust.keys import ED25519
from fleetward.trust.ledger import Auditor
from fleetward.trust.merkle import prove_consistency, root_of, verify_consistency
from fleetward.trust.note import (
    MAX_NOTE_BYTES,
    Checkpoint,
    cosign,
    origin_of,
    read_checkpoint,
    verify_checkpoint,
)
from fleetward.trust.policy import verify_policy_chain
from fleetward.trust.root import verify_root
from fleetward.trust.tiles import TILE_WIDTH, decode_tile

_LEVELS_OF_A_TILE: Final = 8
_MAX_TILE_BYTES: Final = TILE_WIDTH * 32


class WitnessFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Under which name a witness signs, and for which owner."""

    name: str
    owner_root: str


class _Shown(msgspec.Struct, frozen=True):
    note: str
    generation: int


class _Documents(msgspec.Struct, frozen=True):
    root: str
    policies: list[str]


@dataclass(frozen=True, slots=True)
class WitnessFolder:
    """A witness's own folder: name, key, the last checkpoint that he signed."""

    path: Path

    def facts(self) -> WitnessFacts:
        """Return name and owner. Raises `Refused` when this is no witness's folder."""
        try:
            data = read_bounded(self.path / "witness.json", MAX_NOTE_BYTES)
            return msgspec.json.decode(data, type=WitnessFacts)
        except (Unreachable, msgspec.MsgspecError) as e:
            raise Refused(
                f"Expected a witness's folder at {self.path}; make one by "
                "`fleetward owner witness init`.",
                reason="no_witness_folder",
            ) from e

    def signer(self) -> FileSigner:
        """Return the witness's key."""
        return from_pkcs8(read_bounded(self.path / "key.pem", MAX_NOTE_BYTES))

    def last(self) -> bytes:
        """Return the last checkpoint signed, or nothing."""
        path = self.path / "last"
        return read_bounded(path, MAX_NOTE_BYTES) if path.exists() else b""

    def sign(self, note: bytes, now_ms: int) -> bytes:
        """Sign a checkpoint that was checked, and remember it first."""
        signed = cosign(note, self.facts().name, self.signer(), now_ms // 1000)
        atomic_write(self.path / "last", signed)
        return signed


def make_witness(path: Path, name: str, owner_root: str) -> WitnessFolder:
    """Make a witness's folder. Raises `Refused` when there is one."""
    require_digest(owner_root, "the owner root")
    if not name or " " in name or "+" in name or not name.isprintable() or len(name) > 80:
        raise Malformed("Expected a name without space or plus.", reason="bad_name")
    if (path / "witness.json").exists():
        raise Refused(f"There is a witness at {path} already.", reason="folder_exists")
    make_private_directory(path)
    signer = make_key(ED25519)
    public = signer.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    atomic_write(path / "key.pem", to_pkcs8(signer))
    atomic_write(path / "public.pem", public, 0o644)
    atomic_write(path / "witness.json", msgspec.json.encode(WitnessFacts(name, owner_root)))
    return WitnessFolder(path)


def sign_export(witness: WitnessFolder, export: Path, now_ms: int) -> bytes:
    """Check an exported record whole, against the last signed too, and sign its checkpoint.

    This is the way into a new generation. Raises `Untrusted` when anything is contradicted.
    """
    facts, last = witness.facts(), witness.last()
    auditor = Auditor(now_ms=now_ms, older=(last,) if last else ())
    result = verify_export(export, facts.owner_root, auditor)
    if not result.report.whole:
        first = result.report.contradicted[0].words
        raise Untrusted(f"The record is contradicted, and is not signed: {first}", reason="forked")
    note = ExportFolder(export).checkpoint(result.generation)
    if note is None:
        raise Untrusted("The record has no checkpoint to sign.", reason="no_checkpoint")
    return witness.sign(note, now_ms)


def sign_shown(witness: WitnessFolder, client: ApiClient, note: bytes, now_ms: int) -> bytes:
    """Sign a checkpoint of the server's when it extends the last one signed.

    Raises `Untrusted` for another log key, a fork or a roll-back; `Refused` for a generation that
    the witness has not been let into by an export.
    """
    facts, last = witness.facts(), witness.last()
    shown = read_checkpoint(note).checkpoint
    documents = client.get("/owner/documents", _Documents)
    root = verify_root(from_base64url(documents.root), facts.owner_root)
    policy = verify_policy_chain(root, [from_base64url(p) for p in documents.policies])
    number = shown.origin.rpartition("/")[2]
    if not number.isdecimal() or shown.origin != origin_of(facts.owner_root, int(number)):
        raise Untrusted("The checkpoint is of another owner's record.", reason="wrong_origin")
    newer = verify_checkpoint(note, shown.origin, policy.roots.log_key)
    if not last:
        if number != "1":
            raise Refused(_ASK_EXPORT, reason="new_generation")
        return witness.sign(note, now_ms)
    older = read_checkpoint(last).checkpoint
    if older.origin != newer.origin:
        raise Refused(_ASK_EXPORT, reason="new_generation")
    _check_extends(client, int(number), older, newer)
    return witness.sign(note, now_ms)


def watch_once(witness: WitnessFolder, client: ApiClient, now_ms: int) -> Checkpoint:
    """Fetch the newest checkpoint, sign it and hand the signature over. Raises as above."""
    shown = client.get("/record/checkpoint", _Shown)
    signed = sign_shown(witness, client, shown.note.encode("utf-8"), now_ms)
    body = {"witness": witness.facts().name, "note": signed.decode("utf-8")}
    client.post("/record/witnesses", body, dict)
    return read_checkpoint(signed).checkpoint


def _check_extends(
    client: ApiClient, generation: int, older: Checkpoint, newer: Checkpoint
) -> None:
    """Build the proof from the server's tiles; a false tile makes a proof that does not hold."""
    tiles: dict[tuple[int, int], list[bytes]] = {}

    def read(level: int, index: int) -> bytes:
        steps = level % _LEVELS_OF_A_TILE
        first, tile_level = index << steps, level // _LEVELS_OF_A_TILE
        place = (tile_level, first // TILE_WIDTH)
        if place not in tiles:
            path = f"/record/log/{generation}/tile/{place[0]}/{place[1]}"
            tiles[place] = decode_tile(client.request("GET", path)[:_MAX_TILE_BYTES])
        start = first % TILE_WIDTH
        hashes = tiles[place][start : start + (1 << steps)]
        if len(hashes) != 1 << steps:
            raise Malformed("The server's tile is shorter than its record.", reason="bad_tile")
        return root_of(hashes)

    if older.size > newer.size or older.size == 0:
        proof: list[bytes] = []
    else:
        proof = prove_consistency(older.size, newer.size, read)
    verify_consistency(older.size, older.root, newer.size, newer.root, proof)


_ASK_EXPORT: Final = (
    "The record is of a generation that this witness has not seen begin. Give it the whole once: "
    "fleetward audit export --out DIR, then fleetward owner witness sign --export DIR."
)
