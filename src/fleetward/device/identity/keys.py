"""The identity key: made once on this machine, never leaving it. Its hash is the device id."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.runtime.keys import FileSigner, from_pkcs8, make_key, to_pkcs8
from fleetward.trust.errors import Malformed, Unreachable
from fleetward.trust.keys import ES256

MAX_KEY_FILE_BYTES: Final = 4096
IDENTITY_FILE: Final = "identity.pem"


def load_identity(folder: Path) -> FileSigner:
    """Return the identity key of this machine. Raises `Unreachable` when it has none yet."""
    signer = from_pkcs8(read_bounded(folder / IDENTITY_FILE, MAX_KEY_FILE_BYTES))
    if signer.public.suite != ES256:
        raise Malformed("Expected an identity key on P-256.", reason="bad_key_file")
    return signer


def load_or_make_identity(folder: Path) -> FileSigner:
    """Return the identity key, making it when there is none. A damaged one is never replaced."""
    try:
        return load_identity(folder)
    except Unreachable as e:
        if e.reason != "file_missing":
            raise
    signer = make_key(ES256)
    atomic_write(folder / IDENTITY_FILE, to_pkcs8(signer))
    return signer
