"""The director's key, its root, and its words: TUF metadata, written by hand.

The server may not import what judges releases, so it writes what that demands: OLPC canonical JSON
(specification 4.1), one Ed25519 key for all four roles of a root that is made once, and a targets
file for each machine, signed when the machine asks. The root's digest stands in the owner's policy.
Whoever has this key can tell a machine of what its owner approved, and of nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from fleetward.runtime.files import atomic_write, make_private_directory, read_bounded
from fleetward.runtime.keys import FileSigner, from_pkcs8, make_key, to_pkcs8
from fleetward.trust.keys import ED25519

SPECIFICATION: Final = "1.0.31"
ROOT_MS: Final = 10 * 365 * 86_400_000
WORD_MS: Final = 7 * 86_400_000
"""How long a word to a machine holds. One that is withheld is missed within a week."""
DEVICE_FIELD: Final = "x-fleetward-device"
OWNER_FIELD: Final = "x-fleetward-owner"
ROLES: Final = ("root", "snapshot", "targets", "timestamp")
MAX_ROOT_BYTES: Final = 16 * 1024
_RAW_BYTES: Final = 32
"""The last bytes of an Ed25519 SPKI are the key itself (RFC 8410)."""


@dataclass(frozen=True, slots=True)
class NamedTarget:
    """A target that a word names: a release's manifest."""

    path: str
    length: int
    sha256: str


@dataclass(frozen=True)
class Director:
    """The key and the root that goes with it."""

    signer: FileSigner
    root: bytes

    @cached_property
    def root_sha256(self) -> str:
        """What the owner's policy names."""
        return hashlib.sha256(self.root).hexdigest()

    @cached_property
    def key_id(self) -> str:
        """The key's id as TUF has it."""
        return key_id_of(self.signer)

    def sign_word(
        self, who: tuple[str, str], version: int, now_ms: int, named: Sequence[NamedTarget]
    ) -> bytes:
        """Return the targets file for one machine; `who` is the machine and its owner."""
        signed = {
            "_type": "targets",
            "expires": _write_time(now_ms + WORD_MS),
            "spec_version": SPECIFICATION,
            "targets": {
                each.path: {"hashes": {"sha256": each.sha256}, "length": each.length}
                for each in named
            },
            "version": version,
            DEVICE_FIELD: who[0],
            OWNER_FIELD: who[1],
        }
        return _sign(signed, self.signer, self.key_id)


def open_director(folder: Path, now_ms: int) -> Director:
    """Return the director whose files lie in this folder; they are made when there are none.

    Raises `Unreachable`, or `Malformed` for a key that is none.
    """
    make_private_directory(folder)
    key, root = folder / "director.key", folder / "1.root.json"
    if not key.exists():
        atomic_write(key, to_pkcs8(make_key(ED25519)))
    signer = from_pkcs8(read_bounded(key, 4096))
    if not root.exists():
        atomic_write(root, make_root(signer, now_ms))
    return Director(signer, read_bounded(root, MAX_ROOT_BYTES))


def make_root(signer: FileSigner, now_ms: int) -> bytes:
    """Return the first root of a director with this key."""
    key_id = key_id_of(signer)
    signed = {
        "_type": "root",
        "consistent_snapshot": True,
        "expires": _write_time(now_ms + ROOT_MS),
        "keys": {key_id: _write_key(signer)},
        "roles": {role: {"keyids": [key_id], "threshold": 1} for role in ROLES},
        "spec_version": SPECIFICATION,
        "version": 1,
    }
    return _sign(signed, signer, key_id)


def key_id_of(signer: FileSigner) -> str:
    """Return the id of a key: the SHA-256 of its canonical form (specification 4.2)."""
    return hashlib.sha256(_canonical(_write_key(signer))).hexdigest()


def _write_key(signer: FileSigner) -> dict[str, Any]:
    public = signer.public.spki[-_RAW_BYTES:].hex()
    return {"keytype": "ed25519", "keyval": {"public": public}, "scheme": "ed25519"}


def _sign(signed: dict[str, Any], signer: FileSigner, key_id: str) -> bytes:
    """Return the file. What is signed stands in it byte for byte, so it is written once."""
    text = _canonical(signed)
    signature = signer.sign(text).hex()
    head = f'{{"signatures":[{{"keyid":"{key_id}","sig":"{signature}"}}],"signed":'
    return head.encode("ascii") + text + b"}"


def _canonical(value: dict[str, Any]) -> bytes:
    """Return OLPC canonical JSON. Nothing here has a quote or a backslash, which it would escape
    in another way than this writer does: paths are of products and versions."""
    return _ENCODER.encode(value).encode("utf-8")


_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _write_time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
