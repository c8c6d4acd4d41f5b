"""Public keys of people, as files that travel: a line with the name, and the key in PEM.

    Person: Anna
    -----BEGIN PUBLIC KEY-----

The line is not signed: the root that names the key repeats it, and everybody who signs reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from fleetward.keyholder.auditor import write_public_pem
from fleetward.keyholder.maker.folder import check_name
from fleetward.keyholder.maker.root_draft import RootPerson
from fleetward.runtime.files import read_bounded
from fleetward.trust.errors import Malformed
from fleetward.trust.keys import public_key_of

_LINE: Final = b"Person: "
_MAX_BYTES: Final = 4096


def write_person(person: RootPerson) -> bytes:
    """Return the bytes of a public key file."""
    return _LINE + f"{check_name(person.name)}\n".encode() + write_public_pem(person.key)


def read_person(path: Path) -> RootPerson:
    """Return whose key a file holds. Without a line, the file's name stands for the person.

    Raises `Malformed` for a file that holds no public key of ours.
    """
    data = read_bounded(path, _MAX_BYTES)
    name = path.name.removesuffix(".pub")
    if data.startswith(_LINE):
        line, _, data = data.removeprefix(_LINE).partition(b"\n")
        name = line.decode("utf-8", "replace").strip()
    try:
        key = serialization.load_pem_public_key(data)
    except ValueError as e:
        raise Malformed(
            f"Expected a public key in {path}, as `fleetward maker key make` writes it.",
            reason="bad_key_file",
        ) from e
    if not isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey):
        raise Malformed(f"Expected an Ed25519 or P-256 key in {path}.", reason="bad_key_file")
    return RootPerson(check_name(name), public_key_of(key))
