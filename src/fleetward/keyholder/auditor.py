"""What an auditor brings, from files and from the owner's own folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from fleetward.keyholder.documents import OwnerDocuments
from fleetward.runtime.files import read_bounded
from fleetward.trust.errors import Malformed
from fleetward.trust.keys import PublicKey, public_key_of
from fleetward.trust.ledger_documents import OwnFolder
from fleetward.trust.note import MAX_NOTE_BYTES, read_checkpoint


def read_older(paths: Iterable[Path]) -> tuple[bytes, ...]:
    """Return checkpoints from files. Raises `Malformed` for one that is none."""
    notes = tuple(read_bounded(path, MAX_NOTE_BYTES) for path in paths)
    for note in notes:
        read_checkpoint(note)
    return notes


def read_witness(text: str) -> tuple[str, PublicKey]:
    """Return name and key of `NAME=KEYFILE`; the file holds an Ed25519 key in PEM.

    Raises `Malformed`.
    """
    name, equals, path = text.partition("=")
    if not name or not equals or not path:
        raise Malformed(
            f"Expected a witness as NAME=KEYFILE, got {text[:80]!r}.", reason="bad_witness_key"
        )
    return name, read_public_pem(Path(path), (ed25519.Ed25519PublicKey,))


def read_public_pem(path: Path, kinds: tuple[type, ...]) -> PublicKey:
    """Return the public key in a PEM file, when it is of one of these kinds. Raises `Malformed`."""
    try:
        key = serialization.load_pem_public_key(read_bounded(path, 4096))
    except ValueError as e:
        raise Malformed(f"Expected a public key in PEM in {path}.", reason="bad_key_file") from e
    if not isinstance(key, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise Malformed(f"Expected a key of {names} in {path}.", reason="bad_key_file")
    return public_key_of(key)  # type: ignore[arg-type]


def write_public_pem(key: PublicKey) -> bytes:
    """Return a public key in PEM, as `read_public_pem` takes it."""
    return serialization.load_der_public_key(key.spki).public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def own_folder(documents: OwnerDocuments) -> OwnFolder:
    """Return what the owner's own folder says is newest."""
    return OwnFolder(
        policy=(documents.policy.version, documents.policy.hash),
        roster=(documents.roster.version, documents.roster.hash),
        head=(documents.head.version, documents.head.hash),
    )
